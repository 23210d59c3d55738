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

# Whether a key for an encrypted state device is configured. What that needs takes up some megabytes.
has_key() {
	"${dracutsysrootdir-}/usr/bin/overlayctl" --json config show --root "${dracutsysrootdir:-/}" |
		grep -q '"key":"state\.key-file","value":"/'
}

installkernel() {
	# An appliance's initramfs is made on another machine: never by what this one has.
	hostonly='' instmods overlay squashfs erofs ext4 xfs btrfs loop
	# EFI variables and the ESP can ask for a reset.
	hostonly='' instmods efivarfs vfat nls_cp437 nls_ascii nls_iso8859_1 nls_utf8
	hostonly='' instmods virtio_blk virtio_scsi virtio_pci virtio_mmio nvme sd_mod ahci mmc_block usb_storage uas
	if has_key; then
		# By their aliases, so that every architecture brings its own; key slots are read through AF_ALG.
		hostonly='' instmods dm_mod dm_crypt algif_skcipher crypto-xts crypto-ecb crypto-aes
	fi
}

install() {
	inst_binary /usr/lib/overlayd/overlayd-early
	inst_multiple -o \
		/usr/lib/overlayd/overlayd.toml /usr/lib/overlayd/overlayd.toml.d/*.toml \
		/etc/overlayd/overlayd.toml /etc/overlayd/overlayd.toml.d/*.toml
	# Checking the state filesystem, making it if the configuration allows, and making it anew after a wipe.
	inst_multiple -o e2fsck fsck.ext4 mkfs.ext4 /etc/mke2fs.conf \
		fsck.xfs xfs_repair mkfs.xfs btrfs fsck.btrfs mkfs.btrfs modprobe
	has_key && install_cryptsetup

	inst_simple "$systemdsystemunitdir/overlayd-root.service"
	$SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target overlayd-root.service
}

# The key itself stays in the base, where it is found: who can read an initramfs is not for overlayd to say.
install_cryptsetup() {
	inst_multiple -o cryptsetup
	[[ -x $initdir/usr/sbin/cryptsetup ]] ||
		dwarn "overlayd: cryptsetup is not installed: the state device can not be opened"
	# glibc loads it when one of cryptsetup's threads ends; no program names it.
	inst_libdir_file 'libgcc_s.so*'
}
