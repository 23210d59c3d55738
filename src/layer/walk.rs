//! The walk over the merged tree of a stack: which entries it has, and in which form. What is done with each, a
//! [`Maker`] decides.
//!
//! Directories are opened by their whole path from the top, in pieces where it is long: so nothing stays open for a
//! directory that waits its turn, however many do.

mod open;
mod path;
mod whiteout;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use self::path::by_directory;
pub(super) use self::path::{joined, shown};
use self::whiteout::Base;
use super::Stack;
use super::crew::Crew;
use super::merge::{Entry, Layers, Listing, MOST_LAYERS};
use crate::error::{Error, Kind, Result};
use crate::sys::node::{self, Node, NodeKind};

/// A file that changes while it is copied is copied again so often.
const AGAIN: u32 = 5;

/// Does something with each entry of a merged tree. Called by several threads at a time.
pub(super) trait Maker: Sync + Sized {
    /// What it keeps for each open directory.
    type Place: Send + Sync;
    /// What it keeps for each thread.
    type Local;

    /// Whether each empty file is looked at for being a whiteout, not only where directories are marked so.
    const THOROUGH: bool;

    /// A new thread's own things.
    fn local(&self) -> Self::Local;

    /// A directory was opened; its entries come next.
    fn enter(&self, opened: &Opened) -> Result<Self::Place>;

    /// An entry that is a directory; it will be entered later.
    fn directory(&self, folder: &Folder<Self>, name: &CStr) -> Result<()>;

    /// Any other entry. Unless it is the `last` attempt, an entry that changed meanwhile may be tried again.
    fn node(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Found<'_>,
        last: bool,
        local: &mut Self::Local,
    ) -> Result<Made>;

    /// All entries of a directory are made; those in its subdirectories may not be.
    fn leave(&self, folder: &Folder<Self>, local: &mut Self::Local) -> Result<()>;

    /// A directory that was announced is not there any more.
    fn vanished(&self, path: &[u8]);
}

/// How an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// For good.
    Done,
    /// For good, but not as it is now.
    Unstable,
    /// It changed meanwhile; nothing was made of it.
    Changed,
}

/// An entry that is no directory.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Its number in the folder.
    pub(super) number: usize,
    /// Its name.
    pub(super) name: &'a CStr,
    /// What it is.
    pub(super) node: Node,
    /// Whether it is a whiteout of either form.
    pub(super) whiteout: bool,
}

/// Work that waits.
pub(super) enum Task<M: Maker> {
    /// A directory to be opened.
    Enter(Waiting),
    /// A directory that is open, and has many entries.
    Help(Arc<Folder<M>>),
}

/// A directory that is not open yet.
#[derive(Debug)]
pub(super) struct Waiting {
    path: Box<[u8]>,
    merged: Layers,
    blocked: bool,
    base_shows: bool,
}

/// A directory as it was opened.
pub(super) struct Opened {
    /// From the top, without a slash in front.
    pub(super) path: Arc<[u8]>,
    /// What it is in the topmost layer that has it.
    pub(super) node: Node,
    /// Number of that layer.
    pub(super) layer: usize,
    /// The attributes of the topmost that travel.
    pub(super) attributes: Vec<(CString, Vec<u8>)>,
    /// Whether anything but the stack shows in it.
    pub(super) opaque: bool,
    /// Its flags.
    pub(super) flags: node::Flags,
    layers: [Option<OwnedFd>; MOST_LAYERS],
    /// Which layers mark it as one that contains whiteouts in the form of attributes.
    marked: Layers,
    base_shows: bool,
    excluded: Vec<Box<[u8]>>,
    /// How many names it has.
    pub(super) length: usize,
}

/// An open directory.
pub(super) struct Folder<M: Maker> {
    /// What it was when it was opened.
    pub(super) opened: Opened,
    /// Whether it needs the mark of one that contains whiteouts in the form of attributes.
    pub(super) marked: AtomicBool,
    /// Whether a whiteout in it stays.
    pub(super) has_whiteouts: AtomicBool,
    /// The maker's own.
    pub(super) place: M::Place,
    listing: Listing,
    base: OnceLock<Base>,
    next: AtomicUsize,
    done: AtomicUsize,
}

/// A walk over a stack.
pub(super) struct Walk<'a, M: Maker> {
    /// Who does it.
    pub(super) crew: Crew<Task<M>>,
    /// What is done with each entry.
    pub(super) maker: M,
    stack: &'a Stack,
    tops: Vec<OwnedFd>,
    base: Option<OwnedFd>,
    /// By directory, the names in it that are left out.
    excluded: HashMap<Vec<u8>, Vec<Box<[u8]>>>,
}

impl<M: Maker> Folder<M> {
    /// The directory of a layer that has it.
    pub(super) fn layer(&self, layer: u8) -> Result<&OwnedFd> {
        let open = self.opened.layers.get(usize::from(layer)).and_then(Option::as_ref);
        open.ok_or_else(|| Error::new(Kind::Failed, "a layer is not open"))
    }

    /// A failure with one of its entries.
    pub(super) fn failed(&self, verb: &str, name: &CStr, cause: std::io::Error) -> Error {
        Error::io(verb, shown(&joined(&self.opened.path, name)), cause)
    }

    /// The name of one of its entries.
    pub(super) fn name(&self, number: usize) -> &CStr {
        self.listing.name(self.listing.entry(number))
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) >= self.listing.len()
    }
}

