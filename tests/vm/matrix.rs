//! The boot matrix: a pairwise cover of {initramfs} × {mode} × {root} × {state} on Debian 13, and one
//! persistent row each on Debian 12 and on Debian testing. The other rows: full.rs.

// Every pair of values of two columns occurs in one of the first six.
rows! {
    row_initramfs_tools_persistent_squashfs_ext4: Trixie InitramfsTools Persistent Squashfs Ext4;
    row_dracut_volatile_erofs_ext4: Trixie Dracut Volatile Erofs Ext4;
    row_dracut_persistent_erofs_xfs: Trixie Dracut Persistent Erofs Xfs;
    row_initramfs_tools_volatile_squashfs_xfs: Trixie InitramfsTools Volatile Squashfs Xfs;
    row_initramfs_tools_persistent_erofs_btrfs: Trixie InitramfsTools Persistent Erofs Btrfs;
    row_dracut_volatile_squashfs_btrfs: Trixie Dracut Volatile Squashfs Btrfs;
    row_debian_12: Bookworm InitramfsTools Persistent Squashfs Ext4;
    row_debian_testing: Forky Dracut Persistent Erofs Ext4;
}
