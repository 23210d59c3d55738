//! Telling whiteouts, in both forms, and whether one hides anything of the base.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use super::{Folder, Maker, Walk};
use crate::error::Result;
use crate::layer::attributes::WHITEOUT;
use crate::layer::merge::{Entry, Layers};
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// The base's directory of the same path.
pub(super) enum Base {
    Missing,
    Unknown,
    Open(OwnedFd),
}

impl<M: Maker> Walk<'_, M> {
    pub(super) fn is_whiteout_by_attribute(
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
    pub(super) fn base_has(&self, folder: &Folder<M>, name: &CStr) -> Result<bool> {
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
