//! What health.rs leaves out: other ways in which a boot does not come up.

use crate::harness::Machine;
use crate::health::{TWICE, assert_back, good};

/// Init hangs, and nobody is there but a watchdog.
#[test]
fn a_hang_with_a_watchdog_leads_back() {
    let mut machine = Machine::usual("health-hang");
    let mut guest = good(&mut machine, &[TWICE], 1);
    guest.succeed(
        "rm /sbin/init && printf '#!/bin/sh\\nmodprobe softdog soft_margin=5\\nexec 3>/dev/watchdog\\nexec sleep 1000000\\n' \
         >/sbin/init && chmod 755 /sbin/init && sync",
    );
    guest.reboot();
    for _ in 0..2 {
        machine.boot(&[TWICE]).wait_reset();
    }
    let mut guest = good(&mut machine, &[TWICE], 2);
    assert_back(&mut guest, 1, 2, "sbin/init");
    guest.poweroff();
}

/// The C library, in place by a rename: nothing that is linked with it starts any more, init least of all.
#[test]
fn a_broken_libc_leads_back() {
    let mut machine = Machine::usual("health-libc");
    let mut guest = good(&mut machine, &[TWICE], 1);
    // 162 is sync(2): after the rename no program could be started to call it.
    guest.succeed(
        "libc=$(realpath /lib/x86_64-linux-gnu/libc.so.6) && head -c 2000000 /dev/urandom >$libc.new && chmod 755 $libc.new \
         && sync && perl -e 'rename(\"$ARGV[0].new\", $ARGV[0]) or die; syscall(162)' $libc && ! /bin/true 2>/dev/null",
    );
    guest.cut_power();
    for _ in 0..2 {
        machine.boot(&[TWICE]).wait_panic();
    }
    let mut guest = good(&mut machine, &[TWICE], 2);
    assert_back(&mut guest, 1, 2, "libc.so.6");
    guest.poweroff();
}

/// A unit that never ends its start holds the default target up: the boot is not good, however long one waits.
#[test]
fn a_unit_that_never_starts_leads_back() {
    let mut machine = Machine::usual("health-unit");
    let guest = good(&mut machine, &[TWICE], 1);
    guest.reboot_by(
        "printf '[Service]\\nType=oneshot\\nTimeoutStartSec=infinity\\nExecStart=sleep infinity\\n\
         [Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/never.service \
         && systemctl enable never && sync && systemctl reboot",
    );
    for _ in 0..2 {
        let mut guest = machine.boot(&[TWICE]);
        guest.wait_for_agent();
        guest.succeed("until systemctl is-active -q basic.target; do sleep 1; done; sleep 20");
        assert_eq!(guest.run("systemctl is-active overlayd-good.service").out.trim(), "inactive");
        guest.cut_power();
    }
    let mut guest = good(&mut machine, &[TWICE], 2);
    assert_back(&mut guest, 1, 2, "/etc/systemd/system/never.service");
    guest.poweroff();
}
