//! An encrypted state device that overlayd makes and opens itself: its wipe leaves neither key nor secret, whenever the
//! power goes.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;

use crate::checks::{Marks, Verdict, assert_marks, make_marks, status_of_root, up};
use crate::harness::{Disk, Encryption, Guest, Initramfs, KEY_FILE, Machine, RootFs, StateFs, Suite};
use crate::power::cuts;
use crate::secrets::{hide_secret, holds_secret};
use crate::wipe::{WIPE, assert_gone, cut, store_of};

/// The header and its copy, which are much alike in any two volumes; key slots and data come behind.
const HEADERS: u64 = 32 << 10;

/// blank → made → write → reboot → still there, and not to be read on the disk → factory reset → write → wipe → nothing of
/// the old volume is there → poweroff, clean
fn wiped(name: &str, initramfs: Initramfs, state: StateFs) {
    let mut machine = blank(name, initramfs, state);
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    hide_secret(&mut guest);
    guest.reboot();
    assert!(machine.disk.opens(), "the key file opens the volume");
    assert!(!holds_secret(&machine), "the secret is on the raw disk");

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::All);
    guest.reboot_by("overlayctl reset --factory --yes --now=reboot");
    machine.disk.decrypted().assert_clean();

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::None);
    make_marks(&mut guest);
    hide_secret(&mut guest);
    guest.reboot_by(&format!("{WIPE} && systemctl reboot"));
    let old = machine.disk.copy(machine.dir().join("old.img"));
    let store = store_of(&old.decrypted());

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::None);
    assert_told(&mut guest);
    guest.poweroff();
    let plain = machine.disk.decrypted();
    plain.assert_clean();
    assert_gone(&machine, &plain, &store, "after a reboot");
    assert_eq!(left_of(&old, &machine.disk), 0, "blocks of the old volume are on the disk");
    assert!(left_of(&old, &old) > 10_000, "the search works");
}

#[test]
fn a_wipe_of_an_encrypted_ext4_leaves_no_key() {
    wiped("luks-wipe", Initramfs::InitramfsTools, StateFs::Ext4);
}

#[cfg(feature = "test-full")]
#[test]
fn a_wipe_of_an_encrypted_xfs_leaves_no_key() {
    wiped("luks-wipe-xfs", Initramfs::InitramfsTools, StateFs::Xfs);
}

#[cfg(feature = "test-full")]
#[test]
fn a_wipe_of_an_encrypted_btrfs_by_dracut_leaves_no_key() {
    wiped("luks-wipe-dracut", Initramfs::Dracut, StateFs::Btrfs);
}

#[test]
fn power_cuts_while_an_encrypted_device_is_wiped() {
    cut(blank("luks-power", Initramfs::InitramfsTools, StateFs::Ext4), Disk::decrypted, cuts(2, 14));
}

/// Nothing is touched, the machine comes up, and says why it has nothing to write to.
#[test]
fn a_key_that_opens_nothing_is_told() {
    let mut machine = blank("luks-wrong-key", Initramfs::InitramfsTools, StateFs::Ext4);
    machine.disk.format(&[]);
    machine.disk.encrypt();
    machine.disk.change_key();
    let before = machine.disk.digest();
    let verdict = Verdict::of(&mut machine, &[]);
    assert_eq!(verdict.mode(), "volatile", "{verdict:#?}");
    assert!(verdict.reason().contains("No key available"), "{verdict:#?}");
    assert_eq!(machine.disk.digest(), before, "the disk was written to");
}

/// Status tells of the wipe, and that on a disk that says it is rotating an overwritten key slot is gone.
fn assert_told(guest: &mut Guest) {
    let root = status_of_root(guest);
    let outcome = &root["last"];
    if [&outcome["result"], &outcome["level"], &outcome["secure"]] != ["done", "wipe", "yes"] {
        guest.fail(&format!("status does not tell of the wipe: {root:#}"));
    }
    let why = outcome["secure-why"].as_str().unwrap_or_default();
    assert!(why.contains("key slots were overwritten on a rotating disk"), "{outcome:#}");
    assert_eq!(root["generation"], 1, "{root:#}");
}

/// A machine whose state disk is blank, and that may encrypt it.
fn blank(name: &str, initramfs: Initramfs, state: StateFs) -> Machine {
    let mut machine = Machine::new(name, Suite::Trixie, initramfs, RootFs::Squashfs, state);
    machine.disk = machine.disk.blanked();
    machine.use_encryption(Encryption::Key);
    machine.words = vec![
        "overlayd.device=/dev/vdb".to_owned(),
        format!("overlayd.fstype={}", state.word()),
        "overlayd.format=if-blank".to_owned(),
        format!("overlayd.key-file={KEY_FILE}"),
    ];
    machine
}

/// How many blocks of `old` are anywhere on `new`: what is encrypted never comes twice.
fn left_of(old: &Disk, new: &Disk) -> usize {
    let blocks: HashSet<u128> = blocks(old, HEADERS).collect();
    self::blocks(new, 0).filter(|block| blocks.contains(block)).count()
}

/// The beginning of each block of 512 bytes from `start` on that is not zeros.
fn blocks(disk: &Disk, start: u64) -> impl Iterator<Item = u128> + use<> {
    let mut file = File::open(disk.path()).expect("the disk's image");
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start)).expect("the front of the disk");
    let mut piece = vec![0; 1 << 20];
    std::iter::from_fn(move || {
        let length = file.read(&mut piece).expect("the disk's image");
        (length > 0).then(|| {
            let beginnings =
                piece[..length].chunks(512).map(|block| block[..16].try_into().expect("16 bytes"));
            beginnings.map(u128::from_ne_bytes).filter(|block| *block != 0).collect::<Vec<_>>()
        })
    })
    .flatten()
}
