//! The running system: the state filesystem fails below the mounted overlay, which says `rw` all the same, or becomes full.
//! One look tells it: in the log, at login, and in what the status is made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use overlayd::logging::message_id;
use overlayd::motd;
use overlayd::status::{self, OverlayStatus, Sources};
use overlayd::sys::mountinfo;

use crate::faulty::Faulty;
use crate::rig::{Rig, run, s, text};

/// What the timer starts; gives back what it logged.
fn look() -> String {
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_overlayd"))
        .arg("--watch")
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/no-bus")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    text(&output)
}

fn root() -> OverlayStatus {
    let status = status::collect(&Sources::system());
    status.overlays.into_iter().find(|o| o.name == "root").unwrap()
}

fn greeting() -> String {
    fs::read_to_string(motd::PATH).unwrap_or_default()
}

/// Looks, and expects trouble with `words` to be told everywhere, once.
fn tells(rig: &Rig, words: &[&str]) {
    let mounts = mountinfo::read().unwrap();
    let overlay = mountinfo::at(&mounts, &rig.sysroot).unwrap();
    assert!(overlay.super_options.starts_with("rw,"), "the overlay itself says nothing: {overlay:?}");
    let log = look();
    let why = root().degraded.unwrap_or_default();
    assert!(log.contains(message_id::STATE_TROUBLE), "{log}");
    for word in words {
        assert!(log.contains(word) && why.contains(word) && greeting().contains(word), "{word}: {log} {why}");
    }
    assert_eq!(look(), "", "what is known is not told again");
}

/// Looks, and expects that all is well.
fn is_well() {
    assert_eq!(look(), "");
    assert_eq!((root().degraded, greeting()), (None, String::new()));
    assert!(!Path::new("/run/overlayd/watch.toml").exists(), "nothing is written where nothing is new");
}

/// On a device whose writes can be made to fail.
fn on_faulty(fstype: &str) -> (Rig, Faulty) {
    let mut rig = Rig::new(fstype, if fstype == "ext4" { 64 } else { 320 });
    let faulty = Faulty::start(&rig.beside("state.img"), &rig.beside("faulty.img"), None);
    rig.configure_whole(&format!("[state]\ndevice = \"{}\"\ntimeout = \"1s\"\n", faulty.device));
    rig.boot();
    (rig, faulty)
}

#[test]
fn ext4_that_remounts_itself_read_only() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("options = \"noatime,errors=remount-ro\"");
    rig.boot();
    is_well();
    let name = PathBuf::from(&rig.device).file_name().unwrap().to_owned();
    fs::write(Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error"), "1").unwrap();
    assert!(fs::write(rig.path("etc/x"), "x").is_err());
    tells(&rig, &["became read-only", "has met 1 errors", &rig.device]);
}

#[test]
fn ext4_that_goes_on_after_an_error() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("options = \"noatime,errors=continue\"");
    rig.boot();
    let name = PathBuf::from(&rig.device).file_name().unwrap().to_owned();
    fs::write(Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error"), "1").unwrap();
    fs::write(rig.path("etc/x"), "x").unwrap();
    tells(&rig, &["has met 1 errors"]);
}

#[test]
fn xfs_that_is_shut_down() {
    let rig = Rig::new("xfs", 320);
    rig.boot();
    is_well();
    run("xfs_io", &["-r", "-x", "-c", "shutdown", "/run/overlayd/store"]);
    tells(&rig, &["can not be read", &rig.device]);
}

#[test]
fn writes_that_fail() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let (rig, faulty) = on_faulty(fstype);
        is_well();
        faulty.fail(Some("write"));
        // Somebody writes, and at some time it gets to the device.
        for n in 0..5 {
            let _ = fs::write(rig.path(&format!("etc/{n}")), vec![1; 1 << 20]);
            let _ = Command::new("sync").args(["-f", s(&rig.sysroot)]).output();
        }
        tells(&rig, &[&faulty.device]);
        faulty.fail(None);
        rig.shutdown();
        rig.boot();
        assert_eq!(rig.handoff().overlay["root"].reason, None, "{fstype}: the next boot uses it again");
    }
}

