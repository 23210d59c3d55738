//! Subvolumes of btrfs: making, copying and deleting one in constant time. Elsewhere each says that it can not.

mod nested;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs, statfs};

pub use self::nested::nested;
use crate::error::{Error, Result};

/// The root directory of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`, linux/btrfs_tree.h).
const ROOT_INODE: u64 = 256;
/// `BTRFS_IOCTL_MAGIC`, linux/btrfs.h.
const MAGIC: u8 = 0x94;
/// `BTRFS_SUBVOL_RDONLY`, linux/btrfs.h.
const READ_ONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_vol_args`, linux/btrfs.h.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`, linux/btrfs.h.
#[repr(C)]
struct VolumeArgumentsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

mod ioctls {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "made by nix's macros")]
    use super::{MAGIC, VolumeArguments, VolumeArgumentsV2};
    nix::ioctl_write_ptr!(subvolume_create, MAGIC, 14, VolumeArguments);
    nix::ioctl_write_ptr!(snapshot_destroy, MAGIC, 15, VolumeArguments);
    nix::ioctl_none!(sync, MAGIC, 8);
    nix::ioctl_write_ptr!(snapshot_create, MAGIC, 23, VolumeArgumentsV2);
    nix::ioctl_read!(flags, MAGIC, 25, u64);
    nix::ioctl_write_ptr!(set_flags, MAGIC, 26, u64);
}

/// Whether `path` is the top of a subvolume.
pub fn is_subvolume(path: &Path) -> bool {
    let inode = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_dir).map(|m| m.ino());
    inode == Some(ROOT_INODE) && statfs(path).is_ok_and(|fs| fs.filesystem_type() == BTRFS_SUPER_MAGIC)
}

/// Makes an empty subvolume. False: this filesystem, or this caller, can not; nothing was done.
pub fn create(path: &Path) -> Result<bool> {
    let (parent, name) = split(path)?;
    let arguments = VolumeArguments { fd: 0, name: terminated(name, path)? };
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open, and the argument is what this request takes: BTRFS_IOC_SUBVOL_CREATE only reads
    // one `btrfs_ioctl_vol_args`, whose name is terminated.
    let done = unsafe { ioctls::subvolume_create(parent.as_raw_fd(), &arguments) };
    possible(done, "make the subvolume", path)
}

/// Makes a writable copy of the subvolume at `from`. False: it is none, or this caller can not; nothing was done.
///
/// What was written before is in it, dirty pages included: the kernel flushes the source first.
pub fn copy(from: &Path, to: &Path) -> Result<bool> {
    if !is_subvolume(from) {
        return Ok(false);
    }
    let source = File::open(from).map_err(|e| Error::io("open", from, e))?;
    let (parent, name) = split(to)?;
    let arguments = VolumeArgumentsV2 {
        fd: source.as_raw_fd().into(),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: terminated(name, to)?,
    };
    #[allow(unsafe_code)]
    // SAFETY: both descriptors are open, and the argument is what this request takes: BTRFS_IOC_SNAP_CREATE_V2 only
    // reads one `btrfs_ioctl_vol_args_v2` with no flags, whose name is terminated.
    let done = unsafe { ioctls::snapshot_create(parent.as_raw_fd(), &arguments) };
    possible(done, "make the subvolume", to)
}

/// Deletes the subvolume at `path` with all that is in it. False: it is none, or it can not be deleted in this way.
/// Its space is freed in the background.
pub fn destroy(path: &Path) -> Result<bool> {
    if !is_subvolume(path) {
        return Ok(false);
    }
    let (parent, name) = split(path)?;
    let arguments = VolumeArguments { fd: 0, name: terminated(name, path)? };
    #[allow(unsafe_code)]
    // SAFETY: as for `create`; BTRFS_IOC_SNAP_DESTROY takes the same argument.
    let done = unsafe { ioctls::snapshot_destroy(parent.as_raw_fd(), &arguments) };
    match done {
        // Another subvolume lies in it, or not even this has space: removing entry by entry may do.
        Err(Errno::ENOTEMPTY | Errno::ENOSPC) => Ok(false),
        done => possible(done, "delete the subvolume", path),
    }
}

