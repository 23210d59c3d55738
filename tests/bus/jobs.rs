//! A job's life: announced before the reply, one writer at a time, finished ones stay listed, the client may go.

use std::fs;

use nix::fcntl::{Flock, FlockArg};
use zbus::{Connection, OwnedObjectPath};

use crate::ear::{signal, signals};
use crate::world::{
    JOB, MANAGER, NAME, OVERLAY, OVERLAY_ROOT, ROOT, World, call, error_name, property, reset, text, until,
};

/// Of `ListJobs`: number, type, overlay, state, per cent, path.
pub(crate) type Row = (u64, String, String, String, u32, OwnedObjectPath);

fn jobs(bus: &Connection) -> Vec<Row> {
    call(bus, ROOT, MANAGER, "ListJobs", &0u64).unwrap()
}

/// Holds the store's lock, as another writer would.
fn hold(world: &World) -> Flock<fs::File> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(world.store().join("lock"))
        .unwrap();
    Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap()
}

#[test]
fn a_reset_is_announced_done_and_stays_listed() {
    let world = World::with_daemon();
    let bus = world.connect();
    let mut told = signals(&bus);
    let reply = zbus::block_on(bus.call_method(
        Some(NAME),
        OVERLAY_ROOT,
        Some(OVERLAY),
        "Reset",
        &("reset", Vec::<String>::new(), 0u64),
    ))
    .unwrap();
    let (id, job): (u64, OwnedObjectPath) = reply.body().deserialize().unwrap();
    let new = signal(&mut told, "JobNew");
    assert!(new.recv_position() < reply.recv_position(), "JobNew comes before the reply");
    assert_eq!(
        new.body().deserialize::<(u64, OwnedObjectPath, String)>().unwrap(),
        (id, job.clone(), "root".into())
    );
    let removed = signal(&mut told, "JobRemoved");
    let (ended, _, overlay, result, error, message): (u64, OwnedObjectPath, String, String, String, String) =
        removed.body().deserialize().unwrap();
    assert_eq!((ended, overlay.as_str(), result.as_str()), (id, "root", "done"), "{error} {message}");
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "PendingAction"), "reset");
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "FactoryResetState"), "pending");
    let row = jobs(&bus).pop().unwrap();
    assert_eq!((row.0, row.1.as_str(), row.3.as_str(), row.4), (id, "reset", "finished", 100));
    assert_eq!(property::<String>(&bus, job.as_str(), JOB, "Initiator"), "root (uid 0)");
    assert!(fs::read_to_string(world.request()).unwrap().contains("root (uid 0) via D-Bus"));
    let cancel = call::<_, ()>(&bus, job.as_str(), JOB, "Cancel", &0u64);
    assert_eq!(error_name(cancel), "org.overlayd1.Error.NoPendingAction");
}

#[test]
fn a_change_is_told_to_those_who_listen() {
    let world = World::with_daemon();
    let bus = world.connect();
    let _: String = call(&bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    let mut told = signals(&bus);
    reset(&bus, 0).unwrap();
    loop {
        let message = signal(&mut told, "PropertiesChanged");
        let (interface, values, _): (
            String,
            std::collections::HashMap<String, zbus::OwnedVariant>,
            Vec<String>,
        ) = message.body().deserialize().unwrap();
        if interface == OVERLAY && values.contains_key("PendingAction") {
            assert!(values.contains_key("PendingSince"), "one signal for all: {values:?}");
            assert!(!values.contains_key("Mode"), "only what changed: {values:?}");
            break;
        }
    }
    call::<_, ()>(&bus, OVERLAY_ROOT, OVERLAY, "CancelPending", &0u64).unwrap();
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "PendingAction"), "");
    assert!(!world.request().exists());
}

#[test]
fn a_dry_run_shows_both_plans_and_writes_nothing() {
    let world = World::with_daemon();
    let output = world.tool(&["--json", "reset", "--dry-run"]);
    let plans: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plans["now"].as_array().is_some_and(|l| !l.is_empty()), "{plans}");
    assert!(plans["at-boot"].as_array().is_some_and(|l| l.len() > 2), "{plans}");
    assert!(!world.request().exists());
}

#[test]
fn a_second_writer_is_told_who_is_in_the_way_and_the_first_one_is_not_disturbed() {
    let world = World::with_daemon();
    let (first, second) = (world.connect(), world.connect());
    let lock = hold(&world);
    let (id, job) = reset(&first, 0).unwrap();
    let error = reset(&second, 0).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("job {id} (reset of root) by root (uid 0)")), "{text}");
    assert_eq!(error_name::<()>(Err(error)), "org.overlayd1.Error.JobInProgress");
    assert_eq!(property::<OwnedObjectPath>(&second, OVERLAY_ROOT, OVERLAY, "ActiveJob"), job);
    let cancel = call::<_, ()>(&second, OVERLAY_ROOT, OVERLAY, "CancelPending", &0u64);
    assert_eq!(error_name(cancel), "org.overlayd1.Error.JobInProgress");
    // The client who asked goes; the job does not mind.
    drop(first);
    drop(lock);
    until("the job is over", || jobs(&second)[0].3 == "finished");
    assert_eq!(property::<String>(&second, job.as_str(), JOB, "Result"), "done");
    assert_eq!(property::<OwnedObjectPath>(&second, OVERLAY_ROOT, OVERLAY, "ActiveJob").as_str(), "/");
    assert!(world.request().exists());
}

/// Trees of so many files in the trash.
fn litter(world: &World, files: u32) {
    let tree = world.store().join("overlays/root/trash/1/fs");
    for n in 0..files {
        let dir = tree.join((n / 100).to_string());
        if n % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(n.to_string()), "x").unwrap();
    }
}

#[test]
fn what_resets_left_behind_is_deleted_and_a_request_does_not_wait_for_it() {
    let mut world = World::new();
    litter(&world, 10_000);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    until("the cleanup is listed", || !jobs(&bus).is_empty());
    assert_eq!((jobs(&bus)[0].1.as_str(), jobs(&bus)[0].2.as_str()), ("cleanup", ""));
    let output = world.tool(&["reset", "--yes"]);
    assert!(output.status.success(), "{}", text(&output));
    until("the trash is empty", || world.trash().is_empty());
    until("the cleanup is over", || jobs(&bus)[0].3 == "finished");
    assert!(world.request().exists());
}

#[test]
fn a_cleanup_can_be_stopped_and_killed_and_goes_on_the_next_time() {
    let mut world = World::new();
    litter(&world, 20_000);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    until("the cleanup is listed", || !jobs(&bus).is_empty());
    let job = jobs(&bus).remove(0).5;
    call::<_, ()>(&bus, job.as_str(), JOB, "Cancel", &0u64).unwrap();
    until("it is over", || property::<String>(&bus, job.as_str(), JOB, "State") == "finished");
    assert_eq!(property::<String>(&bus, job.as_str(), JOB, "Result"), "canceled");
    assert!(!world.trash().is_empty(), "it was stopped in the middle");
    let mut daemon = world.daemon.take().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let again = world.connect();
    until("the trash is empty", || world.trash().is_empty());
    until("it is over", || jobs(&again)[0].3 == "finished");
    assert!(jobs(&again)[0].0 > 0);
}
