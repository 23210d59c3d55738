//! The end of a reset to the image: what was given up is deleted, the device is told, and only then it is complete.

use std::fs;
use std::path::Path;

use crate::ear::{change, signals};
use crate::jobs::Row;
use crate::world::{MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, World, call, property, until};

const SECRET: &[u8] = b"the secret of the last owner, 4711. ";

/// As a boot leaves it that carried out a reset to the image: a tree with secrets in the trash, erasing.
fn reset(world: &World, small: u32) {
    let root = world.store().join("overlays/root");
    let tree = root.join("trash/1/fs");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("big"), SECRET.repeat((8 << 20) / SECRET.len())).unwrap();
    for n in 0..small {
        let dir = tree.join((n / 100).to_string());
        if n % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(n.to_string()), SECRET).unwrap();
    }
    let outcome = "version = 1\nrequest = \"f00\"\naction = \"reset\"\nrequested-by = \"a test\"\nrequested-at = 1\n\
                   executed-at = 2\nboot = \"b\"\nresult = \"done\"\nfrom-generation = 1\nto-generation = 1\n\
                   level = \"factory\"\nerasure = \"erasing\"\n";
    fs::write(root.join("outcome.toml"), outcome).unwrap();
    nix::unistd::sync();
}

fn state(bus: &zbus::Connection) -> String {
    property(bus, ROOT, MANAGER, "FactoryResetState")
}

/// How often the secret is found in a file.
fn found(image: &Path) -> usize {
    let bytes = fs::read(image).unwrap();
    let mut at = 0;
    let mut count = 0;
    while let Some(next) = bytes[at..].iter().position(|b| *b == SECRET[0]) {
        at += next;
        count += usize::from(bytes[at..].starts_with(SECRET));
        at += 1;
    }
    count
}

fn last(bus: &zbus::Connection) -> serde_json::Value {
    let json: String = call(bus, OVERLAY_ROOT, OVERLAY, "Describe", &0u64).unwrap();
    let described: serde_json::Value = serde_json::from_str(&json).unwrap();
    described["last"].clone()
}

fn is_erased_and_told(fstype: &str, mib: u64) {
    let mut world = World::on(fstype, mib);
    reset(&world, 10);
    let image = world.image();
    assert!(found(&image) > 100_000, "the secrets are on the disk");
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    until("it is complete", || state(&bus) == "complete");
    assert!(world.trash().is_empty());
    let last = last(&bus);
    assert_eq!((&last["erasure"], &last["secure"]), (&"complete".into(), &"unknown".into()), "{last}");
    assert!(last["secure-why"].as_str().unwrap().contains("FITRIM"), "{last}");
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "ResetIsSecure"), "unknown");
    // Everything else of the record stays.
    assert_eq!((&last["requested-by"], &last["level"]), (&"a test".into(), &"factory".into()));
    // This device forgets what it is told to: what is left lies in the filesystem's journal at most.
    let left = found(&image);
    assert!(left < 100, "{left} secrets are still on the disk");
}

#[test]
fn on_a_device_that_can_not_discard_it_is_not_called_secure() {
    let mut world = World::on_what_can_not_discard("ext4", 128);
    reset(&world, 10);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    until("it is complete", || state(&bus) == "complete");
    let last = last(&bus);
    assert_eq!((&last["erasure"], &last["secure"]), (&"complete".into(), &"no".into()), "{last}");
    assert!(last["secure-why"].as_str().unwrap().contains("not told"), "{last}");
    let left = found(&world.image());
    assert!(left > 100_000, "it is as it says: {left} secrets are still on the disk");
}

#[test]
fn what_was_given_up_is_discarded_on_ext4() {
    is_erased_and_told("ext4", 128);
}

#[test]
fn what_was_given_up_is_discarded_on_xfs() {
    is_erased_and_told("xfs", 320);
}

#[test]
fn what_was_given_up_is_discarded_on_btrfs() {
    is_erased_and_told("btrfs", 256);
}

#[test]
fn it_is_not_complete_before_it_is_and_goes_on_after_a_kill() {
    let mut world = World::on("ext4", 192);
    reset(&world, 20_000);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert_eq!(state(&bus), "erasing");
    let mut daemon = world.daemon.take().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(!world.trash().is_empty(), "it was killed in the middle");
    let record = fs::read_to_string(world.store().join("overlays/root/outcome.toml")).unwrap();
    assert!(record.contains("erasure = \"erasing\"") && !record.contains("secure"), "{record}");
    world.start_daemon(&["--idle-timeout", "0"]);
    let again = world.connect();
    until("it is complete", || state(&again) == "complete");
    assert!(world.trash().is_empty());
}

#[test]
fn who_is_killed_after_the_last_file_still_tells_the_device_and_the_clients() {
    let mut world = World::on("ext4", 128);
    reset(&world, 1);
    fs::remove_dir_all(world.store().join("overlays/root/trash/1")).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let mut told = signals(&bus);
    if state(&bus) != "complete" {
        change(&mut told, ROOT, "FactoryResetState");
    }
    until("it is complete", || state(&bus) == "complete");
    assert_eq!(last(&bus)["secure"], "unknown");
}

#[test]
fn while_the_request_stands_there_is_more_to_come() {
    let mut world = World::on("ext4", 128);
    reset(&world, 1);
    // As a power cut leaves it, between the outcome and the end.
    let request = "version = 1\nid = \"f00\"\nstore = \"6f1c0a52-93a5-4b0e-9a77-0123456789ab\"\naction = \"reset\"\n\
                   requested-by = \"a test\"\nrequested-at = 1\nboot = \"b\"\nlevel = \"factory\"\n";
    fs::write(world.request(), request).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    until("the trash is empty", || world.trash().is_empty());
    until("the cleanup is over", || {
        let jobs: Vec<Row> = call(&bus, ROOT, MANAGER, "ListJobs", &0u64).unwrap();
        jobs.iter().any(|job| job.1 == "cleanup" && job.3 == "finished")
    });
    assert_eq!(last(&bus)["erasure"], "erasing");
}

#[test]
fn without_a_daemon_the_tool_ends_it_when_it_cleans_up() {
    let world = World::on("ext4", 128);
    reset(&world, 1);
    let store = world.store().display().to_string();
    let run = |arguments: &[&str]| {
        let output = world.tool(&[&["--store", store.as_str()], arguments].concat());
        assert!(output.status.success(), "{}", crate::world::text(&output));
        crate::world::text(&output)
    };
    assert!(run(&["status"]).contains("erasing what was given up"));
    run(&["snapshot", "create"]);
    let status = run(&["status"]);
    assert!(status.contains("erased securely: unknown: ") && !status.contains("erasing"), "{status}");
}
