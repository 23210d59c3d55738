//! overlayctl: with the daemon, with a store only, and with neither.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::world::{World, reset, text, until};

#[test]
fn reset_asks_before_it_acts_and_cancel_takes_it_back() {
    let world = World::with_daemon();
    let asked = world.tool(&["reset"]);
    assert_eq!(asked.status.code(), Some(4), "{}", text(&asked));
    let said = text(&asked);
    assert!(
        said.contains("Lost: generation 1") && said.contains("in 1 entry") && said.contains("--yes"),
        "{said}"
    );
    assert!(!world.request().exists());
    assert_eq!(world.tool(&["reset", "--yes"]).status.code(), Some(0));
    let again = world.tool(&["--json", "reset", "--yes"]);
    assert!(text(&again).contains("\"result\":\"was-pending\""), "{}", text(&again));
    let status = text(&world.tool(&["status"]));
    assert!(status.contains("Pending: reset at the next boot"), "{status}");
    assert!(status.contains("by root (uid 0) via D-Bus"), "{status}");
    assert_eq!(world.tool(&["cancel"]).status.code(), Some(0));
    assert_eq!(world.tool(&["cancel"]).status.code(), Some(3));
    assert_eq!(world.tool(&["reset", "--yes", "--now=soft-reboot"]).status.code(), Some(4));
    assert_eq!(world.tool(&["reset", "--level"]).status.code(), Some(2));
}

#[test]
fn a_store_is_enough() {
    let world = World::new();
    let store = world.store().display().to_string();
    let run = |arguments: &[&str]| world.tool(&[&["--store", store.as_str()], arguments].concat());
    let status = run(&["--json", "status"]);
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(json["overlays"][0]["generation"], 1);
    assert!(text(&run(&["list"])).contains("root"));
    assert!(text(&run(&["reset", "--dry-run"])).contains("At the next boot:"));
    assert!(!world.request().exists());
    assert_eq!(run(&["reset", "--yes"]).status.code(), Some(0));
    assert!(fs::read_to_string(world.request()).unwrap().contains("via overlayctl --store"));
    assert_eq!(run(&["cancel"]).status.code(), Some(0));
    assert_eq!(run(&["cancel"]).status.code(), Some(3));
    assert_eq!(run(&["reset", "--yes", "--now=reboot"]).status.code(), Some(2));
    fs::write(world.store().join("overlays/root/current"), "garbage\n").unwrap();
    let damaged = run(&["status"]);
    assert!(text(&damaged).contains("current"), "{}", text(&damaged));
}

#[test]
fn the_read_only_view_of_a_running_system_is_left_alone() {
    let world = World::new();
    let script = "mount --bind store store && mount -o remount,bind,ro store && exec ./overlayctl --store store reset -y";
    let output = world.run(Command::new("unshare").args(["-m", "sh", "-ec", script]));
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("leave --store out"), "{}", text(&output));
    assert!(!world.request().exists());
}

#[test]
fn without_a_daemon_root_still_sees_and_others_are_told() {
    let world = World::new();
    let status = world.tool(&["status"]);
    assert!(status.status.success(), "{}", text(&status));
    assert!(String::from_utf8_lossy(&status.stderr).contains("reading the files directly"));
    let other = world.as_nobody("./overlayctl", &["status"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other).contains("can not be reached"), "{}", text(&other));
}

#[test]
fn config_check_names_file_line_and_the_nearest_key() {
    let world = World::new();
    let dir = world.dir.join("image/etc/overlayd");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("overlayd.toml"), "[overlay.root]\nmod = \"volatile\"\n").unwrap();
    let check = world.tool(&["config", "check", "--root", "image"]);
    assert_eq!(check.status.code(), Some(1));
    let said = text(&check);
    assert!(said.contains("/etc/overlayd/overlayd.toml:2") && said.contains("mode"), "{said}");
    fs::write(dir.join("overlayd.toml"), "[overlay.root]\nmode = \"volatile\"\n").unwrap();
    let check = world.tool(&["config", "check", "--root", "image"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    let show = text(&world.tool(&["config", "show", "--root", "image"]));
    let line = show.lines().find(|l| l.starts_with("overlay.root.mode")).unwrap_or_default();
    assert!(line.contains("volatile") && line.contains("overlayd.toml:2"), "{show}");
}

#[test]
fn monitor_follows() {
    let world = World::with_daemon();
    let mut command = Command::new(world.dir.join("overlayctl"));
    command.args(["--json", "monitor"]).env("DBUS_SYSTEM_BUS_ADDRESS", world.address());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let bus = world.connect();
    let mut next = |wanted: &str| lines.find(|line| line.contains(wanted));
    // It may not listen yet: ask until something is heard.
    let heard = std::thread::scope(|scope| {
        let listener = scope.spawn(|| (next("\"event\":\"job-new\""), next("\"event\":\"job-removed\"")));
        until("monitor hears of a job", || {
            let _ = reset(&bus, 0);
            std::thread::sleep(std::time::Duration::from_millis(100));
            listener.is_finished()
        });
        listener.join().unwrap()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(heard.0.unwrap().contains("\"overlay\":\"root\""));
    assert!(heard.1.unwrap().contains("\"result\":\"done\""));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::with_daemon();
    let script = "./overlayctl status | true; echo ${PIPESTATUS[0]}";
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("DBUS_SYSTEM_BUS_ADDRESS", world.address()).current_dir(&world.dir);
    let output = command.output().unwrap();
    assert_eq!(text(&output), "0\n");
}
