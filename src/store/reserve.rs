//! The ballast (invariant 10): blocks and inodes set aside, so that a reset works on a full disk.
//!
//! ```text
//! reserve/blocks     allocated, never read; for the boot that executes a reset
//! reserve/inodes/N   empty files: ext4 has a fixed number of inodes; most for the same, some spare
//! reserve/request    one block and one inode for the request itself, written in place and renamed
//! reserve/spare      allocated, never read; for an ordinary boot on a full disk, and for the request where nothing
//!                    can be written in place (btrfs)
//! reserve/whole      made last, removed first: without it the reserve is filled again
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};

use super::layout::Layout;
use crate::error::{Error, Result};
use crate::sys::{atomic, space::Space};

/// Inodes set aside: a generation needs eight, its mount and first boot some more.
const INODES: usize = 64;
/// Of these, for an ordinary boot: its probe needs six.
const SPARE_INODES: usize = 16;
/// Blocks set aside on a large filesystem, in bytes.
const BYTES_MAX: u64 = 8 << 20;
/// Files of blocks: the boot's, and the request's.
const BALLAST: [&str; 2] = ["blocks", "spare"];
/// The part of a small filesystem that is set aside.
const FRACTION: u64 = 32;
/// Longer than any request.
const SLOT_BYTES: usize = 4096;
/// Below this much free space an operation releases the ballast first, in bytes and inodes.
const LOW_BYTES: u64 = 2 << 20;
const LOW_INODES: u64 = 32;

/// How many bytes are set aside on a filesystem of this size.
pub fn bytes_for(space: &Space) -> u64 {
    (space.bytes_total / FRACTION).min(BYTES_MAX)
}

/// Whether there is so little space that the ballast has to go.
pub fn is_low(space: &Space) -> bool {
    space.bytes_free < LOW_BYTES || (space.inodes_total > 0 && space.inodes_free < LOW_INODES)
}

/// Whether the ballast fits with room to spare.
pub fn fits(space: &Space) -> bool {
    let inodes = space.inodes_total == 0 || space.inodes_free > 4 * INODES as u64;
    inodes && space.bytes_free > 4 * bytes_for(space)
}

/// Whether the ballast is complete.
pub fn is_whole(layout: &Layout) -> bool {
    layout.reserve().join("whole").exists()
}

/// What can be told of the ballast.
#[cfg(feature = "host")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballast {
    /// It is not complete, and does not say so: it was released, or never made.
    Missing,
    /// It says that it is complete, but parts of it are not there.
    Hollow,
    /// It is complete.
    Whole,
}

/// Looks whether the ballast has what it should.
#[cfg(feature = "host")]
pub fn ballast(layout: &Layout) -> Ballast {
    let reserve = layout.reserve();
    let is_file = |name: &str| reserve.join(name).symlink_metadata().is_ok_and(|m| m.is_file());
    let inodes = || fs::read_dir(reserve.join("inodes")).map_or(0, Iterator::count);
    match is_file("whole") {
        false => Ballast::Missing,
        true if BALLAST.into_iter().chain(["request"]).all(is_file) && inodes() >= INODES => Ballast::Whole,
        true => Ballast::Hollow,
    }
}

/// The file that becomes the request on a full disk.
pub fn request_slot(layout: &Layout) -> PathBuf {
    layout.reserve().join("request")
}

/// Sets `bytes` and the inodes aside. May be repeated.
pub fn fill(layout: &Layout, bytes: u64) -> Result<()> {
    let reserve = layout.reserve();
    let inodes = reserve.join("inodes");
    fs::create_dir_all(&inodes).map_err(|e| Error::io("make", &inodes, e))?;
    for i in 0..INODES {
        make_file(&inodes.join(i.to_string()))?;
    }
    let slot = request_slot(layout);
    make_file(&slot)?.write_all(&[b' '; SLOT_BYTES]).map_err(|e| Error::io("write", &slot, e))?;
    sync(&slot)?;
    for name in BALLAST {
        let path = reserve.join(name);
        let length = i64::try_from(bytes / 2).unwrap_or(i64::MAX);
        fallocate(make_file(&path)?, FallocateFlags::empty(), 0, length)
            .map_err(|e| Error::io("allocate", &path, e))?;
        sync(&path)?;
    }
    atomic::write(&reserve.join("whole"), "")
}

/// Gives everything but the request's slot free.
pub fn release(layout: &Layout) -> Result<()> {
    let reserve = layout.reserve();
    if !reserve.is_dir() {
        return Ok(());
    }
    atomic::remove(&reserve.join("whole"))?;
    for name in BALLAST {
        truncate(&reserve.join(name))?;
    }
    free_inodes(&reserve, 0..INODES)?;
    sync_filesystem(&reserve)
}

/// Gives the part free that an ordinary boot or a request may use up, and leaves the reset's part.
pub fn release_spare(layout: &Layout) -> Result<()> {
    let reserve = layout.reserve();
    atomic::remove(&reserve.join("whole"))?;
    truncate(&reserve.join(BALLAST[1]))?;
    free_inodes(&reserve, 0..SPARE_INODES)?;
    sync_filesystem(&reserve)
}

fn free_inodes(reserve: &Path, numbers: std::ops::Range<usize>) -> Result<()> {
    for i in numbers {
        let path = reserve.join("inodes").join(i.to_string());
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("release", &path, e)),
            _ => {}
        }
    }
    Ok(())
}

/// Truncating frees blocks at once; removing alone leaves that to a worker on XFS.
fn truncate(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        opened => opened
            .and_then(|file| file.set_len(0).and_then(|()| file.sync_all()))
            .map_err(|e| Error::io("release", path, e)),
    }
}

/// Makes everything durable that was written to the filesystem of `path`.
pub fn sync_filesystem(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(|e| Error::io("open", path, e))?;
    nix::unistd::syncfs(directory).map_err(|e| Error::io("sync", path, e))
}

fn make_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io("create", path, e))
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", path, e))
}
