//! A filesystem that has no trusted.* attributes below the upper, as a tmpfs without CONFIG_TMPFS_XATTR: overlayfs mounts it,
//! and can not delete a directory of the image.
//!
//! By a ramfs, which has none in any kernel; and for a whole boot by a user namespace, in which nobody may set them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use overlayd::config::Mode;
use overlayd::error::Kind;
use overlayd::sys::mount;
use overlayd::sys::overlay::{self, OPTIONS, Overlay};
use overlayd::sys::probe::{self, Verdict};

use crate::rig::{Rig, run, s, text};

/// An upper and a work directory on a new filesystem in RAM, and a directory elsewhere.
fn in_ram(fstype: &str) -> (PathBuf, PathBuf) {
    mount::private_namespace().unwrap();
    let dir = std::env::temp_dir().join(format!("overlayd-no-attributes-{fstype}-{}", std::process::id()));
    let ram = dir.join("ram");
    fs::create_dir_all(&ram).unwrap();
    run("mount", &["-t", fstype, fstype, s(&ram)]);
    for name in ["fs", "work"] {
        fs::create_dir(ram.join(name)).unwrap();
    }
    (dir, ram)
}

fn done((dir, ram): (PathBuf, PathBuf)) {
    run("umount", &[s(&ram)]);
    fs::remove_dir_all(dir).unwrap();
}

fn probed(dir: &Path, ram: &Path) -> overlayd::Result<Verdict> {
    probe::layers(&dir.join("lower"), &ram.join("probe"), &ram.join("work"), OPTIONS, &dir.join("scratch"))
}

#[test]
fn the_kernel_mounts_it_and_can_not_delete_a_directory() {
    let (dir, ram) = in_ram("ramfs");
    fs::create_dir_all(dir.join("base/d/e")).unwrap();
    let wanted = Overlay {
        name: "test".into(),
        lowers: vec![dir.join("base")],
        upper: ram.join("fs"),
        work: ram.join("work"),
        options: OPTIONS.into(),
    };
    let mounted = overlay::mount(&wanted, &dir.join("scratch")).unwrap();
    // All that was tried before is well.
    assert_eq!(probe::merged(&mounted).unwrap(), Verdict::Writable);
    let target = dir.join("target");
    fs::create_dir(&target).unwrap();
    mount::attach(&mounted, &target).unwrap();
    let refused = fs::remove_dir_all(target.join("d")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(5), "{refused}");
    drop(mounted);
    mount::detach(&target).unwrap();
    done((dir, ram));
}

#[test]
fn it_is_found_out() {
    let (dir, ram) = in_ram("ramfs");
    let refused = probed(&dir, &ram).unwrap_err();
    assert_eq!(refused.kind(), Kind::NotSupported);
    assert!(refused.to_string().contains("stores no trusted.* attributes"), "{refused}");
    assert!(!ram.join("probe").exists());
    done((dir, ram));
}

#[test]
fn tmpfs_has_them() {
    let (dir, ram) = in_ram("tmpfs");
    assert_eq!(probed(&dir, &ram).unwrap(), Verdict::Writable);
    done((dir, ram));
}

/// A boot in which nobody may set trusted.* attributes.
fn boot(rig: &Rig) -> Output {
    let early = rig.early();
    let arguments = ["--user", "--map-root-user", "--mount", "--", s(early.get_program().as_ref())];
    Command::new("unshare").args(arguments).args(early.get_args()).output().unwrap()
}

#[test]
fn a_volatile_root_without_them_is_read_only_and_says_why() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[overlay.root]\nmode = \"volatile\"\nsize = \"16M\"\n");
    let output = boot(&rig);
    assert!(output.status.success(), "{}", text(&output));
    let root = &rig.handoff().overlay["root"];
    let reason = root.reason.clone().unwrap();
    assert_eq!((root.configured, root.mode), (Mode::Volatile, Mode::ReadOnly));
    assert_eq!(reason.matches("stores no trusted.* attributes").count(), 1, "{reason}");
    assert!(reason.contains("CONFIG_TMPFS_XATTR"), "{reason}");
}

#[test]
fn a_fallback_without_them_is_read_only_and_says_both() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[state]\ndevice = \"LABEL=nowhere\"\ntimeout = \"100ms\"\n");
    let output = boot(&rig);
    assert!(output.status.success(), "{}", text(&output));
    let root = &rig.handoff().overlay["root"];
    let reason = root.reason.clone().unwrap();
    assert_eq!((root.configured, root.mode), (Mode::Persistent, Mode::ReadOnly));
    assert!(reason.contains("LABEL=nowhere") && reason.contains("trusted.* attributes"), "{reason}");
}

#[test]
fn where_the_boot_shall_fail_it_does() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[overlay.root]\nmode = \"volatile\"\nfallback = \"fail\"\n");
    let output = boot(&rig);
    assert!(!output.status.success() && text(&output).contains("trusted.* attributes"), "{}", text(&output));
}
