//! Copying what has no content of its own: symlinks, devices, pipes, sockets and whiteouts.

use std::io;
use std::os::fd::AsFd;

use super::file::Trouble;
use super::{Copier, Known, Local};
use crate::error::Result;
use crate::layer::merge::Entry;
use crate::layer::walk::{Folder, Made};
use crate::sys::node::{self, NodeKind};
use crate::sys::xattr::Bearer;

impl Copier<'_> {
    /// Copies a symlink, device, pipe, socket or whiteout.
    pub(super) fn copy_special(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        local: &mut Local,
    ) -> Result<Made> {
        let (dir, node, name) = (&folder.place.dir, &found.node, found.name);
        let from = folder.layer(entry.layer)?;
        let made = match node.kind {
            NodeKind::Symlink => node::copy_symlink(from, dir, name),
            _ => node::create_special(dir, name, node),
        };
        match made {
            Ok(()) => (),
            // Only reading the symlink says so.
            Err(e) if node::is_gone(&e) || e.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Made::Changed);
            }
            Err(e) => return Err(folder.failed("create", name, e)),
        }
        if found.whiteout {
            return Ok(Made::Done);
        }
        let chown = (node.uid, node.gid) != self.owner;
        if chown {
            node::own_name(dir, name, node.uid, node.gid)
                .map_err(|e| folder.failed("change the owner of", name, e))?;
        }
        if node.kind != NodeKind::Symlink && (chown || !local.exact_modes) {
            node::permit_name(dir, name, node.mode)
                .map_err(|e| folder.failed("change the mode of", name, e))?;
        }
        let bearers = (Bearer::Named(from.as_fd(), name), Bearer::Named(dir.as_fd(), name));
        match self.copy_attributes(folder, name, bearers, &mut local.reader) {
            Ok(_) => (),
            Err(Trouble::Source(_, e)) if node::is_gone(&e) => (),
            Err(Trouble::Source(verb, e)) => return Err(folder.failed(verb, name, e)),
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Stopped) => return Ok(Made::Done),
        }
        node::date_name(dir, name, node.atime, node.mtime)
            .map_err(|e| folder.failed("set the times of", name, e))?;
        Ok(Made::Done)
    }
}
