//! What a restore would bring back that may be dangerous: setuid files, older passwords, revoked keys. It compares the
//! tree as it would be with the tree as it is, at the names where the two can differ. It reads and changes nothing.

mod sensitive;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Site;
use super::ground::{self, Seen};
use super::listing::LINES_MAX;
use super::live::{self, Live};
use crate::error::{Error, Result};
use crate::store::{Layout, OverlayView};
use crate::sys::node::{self, NodeKind};
use crate::sys::overlay::OPTIONS;
use crate::sys::view;
use sensitive::Views;

/// What would come back if the layers `after`, topmost first, stood on the base in place of what is live.
pub(super) fn find(
    site: &Site,
    state: &OverlayView,
    overlay: &str,
    after: &[PathBuf],
) -> Result<Vec<String>> {
    let live = live::find(site, state, overlay)?;
    let (Some(place), Some(base)) = (&live.mount_point, &live.base_dir) else {
        return Ok(vec![
            "the overlay is not mounted: which setuid files, passwords and keys come back can not be said"
                .to_owned(),
        ]);
    };
    let scratch = base.with_file_name("view");
    let layers: Vec<PathBuf> = after.iter().chain([base]).cloned().collect();
    let then = match after {
        [] => view::alone(base)?,
        _ => view::merged(&layers, OPTIONS, &scratch)?,
    };
    let mut search =
        Search { views: Views { now: view::alone(place)?, then }, seen: BTreeSet::new(), found: Vec::new() };
    for layer in after {
        search.layer(layer, Means::Brings)?;
    }
    for layer in live_layers(site, &live, overlay).iter().filter(|layer| !after.contains(layer)) {
        search.layer(layer, Means::Hides)?;
    }
    Ok(search.lines())
}

fn live_layers(site: &Site, live: &Live, overlay: &str) -> Vec<PathBuf> {
    live.stack(&Layout::new(&site.store), overlay).layers
}

/// What an entry of a layer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// It will be there.
    Brings,
    /// It will no longer hide what is below it.
    Hides,
}

struct Search {
    views: Views,
    seen: BTreeSet<Vec<u8>>,
    found: Vec<String>,
}

impl Search {
    /// Looks at each name of a layer.
    fn layer(&mut self, layer: &Path, means: Means) -> Result<()> {
        let top = node::open_top(layer).map_err(|e| Error::io("open", layer, e))?;
        let mut pending = vec![Vec::new()];
        while let Some(path) = pending.pop() {
            for (name, kind) in names(&top, &path).map_err(|e| Error::io("list", layer, e))? {
                let inside = joined(&path, &name);
                let uncovers = means == Means::Hides
                    && Self::ends(&top, &path, &name, kind)
                        .map_err(|e| Error::io("look at", shown(&inside), e))?;
                if uncovers {
                    self.tree(inside.clone())?;
                }
                match kind {
                    NodeKind::Directory => pending.push(inside),
                    // Most files are no matter of trust, and a look at the layer is cheaper than at two views.
                    _ if means == Means::Brings && !sensitive::may_matter(&top, &inside) => {}
                    _ if !uncovers => self.check(&inside)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether an entry of a layer hides a whole tree.
    fn ends(top: &OwnedFd, path: &[u8], name: &CStr, kind: NodeKind) -> io::Result<bool> {
        match kind {
            NodeKind::Directory => {
                let dir = node::open_below(top, path)?;
                Ok(ground::see_in(&dir, name)? == Seen::Directory { opaque: true })
            }
            _ => Ok(true),
        }
    }

    /// Looks at all that will be at and below a path.
    fn tree(&mut self, path: Vec<u8>) -> Result<()> {
        let mut pending = vec![path];
        while let Some(path) = pending.pop() {
            match self.views.look_then(&path) {
                Some(found) if found.kind == NodeKind::Directory => {
                    let listed = names(&self.views.then, &path);
                    let listed = listed.map_err(|e| Error::io("list", shown(&path), e))?;
                    pending.extend(listed.into_iter().map(|(name, _)| joined(&path, &name)));
                }
                Some(_) => self.check(&path)?,
                None => {}
            }
        }
        Ok(())
    }

    fn check(&mut self, path: &[u8]) -> Result<()> {
        if self.seen.insert(path.to_vec()) {
            let found = self.views.check(path).map_err(|e| Error::io("compare", shown(path), e))?;
            self.found.extend(found);
        }
        Ok(())
    }

    fn lines(mut self) -> Vec<String> {
        self.found.sort();
        let over = self.found.len().saturating_sub(LINES_MAX);
        if over > 0 {
            self.found.truncate(LINES_MAX - 1);
            self.found.push(format!("and {} more", over + 1));
        }
        self.found
    }
}

fn names(top: &OwnedFd, path: &[u8]) -> io::Result<Vec<(CString, NodeKind)>> {
    let dir = match node::open_below(top, path) {
        Err(e) if node::is_gone(&e) => return Ok(Vec::new()),
        dir => dir?,
    };
    let mut names = Vec::new();
    node::list(&dir, |listed| names.push((listed.name.to_owned(), listed.kind)))?;
    for (name, kind) in names.iter_mut().filter(|(_, kind)| *kind == NodeKind::Unknown) {
        *kind = node::look(dir.as_fd(), name).map_or(NodeKind::Unknown, |node| node.kind);
    }
    Ok(names)
}

fn joined(path: &[u8], name: &CString) -> Vec<u8> {
    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
    [path, slash, name.to_bytes()].concat()
}

fn shown(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}
