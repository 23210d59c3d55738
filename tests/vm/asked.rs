//! What the tests of triggers ask a machine: whether a reset was carried out, and who had asked for it.

use crate::checks::{Verdict, make_marks, up};
use crate::harness::{Guest, Initramfs, Machine, RootFs, StateFs, Suite};

/// Where the store's `outcome.toml` is, from the top of the state disk.
const OUTCOME: &str = "cat overlayd/overlays/root/outcome.toml";

/// The live generation after a boot that goes off before init, which must be a good one.
pub(crate) fn generation(machine: &mut Machine, words: &[&str]) -> i64 {
    let verdict = Verdict::of(machine, words);
    assert_eq!((verdict.mode(), verdict.reason()), ("persistent", ""), "{words:?}: {verdict:#?}");
    assert_eq!(verdict.marks(), "none", "{words:?}: {verdict:#?}");
    assert_eq!(verdict.problems(), [""; 0], "{words:?}");
    verdict.generation()
}

/// The last reset went to the bare image, and this is who asked.
pub(crate) fn assert_asked(machine: &Machine, by: &str, via: &str) {
    let outcome = machine.disk.inside(OUTCOME);
    for line in [format!("requested-by = \"{by}\""), format!("via = \"{via}\"")] {
        assert!(outcome.contains(&line), "{line} is missing:\n{outcome}");
    }
    assert!(outcome.contains("level = \"factory\"") && outcome.contains("result = \"done\""), "{outcome}");
}

/// `systemd-factory-reset status`.
pub(crate) fn systemd_status(guest: &mut Guest) -> String {
    // Printed also where the exit status says that one is pending.
    guest.run("/usr/lib/systemd/systemd-factory-reset status").out.trim().to_owned()
}

/// `factory-reset.target` asks and reboots, whoever does the latter.
pub(crate) fn the_target(name: &str, suite: Suite) {
    let mut machine = Machine::new(name, suite, Initramfs::InitramfsTools, RootFs::Squashfs, StateFs::Ext4);
    let mut guest = up(&mut machine);
    make_marks(&mut guest);
    guest.reboot_by("systemctl start factory-reset.target");
    machine.disk.assert_clean();
    assert_eq!(generation(&mut machine, &[]), 2);
    assert_asked(&machine, "systemd", "factory-reset.target");
}
