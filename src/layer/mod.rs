//! The overlayfs on-disk format as a tree of files: walking, copying and merging layers. Data only: who may, where to
//! and what for is decided in `operation`.

mod attributes;
#[cfg(feature = "host")]
mod build;
#[cfg(feature = "host")]
mod copy;
#[cfg(feature = "host")]
mod count;
#[cfg(feature = "host")]
mod crew;
#[cfg(feature = "host")]
pub mod diff;
#[cfg(feature = "host")]
pub mod index;
#[cfg(feature = "host")]
mod links;
#[cfg(feature = "host")]
pub mod marks;
#[cfg(feature = "host")]
mod merge;
#[cfg(feature = "host")]
mod walk;

use std::ops::ControlFlow;
use std::path::PathBuf;

/// For the fuzz targets alone: how attributes are taken apart.
#[cfg(fuzzing)]
pub mod fuzzed {
    use std::ffi::CStr;

    use super::attributes::{self, Fate};

    /// The names in a list as the kernel gives it.
    pub fn names(list: &[u8]) -> Vec<&CStr> {
        attributes::names(list).collect()
    }

    /// Whether an attribute of this name makes a layer depend on another.
    pub fn is_refused(name: &CStr) -> bool {
        attributes::fate(name) == Fate::Refused
    }

    /// Whether it is copied.
    pub fn travels(name: &CStr) -> bool {
        attributes::fate(name) == Fate::Travels
    }
}

pub(crate) use attributes::{Fate, OPAQUE, PROTATTR, WHITEOUT, fate, names};
#[cfg(feature = "host")]
pub use build::{build, estimate};

/// Layers in upper format, topmost first, and what lies below them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Topmost first: the upper, and the snapshot it stands on.
    pub layers: Vec<PathBuf>,
    /// The base, where it is at hand: a whiteout over nothing is then left out.
    pub base: Option<PathBuf>,
}

/// What a copy will take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Names, below the top, that will be made.
    pub entries: u64,
    /// Bytes in regular files, hard links counted once.
    pub bytes: u64,
    /// Inodes that will be taken: without what is hard-linked to the last snapshot.
    pub new_inodes: u64,
    /// Bytes that will be taken: allocated, and without what is hard-linked or reflinked.
    pub new_bytes: u64,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries done.
    pub entries: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Entries in all.
    pub total_entries: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Called some times a second, by the calling thread; `Break` stops the work within a second.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// The last snapshot, whose files are taken over where they are unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its files.
    pub files: PathBuf,
    /// Its index.
    pub index: PathBuf,
}

/// How to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What unchanged files are hard-linked to.
    pub previous: Option<Previous>,
    /// Where to write the index of the new tree; none writes none.
    pub index: Option<PathBuf>,
    /// Names the topmost layer over time: an index counts only for the same one (`generation-3`, `volatile-<boot id>`).
    pub source: String,
    /// Paths, relative to the top, that are left out with all that is below them.
    pub exclude: Vec<PathBuf>,
    /// What `estimate` said, for the totals of the progress.
    pub estimate: Estimate,
}

/// What was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Names below the top.
    pub entries: u64,
    /// Bytes in regular files, hard links counted once.
    pub bytes: u64,
    /// Files that were hard-linked to the last snapshot.
    pub reused: u64,
    /// Whether any file was reflinked.
    pub reflinked: bool,
    /// Whether the tree differs from the last snapshot's in anything.
    pub changed: bool,
    /// Files that changed each time they were copied, relative to the top.
    pub unstable: Vec<PathBuf>,
}
