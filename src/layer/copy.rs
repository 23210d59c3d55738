//! Making one entry of the copy: as a hard link where that is right, else anew with all that belongs to it.

use std::ffi::{CStr, CString};
use std::io;
use std::ops::{ControlFlow, Deref};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attributes::{self, Fate, OPAQUE, ORIGIN, PROTATTR};
use super::index::{Memory, Remembered, Thing, Writer};
use super::links::{First, Groups};
use super::merge::{Entry, MOST_LAYERS};
use super::walk::{Folder, Found, Made, Maker, Opened, joined, refused, shown};
use crate::error::{Error, Result};
use crate::sys::content::{self, Cloned, CopyError};
use crate::sys::node::{self, Flags, Moment, Node, NodeKind};
use crate::sys::xattr::{self, Bearer, Reader};

/// What is copied at a time.
const BUFFER: usize = 256 << 10;
/// A file with more names than this is not given another: ext4 ends at 65,000, and a whole group must still fit.
const MANY_LINKS: u32 = 32_000;
/// These keep a file from being linked or a directory from being written, so they come last.
const FORBIDDING: Flags = Flags::IMMUTABLE.with(Flags::APPEND);

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

/// Why a file was not copied.
enum Trouble {
    /// Reading failed: perhaps it is another file by now.
    Source(&'static str, io::Error),
    /// For good.
    Failed(Error),
    /// Somebody stopped it.
    Stopped,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Failed(error)
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

    /// What could only be done once everything is there.
    pub(super) fn finish(&self) -> Result<()> {
        let take = |list: &Mutex<Vec<Box<[u8]>>>| {
            std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for path in take(&self.done.vanished) {
            self.forget(&path).map_err(|e| Error::io("remove", shown(&path), e))?;
        }
        let flags = std::mem::take(&mut *self.done.flags.lock().unwrap_or_else(PoisonError::into_inner));
        for (first, flags) in flags {
            let path = shown(&joined(&first.dir, &first.name));
            let file =
                node::open_below(&self.top, &first.dir).and_then(|dir| node::open_file(dir, &first.name));
            node::flag(file.map_err(|e| Error::io("open", path, e))?, flags);
        }
        Ok(())
    }

    /// Removes a directory that was made and then not filled; the one it is in keeps its times.
    fn forget(&self, path: &[u8]) -> io::Result<()> {
        let (dir, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        let dir = node::open_below(&self.top, dir)?;
        let before = node::look_at(&dir)?;
        let flags = node::flags(&dir).only(FORBIDDING);
        node::unflag(&dir);
        node::remove_directory(&dir, &CString::new(name)?)?;
        node::date(&dir, before.atime, before.mtime)?;
        node::flag(&dir, flags);
        self.done.entries.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a directory to the index, and compares it with what the last one says.
    fn remember(&self, folder: &Folder<Self>) -> Result<()> {
        let (opened, place) = (&folder.opened, &folder.place);
        let itself = Thing::of(opened.layer, &opened.node);
        if place.remembered.as_ref().is_some_and(|remembered| remembered.is_same(&itself)) {
            self.done.same.fetch_add(1, Ordering::Relaxed);
        }
        let Some(writer) = self.writer else { return Ok(()) };
        let mut things = std::mem::take(&mut *place.things());
        things.sort_unstable_by_key(|(number, thing)| (thing.layer, thing.ino, *number));
        let entries = things.iter().map(|&(number, thing)| (folder.name(number).to_bytes(), thing));
        writer
            .add(&opened.path, itself, entries)
            .map_err(|e| Error::io("write the index of", shown(&opened.path), e))
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

    /// Takes over the file of a layer that never changes, if it bears nothing that must stay behind.
    fn link_from_layer(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        local: &mut Local,
    ) -> Result<bool> {
        let dir = folder.layer(entry.layer)?;
        if found.node.links > MANY_LINKS {
            return Ok(false);
        }
        let list = local.reader.list(Bearer::Named(dir.as_fd(), found.name));
        let list = list.map_err(|e| folder.failed("read the attributes of", found.name, e))?;
        if attributes::names(list).any(|name| attributes::fate(name) != Fate::Travels) {
            return Ok(false);
        }
        match node::link(dir, found.name, &folder.place.dir, found.name) {
            Ok(()) => {
                self.done.moved.fetch_add(found.node.size, Ordering::Relaxed);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                self.unlinkable[usize::from(entry.layer)].store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    /// Takes over the last snapshot's copy of a file that is as it was then.
    fn link_from_memory(&self, folder: &Folder<Self>, found: &Known<'_>) -> Result<bool> {
        let Some(dir) = &folder.place.last else { return Ok(false) };
        if self.memory_unlinkable.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let full = || node::look(dir, found.name).is_ok_and(|node| node.links > MANY_LINKS);
        if found.node.links > 1 && full() {
            return Ok(false);
        }
        match node::link(dir, found.name, &folder.place.dir, found.name) {
            Ok(()) => {
                self.done.moved.fetch_add(found.node.size, Ordering::Relaxed);
                Ok(true)
            }
            Err(e) => {
                if e.kind() == io::ErrorKind::CrossesDevices {
                    self.memory_unlinkable.store(true, Ordering::Relaxed);
                }
                Ok(false)
            }
        }
    }

    /// Whether the last snapshot's copy has the same bytes.
    fn is_copy(&self, folder: &Folder<Self>, found: &Found<'_>, local: &mut Local) -> bool {
        let (Ok(dir), Some(last)) = (folder.layer(0), &folder.place.last) else { return false };
        let files =
            node::open_file(dir, found.name).and_then(|one| Ok((one, node::open_file(last, found.name)?)));
        let mut on_chunk =
            || if self.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        files.is_ok_and(|(one, other)| {
            content::same(one, other, &mut local.buffer, &mut on_chunk).unwrap_or(false)
        })
    }

    /// Gives the file another name; false if it can have no more.
    fn link_to_first(&self, folder: &Folder<Self>, first: &First, name: &CStr) -> Result<bool> {
        let linked = if *first.dir == *folder.opened.path {
            node::link(&folder.place.dir, &first.name, &folder.place.dir, name)
        } else {
            let dir = node::open_below(&self.top, &first.dir);
            dir.and_then(|dir| node::link(dir, &first.name, &folder.place.dir, name))
        };
        match linked {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::TooManyLinks => Ok(false),
            Err(e) => Err(folder.failed("link", name, e)),
        }
    }

    fn copy_file(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        last: bool,
        local: &mut Local,
    ) -> Result<Made> {
        settle(found.node.ctime, &self.stop);
        let copied = self.try_file(folder, entry, found, local);
        let stable = match copied {
            Ok(stable) => stable,
            Err(Trouble::Failed(error)) => return Err(error),
            // It does not matter: all is thrown away.
            Err(Trouble::Stopped) => return Ok(Made::Done),
            Err(Trouble::Source(verb, cause)) => {
                // Gone, or something else by now: then it is looked at again.
                let now = node::look(folder.layer(entry.layer)?, found.name);
                if last || now.is_ok_and(|now| is_same(&now, &found.node)) {
                    return Err(folder.failed(verb, found.name, cause));
                }
                false
            }
        };
        if stable {
            return Ok(Made::Done);
        }
        if last {
            let path = shown(&joined(&folder.opened.path, found.name));
            self.done.unstable.lock().unwrap_or_else(PoisonError::into_inner).push(path);
            return Ok(Made::Unstable);
        }
        match node::unlink(&folder.place.dir, found.name) {
            Err(e) if !node::is_gone(&e) => Err(folder.failed("remove", found.name, e)),
            _ => Ok(Made::Changed),
        }
    }

    /// Copies once; false if the file changed meanwhile.
    fn try_file(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        local: &mut Local,
    ) -> Result<bool, Trouble> {
        let (node, name) = (&found.node, found.name);
        let source =
            node::open_file(folder.layer(entry.layer)?, name).map_err(|e| Trouble::Source("open", e))?;
        let chown = (node.uid, node.gid) != self.owner;
        let mode = if local.exact_modes && !chown { node.mode } else { 0o600 };
        let target =
            node::create_file(&folder.place.dir, name, mode).map_err(|e| folder.failed("create", name, e))?;
        let flags = node::flags(&source);
        let in_place = flags.only(Flags::NOCOW);
        if !in_place.is_empty() {
            node::flag(&target, in_place);
        }
        if node.size > 0 {
            self.copy_content(folder, entry, found, (&source, &target), local)?;
        }
        if chown {
            node::own(&target, node.uid, node.gid)
                .map_err(|e| folder.failed("change the owner of", name, e))?;
        }
        if mode != node.mode || node.mode & 0o7000 != 0 {
            node::permit(&target, node.mode).map_err(|e| folder.failed("change the mode of", name, e))?;
        }
        let bearers = (Bearer::Open(source.as_fd()), Bearer::Open(target.as_fd()));
        let protected = self.copy_attributes(folder, name, bearers, &mut local.reader)?;
        node::date(&target, node.atime, node.mtime)
            .map_err(|e| folder.failed("set the times of", name, e))?;
        let flags = flags.with(protected);
        if !flags.is_empty() {
            self.flag(folder, found, &target, flags);
        }
        let after = node::look_at(&source).map_err(|e| Trouble::Source("examine", e))?;
        Ok(is_same(&after, node))
    }

    fn flag(&self, folder: &Folder<Self>, found: &Known<'_>, target: &OwnedFd, flags: Flags) {
        if found.node.links < 2 || flags.only(FORBIDDING).is_empty() {
            node::flag(target, flags);
        } else {
            let first = First {
                dir: Arc::clone(&folder.opened.path),
                name: found.name.to_owned(),
                thing: Thing::default(),
            };
            self.done.flags.lock().unwrap_or_else(PoisonError::into_inner).push((first, flags));
        }
    }

    fn copy_content(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        (source, target): (&OwnedFd, &OwnedFd),
        local: &mut Local,
    ) -> Result<(), Trouble> {
        let node = &found.node;
        let uncloneable = &self.uncloneable[usize::from(entry.layer)];
        if !uncloneable.load(Ordering::Relaxed) {
            match content::clone(source, target) {
                Cloned::Yes => {
                    self.done.moved.fetch_add(node.size, Ordering::Relaxed);
                    self.done.reflinked.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Cloned::No => (),
                Cloned::Never => uncloneable.store(true, Ordering::Relaxed),
            }
        }
        let mut on_chunk = |bytes| {
            self.done.moved.fetch_add(bytes, Ordering::Relaxed);
            if self.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let holes = node.size > 4096 || node.allocated < node.size;
        match content::copy(source, target, node.size, holes, &mut local.buffer, &mut on_chunk) {
            Ok(_) => Ok(()),
            Err(CopyError::Stopped) => Err(Trouble::Stopped),
            Err(CopyError::Read(e)) => Err(Trouble::Source("read", e)),
            Err(CopyError::Write(e)) => Err(folder.failed("write", found.name, e).into()),
        }
    }

    /// Copies the attributes that travel; returns the flags that one of them stands for.
    fn copy_attributes(
        &self,
        folder: &Folder<Self>,
        name: &CStr,
        (source, target): (Bearer<'_>, Bearer<'_>),
        reader: &mut Reader,
    ) -> Result<Flags, Trouble> {
        let read = |e| Trouble::Source("read the attributes of", e);
        let list = reader.list(source).map_err(read)?;
        if list.is_empty() {
            return Ok(Flags::default());
        }
        let list = list.to_vec();
        let mut flags = Flags::default();
        for attribute in attributes::names(&list) {
            match attributes::fate(attribute) {
                Fate::Travels => (),
                Fate::Stays | Fate::Opaque => continue,
                Fate::Refused => {
                    let path = shown(&joined(&folder.opened.path, name));
                    return Err(refused(&path, attribute).into());
                }
            }
            let Some(value) = reader.get(source, attribute).map_err(read)? else { continue };
            if attribute == PROTATTR {
                flags = flags.with(protected(value));
            }
            set(target, attribute, value).map_err(|e| folder.failed("set an attribute of", name, e))?;
        }
        Ok(flags)
    }

    /// Copies a symlink, device, pipe, socket or whiteout.
    fn copy_special(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        local: &mut Local,
    ) -> Result<Made> {
        let (dir, node, name) = (&folder.place.dir, &found.node, found.name);
        let from = folder.layer(entry.layer)?;
        let made = match node.kind {
            NodeKind::Symlink => node::copy_symlink(from, dir, name),
            _ => node::create_special(dir, name, node),
        };
        match made {
            Ok(()) => (),
            // Only reading the symlink says so.
            Err(e) if node::is_gone(&e) || e.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Made::Changed);
            }
            Err(e) => return Err(folder.failed("create", name, e)),
        }
        if found.whiteout {
            return Ok(Made::Done);
        }
        let chown = (node.uid, node.gid) != self.owner;
        if chown {
            node::own_name(dir, name, node.uid, node.gid)
                .map_err(|e| folder.failed("change the owner of", name, e))?;
        }
        if node.kind != NodeKind::Symlink && (chown || !local.exact_modes) {
            node::permit_name(dir, name, node.mode)
                .map_err(|e| folder.failed("change the mode of", name, e))?;
        }
        let bearers = (Bearer::Named(from.as_fd(), name), Bearer::Named(dir.as_fd(), name));
        match self.copy_attributes(folder, name, bearers, &mut local.reader) {
            Ok(_) => (),
            Err(Trouble::Source(_, e)) if node::is_gone(&e) => (),
            Err(Trouble::Source(verb, e)) => return Err(folder.failed(verb, name, e)),
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Stopped) => return Ok(Made::Done),
        }
        node::date_name(dir, name, node.atime, node.mtime)
            .map_err(|e| folder.failed("set the times of", name, e))?;
        Ok(Made::Done)
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
        self.remember(folder)?;
        let (opened, dir) = (&folder.opened, &folder.place.dir);
        let failed = |verb| move |e| Error::io(verb, shown(&opened.path), e);
        let node = &opened.node;
        if (node.uid, node.gid) != self.owner {
            node::own(dir, node.uid, node.gid).map_err(failed("change the owner of"))?;
        }
        node::permit(dir, node.mode).map_err(failed("change the mode of"))?;
        let bearer = Bearer::Open(dir.as_fd());
        let mut flags = opened.flags;
        for (name, value) in &opened.attributes {
            if name.as_c_str() == PROTATTR {
                flags = flags.with(protected(value));
            }
            set(bearer, name, value).map_err(failed("set an attribute of"))?;
        }
        let mark: &[u8] = match (opened.opaque, folder.marked.load(Ordering::Relaxed)) {
            (true, _) => b"y",
            (false, true) => b"x",
            (false, false) => b"",
        };
        if !mark.is_empty() {
            bearer.set(OPAQUE, mark).map_err(failed("set an attribute of"))?;
        }
        if folder.has_whiteouts.load(Ordering::Relaxed) {
            // Without it, overlayfs lists whiteouts by name wherever the base has no such directory.
            bearer.set(ORIGIN, b"").map_err(failed("set an attribute of"))?;
        }
        node::date(dir, node.atime, node.mtime).map_err(failed("set the times of"))?;
        if !flags.is_empty() {
            node::flag(dir, flags);
        }
        Ok(())
    }

    fn vanished(&self, path: &[u8]) {
        self.done.vanished.lock().unwrap_or_else(PoisonError::into_inner).push(path.into());
    }
}

/// Whether it is the same file, unchanged.
fn is_same(now: &Node, before: &Node) -> bool {
    (now.ino, now.dev, now.ctime) == (before.ino, before.dev, before.ctime)
}

/// Sets an attribute. What belongs to another kind of filesystem is left out.
fn set(target: Bearer<'_>, attribute: &CStr, value: &[u8]) -> io::Result<()> {
    match target.set(attribute, value) {
        Err(e) if xattr::is_unsupported(&e) && attribute.to_bytes().starts_with(b"btrfs.") => Ok(()),
        result => result,
    }
}

/// The flags that overlayfs keeps in an attribute: it shows them on the file, and does not set them below.
///
/// It reads the attribute from an upper only. A copy becomes a lower, and must bear the flags themselves.
fn protected(value: &[u8]) -> Flags {
    value.iter().fold(Flags::default(), |flags, letter| match letter {
        b'i' => flags.with(Flags::IMMUTABLE),
        b'a' => flags.with(Flags::APPEND),
        _ => flags,
    })
}

/// Waits until a change that comes now would show in the change time: file times step with the kernel's tick, or, in
/// inodes without room for more, with the second.
fn settle(ctime: Moment, stop: &AtomicBool) {
    loop {
        let now = content::file_clock();
        let recent = if ctime.nanoseconds == 0 { ctime.seconds == now.seconds } else { ctime >= now };
        // A time from the future will not be given again.
        if !recent || ctime.seconds > now.seconds + 1 || stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
