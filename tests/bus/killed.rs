//! The daemon dies, or is told to end, in the middle of a job: the next one finds the whole or nothing, cleans up, and the
//! same thing done again succeeds. strace kills at the N-th system call of a kind, counted in each thread.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zbus::Connection;

use crate::ear::{Accepted, done};
use crate::jobs::Row;
use crate::world::{
    MANAGER, NAME, OVERLAY, OVERLAY_ROOT, ROOT, SNAPSHOT, World, call, has_owner, project, until,
};

/// Moments of a job that makes a snapshot: at its lock, its number, its directory, in the middle, when all is to be made
/// durable, and at the renames that make it count.
const COPYING: &[(&str, u32)] = &[
    ("openat", 4),
    ("mkdirat,mkdir", 1),
    ("openat2", 20),
    ("copy_file_range,write,pwrite64", 3),
    ("fsync,syncfs", 1),
    ("fsync,syncfs", 3),
    ("fsync,syncfs", 6),
    ("rename,renameat,renameat2", 1),
    ("rename,renameat,renameat2", 2),
    ("rename,renameat,renameat2", 3),
];
const FILES: u32 = 60;

/// A world on a filesystem with something in the upper.
fn world(fstype: &str) -> World {
    let world = World::on(fstype, if fstype == "ext4" { 64 } else { 320 });
    for n in 0..FILES {
        let dir = world.upper().join((n / 10).to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(n.to_string()), vec![b'x'; 3000]).unwrap();
    }
    world
}

/// Starts a daemon, and what makes it die at such a call of one of its threads from there on.
fn start_victim(world: &mut World, call: &str, nth: u32) -> Connection {
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    until("it has looked", || call_describe(&bus).is_ok());
    let pid = world.daemon.as_ref().unwrap().id();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string(), "-e"]);
    let mut strace = strace.arg(format!("inject={call}:signal=KILL:when={nth}")).spawn().unwrap();
    let status = format!("/proc/{pid}/status");
    let is_traced = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("TracerPid:\t0\n"));
    until("it is traced", || is_traced() || strace.try_wait().unwrap().is_some());
    // It ends with the daemon.
    std::thread::spawn(move || strace.wait());
    bus
}

fn call_describe(bus: &Connection) -> zbus::Result<String> {
    call(bus, ROOT, MANAGER, "Describe", &0u64)
}

/// Waits until its jobs are over, or it is dead; whether it is dead.
fn is_killed(world: &mut World, bus: &Connection) -> bool {
    let mut ended = None;
    until("it is dead, or has done it", || {
        ended = world.daemon.as_mut().unwrap().try_wait().unwrap();
        ended.is_some() || is_idle(bus)
    });
    if let Some(status) = ended {
        assert_eq!(status.signal(), Some(9), "it was not killed");
    }
    end_daemon(world);
    ended.is_some()
}

fn end_daemon(world: &mut World) {
    world.kill_daemon();
    let bus = world.connect();
    until("the name is free", || !has_owner(&bus, NAME));
}

/// Whether the daemon answers that it has no job.
fn is_idle(bus: &Connection) -> bool {
    let jobs: zbus::Result<Vec<Row>> = call(bus, ROOT, MANAGER, "ListJobs", &0u64);
    jobs.is_ok_and(|jobs| !jobs.is_empty() && jobs.iter().all(|job| job.3 == "finished"))
}

fn create(bus: &Connection) -> zbus::Result<Accepted> {
    call(bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &("", HashMap::<&str, &str>::new(), 0u64))
}

fn commit(bus: &Connection) -> zbus::Result<Accepted> {
    let (none, no_paths) = (HashMap::<&str, &str>::new(), &[] as &[&str]);
    call(bus, OVERLAY_ROOT, OVERLAY, "Commit", &("", none, no_paths, 0u64))
}

fn baseline(world: &World) -> Option<u64> {
    let text = fs::read_to_string(world.store().join("overlays/root/baseline")).ok()?;
    Some(text.trim().parse().unwrap())
}

/// What the next daemon says of snapshots is whole: each has every file.
fn are_whole(world: &World, bus: &Connection) -> Vec<u64> {
    let rows: Vec<(u64, String, zbus::OwnedObjectPath)> =
        call(bus, OVERLAY_ROOT, OVERLAY, "ListSnapshots", &0u64).unwrap();
    for (id, ..) in &rows {
        let files = world.store().join(format!("overlays/root/snapshots/{id}/fs"));
        let count =
            (0..FILES).filter(|n| files.join((n / 10).to_string()).join(n.to_string()).is_file()).count();
        assert_eq!(count, FILES as usize, "snapshot {id} is not whole");
    }
    rows.into_iter().map(|(id, ..)| id).collect()
}

