//! Mounting through file descriptors (fsopen, fsconfig, fsmount, move_mount), kernel 5.2 and later.
//!
//! nix lacks these calls, so rustix makes them. The kernel's own explanation goes into every error.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, umount2};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::{Error, Result};

/// Per-mount restrictions of everything that holds layers (invariant 11).
pub const PRIVATE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
    .union(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);

/// mount(2)'s MS_NOSYMFOLLOW (Linux 5.10, linux/mount.h), which nix does not name.
const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(1 << 8);

/// A filesystem that is being configured.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    what: String,
}

impl FsContext {
    /// Begins a mount of type `fstype`; `what` names it in errors: `ext4 filesystem on /dev/vdb`.
    pub fn new(fstype: &str, what: impl Into<String>) -> Result<FsContext> {
        let what = what.into();
        match fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(fd) => Ok(FsContext { fd, what }),
            Err(Errno::NODEV) => Err(mount_error(&what, Errno::NODEV, &[])
                .remedy(format!("this kernel has no {fstype}; is its module in the initramfs?"))),
            Err(e) => Err(mount_error(&what, e, &[])),
        }
    }

    /// Sets `key=value`.
    pub fn string(&self, key: &str, value: impl AsRef<Path>) -> Result<()> {
        fsconfig_set_string(&self.fd, key, value.as_ref()).map_err(|e| self.error(e))
    }

    /// Sets `key` to an open directory.
    pub fn fd(&self, key: &str, fd: BorrowedFd<'_>) -> Result<()> {
        fsconfig_set_fd(&self.fd, key, fd).map_err(|e| self.error(e))
    }

    /// Sets the flag `key`.
    pub fn flag(&self, key: &str) -> Result<()> {
        fsconfig_set_flag(&self.fd, key).map_err(|e| self.error(e))
    }

    /// Makes the superblock and a detached mount of it.
    pub fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        fsconfig_create(&self.fd).map_err(|e| self.error(e))?;
        // fsmount knows NOSYMFOLLOW since 5.14 only; mount(2) since 5.10, see `restrict`.
        let without = attributes.difference(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);
        fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .or_else(|_| fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, without))
            .map_err(|e| self.error(e))
    }

    fn error(&self, errno: Errno) -> Error {
        mount_error(&self.what, errno, &self.messages())
    }

    /// What the kernel logged for this context: one line a read, `e`, `w` or `i` and a blank in front.
    fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut buffer = [0u8; 1024];
        while let Ok(length @ 1..) = nix::unistd::read(&self.fd, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
            messages.push(line.get(2..).unwrap_or_default().to_owned());
        }
        messages
    }
}

/// A detached copy of the mount at `path`, or of the directory `path` in it.
pub fn clone_tree(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).map_err(|e| Error::io("clone the mount at", path, e))
}

/// The same, with everything that is mounted below it.
pub fn clone_whole_tree(path: &Path) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).map_err(|e| Error::io("clone the mounts at", path, e))
}

/// Attaches a detached mount at `target`.
pub fn attach(mount: impl AsFd, target: &Path) -> Result<()> {
    move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| Error::io("attach a mount at", target, e))
}

/// Takes the mount at `path` out of its peer group: what is mounted over one of them appears on all the others, and
/// systemd makes the mounts of its initramfs shared.
pub fn make_private(path: &Path) -> Result<()> {
    mount_old(None, path, MsFlags::MS_PRIVATE).map_err(|e| Error::io("make private the mount at", path, e))
}

/// Sets the restrictions of invariant 11 on the mount at `path`; `read_only` as a flag of this mount alone.
pub fn restrict(path: &Path, read_only: bool) -> Result<()> {
    let access = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MS_NOSYMFOLLOW | access;
    remount_flags(path, flags)
}

/// Makes the mount at `path` read-only, by its own flag, and leaves device nodes and setuid bits in it dead.
pub fn read_only_view(path: &Path) -> Result<()> {
    remount_flags(path, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC)
}

/// Makes the mount at `path` writable, and leaves device nodes and setuid bits in it dead.
pub fn allow_writing(path: &Path) -> Result<()> {
    remount_flags(path, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC)
}

/// Lets programs be run from the mount at `path`.
pub fn allow_exec(path: &Path) -> Result<()> {
    remount_flags(path, MsFlags::MS_NOSUID | MsFlags::MS_NODEV)
}