/// Makes the subvolume writable whose top `directory` is: a read-only one can neither be emptied nor moved. Nothing on
/// anything else. What fails shows in what is done next.
pub fn make_writable(directory: impl AsFd) {
    let directory = directory.as_fd();
    let is_top = nix::sys::stat::fstat(directory).is_ok_and(|stat| stat.st_ino == ROOT_INODE);
    if !is_top || !fstatfs(directory).is_ok_and(|fs| fs.filesystem_type() == BTRFS_SUPER_MAGIC) {
        return;
    }
    let mut flags = 0;
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open; BTRFS_IOC_SUBVOL_GETFLAGS writes one u64.
    let found = unsafe { ioctls::flags(directory.as_raw_fd(), &raw mut flags) };
    if found.is_err() || flags & READ_ONLY == 0 {
        return;
    }
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open; BTRFS_IOC_SUBVOL_SETFLAGS reads one u64.
    let done = unsafe { ioctls::set_flags(directory.as_raw_fd(), &(flags & !READ_ONLY)) };
    done.map_or_else(|e| tracing::debug!("a subvolume stays read-only: {e}"), drop);
}

/// Lets the kernel begin to free what deleted subvolumes held, which else waits for the end of a transaction, up to
/// half a minute; and makes usable what was freed so far. Nothing on another filesystem.
pub fn free_deleted(path: &Path) -> Result<()> {
    if !statfs(path).is_ok_and(|fs| fs.filesystem_type() == BTRFS_SUPER_MAGIC) {
        return Ok(());
    }
    let directory = File::open(path).map_err(|e| Error::io("open", path, e))?;
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open, and BTRFS_IOC_SYNC takes no argument.
    let done = unsafe { ioctls::sync(directory.as_raw_fd()) };
    possible(done, "sync", path).map(drop)
}

fn possible(done: nix::Result<i32>, verb: &str, path: &Path) -> Result<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::EPERM) => Ok(false),
        Err(e) => Err(Error::io(verb, path, e)),
    }
}

fn split(path: &Path) -> Result<(File, &[u8])> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::io("name", path, Errno::EINVAL));
    };
    File::open(parent).map(|parent| (parent, name.as_bytes())).map_err(|e| Error::io("open", parent, e))
}

fn terminated<const N: usize>(name: &[u8], path: &Path) -> Result<[u8; N]> {
    let mut buffer = [0; N];
    match buffer.get_mut(..name.len()) {
        Some(start) if name.len() < N => start.copy_from_slice(name),
        _ => return Err(Error::io("name", path, Errno::ENAMETOOLONG)),
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{find_program, run, test_dir};
    use std::time::Duration;

    #[test]
    fn the_arguments_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<VolumeArguments>(), 4096);
        assert_eq!(size_of::<VolumeArgumentsV2>(), 4096);
    }

    #[test]
    fn elsewhere_it_says_that_it_can_not() {
        let dir = test_dir("no-btrfs");
        if statfs(&dir).unwrap().filesystem_type() != BTRFS_SUPER_MAGIC {
            assert!(!create(&dir.join("a")).unwrap());
            assert!(!destroy(&dir).unwrap() && !copy(&dir, &dir.join("a")).unwrap());
        }
        assert!(dir.exists() && !dir.join("a").exists());
        std::fs::remove_dir(dir).unwrap();
    }

    #[test]
    fn subvolumes_come_and_go_as_root() {
        let dir = test_dir("btrfs");
        crate::sys::mount::private_namespace().unwrap();
        let call = |program: &str, arguments: &[&str]| {
            let exit = run(&find_program(program).unwrap(), arguments, Duration::from_secs(300)).unwrap();
            assert_eq!(exit.code, Some(0), "{}", exit.output);
        };
        let (image, at) = (dir.join("image"), dir.join("at"));
        File::create(&image).unwrap().set_len(128 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        let (image, top) = (image.to_str().unwrap(), at.to_str().unwrap());
        call("mkfs.btrfs", &["-q", image]);
        call("mount", &["-o", "loop", image, top]);
        assert!(create(&at.join("a")).unwrap());
        std::fs::write(at.join("a/file"), "x").unwrap();
        assert!(is_subvolume(&at.join("a")) && !is_subvolume(&at.join("a/file")));
        assert!(copy(&at.join("a"), &at.join("b")).unwrap());
        std::fs::write(at.join("a/file"), "y").unwrap();
        assert_eq!(std::fs::read(at.join("b/file")).unwrap(), b"x");
        std::fs::create_dir(at.join("plain")).unwrap();
        assert!(!destroy(&at.join("plain")).unwrap() && !copy(&at.join("plain"), &at.join("c")).unwrap());
        assert!(destroy(&at.join("b")).unwrap());
        assert!(!at.join("b").exists() && at.join("a").exists());
        // Another test may be between fork and exec, and hold our descriptors for that instant.
        call("umount", &["-l", top]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
