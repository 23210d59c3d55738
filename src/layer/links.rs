//! Hard links: the names of one file in a layer are the names of one file in the copy.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use super::index::Thing;
use crate::sys::node::{Moment, Node};

/// A file of a layer. The time it was made tells it from another that got the same number after it was deleted, and the
/// device from its copy in another subvolume of the layer, which has both from it.
pub(super) type Key = (u8, (u32, u32), u64, Moment);

/// Where in the copy a file got its first name.
#[derive(Clone, Debug)]
pub(super) struct First {
    pub(super) dir: Arc<[u8]>,
    pub(super) name: CString,
    /// What it was when it was copied.
    pub(super) thing: Thing,
}

/// One file's first name, once it has one. Who holds the lock gives it.
pub(super) type Group = Arc<Mutex<Option<First>>>;

/// What tells a file from all others.
pub(super) fn key(layer: u8, node: &Node) -> Key {
    (layer, node.dev, node.ino, node.btime)
}

/// All files that have several names.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<HashMap<Key, Group>>);

impl Groups {
    /// The group of a file.
    pub(super) fn of(&self, layer: u8, node: &Node) -> Group {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key(layer, node)).or_default())
    }
}
