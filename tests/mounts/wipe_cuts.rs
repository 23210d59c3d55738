//! A wipe that is cut, at any write and any call to the device: the next boot makes it good.

use std::fs;
use std::path::Path;
use std::process::Command;

use overlayd::config::Mode;
use overlayd::store::read;
use overlayd::sys::block;
use overlayd::sys::superblock::FsType;

use crate::rig::{Rig, manifest};
use crate::wipe::{ask, assert_wiped, live, outcome, request};

/// Boots under strace, which kills it at its `nth` call of this kind; false if it ended before that.
fn kill_at(rig: &Rig, call: &str, nth: u32) -> bool {
    let early = rig.early();
    // Without its children: what mkfs does, it does in memory.
    let status = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(early.get_program())
        .args(early.get_args())
        .output()
        .expect("strace is needed");
    !status.status.success()
}

/// What a cut leaves: the old store whole, with the request; the mark; or the new store with its outcome.
fn assert_whole(rig: &Rig, old: &str, id: &str, what: &str) -> &'static str {
    let found = block::probe(Path::new(&rig.device)).unwrap();
    match found.unwrap_or_else(|| panic!("the device is nothing: {what}")).fstype {
        FsType::Wipe => "marked",
        _ => rig.offline(|layout| {
            if read::load(layout).unwrap().record.uuid != old {
                assert_eq!(outcome(layout).request, id, "{what}");
                return "new";
            }
            assert_eq!(request(layout).as_deref(), Some(id), "{what}");
            let secret = fs::read_to_string(layout.upper("root", 1).join("etc/secret")).unwrap();
            assert_eq!(secret.lines().count(), 5000, "{what}");
            "old"
        }),
    }
}

/// Cuts at calls of these kinds, one after the other until the boot ends before the cut.
fn cuts(fstype: &str, mib: u64, calls: &[&str]) {
    let rig = Rig::new(fstype, mib);
    let bare = manifest(&rig.sysroot);
    let mut seen = [("old", 0), ("marked", 0), ("new", 0)];
    for call in calls {
        for nth in 1.. {
            let what = format!("{fstype}, cut at {call} {nth}");
            let old = live(&rig);
            let id = ask(&rig);
            let cut = kill_at(&rig, call, nth);
            rig.shutdown();
            let state = assert_whole(&rig, &old, &id, &what);
            seen.iter_mut().filter(|(name, _)| *name == state).for_each(|(_, count)| *count += 1);
            let handoff = rig.boot();
            assert_wiped(&rig, &handoff, &bare, &old, &id, &format!("{what}, which left it {state}"));
            if !cut {
                break;
            }
        }
    }
    assert!(seen[0].1 > 0 && seen[1].1 > 2, "{seen:?}");
}

#[test]
fn a_cut_at_any_write_on_ext4_is_made_good_by_the_next_boot() {
    cuts("ext4", 64, &["pwrite64", "ioctl"]);
}

#[test]
fn a_cut_at_any_write_on_xfs_is_made_good_by_the_next_boot() {
    cuts("xfs", 320, &["pwrite64", "ioctl"]);
}

#[test]
fn a_cut_at_any_write_on_btrfs_is_made_good_by_the_next_boot() {
    cuts("btrfs", 128, &["pwrite64", "ioctl"]);
}

/// A wipe that was cut, and cut again while it was finished.
#[test]
fn cuts_of_what_goes_on_after_a_cut_are_made_good() {
    let rig = Rig::new("ext4", 64);
    let bare = manifest(&rig.sysroot);
    let old = live(&rig);
    let id = ask(&rig);
    for nth in [3, 2, 1, 4, 5] {
        assert!(kill_at(&rig, "pwrite64", nth), "at {nth}");
        rig.shutdown();
        assert_eq!(assert_whole(&rig, &old, &id, "again"), "marked", "at {nth}");
    }
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].executed.as_ref(), Some(&id));
    assert_wiped(&rig, &handoff, &bare, &old, &id, "cut five times");
}

/// The first boot on a device of zeros is cut at any write and any call to the device: whatever that leaves, the next boot
/// has a filesystem there, and the one after it has what was written.
fn cuts_on_a_blank_device(fstype: &str, mib: u64) {
    let mut rig = Rig::without_filesystem(mib);
    let device = rig.device.clone();
    rig.configure_whole(&format!(
        "[state]\ndevice = \"{device}\"\nfstype = \"{fstype}\"\nformat = \"if-blank\"\ntimeout = \"300ms\"\n"
    ));
    let mut marked = 0;
    for call in ["pwrite64", "ioctl"] {
        for nth in 1.. {
            let zero = Command::new("blkdiscard")
                .args(["-f", "-z", &device])
                .status()
                .expect("blkdiscard is needed");
            assert!(zero.success());
            let cut = kill_at(&rig, call, nth);
            rig.shutdown();
            let left = block::probe(Path::new(&device)).unwrap().map(|found| found.fstype);
            marked += u32::from(left == Some(FsType::Wipe));
            let what = format!("{fstype}, cut at {call} {nth}, which left {left:?}");
            let handoff = rig.boot();
            assert_eq!(handoff.overlay["root"].mode, Mode::Persistent, "{what}: {handoff:?}");
            fs::write(rig.path("etc/kept"), "x").unwrap();
            rig.reboot();
            assert!(rig.path("etc/kept").exists(), "{what}");
            rig.shutdown();
            if !cut {
                break;
            }
        }
    }
    assert!(marked > 2, "{marked}");
}

#[test]
fn a_first_boot_on_a_blank_device_that_is_cut_is_made_good_on_ext4() {
    cuts_on_a_blank_device("ext4", 64);
}

#[test]
fn a_first_boot_on_a_blank_device_that_is_cut_is_made_good_on_xfs() {
    cuts_on_a_blank_device("xfs", 320);
}

#[test]
fn a_first_boot_on_a_blank_device_that_is_cut_is_made_good_on_btrfs() {
    cuts_on_a_blank_device("btrfs", 128);
}
