//! Names in directories, by file descriptor: looking at them, opening, making and linking them.
//!
//! Symlinks are never followed, mounts never crossed. Errors are plain: which path it was, the caller knows.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, IFlags, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags,
    StatxTimestamp, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

/// A point in time as filesystems keep it: seconds since 1970, which may be negative, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Whole seconds.
    pub seconds: i64,
    /// And nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symlink.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Not told.
    Unknown,
}

/// What statx tells of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its type.
    pub kind: NodeKind,
    /// Permissions with setuid, setgid and the sticky bit; without the type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names it has.
    pub links: u32,
    /// Inode number.
    pub ino: u64,
    /// Filesystem: major and minor number of its device.
    pub dev: (u32, u32),
    /// Device number, of a device.
    pub rdev: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Allocated bytes.
    pub allocated: u64,
    /// Last access.
    pub atime: Moment,
    /// Last change of the content.
    pub mtime: Moment,
    /// Last change of anything.
    pub ctime: Moment,
    /// When the inode was made; zero if the filesystem does not tell.
    pub btime: Moment,
}

impl Node {
    /// Whether it is the character device 0/0, which overlayfs takes for a whiteout.
    pub fn is_device_zero(&self) -> bool {
        self.kind == NodeKind::CharDevice && self.rdev == (0, 0)
    }
}

/// One name of a directory, as the filesystem lists it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Inode number.
    pub ino: u64,
    /// Its type, if the filesystem tells.
    pub kind: NodeKind,
    /// The name.
    pub name: &'a CStr,
}

/// Opens the directory at `path` on a way of its own; symlinks on the way are followed.
pub fn open_top(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens the directory at `path` below `top`, for however long a path. The empty path is `top` itself.
///
/// EXDEV: something is mounted on the way.
pub fn open_below(top: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    /// The kernel takes one less than PATH_MAX, and a name takes at most 255.
    const PIECE: usize = 4095;
    let mut rest = path;
    let mut at: Option<OwnedFd> = None;
    while rest.len() > PIECE {
        let slash = rest[..PIECE].iter().rposition(|&b| b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let from = at.as_ref().map_or(top.as_fd(), AsFd::as_fd);
        at = Some(open_piece(from, &CString::new(&rest[..slash])?, OFlags::PATH)?);
        rest = &rest[slash + 1..];
    }
    let from = at.as_ref().map_or(top.as_fd(), AsFd::as_fd);
    let last = CString::new(if rest.is_empty() { b"." } else { rest })?;
    match open_piece(from, &last, OFlags::NOATIME) {
        Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
            open_piece(from, &last, OFlags::empty())
        }
        result => result,
    }
}

fn open_piece(from: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(from, path, flags, Mode::empty(), resolve)?)
}

/// Lists a directory from its start, without `.` and `..`.
pub fn list(dir: impl AsFd, mut each: impl FnMut(Listed<'_>)) -> io::Result<()> {
    let dir = dir.as_fd();
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer: Vec<MaybeUninit<u8>> = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(Listed { ino: entry.ino(), kind: kind_of(entry.file_type()), name });
        }
    }
    Ok(())
}

/// Looks at a name.
pub fn look(dir: impl AsFd, name: &CStr) -> io::Result<Node> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(node(&rustix::fs::statx(dir, name, flags, WANTED)?))
}

/// Looks at the last name of a path; symlinks on the way to it are followed.
pub fn look_path(path: &Path) -> io::Result<Node> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(node(&rustix::fs::statx(CWD, path, flags, WANTED)?))
}

/// Looks at what is open.
pub fn look_at(file: impl AsFd) -> io::Result<Node> {
    Ok(node(&rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?))
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

fn node(statx: &Statx) -> Node {
    let mode = u32::from(statx.stx_mode);
    Node {
        kind: kind_of(FileType::from_raw_mode(mode)),
        mode: mode & 0o7777,
        uid: statx.stx_uid,
        gid: statx.stx_gid,
        links: statx.stx_nlink,
        ino: statx.stx_ino,
        dev: (statx.stx_dev_major, statx.stx_dev_minor),
        rdev: (statx.stx_rdev_major, statx.stx_rdev_minor),
        size: statx.stx_size,
        allocated: statx.stx_blocks * 512,
        atime: moment(&statx.stx_atime),
        mtime: moment(&statx.stx_mtime),
        ctime: moment(&statx.stx_ctime),
        btime: moment(&statx.stx_btime),
    }
}

fn moment(time: &StatxTimestamp) -> Moment {
    Moment { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
}

fn kind_of(kind: FileType) -> NodeKind {
    match kind {
        FileType::Directory => NodeKind::Directory,
        FileType::RegularFile => NodeKind::File,
        FileType::Symlink => NodeKind::Symlink,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::Unknown => NodeKind::Unknown,
    }
}

/// Opens a regular file to read it, without a trace in its access time where that is allowed.
pub fn open_file(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::openat(&dir, name, flags, Mode::empty())?),
        result => Ok(result?),
    }
}

