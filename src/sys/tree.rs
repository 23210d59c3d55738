//! Whole directory trees, by file descriptor: removing one, and how much it takes.
//!
//! One directory is open at a time, and `..` leads back, checked by device and inode: so depth is bounded by memory
//! only, neither by PATH_MAX nor by the limit of open files, and nobody can lead the walk out of the tree by renaming.
//! It never follows a symlink and never crosses a mount. It does not care who uses the tree; its callers do.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, Whence, lseek, unlinkat};
// nix has no directory stream with a buffer of one's own, and no inode flags without unsafe.
use rustix::fs::{FileType, IFlags, RawDir, ioctl_getflags, ioctl_setflags};

use crate::error::{Error, Kind, Result};
use crate::sys::btrfs;

/// How a removal ended, and how many entries it removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Nothing is left.
    All(u64),
    /// Stopped by the caller; calling again goes on.
    Stopped(u64),
}

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Allocated, with hard links counted once; the directories' own blocks included.
    pub bytes: u64,
    /// Names below the top.
    pub entries: u64,
    /// False if time ran out, or a directory was moved away meanwhile: then both numbers are too small.
    pub complete: bool,
}

/// Removes the tree at `path`, which need not be a directory, nor exist.
///
/// `on_progress` hears the number of entries removed so far every 256 of them, and may stop. Immutable and
/// append-only flags are cleared where they are in the way. Needs no free space. A mount within the tree, or another
/// filesystem, is an error that names it; so is whatever else cannot be removed, and then the rest stays too.
pub fn remove(path: &Path, on_progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Removed> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(
            Kind::InvalidArgs,
            format!("cannot remove {}: it has no name", path.display()),
        ));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent_fd = match open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(Removed::All(0)),
        Err(e) => return Err(Error::io("open", parent, e)),
    };
    let name = CString::new(name.as_bytes()).map_err(|e| Error::io("remove", path, e))?;
    let mut remover = Remover { removed: 0, removed_at_last_refusal: None, on_progress };
    match remover.remove_top(path, &parent_fd, &name) {
        Ok(()) => Ok(Removed::All(remover.removed)),
        Err(Halt::Stopped) => Ok(Removed::Stopped(remover.removed)),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Counts what the directory at `path` takes, for at most `limit`; mounts in it are left out.
pub fn usage(path: &Path, limit: Duration) -> Result<Usage> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path, e))?;
    let mut walk = Walk::new(path, top)?;
    let mut count = Count { usage: Usage::default(), linked: BTreeSet::new(), start: Instant::now(), limit };
    count.usage.bytes = blocks(&fstat(&walk.fd).map_err(|e| walk.failed("examine", None, e))?);
    let complete = count.tree(&mut walk)?;
    Ok(Usage { complete, ..count.usage })
}

/// So often is the caller asked whether to go on.
const REPORT_EVERY: u64 = 256;
/// So many subdirectories of one directory are remembered at a time.
const BATCH: usize = 4096;

/// Device and inode: which directory it is.
type Id = (u64, u64);

/// A directory on the way from the top to the open one.
struct Level {
    id: Id,
    /// Its name in the level above.
    name: CString,
    /// Subdirectories still to be visited, with their inode numbers; the last comes next.
    pending: Vec<(u64, CString)>,
    /// Whether it has more subdirectories than `pending` could take.
    more: bool,
}

impl Level {
    /// By inode number: hash order, in which ext4 lists, makes it read and write its inode tables all over.
    fn sort(&mut self) {
        self.pending.sort_unstable_by_key(|p| std::cmp::Reverse(p.0));
    }
}

/// A walk with one open directory: the last of `levels`.
struct Walk {
    top: PathBuf,
    fd: OwnedFd,
    levels: Vec<Level>,
    buffer: Vec<MaybeUninit<u8>>,
}

/// How far `Walk::leave` came.
enum Left {
    /// Up, out of the subdirectory of this name.
    To(CString),
    /// Out of the top.
    Top,
    /// Nowhere: the directory is not where it was entered.
    Moved,
}

