//! The other ends of a machine than poweroff and reboot, which every row of the matrix looks at.

use crate::checks::{assert_healthy, up};
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

/// Another kernel is started by this one, without a firmware between. It finds a state filesystem that was unmounted, which is
/// looked at while that kernel is only just there, and everything that was written.
fn starts_another_kernel(name: &str, initramfs: Initramfs, fs: StateFs) {
    let mut machine = Machine::new(name, Suite::Trixie, initramfs, RootFs::Squashfs, fs);
    let guest = up(&mut machine);
    guest.poweroff();
    let (kernel, initrd) = (machine.image("vmlinuz"), machine.image(initramfs.file()));
    let kept = "overlayd/overlays/root/generations/1/fs/var/";
    machine.disk.inside(&format!(
        "cp {} {kept}vmlinuz; cp {} {kept}initrd",
        kernel.display(),
        initrd.display()
    ));

    let mut guest = up(&mut machine);
    let first = guest.succeed("cat /proc/sys/kernel/random/boot_id");
    guest.succeed(&format!("echo written >/etc/before-the-kexec; {LOAD}"));
    guest.send("systemctl kexec");
    guest.wait_for_console_times(KERNEL_STARTS, 2);
    guest.pause();
    let found = machine.disk.copy(machine.dir().join("found.img"));
    guest.resume();
    found.assert_clean();

    guest.wait_until_up();
    assert_healthy(&mut guest, "persistent");
    guest.succeed(
        "[ \"$(cat /etc/before-the-kexec)\" = written ] && grep -qw overlayd-test.again /proc/cmdline",
    );
    assert_ne!(guest.succeed("cat /proc/sys/kernel/random/boot_id"), first);
    assert!(!guest.console().contains("reboot: Restarting system"), "it was an ordinary reboot");
    guest.poweroff();
    machine.disk.assert_clean();
}

/// The first words of a kernel.
const KERNEL_STARTS: &str = "Linux version ";

/// kexec_file_load(2) of what lies in /var, as `kexec -s` does it: so the image needs no kexec-tools.
const LOAD: &str = r#"perl -e '
    open($kernel, "<", "/var/vmlinuz") && open($initrd, "<", "/var/initrd") && open($words, "<", "/proc/cmdline") or die $!;
    chomp(my $line = <$words> . "");
    $line .= " overlayd-test.again\0";
    syscall(320, fileno($kernel), fileno($initrd), length($line), $line, 0) == 0 or die $!;
' && [ "$(cat /sys/kernel/kexec_loaded)" = 1 ]"#;

#[test]
fn a_kexec_is_clean_with_initramfs_tools_on_ext4() {
    starts_another_kernel("kexec-ext4", Initramfs::InitramfsTools, StateFs::Ext4);
}

#[test]
fn a_kexec_is_clean_with_dracut_on_xfs() {
    starts_another_kernel("kexec-xfs", Initramfs::Dracut, StateFs::Xfs);
}
