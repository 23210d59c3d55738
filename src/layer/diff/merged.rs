//! One directory of a stack of layers, and what the stack shows under a name of it, by overlayfs's rules.
//! See <https://docs.kernel.org/filesystems/overlayfs.html>.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{Format, Layer};
use crate::error::{Error, Kind, Result};
use crate::layer::attributes::{self, Fate, OPAQUE, WHITEOUT};
use crate::layer::walk::{joined, shown};
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// The directory of one layer.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) layer: Arc<Layer>,
    pub(super) dir: OwnedFd,
    /// Whether empty files in it may be whiteouts.
    marked: bool,
}

impl Place {
    /// A failure with something in it.
    pub(super) fn failed(&self, verb: &str, path: &[u8], cause: io::Error) -> Error {
        failed(&self.layer, verb, path, cause)
    }
}

/// What a stack shows under a name.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) node: Node,
    /// The number of the place that has it.
    pub(super) at: usize,
    /// Of a directory: the layers that may be merged there, the topmost first.
    pub(super) layers: Vec<Arc<Layer>>,
}

/// The directories that are merged at `path`, of those layers that are known to have one. None: it is gone.
pub(super) fn open(layers: &[Arc<Layer>], path: &[u8], reader: &mut Reader) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for layer in layers {
        let dir = match node::open_below(&layer.top, path) {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            // Something else than a directory ends the merging.
            Err(e) if node::is_gone(&e) => break,
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                let text = format!("something is mounted at {}", place(layer, path).display());
                return Err(Error::new(Kind::Refused, text));
            }
            Err(e) => return Err(failed(layer, "open", path, e)),
        };
        let mark = match layer.format {
            Format::Base => Vec::new(),
            Format::Upper => mark(layer, &dir, path, reader)?,
        };
        places.push(Place { layer: Arc::clone(layer), dir, marked: mark == b"x" });
        // The tops are merged whatever they say.
        if mark == b"y" && !path.is_empty() {
            break;
        }
    }
    Ok(places)
}

/// What a directory's opaque mark says. A mark that leads elsewhere is refused.
fn mark(layer: &Layer, dir: &OwnedFd, path: &[u8], reader: &mut Reader) -> Result<Vec<u8>> {
    let failed = |e| failed(layer, "read the attributes of", path, e);
    let bearer = Bearer::Open(dir.as_fd());
    let mut is_marked = false;
    for name in attributes::names(reader.list(bearer).map_err(failed)?) {
        match attributes::fate(name) {
            Fate::Refused => return Err(refused(layer, path, name)),
            Fate::Opaque => is_marked = true,
            Fate::Travels | Fate::Stays => {}
        }
    }
    match is_marked {
        true => Ok(reader.get(bearer, OPAQUE).map_err(failed)?.unwrap_or_default().to_vec()),
        false => Ok(Vec::new()),
    }
}

/// What the places show under a name; none: nothing, or a whiteout.
pub(super) fn resolve(
    places: &[Place],
    path: &[u8],
    name: &CStr,
    reader: &mut Reader,
) -> Result<Option<Shown>> {
    let mut found: Option<Shown> = None;
    for (at, place) in places.iter().enumerate() {
        let node = match node::look(&place.dir, name) {
            Ok(node) => node,
            Err(e) if node::is_gone(&e) => continue,
            Err(e) => return Err(place.failed("look at", &joined(path, name), e)),
        };
        let is_directory = node.kind == NodeKind::Directory;
        match &mut found {
            None if is_directory => found = Some(Shown { node, at, layers: vec![Arc::clone(&place.layer)] }),
            None if is_whiteout(place, path, name, &node, reader)? => return Ok(None),
            None => return Ok(Some(Shown { node, at, layers: Vec::new() })),
            Some(top) if is_directory => top.layers.push(Arc::clone(&place.layer)),
            // A whiteout, or anything else that is no directory, ends the merging.
            Some(_) => break,
        }
    }
    Ok(found)
}

/// Either form: a device, or an empty file that is marked.
fn is_whiteout(place: &Place, path: &[u8], name: &CStr, node: &Node, reader: &mut Reader) -> Result<bool> {
    if node.is_device_zero() {
        return Ok(true);
    }
    if !place.marked || node.kind != NodeKind::File || node.size > 0 {
        return Ok(false);
    }
    match reader.get(Bearer::Named(place.dir.as_fd(), name), WHITEOUT) {
        Ok(value) => Ok(value.is_some()),
        Err(e) if node::is_gone(&e) => Ok(false),
        Err(e) => Err(place.failed("read the attributes of", &joined(path, name), e)),
    }
}

/// How many places at the end of both are of the same layers: what is below them is the same.
pub(super) fn common(one: &[Place], other: &[Place]) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs.take_while(|(a, b)| a.layer.id == b.layer.id).count()
}

/// Whether the stack shows something at `path`.
pub(super) fn find(stack: &[Arc<Layer>], path: &Path) -> Result<bool> {
    let mut reader = Reader::default();
    let (mut layers, mut above) = (stack.to_vec(), Vec::new());
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let name = CString::new(name.as_bytes()).unwrap_or_default();
        let places = open(&layers, &above, &mut reader)?;
        let Some(found) = resolve(&places, &above, &name, &mut reader)? else { return Ok(false) };
        (layers, above) = (found.layers, joined(&above, &name));
    }
    Ok(true)
}

/// The refusal of an attribute that makes a layer depend on another.
pub(super) fn refused(layer: &Layer, path: &[u8], attribute: &CStr) -> Error {
    let at = place(layer, path);
    let text = format!("cannot compare {}: it bears {}", at.display(), attribute.to_string_lossy());
    Error::new(Kind::Refused, text)
}

fn failed(layer: &Layer, verb: &str, path: &[u8], cause: io::Error) -> Error {
    Error::io(verb, place(layer, path), cause)
}

fn place(layer: &Layer, path: &[u8]) -> PathBuf {
    match path {
        [] => layer.path.clone(),
        path => layer.path.join(shown(path)),
    }
}