impl Walk {
    fn new(path: &Path, top: OwnedFd) -> Result<Walk> {
        let stat = fstat(&top).map_err(|e| Error::io("examine", path, e))?;
        let level = Level { id: id_of(&stat), name: CString::default(), pending: Vec::new(), more: false };
        let buffer = vec![MaybeUninit::uninit(); 32 * 1024];
        Ok(Walk { top: path.to_owned(), fd: top, levels: vec![level], buffer })
    }

    /// The device number of the open directory.
    fn dev(&self) -> u64 {
        self.levels[self.levels.len() - 1].id.0
    }

    fn level(&mut self) -> &mut Level {
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    /// Opens a subdirectory. EXDEV: something is mounted there. A subvolume of btrfs has a device number of its own, but
    /// is no mount.
    fn enter(&mut self, name: CString) -> Result<(), Errno> {
        let fd = open_below(&self.fd, &name)?;
        let id = id_of(&fstat(&fd)?);
        self.fd = fd;
        self.levels.push(Level { id, name, pending: Vec::new(), more: false });
        Ok(())
    }

    /// Goes back up, if `..` is still the directory that it was entered from.
    fn leave(&mut self) -> Result<Left, Errno> {
        let [.., above, _] = self.levels.as_slice() else { return Ok(Left::Top) };
        let fd = open_below(&self.fd, c"..")?;
        if id_of(&fstat(&fd)?) != above.id {
            return Ok(Left::Moved);
        }
        self.fd = fd;
        Ok(self.levels.pop().map_or(Left::Top, |level| Left::To(level.name)))
    }

    /// `failed to {verb} {the open directory, and name in it}: {cause}`.
    fn failed(&self, verb: &str, name: Option<&CStr>, cause: Errno) -> Error {
        let mut path = self.top.clone();
        let names = self.levels[1..].iter().map(|level| level.name.as_c_str()).chain(name);
        path.extend(names.map(|name| OsStr::from_bytes(name.to_bytes())));
        failure(verb, &path, cause)
    }
}

enum Halt {
    Stopped,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error)
    }
}