#[test]
fn a_device_that_hangs_is_told_and_keeps_nobody() {
    let (rig, faulty) = on_faulty("ext4");
    is_well();
    // The kernel does not have it in memory any more.
    run("dd", &["if=/run/overlayd/store/store.toml", "iflag=nocache", "count=0", "status=none"]);
    // Whoever makes a loop device meanwhile may have to wait: not for long, whatever happens here.
    let stopped = faulty.stop_for(Duration::from_secs(20));
    let log = look();
    let second = look();
    stopped.end();
    assert!(log.contains(message_id::STATE_TROUBLE) && log.contains("does not answer"), "{log}");
    assert_eq!(second, "", "what is known is not told again");
    assert!(greeting().contains("does not answer"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while root().degraded.is_some() {
        assert!(Instant::now() < deadline, "it answers again");
        let log = look();
        assert!(log.is_empty() || log.contains(message_id::STATE_WELL), "{log}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(greeting(), "");
    drop(rig);
}

#[test]
fn trouble_that_is_over_is_told_too() {
    let rig = Rig::new("btrfs", 320);
    rig.boot();
    // Not the mount's own flag, which is ro already: the filesystem's.
    let remount = |how: &str| {
        let at = rig.beside("again");
        fs::create_dir_all(&at).unwrap();
        run("mount", &[&rig.device, s(&at)]);
        run("mount", &["-o", &format!("remount,{how}"), s(&at)]);
        run("umount", &[s(&at)]);
    };
    remount("ro");
    tells(&rig, &["became read-only"]);
    remount("rw");
    assert!(look().contains(message_id::STATE_WELL));
    assert_eq!((root().degraded, greeting()), (None, String::new()));
}

#[test]
fn a_fallback_stays_in_the_message_and_is_not_trouble() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure_whole("[state]\ndevice = \"LABEL=nowhere\"\ntimeout = \"100ms\"\n");
    rig.boot();
    let before = greeting();
    assert!(before.contains("LABEL=nowhere"));
    assert_eq!(look(), "");
    assert_eq!(greeting(), before);
    fs::remove_file(motd::PATH).unwrap();
    assert_eq!((look(), greeting()), (String::new(), before), "whoever removed it");
}

/// Looks, and expects this level to be told, and said by the status.
fn level(expected: &str, id: &str, what: &str) {
    let log = look();
    assert!(log.contains(id) && log.contains(what), "{log}");
    assert_eq!(root().space, expected, "{log}");
    assert_eq!(look(), "");
}

#[test]
fn blocks_of_the_state_filesystem_run_out() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let rig = Rig::new(fstype, if fstype == "ext4" { 64 } else { 512 });
        rig.boot();
        is_well();
        let free = |percent: u64| {
            let space = overlayd::observe::space(Path::new("/run/overlayd/store")).unwrap();
            space.bytes_free.saturating_sub(space.bytes_total * percent / 100)
        };
        let fill = |name: &str, bytes: u64| {
            run("fallocate", &["-l", &bytes.to_string(), s(&rig.path(name))]);
            run("sync", &["-f", "/run/overlayd/store"]);
        };
        fill("etc/a", free(8));
        level("low", message_id::SPACE_LOW, "on the state filesystem");
        fill("etc/b", free(3));
        level("critical", message_id::SPACE_LOW, "space is critical");
        fs::remove_file(rig.path("etc/a")).unwrap();
        fs::remove_file(rig.path("etc/b")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while free(20) == 0 {
            assert!(Instant::now() < deadline);
            run("sync", &["-f", "/run/overlayd/store"]);
            std::thread::sleep(Duration::from_millis(100));
        }
        level("enough", message_id::SPACE_ENOUGH, "there is space again");
    }
}

#[test]
fn inodes_of_the_state_filesystem_run_out() {
    let rig = Rig::new("ext4", 64);
    run("mkfs.ext4", &["-q", "-F", "-N", "1024", "-L", &rig.label(), &rig.device]);
    rig.boot();
    is_well();
    for n in 0..900 {
        fs::write(rig.path(&format!("etc/{n}")), "").unwrap();
    }
    level("critical", message_id::SPACE_LOW, "of the inodes are free");
}

#[test]
fn a_layer_in_ram_runs_full() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[overlay.root]\nmode = \"volatile\"\nsize = \"16M\"\n");
    rig.boot();
    is_well();
    fs::write(rig.path("etc/a"), vec![0; 14 << 20]).unwrap();
    level("low", message_id::SPACE_LOW, "the layer of root in RAM");
    fs::remove_file(rig.path("etc/a")).unwrap();
    level("enough", message_id::SPACE_ENOUGH, "there is space again");
    for n in 0..3900 {
        fs::write(rig.path(&format!("etc/{n}")), "").unwrap();
    }
    level("critical", message_id::SPACE_LOW, "of the inodes are free");
}

#[test]
fn inodes_of_a_layer_in_ram_run_out() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[overlay.root]\nmode = \"volatile\"\nsize = \"16M\"\ninodes = \"1k\"\n");
    rig.boot();
    is_well();
    let fill = |names: std::ops::Range<u64>| {
        names.for_each(|n| fs::write(rig.path(&format!("etc/{n}")), "").unwrap());
    };
    // A fifth is left, and then a tenth: each is told while a hundred more can be made.
    fill(0..850);
    level("low", message_id::SPACE_LOW, "of the inodes are free");
    fill(850..920);
    level("critical", message_id::SPACE_LOW, "of the inodes are free");
    let memory = root().memory.unwrap();
    assert_eq!((memory.bytes_total, memory.inodes_total), (16 << 20, 1024));
    assert!(memory.bytes_free > 15 << 20 && memory.inodes_free > 80, "{memory:?}");
    for n in 0..900 {
        fs::remove_file(rig.path(&format!("etc/{n}"))).unwrap();
    }
    level("enough", message_id::SPACE_ENOUGH, "there is space again");
}
