//! overlayctl reset at its levels: what it asks, what it writes, what it shows.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::world::{World, text};

/// A store with a baseline, a snapshot and another overlay.
fn world() -> World {
    let world = World::new();
    world.make_snapshot(1, "");
    world.make_snapshot(2, "");
    let overlays = world.store().join("overlays");
    fs::write(overlays.join("root/baseline"), "1\n").unwrap();
    let data = overlays.join("data");
    fs::create_dir_all(data.join("generations/1/fs")).unwrap();
    fs::copy(overlays.join("root/current"), data.join("current")).unwrap();
    let record = "generations/1/generation.toml";
    fs::copy(overlays.join("root").join(record), data.join(record)).unwrap();
    world
}

fn on_store(world: &World, arguments: &[&str]) -> Output {
    let store = world.store().display().to_string();
    world.tool(&[&["--store", store.as_str()], arguments].concat())
}

/// The tool on a terminal, with this typed.
fn typed(world: &World, arguments: &str, answer: &str) -> (i32, String) {
    let command = format!("./overlayctl --store {} {arguments}", world.store().display());
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(&world.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) starts");
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

#[test]
fn a_factory_reset_names_what_goes_for_good() {
    let world = world();
    let asked = on_store(&world, &["reset", "--factory", "--keep", "/etc/machine-id"]);
    assert_eq!(asked.status.code(), Some(4), "{}", text(&asked));
    let said = text(&asked);
    for part in [
        "Lost for good, and no undo brings it back:\n  generation 1, made ",
        "\n  the baseline, snapshot 1 \"made by hand\" of ",
        "\n  snapshot 2 \"made by hand\" of ",
        "\n  the overlay \"data\"",
        "`overlayctl reset --factory --dry-run` names every file.\n",
        "Kept: what the configuration says, /etc/machine-id.\n",
        "--yes",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!world.request().exists());
    let done =
        on_store(&world, &["reset", "--factory", "--keep", "/etc/machine-id", "--via", "a button", "-y"]);
    assert_eq!(
        text(&done),
        "root is reset to the image at the next boot. Until then `overlayctl cancel` takes it back.\n"
    );
    let request = fs::read_to_string(world.request()).unwrap();
    for line in ["level = \"factory\"", "/etc/machine-id", "via = \"a button\""] {
        assert!(request.contains(line), "{line} is not in\n{request}");
    }
    assert!(!request.contains("drop-kept = true"), "{request}");
}

#[test]
fn what_is_no_pattern_or_no_level_is_a_usage_error() {
    let world = world();
    for arguments in [
        &["reset", "--keep", "etc/hostname", "-y"][..],
        &["reset", "--keep", "/etc/[a", "-y"],
        &["reset", "--factory", "--wipe", "-y"],
    ] {
        assert_eq!(on_store(&world, arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(!world.request().exists());
}

#[test]
fn a_wipe_takes_the_word() {
    let world = world();
    for answer in ["y\n", "yes\n", "\n", "WIPE\n"] {
        let (code, said) = typed(&world, "reset --wipe", answer);
        assert_eq!(code, 4, "{said}");
        assert!(
            said.contains("type the word \"wipe\"") && said.contains("it is erased and made anew"),
            "{said}"
        );
        assert!(said.contains("Nothing is kept.") && said.contains("not confirmed"), "{said}");
        assert!(!world.request().exists());
    }
    let (code, said) = typed(&world, "reset --wipe", "wipe\n");
    assert_eq!(code, 0, "{said}");
    assert!(fs::read_to_string(world.request()).unwrap().contains("level = \"wipe\""));
}

#[test]
fn a_dry_run_of_a_wipe_names_everything_in_the_store() {
    let world = world();
    let shown = text(&on_store(&world, &["reset", "--wipe", "--dry-run"]));
    for part in [
        "Kept: 0 entries, 0B\n",
        "\n  file /changed, 11 bytes\n",
        "Lost as a whole\n",
        "\n  generation 1 of data",
        "\n  snapshot 1 \"made by hand\"",
        "\n  snapshot 2 \"made by hand\"",
        "At the next boot:\n  erase the state device, all of it\n",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(!world.request().exists());
}

#[test]
fn over_the_bus_it_is_the_same() {
    let mut world = world();
    world.start_daemon(&["--idle-timeout", "0"]);
    let asked = text(&world.tool(&["reset", "--factory"]));
    assert!(asked.contains("the overlay \"data\"") && asked.contains("Lost for good"), "{asked}");
    let done = world.tool(&["reset", "--factory", "--drop-kept", "--via", "factory-reset.target", "-y"]);
    assert!(done.status.success(), "{}", text(&done));
    let request = fs::read_to_string(world.request()).unwrap();
    for line in ["level = \"factory\"", "drop-kept = true", "via = \"factory-reset.target\""] {
        assert!(request.contains(line), "{line} is not in\n{request}");
    }
}