struct Remover<'a> {
    removed: u64,
    /// How many were removed when a directory was last not empty although all that was seen in it had gone.
    removed_at_last_refusal: Option<u64>,
    on_progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Remover<'_> {
    fn remove_top(&mut self, path: &Path, parent: &OwnedFd, name: &CStr) -> Result<(), Halt> {
        let failed = |e| Halt::Failed(failure("remove", path, e));
        loop {
            match open_below(parent, name) {
                Ok(top) => {
                    btrfs::make_writable(&top);
                    self.empty(&mut Walk::new(path, top)?)?;
                }
                Err(Errno::ENOENT) => return Ok(()),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    unlink(parent, name, UnlinkatFlags::NoRemoveDir, None).map_err(failed)?;
                    return self.count();
                }
                Err(e) => return Err(failed(e)),
            }
            match unlink(parent, name, UnlinkatFlags::RemoveDir, None) {
                Ok(()) => return self.count(),
                Err(Errno::ENOENT) => return Ok(()),
                Err(Errno::ENOTEMPTY) => self.may_try_again().map_err(failed)?,
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Removes everything below the top.
    fn empty(&mut self, walk: &mut Walk) -> Result<(), Halt> {
        self.scan(walk)?;
        loop {
            if let Some((_, name)) = walk.level().pending.pop() {
                self.visit(walk, &name)?;
            } else if walk.level().more {
                lseek(&walk.fd, 0, Whence::SeekSet).map_err(|e| walk.failed("rewind", None, e))?;
                self.scan(walk)?;
            } else {
                match walk.leave() {
                    Ok(Left::To(name)) => self.remove_emptied(walk, name)?,
                    Ok(Left::Top) => return Ok(()),
                    Ok(Left::Moved) => {
                        return Err(walk.failed("find the parent of", None, Errno::ESTALE).into());
                    }
                    Err(e) => return Err(walk.failed("open the parent of", None, e).into()),
                }
            }
        }
    }

    /// Removes a subdirectory if it is empty, else goes into it.
    fn visit(&mut self, walk: &mut Walk, name: &CStr) -> Result<(), Halt> {
        let result = match unlink(&walk.fd, name, UnlinkatFlags::RemoveDir, Some(&walk.fd)) {
            Ok(()) => return self.count(),
            Err(Errno::ENOTEMPTY) => self.enter(walk, name),
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => self.scan(walk),
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTDIR | Errno::ELOOP) => self.unlink_file(walk, name),
            Err(e) => Err(walk.failed("remove", Some(name), e).into()),
        }
    }

    fn enter(&self, walk: &mut Walk, name: &CStr) -> Result<(), Errno> {
        let above = walk.dev();
        walk.enter(name.to_owned())?;
        if walk.dev() != above {
            btrfs::make_writable(&walk.fd);
        }
        Ok(())
    }

    /// One pass over the open directory: removes what is no directory, and remembers what is.
    fn scan(&mut self, walk: &mut Walk) -> Result<(), Halt> {
        walk.level().more = false;
        let mut buffer = std::mem::take(&mut walk.buffer);
        let result = self.scan_into(walk, &mut buffer);
        walk.buffer = buffer;
        result
    }

    fn scan_into(&mut self, walk: &mut Walk, buffer: &mut [MaybeUninit<u8>]) -> Result<(), Halt> {
        let fd = walk.fd.try_clone().map_err(|e| Error::io("open", &walk.top, e))?;
        let mut entries = RawDir::new(&fd, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|e| walk.failed("list", None, Errno::from_raw(e.raw_os_error())))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                self.unlink_file(walk, name)?;
            } else if walk.level().pending.len() < BATCH {
                walk.level().pending.push((entry.ino(), name.to_owned()));
            } else {
                walk.level().more = true;
            }
        }
        walk.level().sort();
        Ok(())
    }

    /// Removes one name; a directory whose type the filesystem did not tell becomes pending.
    fn unlink_file(&mut self, walk: &mut Walk, name: &CStr) -> Result<(), Halt> {
        match unlink(&walk.fd, name, UnlinkatFlags::NoRemoveDir, Some(&walk.fd)) {
            Ok(()) => self.count(),
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => {
                walk.level().pending.push((0, name.to_owned()));
                Ok(())
            }
            Err(e) => Err(walk.failed("remove", Some(name), e).into()),
        }
    }

    fn remove_emptied(&mut self, walk: &mut Walk, name: CString) -> Result<(), Halt> {
        match unlink(&walk.fd, &name, UnlinkatFlags::RemoveDir, Some(&walk.fd)) {
            Ok(()) => self.count(),
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY) => {
                self.may_try_again().map_err(|e| walk.failed("remove", Some(&name), e))?;
                walk.level().pending.push((0, name));
                Ok(())
            }
            Err(e) => Err(walk.failed("remove", Some(&name), e).into()),
        }
    }

    /// A directory may show entries only in a second pass (POSIX leaves it open what readdir shows while entries go),
    /// but then each pass removes something.
    fn may_try_again(&mut self) -> Result<(), Errno> {
        if self.removed_at_last_refusal == Some(self.removed) {
            return Err(Errno::ENOTEMPTY);
        }
        self.removed_at_last_refusal = Some(self.removed);
        Ok(())
    }

    fn count(&mut self) -> Result<(), Halt> {
        self.removed += 1;
        if self.removed.is_multiple_of(REPORT_EVERY) && (self.on_progress)(self.removed).is_break() {
            return Err(Halt::Stopped);
        }
        Ok(())
    }
}

/// State of [`usage`].
struct Count {
    usage: Usage,
    /// Files with several names that were counted.
    linked: BTreeSet<Id>,
    start: Instant,
    limit: Duration,
}

impl Count {
    /// False if it is not complete.
    fn tree(&mut self, walk: &mut Walk) -> Result<bool> {
        let mut goes_on = self.scan(walk)?;
        while goes_on {
            let Some((_, name)) = walk.level().pending.pop() else {
                match walk.leave() {
                    Ok(Left::To(_)) => continue,
                    Ok(Left::Top) => return Ok(true),
                    Ok(Left::Moved) | Err(Errno::ENOENT) => return Ok(false),
                    Err(e) => return Err(walk.failed("open the parent of", None, e)),
                }
            };
            match walk.enter(name.clone()) {
                Ok(()) => goes_on = self.scan(walk)?,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => (),
                Err(e) => return Err(walk.failed("open", Some(&name), e)),
            }
        }
        Ok(false)
    }

