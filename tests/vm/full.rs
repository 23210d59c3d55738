//! The rows of the boot matrix that main.rs leaves out: with both, `make test-full` boots every combination.

#![allow(dead_code, unused_imports, reason = "shares the harness with main.rs and uses less of it")]

mod asked;
mod checks;
mod harness;
mod health;
mod health_more;
mod triggers_more;
#[macro_use]
mod row;

rows! {
    row_initramfs_tools_persistent_squashfs_xfs: Trixie InitramfsTools Persistent Squashfs Xfs;
    row_initramfs_tools_persistent_squashfs_btrfs: Trixie InitramfsTools Persistent Squashfs Btrfs;
    row_initramfs_tools_persistent_erofs_ext4: Trixie InitramfsTools Persistent Erofs Ext4;
    row_initramfs_tools_persistent_erofs_xfs: Trixie InitramfsTools Persistent Erofs Xfs;
    row_initramfs_tools_volatile_squashfs_ext4: Trixie InitramfsTools Volatile Squashfs Ext4;
    row_initramfs_tools_volatile_squashfs_btrfs: Trixie InitramfsTools Volatile Squashfs Btrfs;
    row_initramfs_tools_volatile_erofs_ext4: Trixie InitramfsTools Volatile Erofs Ext4;
    row_initramfs_tools_volatile_erofs_xfs: Trixie InitramfsTools Volatile Erofs Xfs;
    row_initramfs_tools_volatile_erofs_btrfs: Trixie InitramfsTools Volatile Erofs Btrfs;
    row_dracut_persistent_squashfs_ext4: Trixie Dracut Persistent Squashfs Ext4;
    row_dracut_persistent_squashfs_xfs: Trixie Dracut Persistent Squashfs Xfs;
    row_dracut_persistent_squashfs_btrfs: Trixie Dracut Persistent Squashfs Btrfs;
    row_dracut_persistent_erofs_ext4: Trixie Dracut Persistent Erofs Ext4;
    row_dracut_persistent_erofs_btrfs: Trixie Dracut Persistent Erofs Btrfs;
    row_dracut_volatile_squashfs_ext4: Trixie Dracut Volatile Squashfs Ext4;
    row_dracut_volatile_squashfs_xfs: Trixie Dracut Volatile Squashfs Xfs;
    row_dracut_volatile_erofs_xfs: Trixie Dracut Volatile Erofs Xfs;
    row_dracut_volatile_erofs_btrfs: Trixie Dracut Volatile Erofs Btrfs;
    row_debian_12_dracut: Bookworm Dracut Persistent Erofs Xfs;
    row_debian_testing_initramfs_tools: Forky InitramfsTools Persistent Squashfs Btrfs;
}
