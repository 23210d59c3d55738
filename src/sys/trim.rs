//! Telling a device which blocks of its filesystem are free (FITRIM).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;

use crate::error::{Error, Result};

/// `struct fstrim_range`, linux/fs.h.
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
    minlen: u64,
}

mod ioctls {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "made by nix's macros")]
    nix::ioctl_readwrite!(fitrim, b'X', 121, super::Range);
}

/// Has every free block of the filesystem that the directory lies on discarded. The bytes that were; none if the device or
/// the filesystem can not discard. Only root may, and it may take long.
pub fn free_blocks(directory: &Path) -> Result<Option<u64>> {
    let opened = File::open(directory).map_err(|e| Error::io("open", directory, e))?;
    let mut range = Range { start: 0, len: u64::MAX, minlen: 0 };
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open, and FITRIM reads and writes one `struct fstrim_range`.
    let done = unsafe { ioctls::fitrim(opened.as_raw_fd(), &raw mut range) };
    match done {
        Ok(_) => Ok(Some(range.len)),
        Err(Errno::EOPNOTSUPP | Errno::ENOTTY) => Ok(None),
        Err(e) => Err(Error::io("discard the free blocks of", directory, e)),
    }
}

/// Writes everything out that the filesystem still has in memory: blocks of deleted files are free after that at the
/// earliest.
pub fn write_out(directory: &Path) -> Result<()> {
    let opened = File::open(directory).map_err(|e| Error::io("open", directory, e))?;
    nix::unistd::syncfs(&opened).map_err(|e| Error::io("sync", directory, e))
}
