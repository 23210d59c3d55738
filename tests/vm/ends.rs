//! The other ends of a machine than poweroff and reboot, which every row of the matrix looks at.

use crate::harness::{Initramfs, Machine, RootFs, StateFs, Suite};

/// The machine stands still, with all that it wrote on its disk.
fn halts(name: &str, initramfs: Initramfs, fs: StateFs) {
    let mut machine = Machine::new(name, Suite::Trixie, initramfs, RootFs::Squashfs, fs);
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    guest.succeed("echo written >/etc/before-the-halt");
    guest.halt();
    machine.disk.assert_clean();
    let kept = machine.disk.inside("cat overlayd/overlays/root/generations/*/fs/etc/before-the-halt");
    assert_eq!(kept, "written\n");
}

#[test]
fn a_halt_is_clean_with_initramfs_tools_on_ext4() {
    halts("halt-ext4", Initramfs::InitramfsTools, StateFs::Ext4);
}

#[test]
fn a_halt_is_clean_with_dracut_on_xfs() {
    halts("halt-xfs", Initramfs::Dracut, StateFs::Xfs);
}
