//! The wipe of a real machine's state disk: nothing of what was there is found on the raw disk, whenever the power goes.

use crate::checks::{Marks, assert_healthy, assert_marks, make_marks, status_of_root};
use crate::harness::{Disk, Guest, Initramfs, Machine, RootFs, StateFs, Suite};
use crate::power::{cut_at_random, cuts, time_execution};
use crate::secrets::{hide_secret, holds_secret};

/// As an administrator asks for it.
pub(crate) const WIPE: &str = "overlayctl reset --wipe --yes";

/// The whole way: asked of the daemon, carried out by the next boot, told by status.
fn wiped_by_a_reboot(state: StateFs, initramfs: Initramfs) {
    let name = format!("wipe-{}", state.word());
    let mut machine = Machine::new(&name, Suite::Trixie, initramfs, RootFs::Squashfs, state);
    let mut guest = lived(&mut machine);
    guest.succeed("overlayctl snapshot create");
    guest.reboot_by(&format!("{WIPE} && systemctl reboot"));
    let old = store_of(&machine.disk);
    assert!(holds_secret(&machine), "the search works");

    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    assert_healthy(&mut guest, "persistent");
    assert_marks(&mut guest, Marks::None);
    let root = status_of_root(&mut guest);
    let outcome = &root["last"];
    let told = [&outcome["result"], &outcome["level"], &root["generation"]];
    if told != [&"done".into(), &"wipe".into(), &serde_json::Value::from(1)] {
        guest.fail(&format!("status does not tell of the wipe: {root:#}"));
    }
    let why = outcome["secure-why"].as_str().unwrap_or_default().to_owned();
    assert!(outcome["secure"] == "unknown" && why.contains("BLKDISCARD"), "{outcome:#}");
    guest.succeed("test -z \"$(overlayctl snapshot list | tail -n +2)\"");
    guest.poweroff();
    assert_gone(&machine, &machine.disk, &old, "after a reboot");
    machine.disk.assert_clean();
}

#[test]
fn a_wipe_of_ext4_by_initramfs_tools_leaves_nothing() {
    wiped_by_a_reboot(StateFs::Ext4, Initramfs::InitramfsTools);
}

#[test]
fn a_wipe_of_xfs_by_dracut_leaves_nothing() {
    wiped_by_a_reboot(StateFs::Xfs, Initramfs::Dracut);
}

#[test]
fn power_cuts_while_a_wipe_is_executed_on_ext4() {
    cut(plain(StateFs::Ext4), Disk::clone, cuts(3, 14));
}

#[cfg(feature = "test-full")]
#[test]
fn power_cuts_while_a_wipe_is_executed_on_xfs() {
    cut(plain(StateFs::Xfs), Disk::clone, 8);
}

#[cfg(feature = "test-full")]
#[test]
fn power_cuts_while_a_wipe_is_executed_on_btrfs() {
    cut(plain(StateFs::Btrfs), Disk::clone, 8);
}

fn plain(state: StateFs) -> Machine {
    let name = format!("wipe-power-{}", state.word());
    Machine::new(&name, Suite::Trixie, Initramfs::InitramfsTools, RootFs::Squashfs, state)
}

/// Cuts the power so many times while the machine's state disk is wiped. `filesystem` gives back what is on the disk.
pub(crate) fn cut(mut machine: Machine, filesystem: fn(&Disk) -> Disk, times: u32) {
    let mut guest = lived(&mut machine);
    guest.succeed(WIPE);
    guest.poweroff();
    let old = store_of(&filesystem(&machine.disk));
    let armed = machine.disk.copy(machine.dir().join("armed.img"));
    let window = time_execution(&mut machine);
    assert_gone(&machine, &filesystem(&machine.disk), &old, "undisturbed");
    cut_at_random(&mut machine, &armed, window, times, &|machine, verdict, what| {
        let ended = (verdict.mode(), verdict.marks(), verdict.generation());
        assert_eq!(ended, ("persistent", "none", 1), "{what}");
        assert_gone(machine, &filesystem(&machine.disk), &old, what);
    });
}

/// A machine with marks and secrets, up.
fn lived(machine: &mut Machine) -> Guest {
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    make_marks(&mut guest);
    hide_secret(&mut guest);
    guest
}

/// The UUID of the store in this filesystem.
pub(crate) fn store_of(filesystem: &Disk) -> String {
    filesystem.inside("grep ^uuid overlayd/store.toml")
}

/// A new store that says how it came about, and nothing of the old one on the whole disk.
pub(crate) fn assert_gone(machine: &Machine, filesystem: &Disk, old: &str, what: &str) {
    assert!(!holds_secret(machine), "the secret is on the raw disk: {what}");
    assert_ne!(store_of(filesystem), old, "{what}");
    let root = filesystem.inside("cd overlayd/overlays/root; ls; cat outcome.toml");
    assert!(!root.contains("request.toml"), "a request is left: {what}: {root}");
    assert!(root.contains("result = \"done\"") && root.contains("level = \"wipe\""), "{what}: {root}");
}
