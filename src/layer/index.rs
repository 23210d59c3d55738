//! What copied files were at the time of the copy: `index` beside a snapshot's files.
//!
//! The next snapshot hard-links what is still the same. An index that is missing, damaged, cut short or about
//! something else is no index; then everything is copied.
//!
//! # Format, version 1
//!
//! All numbers are little-endian. A *varint* has seven bits in each byte, the lowest first, and the highest bit set in
//! all but the last; a *signed* one is zigzag-coded first.
//!
//! - header: the magic, start of the copy (i64 seconds, u32 nanoseconds), length of the source (u16), the source,
//!   a checksum (u64) of all that;
//! - for each directory: length of the body (u32), its checksum (u64), the body;
//! - end: u32 with all bits set, number of things recorded (u64), checksum (u64) of that number's bytes.
//!
//! A body is the path (length as varint, bytes), then the directory itself and its entries, but for those that are
//! directories, as *things*: varint of name length (0 for the directory), name, u8 layer, signed difference of the
//! inode number to the thing before, varint size, and both times (modification, change) as signed seconds since the
//! start and varint nanoseconds. Entries are sorted by layer and inode.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Previous;
use crate::sys::node::{self, Moment, Node, NodeKind};

const MAGIC: &[u8; 16] = b"overlayd index 1";
const END: u32 = u32::MAX;

/// What is remembered of an inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Thing {
    /// The layer that it came from.
    pub(super) layer: u8,
    /// Inode number.
    pub(super) ino: u64,
    /// Bytes.
    pub(super) size: u64,
    /// Last change of the content.
    pub(super) mtime: Moment,
    /// Last change of anything; zero is never trusted.
    pub(super) ctime: Moment,
}

impl Thing {
    /// What is to be remembered.
    pub(super) fn of(layer: usize, node: &Node) -> Thing {
        let size = if node.kind == NodeKind::Directory { 0 } else { node.size };
        Thing { layer: layer as u8, ino: node.ino, size, mtime: node.mtime, ctime: node.ctime }
    }
}

/// Writes an index, a directory at a time, from several threads.
pub(super) struct Writer {
    file: Mutex<BufWriter<File>>,
    start: Moment,
    things: AtomicU64,
}

impl Writer {
    /// Starts an index at `path`, of a copy of `source` that starts at `start`.
    pub(super) fn create(path: &Path, source: &str, start: Moment) -> io::Result<Writer> {
        let mut file = BufWriter::with_capacity(256 << 10, File::create(path)?);
        file.write_all(&header(source, start)?)?;
        Ok(Writer { file: Mutex::new(file), start, things: AtomicU64::new(0) })
    }

    /// Adds a directory: what it is itself, and its entries.
    pub(super) fn add<'a>(
        &self,
        path: &[u8],
        itself: Thing,
        entries: impl Iterator<Item = (&'a [u8], Thing)>,
    ) -> io::Result<()> {
        let mut body = Vec::with_capacity(4096);
        put_varint(&mut body, path.len() as u64);
        body.extend_from_slice(path);
        let (mut before, mut count) = (0, 0);
        for (name, thing) in [(&b""[..], itself)].into_iter().chain(entries) {
            self.put(&mut body, name, &thing, before);
            (before, count) = (thing.ino, count + 1);
        }
        let length = u32::try_from(body.len()).ok().filter(|&length| length < END);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&checksum(&body).to_le_bytes())?;
        file.write_all(&body)?;
        self.things.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn put(&self, body: &mut Vec<u8>, name: &[u8], thing: &Thing, before: u64) {
        put_varint(body, name.len() as u64);
        body.extend_from_slice(name);
        body.push(thing.layer);
        put_signed(body, thing.ino.wrapping_sub(before) as i64);
        put_varint(body, thing.size);
        for time in [thing.mtime, thing.ctime] {
            put_signed(body, time.seconds.wrapping_sub(self.start.seconds));
            put_varint(body, time.nanoseconds.into());
        }
    }

    /// Ends the index. Does not sync.
    pub(super) fn finish(&self) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let things = self.things.load(Ordering::Relaxed).to_le_bytes();
        file.write_all(&END.to_le_bytes())?;
        file.write_all(&things)?;
        file.write_all(&checksum(&things).to_le_bytes())?;
        file.flush()
    }
}

fn header(source: &str, start: Moment) -> io::Result<Vec<u8>> {
    let length = u16::try_from(source.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&start.seconds.to_le_bytes());
    header.extend_from_slice(&start.nanoseconds.to_le_bytes());
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(source.as_bytes());
    header.extend_from_slice(&checksum(&header).to_le_bytes());
    Ok(header)
}

/// An index that was read.
pub(super) struct Index {
    bytes: Vec<u8>,
    start: Moment,
    things: u64,
    /// Where the bodies are, sorted by the hash of their paths.
    bodies: Vec<(u64, usize)>,
}

/// A snapshot whose files may be hard-linked, and its index.
pub(super) struct Memory {
    pub(super) files: OwnedFd,
    pub(super) index: Index,
}

impl Memory {
    /// Opens the last snapshot, if its index is of use.
    pub(super) fn of(previous: &Previous, source: &str) -> Option<Memory> {
        let index = Index::load(&previous.index, source)?;
        Some(Memory { files: node::open_top(&previous.files).ok()?, index })
    }
}

/// One directory of an index.
pub(super) struct Remembered<'a> {
    start: Moment,
    itself: Thing,
    /// Sorted by layer and inode.
    entries: Vec<(&'a [u8], Thing)>,
}

