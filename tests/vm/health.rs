//! Boots that do not come up lead back to one that does, whatever was broken; and one boot without the upper.

use serde_json::Value;

use crate::checks::{Verdict, assert_no_failed_units, status_of_root};
use crate::harness::{Guest, Machine};

/// Fewer boots than the default: each takes a minute.
pub(crate) const TWICE: &str = "overlayd.tries=2";

/// What the status says of the health once the boot is over: the service that marks it is part of it.
pub(crate) fn health(guest: &mut Guest) -> Value {
    guest.wait_until_running();
    status_of_root(guest)["health"].clone()
}

/// Boots with these words, and expects that it comes up and is marked good.
pub(crate) fn good(machine: &mut Machine, words: &[&str], generation: u64) -> Guest {
    let mut guest = machine.boot(words);
    guest.wait_until_up();
    let health = health(&mut guest);
    if (&health["state"], &health["good"]) != (&"good".into(), &generation.into()) {
        let logs = guest.run("systemctl status overlayd-good.service boot-complete.target").out;
        guest.fail(&format!("the boot was not marked good: {health:#}\n{logs}"));
    }
    guest
}

/// Boots that are expected to end in a panic.
fn panics(machine: &mut Machine, words: &[&str], times: u32) {
    for _ in 0..times {
        machine.boot(words).wait_panic();
    }
}

/// The machine went back by itself, from a generation that is kept, and in which this had changed.
pub(crate) fn assert_back(guest: &mut Guest, from: u64, to: u64, changed: &str) {
    let root = status_of_root(guest);
    let last = &root["last"];
    assert_eq!((&root["generation"], &last["result"]), (&to.into(), &"done".into()), "{root:#}");
    assert_eq!((&last["from-generation"], &last["via"]), (&from.into(), &"health".into()), "{root:#}");
    assert!(!root["health"]["bad"][from.to_string()].is_null(), "{root:#}");
    // It is kept to be looked at, by the daemon in its sandbox.
    let changes = guest.succeed(&format!("overlayctl diff base generation:{from}"));
    assert!(changes.contains(changed), "{changes}");
    // journalctl -x explains it.
    guest.succeed("journalctl -b -o cat MESSAGE_ID=3ce8b1ea582d4a2faf2eb44b4c991e6b | grep -q executed");
}

#[test]
fn a_broken_init_and_a_check_that_fails_lead_back() {
    let mut machine = Machine::usual("health-init");
    let mut guest = good(&mut machine, &[TWICE], 1);
    assert_no_failed_units(&mut guest);
    guest.succeed("rm /sbin/init && cp /bin/false /sbin/init && sync");
    guest.reboot();
    panics(&mut machine, &[TWICE], 2);
    // It was good until somebody broke it: there is nothing but the image.
    let mut guest = good(&mut machine, &[TWICE], 2);
    assert_back(&mut guest, 1, 2, "sbin/init");
    // What a boot must do to be good; this one was already.
    guest.succeed(
        "printf '[Unit]\\nBefore=boot-complete.target\\n[Service]\\nType=oneshot\\nExecStart=/bin/false\\n\
         [Install]\\nRequiredBy=boot-complete.target\\n' >/etc/systemd/system/check.service && systemctl enable check && sync",
    );
    guest.reboot();
    for boots in 1..=2 {
        let mut guest = machine.boot(&[TWICE]);
        guest.wait_until_up();
        let health = health(&mut guest);
        assert_eq!((&health["state"], &health["boots"]), (&"pending".into(), &boots.into()), "{health:#}");
        guest.reboot();
    }
    let mut guest = good(&mut machine, &[TWICE], 3);
    assert_back(&mut guest, 2, 3, "/etc/systemd/system/check.service");
    guest.poweroff();
}

#[test]
fn the_upper_is_left_out_for_one_boot() {
    let mut machine = Machine::usual("health-skip");
    assert_eq!(Verdict::of(&mut machine, &[]).generation(), 1);
    let left_out = Verdict::of(&mut machine, &["overlayd.skip"]);
    assert_eq!(left_out.mode(), "volatile", "{left_out:#?}");
    assert!(left_out.reason().starts_with("overlayd.skip is on"), "{left_out:#?}");
    let next = Verdict::of(&mut machine, &["overlayd.skip"]);
    assert_eq!((next.mode(), next.generation()), ("persistent", 1), "{next:#?}");
}
