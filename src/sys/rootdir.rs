//! The root directory of an upper is the root of the merged tree: a new one takes the base's attributes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, UtimensatFlags, fstat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, chown};
use rustix::fs::XattrFlags;

use crate::error::{Error, Result};

/// Access and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times(TimeSpec, TimeSpec);

/// Copies owner, mode, xattrs and times of `base` to `upper`, if `upper` is empty and so was never used.
pub fn adopt(base: &Path, upper: &Path) -> Result<()> {
    let fail = |verb: &'static str| move |e: std::io::Error| Error::io(verb, upper, e);
    if fs::read_dir(upper).map_err(fail("read"))?.next().is_some() {
        return Ok(());
    }
    let from = fs::metadata(base).map_err(|e| Error::io("look at", base, e))?;
    chown(upper, Some(Uid::from_raw(from.uid())), Some(Gid::from_raw(from.gid())))
        .map_err(|e| Error::io("set the owner of", upper, e))?;
    fs::set_permissions(upper, fs::Permissions::from_mode(from.mode() & 0o7777))
        .map_err(fail("set the mode of"))?;
    copy_xattrs(base, upper)?;
    let times =
        [TimeSpec::new(from.atime(), from.atime_nsec()), TimeSpec::new(from.mtime(), from.mtime_nsec())];
    utimensat(nix::fcntl::AT_FDCWD, upper, &times[0], &times[1], UtimensatFlags::NoFollowSymlink)
        .map_err(|e| Error::io("set the times of", upper, e))
}

/// The times of the root of a detached mount.
pub fn times(mount: &OwnedFd) -> Result<Times> {
    let stat: FileStat = fstat(mount).map_err(|e| Error::io("look at", "the new overlay", e))?;
    Ok(Times(
        TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
    ))
}

/// Sets the times of the root of a detached mount: a probe in it leaves no trace.
pub fn set_times(mount: &OwnedFd, times: Times) -> Result<()> {
    openat(mount, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|root| futimens(&root, &times.0, &times.1))
        .map_err(|e| Error::io("set the times of", "the new overlay", e))
}

fn copy_xattrs(from: &Path, to: &Path) -> Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::llistxattr(from, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(Error::io("list the xattrs of", from, e)),
    };
    for name in
        names[..length].split(|&b| b == 0).filter(|n| !n.is_empty() && !n.starts_with(b"trusted.overlay."))
    {
        let mut value = vec![0u8; 64 << 10];
        let copied = rustix::fs::lgetxattr(from, name, &mut value)
            .and_then(|length| rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty()));
        match copied {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(e) => return Err(Error::io("copy an xattr to", to, e)),
        }
    }
    Ok(())
}
