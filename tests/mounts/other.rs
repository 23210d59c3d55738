//! Overlays that are not the root: mounted, side by side, refused while somebody still writes to their layers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use overlayd::handoff;
use overlayd::store::{Layout, read};
use overlayd::sys::mountinfo;

use crate::rig::{Rig, run, s, text};

/// A booted machine with the overlays `data` and `logs` configured in the root overlay, and something in their bases.
pub(crate) fn machine(fstype: &str) -> Rig {
    let mut rig = Rig::new(fstype, 400);
    let tables: Vec<String> = ["data", "logs"]
        .iter()
        .map(|name| format!("[overlay.{name}]\ntarget = \"{}\"\n", rig.path(name).display()))
        .collect();
    rig.configure(&tables.concat());
    rig.boot();
    for name in ["data", "logs"] {
        fs::create_dir(rig.path(name)).unwrap();
        fs::write(rig.path(name).join("given"), name).unwrap();
    }
    rig
}

/// What `mount -t overlayd` and systemd run.
pub(crate) fn mount_other(rig: &Rig, name: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd-early"));
    command.args(["mount", name, s(&rig.path(name)), "-o", "rw"]).output().unwrap()
}

pub(crate) fn mounted(rig: &Rig, name: &str) -> PathBuf {
    let output = mount_other(rig, name);
    assert!(output.status.success(), "{}", text(&output));
    rig.path(name)
}

fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(32), "{}", text(output));
    assert!(text(output).contains(why), "{why}: {}", text(output));
}

pub(crate) fn generation(name: &str) -> Option<u64> {
    handoff::load(Path::new(handoff::BOOT_TOML))
        .unwrap()
        .unwrap()
        .overlay
        .get(name)
        .and_then(|o| o.generation)
}

fn mounts_and_persists(fstype: &str) {
    let rig = machine(fstype);
    let data = mounted(&rig, "data");
    assert_eq!(fs::read_to_string(data.join("given")).unwrap(), "data");
    fs::write(data.join("given"), "changed").unwrap();
    fs::write(data.join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string("/run/overlayd/data/base/given").unwrap(), "data");
    assert!(fs::write("/run/overlayd/data/base/given", "x").is_err(), "the base's view is read-only");
    let mounts = mountinfo::read().unwrap();
    let store = mountinfo::at(&mounts, Path::new("/run/overlayd/store")).unwrap();
    assert!(store.options.split(',').any(|o| o == "ro"), "the store stays guarded: {}", store.options);
    assert_eq!(mountinfo::at(&mounts, &data).unwrap().source, "overlayd:data");
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().unwrap();
    let (root, other) = (&told.overlay["root"], &told.overlay["data"]);
    assert_eq!(other.generation, Some(1));
    assert_eq!(other.base, format!("{} at /data", root.base));
    assert_eq!(told.problems, Vec::<String>::new());

    let again = mount_other(&rig, "data");
    assert!(again.status.success() && text(&again).contains("already"), "{}", text(&again));
    run("umount", &[s(&data)]);
    assert_eq!(fs::read_to_string(data.join("given")).unwrap(), "data", "the directory below is as it was");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    mounted(&rig, "data");
    assert_eq!(fs::read_to_string(data.join("given")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "new");
    let view = mountinfo::read().unwrap();
    let views = view.iter().filter(|m| m.target == Path::new("/run/overlayd/data/base")).count();
    assert_eq!(views, 1, "the view of the base before is cleaned");
    assert_eq!(generation("data"), Some(1));
    assert_eq!(generation("root"), Some(1));
}

#[test]
fn mounts_and_persists_on_ext4() {
    mounts_and_persists("ext4");
}

#[test]
fn mounts_and_persists_on_xfs() {
    mounts_and_persists("xfs");
}

#[test]
fn mounts_and_persists_on_btrfs() {
    mounts_and_persists("btrfs");
}

#[test]
fn two_side_by_side_know_nothing_of_each_other() {
    let rig = machine("ext4");
    let (data, logs) = (mounted(&rig, "data"), mounted(&rig, "logs"));
    fs::write(data.join("x"), "data").unwrap();
    fs::write(logs.join("x"), "logs").unwrap();
    run("umount", &[s(&data)]);
    assert_eq!(fs::read_to_string(logs.join("x")).unwrap(), "logs");
    mounted(&rig, "data");
    assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "data");
    let view = read::load(&Layout::new("/run/overlayd/store")).unwrap();
    assert_eq!(view.overlays.keys().collect::<Vec<_>>(), ["data", "logs", "root"]);
}

