//! The upper in RAM: capped, gone after a reboot, and on the baseline where there is one.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use overlayd::config::Mode;
use overlayd::observe;
use overlayd::store::{read, write};
use overlayd::sys::mountinfo;

use crate::reset::live_in;
use crate::rig::{Rig, manifest};

const VOLATILE: &str = "[overlay.root]\nmode = \"volatile\"\nsize = \"8M\"\n";

#[test]
fn volatile_is_capped_and_gone_after_a_reboot() {
    let mut rig = Rig::new("ext4", 64);
    // The default device, which this machine does not have.
    rig.configure_whole(VOLATILE);
    let bare = manifest(&rig.sysroot);
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::Volatile);
    assert_eq!(handoff.overlay["root"].reason, None);
    assert!(handoff.state.is_none() && handoff.problems.is_empty(), "{handoff:?}");
    assert_eq!(handoff.overlay["root"].snapshot, None);
    assert!(handoff.waited_ms < 1000, "a device that nobody named is not waited for");
    fs::write(rig.path("etc/hostname"), "mine\n").unwrap();
    let too_much = fs::write(rig.path("big"), vec![1; 9 << 20]).unwrap_err();
    assert_eq!(too_much.kind(), std::io::ErrorKind::StorageFull);
    let names = (0..4000).map(|i| fs::write(rig.path(&format!("n{i}")), "")).filter(Result::is_err).count();
    assert!(names > 1000, "inodes are capped as well: {names} of 4000 failed");
    rig.shutdown();
    rig.boot();
    assert_eq!(manifest(&rig.sysroot), bare);
}

/// Fills every inode, and tries what an administrator would.
fn is_capped_by_inodes(rig: &Rig, inodes: u64) {
    let space = || observe::space(Path::new("/run/overlayd/root/volatile")).unwrap();
    assert_eq!(space().inodes_total, inodes);
    let made = (0..inodes).take_while(|i| fs::write(rig.path(&format!("tmp/{i}")), "").is_ok()).count();
    let full = |tried: std::io::Result<()>| assert_eq!(tried.unwrap_err().kind(), ErrorKind::StorageFull);
    full(fs::write(rig.path("tmp/one-more"), ""));
    assert_eq!(space().inodes_free, 0);
    assert!(space().bytes_free > space().bytes_total / 2, "blocks are not what is short");
    let hostname = rig.path("etc/hostname");
    full(fs::write(&hostname, "changed\n"));
    // A whiteout is a name like any other; overlayfs has one or none in stock.
    let gone = ["etc/hostname", "etc/os-release", "var/lib/.hidden/odd\nname"].map(|name| rig.path(name));
    let refused = gone.iter().filter(|path| fs::remove_file(path).is_err()).count();
    assert!(refused >= 2, "{refused}");
    // The machine goes on: what there is can be read, changed and deleted, and then there is room again.
    fs::write(rig.path("tmp/0"), "written").unwrap();
    fs::rename(rig.path("tmp/0"), rig.path("tmp/renamed")).unwrap();
    assert_eq!(fs::read_to_string(rig.path("tmp/renamed")).unwrap(), "written");
    for i in 1..made {
        fs::remove_file(rig.path(&format!("tmp/{i}"))).unwrap();
    }
    gone.iter().filter(|path| path.exists()).for_each(|path| fs::remove_file(path).unwrap());
    fs::write(&hostname, "mine\n").unwrap();
}

#[test]
fn inodes_are_capped_as_configured() {
    let mut rig = Rig::without_filesystem(64);
    for inodes in ["64", "2%"] {
        rig.configure_whole(&format!(
            "[overlay.root]\nmode = \"volatile\"\nsize = \"16M\"\ninodes = \"{inodes}\"\n"
        ));
        let root = &rig.boot().overlay["root"];
        assert_eq!((root.mode, root.reason.clone()), (Mode::Volatile, None));
        is_capped_by_inodes(&rig, if inodes == "64" { 64 } else { 81 });
        rig.shutdown();
    }
}

#[test]
fn inodes_are_capped_in_the_fallback() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[state]\ntimeout = \"100ms\"\n\n[overlay.root]\nsize = \"16M\"\ninodes = \"200\"\n");
    let root = &rig.boot().overlay["root"];
    assert_eq!((root.configured, root.mode), (Mode::Persistent, Mode::Volatile));
    is_capped_by_inodes(&rig, 200);
}

#[test]
fn a_number_of_inodes_that_means_no_limit_is_refused_and_told() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole("[overlay.root]\nmode = \"volatile\"\nsize = \"16M\"\ninodes = \"0\"\n");
    let root = &rig.boot().overlay["root"];
    let reason = root.reason.clone().unwrap();
    assert!(
        reason.contains("overlayd.toml:4: overlay.root.inodes: \"0\" is not a number of inodes"),
        "{reason}"
    );
    let space = observe::space(Path::new("/run/overlayd/root/volatile")).unwrap();
    assert_eq!((root.mode, space.inodes_total), (Mode::Volatile, 4096));
}

