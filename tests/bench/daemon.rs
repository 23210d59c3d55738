//! The daemon: its memory, and how long the first caller waits for it.

use std::fs;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zbus::Connection;

use crate::figures::{ROUNDS, Report, Samples};
use crate::world::{MANAGER, NAME, ROOT, World, call, has_owner, reset, until};

/// Resident memory, in KiB.
const RSS_LIMIT: f64 = 6.0 * 1024.0;

/// Resident memory: after the start, after a call, after a job.
pub(crate) fn measure_memory(report: &mut Report) {
    let section = "The daemon's resident memory";
    let world = World::with_daemon();
    let bus = world.connect();
    let pid = world.daemon.as_ref().unwrap().id();
    let mut tell = |name: &str| report.add_limited(section, name, "KiB", status(pid, "VmRSS"), RSS_LIMIT);
    tell("idle after its start");
    describe(&bus);
    tell("idle after Describe");
    reset(&bus, 0).unwrap();
    until("the request is recorded", || world.request().exists());
    tell("idle after a reset was requested");
    report.add(section, "of this not backed by files", "KiB", Samples::one(status(pid, "RssAnon")));
}

/// From a call that finds nobody to its answer, and the same call to a daemon that runs.
pub(crate) fn measure_activation(report: &mut Report) {
    let mut world = World::new();
    let services = world.dir.join("services");
    fs::create_dir(&services).unwrap();
    let exec = format!("{} {}", env!("CARGO_BIN_EXE_overlayd"), world.places().join(" "));
    let service = format!("[D-BUS Service]\nName={NAME}\nExec={exec}\n");
    fs::write(services.join("org.overlayd1.service"), service).unwrap();
    world.restart_bus("session", &format!("<servicedir>{}</servicedir>", services.display()));
    let bus = world.connect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        first.push(describe(&bus));
        second.push(describe(&bus));
        let daemon = owner(&bus);
        kill(daemon, Signal::SIGTERM).unwrap();
        until("the daemon is gone", || !has_owner(&bus, NAME) && !exists(daemon));
    }
    // The first round does not count, as elsewhere.
    let of = |all: Vec<f64>| Samples::new(all[1..].to_vec());
    let measured =
        vec![("to a running daemon".to_owned(), of(second)), ("that activates it".to_owned(), of(first))];
    report.compare("A call of Describe on the bus", "ms", measured, "to a running daemon");
}

/// Calls, and tells the milliseconds.
fn describe(bus: &Connection) -> f64 {
    let start = Instant::now();
    let json: String = call(bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    assert!(json.starts_with('{'), "{json}");
    start.elapsed().as_secs_f64() * 1000.0
}

fn owner(bus: &Connection) -> Pid {
    let driver = Some("org.freedesktop.DBus");
    let call = bus.call_method(driver, "/org/freedesktop/DBus", driver, "GetConnectionUnixProcessID", &NAME);
    let pid: u32 = zbus::block_on(call).unwrap().body().deserialize().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap())
}

fn exists(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A field of `/proc/PID/status`, in KiB.
fn status(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
