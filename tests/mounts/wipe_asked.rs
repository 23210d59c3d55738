//! A wipe that the boot would refuse is refused when it is asked for, in the same words, where the kernel tells enough.

use overlayd::operation::{self, Asked};
use overlayd::plan::request::Resetting;
use overlayd::store::records::Level;

use crate::rig::{Rig, run};
use crate::snapshots::live;
use crate::wipe::Detached;

fn ask(rig: &Rig, dry_run: bool) -> overlayd::Result<()> {
    let wanted = Resetting { level: Level::Wipe, drop_kept: true, ..Resetting::default() };
    let asked = Asked { by: "a test".into(), via: None };
    match dry_run {
        true => operation::preview_reset(&live(rig), "root", &wanted, &asked).map(drop),
        false => operation::request_reset(&live(rig), "root", &wanted, &asked).map(drop),
    }
}

/// Neither a dry run nor a request is to be had.
fn refuses(rig: &Rig, words: &str) {
    let told = [true, false].map(|dry_run| ask(rig, dry_run).unwrap_err().to_string());
    assert!(told[0].contains(words), "{told:?}");
    assert_eq!(told[0], told[1]);
    assert_eq!(rig.reboot().overlay["root"].executed, None);
}

#[test]
fn what_can_be_wiped_can_be_asked_for() {
    for (fstype, mib) in [("ext4", 64), ("xfs", 320), ("btrfs", 128)] {
        let rig = Rig::new(fstype, mib);
        rig.boot();
        ask(&rig, true).unwrap();
        ask(&rig, false).unwrap();
        let handoff = rig.reboot();
        assert!(handoff.overlay["root"].executed.is_some(), "{handoff:?}");
    }
}

#[test]
fn a_btrfs_of_two_devices_is_known_from_sysfs() {
    let mut rig = Rig::without_filesystem(128);
    let second = Detached::attach(&rig.beside("second.img"), 128);
    run("mkfs.btrfs", &["-q", "-f", "-L", "two", &rig.device, &second.0]);
    rig.configure_whole(&format!("[state]\ndevice = \"{}\"\n", rig.device));
    run("btrfs", &["device", "scan", &second.0]);
    rig.boot();
    refuses(&rig, "spans 2 devices");
}

#[test]
fn another_device_among_the_mount_options_is_known_from_the_configuration() {
    let mut rig = Rig::new("btrfs", 128);
    let option = format!("device={}", rig.device);
    rig.configure(&format!("options = \"{option}\""));
    rig.boot();
    refuses(&rig, &option);
}
