//! What differs: on the bus, and as `overlayctl diff` tells it, with the daemon and on a store by itself.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use zbus::Connection;

use crate::world::{NAME, OVERLAY, OVERLAY_ROOT, World, call, error_name, has_owner, text, until};

/// A mounted overlay in which something was added, changed, touched, removed and replaced.
fn changed() -> World {
    let mut world = World::on("ext4", 128);
    world.boot();
    let root = world.dir.join("root");
    fs::write(root.join("etc/new"), "something").unwrap();
    fs::write(root.join("etc/of-the-base"), "BASE").unwrap();
    fs::remove_dir_all(root.join("etc/dir")).unwrap();
    fs::write(root.join("etc/dir"), "a file now").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"etc/odd\n\xff")), "").unwrap();
    world
}

fn list(bus: &Connection, from: &str, to: &str, paths: &[&str]) -> zbus::Result<File> {
    let body = (from, to, paths, 0u64);
    let pipe: zbus::Result<zbus::OwnedFd> = call(bus, OVERLAY_ROOT, OVERLAY, "ListChanges", &body);
    pipe.map(|pipe| OwnedFd::from(pipe).into())
}

fn lines(pipe: File) -> Vec<Value> {
    BufReader::new(pipe).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// `added /etc/new` of each entry.
fn short(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines.iter().map(|line| format!("{} {}", word(line, "change"), word(line, "path"))).collect()
}

#[test]
fn a_pipe_tells_what_differs_and_how_it_ended() {
    let mut world = changed();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let mut told = lines(list(&bus, "", "", &[]).unwrap());
    let end = told.pop().unwrap();
    assert_eq!(end["result"], "complete");
    assert_eq!((&end["added"], &end["removed"], &end["modified"]), (&3.into(), &1.into(), &1.into()));
    assert_eq!((&end["retyped"], &end["bytes-removed"]), (&1.into(), &8.into()));
    let expected = [
        "added /changed",
        "type /etc/dir",
        "removed /etc/dir/file",
        "added /etc/new",
        "added /etc/odd\n\u{fffd}",
        "modified /etc/of-the-base",
    ];
    assert_eq!(short(&told), expected);
    assert_eq!(told[4]["path-hex"], "2f6574632f6f64640aff");
    assert_eq!(told[5]["what"], serde_json::json!(["content", "mtime"]));
    assert_eq!((&told[5]["from"]["size"], &told[5]["to"]["size"]), (&4.into(), &4.into()));
    assert_eq!((&told[1]["from"]["kind"], &told[1]["to"]["kind"]), (&"directory".into(), &"file".into()));
    let part = lines(list(&bus, "live", "base", &["/etc/new"]).unwrap());
    assert_eq!(short(&part[..1]), ["removed /etc/new"]);
    assert_eq!(part.len(), 2);
    let same = lines(list(&bus, "live", "generation:1", &[]).unwrap());
    assert_eq!(same.len(), 1, "{same:?}");
    let invalid = "org.freedesktop.DBus.Error.InvalidArgs";
    assert_eq!(error_name(list(&bus, "yesterday", "", &[])), invalid);
    assert_eq!(error_name(list(&bus, "", "generation:9", &[])), invalid);
    assert_eq!(error_name(list(&bus, "", "", &["/nowhere"])), invalid);
    assert_eq!(error_name(list(&bus, "snapshot:9", "", &[])), "org.overlayd1.Error.NoSuchSnapshot");
    // A mark that leads elsewhere comes to light on the way: then the last line says so.
    let dir = world.upper().join("zz");
    fs::create_dir(&dir).unwrap();
    let dir = dir.display().to_string();
    let set = ["-n", "trusted.overlay.redirect", "-v", "/etc", &dir];
    assert!(world.run(std::process::Command::new("setfattr").args(set)).status.success());
    let told = lines(list(&bus, "", "", &[]).unwrap());
    let end = told.last().unwrap();
    assert_eq!((&end["result"], &end["error"]), (&"failed".into(), &"org.overlayd1.Error.Refused".into()));
    assert!(end["message"].as_str().unwrap().contains("trusted.overlay.redirect"), "{end}");
    let tool = world.tool(&["diff"]);
    assert_eq!(tool.status.code(), Some(4), "{}", text(&tool));
    assert!(text(&tool).contains("+ file /etc/new, 9 bytes\n"), "{}", text(&tool));
}

#[test]
fn who_may_read_is_asked_with_what_is_compared() {
    let mut world = changed();
    world.start_daemon(&["--idle-timeout", "0"]);
    world.start_polkit(
        "polkit.addRule(function(action, subject) {\n\
           if (action.id == 'org.overlayd1.read-changes' && action.lookup('from') == 'base' &&\n\
               action.lookup('to') == 'live' && action.lookup('overlay') == 'root' &&\n\
               action.lookup('paths') == '1' && subject.user == 'nobody') return polkit.Result.YES;\n\
         });\n",
    );
    let granted = world.as_nobody("./overlayctl", &["diff", "--", "/etc/new"]);
    assert_eq!(text(&granted), "+ file /etc/new, 9 bytes\n");
    for asked in [&["diff"][..], &["diff", "live", "base", "--", "/etc/new"]] {
        let refused = world.as_nobody("./overlayctl", &[&["--no-ask-password"][..], asked].concat());
        assert_eq!(refused.status.code(), Some(4), "{}", text(&refused));
        assert!(!text(&refused).contains("9 bytes"), "{}", text(&refused));
    }
}

/// More than a pipe holds.
fn much(world: &World) {
    let dir = world.upper().join("much");
    fs::create_dir(&dir).unwrap();
    (0..3000).for_each(|number| fs::write(dir.join(format!("file-{number}")), "x").unwrap());
}

#[test]
fn a_layer_that_goes_meanwhile_is_not_told_as_removed_files() {
    let mut world = changed();
    much(&world);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert!(world.tool(&["snapshot", "create"]).status.success());
    let pipe = list(&bus, "", "snapshot:1", &[]).unwrap();
    // The pipe is full, and the walk waits in the middle of it.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(world.tool(&["snapshot", "delete", "1", "--yes"]).status.success());
    let end = lines(pipe).pop().unwrap();
    assert_eq!(
        (&end["result"], &end["error"]),
        (&"failed".into(), &"org.freedesktop.DBus.Error.Failed".into())
    );
    assert!(end["message"].as_str().unwrap().contains("was removed while it was compared"), "{end}");
}

#[test]
fn a_reader_that_goes_away_keeps_nobody() {
    let mut world = changed();
    much(&world);
    world.start_daemon(&["--idle-timeout", "1s"]);
    let bus = world.connect();
    let pipe = list(&bus, "", "", &[]).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(has_owner(&bus, NAME), "somebody may still read");
    drop(pipe);
    until("it exits", || world.daemon.as_mut().unwrap().try_wait().unwrap().is_some());
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_a_daemon_that_is_told_to_stop() {
    let mut world = changed();
    much(&world);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let pipe = list(&bus, "", "", &[]).unwrap();
    let pid = i32::try_from(world.daemon.as_ref().unwrap().id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let status = world.daemon.as_mut().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(0));
    // What was not told is not taken for all there is.
    let read =
        fs::read_to_string(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe))).unwrap();
    assert!(!read.contains("\"result\""), "the last line is missing");
}

