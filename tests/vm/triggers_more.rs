//! What triggers.rs leaves out: the other systems and the other firmware.

use crate::asked::{assert_asked, generation, systemd_status, the_target};
use crate::checks::{Marks, Verdict, assert_healthy, assert_marks, make_marks, up};
use crate::harness::{Initramfs, Machine, RootFs, StateFs, Suite};

/// Debian 13 on UEFI, without systemd in the initramfs: the variable of systemd 257; what is no word on the ESP; an ESP
/// that was not booted from.
#[test]
fn systemd_257_on_uefi_and_an_esp_that_does_not_count() {
    let mut machine = Machine::usual("triggers-257");
    machine.use_uefi();
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    let vendor = "8cf2644b-4b0b-428f-9387-6d876050dc67";
    let loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    guest.succeed(&format!(
        "cd /sys/firmware/efi/efivars && printf '\\7\\0\\0\\0001\\0' >FactoryReset-{vendor}"
    ));
    guest.poweroff();
    assert_eq!(generation(&mut machine, &[]), 2, "the variable fires");
    assert_asked(&machine, "systemd", "the EFI variable FactoryReset");
    assert_eq!(generation(&mut machine, &[]), 2, "once");

    machine.esp().put("overlayd-reset", "please");
    let verdict = Verdict::of(&mut machine, &[]);
    assert_eq!(verdict.generation(), 2);
    let problems = verdict.problems();
    assert!(
        problems.len() == 1 && problems[0].contains("via the ESP is not obeyed: \"please\""),
        "{problems:?}"
    );
    machine.esp().put("overlayd-reset", "factory");
    let mut guest = machine.boot(&["overlayd.mode=off"]);
    guest.wait_until_up();
    guest.succeed("[ ! -e /sys/firmware/efi/efivars/FactoryReset-* ]");
    let other =
        format!("cd /sys/firmware/efi/efivars && printf '\\7\\0\\0\\0002\\0' >LoaderDevicePartUUID-{loader}");
    guest.succeed(&other);
    guest.poweroff();
    assert_eq!(generation(&mut machine, &[]), 2, "another partition was booted from");
    assert_ne!(machine.esp().names(), "", "and this one is left alone");
}

/// The word of systemd 258 and later: systemd executes its own reset at every boot, overlayd at the first.
#[test]
fn systemds_word_on_debian_testing() {
    let initramfs = Initramfs::InitramfsTools;
    let mut machine =
        Machine::new("triggers-word", Suite::Forky, initramfs, RootFs::Squashfs, StateFs::Btrfs);
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    guest.poweroff();
    for marks in [Marks::None, Marks::All] {
        let mut guest = machine.boot(&["systemd.factory_reset=1"]);
        guest.wait_until_up();
        assert_healthy(&mut guest, "persistent");
        assert_eq!(systemd_status(&mut guest), "complete");
        assert_marks(&mut guest, marks);
        if marks == Marks::None {
            make_marks(&mut guest);
        }
        guest.poweroff();
    }
}

#[test]
fn the_target_on_debian_12() {
    the_target("triggers-target-12", Suite::Bookworm);
}

#[test]
fn the_target_on_debian_testing() {
    the_target("triggers-target-testing", Suite::Forky);
}
