//! Mounted is not writable (invariant 7): the kernel mounts an overlay read-only, without an error, when its
//! work directory is stale or inodes are exhausted. So it is tried out.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat, write};

use crate::error::{Error, Kind, Result};
use crate::sys::overlay::{self, Overlay};
use crate::sys::tree;
use crate::sys::xattr::Bearer;

const COPIED: &str = "copied-up";
const REMOVED: &str = "removed";
const REPLACED: &str = "replaced";
const IN_REPLACED: &str = "replaced/lower";
const CREATED: &str = ".overlayd-probe";

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything worked.
    Writable,
    /// It is writable in principle, but there is no space.
    Full,
}

/// Tries copy-up, whiteout and opaque directory with the same work directory, on a throw-away overlay: on the real one they would
/// leave traces. `upper` is made and removed; `lower` is a directory for this on another filesystem.
pub fn layers(lower: &Path, upper: &Path, work: &Path, options: &str, scratch: &Path) -> Result<Verdict> {
    tree::remove(upper, &mut |_| std::ops::ControlFlow::Continue(()))?;
    prepare_lower(lower).map_err(|e| Error::io("prepare", lower, e))?;
    match fs::create_dir(upper) {
        Err(e) if e.kind() == std::io::ErrorKind::StorageFull => return Ok(Verdict::Full),
        made => made.map_err(|e| Error::io("make", upper, e))?,
    }
    let probe = Overlay {
        name: "overlayd:probe".into(),
        lowers: vec![lower.to_owned()],
        upper: upper.to_owned(),
        work: work.to_owned(),
        options: options.to_owned(),
    };
    let verdict = match overlay::mount(&probe, scratch) {
        Ok(mount) => check(&mount, true).map_err(|e| stores_marks(upper).err().unwrap_or(e)),
        Err(e) if e.kind() == Kind::InsufficientSpace => Ok(Verdict::Full),
        Err(e) => Err(e),
    };
    tree::remove(upper, &mut |_| std::ops::ControlFlow::Continue(()))?;
    verdict
}

/// Makes the kernel's part of a work directory anew, where that is what stops it. Whatever lies in it is half made, and
/// nobody's data. The error: it is there for a reason, or can not be removed.
pub fn renew_work(work: &Path) -> Result<()> {
    let kernels = work.join("work");
    // Documentation/filesystems/overlayfs.rst, "Volatile mount".
    if kernels.join("incompat/volatile").exists() {
        let what = "somebody mounted the layers with the option \"volatile\", and the power went: what is in them may be \
                    half written";
        let remedy =
            format!("go back with `overlayctl reset`, or accept it: remove {}/incompat", kernels.display());
        return Err(Error::new(Kind::StoreDamaged, what).remedy(remedy));
    }
    tree::remove(&kernels, &mut |_| std::ops::ControlFlow::Continue(())).map(drop)
}

/// Whether an overlay uses this work directory already, in whatever mount namespace, or lazily unmounted. The kernel
/// refuses it only with `index=on`, so that is tried on a throw-away overlay beside. `lower` and `upper` as in [`layers`].
pub fn in_use(lower: &Path, upper: &Path, work: &Path, scratch: &Path) -> Result<bool> {
    let index = work.join("index");
    let clear = || -> Result<()> {
        tree::remove(upper, &mut |_| std::ops::ControlFlow::Continue(()))?;
        tree::remove(&index, &mut |_| std::ops::ControlFlow::Continue(())).map(drop)
    };
    clear()?;
    fs::create_dir_all(lower).map_err(|e| Error::io("make", lower, e))?;
    fs::create_dir(upper).map_err(|e| Error::io("make", upper, e))?;
    let probe = Overlay {
        name: "overlayd:probe".into(),
        lowers: vec![lower.to_owned()],
        upper: upper.to_owned(),
        work: work.to_owned(),
        options: "index=on".into(),
    };
    let tried = overlay::mount(&probe, scratch).map(drop);
    clear()?;
    match tried {
        Err(e) if e.errno() == Some(Errno::EBUSY as i32) => Ok(true),
        // Whatever else is wrong shows when the overlay is mounted.
        _ => Ok(false),
    }
}

/// Removes what an interrupted probe may have left in an upper that is not mounted.
pub fn clean(upper: &Path) -> Result<()> {
    match fs::remove_file(upper.join(CREATED)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", upper.join(CREATED), e))
        }
        _ => Ok(()),
    }
}

/// Tries create and fsync on the real overlay, before it is attached.
pub fn merged(mount: &OwnedFd) -> Result<Verdict> {
    check(mount, false)
}

