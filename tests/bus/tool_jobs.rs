//! overlayctl and the jobs of the daemon: snapshots over the bus, and work that is watched or stopped. Work is held still
//! with SIGSTOP while a test looks at it, so that nothing depends on how fast the machine is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::world::{World, text, until};

/// Enough that a copy takes its time.
const MANY: usize = 5_000;

fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.tool(&[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn code(world: &World, arguments: &[&str]) -> Option<i32> {
    world.tool(arguments).status.code()
}

#[test]
fn snapshots_over_the_bus() {
    let world = World::with_daemon();
    let made = json(&world, &["snapshot", "create", "-m", "clean", "--userdata", "by=ci"]);
    assert_eq!((&made["snapshot"], &made["entries"], &made["bytes"]), (&1.into(), &1.into(), &11.into()));
    let preview = json(&world, &["commit", "--dry-run"]);
    assert!(preview["changes"][0].as_str().unwrap().contains("changed"), "{preview}");
    assert_eq!(json(&world, &["commit", "-m", "set up"])["snapshot"], 2);
    assert_eq!(code(&world, &["commit"]), Some(3));
    let list = json(&world, &["snapshot", "list"]);
    assert_eq!((&list[0]["userdata"]["by"], &list[1]["baseline"]), (&"ci".into(), &true.into()));
    let baseline = world.tool(&["snapshot", "delete", "2", "-y"]);
    assert_eq!(baseline.status.code(), Some(4));
    assert!(text(&baseline).contains("baseline"), "{}", text(&baseline));
    assert_eq!(json(&world, &["snapshot", "protect", "1"])["result"], "protected");
    assert_eq!(code(&world, &["snapshot", "delete", "1", "-y"]), Some(4));
    assert_eq!(code(&world, &["snapshot", "protect", "1", "--off"]), Some(0));
    assert_eq!(json(&world, &["snapshot", "describe", "1", "-m", "other"])["result"], "described");
    assert_eq!(json(&world, &["snapshot", "show", "1"])["description"], "other");
    let requested = json(&world, &["restore", "1", "-y"]);
    assert_eq!((&requested["result"], &requested["snapshot"]), (&"requested".into(), &1.into()));
    let status = text(&world.tool(&["status"]));
    assert!(status.contains("    Pending: restore of snapshot 1 \"other\" at the next boot\n"), "{status}");
    assert_eq!(code(&world, &["cancel"]), Some(0));
    assert_eq!(json(&world, &["snapshot", "delete", "1", "-y"])["snapshots"], serde_json::json!([1]));
    let missing = world.tool(&["restore", "1", "-y"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("`overlayctl snapshot list`"), "{}", text(&missing));
    assert_eq!(code(&world, &["undo", "-y"]), Some(3));
}

#[test]
fn without_polkit_only_root_may() {
    let world = World::with_daemon();
    for arguments in [&["snapshot", "create"][..], &["commit"], &["restore", "1", "-y"], &["undo", "-y"]] {
        let output = world.as_nobody("./overlayctl", arguments);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", text(&output));
    }
    assert!(!snapshots(&world).exists());
}

#[test]
fn ctrl_c_cancels_the_job_and_leaves_nothing() {
    let mut world = World::with_daemon();
    fill(&world);
    let tool = start(&world, world.dir.join("overlayctl"), &["snapshot", "create"]);
    let daemon = world.daemon.as_mut().unwrap().id();
    while_it_copies(&world, daemon, || signal(tool.id(), Signal::SIGINT));
    let output = tool.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(text(&output).contains("there is no new snapshot"), "{}", text(&output));
    until("the daemon cleaned up", || names(&snapshots(&world)).is_empty());
    assert_eq!(json(&world, &["snapshot", "list"]), serde_json::json!([]));
}

#[test]
fn ctrl_c_on_a_store_leaves_nothing_either() {
    let world = World::new();
    fill(&world);
    let store = world.store().display().to_string();
    let program = world.dir.join("overlayctl");
    let tool = start(&world, program, &["--store", &store, "snapshot", "create"]);
    let id = tool.id();
    while_it_copies(&world, id, || signal(id, Signal::SIGINT));
    let output = tool.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(text(&output).contains("there is no new snapshot"), "{}", text(&output));
    assert!(names(&snapshots(&world)).is_empty());
    assert!(names(&world.store().join("overlays/root/trash")).is_empty());
}

#[test]
fn a_terminal_gets_a_bar_and_a_pipe_does_not() {
    let world = World::new();
    fill(&world);
    let store = world.store().display().to_string();
    let script = format!("echo $$ > pid; exec ./overlayctl --store {store} snapshot create");
    let mut command = Command::new("script");
    command.args(["-qec", &script, "typescript"]).env("TERM", "xterm").current_dir(&world.dir);
    let on_terminal = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    until("the tool started", || {
        fs::read_to_string(world.dir.join("pid")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    let pid = fs::read_to_string(world.dir.join("pid")).unwrap().trim().parse().unwrap();
    // Past the second in which nothing is shown.
    while_it_copies(&world, pid, || std::thread::sleep(Duration::from_millis(1100)));
    // script(1) stops with what it runs.
    signal(on_terminal.id(), Signal::SIGCONT);
    let output = on_terminal.wait_with_output().unwrap();
    let shown = text(&output);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(&format!(" of {} entries", MANY + 1)), "{shown}");
    assert!(shown.contains("\r\x1b[K") && shown.contains("% copying, "), "{shown}");
    let piped = world.tool(&["--store", &store, "snapshot", "create"]);
    assert_eq!(String::from_utf8_lossy(&piped.stderr), "");
}

/// Many small files in the upper layer.
fn fill(world: &World) {
    let upper = world.store().join("overlays/root/generations/1/fs");
    for number in 0..MANY {
        fs::write(upper.join(number.to_string()), "small").unwrap();
    }
}

fn start(world: &World, program: PathBuf, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", world.address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Holds `process` still as soon as it copies, acts, and lets it go on.
fn while_it_copies(world: &World, process: u32, act: impl FnOnce()) {
    let draft = snapshots(world).join("1.new/fs");
    until("the copy began", || {
        std::thread::sleep(Duration::from_micros(100));
        fs::read_dir(&draft).is_ok_and(|mut d| d.next().is_some())
    });
    signal(process, Signal::SIGSTOP);
    act();
    signal(process, Signal::SIGCONT);
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process.try_into().unwrap()), signal).unwrap();
}

fn snapshots(world: &World) -> PathBuf {
    world.store().join("overlays/root/snapshots")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
