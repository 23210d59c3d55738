//! Copying what is kept into a new upper: with owner, mode, times, attributes, ACLs and the hard links among it, and
//! the directories above it as they were.
//!
//! A directory gets its own attributes once everything in it is there: its default ACL and its set-group-ID bit must not
//! colour what is made in it, and its times must be the old ones.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::select::{Selection, shown};
use super::walk::{Found, Visitor};
use crate::error::{Error, Kind, Result};
use crate::layer::{self, Fate, PROTATTR};
use crate::store::Layout;
use crate::sys::content::{self, Cloned, CopyError};
use crate::sys::node::{self, Flags, Node, NodeKind};
use crate::sys::xattr::{self, Bearer, Reader};

/// These would keep the overlay from ever changing the file: it has a mark of its own for them.
const FORBIDDING: Flags = Flags::IMMUTABLE.with(Flags::APPEND);

/// Copies what is kept into the empty directory `upper`. Not durable yet.
pub fn copy(layout: &Layout, overlay: &str, selection: &Selection, upper: &Path) -> Result<()> {
    let open = |path: &PathBuf| node::open_top(path).map_err(|e| Error::io("open", path, e));
    let layers = selection.layers(layout, overlay);
    let mut copier = Copier {
        sources: layers.iter().map(open).collect::<Result<_>>()?,
        top: open(&upper.to_owned())?,
        upper,
        levels: Vec::new(),
        place: None,
        links: BTreeMap::new(),
        reader: Reader::default(),
        buffer: vec![0; 128 << 10],
    };
    selection.visit(layout, overlay, &mut copier)
}

struct Copier<'c> {
    sources: Vec<OwnedFd>,
    top: OwnedFd,
    upper: &'c Path,
    /// The directories that were entered: how long each path is, and whether it was made.
    levels: Vec<(usize, bool)>,
    /// The directory in which something was made last.
    place: Option<(Vec<u8>, OwnedFd)>,
    /// Where the first name of each file is that has several.
    links: BTreeMap<((u32, u32), u64), Vec<u8>>,
    reader: Reader,
    buffer: Vec<u8>,
}

impl Visitor for Copier<'_> {
    fn enter(&mut self, dir: &Found<'_>, kept: bool) -> Result<()> {
        // The top is there.
        self.levels.push((dir.path.len(), dir.path.is_empty()));
        if kept { self.make_directories(dir.path) } else { Ok(()) }
    }

    fn entry(&mut self, found: &Found<'_>) -> Result<()> {
        let (parent, name) = split(found.path);
        let name = CString::new(name).map_err(|e| found.failed("copy", e.into()))?;
        self.make_directories(parent)?;
        let place = self.place(parent)?;
        let made = self.make(found, &place, &name);
        self.place = Some((parent.to_owned(), place));
        made
    }

    fn leave(&mut self, path: &[u8], layer: usize) -> Result<()> {
        match self.levels.pop() {
            Some((_, true)) => self.complete(path, layer),
            _ => Ok(()),
        }
    }
}

