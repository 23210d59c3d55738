//! The modes that leave the root as it is: `read-only` and `off`.

use crate::checks::{COMPARE, assert_identical, assert_no_failed_units, status_of_root};
use crate::harness::{Guest, Machine};

#[test]
fn read_only_shows_the_base_and_refuses_writes() {
    let mut machine = Machine::usual("mode-read-only");
    let mut guest = boot(&mut machine, "read-only", COMPARE);
    assert_identical(&mut guest);
    assert_refuses_writes(&mut guest);
    guest.reboot();
    machine.disk.assert_clean();

    let mut guest = boot(&mut machine, "read-only", &[]);
    assert_refuses_writes(&mut guest);
    let refused = guest.run("overlayctl reset --yes");
    assert!(matches!(refused.status, 3 | 4), "reset of a read-only root: {refused:?}");
    guest.poweroff();
    machine.disk.assert_clean();
}

#[test]
fn off_leaves_the_root_alone() {
    let mut machine = Machine::usual("mode-off");
    let before = machine.disk.digest();
    let mut guest = boot(&mut machine, "off", &[]);
    assert_eq!(guest.succeed("findmnt -no FSTYPE /").trim(), "squashfs");
    assert_refuses_writes(&mut guest);
    guest.poweroff();
    assert_eq!(machine.disk.digest(), before, "the state disk was written to");
}

fn boot(machine: &mut Machine, mode: &str, words: &[&str]) -> Guest {
    let mode_word = format!("overlayd.mode={mode}");
    let mut guest = machine.boot(&[&[mode_word.as_str()], words].concat());
    guest.wait_until_up();
    assert_no_failed_units(&mut guest);
    let root = status_of_root(&mut guest);
    if root["configured-mode"] != mode || root["mode"] != mode || !root["degraded"].is_null() {
        guest.fail(&format!("the root is not {mode}: {root:#}"));
    }
    guest
}

fn assert_refuses_writes(guest: &mut Guest) {
    let output = guest.run("touch /etc/overlayd-test-new");
    assert!(
        output.status != 0 && output.err.contains("Read-only file system"),
        "writing succeeded: {output:?}"
    );
}
