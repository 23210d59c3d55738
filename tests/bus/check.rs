//! The check of the store, over the bus and without: what it says, who may, and what is there afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use overlayd::store::{Layout, reserve};
use serde_json::Value;

use crate::world::{MANAGER, ROOT, World, call, error_name, text};

/// A world whose store is sound.
fn world() -> World {
    let world = World::new();
    let store = world.store();
    reserve::fill(&Layout::new(&store), 1 << 16).unwrap();
    let root = store.join("overlays/root");
    for dir in [
        "overlays",
        "overlays/root/generations",
        "overlays/root/generations/1",
        "overlays/root/generations/1/work",
        "overlays/root/trash",
    ] {
        fs::set_permissions(store.join(dir), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    for file in ["store.toml", "overlays/root/current", "overlays/root/generations/1/generation.toml"] {
        fs::set_permissions(store.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    world
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(output)))
}

fn current(world: &World) -> std::path::PathBuf {
    world.store().join("overlays/root/current")
}

/// The same by both ways: looking, a dry run, a repair, and looking again.
fn finds_and_repairs(world: &World, place: &[&str]) {
    let tool = |arguments: &[&str]| world.tool(&[place, &["store", "check"], arguments].concat());
    let sound = tool(&[]);
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound));
    assert_eq!(String::from_utf8_lossy(&sound.stdout), "The store is sound.\n");
    fs::write(current(world), "nonsense").unwrap();
    for look in [&["--json"][..], &["--json", "--repair", "--dry-run"]] {
        let looked = tool(look);
        assert_eq!(looked.status.code(), Some(1), "{}", text(&looked));
        let report = json(&looked);
        assert_eq!(
            (&report["sound"], &report["faults"], &report["repairable"]),
            (&false.into(), &1.into(), &1.into())
        );
        let found = &report["findings"][0];
        assert_eq!((&found["path"], &found["line"]), (&"overlays/root/current".into(), &1.into()));
        assert_eq!((&found["grade"], &found["result"]), (&"fault".into(), &"found".into()));
        assert_eq!(fs::read(current(world)).unwrap(), b"nonsense", "looking changes nothing");
    }
    let repaired = tool(&["--repair"]);
    assert_eq!(repaired.status.code(), Some(0), "{}", text(&repaired));
    let said = String::from_utf8_lossy(&repaired.stdout).into_owned();
    assert!(
        said.starts_with("overlays/root/current:1: repaired: not the number of a generation\n"),
        "{said}"
    );
    assert!(said.ends_with("1 thing repaired. The store is sound.\n"), "{said}");
    assert_eq!(fs::read(current(world)).unwrap(), b"1\n");
    fs::remove_file(current(world).with_extension("damaged")).unwrap();
    assert_eq!(tool(&[]).status.code(), Some(0));
}

#[test]
fn over_the_bus() {
    let mut world = world();
    world.start_daemon(&["--idle-timeout", "0"]);
    finds_and_repairs(&world, &[]);
}

#[test]
fn without_a_daemon() {
    let world = world();
    let store = world.store().display().to_string();
    finds_and_repairs(&world, &["--store", &store]);
    let nowhere = world.dir.display().to_string();
    let refused = world.tool(&["--store", &nowhere, "store", "check", "--repair"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused));
    assert!(!Path::new(&nowhere).join("job").exists());
}

#[test]
fn marks_in_layers_are_told_when_asked_for() {
    let mut world = world();
    let upper = world.upper();
    fs::create_dir(upper.join("etc")).unwrap();
    let mark = |name: &str| {
        fs::write(upper.join(name), "").unwrap();
        let arguments = ["-n", "trusted.overlay.metacopy"];
        let marked = Command::new("setfattr").args(arguments).arg(upper.join(name)).status().unwrap();
        assert!(marked.success());
    };
    mark("etc/deep");
    world.start_daemon(&["--idle-timeout", "0"]);
    let store = world.store().display().to_string();
    let places = [&[][..], &["--store", &store]];
    let check = |place: &[&str], more: &[&str]| {
        let output = world.tool(&[place, &["store", "check", "--json"], more].concat());
        (output.status.code().unwrap(), json(&output))
    };
    for place in places {
        assert_eq!(check(place, &[]).0, 0, "it is not looked for");
        for more in [&["--layers"][..], &["--layers", "--repair"]] {
            let (code, report) = check(place, more);
            assert_eq!(
                (code, &report["faults"], &report["repairable"]),
                (1, &1.into(), &0.into()),
                "{report}"
            );
            let found = &report["findings"][0];
            assert_eq!(found["path"], "overlays/root/generations/1/fs/etc/deep");
            assert_eq!(
                (&found["what"], &found["repair"]),
                (&"bears the mark trusted.overlay.metacopy".into(), &"".into())
            );
        }
    }
    // What lies at the top of a layer is seen in any case, and told once.
    mark("top");
    for place in places {
        for (more, faults) in [(&[][..], 1), (&["--layers"], 2)] {
            let (code, report) = check(place, more);
            assert_eq!((code, &report["faults"]), (1, &faults.into()), "{report}");
        }
    }
}

#[test]
fn it_is_refused_while_something_works_on_the_store() {
    let mut world = world();
    world.start_daemon(&["--idle-timeout", "0"]);
    let store = world.store().display().to_string();
    let layout = Layout::new(&store);
    let _job = overlayd::store::job::JobLock::take(&layout, "somebody", "snapshot of root").unwrap();
    for place in [&[][..], &["--store", &store]] {
        for repair in [&[][..], &["--repair"]] {
            let refused = world.tool(&[place, &["store", "check"], repair].concat());
            assert_eq!(refused.status.code(), Some(4), "{}", text(&refused));
            assert!(text(&refused).contains("somebody, snapshot of root"), "{}", text(&refused));
        }
    }
}

#[test]
fn who_may() {
    let mut world = world();
    world.start_polkit(
        "polkit.addRule(function(action, subject) {\n\
           if (action.id == 'org.overlayd1.read-changes') return polkit.Result.YES;\n\
           return polkit.Result.NO;\n\
         });\n",
    );
    world.start_daemon(&["--idle-timeout", "0"]);
    let check = |flags: u64| {
        world.call_as_nobody(ROOT, &format!("{MANAGER}.CheckStore"), &[&format!("uint64:{flags}")])
    };
    for flags in [0, 2, 4, 7] {
        assert!(check(flags).status.success(), "{}", text(&check(flags)));
    }
    for flags in [1, 3] {
        let denied = text(&check(flags));
        assert!(denied.contains("AccessDenied") && denied.contains("org.overlayd1.repair-store"), "{denied}");
    }
    let bus = world.connect();
    let unknown: zbus::Result<(u64, zbus::OwnedObjectPath)> = call(&bus, ROOT, MANAGER, "CheckStore", &8u64);
    assert_eq!(error_name(unknown), "org.freedesktop.DBus.Error.InvalidArgs");
}