#[test]
fn the_tool_tells_it_to_people_and_to_programs() {
    let mut world = changed();
    world.start_daemon(&["--idle-timeout", "0"]);
    let said = |arguments: &[&str]| {
        let output = world.tool(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = "\
+ file /changed, 11 bytes
T /etc/dir: directory → file
- file /etc/dir/file, 4 bytes
+ file /etc/new, 9 bytes
+ file /etc/odd\\n\\xff, 0 bytes
M file /etc/of-the-base: content, 4 bytes
";
    assert_eq!(said(&["diff"]), expected);
    let stat = "3 entries added, 1 removed, 1 modified, 1 of another type; 34B in files now, 8B before\n";
    assert_eq!(said(&["diff", "--stat"]), stat);
    assert_eq!(said(&["diff", "base", "base"]), "");
    assert_eq!(said(&["diff", "live", "live", "--stat"]), "Nothing differs.\n");
    let json = said(&["--json", "diff", "base", "live", "--", "/etc/new"]);
    let entry: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&entry["change"], &entry["to"]["size"]), (&"added".into(), &9.into()));
    let end: Value = serde_json::from_str(&said(&["--json", "diff", "--stat"])).unwrap();
    assert_eq!((&end["result"], &end["retyped"]), (&"complete".into(), &1.into()));
    // A snapshot of it is the same, and then it is not.
    said(&["snapshot", "create"]);
    assert_eq!(said(&["diff", "snapshot:1", "live"]), "");
    fs::set_permissions(world.dir.join("root/etc/new"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    assert_eq!(said(&["diff", "snapshot:1"]), "M file /etc/new: mode 0644 → 0600\n");
    let output = world.tool(&["diff", "--base", "/"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_store_by_itself_needs_the_base() {
    let world = changed();
    let store = world.store().display().to_string();
    let run = |arguments: &[&str]| world.tool(&[&["--store", store.as_str(), "diff"], arguments].concat());
    let without = run(&[]);
    assert_eq!(without.status.code(), Some(4), "{}", text(&without));
    assert!(text(&without).contains("--base DIR"), "{}", text(&without));
    let said = run(&["--base", "base", "generation:1", "base", "--", "/etc/new", "/etc/dir"]);
    let expected = "T /etc/dir: file → directory\n+ file /etc/dir/file, 4 bytes\n- file /etc/new, 9 bytes\n";
    assert_eq!(text(&said), expected);
    for (arguments, code) in [
        (&["--base", "base", "yesterday"][..], 2),
        (&["--base", "base", "generation:9"], 2),
        (&["--base", "base", "snapshot:9"], 1),
        (&["--base", "base", "--", "etc/new"], 2),
        (&["--base", "nowhere"], 1),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
}