/// Whether the filesystem of `upper` has the attributes in which overlayfs keeps that a directory is opaque. Without them it
/// mounts all the same (Documentation/filesystems/overlayfs.rst, "Upper filesystem"), and later `rm -r` of what the image has
/// fails with an I/O error.
fn stores_marks(upper: &Path) -> Result<()> {
    let set = |dir: File| Bearer::Open(dir.as_fd()).set(c"trusted.overlay.probe", b"y");
    File::open(upper).and_then(set).map_err(|e| {
        let what = format!(
            "the layer's filesystem stores no trusted.* attributes ({e}): directories can not be deleted"
        );
        Error::new(Kind::NotSupported, what).remedy("in RAM they need a kernel with CONFIG_TMPFS_XATTR=y")
    })
}

fn prepare_lower(lower: &Path) -> std::io::Result<()> {
    fs::create_dir_all(lower.join(REPLACED))?;
    fs::write(lower.join(IN_REPLACED), "lower")?;
    fs::write(lower.join(COPIED), "lower")?;
    fs::write(lower.join(REMOVED), "lower")
}

fn check(mount: &OwnedFd, with_lower_files: bool) -> Result<Verdict> {
    let flags = fstatvfs(mount).map_err(|e| failed("look at the new overlay", e))?.flags();
    if flags.contains(FsFlags::ST_RDONLY) {
        return Err(Error::new(
            Kind::Failed,
            "the kernel mounted the overlay read-only: its work directory is unusable",
        )
        .remedy("the kernel's log says why; `dmesg | grep overlayfs`"));
    }
    let tried = if with_lower_files { try_lower_files(mount) } else { try_create(mount) };
    match tried {
        Ok(()) => Ok(Verdict::Writable),
        Err((_, Errno::ENOSPC | Errno::EDQUOT)) => Ok(Verdict::Full),
        Err((what, errno)) => Err(failed(what, errno)),
    }
}

type Tried = std::result::Result<(), (&'static str, Errno)>;

/// Without a name where the kernel can (overlayfs since 6.1): a cut then leaves nothing behind.
fn try_create(mount: &OwnedFd) -> Tried {
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match openat(mount, ".", flags, Mode::from_bits_retain(0o600)) {
        Ok(file) => write_out(&file),
        Err(Errno::ENOSPC | Errno::EDQUOT) => Err(("create a file", Errno::ENOSPC)),
        Err(_) => try_create_named(mount),
    }
}

fn try_create_named(mount: &OwnedFd) -> Tried {
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file =
        openat(mount, CREATED, flags, Mode::from_bits_retain(0o600)).map_err(|e| ("create a file", e))?;
    let written = write_out(&file);
    unlinkat(mount, CREATED, UnlinkatFlags::NoRemoveDir).map_err(|e| ("unlink a file", e))?;
    written
}

fn write_out(file: &OwnedFd) -> Tried {
    write(file, b"probe").and_then(|_| fsync(file)).map_err(|e| ("write a file", e))
}

fn try_lower_files(mount: &OwnedFd) -> Tried {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let file = openat(mount.as_fd(), COPIED, flags, Mode::empty()).map_err(|e| ("copy a file up", e))?;
    write(File::from(file), b"+").map_err(|e| ("write to a copied-up file", e))?;
    unlinkat(mount, REMOVED, UnlinkatFlags::NoRemoveDir).map_err(|e| ("make a whiteout", e))?;
    hidden(mount, REMOVED)?;
    try_replacing(mount)
}

/// `rm -r` and `mkdir` of a directory of the image: the new one must not show what the old one had.
fn try_replacing(mount: &OwnedFd) -> Tried {
    let what = "delete a directory";
    unlinkat(mount, IN_REPLACED, UnlinkatFlags::NoRemoveDir).map_err(|e| (what, e))?;
    unlinkat(mount, REPLACED, UnlinkatFlags::RemoveDir).map_err(|e| (what, e))?;
    let mode = Mode::from_bits_retain(0o700);
    mkdirat(mount, REPLACED, mode).map_err(|e| ("make a deleted directory anew", e))?;
    hidden(mount, IN_REPLACED)
}

fn hidden(mount: &OwnedFd, name: &str) -> Tried {
    match openat(mount, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(("look up what was deleted", e)),
        Ok(_) => Err(("delete what the image has", Errno::EEXIST)),
    }
}

fn failed(what: &str, errno: Errno) -> Error {
    Error::io(what, "in the new overlay", errno)
}
