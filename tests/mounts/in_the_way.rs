//! What comes in the way of an overlay that is to change at once: processes, mounts, a race, a failure, a kill.

use std::fs;
use std::path::Path;
use std::process::Command;

use overlayd::error::Kind;
use overlayd::operation::switch::{ByHand, Remount};
use overlayd::store::{Layout, read};
use overlayd::sys::mountinfo;

use crate::other::{generation, machine, mounted};
use crate::rig::{run, s, text};
use crate::switching::{Daemon, names};

#[test]
fn processes_in_the_way_are_named_and_nothing_is_changed() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let mut sitting = Command::new("sleep").arg("60").current_dir(&data).spawn().unwrap();
    let mut reading = Command::new("tail").arg("-f").arg(data.join("mine")).spawn().unwrap();
    let named = |why: &overlayd::Error, what: &str| {
        assert_eq!(why.kind(), Kind::OverlayBusy);
        assert!(why.message().contains(what), "{what}: {why}");
    };
    let tail = format!("tail[{}] (open file)", reading.id());
    let both = (0..100).map(|_| daemon.reset().unwrap_err()).find(|why| why.message().contains(&tail));
    let both = both.expect("tail is never named");
    named(&both, &format!("sleep[{}] (working directory)", sitting.id()));
    assert!(!daemon.is_pending(), "the request is taken back");
    assert_eq!((daemon.current(), generation("data")), (Some(1), Some(1)));
    assert!(data.join("mine").exists());
    reading.kill().unwrap();
    reading.wait().unwrap();
    named(&daemon.undo().unwrap_err(), "sleep[");
    sitting.kill().unwrap();
    sitting.wait().unwrap();

    fs::create_dir(data.join("below")).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", s(&data.join("below"))]);
    named(&daemon.reset().unwrap_err(), &format!("the mount at {}", s(&data.join("below"))));
    run("umount", &[s(&data.join("below"))]);
    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given"]);
}

/// Somebody comes between the look and the unmount.
struct Race<'a>(&'a ByHand);

impl Remount for Race<'_> {
    fn remount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        let held = fs::File::open(target.join("mine")).unwrap();
        let done = self.0.remount(overlay, target);
        drop(held);
        done
    }

    fn mount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        self.0.mount(overlay, target)
    }
}

/// The mount of what was asked for fails, after the pointer has moved.
struct Broken<'a>(&'a ByHand, &'a Layout);

impl Remount for Broken<'_> {
    fn remount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        // The trial of the new generation's layers has no place.
        let (early, probe) = (&self.0.command[0], format!("/run/overlayd/{overlay}/probe"));
        let script = format!(
            "umount {0} && mount -o bind {probe} {probe} && mount -o remount,bind,ro {probe} || exit 99; \
             {early} mount {overlay} {0}; code=$?; umount {probe}; exit $code",
            s(target)
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let moved = fs::read_to_string(self.1.current(overlay)).unwrap();
        assert_eq!((output.status.code(), moved.as_str()), (Some(32), "2\n"), "{}", text(&output));
        assert!(self.1.request(overlay).exists());
        match output.status.success() {
            true => Ok(()),
            false => Err(overlayd::Error::new(Kind::Failed, text(&output))),
        }
    }

    fn mount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        self.0.mount(overlay, target)
    }
}

#[test]
fn a_race_is_lost_without_harm() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let why = daemon.switch_by(&Race(&daemon.by), &|| daemon.ask_reset()).unwrap_err();
    assert_eq!(why.kind(), Kind::OverlayBusy);
    assert!(why.message().contains("busy"), "{why}");
    assert!(!daemon.is_pending());
    assert!(data.join("mine").exists());
    daemon.reset().unwrap();
}

