//! The walk over what a keep-list can match in the layers above a base, by overlayfs's rules for merging them. It
//! changes nothing, follows no symlink and crosses no mount.
//!
//! Directories are opened by their whole path from the top: so depth is bounded by memory alone. Where only names can
//! match, only these are looked for: the cost is that of what the patterns name, not of what the layers hold.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::pattern::{Below, Pattern, Patterns, Reached};
use super::select::shown;
use crate::error::{Error, Kind, Result};
use crate::layer::{OPAQUE, WHITEOUT};
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// Something of the layers.
#[derive(Debug)]
pub struct Found<'f> {
    /// From the top, without a slash in front; empty: the top itself.
    pub path: &'f [u8],
    /// What it is in the topmost layer that has it.
    pub node: Node,
    /// The number of that layer, 0 is the topmost.
    pub layer: usize,
    /// What that layer has: the directory itself, or, of everything else, the directory that it is in.
    pub dir: &'f OwnedFd,
}

impl Found<'_> {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// A failure with it.
    pub fn failed(&self, verb: &str, cause: io::Error) -> Error {
        Error::io(verb, shown(self.path), cause)
    }
}

/// Hears what a walk finds.
pub trait Visitor {
    /// A directory in which something may be kept; what is found next lies below it, until it is left. `kept`: it is
    /// kept itself.
    fn enter(&mut self, dir: &Found<'_>, kept: bool) -> Result<()>;

    /// Something that is kept and no directory.
    fn entry(&mut self, found: &Found<'_>) -> Result<()>;

    /// The directory that was entered last, and not left, has nothing more. Its path, and its layer.
    fn leave(&mut self, path: &[u8], layer: usize) -> Result<()>;
}

/// A directory that waits.
enum Task {
    Enter { path: Vec<u8>, layers: Vec<usize>, reached: Reached },
    Leave { path: Vec<u8>, layer: usize },
}

/// One walk.
pub(super) struct Walk<'w> {
    layers: &'w [PathBuf],
    tops: Vec<OwnedFd>,
    patterns: &'w [Pattern],
    reader: Reader,
    tasks: Vec<Task>,
    /// Which patterns match something that is kept.
    pub(super) matched: Vec<bool>,
}

/// One layer's directory.
struct Open {
    layer: usize,
    dir: OwnedFd,
}

impl<'w> Walk<'w> {
    /// Layers in upper format, the topmost first.
    pub(super) fn new(layers: &'w [PathBuf], patterns: &'w [Pattern]) -> Result<Self> {
        let open = |path: &PathBuf| node::open_top(path).map_err(|e| Error::io("open", path, e));
        let tops = layers.iter().map(open).collect::<Result<_>>()?;
        let matched = vec![false; patterns.len()];
        Ok(Walk { layers, tops, patterns, reader: Reader::default(), tasks: Vec::new(), matched })
    }

    /// Goes through what the patterns can match. `target` is where the top is in the paths that they speak of.
    pub(super) fn run(&mut self, target: &Path, visitor: &mut dyn Visitor) -> Result<()> {
        let patterns = Patterns(self.patterns);
        let names = crate::config::names_of(target);
        let reached = names.fold(patterns.top(), |reached, name| patterns.enter(&reached, name));
        let layers = (0..self.tops.len()).collect();
        self.tasks.push(Task::Enter { path: Vec::new(), layers, reached });
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Enter { path, layers, reached } => self.enter(path, &layers, &reached, visitor)?,
                Task::Leave { path, layer } => visitor.leave(&path, layer)?,
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        path: Vec<u8>,
        layers: &[usize],
        reached: &Reached,
        visitor: &mut dyn Visitor,
    ) -> Result<()> {
        let open = self.open(&path, layers)?;
        let Some(first) = open.first() else { return Ok(()) };
        let kept = self.keeps(reached);
        let node = node::look_at(&first.dir).map_err(|e| self.failed("look at", first.layer, &path, e))?;
        visitor.enter(&Found { path: &path, node, layer: first.layer, dir: &first.dir }, kept)?;
        self.tasks.push(Task::Leave { path: path.clone(), layer: first.layer });
        let (mut names, start) = (self.names(&open, &path, reached)?, self.tasks.len());
        names.sort_unstable();
        names.dedup();
        for name in &names {
            self.look(&open, &path, name, reached, visitor)?;
        }
        // The first comes out last.
        self.tasks[start..].reverse();
        Ok(())
    }