/// Makes the superblock of the mount at `path` read-only.
pub fn superblock_read_only(path: &Path) -> Result<()> {
    mount_old(None, path, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)
        .map_err(|e| Error::io("make read-only the filesystem at", path, e))
}

/// Binds `source` to `target`.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    mount_old(Some(source), target, MsFlags::MS_BIND).map_err(|e| Error::io("bind to", target, e))
}

/// A mount namespace of its own for this thread, in which nothing that is mounted is seen by others.
pub fn private_namespace() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount_old(None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE))
        .map_err(|e| Error::io("make a private mount namespace at", "/", e))
}

/// A mount namespace of its own for this thread, which follows what the host mounts and unmounts, so that it keeps no
/// filesystem busy, but in which nothing that changes is seen by others.
pub fn follower_namespace() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount_old(None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SLAVE))
        .map_err(|e| Error::io("make a mount namespace that follows the one at", "/", e))
}

/// A mount namespace, and the root directory in it.
#[derive(Debug)]
pub struct Namespace {
    namespace: File,
    root: File,
}

/// The mount namespace that this thread is in.
pub fn this_namespace() -> Result<Namespace> {
    let open = |path: &str| File::open(path).map_err(|e| Error::io("open", path, e));
    Ok(Namespace { namespace: open("/proc/thread-self/ns/mnt")?, root: open("/")? })
}

/// Goes to a mount namespace; the program must have no other thread. The kernel makes the topmost directory of the
/// namespace the root: whoever was in a chroot goes back into it.
pub fn enter_namespace(to: &Namespace) -> Result<()> {
    nix::sched::setns(&to.namespace, nix::sched::CloneFlags::CLONE_NEWNS)
        .and_then(|()| nix::unistd::fchdir(&to.root))
        .and_then(|()| nix::unistd::chroot("."))
        .map_err(|e| Error::io("enter", "a mount namespace", e))
}

/// Options that belong to a mount, not to its filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(MsFlags);

impl Flags {
    /// Reads what mount(8) and systemd hand over. Words that are theirs alone are passed over; the error names the
    /// first one that means nothing here.
    pub fn parse(options: &str) -> std::result::Result<Flags, String> {
        let mut flags = MsFlags::empty();
        for option in options.split(',').filter(|o| !o.is_empty()) {
            flags |= match option {
                "ro" => MsFlags::MS_RDONLY,
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                "noatime" => MsFlags::MS_NOATIME,
                "nodiratime" => MsFlags::MS_NODIRATIME,
                "strictatime" => MsFlags::MS_STRICTATIME,
                "defaults" | "rw" | "suid" | "dev" | "exec" | "relatime" | "auto" | "noauto" | "nofail"
                | "_netdev" | "nouser" | "noiversion" | "nolazytime" => MsFlags::empty(),
                other if ["x-", "X-", "comment="].iter().any(|own| other.starts_with(own)) => {
                    MsFlags::empty()
                }
                other => return Err(format!("mount option \"{other}\" is not known for an overlay")),
            };
        }
        Ok(Flags(flags))
    }

    /// Gives the mount at `path` these flags.
    pub fn apply(self, path: &Path) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { remount_flags(path, self.0) }
    }
}

/// Unmounts `path`; what still uses it keeps it alive.
pub fn detach(path: &Path) -> Result<()> {
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(|e| Error::io("unmount", path, e))
}

/// Unmounts `path`, or fails if it is in use.
pub fn unmount(path: &Path) -> nix::Result<()> {
    umount2(path, MntFlags::UMOUNT_NOFOLLOW)
}

fn remount_flags(path: &Path, flags: MsFlags) -> Result<()> {
    mount_old(None, path, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags)
        .map_err(|e| Error::io("set flags of the mount at", path, e))
}

fn mount_old(source: Option<&Path>, target: &Path, flags: MsFlags) -> nix::Result<()> {
    nix::mount::mount(source, target, None::<&str>, flags, None::<&str>)
}

fn mount_error(what: &str, errno: Errno, messages: &[String]) -> Error {
    let error = Error::io("mount the", what, errno);
    match messages {
        [] => error,
        said => error.detail(format_args!("kernel: {}", said.join("; "))),
    }
}

/// Makes the store's guarded mount at `path` writable in this mount namespace, which must be the daemon's own.
pub fn make_store_writable(path: &Path) -> Result<()> {
    restrict(path, false)
}
