//! The last step of a shutdown: systemd-shutdown pivots to `/run/initramfs` and runs this as PID 1.
//!
//! Only here can the overlay that was `/` be unmounted, and with it the state filesystem (invariant 12).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

use crate::sys::mount;
use crate::sys::mountinfo::{self, Mount};

/// After this long it says what held it, and ends all the same: a device that hangs at shutdown is worse.
const LIMIT: Duration = Duration::from_secs(10);
/// Processes that ignored everything so far get this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Unmounts and ends the machine by `verb`. Returns only if the kernel refuses.
pub fn run(verb: &str) -> Errno {
    let left = unmount_all();
    sync();
    for mount in &left {
        tracing::error!(
            "{} ({}) stayed mounted: its filesystem may need recovery",
            mount.target.display(),
            mount.fstype
        );
    }
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
        let left = pass();
        if left.is_empty() || started.elapsed() > LIMIT {
            return left;
        }
        if !killed && started.elapsed() > PATIENCE {
            killed = true;
            // PID 1 itself is not among those that -1 means.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One pass from the newest mount to the oldest; returns what is left of the old root and the stores.
fn pass() -> Vec<Mount> {
    let targets: Vec<PathBuf> = relevant().into_iter().map(|m| m.target).collect();
    for target in targets.iter().rev() {
        let _ = mount::unmount(target);
    }
    relevant()
}

fn relevant() -> Vec<Mount> {
    let mounts = mountinfo::read().unwrap_or_default();
    mounts
        .into_iter()
        .filter(|m| ["/oldroot", "/run/overlayd"].iter().any(|p| m.target.starts_with(Path::new(p))))
        .collect()
}