impl<'a, M: Maker> Walk<'a, M> {
    /// Opens the tops of a stack.
    pub(super) fn new(stack: &'a Stack, exclude: &[PathBuf], crew: Crew<Task<M>>, maker: M) -> Result<Self> {
        if stack.layers.is_empty() || stack.layers.len() > MOST_LAYERS {
            return Err(Error::new(Kind::InvalidArgs, format!("cannot merge {} layers", stack.layers.len())));
        }
        let open = |path: &PathBuf| node::open_top(path).map_err(|e| Error::io("open", path, e));
        Ok(Walk {
            crew,
            maker,
            stack,
            tops: stack.layers.iter().map(open).collect::<Result<_>>()?,
            base: stack.base.as_ref().map(open).transpose()?,
            excluded: by_directory(exclude),
        })
    }

    /// The first work: the top.
    pub(super) fn top(&self) -> Task<M> {
        let merged = Layers::first(self.tops.len());
        Task::Enter(Waiting { path: Box::default(), merged, blocked: false, base_shows: true })
    }

    /// One piece of work, on any thread.
    pub(super) fn work(&self, task: Task<M>, local: &mut M::Local) -> Result<()> {
        match task {
            Task::Enter(waiting) => self.enter(waiting, local),
            Task::Help(folder) => self.entries(&folder, local),
        }
    }

    fn enter(&self, waiting: Waiting, local: &mut M::Local) -> Result<()> {
        let mut listing = Listing::default();
        let Some(mut opened) = self.open(&waiting, &mut listing)? else {
            self.maker.vanished(&waiting.path);
            return Ok(());
        };
        listing.settle();
        opened.length = listing.len();
        let place = self.maker.enter(&opened)?;
        let folder = Arc::new(Folder {
            marked: AtomicBool::new(opened.marked != Layers::default()),
            has_whiteouts: AtomicBool::new(false),
            opened,
            place,
            listing,
            base: OnceLock::new(),
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        });
        if folder.is_done() {
            return self.maker.leave(&folder, local);
        }
        /// A few entries are done sooner than another thread wakes up.
        const WORTH_HELP: usize = 12;
        if folder.listing.len() > WORTH_HELP {
            let much = folder.listing.len() > 16 * WORTH_HELP;
            self.crew.call_for_help(much, || Task::Help(Arc::clone(&folder)));
        }
        self.entries(&folder, local)
    }

    /// Entries of an open directory, as many as are left: several threads take a few in turn.
    fn entries(&self, folder: &Arc<Folder<M>>, local: &mut M::Local) -> Result<()> {
        let total = folder.listing.len();
        loop {
            let left = total.saturating_sub(folder.next.load(Ordering::Relaxed));
            let step = (left / (4 * self.crew.threads())).clamp(1, 64);
            let start = folder.next.fetch_add(step, Ordering::Relaxed).min(total);
            let end = (start + step).min(total);
            if start == end || self.crew.is_stopping() {
                return Ok(());
            }
            for number in start..end {
                self.entry(folder, number, local)?;
            }
            // All that other threads did is visible to the last.
            if folder.done.fetch_add(end - start, Ordering::AcqRel) + (end - start) == total {
                return self.maker.leave(folder, local);
            }
        }
    }

    fn entry(&self, folder: &Arc<Folder<M>>, number: usize, local: &mut M::Local) -> Result<()> {
        let entry = folder.listing.entry(number);
        let name = folder.listing.name(entry);
        if folder.opened.excluded.iter().any(|excluded| **excluded == *name.to_bytes()) {
            return Ok(());
        }
        if entry.kind == NodeKind::Directory {
            return self.directory(folder, entry, name);
        }
        for attempt in 0..=AGAIN {
            if self.crew.is_stopping() {
                return Ok(());
            }
            let node = match node::look(folder.layer(entry.layer)?, name) {
                Ok(node) => node,
                Err(e) if node::is_gone(&e) => return Ok(()),
                Err(e) => return Err(folder.failed("examine", name, e)),
            };
            if node.kind == NodeKind::Directory {
                return self.directory(folder, entry, name);
            }
            let by_attribute = self.is_whiteout_by_attribute(folder, entry, name, &node)?;
            let whiteout = by_attribute || node.is_device_zero();
            if whiteout && !self.base_has(folder, name)? {
                return Ok(());
            }
            if whiteout {
                folder.has_whiteouts.store(true, Ordering::Relaxed);
            }
            if by_attribute {
                folder.marked.store(true, Ordering::Relaxed);
            }
            let found = Found { number, name, node, whiteout };
            if self.maker.node(folder, entry, &found, attempt == AGAIN, local)? != Made::Changed {
                return Ok(());
            }
        }
        Ok(())
    }

    fn directory(&self, folder: &Arc<Folder<M>>, entry: &Entry, name: &CStr) -> Result<()> {
        self.maker.directory(folder, name)?;
        self.crew.add([Task::Enter(Waiting {
            path: joined(&folder.opened.path, name).into(),
            merged: entry.merged,
            blocked: entry.blocked,
            base_shows: folder.opened.base_shows,
        })]);
        Ok(())
    }
}

/// The refusal of an attribute that makes a layer depend on another.
pub(super) fn refused(path: &Path, attribute: &CStr) -> Error {
    let attribute = attribute.to_string_lossy();
    Error::new(Kind::Refused, format!("cannot copy {}: it bears {attribute}", path.display()))
}