/// What was committed is there after every boot; what came later is not.
fn starts_from_the_baseline(fstype: &str) {
    let mut rig = Rig::new(fstype, 400);
    rig.boot();
    live_in(&rig);
    let committed = all_but_configuration(&rig);
    rig.shutdown();
    let id = rig.copy_to_snapshot();
    rig.offline(|layout| write::point_baseline(layout, "root", Some(id)).unwrap());
    rig.configure(VOLATILE);
    for life in 0..2 {
        let handoff = rig.boot();
        let root = &handoff.overlay["root"];
        assert_eq!((root.mode, root.reason.clone(), root.snapshot), (Mode::Volatile, None, Some(id)));
        assert_eq!((root.generation, root.lowers[0].as_str()), (None, "snapshot:1"));
        assert_eq!(handoff.state.unwrap().fstype, fstype);
        assert_eq!(all_but_configuration(&rig), committed, "life {life}");
        fs::write(rig.path("etc/hostname"), "of this boot only\n").unwrap();
        guarded();
        rig.shutdown();
    }
}

/// The base's configuration is what the test itself changes.
fn all_but_configuration(rig: &Rig) -> String {
    let lines = manifest(&rig.sysroot);
    lines.lines().filter(|l| !l.contains("overlayd.toml")).collect::<Vec<_>>().join("\n")
}

fn guarded() {
    let mounts = mountinfo::read().unwrap();
    let store = mountinfo::at(&mounts, Path::new("/run/overlayd/store")).unwrap();
    for flag in ["ro", "nosuid", "nodev", "noexec", "nosymfollow"] {
        assert!(store.options.split(',').any(|o| o == flag), "{flag}: {}", store.options);
    }
    assert!(mountinfo::at(&mounts, Path::new("/run/overlayd/state")).is_none(), "only the store is seen");
}

#[test]
fn starts_from_the_baseline_on_ext4() {
    starts_from_the_baseline("ext4");
}

#[test]
fn starts_from_the_baseline_on_xfs() {
    starts_from_the_baseline("xfs");
}

#[test]
fn starts_from_the_baseline_on_btrfs() {
    starts_from_the_baseline("btrfs");
}

#[test]
fn a_state_filesystem_without_a_store_gets_one() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure(VOLATILE);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone(), root.snapshot), (Mode::Volatile, None, None));
    guarded();
    rig.shutdown();
    let uuid = rig.offline(|layout| {
        let view = read::load(layout).unwrap();
        assert!(view.reserve && view.overlays["root"].generations.is_empty());
        view.record.uuid
    });
    rig.boot();
    rig.shutdown();
    assert_eq!(rig.offline(|layout| read::load(layout).unwrap().record.uuid), uuid);
}

#[test]
fn a_device_that_somebody_named_is_waited_for_and_missed() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure_whole(&format!("[state]\ndevice = \"LABEL=nowhere\"\ntimeout = \"1s\"\n{VOLATILE}"));
    let started = Instant::now();
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert!(root.reason.as_ref().unwrap().contains("LABEL=nowhere"), "{root:?}");
    assert_eq!(root.mode, Mode::Volatile);
    assert!(handoff.waited_ms >= 1000 && started.elapsed().as_secs() < 10);
}

#[test]
fn a_damaged_baseline_is_told_and_the_image_comes_up() {
    let mut rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/committed"), "x").unwrap();
    rig.shutdown();
    let id = rig.copy_to_snapshot();
    rig.offline(|layout| {
        write::point_baseline(layout, "root", Some(id)).unwrap();
        fs::write(layout.snapshot_record("root", id), "version = 1\nid = x\n").unwrap();
    });
    rig.configure(VOLATILE);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    let reason = root.reason.clone().unwrap();
    assert!(reason.contains("/run/overlayd/store/overlays/root/snapshots/1/snapshot.toml:2"), "{reason}");
    assert_eq!((root.mode, root.snapshot), (Mode::Volatile, None));
    assert!(!rig.path("etc/committed").exists());
    guarded();
    rig.shutdown();
    rig.offline(|layout| assert!(layout.snapshot_fs("root", id).join("etc/committed").exists()));
}

/// The way back to a persistent root is open: its generation is as it was.
#[test]
fn the_generation_waits_for_the_persistent_mode() {
    let mut rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/mine"), "x").unwrap();
    rig.shutdown();
    rig.configure(VOLATILE);
    rig.boot();
    assert!(!rig.path("etc/mine").exists());
    rig.shutdown();
    rig.configure("");
    assert_eq!(rig.boot().overlay["root"].generation, Some(1));
    assert!(rig.path("etc/mine").exists());
}
