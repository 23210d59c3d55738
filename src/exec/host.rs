//! What early boot leaves in `/run` for the booted system.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::mounts::Places;
use crate::error::{Error, Result};
use crate::sys::{mount, mountinfo};

/// Keeps systemd-remount-fs from applying the image's fstab line for `/` to the overlay.
const REMOUNT_DROPIN: &str = "\
# Written by overlayd-early: / is mounted as it shall be, and the options that fstab has for the base's
# filesystem are none of the overlay's.
[Unit]
ConditionPathExists=!/run/overlayd/root/base
";

/// Leaves the drop-in, the link to the base's device, and the shutdown step. A problem is returned, not fatal.
pub fn prepare(places: &Places) -> Result<Option<String>> {
    let done = [remount_dropin(&places.run), volatile_root(places), shutdown_step(&places.run)];
    let problems: Vec<String> = done.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
    Ok((!problems.is_empty()).then(|| problems.join("; ")))
}

fn remount_dropin(run: &Path) -> Result<()> {
    let directory = run.join("systemd/system/systemd-remount-fs.service.d");
    let file = directory.join("50-overlayd.conf");
    fs::create_dir_all(&directory)
        .and_then(|()| fs::write(&file, REMOUNT_DROPIN))
        .map_err(|e| Error::io("write", &file, e))
}

/// As systemd-volatile-root does: tools that look for the root's device find the base's.
fn volatile_root(places: &Places) -> Result<()> {
    let Some((major, minor)) = places.base_device else { return Ok(()) };
    let link = places.run.join("systemd/volatile-root");
    // systemd takes the number from the name: a node's own name would not do.
    match symlink(format!("/dev/block/{major}:{minor}"), &link) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("link", &link, e)),
        _ => Ok(()),
    }
}

/// A copy of this program, to which systemd-shutdown pivots at the end (invariant 12).
fn shutdown_step(run: &Path) -> Result<()> {
    let directory = run.join("initramfs");
    fs::create_dir_all(&directory).map_err(|e| Error::io("make", &directory, e))?;
    permit_exec(run, &directory)?;
    let (temporary, file) = (directory.join(".shutdown.new"), directory.join("shutdown"));
    fs::copy("/proc/self/exe", &temporary)
        .and_then(|_| fs::set_permissions(&temporary, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&temporary, &file))
        .map_err(|e| Error::io("write", &file, e))
}

/// initramfs-tools mounts `/run` noexec, and systemd asks whether the file is executable.
fn permit_exec(run: &Path, directory: &Path) -> Result<()> {
    let mounts = mountinfo::read()?;
    let noexec = mounts
        .iter()
        .rev()
        .find(|m| run.starts_with(&m.target))
        .is_some_and(|m| m.options.split(',').any(|o| o == "noexec"));
    if !noexec || mountinfo::at(&mounts, directory).is_some() {
        return Ok(());
    }
    mount::bind(directory, directory)?;
    mount::allow_exec(directory)
}
