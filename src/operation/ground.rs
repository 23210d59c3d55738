//! What the layers of a stack have at one path, by overlayfs's rules. It reads and changes nothing.
//!
//! Layers lie on mounts that follow no symlinks; every directory on the way is looked at before it is entered.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::layer::{OPAQUE, Stack, WHITEOUT};
use crate::sys::node::{self, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// What one layer has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Missing,
    /// A mark that hides what is below.
    Whiteout,
    /// A directory.
    Directory {
        /// It hides what is below.
        opaque: bool,
    },
    /// Anything else.
    Other,
}

/// A directory of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ground {
    /// The directories of the layers that are merged there, topmost first.
    pub(super) layers: Vec<PathBuf>,
    /// The base's directory, if there is one, whether or not it shows.
    pub(super) base: Option<PathBuf>,
    /// Whether a layer hides the base there.
    pub(super) hidden: bool,
}

impl Ground {
    /// The top of a stack.
    pub(super) fn top(stack: &Stack) -> Ground {
        Ground { layers: stack.layers.clone(), base: stack.base.clone(), hidden: false }
    }

    /// Goes down along `path`. What is no directory in the merged tree is an error that names it.
    pub(super) fn descend(self, path: &Path) -> Result<Ground> {
        let mut ground = self;
        let mut gone = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            gone.push(name);
            ground = ground.enter(name, &gone)?;
        }
        Ok(ground)
    }

    fn enter(self, name: &OsStr, gone: &Path) -> Result<Ground> {
        let mut layers = Vec::new();
        let mut hidden = self.hidden;
        for layer in self.layers {
            let at = layer.join(name);
            match see(&at)? {
                Seen::Missing => continue,
                Seen::Directory { opaque: false } => {
                    layers.push(at);
                    continue;
                }
                Seen::Directory { opaque: true } => layers.push(at),
                Seen::Other if layers.is_empty() => return Err(no_directory(gone)),
                Seen::Whiteout | Seen::Other => {}
            }
            hidden = true;
            break;
        }
        let base = self.base.map(|base| base.join(name));
        let base = match base.as_deref().map(see).transpose()? {
            Some(Seen::Directory { .. }) => base,
            Some(Seen::Other) if layers.is_empty() && !hidden => return Err(no_directory(gone)),
            _ => None,
        };
        Ok(Ground { layers, base, hidden })
    }

    /// What the topmost layer that has something at `name` has there.
    pub(super) fn topmost(&self, name: &OsStr) -> Result<Seen> {
        for layer in &self.layers {
            match see(&layer.join(name))? {
                Seen::Missing => {}
                found => return Ok(found),
            }
        }
        Ok(Seen::Missing)
    }
}

fn no_directory(path: &Path) -> Error {
    Error::new(Kind::InvalidArgs, format!("/{} is no directory: no path leads through it", path.display()))
}

/// What lies at this place of a layer, or of the base.
pub(super) fn see(path: &Path) -> Result<Seen> {
    let failed = |e| Error::io("look at", path, e);
    let (dir, name) = match split(path) {
        Ok(split) => split,
        Err(e) if node::is_gone(&e) => return Ok(Seen::Missing),
        Err(e) => return Err(failed(e)),
    };
    see_in(&dir, &name).map_err(failed)
}

/// What lies under a name of a directory of a layer, or of the base.
pub(super) fn see_in(dir: &OwnedFd, name: &CStr) -> io::Result<Seen> {
    let found = match node::look(dir, name) {
        Ok(found) => found,
        Err(e) if node::is_gone(&e) => return Ok(Seen::Missing),
        Err(e) => return Err(e),
    };
    let mut reader = Reader::default();
    let mut mark =
        |mark: &CStr| reader.get(Bearer::Named(dir.as_fd(), name), mark).map(|v| v.map(<[u8]>::to_vec));
    Ok(match found.kind {
        _ if found.is_device_zero() => Seen::Whiteout,
        NodeKind::Directory => Seen::Directory { opaque: mark(OPAQUE)?.as_deref() == Some(b"y") },
        NodeKind::File if found.size == 0 && mark(WHITEOUT)?.is_some() => Seen::Whiteout,
        _ => Seen::Other,
    })
}

/// Marks a directory of a layer as one that hides what is below it.
pub(super) fn make_opaque(path: &Path) -> Result<()> {
    split(path)
        .and_then(|(dir, name)| Bearer::Named(dir.as_fd(), &name).set(OPAQUE, b"y"))
        .map_err(|e| Error::io("mark as opaque", path, e))
}

/// Makes a mark that hides what is below.
pub(super) fn make_whiteout(path: &Path) -> Result<()> {
    split(path)
        .and_then(|(dir, name)| node::create_whiteout(&dir, &name))
        .map_err(|e| Error::io("make a whiteout at", path, e))
}

fn split(path: &Path) -> io::Result<(OwnedFd, CString)> {
    let name = CString::new(path.file_name().unwrap_or_default().as_bytes())?;
    Ok((node::open_top(path.parent().unwrap_or(Path::new("/")))?, name))
}
