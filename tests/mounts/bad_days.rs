//! Bad days: whatever is broken, the boot ends in the declared fallback, says why, and deletes nothing.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use overlayd::config::Mode;
use overlayd::motd;
use overlayd::store::Layout;

use crate::rig::{Rig, run, s, text};

/// Boots with something broken, and expects the volatile fallback with a reason that contains all of `words`.
pub(crate) fn falls_back(rig: &Rig, words: &[&str]) {
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    let reason = root.reason.clone().unwrap_or_default();
    assert_eq!((root.configured, root.mode), (Mode::Persistent, Mode::Volatile), "{reason}");
    for word in words {
        assert!(reason.contains(word), "\"{word}\" is not in: {reason}");
    }
    let greeting = fs::read_to_string(motd::PATH).unwrap();
    assert!(greeting.contains("/ is volatile, not persistent"), "{greeting}");
    let shown: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    assert!(greeting.contains(&shown), "{shown} is not in: {greeting}");
    assert_eq!(fs::metadata(motd::PATH).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata("/run/motd.d").unwrap().permissions().mode() & 0o777, 0o755);
    fs::write(rig.path("etc/works"), "x").unwrap();
}

/// A store with one generation and something in it; `spoil` breaks it.
fn damaged(spoil: impl FnOnce(&Layout), words: &[&str]) {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/precious"), "data").unwrap();
    rig.shutdown();
    rig.offline(spoil);
    let before = rig.offline(|layout| tree(layout.root()));
    falls_back(&rig, words);
    rig.shutdown();
    assert_eq!(rig.offline(|layout| tree(layout.root())), before, "nothing is deleted or changed");
}

fn tree(root: &Path) -> String {
    let script = "find . -printf '%y %m %s %p\\n' | sort; find . -type f -exec sha256sum {} + | sort";
    let output = Command::new("sh").args(["-c", script]).current_dir(root).output().unwrap();
    text(&output)
}

#[test]
fn the_state_device_is_missing() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure_whole("[state]\ndevice = \"LABEL=nowhere\"\ntimeout = \"1s\"\n");
    let started = std::time::Instant::now();
    falls_back(&rig, &["LABEL=nowhere", "1s"]);
    assert!(started.elapsed().as_secs() < 10);
    assert!(rig.handoff().waited_ms >= 1000);
}

#[test]
fn two_devices_have_the_label() {
    let mut rig = Rig::new("ext4", 64);
    let copy = rig.beside("copy.img");
    fs::File::create(&copy).unwrap().set_len(64 << 20).unwrap();
    let other = rig.attach(&copy);
    let label = run("blkid", &["-p", "-s", "LABEL", "-o", "value", &rig.device.clone()]);
    run("mkfs.ext4", &["-q", "-F", "-L", String::from_utf8_lossy(&label.stdout).trim(), &other]);
    falls_back(&rig, &["several devices", &other]);
    // The rig takes the last loop device for the base's.
    run("umount", &["-l", s(&rig.sysroot)]);
}

#[test]
fn the_superblock_is_corrupt() {
    let mut rig = Rig::new("ext4", 64);
    let device = rig.device.clone();
    rig.configure_whole(&format!(
        "[state]\ndevice = \"{device}\"\nfstype = \"ext4\"\nformat = \"if-blank\"\ntimeout = \"300ms\"\n"
    ));
    let file = fs::OpenOptions::new().write(true).open(&device).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    file.sync_all().unwrap();
    let before = run("sha256sum", &[&device]).stdout;
    falls_back(&rig, &["not formatted", &device]);
    assert_eq!(run("sha256sum", &[&device]).stdout, before, "not a byte of it is written");
}

#[test]
fn a_blank_device_is_formatted_when_told() {
    let mut rig = Rig::without_filesystem(64);
    let device = rig.device.clone();
    rig.configure_whole(&format!(
        "[state]\ndevice = \"{device}\"\nfstype = \"ext4\"\nformat = \"if-blank\"\n"
    ));
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::Persistent, "{handoff:?}");
    assert!(!Path::new(motd::PATH).exists(), "all is well");
    fs::write(rig.path("etc/kept"), "x").unwrap();
    rig.reboot();
    assert!(rig.path("etc/kept").exists());
}

