//! The daemon's life: ready, alive, idle exit, SIGTERM; a job is never interrupted.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{MANAGER, NAME, ROOT, World, call, has_owner, property, reset, until};

fn exited(world: &mut World) -> Option<i32> {
    world.daemon.as_mut().unwrap().try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
}

fn terminate(world: &World) {
    let pid = Pid::from_raw(i32::try_from(world.daemon.as_ref().unwrap().id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
}

#[test]
fn it_exits_when_idle_and_not_while_it_is_called() {
    let mut world = World::new();
    world.start_daemon(&["--idle-timeout", "5s"]);
    let bus = world.connect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(7) {
        let _: String = call(&bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(exited(&mut world), None);
    until("it exits", || exited(&mut world).is_some());
    assert_eq!(exited(&mut world), Some(0));
    assert!(!has_owner(&bus, NAME));
}

#[test]
fn a_job_that_is_listed_keeps_it() {
    let mut world = World::new();
    world.start_daemon(&["--idle-timeout", "5s"]);
    let bus = world.connect();
    reset(&bus, 0).unwrap();
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(exited(&mut world), None);
}

#[test]
fn sigterm_ends_it_cleanly_and_after_its_job() {
    let mut world = World::with_daemon();
    let bus = world.connect();
    let path = world.store().join("lock");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    reset(&bus, 0).unwrap();
    terminate(&world);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(exited(&mut world), None, "the job is not over");
    assert!(!world.request().exists());
    drop(lock);
    until("it exits", || exited(&mut world).is_some());
    assert_eq!(exited(&mut world), Some(0));
    assert!(world.request().exists());
}

#[test]
fn a_kill_leaves_no_lock_behind_and_the_next_request_is_whole() {
    let mut world = World::new();
    for _ in 0..5 {
        world.start_daemon(&["--idle-timeout", "0"]);
        let bus = world.connect();
        reset(&bus, 0).unwrap();
        let mut daemon = world.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        // All of it or nothing.
        if let Ok(request) = fs::read_to_string(world.request()) {
            assert!(request.starts_with("version = 1\n") && request.contains("boot = "), "{request}");
        }
        until("the name is free", || !has_owner(&bus, NAME));
    }
    world.start_daemon(&["--idle-timeout", "0"]);
    assert!(world.tool(&["reset", "--yes"]).status.success());
    assert!(world.request().exists());
}

#[test]
fn a_crowd_of_callers_is_answered_and_leaves_no_fat() {
    let world = World::with_daemon();
    let buses: Vec<_> = (0..8).map(|_| world.connect()).collect();
    std::thread::scope(|scope| {
        for bus in &buses {
            scope.spawn(move || {
                for _ in 0..100 {
                    let _: String = call(bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
                }
            });
        }
    });
    let status = format!("/proc/{}/status", world.daemon.as_ref().unwrap().id());
    let status = fs::read_to_string(status).unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kilobytes: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 4096, "{kilobytes} kB");
}

#[test]
fn it_tells_systemd_how_it_is() {
    let mut world = World::new();
    let path = world.dir.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut command = world.daemon_command();
    command.args(["--idle-timeout", "0"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    world.spawn_daemon(command);
    let read = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("it tells something");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(read(), "READY=1");
    for _ in 0..4 {
        assert_eq!(read(), "WATCHDOG=1");
    }
    terminate(&world);
    while read() != "STOPPING=1" {}
    until("it exits", || exited(&mut world).is_some());
    assert_eq!(exited(&mut world), Some(0));
}

#[test]
fn there_is_only_one() {
    let mut world = World::with_daemon();
    let mut second = world.daemon_command().spawn().unwrap();
    let status = second.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(exited(&mut world), None);
    let bus = world.connect();
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "Version"), env!("CARGO_PKG_VERSION"));
}
