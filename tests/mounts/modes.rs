//! One boot in each mode, on each filesystem and base.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use overlayd::config::Mode;
use overlayd::sys::mountinfo;

use crate::rig::{Rig, manifest, run, s};

fn persists(state: &str, base: &str) {
    let mut rig = Rig::new(state, 400);
    if base != "squashfs" {
        run("umount", &[s(&rig.sysroot)]);
        rig.build(base);
    }
    let bare = manifest(&rig.sysroot);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.as_deref(), root.generation), (Mode::Persistent, None, Some(1)));
    assert_eq!(handoff.problems, Vec::<String>::new());
    assert_eq!(handoff.state.as_ref().unwrap().fstype, state);
    assert!(
        root.base.starts_with(&format!("{base}:")) && root.base.ends_with("IMAGE_VERSION=1"),
        "{}",
        root.base
    );
    assert_eq!(manifest(&rig.sysroot), bare, "a first boot changes nothing that can be seen");

    fs::write(rig.path("etc/hostname"), "mine\n").unwrap();
    fs::remove_file(rig.path("etc/os-release")).unwrap();
    fs::write(rig.path("etc/new"), "new").unwrap();
    let changed = manifest(&rig.sysroot);
    let second = rig.reboot();
    assert_eq!(second.overlay["root"].generation, Some(1));
    assert_eq!(manifest(&rig.sysroot), changed, "changes survive");
    rig.shutdown();
    assert_eq!(manifest(&rig.sysroot), bare, "the base is as it was");
}

#[test]
fn persistent_on_ext4_over_squashfs() {
    persists("ext4", "squashfs");
}

#[test]
fn persistent_on_xfs_over_erofs() {
    persists("xfs", "erofs");
}

#[test]
fn persistent_on_btrfs_over_ext4() {
    persists("btrfs", "ext4");
}

#[test]
fn read_only_leaves_the_base_alone() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("[overlay.root]\nmode = \"read-only\"\n");
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::ReadOnly);
    assert!(fs::write(rig.path("x"), "").is_err());
    let dropin = "/run/systemd/system/systemd-remount-fs.service.d/50-overlayd.conf";
    assert!(fs::read_to_string(dropin).unwrap().contains("ConditionPathExists=!"));
}

#[test]
fn off_does_nothing_but_say_so() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("[overlay.root]\nmode = \"off\"\n");
    let before = mountinfo::read().unwrap().len();
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::Off);
    assert_eq!(mountinfo::read().unwrap().len(), before);
    assert!(!Path::new("/run/initramfs/shutdown").exists());
}

#[test]
fn layers_are_private() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    let mounts = mountinfo::read().unwrap();
    let store = mountinfo::at(&mounts, Path::new("/run/overlayd/store")).unwrap();
    for flag in ["ro", "nosuid", "nodev", "noexec", "nosymfollow"] {
        assert!(store.options.split(',').any(|o| o == flag), "{flag}: {}", store.options);
    }
    assert_eq!(fs::metadata("/run/overlayd/store").unwrap().mode() & 0o7777, 0o700);
    assert!(fs::write("/run/overlayd/store/x", "").is_err());
    let base = mountinfo::at(&mounts, Path::new("/run/overlayd/root/base")).unwrap();
    assert!(base.options.starts_with("ro") && base.superblock_is_read_only(), "{base:?}");
    assert!(mountinfo::at(&mounts, Path::new("/run/overlayd/state")).is_none(), "only the store is seen");
    assert_eq!(fs::metadata("/run/overlayd/boot.toml").unwrap().mode() & 0o777, 0o644);
}

#[test]
fn a_writable_base_is_made_read_only() {
    let mut rig = Rig::new("ext4", 64);
    run("umount", &[s(&rig.sysroot)]);
    rig.build("ext4");
    run("mount", &["-o", "remount,rw", s(&rig.sysroot)]);
    let handoff = rig.boot();
    assert_eq!(handoff.problems, Vec::<String>::new());
    let mounts = mountinfo::read().unwrap();
    let base = mountinfo::at(&mounts, Path::new("/run/overlayd/root/base")).unwrap();
    assert!(base.superblock_is_read_only());
    fs::write(rig.path("x"), "").unwrap();
}

#[test]
fn mounts_below_the_base_are_carried_over() {
    let rig = Rig::new("ext4", 64);
    run("mount", &["-t", "tmpfs", "tmpfs", s(&rig.path("usr/lib"))]);
    fs::write(rig.path("usr/lib/marker"), "x").unwrap();
    rig.boot();
    assert_eq!(fs::read_to_string(rig.path("usr/lib/marker")).unwrap(), "x");
}

#[test]
fn the_booted_system_finds_what_it_needs() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    let shutdown = Path::new("/run/initramfs/shutdown");
    assert_eq!(fs::metadata(shutdown).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn running_it_twice_changes_nothing() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    let before = mountinfo::read().unwrap().len();
    rig.boot();
    assert_eq!(mountinfo::read().unwrap().len(), before);
}

/// As in the initramfs of systemd.
#[test]
fn shared_mounts_do_not_carry_the_overlay_to_the_base() {
    let rig = Rig::new("ext4", 64);
    run("mount", &["--make-rshared", "/"]);
    rig.boot();
    fs::write(rig.path("etc/mine"), "x").unwrap();
    let mounts = mountinfo::read().unwrap();
    let base = mountinfo::at(&mounts, Path::new("/run/overlayd/root/base")).unwrap();
    assert_eq!(base.fstype, "squashfs");
    assert!(!Path::new("/run/overlayd/root/base/etc/mine").exists());
    let overlays = mounts.iter().filter(|m| m.fstype == "overlay").count();
    assert_eq!(overlays, 1, "{mounts:#?}");
    run("mount", &["--make-rprivate", "/"]);
}
