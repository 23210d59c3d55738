//! The walk over the merged tree of a stack: which entries it has, and in which form. What is done with each, a
//! [`Maker`] decides.
//!
//! Directories are opened by their whole path from the top, in pieces where it is long: so nothing stays open for a
//! directory that waits its turn, however many do.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::Stack;
use super::attributes::{self, Fate, WHITEOUT};
use super::crew::Crew;
use super::merge::{Entry, Layers, Listing, MOST_LAYERS};
use crate::error::{Error, Kind, Result};
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

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

/// The base's directory of the same path.
enum Base {
    Missing,
    Unknown,
    Open(OwnedFd),
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

    /// Opens a directory in all its layers. None if it is not there any more.
    fn open(&self, waiting: &Waiting, listing: &mut Listing) -> Result<Option<Opened>> {
        let mut opened: Option<Opened> = None;
        let mut reader = Reader::default();
        for layer in waiting.merged.iter() {
            let at = || self.stack.layers[layer].join(shown(&waiting.path));
            let dir = match node::open_below(&self.tops[layer], &waiting.path) {
                Ok(dir) => dir,
                Err(e) if node::is_gone(&e) => match opened {
                    Some(_) => continue,
                    None => return Ok(None),
                },
                Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {
                    let text = format!("cannot copy {}: something is mounted there", at().display());
                    return Err(Error::new(Kind::Refused, text));
                }
                Err(e) => return Err(Error::io("open", at(), e)),
            };
            // First, so that whatever changes from now on shows in its times.
            let node = node::look_at(&dir).map_err(|e| Error::io("examine", at(), e))?;
            let (attributes, value) = self.attributes(&dir, &waiting.path, &mut reader)?;
            let opaque = value.as_slice() == b"y";
            let mut failure = None;
            let each = |listed: node::Listed<'_>| {
                let kind = match listed.kind {
                    NodeKind::Unknown => node::look(&dir, listed.name).map(|node| node.kind),
                    kind => Ok(kind),
                };
                match kind {
                    Ok(kind) => listing.add(layer, &node::Listed { kind, ..listed }),
                    Err(e) if node::is_gone(&e) => (),
                    Err(e) => failure = Some(e),
                }
            };
            match node::list(&dir, each) {
                Ok(()) => (),
                // It was removed after it was opened.
                Err(e) if node::is_gone(&e) => return Ok(None),
                Err(e) => return Err(Error::io("list", at(), e)),
            }
            if let Some(e) = failure {
                return Err(Error::io("examine", at(), e));
            }
            let opened = match &mut opened {
                Some(opened) => opened,
                None => opened.insert(self.topmost(waiting, (layer, node), &dir, attributes)),
            };
            if value.as_slice() == b"x" {
                opened.marked = opened.marked.and(layer);
            }
            opened.layers[layer] = Some(dir);
            if opaque {
                opened.opaque = true;
                break;
            }
        }
        Ok(opened.map(|opened| Opened { base_shows: opened.base_shows && !opened.opaque, ..opened }))
    }

    fn topmost(
        &self,
        waiting: &Waiting,
        (layer, node): (usize, Node),
        dir: &OwnedFd,
        attributes: Vec<(CString, Vec<u8>)>,
    ) -> Opened {
        Opened {
            path: waiting.path.clone().into(),
            node,
            layer,
            attributes,
            opaque: waiting.blocked,
            flags: node::flags(dir),
            layers: Default::default(),
            marked: Layers::default(),
            base_shows: waiting.base_shows,
            excluded: self.excluded.get(&*waiting.path).cloned().unwrap_or_default(),
            length: 0,
        }
    }

    /// A directory's attributes that travel, and the value of its opaque mark.
    #[expect(clippy::type_complexity, reason = "a list and a value")]
    fn attributes(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        reader: &mut Reader,
    ) -> Result<(Vec<(CString, Vec<u8>)>, Vec<u8>)> {
        let failed = |e| Error::io("read the attributes of", shown(path), e);
        let bearer = Bearer::Open(std::os::fd::AsFd::as_fd(dir));
        let list = reader.list(bearer).map_err(failed)?.to_vec();
        let (mut all, mut opaque) = (Vec::new(), Vec::new());
        for name in attributes::names(&list) {
            let fate = attributes::fate(name);
            match fate {
                Fate::Stays => continue,
                Fate::Refused => return Err(refused(&shown(path), name)),
                Fate::Travels | Fate::Opaque => (),
            }
            let Some(value) = reader.get(bearer, name).map_err(failed)? else { continue };
            if fate == Fate::Opaque {
                opaque = value.to_vec();
            } else {
                all.push((name.to_owned(), value.to_vec()));
            }
        }
        Ok((all, opaque))
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

    fn is_whiteout_by_attribute(
        &self,
        folder: &Folder<M>,
        entry: &Entry,
        name: &CStr,
        node: &Node,
    ) -> Result<bool> {
        let suspect = M::THOROUGH || folder.opened.marked != Layers::default();
        if node.kind != NodeKind::File || node.size > 0 || !suspect {
            return Ok(false);
        }
        let dir = std::os::fd::AsFd::as_fd(folder.layer(entry.layer)?);
        match Reader::default().get(Bearer::Named(dir, name), WHITEOUT) {
            Ok(value) => Ok(value.is_some()),
            Err(e) if node::is_gone(&e) => Ok(false),
            Err(e) => Err(folder.failed("read the attributes of", name, e)),
        }
    }

    /// Whether a whiteout in this directory hides anything.
    fn base_has(&self, folder: &Folder<M>, name: &CStr) -> Result<bool> {
        if !folder.opened.base_shows {
            return Ok(false);
        }
        let Some(top) = &self.base else { return Ok(true) };
        let path = &folder.opened.path;
        let base = folder.base.get_or_init(|| match node::open_below(top, path) {
            Ok(dir) => Base::Open(dir),
            Err(e) if node::is_gone(&e) => Base::Missing,
            // A mount of the running system lies over it, or it can not be read: the whiteout is kept.
            Err(_) => Base::Unknown,
        });
        match base {
            Base::Missing => Ok(false),
            Base::Unknown => Ok(true),
            Base::Open(dir) => match node::look(dir, name) {
                Ok(_) => Ok(true),
                Err(e) if node::is_gone(&e) => Ok(false),
                Err(e) => Err(folder.failed("look in the base for", name, e)),
            },
        }
    }
}

/// The refusal of an attribute that makes a layer depend on another.
pub(super) fn refused(path: &Path, attribute: &CStr) -> Error {
    let attribute = attribute.to_string_lossy();
    Error::new(Kind::Refused, format!("cannot copy {}: it bears {attribute}", path.display()))
}

/// The path of a name in a directory.
pub(super) fn joined(dir: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.count_bytes());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

/// A path for people; the top is `.`.
pub(super) fn shown(path: &[u8]) -> PathBuf {
    if path.is_empty() { PathBuf::from(".") } else { PathBuf::from(OsStr::from_bytes(path)) }
}

/// What is left out, by the directory that it is in.
fn by_directory(exclude: &[PathBuf]) -> HashMap<Vec<u8>, Vec<Box<[u8]>>> {
    let mut all: HashMap<Vec<u8>, Vec<Box<[u8]>>> = HashMap::new();
    for path in exclude {
        let names: Vec<&[u8]> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            })
            .collect();
        if let Some((last, dirs)) = names.split_last() {
            all.entry(dirs.join(&b'/')).or_default().push((*last).into());
        }
    }
    all
}
