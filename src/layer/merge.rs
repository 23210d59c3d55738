//! Which names a directory of several layers has, and where each comes from. Pure.
//!
//! The rules are overlayfs's own: the topmost layer that has a name decides. A directory is merged with the
//! directories of that name below it, down to the first thing that is none.

use std::cmp::Ordering;
use std::ffi::CStr;

use crate::sys::node::{Listed, NodeKind};

/// So many layers can be merged: one bit each.
pub(super) const MOST_LAYERS: usize = 8;

/// A set of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layers(u8);

impl Layers {
    /// The first `count`.
    pub(super) fn first(count: usize) -> Layers {
        (0..count).fold(Layers::default(), Layers::and)
    }

    /// These and one more.
    pub(super) fn and(self, layer: usize) -> Layers {
        Layers(self.0 | 1 << layer)
    }

    /// Topmost first.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..MOST_LAYERS).filter(move |layer| self.0 & 1 << layer != 0)
    }
}

/// One name of a merged directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    start: usize,
    length: u16,
    /// The layer that decides, 0 is the topmost.
    pub(super) layer: u8,
    /// What it is there, as listed.
    pub(super) kind: NodeKind,
    /// Its inode there.
    pub(super) ino: u64,
    /// If it is a directory: the layers that are merged to it, its own among them.
    pub(super) merged: Layers,
    /// If it is a directory: whether something below ends the merging, so that the base does not show through.
    pub(super) blocked: bool,
}

/// The names of one directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
}

impl Listing {
    /// Adds what one layer lists. Layers come topmost first.
    pub(super) fn add(&mut self, layer: usize, listed: &Listed<'_>) {
        let bytes = listed.name.to_bytes_with_nul();
        let entry = Entry {
            start: self.names.len(),
            length: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
            layer: layer as u8,
            kind: listed.kind,
            ino: listed.ino,
            merged: Layers::default().and(layer),
            blocked: false,
        };
        self.names.extend_from_slice(bytes);
        self.entries.push(entry);
    }

    /// Decides for each name, and brings the entries into the order of their inodes.
    ///
    /// Inode order is the order on disk for ext4 and XFS; hash order, in which ext4 lists, jumps.
    pub(super) fn settle(&mut self) {
        let names = std::mem::take(&mut self.names);
        let bytes = |entry: &Entry| &names[entry.start..entry.start + usize::from(entry.length)];
        if self.entries.iter().any(|entry| entry.layer != self.entries[0].layer) {
            self.entries.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)).then(a.layer.cmp(&b.layer)));
            self.entries = decide(&self.entries, |a, b| bytes(a) == bytes(b));
        }
        self.entries.sort_unstable_by(|a, b| by_inode(a, b).then_with(|| bytes(a).cmp(bytes(b))));
        self.names = names;
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// One of them.
    pub(super) fn entry(&self, number: usize) -> &Entry {
        &self.entries[number]
    }

    /// Its name.
    pub(super) fn name(&self, entry: &Entry) -> &CStr {
        let bytes = &self.names[entry.start..entry.start + usize::from(entry.length)];
        // Every name was taken from a CStr.
        CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
    }
}

fn by_inode(a: &Entry, b: &Entry) -> Ordering {
    (a.layer, a.ino).cmp(&(b.layer, b.ino))
}

/// One entry for each name, from entries sorted by name and layer.
fn decide(sorted: &[Entry], same: impl Fn(&Entry, &Entry) -> bool) -> Vec<Entry> {
    let groups = sorted.chunk_by(|a, b| same(a, b));
    groups.map(|group| join(group[0], &group[1..])).collect()
}

fn join(mut top: Entry, below: &[Entry]) -> Entry {
    if top.kind == NodeKind::Directory {
        for entry in below {
            if entry.kind != NodeKind::Directory {
                top.blocked = true;
                break;
            }
            top.merged = top.merged.and(entry.layer.into());
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(layers: &[&[(&CStr, NodeKind)]]) -> Listing {
        let mut listing = Listing::default();
        for (layer, names) in layers.iter().enumerate() {
            for (number, &(name, kind)) in names.iter().enumerate() {
                listing.add(layer, &Listed { ino: 100 - number as u64, kind, name });
            }
        }
        listing.settle();
        listing
    }

    fn find<'a>(listing: &'a Listing, name: &CStr) -> &'a Entry {
        let all = || (0..listing.len()).map(|n| listing.entry(n)).filter(|e| listing.name(e) == name);
        assert_eq!(all().count(), 1, "{name:?}");
        all().next().unwrap()
    }

    use NodeKind::{CharDevice, Directory, File};

    #[test]
    fn the_topmost_decides() {
        let listing =
            listing(&[&[(c"a", File), (c"b", CharDevice)], &[(c"a", Directory), (c"b", File), (c"c", File)]]);
        assert_eq!(find(&listing, c"a").layer, 0);
        assert_eq!(find(&listing, c"a").kind, File);
        assert_eq!(find(&listing, c"b").layer, 0);
        assert_eq!(find(&listing, c"c").layer, 1);
        assert_eq!(listing.len(), 3);
    }

    #[test]
    fn directories_are_merged_down_to_what_is_none() {
        let dir: &[(&CStr, NodeKind)] = &[(c"d", Directory)];
        let all = listing(&[dir, dir, dir]);
        assert_eq!(find(&all, c"d").merged, Layers::first(3));
        assert!(!find(&all, c"d").blocked);
        for stop in [File, CharDevice, NodeKind::Symlink] {
            let stopped = listing(&[dir, &[(c"d", stop)], dir]);
            assert_eq!(find(&stopped, c"d").merged, Layers::first(1));
            assert!(find(&stopped, c"d").blocked, "{stop:?}");
        }
    }

    #[test]
    fn a_missing_layer_does_not_stop_merging() {
        let dir: &[(&CStr, NodeKind)] = &[(c"d", Directory)];
        let listing = listing(&[dir, &[(c"e", File)], dir]);
        assert_eq!(find(&listing, c"d").merged, Layers::default().and(0).and(2));
        assert!(!find(&listing, c"d").blocked);
    }

    #[test]
    fn entries_come_in_the_order_of_inodes() {
        let listing = listing(&[&[(c"x", File), (c"a", File), (c"m", File)]]);
        let names: Vec<_> = (0..3).map(|n| listing.name(listing.entry(n)).to_owned()).collect();
        assert_eq!(names, [c"m".to_owned(), c"a".to_owned(), c"x".to_owned()]);
    }
}
