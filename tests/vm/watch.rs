//! A state filesystem that fails while the system runs: the timer notices, and tells it where people look.

use std::time::{Duration, Instant};

use overlayd::logging::message_id;

use crate::checks::{assert_no_failed_units, status_of_root};
use crate::harness::Machine;

/// Linux 6.12 shuts ext4 down, so that it can not be read; others make it read-only.
const TROUBLE: &str = "the state filesystem on /dev/vdb ";

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_state_filesystem_that_fails_is_told_within_a_minute() {
    let mut machine = Machine::usual("watch");
    machine.disk.format(&["-e", "remount-ro"]);
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    guest.succeed("systemctl is-active overlayd-watch.timer");
    // It looked, had nothing to tell, and the journal has not a line of it.
    guest.succeed("until [ -n \"$(systemctl show --value -p ExecMainExitTimestamp overlayd-watch)\" ]; do sleep 1; done");
    assert_no_failed_units(&mut guest);
    guest.succeed("[ ! -e /run/motd.d/overlayd ]");
    let lines = guest.succeed("journalctl -q -b -o cat -u overlayd-watch.service");
    assert_eq!(lines, "", "nothing is new, and yet there are lines in the journal");

    guest.succeed("echo 1 >/sys/fs/ext4/vdb/trigger_fs_error");
    let failed = Instant::now();
    guest.succeed("for n in $(seq 120); do [ ! -e /run/motd.d/overlayd ] || break; sleep 1; done");
    // The login message comes first, then what takes the daemon.
    let mut root = status_of_root(&mut guest);
    while root["degraded"].is_null() && failed.elapsed() < MINUTE {
        root = status_of_root(&mut guest);
    }
    let noticed = failed.elapsed();
    assert!(noticed < MINUTE, "it took {noticed:?}: {root:#}");
    assert!(root["degraded"].as_str().is_some_and(|why| why.contains(TROUBLE)), "{root:#}");
    let greeting = guest.succeed("cat /run/motd.d/overlayd");
    assert!(greeting.contains(TROUBLE), "{greeting}");
    let told =
        format!("journalctl -q -b -o cat -u overlayd-watch.service MESSAGE_ID={}", message_id::STATE_TROUBLE);
    let told = guest.succeed(&told);
    assert!(told.contains(TROUBLE), "{told}");
    guest.cut_power();
}
