//! An encrypted state device that the initramfs opens by its crypttab: overlayd finds the filesystem in the mapping.

use crate::checks::{Marks, assert_marks, make_marks, status_of_root, up};
use crate::harness::{Disk, Encryption, Initramfs, Machine, RootFs, StateFs, Suite};
use crate::power::cuts;
use crate::secrets::{hide_secret, holds_secret};
use crate::wipe::{WIPE, assert_gone, cut, store_of};

/// Without it overlayd can not make a new volume.
const NO_KEY: &str = "overlayd.key-file=";

/// boot → write → reboot → still there, and not to be read on the disk → reset → factory reset → poweroff, clean
fn resets(name: &str, initramfs: Initramfs, state: StateFs) {
    let mut machine = encrypted(name, initramfs, state);
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    hide_secret(&mut guest);
    guest.reboot();
    assert_clean(&machine);
    assert!(!holds_secret(&machine), "the secret is on the raw disk");

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::All);
    guest.reboot_by("overlayctl reset --yes --now=reboot");

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::None);
    make_marks(&mut guest);
    guest.reboot_by("overlayctl reset --factory --yes --now=reboot");
    assert_clean(&machine);

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::None);
    guest.poweroff();
    assert_clean(&machine);
}

/// boot → write → a wipe for which there is no key is refused → one for which there is one is done → poweroff, clean
fn wipes(name: &str, initramfs: Initramfs, state: StateFs) {
    let mut machine = encrypted(name, initramfs, state);
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    hide_secret(&mut guest);
    guest.reboot_by(&format!("{WIPE} && systemctl reboot"));
    let store = store_of(&machine.disk.decrypted());

    let mut guest = machine.boot(&[NO_KEY]);
    guest.wait_until_up();
    assert_marks(&mut guest, Marks::All);
    let outcome = &status_of_root(&mut guest)["last"];
    let why = outcome["message"].as_str().unwrap_or_default();
    if outcome["result"] != "failed" || !why.contains("no key is known") || !why.contains("state.key-file") {
        guest.fail(&format!("a wipe without a key: {outcome:#}"));
    }
    guest.reboot_by(&format!("{WIPE} && systemctl reboot"));

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::None);
    guest.poweroff();
    let plain = machine.disk.decrypted();
    plain.assert_clean();
    assert_gone(&machine, &plain, &store, "after a reboot");
}

#[test]
fn resets_of_an_encrypted_ext4_by_initramfs_tools() {
    resets("crypttab-initramfs-tools", Initramfs::InitramfsTools, StateFs::Ext4);
}

#[test]
fn resets_of_an_encrypted_btrfs_by_dracut() {
    resets("crypttab-dracut", Initramfs::Dracut, StateFs::Btrfs);
}

#[test]
fn a_wipe_of_an_encrypted_ext4_by_initramfs_tools() {
    wipes("crypttab-wipe-initramfs-tools", Initramfs::InitramfsTools, StateFs::Ext4);
}

#[test]
fn a_wipe_of_an_encrypted_btrfs_by_dracut() {
    wipes("crypttab-wipe-dracut", Initramfs::Dracut, StateFs::Btrfs);
}

/// The initramfs meets a device that is no volume any more.
#[test]
fn power_cuts_while_a_device_of_crypttab_is_wiped() {
    let machine = encrypted("crypttab-power", Initramfs::InitramfsTools, StateFs::Xfs);
    cut(machine, Disk::decrypted, cuts(2, 6));
}

fn encrypted(name: &str, initramfs: Initramfs, state: StateFs) -> Machine {
    let mut machine = Machine::new(name, Suite::Trixie, initramfs, RootFs::Squashfs, state);
    machine.use_encryption(Encryption::Crypttab);
    machine.disk.encrypt();
    machine
}

fn assert_clean(machine: &Machine) {
    machine.disk.decrypted().assert_clean();
}