    fn scan(&mut self, walk: &mut Walk) -> Result<bool> {
        let mut buffer = std::mem::take(&mut walk.buffer);
        let result = self.scan_into(walk, &mut buffer);
        walk.buffer = buffer;
        result
    }

    fn scan_into(&mut self, walk: &mut Walk, buffer: &mut [MaybeUninit<u8>]) -> Result<bool> {
        let fd = walk.fd.try_clone().map_err(|e| Error::io("open", &walk.top, e))?;
        let mut entries = RawDir::new(&fd, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|e| walk.failed("list", None, Errno::from_raw(e.raw_os_error())))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match fstatat(&fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) if self.entry(&stat, walk.dev()) => {
                    walk.level().pending.push((stat.st_ino, name.to_owned()))
                }
                Ok(_) | Err(Errno::ENOENT) => (),
                Err(e) => return Err(walk.failed("examine", Some(name), e)),
            }
            if self.usage.entries.is_multiple_of(REPORT_EVERY) && self.start.elapsed() >= self.limit {
                return Ok(false);
            }
        }
        walk.level().sort();
        Ok(true)
    }

    /// Counts one entry of a directory on this device; true for a directory to be visited.
    fn entry(&mut self, stat: &FileStat, dev: u64) -> bool {
        self.usage.entries += 1;
        let is_dir = is_type(stat, SFlag::S_IFDIR);
        let is_first = is_dir || stat.st_nlink < 2 || self.linked.insert(id_of(stat));
        if is_first && id_of(stat).0 == dev {
            self.usage.bytes += blocks(stat);
        }
        is_dir
    }
}

/// Opens a directory by one name, `..` included, on the same mount.
///
/// RESOLVE_NO_XDEV (Linux 5.6) also stops at a bind mount of the same filesystem, which st_dev does not show.
fn open_below(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    openat2(dir, name, OpenHow::new().flags(flags).resolve(resolve))
}

/// Unlinks `name`; if flags of it or of `flagged_dir` forbid that, without them.
fn unlink(
    dir: &OwnedFd,
    name: &CStr,
    how: UnlinkatFlags,
    flagged_dir: Option<&OwnedFd>,
) -> Result<(), Errno> {
    match unlinkat(dir, name, how) {
        Err(Errno::EPERM) => (),
        result => return result,
    }
    if let Some(dir) = flagged_dir {
        clear_flags(dir);
    }
    let file = open_flagged(dir, name);
    let before = file.as_ref().and_then(clear_flags);
    let result = unlinkat(dir, name, how);
    // The inode may have a name outside this tree, and keeps its flags there.
    if let (Some(file), Some(flags)) = (&file, before)
        && fstat(file).is_ok_and(|stat| stat.st_nlink > 0 && !is_type(&stat, SFlag::S_IFDIR))
    {
        // Nothing depends on it here, and the unlink is what is reported.
        let _ = ioctl_setflags(file, flags);
    }
    result
}

/// Opens what can carry flags; a device or a FIFO must not be opened.
fn open_flagged(dir: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
    let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    if !is_type(&stat, SFlag::S_IFREG) && !is_type(&stat, SFlag::S_IFDIR) {
        return None;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty()).ok()
}

/// Clears the flags that forbid removal, and returns the flags before if any of them was set.
fn clear_flags(file: &OwnedFd) -> Option<IFlags> {
    let flags = ioctl_getflags(file).ok()?;
    let forbidding = IFlags::IMMUTABLE | IFlags::APPEND;
    let cleared = flags.intersects(forbidding) && ioctl_setflags(file, flags - forbidding).is_ok();
    cleared.then_some(flags)
}

fn failure(verb: &str, path: &Path, cause: Errno) -> Error {
    match cause {
        Errno::EXDEV | Errno::EBUSY => {
            let text = format!("failed to {verb} {}: something is mounted there", path.display());
            Error::new(Kind::Refused, text)
        }
        _ => Error::io(verb, path, cause),
    }
}

fn id_of(stat: &FileStat) -> Id {
    (stat.st_dev, stat.st_ino)
}

/// st_blocks counts 512 bytes, whatever the filesystem's block is.
fn blocks(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

fn is_type(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
