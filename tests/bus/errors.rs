//! Errors by name, with the remedy in their text.

use std::fs;

use crate::world::{
    JOB, MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, World, call, error_name, property, reset, until,
};

const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";
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
    assert_eq!(ask("wipe", &[], 0), NOT_SUPPORTED);
    assert_eq!(ask("reset", &["/etc/hostname"], 0), NOT_SUPPORTED);
    assert_eq!(error_name(call::<_, String>(&bus, ROOT, MANAGER, "Describe", &1u64)), INVALID);
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
    let handoff = world.dir.join("boot.toml");
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
