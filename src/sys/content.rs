//! The content of files: cloning, copying with its holes, comparing. And the clocks that file times are taken from.

use std::io;
use std::ops::{ControlFlow, Range};
use std::os::fd::AsFd;

use nix::time::{ClockId, clock_gettime};
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::{Errno, pread, pwrite};

use super::node::{self, Moment};

/// How an attempt to share blocks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloned {
    /// The new file shares all blocks with the old one.
    Yes,
    /// Not this file.
    No,
    /// No file between these two filesystems.
    Never,
}

/// Makes the empty file `to` share all blocks of `from`.
pub fn clone(from: impl AsFd, to: impl AsFd) -> Cloned {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Cloned::Yes,
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => Cloned::Never,
        Err(_) => Cloned::No,
    }
}

/// Whether new files in the directory `place` can share blocks with files below the directory `source`. Leaves nothing.
pub fn can_clone(source: impl AsFd, place: impl AsFd) -> io::Result<bool> {
    let (one, other) = (node::create_nameless(&place)?, node::create_nameless(&place)?);
    write_at(&one, &[1; 4096], 0)?;
    if clone(&one, &other) != Cloned::Yes {
        return Ok(false);
    }
    // A directory can not be cloned; but before that is said, the filesystems are compared.
    Ok(clone(source, other) == Cloned::No)
}

/// Between two chunks of this size a copy may be stopped.
pub const CHUNK: u64 = 8 << 20;

/// Which side of a copy failed.
#[derive(Debug)]
pub enum CopyError {
    /// Reading.
    Read(io::Error),
    /// Writing.
    Write(io::Error),
    /// `on_chunk` said so.
    Stopped,
}

/// Copies the content of `from`, `size` bytes as far as is known, into the empty file `to`, and leaves its holes.
///
/// Without `holes` the file is known to have none. `on_chunk` hears the bytes since it was last called. Returns the
/// bytes that `to` is long.
pub fn copy(
    from: impl AsFd,
    to: impl AsFd,
    size: u64,
    holes: bool,
    buffer: &mut [u8],
    on_chunk: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<u64, CopyError> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let mut at = 0;
    if holes {
        while at < size {
            let Some((start, end)) = next_data(from, at, size)? else { break };
            on_chunk(start - at).is_continue().then_some(()).ok_or(CopyError::Stopped)?;
            let copied = copy_range(from, to, start..end, end, buffer, on_chunk)?;
            at = copied;
            if copied < end {
                break;
            }
        }
        // A hole at the end.
        let length = at.max(end_of(from)?);
        if length > at {
            ftruncate(to, length).map_err(|e| CopyError::Write(e.into()))?;
        }
        return Ok(length);
    }
    copy_range(from, to, 0..u64::MAX, size, buffer, on_chunk)
}

/// The next range that holds data, at or after `at`.
pub fn next_data(file: impl AsFd, at: u64, size: u64) -> Result<Option<(u64, u64)>, CopyError> {
    let failed = |e: Errno| CopyError::Read(e.into());
    let start = match seek(&file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A filesystem that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(e) => return Err(failed(e)),
    };
    match seek(&file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end))),
        Err(Errno::NXIO) => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

fn end_of(file: impl AsFd) -> Result<u64, CopyError> {
    seek(file, SeekFrom::End(0)).map_err(|e| CopyError::Read(e.into()))
}

/// Copies a range, or up to the end of the file, which should be at `size`; returns where it came to.
fn copy_range(
    from: impl AsFd,
    to: impl AsFd,
    range: Range<u64>,
    size: u64,
    buffer: &mut [u8],
    on_chunk: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<u64, CopyError> {
    let (mut at, mut unreported) = (range.start, 0);
    while at < range.end {
        let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        let count = read_at(&from, &mut buffer[..wanted], at, size).map_err(CopyError::Read)?;
        write_at(&to, &buffer[..count], at).map_err(CopyError::Write)?;
        at += count as u64;
        unreported += count as u64;
        if count < wanted {
            break;
        }
        if unreported >= CHUNK {
            on_chunk(unreported).is_continue().then_some(()).ok_or(CopyError::Stopped)?;
            unreported = 0;
        }
    }
    on_chunk(unreported).is_continue().then_some(()).ok_or(CopyError::Stopped)?;
    Ok(at)
}

/// Reads until the buffer is full or the file ends. A short count where the end was expected is the end.
fn read_at(file: impl AsFd, buffer: &mut [u8], at: u64, size: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match pread(&file, &mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                if done < buffer.len() && at + done as u64 == size {
                    break;
                }
            }
            Err(Errno::INTR) => (),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done)
}

fn write_at(file: impl AsFd, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match pwrite(&file, &bytes[done..], at + done as u64) {
            Ok(0) => return Err(Errno::IO.into()),
            Ok(count) => done += count,
            Err(Errno::INTR) => (),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Whether two files hold the same bytes. `size` is what one of them had a moment ago. `buffer` is used by halves.
pub fn same(
    one: impl AsFd,
    other: impl AsFd,
    size: u64,
    buffer: &mut [u8],
    on_chunk: &mut dyn FnMut() -> ControlFlow<()>,
) -> io::Result<bool> {
    let middle = buffer.len() / 2;
    let (left, right) = buffer.split_at_mut(middle);
    let right = &mut right[..middle];
    let mut at = 0;
    loop {
        let count = read_at(&one, left, at, size)?;
        if read_at(&other, right, at, size)? != count
            || left[..count] != right[..count]
            || on_chunk().is_break()
        {
            return Ok(false);
        }
        if count < middle {
            return Ok(true);
        }
        at += count as u64;
    }
}

/// Writes everything of the filesystem that `file` is on, and write-protects what is mapped: the next write through a
/// mapping shows in the file's times again.
pub fn sync_filesystem(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// Whether writes through a mapping never show in the times of a file on this filesystem: tmpfs and ramfs.
pub fn hides_mapped_writes(file: impl AsFd) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    rustix::fs::fstatfs(file).is_ok_and(|fs| [TMPFS, RAMFS].contains(&i128::from(fs.f_type)))
}

/// The clock that file times are taken from: it steps with the kernel's tick, and is never ahead of a later change.
pub fn file_clock() -> Moment {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(Moment::default(), |time| Moment {
        seconds: time.tv_sec(),
        nanoseconds: u32::try_from(time.tv_nsec()).unwrap_or(0),
    })
}

/// Gives this thread a umask of its own, zero; false if that is not allowed, and then it is the process's.
pub fn drop_umask() -> bool {
    // The umask belongs to what CLONE_FS shares, and other threads must not see theirs change.
    let own = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).is_ok();
    if own {
        rustix::process::umask(rustix::fs::Mode::empty());
    }
    own
}