impl Copier<'_> {
    /// Makes the directories that lead to `path`, of those that were entered.
    fn make_directories(&mut self, path: &[u8]) -> Result<()> {
        for i in 0..self.levels.len() {
            let (length, made) = self.levels[i];
            if made {
                continue;
            }
            let (parent, name) = split(&path[..length]);
            let result = CString::new(name)
                .map_err(io::Error::from)
                .and_then(|name| node::create_directory(node::open_below(&self.top, parent)?, &name, 0o700));
            result.map_err(|e| self.failed("make", &path[..length], e))?;
            self.levels[i].1 = true;
        }
        Ok(())
    }

    /// The directory in which something is made.
    fn place(&mut self, path: &[u8]) -> Result<OwnedFd> {
        match self.place.take() {
            Some((last, dir)) if last == path => Ok(dir),
            _ => node::open_below(&self.top, path).map_err(|e| self.failed("open", path, e)),
        }
    }

    fn make(&mut self, found: &Found<'_>, place: &OwnedFd, name: &CString) -> Result<()> {
        let node = &found.node;
        if node.links > 1 {
            if let Some(first) = self.links.get(&(node.dev, node.ino)) {
                let (parent, first) = split(first);
                let linked = CString::new(first)
                    .map_err(io::Error::from)
                    .and_then(|first| node::link(node::open_below(&self.top, parent)?, &first, place, name));
                match linked {
                    Err(e) if e.kind() == io::ErrorKind::TooManyLinks => {}
                    linked => return linked.map_err(|e| self.failed("link", found.path, e)),
                }
            }
            self.links.insert((node.dev, node.ino), found.path.to_owned());
        }
        match node.kind {
            NodeKind::File => self.file(found, place, name),
            _ => self.special(found, place, name),
        }
    }

    fn file(&mut self, found: &Found<'_>, place: &OwnedFd, name: &CString) -> Result<()> {
        let node = &found.node;
        let source = node::open_file(found.dir, name).map_err(|e| found.failed("open", e))?;
        let flags = node::flags(&source);
        let target =
            node::create_file(place, name, 0o600).map_err(|e| self.failed("create", found.path, e))?;
        // btrfs takes it for an empty file only, and shares no blocks between one that has it and one that has not.
        node::flag(&target, flags.only(Flags::NOCOW));
        if content::clone(&source, &target) != Cloned::Yes {
            self.content(found, &source, &target)?;
        }
        self.dress((found.path, found.layer), node, (source.as_fd(), target.as_fd()), flags)
    }

    fn content(&mut self, found: &Found<'_>, source: &OwnedFd, target: &OwnedFd) -> Result<()> {
        let mut on_chunk = |_| ControlFlow::Continue(());
        let copied =
            content::copy(source, target, found.node.size, true, &mut self.buffer, &mut on_chunk).map(drop);
        copied.map_err(|e| match e {
            CopyError::Read(e) => found.failed("read", e),
            CopyError::Write(e) => self.failed("write", found.path, e),
            CopyError::Stopped => Error::new(Kind::Canceled, "stopped"),
        })
    }

    fn special(&mut self, found: &Found<'_>, place: &OwnedFd, name: &CString) -> Result<()> {
        let node = &found.node;
        let made = match node.kind {
            NodeKind::Symlink => node::copy_symlink(found.dir, place, name),
            _ => node::create_special(place, name, node),
        };
        made.and_then(|()| node::own_name(place, name, node.uid, node.gid))
            .map_err(|e| self.failed("create", found.path, e))?;
        if node.kind != NodeKind::Symlink {
            node::permit_name(place, name, node.mode)
                .map_err(|e| self.failed("change the mode of", found.path, e))?;
        }
        let (from, to) = (Bearer::Named(found.dir.as_fd(), name), Bearer::Named(place.as_fd(), name));
        self.attributes(found.path, found.layer, (from, to), Flags::default())?;
        node::date_name(place, name, node.atime, node.mtime)
            .map_err(|e| self.failed("set the times of", found.path, e))
    }

    /// Gives a directory whose entries are made all that belongs to it.
    fn complete(&mut self, path: &[u8], layer: usize) -> Result<()> {
        let source = node::open_below(&self.sources[layer], path);
        let source = source.map_err(|e| Error::io("open", shown(path), e))?;
        let node = node::look_at(&source).map_err(|e| Error::io("look at", shown(path), e))?;
        let target = node::open_below(&self.top, path).map_err(|e| self.failed("open", path, e))?;
        self.dress((path, layer), &node, (source.as_fd(), target.as_fd()), node::flags(&source))
    }

    /// Owner before mode, which it clears; capabilities after both; times last.
    fn dress(
        &mut self,
        (path, layer): (&[u8], usize),
        node: &Node,
        (source, target): (BorrowedFd<'_>, BorrowedFd<'_>),
        flags: Flags,
    ) -> Result<()> {
        node::own(target, node.uid, node.gid)
            .and_then(|()| node::permit(target, node.mode))
            .map_err(|e| self.failed("change the owner and mode of", path, e))?;
        self.attributes(path, layer, (Bearer::Open(source), Bearer::Open(target)), flags)?;
        node::flag(target, flags.without(FORBIDDING));
        node::date(target, node.atime, node.mtime).map_err(|e| self.failed("set the times of", path, e))
    }

    /// Copies the attributes that travel. What forbids changes becomes the overlay's own mark, as in a copy-up: the
    /// overlay shows it, and can take it away again.
    fn attributes(
        &mut self,
        path: &[u8],
        layer: usize,
        (from, to): (Bearer<'_>, Bearer<'_>),
        flags: Flags,
    ) -> Result<()> {
        let failed = |e| Error::io("copy the attributes of", shown(path), e);
        let mut marks: Vec<u8> = Vec::new();
        for (letter, flag) in [(b'a', Flags::APPEND), (b'i', Flags::IMMUTABLE)] {
            marks.extend((!flags.only(flag).is_empty()).then_some(letter));
        }
        let list = self.reader.list(from).map_err(failed)?.to_vec();
        for name in layer::names(&list) {
            match layer::fate(name) {
                Fate::Travels => {}
                Fate::Stays | Fate::Opaque => continue,
                Fate::Refused if matches!(from, Bearer::Open(_)) && is_directory(from) => continue,
                Fate::Refused => {
                    let what = format!("{} has no content of its own", shown(path).display());
                    return Err(Error::new(Kind::StoreDamaged, what));
                }
            }
            let Some(value) = self.reader.get(from, name).map_err(failed)? else { continue };
            if name == PROTATTR {
                // The kernel reads it in an upper alone.
                for letter in value.iter().filter(|_| layer == 0) {
                    if !marks.contains(letter) {
                        marks.push(*letter);
                    }
                }
                continue;
            }
            match to.set(name, value) {
                Err(e) if xattr::is_unsupported(&e) && name.to_bytes().starts_with(b"btrfs.") => {}
                set => set.map_err(failed)?,
            }
        }
        if marks.is_empty() { Ok(()) } else { to.set(PROTATTR, &marks).map_err(failed) }
    }

    fn failed(&self, verb: &str, path: &[u8], cause: io::Error) -> Error {
        Error::io(verb, self.upper.join(shown(path)), cause)
    }
}

fn is_directory(bearer: Bearer<'_>) -> bool {
    match bearer {
        Bearer::Open(file) => node::look_at(file).is_ok_and(|node| node.kind == NodeKind::Directory),
        Bearer::Named(..) => false,
    }
}

/// The directory and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    }
}