#[test]
fn the_device_is_read_only() {
    let rig = Rig::new("ext4", 64);
    let _writable_again = SetWritable(rig.device.clone());
    run("blockdev", &["--setro", &rig.device]);
    falls_back(&rig, &["is read-only"]);
}

/// The flag outlives the loop device's file: the next user of the device would find it.
struct SetWritable(String);

impl Drop for SetWritable {
    fn drop(&mut self) {
        run("blockdev", &["--setrw", &self.0]);
    }
}

#[test]
fn the_filesystem_is_beyond_automatic_repair() {
    let mut rig = Rig::new("ext4", 64);
    let device = rig.device.clone();
    rig.configure("fsck = \"force\"");
    run("debugfs", &["-w", "-R", "clri <2>", &device]);
    falls_back(&rig, &["by itself", "e2fsck"]);
}

#[test]
fn a_blank_device_is_too_small_and_the_reason_is_one_line() {
    let mut rig = Rig::without_filesystem(8);
    let device = rig.device.clone();
    rig.configure_whole(&format!(
        "[state]\ndevice = \"{device}\"\nfstype = \"xfs\"\nformat = \"if-blank\"\ntimeout = \"1s\"\n"
    ));
    let root = &rig.boot().overlay["root"];
    let reason = root.reason.clone().unwrap();
    assert!(reason.contains("mkfs.xfs failed") && reason.contains("too small"), "{reason}");
    assert_eq!((root.mode, reason.lines().count()), (Mode::Volatile, 1), "{reason}");
}

#[test]
fn a_configuration_with_a_typo() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("[overlay.root]\nmodus = \"persistent\"\n");
    falls_back(&rig, &["/etc/overlayd/overlayd.toml:", "overlay.root.modus", "did you mean"]);
}

#[test]
fn store_toml_is_garbage() {
    damaged(|l| fs::write(l.record(), "\u{1}\u{2}garbage").unwrap(), &["/run/overlayd/store/store.toml:1"]);
}

#[test]
fn store_toml_is_gone() {
    damaged(|l| fs::remove_file(l.record()).unwrap(), &["store.toml: missing"]);
}

#[test]
fn current_is_empty() {
    damaged(|l| fs::write(l.current("root"), "").unwrap(), &["/run/overlayd/store/overlays/root/current:1"]);
}

#[test]
fn current_is_gone() {
    damaged(|l| fs::remove_file(l.current("root")).unwrap(), &["\"current\" is missing"]);
}

#[test]
fn generation_toml_is_truncated() {
    damaged(
        |l| fs::write(l.generation_record("root", 1), "version = 1\nnumber = 1\ncre").unwrap(),
        &["generations/1/generation.toml:3"],
    );
}

#[test]
fn request_toml_is_garbage() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/precious"), "data").unwrap();
    rig.shutdown();
    rig.offline(|l| fs::write(l.request("root"), "version = 1\nid = 5\n").unwrap());
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::Persistent, "what was there before is there");
    assert_eq!(fs::read(rig.path("etc/precious")).unwrap(), b"data");
    let problems = handoff.problems.join("\n");
    assert!(problems.contains("request.toml:2") && problems.contains("overlayctl cancel"), "{problems}");
    rig.shutdown();
    assert!(rig.offline(|l| l.request("root").exists()), "it is kept");
}

#[test]
fn the_work_directory_is_a_file() {
    damaged(
        |l| {
            fs::remove_dir_all(l.work("root", 1)).unwrap();
            fs::write(l.work("root", 1), "").unwrap();
        },
        &["generations/1/work", "not a directory"],
    );
}

#[test]
fn the_work_directory_is_immutable() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    rig.shutdown();
    rig.offline(|l| run("chattr", &["+i", s(&l.work("root", 1))]));
    falls_back(&rig, &["read-only", "work directory"]);
    rig.shutdown();
    rig.offline(|l| run("chattr", &["-i", s(&l.work("root", 1))]));
    assert_eq!(rig.boot().overlay["root"].mode, Mode::Persistent, "mended, it is used again");
    rig.shutdown();
    // The kernel's part of it is nobody's.
    rig.offline(|l| run("chattr", &["+i", s(&l.work("root", 1).join("work"))]));
    assert_eq!(rig.boot().overlay["root"].mode, Mode::Persistent, "it is made anew");
}
