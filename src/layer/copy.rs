//! Making the entries of the copy: each as a hard link where that is right, else anew with all that belongs to it.

mod dress;
mod file;
mod folder;
mod link;
mod special;

use std::ffi::CStr;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index::{Memory, Remembered, Thing, Writer};
use super::links::{First, Groups};
use super::merge::{Entry, MOST_LAYERS};
use super::walk::{Folder, Found, Made, Maker, Opened, shown};
use crate::error::{Error, Result};
use crate::sys::content;
use crate::sys::node::{self, Flags, Moment, NodeKind};
use crate::sys::xattr::Reader;

/// What is copied at a time.
const BUFFER: usize = 256 << 10;

/// Copies entries into a new tree.
pub(super) struct Copier<'a> {
    /// The new tree.
    top: OwnedFd,
    /// Owner and group that new files get by themselves.
    owner: (u32, u32),
    stop: Arc<AtomicBool>,
    groups: Groups,
    memory: Option<&'a Memory>,
    /// Whether files of the last snapshot can not be hard-linked.
    memory_unlinkable: AtomicBool,
    /// Whether the topmost layer changes in ways that its files' times do not show.
    hides_changes: bool,
    writer: Option<&'a Writer>,
    /// By layer: whether its files can not be hard-linked, or not be cloned.
    unlinkable: [AtomicBool; MOST_LAYERS],
    uncloneable: [AtomicBool; MOST_LAYERS],
    /// What was made.
    pub(super) done: Done,
}

/// What was made.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Bytes for the progress: those of a second attempt too.
    pub(super) moved: AtomicU64,
    pub(super) reused: AtomicU64,
    /// Things that are as they were in the last snapshot.
    pub(super) same: AtomicU64,
    pub(super) reflinked: AtomicBool,
    pub(super) unstable: Mutex<Vec<PathBuf>>,
    /// Directories that were gone when they were to be entered.
    vanished: Mutex<Vec<Box<[u8]>>>,
    /// Flags of files that may get more names.
    flags: Mutex<Vec<(First, Flags)>>,
}

/// What a thread keeps.
pub(super) struct Local {
    buffer: Vec<u8>,
    reader: Reader,
    /// Whether files are made with just the mode that is asked for.
    exact_modes: bool,
}

/// An entry, and what the index says of it.
struct Known<'a> {
    found: &'a Found<'a>,
    thing: Thing,
    /// Whether it is as it was in the last snapshot.
    same: bool,
}

impl<'a> Deref for Known<'a> {
    type Target = Found<'a>;

    fn deref(&self) -> &Found<'a> {
        self.found
    }
}

impl<'a> Copier<'a> {
    /// Copies into `top`, which is new and empty.
    pub(super) fn new(
        top: OwnedFd,
        stop: Arc<AtomicBool>,
        hides_changes: bool,
        memory: Option<&'a Memory>,
        writer: Option<&'a Writer>,
    ) -> io::Result<Copier<'a>> {
        let node = node::look_at(&top)?;
        let copier = Copier {
            top,
            owner: (node.uid, node.gid),
            stop,
            groups: Groups::default(),
            memory,
            memory_unlinkable: AtomicBool::default(),
            hides_changes,
            writer,
            unlinkable: Default::default(),
            uncloneable: Default::default(),
            done: Done::default(),
        };
        // The topmost may change: nothing of it can be shared.
        copier.unlinkable[0].store(true, Ordering::Relaxed);
        Ok(copier)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Makes an entry that is the first or only name of its file.
    fn place(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        last: bool,
        local: &mut Local,
    ) -> Result<Made> {
        if !self.unlinkable[usize::from(entry.layer)].load(Ordering::Relaxed)
            && self.link_from_layer(folder, entry, found, local)?
        {
            self.done.reused.fetch_add(1, Ordering::Relaxed);
            self.count(found);
            return Ok(Made::Done);
        }
        if found.same && self.link_from_memory(folder, found)? {
            self.done.reused.fetch_add(1, Ordering::Relaxed);
            self.count(found);
            return Ok(Made::Done);
        }
        let made = match found.node.kind {
            NodeKind::File => self.copy_file(folder, entry, found, last, local)?,
            _ => self.copy_special(folder, entry, found, local)?,
        };
        if made != Made::Changed {
            self.count(found);
        }
        Ok(made)
    }

