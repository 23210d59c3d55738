//! Which subvolumes lie in another: a copy of that does not hold them.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::is_subvolume;
use crate::error::{Error, Result};

/// `BTRFS_MAX_ROOTREF_BUFFER_NUM`, linux/btrfs.h.
const MOST: usize = 255;

/// One of `struct btrfs_ioctl_get_subvol_rootref_args`, linux/btrfs.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Reference {
    tree: u64,
    directory: u64,
}

/// `struct btrfs_ioctl_get_subvol_rootref_args`, linux/btrfs.h.
#[repr(C)]
struct References {
    from_tree: u64,
    found: [Reference; MOST],
    count: u8,
    align: [u8; 7],
}

/// `struct btrfs_ioctl_ino_lookup_user_args`, linux/btrfs.h.
#[repr(C)]
struct Lookup {
    directory: u64,
    tree: u64,
    name: [u8; 256],
    path: [u8; 3824],
}

mod ioctls {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "made by nix's macros")]
    use super::super::MAGIC;
    use super::{Lookup, References};
    nix::ioctl_readwrite!(references, MAGIC, 61, References);
    nix::ioctl_readwrite!(lookup, MAGIC, 62, Lookup);
}

/// Paths, from `path`, of the subvolumes that lie in the subvolume at `path` and in no other between: the first 255. None
/// if it is no subvolume.
pub fn nested(path: &Path) -> Result<Vec<PathBuf>> {
    if !is_subvolume(path) {
        return Ok(Vec::new());
    }
    let top = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let found = references(&top).map_err(|e| Error::io("list the subvolumes in", path, e))?;
    let named = found.iter().map(|reference| lookup(&top, *reference)).collect::<nix::Result<_>>();
    named.map_err(|e| Error::io("name the subvolumes in", path, e))
}

fn references(top: &File) -> nix::Result<Vec<Reference>> {
    let none = Reference { tree: 0, directory: 0 };
    let mut all = References { from_tree: 0, found: [none; MOST], count: 0, align: [0; 7] };
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open, and BTRFS_IOC_GET_SUBVOL_ROOTREF reads and writes one such argument.
    let done = unsafe { ioctls::references(top.as_raw_fd(), &raw mut all) };
    match done {
        // There are more.
        Ok(_) | Err(Errno::EOVERFLOW) => Ok(all.found[..usize::from(all.count)].to_vec()),
        Err(e) => Err(e),
    }
}

fn lookup(top: &File, Reference { tree, directory }: Reference) -> nix::Result<PathBuf> {
    let mut found = Lookup { directory, tree, name: [0; 256], path: [0; 3824] };
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open, and BTRFS_IOC_INO_LOOKUP_USER reads and writes one such argument.
    unsafe { ioctls::lookup(top.as_raw_fd(), &raw mut found) }?;
    let text = |bytes: &[u8]| {
        let text = CStr::from_bytes_until_nul(bytes).map(CStr::to_bytes).unwrap_or_default();
        PathBuf::from(OsStr::from_bytes(text))
    };
    Ok(text(&found.path).join(text(&found.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<References>(), 4096);
        assert_eq!(size_of::<Lookup>(), 4096);
    }
}