/// Whether the file at `path` is an index, of whatever source, and whole.
pub fn is_whole(path: &Path) -> bool {
    let Some(bytes) = read(path) else { return false };
    source_of(&bytes).is_some_and(|source| Index::parse(bytes, &source).is_some())
}

/// The content of a regular file; of anything else reading may have no end.
fn read(path: &Path) -> Option<Vec<u8>> {
    path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    std::fs::read(path).ok()
}

/// The source that the header names.
fn source_of(bytes: &[u8]) -> Option<String> {
    let mut rest = Cursor(bytes);
    rest.take(MAGIC.len() + 12)?;
    let length = u16::from_le_bytes(rest.take(2)?.try_into().ok()?);
    String::from_utf8(rest.take(length.into())?.to_vec()).ok()
}

impl Index {
    /// Reads the index at `path`, if it is whole and about `source`.
    pub(super) fn load(path: &Path, source: &str) -> Option<Index> {
        Index::parse(read(path)?, source)
    }

    fn parse(bytes: Vec<u8>, source: &str) -> Option<Index> {
        let mut rest = Cursor(&bytes);
        rest.take(MAGIC.len()).filter(|magic| magic == MAGIC)?;
        let start = Moment { seconds: rest.u64()? as i64, nanoseconds: rest.u32()? };
        if !bytes.starts_with(&header(source, start).ok()?) {
            return None;
        }
        rest = Cursor(&bytes[header(source, start).ok()?.len()..]);
        let mut bodies = Vec::new();
        loop {
            let length = rest.u32()?;
            if length == END {
                break;
            }
            let sum = rest.u64()?;
            let at = bytes.len() - rest.0.len();
            let mut body = Cursor(rest.take(length as usize).filter(|body| checksum(body) == sum)?);
            bodies.push((hash(body.path()?), at));
        }
        let things = rest.take(8)?;
        let sum = rest.u64()?;
        if sum != checksum(things) || !rest.0.is_empty() {
            return None;
        }
        let things = u64::from_le_bytes(things.try_into().ok()?);
        bodies.sort_unstable();
        Some(Index { start, things, bodies, bytes })
    }

    /// How many things are recorded: all directories, the top among them, and all other entries.
    pub(super) fn things(&self) -> u64 {
        self.things
    }

    /// What is remembered of the directory at `path`.
    pub(super) fn directory(&self, path: &[u8]) -> Option<Remembered<'_>> {
        let wanted = hash(path);
        let first = self.bodies.partition_point(|&(hash, _)| hash < wanted);
        let same = self.bodies[first..].iter().take_while(|&&(hash, _)| hash == wanted);
        same.filter_map(|&(_, at)| self.body(at, path)).next()
    }

    fn body(&self, at: usize, path: &[u8]) -> Option<Remembered<'_>> {
        let length = u32::from_le_bytes(self.bytes.get(at - 12..at - 8)?.try_into().ok()?);
        let mut body = Cursor(self.bytes.get(at..at + length as usize)?);
        if body.path()? != path {
            return None;
        }
        let (_, itself) = body.thing(self.start, 0)?;
        let (mut entries, mut before) = (Vec::new(), itself.ino);
        while !body.0.is_empty() {
            let (name, thing) = body.thing(self.start, before)?;
            before = thing.ino;
            entries.push((name, thing));
        }
        Some(Remembered { start: self.start, itself, entries })
    }
}

impl Remembered<'_> {
    /// Whether the directory itself is what it was.
    pub(super) fn is_same(&self, now: &Thing) -> bool {
        self.is_trusted(&self.itself, now)
    }

    /// Whether an entry is what it was.
    pub(super) fn has(&self, name: &[u8], now: &Thing) -> bool {
        let key = |thing: &Thing| (thing.layer, thing.ino);
        let first = self.entries.partition_point(|(_, thing)| key(thing) < key(now));
        let same = self.entries[first..].iter().take_while(|(_, thing)| key(thing) == key(now));
        same.filter(|(old, _)| *old == name).any(|(_, old)| self.is_trusted(old, now))
    }

    fn is_trusted(&self, old: &Thing, now: &Thing) -> bool {
        if old.ctime == Moment::default() {
            return false;
        }
        // Layers below the topmost never change, but each hard link to their files sets the change time.
        let below = old.layer > 0 && Thing { ctime: now.ctime, ..*old } == *now;
        below || old == now && is_settled(old.ctime, self.start)
    }
}

/// Whether a change after `start` can not have left this change time behind. Inodes of the small kind keep seconds only.
fn is_settled(ctime: Moment, start: Moment) -> bool {
    let whole = ctime.nanoseconds == 0;
    ctime < if whole { Moment { nanoseconds: 0, ..start } } else { start }
}

fn hash(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path);
    hasher.finish()
}

/// Tells damage, not malice: the store is root's alone.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).fold(bytes.len() as u64, |sum, word| {
        (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_signed(to: &mut Vec<u8>, value: i64) {
    put_varint(to, (value << 1 ^ value >> 63) as u64);
}

/// Bytes that are still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn path(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn thing(&mut self, start: Moment, before: u64) -> Option<(&'a [u8], Thing)> {
        let name = self.path()?;
        let layer = self.take(1)?[0];
        let ino = before.wrapping_add(self.signed()? as u64);
        let size = self.varint()?;
        let mut time = || {
            let seconds = self.signed()?.wrapping_add(start.seconds);
            Some(Moment { seconds, nanoseconds: u32::try_from(self.varint()?).ok()? })
        };
        let (mtime, ctime) = (time()?, time()?);
        Some((name, Thing { layer, ino, size, mtime, ctime }))
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
