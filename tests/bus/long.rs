//! Long work: how far it is, who is in the way, what does not wait for it, and how it is stopped.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zbus::{Connection, OwnedObjectPath};

use crate::ear::{Accepted, done, end, signal, signals};
use crate::world::{JOB, OVERLAY, OVERLAY_ROOT, World, call, error_name, property, reset, until};

/// Files in the upper of [`large`]: enough for some seconds.
const FILES: u64 = 40_000;

/// One of these at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

/// A world whose upper takes a while to copy, for one test at a time.
fn large() -> (World, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::on("ext4", 2048);
    for n in 0..FILES {
        let dir = world.upper().join((n / 500).to_string());
        if n % 500 == 0 {
            fs::create_dir(&dir).unwrap();
        }
        fs::write(dir.join(n.to_string()), "some bytes").unwrap();
    }
    world.start_daemon(&["--idle-timeout", "0"]);
    (world, alone)
}

fn create(bus: &Connection) -> zbus::Result<Accepted> {
    call(bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &("large", HashMap::<&str, &str>::new(), 0u64))
}

fn get<T>(bus: &Connection, job: &OwnedObjectPath, name: &str) -> T
where
    T: TryFrom<zbus::OwnedVariant>,
    T::Error: std::fmt::Debug,
{
    property(bus, job.as_str(), JOB, name)
}

/// Waits until it is known how much there is to copy.
fn under_way(bus: &Connection, job: &OwnedObjectPath) {
    until("it is under way", || {
        assert_ne!(get::<String>(bus, job, "State"), "finished", "it was too quick for this test");
        get::<u64>(bus, job, "TotalEntries") > 0
    });
}

#[test]
fn a_copy_tells_how_far_it_is_and_its_result_stays_listed() {
    let (world, _alone) = large();
    let bus = world.connect();
    let mut told = signals(&bus);
    let started = Instant::now();
    let made = done(&bus, create(&bus));
    let took = started.elapsed();
    let (mut seen, mut totals) = (Vec::new(), Vec::new());
    loop {
        let message = signal(&mut told, "PropertiesChanged");
        let header = message.header();
        if header.path().is_none_or(|p| p.as_str() != made.job.as_str()) {
            continue;
        }
        let (_, values, _): (String, HashMap<String, zbus::OwnedVariant>, Vec<String>) =
            message.body().deserialize().unwrap();
        let number = |name: &str| u64::try_from(&values[name]).unwrap();
        if values.contains_key("State") && <&str>::try_from(&values["State"]).unwrap() == "finished" {
            break;
        }
        if number("TotalEntries") > 0 {
            seen.push((number("Entries"), number("Bytes"), u32::try_from(&values["Progress"]).unwrap()));
            totals.push((number("TotalEntries"), number("TotalBytes")));
        }
    }
    assert!(seen.len() >= 2, "{seen:?} in {took:?}");
    assert!(seen.is_sorted() && seen.iter().any(|(entries, ..)| *entries > 0), "{seen:?}");
    assert!(totals.iter().all(|total| *total == totals[0]), "{totals:?}");
    assert_eq!(totals[0], (made.number("entries"), made.number("bytes")));
    let most = took.as_millis() / 200 + 5;
    assert!((seen.len() as u128) <= most, "{} in {took:?}", seen.len());
    assert_eq!(get::<u32>(&bus, &made.job, "Progress"), 100);
    assert_eq!(get::<String>(&bus, &made.job, "Result"), "done");
}

#[test]
fn cancel_stops_a_copy_within_a_second_and_leaves_nothing() {
    let (world, _alone) = large();
    // Whatever else the machine has to do: one of three tries shows how long it takes.
    let took: Vec<Duration> = (0..3).map(|_| cancel_one(&world)).collect();
    assert!(took.iter().min().is_some_and(|t| *t < Duration::from_secs(1)), "{took:?}");
    let trash = world.store().join("overlays/root/trash");
    until("what it had copied is deleted", || fs::read_dir(&trash).unwrap().next().is_none());
}

/// Cancels a copy by another client, and returns how long its end took.
fn cancel_one(world: &World) -> Duration {
    let (bus, other) = (world.connect(), world.connect());
    let (_, job) = create(&bus).unwrap();
    under_way(&bus, &job);
    let asked = Instant::now();
    call::<_, ()>(&other, job.as_str(), JOB, "Cancel", &0u64).unwrap();
    until("it is over", || get::<String>(&other, &job, "State") == "finished");
    let took = asked.elapsed();
    assert_eq!(get::<String>(&bus, &job, "Result"), "canceled");
    assert_eq!(get::<String>(&bus, &job, "Error"), "");
    assert_eq!(world.snapshots(), Vec::<String>::new());
    took
}

