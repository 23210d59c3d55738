//! The walk over two stacks at once, in the order of paths as bytes: what lies in a directory comes where its path with a
//! slash comes, which is behind `a.b` and `a-b` if it is `a`.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use super::compare::{At, Compared, Comparer};
use super::filter::{Filter, Wanted};
use super::merged::{self, Place, Shown};
use super::{Change, Layer, Listener, Seen};
use crate::error::{Error, Kind, Result};
use crate::layer::walk::joined;
use crate::sys::node::{self, NodeKind};
use crate::sys::xattr::Reader;

/// What vanishes while it is compared is looked at again so often.
const AGAIN: u32 = 3;
/// So often, in names, it is asked whether to go on.
const ASK_EVERY: u64 = 64;
/// Directories on the way that stay open; those above are opened again when the walk comes back to them.
const OPEN_MAX: usize = 32;

/// Layers of both sides that may have a directory at a path.
struct Descent {
    from: Vec<Arc<Layer>>,
    to: Vec<Arc<Layer>>,
}

/// A directory of both sides.
struct Open {
    from: Vec<Place>,
    to: Vec<Place>,
}

/// A directory on the way to where the walk is.
struct Folder {
    path: Vec<u8>,
    descent: Descent,
    open: Option<Open>,
    names: Peekable<IntoIter<CString>>,
    /// Directories in it that are still to be entered, by their name with a slash.
    below: BTreeMap<Vec<u8>, (CString, Descent)>,
}

enum Next {
    Name(CString),
    Enter(CString, Descent),
}

impl Folder {
    /// What comes next in the order of paths.
    fn next(&mut self) -> Option<Next> {
        let name = self.names.peek().map(|name| name.to_bytes());
        let enters = match (self.below.first_key_value(), name) {
            (Some((below, _)), Some(name)) => below.as_slice() < name,
            (below, _) => below.is_some(),
        };
        match enters {
            true => self.below.pop_first().map(|(_, (name, descent))| Next::Enter(name, descent)),
            false => self.names.next().map(Next::Name),
        }
    }
}

