//! Putting one entry in its place: made beside it under another name, complete and durable, and then renamed over it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use crate::operation::compare;
use crate::sys::content::{self, Cloned, CopyError};
use crate::sys::node::{self, Flags, Node, NodeKind};
use crate::sys::xattr::{self, Bearer};

/// The name beside. What an interrupted restore left under it goes.
const BESIDE: &CStr = c".overlayd-restoring";
/// What is copied at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// An entry in an open directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) dir: &'a OwnedFd,
    pub(super) name: &'a CStr,
}

impl<'a> Entry<'a> {
    fn bearer(self) -> Bearer<'a> {
        Bearer::Named(self.dir.as_fd(), self.name)
    }
}

/// Puts a copy of `from`, which is `node` and no directory, to `to`. None: `on_chunk` stopped it.
pub(super) fn put(
    from: Entry<'_>,
    node: &Node,
    to: Entry<'_>,
    on_chunk: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<Option<()>> {
    let beside = Entry { dir: to.dir, name: BESIDE };
    sweep(to.dir)?;
    let mut flags = Flags::default();
    match node.kind {
        NodeKind::File => match put_file(from, node, beside, on_chunk)? {
            Some(found) => flags = found,
            None => return sweep(to.dir).map(|()| None),
        },
        NodeKind::Symlink => node::create_symlink(to.dir, BESIDE, &node::read_link(from.dir, from.name)?)?,
        _ => node::create_special(to.dir, BESIDE, node)?,
    }
    if node.kind != NodeKind::File {
        node::own_name(to.dir, BESIDE, node.uid, node.gid)?;
        if node.kind != NodeKind::Symlink {
            node::permit_name(to.dir, BESIDE, node.mode)?;
        }
        copy_attributes(from, beside)?;
        node::date_name(to.dir, BESIDE, node.atime, node.mtime)?;
    }
    replace(to)?;
    if !flags.is_empty() {
        node::flag(node::open_file(to.dir, to.name)?, flags);
    }
    Ok(Some(()))
}

/// Gives the entry `first` the name `to` as well.
pub(super) fn link(first: Entry<'_>, to: Entry<'_>) -> io::Result<()> {
    sweep(to.dir)?;
    node::link(first.dir, first.name, to.dir, BESIDE)?;
    replace(to)
}

/// Gives a directory the attributes of another.
pub(super) fn dress(from: Entry<'_>, node: &Node, to: Entry<'_>) -> io::Result<()> {
    node::own_name(to.dir, to.name, node.uid, node.gid)?;
    node::permit_name(to.dir, to.name, node.mode)?;
    let wanted = compare::attributes(from.dir, from.name)?;
    for name in compare::attributes(to.dir, to.name)?.keys().filter(|name| !wanted.contains_key(*name)) {
        to.bearer().remove(name)?;
    }
    copy_attributes(from, to)?;
    node::date_name(to.dir, to.name, node.atime, node.mtime)
}

fn put_file(
    from: Entry<'_>,
    node: &Node,
    to: Entry<'_>,
    on_chunk: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<Option<Flags>> {
    let source = node::open_file(from.dir, from.name)?;
    let target = node::create_file(to.dir, to.name, 0o600)?;
    if content::clone(&source, &target) != Cloned::Yes {
        match content::copy(&source, &target, node.size, true, &mut vec![0; BUFFER], on_chunk) {
            Ok(_) => {}
            Err(CopyError::Read(e) | CopyError::Write(e)) => return Err(e),
            Err(CopyError::Stopped) => return Ok(None),
        }
    }
    node::own(&target, node.uid, node.gid)?;
    node::permit(&target, node.mode)?;
    copy_attributes(from, to)?;
    node::date(&target, node.atime, node.mtime)?;
    let flags = node::flags(&source);
    File::from(target).sync_all()?;
    Ok(Some(flags))
}

fn copy_attributes(from: Entry<'_>, to: Entry<'_>) -> io::Result<()> {
    for (name, value) in compare::attributes(from.dir, from.name)? {
        match to.bearer().set(&name, &value) {
            // What the base bears for an overlay below another is not for this one to set.
            Err(e) if xattr::is_unsupported(&e) || name.to_bytes().starts_with(b"trusted.overlay.") => {}
            set => set?,
        }
    }
    Ok(())
}

/// Renames what lies beside over the name; an immutable one there gives way.
fn replace(to: Entry<'_>) -> io::Result<()> {
    match node::rename(to.dir, BESIDE, to.dir, to.name) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            node::unflag(node::open_file(to.dir, to.name)?);
            node::rename(to.dir, BESIDE, to.dir, to.name)
        }
        renamed => renamed,
    }
}

fn sweep(dir: &OwnedFd) -> io::Result<()> {
    match node::unlink(dir, BESIDE) {
        Err(e) if !node::is_gone(&e) => Err(e),
        _ => Ok(()),
    }
}
