//! What the layers of a stack have at one path, by overlayfs's rules. It reads and changes nothing.
//!
//! Layers lie on mounts that follow no symlinks; every directory on the way is looked at before it is entered.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::layer::{OPAQUE, Stack, WHITEOUT};
use crate::sys::node;
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
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if node::is_gone(&e) => return Ok(Seen::Missing),
        Err(e) => return Err(Error::io("look at", path, e)),
    };
    let kind = found.file_type();
    if kind.is_char_device() && found.rdev() == 0 {
        return Ok(Seen::Whiteout);
    }
    if kind.is_dir() {
        return Ok(Seen::Directory { opaque: has_mark(path, OPAQUE, Some(b"y"))? });
    }
    match kind.is_file() && found.len() == 0 && has_mark(path, WHITEOUT, None)? {
        true => Ok(Seen::Whiteout),
        false => Ok(Seen::Other),
    }
}

fn has_mark(path: &Path, mark: &CStr, value: Option<&[u8]>) -> Result<bool> {
    let failed = |e| Error::io("read the attributes of", path, e);
    let (dir, name) = split(path)?;
    let mut reader = Reader::default();
    let found = reader.get(Bearer::Named(dir.as_fd(), &name), mark).map_err(failed)?;
    Ok(found.is_some_and(|found| value.is_none_or(|wanted| wanted == found)))
}

/// Marks a directory of a layer as one that hides what is below it.
pub(super) fn make_opaque(path: &Path) -> Result<()> {
    let (dir, name) = split(path)?;
    Bearer::Named(dir.as_fd(), &name).set(OPAQUE, b"y").map_err(|e| Error::io("mark as opaque", path, e))
}

/// Makes a mark that hides what is below.
pub(super) fn make_whiteout(path: &Path) -> Result<()> {
    let (dir, name) = split(path)?;
    node::create_whiteout(&dir, &name).map_err(|e| Error::io("make a whiteout at", path, e))
}

fn split(path: &Path) -> Result<(OwnedFd, CString)> {
    let failed = |e| Error::io("open the directory of", path, e);
    let dir = node::open_top(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().as_bytes();
    let name = CString::new(name).map_err(|e| Error::io("name", path, e))?;
    Ok((dir, name))
}