    /// Whether what is here is kept; then the patterns that say so have matched something.
    fn keeps(&mut self, here: &Reached) -> bool {
        let patterns = Patterns(self.patterns);
        let kept = patterns.keeps(here);
        if kept {
            patterns.matching(here).for_each(|(number, _)| self.matched[number] = true);
        }
        kept
    }

    /// The directories that are merged at `path`, the topmost first; none: there is none any more.
    fn open(&mut self, path: &[u8], layers: &[usize]) -> Result<Vec<Open>> {
        let mut open = Vec::new();
        for &layer in layers {
            let dir = match node::open_below(&self.tops[layer], path) {
                Ok(dir) => dir,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                // Something else than a directory ends the merging.
                Err(e) if node::is_gone(&e) => break,
                Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                    let text = format!("something is mounted at {}", self.place(layer, path).display());
                    return Err(Error::new(Kind::Refused, text));
                }
                Err(e) => return Err(self.failed("open", layer, path, e)),
            };
            let opaque = self.reader.get(Bearer::Open(dir.as_fd()), OPAQUE);
            let opaque = opaque.map(|value| value == Some(b"y"));
            let opaque = opaque.map_err(|e| self.failed("read the attributes of", layer, path, e))?;
            open.push(Open { layer, dir });
            if opaque {
                break;
            }
        }
        Ok(open)
    }

    /// The names to look for.
    fn names(&self, open: &[Open], path: &[u8], reached: &Reached) -> Result<Vec<CString>> {
        match Patterns(self.patterns).below(reached) {
            Below::Names(names) => Ok(names.into_iter().filter_map(|name| CString::new(name).ok()).collect()),
            Below::Everything => {
                let mut all = Vec::new();
                for Open { layer, dir } in open {
                    let listed = node::list(dir, |listed| all.push(listed.name.to_owned()));
                    match listed {
                        Err(e) if !node::is_gone(&e) => return Err(self.failed("list", *layer, path, e)),
                        _ => {}
                    }
                }
                Ok(all)
            }
        }
    }

    fn look(
        &mut self,
        open: &[Open],
        path: &[u8],
        name: &CStr,
        reached: &Reached,
        visitor: &mut dyn Visitor,
    ) -> Result<()> {
        let here = Patterns(self.patterns).enter(reached, name.to_bytes());
        let path = joined(path, name);
        for (number, Open { layer, dir }) in open.iter().enumerate() {
            let (layer, node) = match node::look(dir, name) {
                Ok(node) => (*layer, node),
                Err(e) if node::is_gone(&e) => continue,
                Err(e) => return Err(self.failed("look at", *layer, &path, e)),
            };
            if node.kind == NodeKind::Directory {
                let layers = open[number..].iter().map(|open| open.layer).collect();
                if Patterns(self.patterns).below(&here) != Below::Names(Vec::new()) {
                    self.tasks.push(Task::Enter { path, layers, reached: here });
                }
            } else if !self.is_whiteout(dir, name, &node) && self.keeps(&here) {
                visitor.entry(&Found { path: &path, node, layer, dir })?;
            }
            return Ok(());
        }
        Ok(())
    }

    /// Either form: a device, or an empty file that is marked.
    fn is_whiteout(&mut self, dir: &OwnedFd, name: &CStr, node: &Node) -> bool {
        let bearer = Bearer::Named(dir.as_fd(), name);
        let is_empty = node.kind == NodeKind::File && node.size == 0;
        node.is_device_zero()
            || (is_empty && self.reader.get(bearer, WHITEOUT).is_ok_and(|value| value.is_some()))
    }

    fn failed(&self, verb: &str, layer: usize, path: &[u8], cause: io::Error) -> Error {
        Error::io(verb, self.place(layer, path), cause)
    }

    fn place(&self, layer: usize, path: &[u8]) -> PathBuf {
        self.layers[layer].join(shown(path))
    }
}

fn joined(path: &[u8], name: &CStr) -> Vec<u8> {
    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
    [path, slash, name.to_bytes()].concat()
}