#[test]
fn mount_8_and_fstab_find_it() {
    let rig = machine("ext4");
    let early = rig.beside("early");
    fs::create_dir(&early).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", s(&early)]);
    for dir in ["upper", "work"] {
        fs::create_dir(early.join(dir)).unwrap();
    }
    // mount(8) looks for its helpers in /sbin alone.
    symlink(env!("CARGO_BIN_EXE_overlayd-early"), early.join("upper/mount.overlayd")).unwrap();
    let sbin = fs::canonicalize("/sbin").unwrap();
    let layers = format!("lowerdir={0},upperdir={1}/upper,workdir={1}/work", s(&sbin), s(&early));
    run("mount", &["-t", "overlay", "-o", &layers, "overlay", s(&sbin)]);
    let data = rig.path("data");
    run(
        "mount",
        &["-t", "overlayd", "-o", "nosuid,noatime,nofail,x-systemd.device-timeout=1", "data", s(&data)],
    );
    let options = mountinfo::at(&mountinfo::read().unwrap(), &data).unwrap().options.clone();
    assert!(options.contains("nosuid") && options.contains("noatime"), "{options}");
    run("umount", &[s(&data)]);
    let fstab = rig.beside("fstab");
    fs::write(
        &fstab,
        format!("data {} overlayd defaults 0 0\nlogs {} overlayd ro 0 0\n", s(&data), s(&rig.path("logs"))),
    )
    .unwrap();
    run("mount", &["-a", "-T", s(&fstab)]);
    fs::write(data.join("x"), "x").unwrap();
    assert!(fs::write(rig.path("logs/x"), "x").is_err(), "ro means ro");
    run("umount", &[s(&sbin)]);
}

#[test]
fn what_is_not_configured_or_elsewhere_is_refused() {
    let rig = machine("ext4");
    refused(&mount_other(&rig, "other"), "no overlay \"other\" is configured");
    refused(&mount_other(&rig, "root"), "no overlay \"root\"");
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_overlayd-early"))
        .args(["mount", "data", s(&rig.path("logs"))])
        .output()
        .unwrap();
    refused(&elsewhere, "belongs on");
    fs::create_dir(rig.path("data/below")).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", s(&rig.path("data/below"))]);
    refused(&mount_other(&rig, "data"), "is mounted in the directory");
    run("umount", &[s(&rig.path("data/below"))]);
    assert_eq!(generation("data"), None);
    let view = read::load(&Layout::new("/run/overlayd/store")).unwrap();
    assert!(!view.overlays.contains_key("data"), "a refusal makes nothing");
    mounted(&rig, "data");
}

#[test]
fn layers_that_somebody_still_writes_to_are_not_mounted_again() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let held = fs::File::create(data.join("held")).unwrap();
    run("umount", &["-l", s(&data)]);
    refused(&mount_other(&rig, "data"), "in use by another mount");
    drop(held);
    // Another test's thread may be between fork and exec, and hold our descriptors for that instant.
    for _ in 0..50 {
        if mount_other(&rig, "data").status.success() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    mounted(&rig, "data");
    assert!(data.join("held").exists());
    let work = Path::new("/run/overlayd/store/overlays/data/generations/1/work");
    let left: Vec<_> = fs::read_dir(work).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["work"], "the trial leaves nothing");
}

/// On a machine whose root is no overlay of ours.
#[test]
fn a_machine_without_an_overlay_root_gets_its_store_at_the_first_mount() {
    let mut rig = Rig::new("ext4", 64);
    let data = rig.beside("data");
    fs::create_dir(&data).unwrap();
    rig.configure(&format!("[overlay.data]\ntarget = \"{}\"\n[overlay.root]\nmode = \"off\"\n", s(&data)));
    // What the machine's own root would show.
    fs::create_dir_all("/run/overlayd/root/base").unwrap();
    run("mount", &["--bind", s(&rig.sysroot), "/run/overlayd/root/base"]);
    let output = Command::new(env!("CARGO_BIN_EXE_overlayd-early")).args(["mount", "data"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    fs::write(data.join("x"), "x").unwrap();
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().unwrap();
    assert_eq!(told.state.unwrap().fstype, "ext4");
    assert!(mountinfo::at(&mountinfo::read().unwrap(), Path::new("/run/overlayd/state")).is_none());
    assert!(fs::write("/run/overlayd/store/x", "").is_err());
    run("umount", &[s(&data)]);
    assert!(!data.join("x").exists());
}
