//! Errors by name, with the remedy in their text.

use std::collections::HashMap;
use std::fs;

use crate::ear::{Accepted, failed};
use crate::world::{
    JOB, MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, SNAPSHOT, World, call, error_name, property, reset, until,
};

const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";
/// A snapshot that is there from the start.
const FIRST: &str = "/org/overlayd1/overlay/root/snapshot/1";
const NOT_SUPPORTED: &str = "org.freedesktop.DBus.Error.NotSupported";

#[test]
fn arguments_that_can_not_be_right_are_refused_before_anything_is_done() {
    let world = World::with_daemon();
    let bus = world.connect();
    let ask = |level: &str, keep: &[&str], flags: u64| {
        error_name(call::<_, (u64, zbus::OwnedObjectPath)>(
            &bus,
            OVERLAY_ROOT,
            OVERLAY,
            "Reset",
            &(level, keep, flags),
        ))
    };
    assert_eq!(ask("", &[], 1 << 40), INVALID);
    assert_eq!(ask("", &[], 6), INVALID);
    assert_eq!(ask("everything", &[], 0), INVALID);
    assert_eq!(ask("", &[], 1), NOT_SUPPORTED);
    assert_eq!(ask("factory", &["etc/hostname"], 0), INVALID);
    assert_eq!(ask("reset", &["/etc/hostname", ""], 0), INVALID);
    assert_eq!(ask("", &[], 24), INVALID);
    assert_eq!(error_name(call::<_, String>(&bus, ROOT, MANAGER, "Describe", &1u64)), INVALID);
    assert!(!world.request().exists());
}

#[test]
fn what_a_snapshot_can_not_be_called_is_refused() {
    let mut world = World::new();
    world.make_snapshot(1, "");
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let many: Vec<String> = (0..17).map(|n| format!("k{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|k| (k.as_str(), "v")).collect();
    let long = "x".repeat(129);
    let labels: &[(&str, &[(&str, &str)])] = &[
        (&long, &[]),
        ("two\nlines", &[]),
        ("\u{1b}[31m", &[]),
        ("", &[("Upper", "v")]),
        ("", &[("", "v")]),
        ("", &[("key", "\u{7}")]),
        ("", &[("key", &long)]),
        ("", &many),
    ];
    let paths: &[&str] = &[];
    for (description, pairs) in labels {
        let pairs: HashMap<&str, &str> = pairs.iter().copied().collect();
        let create =
            call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &(description, &pairs, 0u64));
        assert_eq!(error_name(create), INVALID, "{description:?} {pairs:?}");
        let commit =
            call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "Commit", &(description, &pairs, paths, 0u64));
        assert_eq!(error_name(commit), INVALID, "{description:?} {pairs:?}");
        let change = call::<_, ()>(&bus, FIRST, SNAPSHOT, "SetMetadata", &(description, &pairs, 0u64));
        assert_eq!(error_name(change), INVALID, "{description:?} {pairs:?}");
    }
}

#[test]
fn paths_and_flags_that_can_not_be_meant_are_refused() {
    let world = World::with_daemon();
    let bus = world.connect();
    let none = HashMap::<&str, &str>::new();
    let restore = |id: u64, paths: &[&str], flags: u64| {
        error_name(call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "Restore", &(id, paths, flags)))
    };
    for path in ["", "etc", "./etc", "../etc", "/etc/../../etc", "/.."] {
        assert_eq!(restore(1, &[path], 0), INVALID, "{path}");
        let commit =
            call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "Commit", &("", &none, &[path][..], 4u64));
        assert_eq!(error_name(commit), INVALID, "{path}");
    }
    for (id, paths, flags) in [
        (0, &[][..], 0),
        (0, &[], 8),
        (1, &["/etc"], 8),
        (1, &["/etc"], 2),
        (1, &[], 6),
        (1, &[], 16),
        (1, &[], 1 << 63),
    ] {
        assert_eq!(restore(id, paths, flags), INVALID, "{id} {paths:?} {flags}");
    }
    assert_eq!(restore(1, &[], 1), NOT_SUPPORTED);
    let undo = |flags: u64| error_name(call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "Undo", &flags));
    assert_eq!((undo(1).as_str(), undo(8).as_str()), (NOT_SUPPORTED, INVALID));
    let create = |flags: u64| {
        error_name(call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &("", &none, flags)))
    };
    assert_eq!((create(2).as_str(), create(4).as_str()), (INVALID, INVALID));
    let rows: zbus::Result<Vec<(u64, String, zbus::OwnedObjectPath)>> =
        call(&bus, OVERLAY_ROOT, OVERLAY, "ListSnapshots", &1u64);
    assert_eq!(error_name(rows), INVALID);
    assert!(!world.request().exists());
}