/// The next daemon takes the lock, and does it again: there is something new to do.
fn next_one_goes_on(world: &mut World, again: fn(&Connection) -> zbus::Result<Accepted>) -> u64 {
    let news = world.upper().join("news");
    fs::write(&news, format!("{:?}", Instant::now())).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    are_whole(world, &bus);
    let made = done(&bus, again(&bus)).number("snapshot");
    let found = are_whole(world, &bus);
    assert!(found.contains(&made), "{made}: {found:?}");
    end_daemon(world);
    made
}

/// And some time nothing half-made is left.
fn all_is_cleaned(world: &mut World) {
    world.start_daemon(&["--idle-timeout", "0"]);
    until("nothing half-made is left", || world.trash().is_empty());
    assert!(only_whole(world), "{:?}", world.snapshots());
}

fn only_whole(world: &World) -> bool {
    world.snapshots().iter().all(|name| name.parse::<u64>().is_ok())
}

fn killed(fstype: &str, job: fn(&Connection) -> zbus::Result<Accepted>, check: fn(&World, u64)) {
    let mut world = world(fstype);
    let mut kills = 0;
    for (call, nth) in COPYING {
        let bus = start_victim(&mut world, call, *nth);
        // The answer may not come any more.
        let _ = job(&bus);
        kills += u32::from(is_killed(&mut world, &bus));
        if let Some(baseline) = baseline(&world) {
            let record = world.store().join(format!("overlays/root/snapshots/{baseline}/snapshot.toml"));
            assert!(record.is_file(), "{call} {nth}: the baseline is a snapshot that is not there");
        }
        let made = next_one_goes_on(&mut world, job);
        check(&world, made);
    }
    all_is_cleaned(&mut world);
    assert!(kills >= 5, "only {kills} of {} were killed", COPYING.len());
}

#[test]
fn a_kill_at_any_moment_of_a_snapshot_leaves_a_whole_one_or_none() {
    killed("ext4", create, |world, _| assert_eq!(baseline(world), None));
}

#[test]
fn a_kill_at_any_moment_of_a_snapshot_of_a_subvolume_leaves_a_whole_one_or_none() {
    killed("btrfs", create, |world, _| assert_eq!(baseline(world), None));
}

#[test]
fn a_kill_at_any_moment_of_a_commit_leaves_a_baseline_that_is_there() {
    killed("ext4", commit, |world, made| assert_eq!(baseline(world), Some(made)));
}

#[test]
fn a_kill_at_any_moment_of_a_deletion_leaves_what_the_next_one_deletes() {
    let mut world = world("ext4");
    let mut kills = 0;
    for (call, nth) in [
        ("rename,renameat,renameat2", 1),
        ("unlinkat", 1),
        ("unlinkat", 2),
        ("unlinkat", FILES / 2),
        ("unlinkat", FILES + 4),
    ] {
        let made = next_one_goes_on(&mut world, create);
        let bus = start_victim(&mut world, call, nth);
        let path = format!("/org/overlayd1/overlay/root/snapshot/{made}");
        let _: zbus::Result<Accepted> = crate::world::call(&bus, &path, SNAPSHOT, "Delete", &0u64);
        kills += u32::from(is_killed(&mut world, &bus));
    }
    next_one_goes_on(&mut world, create);
    all_is_cleaned(&mut world);
    assert!(kills >= 3, "only {kills} were killed");
}

/// What systemd waits after SIGTERM, as the unit has it.
fn limit() -> Duration {
    let unit = fs::read_to_string(project().join("units/overlayd.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    overlayd::config::values::parse_duration(line.expect("the unit has a limit")).unwrap()
}

#[test]
fn sigterm_at_any_moment_ends_a_job_within_the_limit_of_the_unit() {
    let mut world = world("ext4");
    for n in 0..3000 {
        fs::write(world.upper().join(format!("more-{n}")), "x").unwrap();
    }
    for after in [0, 1, 5, 20, 60, 200, 500] {
        world.start_daemon(&["--idle-timeout", "0"]);
        let bus = world.connect();
        commit(&bus).unwrap();
        std::thread::sleep(Duration::from_millis(after));
        let asked = Instant::now();
        let pid = Pid::from_raw(world.daemon.as_ref().unwrap().id().cast_signed());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = world.daemon.take().unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(0), "{after} ms");
        assert!(asked.elapsed() < limit(), "{after} ms: {:?}", asked.elapsed());
        assert!(only_whole(&world), "{:?}", world.snapshots());
        let made = next_one_goes_on(&mut world, commit);
        assert_eq!(baseline(&world), Some(made));
    }
    all_is_cleaned(&mut world);
}
