#!/bin/bash
# Puts overlayd's executor, its unit, its configuration, and what the state
# filesystem needs into the initramfs. dracut calls these functions.
# The variables are dracut's.
# shellcheck disable=SC2154

check() {
	require_binaries /usr/lib/overlayd/overlayd-early || return 1
	require_kernel_modules overlay || return 1
	return 0
}

depends() {
	echo systemd systemd-initrd
}

installkernel() {
	# An appliance's initramfs is made on another machine: never by what this one has.
	hostonly='' instmods overlay squashfs erofs ext4 xfs btrfs loop
	# EFI variables and the ESP can ask for a reset.
	hostonly='' instmods efivarfs vfat nls_cp437 nls_ascii nls_iso8859_1 nls_utf8
	hostonly='' instmods virtio_blk virtio_scsi virtio_pci virtio_mmio nvme sd_mod ahci mmc_block usb_storage uas
}

install() {
	inst_binary /usr/lib/overlayd/overlayd-early
	inst_multiple -o \
		/usr/lib/overlayd/overlayd.toml /usr/lib/overlayd/overlayd.toml.d/*.toml \
		/etc/overlayd/overlayd.toml /etc/overlayd/overlayd.toml.d/*.toml
	# Checking the state filesystem, making it if the configuration allows, and making it anew after a wipe.
	inst_multiple -o e2fsck fsck.ext4 mkfs.ext4 /etc/mke2fs.conf \
		fsck.xfs xfs_repair mkfs.xfs btrfs fsck.btrfs mkfs.btrfs modprobe

	inst_simple "$systemdsystemunitdir/overlayd-root.service"
	$SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target overlayd-root.service
}
