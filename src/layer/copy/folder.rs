//! Completing directories: their index, their marks, attributes and times; and at the very end what had to wait.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::Copier;
use super::dress::{protected, set};
use crate::error::{Error, Result};
use crate::layer::attributes::{OPAQUE, ORIGIN, PROTATTR};
use crate::layer::index::Thing;
use crate::layer::walk::{Folder, joined, shown};
use crate::sys::node::{self, Flags};
use crate::sys::xattr::Bearer;

/// These keep a file from being linked or a directory from being written, so they come last.
pub(super) const FORBIDDING: Flags = Flags::IMMUTABLE.with(Flags::APPEND);

impl Copier<'_> {
    /// Gives a directory whose entries are made all that belongs to it.
    pub(super) fn complete(&self, folder: &Folder<Self>) -> Result<()> {
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

    /// What could only be done once everything is there.
    pub(in crate::layer) fn finish(&self) -> Result<()> {
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
}
