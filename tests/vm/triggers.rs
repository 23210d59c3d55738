//! Resets that nobody types in, on real machines: words of the kernel command line, files, systemd's target, its EFI
//! variables. Most boots go off before init: what asks is found in the initramfs.

use crate::asked::{assert_asked, generation, systemd_status, the_target};
use crate::checks::{Marks, Verdict, assert_marks, make_marks, up};
use crate::harness::{Initramfs, Machine, RootFs, StateFs, Suite};

/// A token, systemd's word, a file on the state filesystem.
#[test]
fn words_and_a_file_ask_once_each() {
    let mut machine = Machine::usual("triggers");
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    guest.poweroff();

    // The line of docs/factory-reset.md.
    let token = "overlayd.reset=button-1";
    assert_eq!(generation(&mut machine, &[token]), 2, "it fires");
    assert_asked(&machine, token, "the kernel command line");
    assert_eq!(generation(&mut machine, &[token]), 2, "once");
    let words = [token, "systemd.factory_reset=1"];
    assert_eq!(generation(&mut machine, &words), 3, "systemd's word fires");
    assert_eq!(generation(&mut machine, &words), 3, "once");
    machine.disk.inside("touch overlayd-reset");
    assert_eq!(generation(&mut machine, &words), 4, "the file fires");
    assert_asked(&machine, "the file overlayd-reset", "the state filesystem");
    assert_eq!(machine.disk.inside("ls"), machine.disk.inside("ls -I overlayd-reset"), "it is removed");
}

/// systemd 257 has the target, but not what reboots.
#[test]
fn the_target_on_debian_13() {
    the_target("triggers-target-13", Suite::Trixie);
}

/// Debian testing on UEFI: the target sets systemd's variable as well, and the two are one reset; the variable alone;
/// a file on the ESP.
#[test]
fn efi_variables_and_the_esp_ask_once_each() {
    let mut machine =
        Machine::new("triggers-efi", Suite::Forky, Initramfs::Dracut, RootFs::Erofs, StateFs::Ext4);
    machine.use_uefi();
    let mut guest = up(&mut machine);
    assert_eq!(systemd_status(&mut guest), "unspecified");
    make_marks(&mut guest);
    guest.reboot_by("systemctl start factory-reset.target");
    machine.disk.assert_clean();

    let mut guest = up(&mut machine);
    assert_marks(&mut guest, Marks::None);
    assert_eq!(systemd_status(&mut guest), "complete", "what hooks into systemd's reset found it");
    guest.succeed("[ ! -e /sys/firmware/efi/efivars/FactoryResetRequest-* ]");
    assert_asked(&machine, "systemd", "factory-reset.target");
    make_marks(&mut guest);
    let boot = guest.succeed("tr -d '-' </proc/sys/kernel/random/boot_id");
    guest.succeed("/usr/lib/systemd/systemd-factory-reset request");
    guest.poweroff();

    // Nobody takes the variable away in these boots, which end before systemd.
    let off = Verdict::of(&mut machine, &["systemd.factory_reset=0"]);
    assert_eq!((off.generation(), off.marks()), (2, "all"), "switched off");
    assert_eq!(generation(&mut machine, &[]), 3, "the variable fires");
    assert_asked(
        &machine,
        &format!("systemd in boot {}", boot.trim()),
        "the EFI variable FactoryResetRequest",
    );
    assert_eq!(generation(&mut machine, &[]), 3, "once");
    machine.esp().put("overlayd-reset", "factory");
    assert_eq!(generation(&mut machine, &[]), 4, "the file on the ESP fires");
    assert_asked(&machine, "the file overlayd-reset", "the ESP");
    assert_eq!(machine.esp().names(), "", "it is removed");
    assert_eq!(generation(&mut machine, &[]), 4, "once");
}
