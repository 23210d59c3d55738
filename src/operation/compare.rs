//! Whether two trees of the store hold the same. It reads and decides nothing.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::layer::{OnProgress, Progress};
use crate::sys::content;
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// So often is the caller asked whether to go on.
const REPORT_EVERY: u64 = 256;
/// What is compared at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// Whether two copies of one subvolume still hold the same inodes.
///
/// By inode number and change time, which a copied subvolume keeps, and which no change of an inode can leave as they
/// are. Trees of other origin differ. The tops' own times are left out: each boot sets those of the upper.
pub(super) fn same_inodes(one: &Path, other: &Path, on_progress: &mut OnProgress<'_>) -> Result<bool> {
    let mut walk = Walk { one, other, thorough: false, buffer: Vec::new(), on_progress, seen: 0 };
    let tops = [node::open_top(one), node::open_top(other)];
    let [Ok(left), Ok(right)] = tops else { return Ok(false) };
    let looks = [node::look_at(&left), node::look_at(&right)];
    match looks {
        [Ok(a), Ok(b)] if (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid) => walk.below(&left, &right),
        _ => Ok(false),
    }
}

/// Whether what lies at two places is the same in every byte and attribute, but for the times of access.
pub(super) fn same(one: &Path, other: &Path, on_progress: &mut OnProgress<'_>) -> Result<bool> {
    let mut walk = Walk { one, other, thorough: true, buffer: vec![0; 2 * BUFFER], on_progress, seen: 0 };
    let parents = [one.parent(), other.parent()].map(|dir| node::open_top(dir.unwrap_or(Path::new("/"))));
    let name = CString::new(one.file_name().unwrap_or_default().as_bytes());
    let ([Ok(left), Ok(right)], Ok(name)) = (parents, name) else {
        return Ok(!one.exists() && !other.exists());
    };
    match [node::look(&left, &name), node::look(&right, &name)] {
        [Ok(a), Ok(b)] => {
            let same = walk.entry((&left, &right), &name, (&a, &b))?;
            if !same || a.kind != NodeKind::Directory {
                return Ok(same);
            }
            let open = |dir: &OwnedFd| node::open_below(dir, name.to_bytes());
            let left = open(&left).map_err(|e| Error::io("open", one, e))?;
            let right = open(&right).map_err(|e| Error::io("open", other, e))?;
            walk.below(&left, &right)
        }
        [Err(a), Err(b)] => Ok(node::is_gone(&a) && node::is_gone(&b)),
        _ => Ok(false),
    }
}

struct Walk<'w, 'p> {
    one: &'w Path,
    other: &'w Path,
    /// By content; else by inodes.
    thorough: bool,
    buffer: Vec<u8>,
    on_progress: &'w mut OnProgress<'p>,
    seen: u64,
}

impl Walk<'_, '_> {
    fn below(&mut self, left: &OwnedFd, right: &OwnedFd) -> Result<bool> {
        let mut pending: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(path) = pending.pop() {
            let dirs = [node::open_below(left, &path), node::open_below(right, &path)];
            let [Ok(mine), Ok(theirs)] = dirs else { return Ok(false) };
            let names = children(&mine).map_err(|e| Error::io("list", self.one, e))?;
            let others = children(&theirs).map_err(|e| Error::io("list", self.other, e))?;
            if names.len() != others.len() {
                return Ok(false);
            }
            for (name, inode) in &names {
                let Some(other) = others.get(name) else { return Ok(false) };
                if !self.entry((&mine, &theirs), name, (inode, other))? {
                    return Ok(false);
                }
                if inode.kind == NodeKind::Directory {
                    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    pending.push([&path[..], slash, name.to_bytes()].concat());
                }
            }
        }
        Ok(true)
    }

    fn entry(&mut self, dirs: (&OwnedFd, &OwnedFd), name: &CStr, nodes: (&Node, &Node)) -> Result<bool> {
        self.seen += 1;
        if self.seen.is_multiple_of(REPORT_EVERY) && (self.on_progress)(Progress::default()).is_break() {
            return Err(canceled());
        }
        let (a, b) = nodes;
        if !self.thorough {
            // All whiteouts are names of one inode, which changes with every name that comes or goes.
            let whiteouts = a.is_device_zero() && b.is_device_zero();
            return Ok(whiteouts || (a.ino, a.ctime) == (b.ino, b.ctime));
        }
        if (a.dev, a.ino) == (b.dev, b.ino) {
            return Ok(true);
        }
        let looks = |n: &Node| (n.kind, n.mode, n.uid, n.gid, n.rdev, n.mtime);
        let sizes = a.kind == NodeKind::Directory || a.size == b.size;
        if looks(a) != looks(b) || !sizes {
            return Ok(false);
        }
        let failed = |e: io::Error| Error::io("compare", self.one, e);
        if attributes(dirs.0, name).map_err(failed)? != attributes(dirs.1, name).map_err(failed)? {
            return Ok(false);
        }
        match a.kind {
            NodeKind::Symlink => Ok(node::read_link(dirs.0, name).map_err(failed)?
                == node::read_link(dirs.1, name).map_err(failed)?),
            NodeKind::File => self.content(dirs, name, a.size),
            _ => Ok(true),
        }
    }

    fn content(&mut self, dirs: (&OwnedFd, &OwnedFd), name: &CStr, size: u64) -> Result<bool> {
        let failed = |e: io::Error| Error::io("compare", self.one, e);
        let (left, right) =
            (node::open_file(dirs.0, name).map_err(failed)?, node::open_file(dirs.1, name).map_err(failed)?);
        let on_progress = &mut *self.on_progress;
        let mut stopped = false;
        let same = content::same(left, right, size, &mut self.buffer, &mut || {
            stopped = on_progress(Progress::default()).is_break();
            if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if stopped { Err(canceled()) } else { same.map_err(|e| Error::io("compare", self.one, e)) }
    }
}

fn canceled() -> Error {
    Error::new(Kind::Canceled, "canceled")
}

/// All extended attributes that a name shows.
pub(super) fn attributes(dir: &OwnedFd, name: &CStr) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    Reader::default().all(Bearer::Named(dir.as_fd(), name))
}

fn children(dir: impl AsFd) -> io::Result<BTreeMap<CString, Node>> {
    let mut names = Vec::new();
    node::list(&dir, |listed| names.push(listed.name.to_owned()))?;
    names.into_iter().map(|name| node::look(&dir, &name).map(|node| (name, node))).collect()
}