/// One walk.
pub(super) struct Walk<'w> {
    tops: Descent,
    filter: Filter,
    listener: &'w mut dyn Listener,
    comparer: Comparer,
    seen: u64,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        from: &[Arc<Layer>],
        to: &[Arc<Layer>],
        filter: Filter,
        listener: &'w mut dyn Listener,
    ) -> Self {
        let tops = Descent { from: from.to_vec(), to: to.to_vec() };
        Walk { tops, filter, listener, comparer: Comparer::default(), seen: 0 }
    }

    pub(super) fn run(mut self) -> Result<()> {
        let tops = Descent { from: self.tops.from.clone(), to: self.tops.to.clone() };
        let Some(top) = self.enter(Vec::new(), tops)? else { return Ok(()) };
        let open = top.open.as_ref();
        if let Some(open) = open.filter(|_| self.filter.covers(b"")) {
            // A directory's own name in it leads to itself.
            self.name(open, b"", c".")?;
        }
        let mut folders = vec![top];
        while let Some(folder) = folders.last_mut() {
            match folder.next() {
                None => drop(folders.pop()),
                Some(Next::Name(name)) => self.look(folder, name)?,
                Some(Next::Enter(name, descent)) => {
                    let path = joined(&folder.path, &name);
                    if let Some(below) = self.enter(path, descent)? {
                        folders.push(below);
                        if let Some(above) = folders.len().checked_sub(OPEN_MAX + 1) {
                            folders[above].open = None;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens a directory of both sides. None: below it they are the same.
    fn enter(&mut self, path: Vec<u8>, descent: Descent) -> Result<Option<Folder>> {
        let open = open(&descent, &path, &mut self.comparer.reader)?;
        let common = merged::common(&open.from, &open.to);
        let names = match self.filter.below(&path) {
            Wanted::Names(names) => names,
            Wanted::All => {
                let own = |places: &'_ [Place]| places.len() - common;
                let (from, to) = (&open.from[..own(&open.from)], &open.to[..own(&open.to)]);
                names(from.iter().chain(to), &path)?
            }
        };
        if names.is_empty() && !path.is_empty() {
            return Ok(None);
        }
        let names = names.into_iter().peekable();
        Ok(Some(Folder { path, descent, open: Some(open), names, below: BTreeMap::new() }))
    }

    /// Looks at one name of a directory.
    fn look(&mut self, folder: &mut Folder, name: CString) -> Result<()> {
        self.seen += 1;
        if self.seen.is_multiple_of(ASK_EVERY) && self.listener.go_on().is_break() {
            return Err(stopped());
        }
        let open = match folder.open.take() {
            Some(open) => open,
            None => open(&folder.descent, &folder.path, &mut self.comparer.reader)?,
        };
        let below = self.name(&open, &folder.path, &name)?;
        folder.open = Some(open);
        if let Some(descent) = below {
            folder.below.insert([name.to_bytes(), b"/"].concat(), (name, descent));
        }
        Ok(())
    }

    /// Tells in what a name differs, and what is below it that may.
    fn name(&mut self, open: &Open, dir: &[u8], name: &CStr) -> Result<Option<Descent>> {
        let path = if name == c"." { dir.to_vec() } else { joined(dir, name) };
        for _ in 0..AGAIN {
            let from = merged::resolve(&open.from, dir, name, &mut self.comparer.reader)?;
            let to = merged::resolve(&open.to, dir, name, &mut self.comparer.reader)?;
            let sides = [(&from, &open.from), (&to, &open.to)].map(|(shown, places)| {
                let at = |shown: &'_ Shown| (&places[shown.at], shown.node);
                shown.as_ref().map(at).map(|(place, node)| At { place, path: &path, name, node })
            });
            if self.filter.covers(&path) && !self.tell(sides, &path)? {
                continue;
            }
            return Ok(descent(from, to));
        }
        Ok(None)
    }

    /// Tells in what an entry differs; false: it vanished meanwhile.
    fn tell(&mut self, sides: [Option<At<'_>>; 2], path: &[u8]) -> Result<bool> {
        let (mut aspects, mut attributes) = (Vec::new(), Vec::new());
        match sides {
            [None, None] => return Ok(true),
            [Some(from), Some(to)] if from.node.kind == to.node.kind => {
                let listener = &mut *self.listener;
                match self.comparer.compare(from, to, &mut || listener.go_on())? {
                    Compared::Stopped => return Err(stopped()),
                    Compared::Vanished => return Ok(false),
                    Compared::Known(known, _) if known.is_empty() => return Ok(true),
                    Compared::Known(known, names) => (aspects, attributes) = (known, names),
                }
            }
            sides => sides.into_iter().flatten().try_for_each(|at| self.comparer.check(at))?,
        }
        let [from, to] = sides.map(|side| side.map(seen).transpose());
        let (Ok(from), Ok(to)) = (from, to) else { return Ok(false) };
        self.listener.change(&Change { path: path.to_vec(), from, to, aspects, attributes })?;
        Ok(true)
    }
}

/// What a side has; an error only if it vanished.
fn seen(at: At<'_>) -> Result<Seen, ()> {
    let target = match at.node.kind {
        NodeKind::Symlink => Some(node::read_link(&at.place.dir, at.name).map_err(drop)?),
        _ => None,
    };
    Ok(Seen { node: at.node, target })
}

/// What is to be entered; none if there is no directory, or only what is the same on both sides.
fn descent(from: Option<Shown>, to: Option<Shown>) -> Option<Descent> {
    let [from, to] = [from, to].map(|shown| shown.map(|shown| shown.layers).unwrap_or_default());
    let is_same = from.len() == to.len() && from.iter().zip(&to).all(|(a, b)| a.id == b.id);
    (!is_same).then_some(Descent { from, to })
}

fn open(descent: &Descent, path: &[u8], reader: &mut Reader) -> Result<Open> {
    Ok(Open {
        from: merged::open(&descent.from, path, reader)?,
        to: merged::open(&descent.to, path, reader)?,
    })
}

/// The names that some directories list, each once, sorted.
fn names<'p>(places: impl Iterator<Item = &'p Place>, path: &[u8]) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for place in places {
        match node::list(&place.dir, |listed| names.push(listed.name.to_owned())) {
            Err(e) if !node::is_gone(&e) => return Err(place.failed("list", path, e)),
            _ => {}
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn stopped() -> Error {
    Error::new(Kind::Canceled, "canceled")
}
