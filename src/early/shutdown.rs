//! The last step of a shutdown: systemd-shutdown pivots to `/run/initramfs` and runs this as PID 1.
//!
//! Only here can the overlay that was `/` be unmounted, and with it the state filesystem (invariant 12).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

use crate::sys::mountinfo::{self, Mount};
use crate::sys::{mount, process};

/// After this long it says what held it, and ends all the same: a device that hangs at shutdown is worse.
const LIMIT: Duration = Duration::from_secs(10);
/// Processes that ignored everything so far get this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// This program: it has no path by which the root that systemd-shutdown left could be relied on.
const MYSELF: &str = "/proc/self/exe";

/// Unmounts and ends the machine by `verb`. Returns only if the kernel refuses.
pub fn run(verb: &str) -> Errno {
    report(&unmount_all());
    let mode = match verb {
        "reboot" => RebootMode::RB_AUTOBOOT,
        "halt" => RebootMode::RB_HALT_SYSTEM,
        "kexec" => RebootMode::RB_KEXEC,
        _ => RebootMode::RB_POWER_OFF,
    };
    match reboot(mode) {
        // Nothing was loaded for kexec: end by an ordinary reboot, as systemd-shutdown does.
        Err(_) if verb == "kexec" => reboot(RebootMode::RB_AUTOBOOT).err().unwrap_or(Errno::EINVAL),
        Err(e) => e,
    }
}

/// Unmounts everything that holds a filesystem; returns what did not go within the limit.
fn unmount_all() -> Vec<Mount> {
    let started = Instant::now();
    let mut killed = false;
    loop {
        // A pass that hangs is asked to end, and then made to: that is part of the limit.
        let time = LIMIT.saturating_sub(started.elapsed() + process::PATIENCE * 3 / 2);
        let passed = process::run(Path::new(MYSELF), &["unmount"], time);
        let left = relevant();
        let hangs = passed.is_err() && started.elapsed() > PATIENCE;
        if left.is_empty() || hangs || started.elapsed() > LIMIT {
            return left;
        }
        if passed.is_err() {
            pass();
        }
        if !killed && started.elapsed() > PATIENCE {
            killed = true;
            // PID 1 itself is not among those that -1 means.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One pass from the newest mount to the oldest over what is left of the old root and the stores. What stays mounted is
/// written out at least.
pub fn pass() {
    let targets: Vec<PathBuf> = relevant().into_iter().map(|m| m.target).collect();
    let unmounted = targets.iter().rev().filter(|target| mount::unmount(target).is_ok()).count();
    if unmounted < targets.len() {
        sync();
    }
}

/// Says what stayed mounted, and which processes did not end by any signal.
fn report(left: &[Mount]) {
    for mount in left {
        let (target, fstype) = (mount.target.display(), &mount.fstype);
        tracing::error!("{target} ({fstype}) stayed mounted: its filesystem may need recovery");
    }
    if left.is_empty() {
        return;
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // `PID (NAME) STATE …`, and the name may hold anything: proc(5).
        if let Some((name, rest)) = stat.rsplit_once(')')
            && rest.starts_with(" D")
        {
            tracing::error!("process {name}) hangs in the kernel");
        }
    }
}

fn relevant() -> Vec<Mount> {
    let mounts = mountinfo::read().unwrap_or_default();
    mounts
        .into_iter()
        .filter(|m| ["/oldroot", "/run/overlayd"].iter().any(|p| m.target.starts_with(Path::new(p))))
        .collect()
}