#[test]
fn a_snapshot_that_is_not_there_fails_by_name() {
    let world = World::with_daemon();
    let bus = world.connect();
    let missing = "org.overlayd1.Error.NoSuchSnapshot";
    let none: &[&str] = &[];
    for flags in [0u64, 4] {
        let restore = call(&bus, OVERLAY_ROOT, OVERLAY, "Restore", &(99u64, none, flags));
        assert_eq!(failed(&bus, restore), missing);
    }
    let path = "/org/overlayd1/overlay/root/snapshot/99";
    let delete = call::<_, Accepted>(&bus, path, SNAPSHOT, "Delete", &0u64);
    assert_eq!(error_name(delete), "org.freedesktop.DBus.Error.UnknownObject");
    let undo = call(&bus, OVERLAY_ROOT, OVERLAY, "Undo", &0u64);
    assert_eq!(failed(&bus, undo), "org.overlayd1.Error.NothingToDo");
    assert!(!world.request().exists());
}

#[test]
fn what_is_not_there_has_a_name() {
    let world = World::with_daemon();
    let bus = world.connect();
    let overlay = call::<_, zbus::OwnedObjectPath>(&bus, ROOT, MANAGER, "GetOverlay", &"nope");
    assert_eq!(error_name(overlay), "org.overlayd1.Error.NoSuchOverlay");
    let cancel = call::<_, ()>(&bus, OVERLAY_ROOT, OVERLAY, "CancelPending", &0u64);
    assert_eq!(error_name(cancel), "org.overlayd1.Error.NoPendingAction");
    let job = call::<_, ()>(&bus, "/org/overlayd1/job/1", JOB, "Cancel", &0u64);
    assert_eq!(error_name(job), "org.freedesktop.DBus.Error.UnknownObject");
}

#[test]
fn without_a_store_nothing_is_promised() {
    let mut world = World::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_overlayd"));
    let handoff = world.handoff();
    command.args(["--idle-timeout", "0", "--root"]).arg(world.dir.join("root")).arg("--handoff").arg(handoff);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", world.address());
    world.spawn_daemon(command);
    let bus = world.connect();
    assert_eq!(error_name(reset(&bus, 0)), "org.overlayd1.Error.StoreUnavailable");
    let can: String = call(&bus, ROOT, MANAGER, "CanFactoryReset", &0u64).unwrap();
    assert_eq!(can, "na");
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "FactoryResetState"), "unsupported");
}

#[test]
fn a_damaged_store_fails_the_job_by_name_and_stays_as_it_is() {
    let mut world = World::new();
    let record = world.store().join("store.toml");
    fs::write(&record, "format = 1\nuuid = \n").unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let (_, job) = reset(&bus, 0).unwrap();
    let get = |name: &str| property::<String>(&bus, job.as_str(), JOB, name);
    until("the job is over", || get("State") == "finished");
    assert_eq!(get("Result"), "failed");
    assert_eq!(get("Error"), "org.overlayd1.Error.StoreDamaged");
    assert_eq!(fs::read_to_string(record).unwrap(), "format = 1\nuuid = \n");
    let json: String = call(&bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    assert!(json.contains("store.toml:2"), "{json}");
}
