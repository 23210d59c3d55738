//! Free space of a filesystem.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::{Error, Result};

/// Blocks and inodes of a filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size in bytes.
    pub bytes_total: u64,
    /// Free as df(1) shows it, in bytes: ext4 counts blocks as free that not even root gets.
    pub bytes_free: u64,
    /// Inodes in all; 0 where the filesystem makes them as needed.
    pub inodes_total: u64,
    /// Free inodes; 0 where the filesystem makes them as needed.
    pub inodes_free: u64,
}

impl Space {
    /// What is left once so many bytes and inodes are taken.
    pub fn without(self, bytes: u64, inodes: u64) -> Space {
        Space {
            bytes_free: self.bytes_free.saturating_sub(bytes),
            inodes_free: self.inodes_free.saturating_sub(inodes),
            ..self
        }
    }
}

/// The space of the filesystem that `path` lies on.
pub fn of(path: &Path) -> Result<Space> {
    let vfs = statvfs(path).map_err(|e| Error::io("statfs", path, e))?;
    Ok(Space {
        bytes_total: vfs.blocks() * vfs.fragment_size(),
        bytes_free: vfs.blocks_available() * vfs.fragment_size(),
        inodes_total: vfs.files(),
        inodes_free: vfs.files_free(),
    })
}
