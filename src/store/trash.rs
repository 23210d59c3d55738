//! Deleting trees that were renamed into `trash/`: fd-relative, of any depth, resumable, never across a mount.

use std::ops::ControlFlow;
use std::path::Path;

use crate::error::Result;
use crate::store::{Layout, read};
use crate::sys::{btrfs, tree};

/// How far a deletion is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Trees gone as a whole.
    pub trees: u64,
    /// Entries removed so far.
    pub entries: u64,
}

/// Called now and then during a deletion; `Break` stops it.
pub type OnProgress<'a> = dyn FnMut(Deleted) -> ControlFlow<()> + 'a;

/// Deletes every tree in every overlay's trash. Stopped by `on_progress`, it returns what it did.
///
/// Needs no lock: what is in `trash/` belongs to nobody any more.
pub fn empty(layout: &Layout, on_progress: &mut OnProgress<'_>) -> Result<Deleted> {
    let mut deleted = Deleted::default();
    for name in read::overlay_names(layout)? {
        let trash = layout.trash(&name);
        for entry in read::trash_entries(layout, &name)? {
            let before = deleted.entries;
            let mut report = |entries: u64| on_progress(Deleted { entries: before + entries, ..deleted });
            match remove(&trash.join(entry), &mut report)? {
                tree::Removed::All(entries) => {
                    deleted.entries += entries;
                    deleted.trees += 1;
                }
                tree::Removed::Stopped(entries) => {
                    deleted.entries += entries;
                    return Ok(deleted);
                }
            }
        }
    }
    Ok(deleted)
}

/// Removes one tree of the store, which need not exist: a subvolume as a whole, anything else entry by entry.
pub fn remove(path: &Path, on_progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<tree::Removed> {
    match btrfs::destroy(path)? {
        true => Ok(tree::Removed::All(1)),
        false => tree::remove(path, on_progress),
    }
}
