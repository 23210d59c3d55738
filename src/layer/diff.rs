//! What differs between two merged trees, each a stack of layers: name by name, in the order of their paths. It reads
//! only, by descriptors, follows no symlink and crosses no mount.
//!
//! Layers that both stacks end with are the same below, and so are left alone: only names that one of the others lists
//! are looked at. So a diff of an upper against its base costs a walk of the upper, and a lookup of each of its names in
//! the base. Nothing is held but the names of the directories on the way to where the walk is.

mod compare;
mod filter;
mod merged;
mod walk;

use std::ffi::CString;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sys::node::{self, Node};
use crate::sys::view;

use self::filter::Filter;
use self::walk::Walk;

/// How a layer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// It may bear the marks of overlayfs.
    Upper,
    /// It is the lowest: the kernel looks for no marks there, but for whiteouts.
    Base,
}

/// An open layer.
#[derive(Debug)]
pub struct Layer {
    path: PathBuf,
    top: OwnedFd,
    format: Format,
    /// Device and inode of the top: the same ones are the same layer.
    id: ((u32, u32), u64),
}

impl Layer {
    /// A layer in upper format.
    pub fn upper(path: &Path) -> Result<Arc<Layer>> {
        let top = node::open_top(path).map_err(|e| Error::io("open", path, e))?;
        Layer::new(path, top, Format::Upper)
    }

    /// The lowest layer, without what is mounted in it.
    pub fn base(path: &Path) -> Result<Arc<Layer>> {
        Layer::new(path, view::alone(path)?, Format::Base)
    }

    fn new(path: &Path, top: OwnedFd, format: Format) -> Result<Arc<Layer>> {
        let node = node::look_at(&top).map_err(|e| Error::io("look at", path, e))?;
        Ok(Arc::new(Layer { path: path.to_owned(), top, format, id: (node.dev, node.ino) }))
    }

    /// Whether it is still where it was opened: one that is not may be on its way out.
    pub fn is_there(&self) -> bool {
        node::look_path(&self.path).is_ok_and(|node| (node.dev, node.ino) == self.id)
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What one side has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub node: Node,
    /// Of a symlink: where it leads.
    pub target: Option<CString>,
}

/// In what two entries of one type differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// What a file holds, a symlink says, or which device it is.
    Content,
    /// Permissions.
    Mode,
    /// Owner.
    Owner,
    /// Group.
    Group,
    /// When the content changed last; not told of directories, where it follows from what is in them.
    Mtime,
    /// Extended attributes, among them ACLs and capabilities.
    Attributes,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From the top, without a slash in front; empty: the top itself.
    pub path: Vec<u8>,
    /// What was there; none: nothing.
    pub from: Option<Seen>,
    /// What is there; none: nothing.
    pub to: Option<Seen>,
    /// If it is of the same type: in what it differs, at least one.
    pub aspects: Vec<Aspect>,
    /// Names of attributes that are not the same.
    pub attributes: Vec<CString>,
}

/// Hears what a diff finds.
pub trait Listener {
    /// One more difference.
    fn change(&mut self, change: &Change) -> Result<()>;

    /// Asked now and then, and while large files are compared.
    fn go_on(&mut self) -> ControlFlow<()>;
}

/// Tells `listener` all differences from one stack to the other, topmost layers first, at `paths` and below; without
/// paths, all. Paths are relative to the top, and none lies below another.
pub fn diff(
    from: &[Arc<Layer>],
    to: &[Arc<Layer>],
    paths: &[PathBuf],
    listener: &mut dyn Listener,
) -> Result<()> {
    Walk::new(from, to, Filter::new(paths), listener).run()
}

/// Whether the stack shows something at a path.
pub fn has(stack: &[Arc<Layer>], path: &Path) -> Result<bool> {
    merged::find(stack, path)
}

#[cfg(test)]
mod tests;