#[test]
fn what_can_not_be_mounted_gives_way_to_what_was() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let layout = daemon.layout();
    let why = daemon.switch_by(&Broken(&daemon.by, &layout), &|| daemon.ask_reset()).unwrap_err();
    assert!(why.message().contains("could not be mounted again as asked"), "{why}");
    assert!(why.message().ends_with("; it is mounted as it was"), "{why}");
    assert_eq!((daemon.current(), generation("data")), (Some(1), Some(1)));
    assert!(data.join("mine").exists() && !daemon.is_pending());
    let outcome = read::load(&layout).unwrap().overlays["data"].outcome.clone().unwrap().unwrap();
    assert_eq!(outcome.result, "failed");
    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given"]);
}

#[test]
fn one_that_is_not_mounted_changes_without_being_mounted() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let held = fs::File::open(data.join("mine")).unwrap();
    run("umount", &["-l", s(&data)]);
    assert_eq!(daemon.reset().unwrap_err().kind(), Kind::OverlayBusy, "unmounted lazily is not unmounted");
    assert_eq!((daemon.current(), daemon.is_pending()), (Some(1), false));
    drop(held);
    daemon.reset().unwrap();
    assert_eq!((daemon.current(), daemon.is_pending()), (Some(2), false));
    assert!(mountinfo::at(&mountinfo::read().unwrap(), &data).is_none());
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given"]);
    run("umount", &[s(&data)]);
    daemon.undo().unwrap();
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given", "mine"]);
}

/// The kill comes at every system call of the mount that executes the request, the first one right after the unmount.
#[test]
fn a_kill_between_unmount_and_mount_converges() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    let mut done = false;
    for call in (1..).step_by(7) {
        fs::write(data.join("mine"), "x").unwrap();
        daemon.ask_reset().unwrap();
        run("umount", &[s(&data)]);
        let inject = format!("inject=all:signal=KILL:when={call}");
        let killed = Command::new("strace")
            .args([
                "-f",
                "-o",
                "/dev/null",
                "-e",
                &inject,
                env!("CARGO_BIN_EXE_overlayd-early"),
                "mount",
                "data",
            ])
            .output()
            .expect("strace is needed");
        done = killed.status.success();
        if mountinfo::at(&mountinfo::read().unwrap(), &data).is_none() {
            mounted(&rig, "data");
        }
        assert_eq!(names(&data), ["given"], "killed at call {call}");
        assert!(!daemon.is_pending(), "killed at call {call}");
        let mounts = mountinfo::read().unwrap();
        let ours = mounts.iter().filter(|m| m.source == "overlayd:data").count();
        assert_eq!(ours, 1, "killed at call {call}: {mounts:#?}");
        if done {
            break;
        }
    }
    assert!(done, "no run came to its end");
}

/// As on a machine that systemd runs, with services in mount namespaces that follow the host's.
#[test]
fn namespaces_that_follow_the_host_see_the_same_and_are_not_in_the_way() {
    let rig = machine("ext4");
    run("mount", &["--make-rshared", "/"]);
    let mut service =
        Command::new("unshare").args(["-m", "--propagation", "slave", "sleep", "60"]).spawn().unwrap();
    let comm = format!("/proc/{}/comm", service.id());
    assert!((0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        fs::read_to_string(&comm).unwrap() == "sleep\n"
    }));
    let theirs = || mountinfo::parse(&fs::read(format!("/proc/{}/mountinfo", service.id())).unwrap());
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    for _ in 0..2 {
        for mounts in [theirs(), mountinfo::read().unwrap()] {
            assert_eq!(mountinfo::at(&mounts, &data).unwrap().source, "overlayd:data");
            assert_eq!(mounts.iter().filter(|m| m.source == "overlayd:data").count(), 1, "{mounts:#?}");
            let base: Vec<_> =
                mounts.iter().filter(|m| m.target == Path::new("/run/overlayd/data/base")).collect();
            assert!(base.len() == 1 && base[0].options.starts_with("ro,"), "{base:?}");
        }
        fs::write(data.join("mine"), "x").unwrap();
        daemon.reset().unwrap();
        assert_eq!(names(&data), ["given"]);
    }
    service.kill().unwrap();
    service.wait().unwrap();
    run("mount", &["--make-rprivate", "/"]);
}