/// Makes a new regular file, to be written.
pub fn create_file(dir: impl AsFd, name: &CStr, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?)
}

/// Makes a file without a name on the filesystem of `dir`; it goes when it is closed.
pub fn create_nameless(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, c".", flags, Mode::from_raw_mode(0o600))?)
}

/// Makes a new directory.
pub fn create_directory(dir: impl AsFd, name: &CStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?)
}

/// Makes a new symlink that says the same as another.
pub fn copy_symlink(from: impl AsFd, to: impl AsFd, name: &CStr) -> io::Result<()> {
    let target = rustix::fs::readlinkat(from, name, Vec::new())?;
    Ok(rustix::fs::symlinkat(target.as_c_str(), to, name)?)
}

/// Makes a new device node, pipe or socket like `node`.
pub fn create_special(dir: impl AsFd, name: &CStr, node: &Node) -> io::Result<()> {
    let kind = match node.kind {
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        _ => return Err(Errno::INVAL.into()),
    };
    let device = rustix::fs::makedev(node.rdev.0, node.rdev.1);
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(node.mode), device)?)
}

/// Gives what `from` holds under `name` another name: `new_name` in `to`.
pub fn link(from: impl AsFd, name: &CStr, to: impl AsFd, new_name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, name, to, new_name, AtFlags::empty())?)
}

/// Makes the character device 0/0, which overlayfs takes for a whiteout.
pub fn create_whiteout(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)?)
}

/// What a symlink says.
pub fn read_link(dir: impl AsFd, name: &CStr) -> io::Result<CString> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?)
}

/// Makes a new symlink.
pub fn create_symlink(dir: impl AsFd, name: &CStr, target: &CStr) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// Renames, over whatever has the new name.
pub fn rename(from: impl AsFd, name: &CStr, to: impl AsFd, new_name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name, to, new_name)?)
}

/// Removes a name that is no directory.
pub fn unlink(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Removes an empty directory.
pub fn remove_directory(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Gives what is open an owner and a group.
pub fn own(file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Gives a name an owner and a group.
pub fn own_name(dir: impl AsFd, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives what is open its permissions.
pub fn permit(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Gives a name its permissions. It must not be a symlink.
pub fn permit_name(dir: impl AsFd, name: &CStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
}

/// Sets the times of what is open.
pub fn date(file: impl AsFd, atime: Moment, mtime: Moment) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &timestamps(atime, mtime))?)
}

/// Sets the times of a name.
pub fn date_name(dir: impl AsFd, name: &CStr, atime: Moment, mtime: Moment) -> io::Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &timestamps(atime, mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn timestamps(atime: Moment, mtime: Moment) -> Timestamps {
    let spec = |t: Moment| Timespec { tv_sec: t.seconds, tv_nsec: t.nanoseconds.into() };
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}

/// Inode flags, as `lsattr` shows them, that are somebody's choice and no matter of the filesystem's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// The file can not be changed at all.
    pub const IMMUTABLE: Flags = Flags(IFlags::IMMUTABLE.bits());
    /// The file can only grow.
    pub const APPEND: Flags = Flags(IFlags::APPEND.bits());
    /// The file's blocks are written in place; btrfs takes this for an empty file only.
    pub const NOCOW: Flags = Flags(IFlags::NOCOW.bits());
    /// FS_COMPR_FL, FS_SYNC_FL, FS_IMMUTABLE_FL, FS_APPEND_FL, FS_NODUMP_FL, FS_NOATIME_FL, FS_NOCOMP_FL,
    /// FS_JOURNAL_DATA_FL, FS_NOTAIL_FL, FS_DIRSYNC_FL, FS_TOPDIR_FL, FS_NOCOW_FL.
    const CHOSEN: u32 =
        0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x400 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x80_0000;

    /// Both sets together.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// What is in both.
    pub const fn only(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// What is in this one alone.
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The flags of what is open; none where the filesystem has no such thing.
pub fn flags(file: impl AsFd) -> Flags {
    rustix::fs::ioctl_getflags(file).map_or(Flags::default(), |flags| Flags(flags.bits() & Flags::CHOSEN))
}

/// Sets these flags besides those that are set; false if the filesystem does not take them.
pub fn flag(file: impl AsFd, wanted: Flags) -> bool {
    let Ok(present) = rustix::fs::ioctl_getflags(&file) else { return false };
    let all = present | IFlags::from_bits_retain(wanted.0);
    all == present || rustix::fs::ioctl_setflags(&file, all).is_ok()
}

/// Clears what forbids changes.
pub fn unflag(file: impl AsFd) -> bool {
    let Ok(present) = rustix::fs::ioctl_getflags(&file) else { return false };
    let forbidding = IFlags::IMMUTABLE | IFlags::APPEND;
    present.intersects(forbidding) && rustix::fs::ioctl_setflags(&file, present - forbidding).is_ok()
}

/// Whether the error says that the name is not there, or is no longer what it was.
pub fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE, Errno::ISDIR, Errno::NXIO];
    error.raw_os_error().is_some_and(|code| gone.contains(&Errno::from_raw_os_error(code)))
}