#[test]
fn ctrl_c_at_the_tool_cancels_its_job() {
    let (world, _alone) = large();
    let bus = world.connect();
    let mut command = Command::new(world.dir.join("overlayctl"));
    command.args(["snapshot", "create"]).env("DBUS_SYSTEM_BUS_ADDRESS", world.address());
    let mut tool = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let active = || property::<OwnedObjectPath>(&bus, OVERLAY_ROOT, OVERLAY, "ActiveJob");
    until("there is a job", || active().as_str() != "/");
    let job = active();
    under_way(&bus, &job);
    kill(Pid::from_raw(i32::try_from(tool.id()).unwrap()), Signal::SIGINT).unwrap();
    assert!(!tool.wait().unwrap().success());
    assert_eq!(get::<String>(&bus, &job, "Result"), "canceled");
    assert_eq!(world.snapshots(), Vec::<String>::new());
}

#[test]
fn the_second_client_is_told_who_is_at_what_and_a_request_does_not_wait() {
    let (world, _alone) = large();
    let (first, second) = (world.connect(), world.connect());
    let (id, job) = create(&first).unwrap();
    under_way(&first, &job);
    let error = create(&second).unwrap_err();
    let said = error.to_string();
    assert!(said.contains(&format!("job {id} (snapshot of root) by root (uid 0)")), "{said}");
    assert_eq!(error_name::<()>(Err(error)), "org.overlayd1.Error.JobInProgress");
    assert_eq!(property::<OwnedObjectPath>(&second, OVERLAY_ROOT, OVERLAY, "ActiveJob"), job);
    let asked = done(&second, reset(&second, 0));
    assert_eq!(get::<String>(&second, &asked.job, "Type"), "reset");
    assert_eq!(get::<String>(&second, &job, "State"), "running", "the copy goes on");
    assert!(world.request().exists());
    call::<_, ()>(&second, OVERLAY_ROOT, OVERLAY, "CancelPending", &0u64).unwrap();
    assert_eq!(end(&first, Ok((id, job))).result, "done");
}

#[test]
fn work_without_the_daemon_is_in_the_way_by_name_too() {
    let mut world = World::on("ext4", 64);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(world.store().join("job"));
    let mut lock = Flock::lock(file.unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    lock.write_all(b"root (uid 0) via overlayctl --store, commit of root\n").unwrap();
    let made = end(&bus, create(&bus));
    assert_eq!(made.error, "org.overlayd1.Error.JobInProgress");
    assert!(made.text("message").contains("via overlayctl --store, commit of root"), "{made:?}");
    drop(lock);
    done(&bus, create(&bus));
}

#[test]
fn sigterm_stops_a_copy_that_would_take_too_long_and_nothing_half_made_stays() {
    let (mut world, _alone) = large();
    let bus = world.connect();
    let (_, job) = create(&bus).unwrap();
    under_way(&bus, &job);
    let asked = Instant::now();
    let pid = Pid::from_raw(i32::try_from(world.daemon.as_ref().unwrap().id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let mut exited = || world.daemon.as_mut().unwrap().try_wait().unwrap();
    until("it exits", || exited().is_some());
    assert_eq!(exited().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // Complete, if it was quicker than that, or gone.
    let left = world.snapshots();
    assert!(left.is_empty() || left == ["1"], "{left:?}");
}

#[test]
fn a_kill_in_the_middle_leaves_no_snapshot_and_the_next_one_is_whole() {
    let (mut world, _alone) = large();
    let bus = world.connect();
    let (_, job) = create(&bus).unwrap();
    under_way(&bus, &job);
    let mut daemon = world.daemon.take().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(!world.snapshots().contains(&"1".to_owned()), "{:?}", world.snapshots());
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let rows: Vec<(u64, String, OwnedObjectPath)> =
        call(&bus, OVERLAY_ROOT, OVERLAY, "ListSnapshots", &0u64).unwrap();
    assert!(rows.is_empty(), "{rows:?}");
    let made = done(&bus, create(&bus));
    assert_eq!(made.number("entries"), FILES + FILES / 500 + 1);
}

#[test]
fn a_disk_that_is_too_small_is_said_with_figures_before_anything_is_copied() {
    let mut world = World::on("ext4", 64);
    fs::write(world.upper().join("big"), vec![1; 40 << 20]).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let made = end(&bus, create(&bus));
    assert_eq!(made.error, "org.overlayd1.Error.InsufficientSpace");
    assert!(made.text("message").contains("MiB"), "{made:?}");
    assert!(world.snapshots().is_empty());
}
