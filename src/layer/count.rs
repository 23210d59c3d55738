//! Counting what a copy will take, without making it.

use std::collections::HashSet;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Estimate;
use super::index::{Memory, Remembered, Thing};
use super::links::{self, Key};
use super::merge::{Entry, MOST_LAYERS};
use super::walk::{Folder, Found, Made, Maker, Opened};
use crate::error::Result;
use crate::sys::node::NodeKind;

/// Counts entries.
#[derive(Default)]
pub(super) struct Counter<'a> {
    /// The last snapshot, if its files will be hard-linked.
    pub(super) memory: Option<&'a Memory>,
    /// By layer: whether its files will be hard-linked, or share their blocks.
    pub(super) linked: [bool; MOST_LAYERS],
    pub(super) cloned: [bool; MOST_LAYERS],
    entries: AtomicU64,
    bytes: AtomicU64,
    new_inodes: AtomicU64,
    new_bytes: AtomicU64,
    /// Files with several names that were counted.
    seen: Mutex<HashSet<Key>>,
}

impl<'a> Counter<'a> {
    /// Nothing counted yet.
    pub(super) fn new(memory: Option<&'a Memory>) -> Self {
        Counter { memory, ..Counter::default() }
    }

    /// What was counted.
    pub(super) fn estimate(&self) -> Estimate {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Estimate {
            entries: get(&self.entries),
            bytes: get(&self.bytes),
            new_inodes: get(&self.new_inodes),
            new_bytes: get(&self.new_bytes),
        }
    }

    fn is_first(&self, entry: &Entry, found: &Found<'_>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(links::key(entry.layer, &found.node))
    }
}

impl<'a> Maker for Counter<'a> {
    type Place = Option<Remembered<'a>>;
    type Local = ();
    const THOROUGH: bool = false;

    fn local(&self) {}

    fn enter(&self, opened: &Opened) -> Result<Self::Place> {
        self.new_inodes.fetch_add(1, Ordering::Relaxed);
        self.new_bytes.fetch_add(opened.node.allocated, Ordering::Relaxed);
        Ok(self.memory.and_then(|memory| memory.index.directory(&opened.path)))
    }

    fn directory(&self, _folder: &Folder<Self>, _name: &CStr) -> Result<()> {
        self.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn node(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Found<'_>,
        _last: bool,
        _local: &mut (),
    ) -> Result<Made> {
        let node = &found.node;
        self.entries.fetch_add(1, Ordering::Relaxed);
        if node.links > 1 && !self.is_first(entry, found) {
            return Ok(Made::Done);
        }
        let is_file = node.kind == NodeKind::File;
        if is_file {
            self.bytes.fetch_add(node.size, Ordering::Relaxed);
        }
        let layer = usize::from(entry.layer);
        let thing = Thing::of(layer, node);
        let same = || folder.place.as_ref().is_some_and(|old| old.has(found.name.to_bytes(), &thing));
        if !self.linked[layer] && !same() {
            self.new_inodes.fetch_add(1, Ordering::Relaxed);
            if !is_file || !self.cloned[layer] {
                self.new_bytes.fetch_add(node.allocated, Ordering::Relaxed);
            }
        }
        Ok(Made::Done)
    }

    fn leave(&self, _folder: &Folder<Self>, _local: &mut ()) -> Result<()> {
        Ok(())
    }

    fn vanished(&self, _path: &[u8]) {}
}
