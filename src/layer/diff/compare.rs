//! In what two entries differ. Attributes of overlayfs's own are no part of what a merged tree shows.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use super::merged::{Place, refused};
use super::{Aspect, Format};
use crate::error::Result;
use crate::layer::attributes::{self, Fate, PROTATTR, WHITEOUT};
use crate::sys::content;
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// What is compared at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) place: &'a Place,
    /// From the top.
    pub(super) path: &'a [u8],
    pub(super) name: &'a CStr,
    pub(super) node: Node,
}

/// How a comparison ended.
#[derive(Debug)]
pub(super) enum Compared {
    /// In what they differ, and in which attributes.
    Known(Vec<Aspect>, Vec<CString>),
    /// One of them is not there any more, or no longer what it was.
    Vanished,
    /// Somebody stopped it.
    Stopped,
}

/// Compares, with buffers that are used again.
#[derive(Default)]
pub(super) struct Comparer {
    buffer: Vec<u8>,
    pub(super) reader: Reader,
}

impl Comparer {
    /// In what two entries of the same type differ.
    pub(super) fn compare(
        &mut self,
        from: At<'_>,
        to: At<'_>,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Compared> {
        let (a, b) = (&from.node, &to.node);
        if (a.dev, a.ino) == (b.dev, b.ino) {
            return Ok(Compared::Known(Vec::new(), Vec::new()));
        }
        let mut aspects = Vec::new();
        let mut same = |aspect, same: bool| {
            if !same {
                aspects.push(aspect)
            }
        };
        let files = match Files::open(from, to) {
            Ok(files) => files,
            Err(e) if node::is_gone(&e) => return Ok(Compared::Vanished),
            Err(e) => return Err(to.place.failed("open", to.path, e)),
        };
        match self.is_same_content(from, to, &files, go_on) {
            Ok(Some(is_same)) => same(Aspect::Content, is_same),
            Ok(None) => return Ok(Compared::Stopped),
            Err(e) if node::is_gone(&e) => return Ok(Compared::Vanished),
            Err(e) => return Err(to.place.failed("compare", to.path, e)),
        }
        same(Aspect::Mode, a.mode == b.mode || a.kind == NodeKind::Symlink);
        same(Aspect::Owner, a.uid == b.uid);
        same(Aspect::Group, a.gid == b.gid);
        same(Aspect::Mtime, a.mtime == b.mtime || a.kind == NodeKind::Directory);
        let [Some(mine), Some(theirs)] =
            [self.attributes(from, &files.from)?, self.attributes(to, &files.to)?]
        else {
            return Ok(Compared::Vanished);
        };
        let names: Vec<CString> = different(&mine, &theirs);
        same(Aspect::Attributes, names.is_empty());
        Ok(Compared::Known(aspects, names))
    }

    /// None: it was stopped.
    fn is_same_content(
        &mut self,
        from: At<'_>,
        to: At<'_>,
        files: &Files,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> io::Result<Option<bool>> {
        let (a, b) = (&from.node, &to.node);
        if let (Some(one), Some(other)) = (&files.from, &files.to) {
            self.buffer.resize(2 * BUFFER, 0);
            let mut flow = ControlFlow::Continue(());
            let same = content::same(one, other, a.size, &mut self.buffer, &mut || {
                flow = go_on();
                flow
            })?;
            return Ok(flow.is_continue().then_some(same));
        }
        Ok(Some(match a.kind {
            NodeKind::File => a.size == b.size,
            NodeKind::Symlink => {
                node::read_link(&from.place.dir, from.name)? == node::read_link(&to.place.dir, to.name)?
            }
            NodeKind::CharDevice | NodeKind::BlockDevice => a.rdev == b.rdev,
            _ => true,
        }))
    }

    /// The attributes that the merged tree shows. None: it is gone.
    fn attributes(
        &mut self,
        at: At<'_>,
        file: &Option<OwnedFd>,
    ) -> Result<Option<BTreeMap<CString, Vec<u8>>>> {
        let bearer = match file {
            Some(file) => Bearer::Open(file.as_fd()),
            None => Bearer::Named(at.place.dir.as_fd(), at.name),
        };
        let mut found = match self.reader.all(bearer) {
            Ok(found) => found,
            Err(e) if node::is_gone(&e) => return Ok(None),
            Err(e) => return Err(at.place.failed("read the attributes of", at.path, e)),
        };
        refuse(at, found.keys().map(CString::as_c_str))?;
        found.retain(|name, _| is_shown(name));
        Ok(Some(found))
    }

    /// Refuses an entry of one side alone that is not what it looks like.
    pub(super) fn check(&mut self, at: At<'_>) -> Result<()> {
        let may_be = at.node.kind == NodeKind::File && at.node.size > 0;
        if at.place.layer.format == Format::Base || !may_be {
            return Ok(());
        }
        match self.reader.list(Bearer::Named(at.place.dir.as_fd(), at.name)) {
            Ok(list) => refuse(at, attributes::names(list)),
            Err(e) if node::is_gone(&e) => Ok(()),
            Err(e) => Err(at.place.failed("read the attributes of", at.path, e)),
        }
    }
}

/// Two files, open if they have to be read.
struct Files {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
}

impl Files {
    fn open(from: At<'_>, to: At<'_>) -> io::Result<Files> {
        let (a, b) = (&from.node, &to.node);
        let are_read = a.kind == NodeKind::File && a.size == b.size && a.size > 0;
        let open = |at: At<'_>| are_read.then(|| node::open_file(&at.place.dir, at.name)).transpose();
        Ok(Files { from: open(from)?, to: open(to)? })
    }
}

fn refuse<'n>(at: At<'_>, mut names: impl Iterator<Item = &'n CStr>) -> Result<()> {
    match names.find(|name| attributes::fate(name) == Fate::Refused) {
        Some(name) if at.place.layer.format == Format::Upper => Err(refused(&at.place.layer, at.path, name)),
        _ => Ok(()),
    }
}

/// Whether whoever looks through the overlay sees it.
fn is_shown(name: &CStr) -> bool {
    attributes::fate(name) == Fate::Travels && name != WHITEOUT && name != PROTATTR
}

fn different(one: &BTreeMap<CString, Vec<u8>>, other: &BTreeMap<CString, Vec<u8>>) -> Vec<CString> {
    let changed = one.iter().filter(|(name, value)| other.get(*name) != Some(*value)).map(|(name, _)| name);
    let new = other.keys().filter(|name| !one.contains_key(*name));
    let mut names: Vec<CString> = changed.chain(new).cloned().collect();
    names.sort();
    names
}
