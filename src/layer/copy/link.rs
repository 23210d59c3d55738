//! Making an entry as a hard link: to a layer's file, to the last snapshot's, to the first name of its own file.
//! Whether an attempt ends in a copy is decided by the caller.

use std::ffi::CStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::{Copier, Known, Local};
use crate::error::Result;
use crate::layer::attributes::{self, Fate};
use crate::layer::links::First;
use crate::layer::merge::Entry;
use crate::layer::walk::{Folder, Found};
use crate::sys::xattr::Bearer;
use crate::sys::{content, node};

/// A file with more names than this is not given another: ext4 ends at 65,000, and a whole group must still fit.
const MANY_LINKS: u32 = 32_000;

impl Copier<'_> {
    /// Takes over the file of a layer that never changes, if it bears nothing that must stay behind.
    pub(super) fn link_from_layer(
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
    pub(super) fn link_from_memory(&self, folder: &Folder<Self>, found: &Known<'_>) -> Result<bool> {
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
    pub(super) fn is_copy(&self, folder: &Folder<Self>, found: &Found<'_>, local: &mut Local) -> bool {
        let (Ok(dir), Some(last)) = (folder.layer(0), &folder.place.last) else { return false };
        let files =
            node::open_file(dir, found.name).and_then(|one| Ok((one, node::open_file(last, found.name)?)));
        let mut on_chunk =
            || if self.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        files.is_ok_and(|(one, other)| {
            content::same(one, other, found.node.size, &mut local.buffer, &mut on_chunk).unwrap_or(false)
        })
    }

    /// Gives the file another name; false if it can have no more.
    pub(super) fn link_to_first(&self, folder: &Folder<Self>, first: &First, name: &CStr) -> Result<bool> {
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
}
