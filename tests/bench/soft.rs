//! A reset at once: userspace alone against the whole machine, from the command to the new system that is up, in QEMU.

use std::time::{Duration, Instant};

use crate::figures::{Report, Samples};
use crate::harness::{Guest, Machine};

const ROUNDS: usize = 5;
const SOFT: &str = "overlayctl reset --yes --now=soft-reboot";
const REBOOT: &str = "overlayctl reset --yes --now=reboot";

/// In turn, on one machine.
pub(crate) fn measure(report: &mut Report) {
    let mut machine = Machine::usual("bench-soft");
    let mut guest = up(machine.boot(&[]));
    let (mut soft, mut full) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        soft.push(timed(&mut || {
            guest.soft_reboot_by(SOFT);
            guest.wait_until_running();
        }));
        let start = Instant::now();
        guest.reboot_by(REBOOT);
        guest = up(machine.boot(&[]));
        full.push(milliseconds(start.elapsed()));
    }
    guest.poweroff();
    let rows = vec![(REBOOT.to_owned(), Samples::new(full)), (SOFT.to_owned(), Samples::new(soft))];
    report.compare("Reset at once: until the new system is up", "ms", rows, SOFT);
}

fn up(mut guest: Guest) -> Guest {
    guest.wait_until_up();
    guest
}

fn timed(work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    work();
    milliseconds(start.elapsed())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