    fn count(&self, found: &Known<'_>) {
        if found.node.kind == NodeKind::File {
            self.done.bytes.fetch_add(found.node.size, Ordering::Relaxed);
        }
    }

    /// Makes an entry; returns what it was, for the index.
    fn make(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        last: bool,
        local: &mut Local,
    ) -> Result<(Made, Thing)> {
        let place = |local: &mut Local| {
            let made = self.place(folder, entry, found, last, local)?;
            // One that is not settled must not be trusted later.
            let ctime = if made == Made::Unstable { Moment::default() } else { found.thing.ctime };
            Ok((made, Thing { ctime, ..found.thing }))
        };
        if found.node.links < 2 {
            return place(local);
        }
        let group = self.groups.of(entry.layer, &found.node);
        let mut first = group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = &*first
            && self.link_to_first(folder, first, found.name)?
        {
            // It may have changed since; what counts is when it was copied.
            return Ok((Made::Done, first.thing));
        }
        let (made, thing) = place(local)?;
        if made != Made::Changed {
            let (dir, name) = (Arc::clone(&folder.opened.path), found.name.to_owned());
            *first = Some(First { dir, name, thing });
        }
        Ok((made, thing))
    }
}

/// The new directory of an open one.
pub(super) struct Place<'a> {
    dir: OwnedFd,
    /// The last snapshot's directory, if it is remembered.
    last: Option<OwnedFd>,
    remembered: Option<Remembered<'a>>,
    /// What was copied, for the index: the entry's number, and what it was.
    things: Mutex<Vec<(usize, Thing)>>,
}

impl Place<'_> {
    fn things(&self) -> MutexGuard<'_, Vec<(usize, Thing)>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Maker for Copier<'a> {
    type Place = Place<'a>;
    type Local = Local;
    const THOROUGH: bool = true;

    fn local(&self) -> Local {
        Local { buffer: vec![0; BUFFER], reader: Reader::default(), exact_modes: content::drop_umask() }
    }

    fn enter(&self, opened: &Opened) -> Result<Place<'a>> {
        let dir = node::open_below(&self.top, &opened.path);
        let dir = dir.map_err(|e| Error::io("open", shown(&opened.path), e))?;
        let remembered = self.memory.and_then(|memory| memory.index.directory(&opened.path));
        let last = remembered.as_ref().and(self.memory);
        // If it can not be opened, everything is copied.
        let last = last.and_then(|memory| node::open_below(&memory.files, &opened.path).ok());
        Ok(Place { dir, last, remembered, things: Mutex::default() })
    }

    fn directory(&self, folder: &Folder<Self>, name: &CStr) -> Result<()> {
        node::create_directory(&folder.place.dir, name, 0o700)
            .map_err(|e| folder.failed("create", name, e))?;
        self.done.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn node(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Found<'_>,
        last: bool,
        local: &mut Local,
    ) -> Result<Made> {
        let thing = Thing::of(entry.layer.into(), &found.node);
        let same = folder.place.remembered.as_ref();
        let mut same = same.is_some_and(|remembered| remembered.has(found.name.to_bytes(), &thing));
        if same && self.hides_changes && entry.layer == 0 && found.node.kind == NodeKind::File {
            same = self.is_copy(folder, found, local);
        }
        let (made, thing) = self.make(folder, entry, &Known { found, thing, same }, last, local)?;
        if made == Made::Changed {
            return Ok(made);
        }
        self.done.entries.fetch_add(1, Ordering::Relaxed);
        self.done.same.fetch_add(same.into(), Ordering::Relaxed);
        if self.writer.is_some() {
            folder.place.things().push((found.number, thing));
        }
        Ok(made)
    }

    fn leave(&self, folder: &Folder<Self>, _local: &mut Local) -> Result<()> {
        self.complete(folder)
    }

    fn vanished(&self, path: &[u8]) {
        self.done.vanished.lock().unwrap_or_else(PoisonError::into_inner).push(path.into());
    }
}
