//! Looking for what makes a layer depend on another: redirect and metacopy marks. One parallel walk of the layer as it lies
//! there; nothing is merged, and nothing is changed.

use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::attributes::{self, Fate};
use super::crew::Crew;
use super::walk::{joined, shown};
use crate::error::{Error, Result};
use crate::sys::node::{self, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// So many are named of a layer; whoever forges them can forge a million.
const NAMED: usize = 100;

/// What a layer bears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The first found: a path below the top, and the attribute.
    pub named: Vec<(PathBuf, CString)>,
    /// How many there are.
    pub count: usize,
}

struct Search {
    top: OwnedFd,
    crew: Crew<Vec<u8>>,
    found: Mutex<Marks>,
}

/// Every mark in the layer at `path`. `on_tick` is called some times a second, and may stop it.
pub fn find(path: &Path, on_tick: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Marks> {
    let top = node::open_top(path).map_err(|e| Error::io("open", path, e))?;
    let search = Search { top, crew: Crew::new(), found: Mutex::default() };
    search.crew.add([Vec::new()]);
    search.crew.run(Reader::default, |dir, reader| search.directory(&dir, reader), on_tick)?;
    let mut found = search.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.named.sort();
    Ok(found)
}

impl Search {
    /// The directory itself, and what is in it; what is gone meanwhile bears nothing.
    fn directory(&self, path: &[u8], reader: &mut Reader) -> Result<()> {
        let failed = |e| Error::io("look through", shown(path), e);
        let dir = match node::open_below(&self.top, path) {
            Err(e) if node::is_gone(&e) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        self.attributes(path, Bearer::Open(dir.as_fd()), reader).map_err(failed)?;
        let (mut below, mut failure) = (Vec::new(), Ok(()));
        let listed = node::list(&dir, |entry| {
            if failure.is_ok() {
                failure = self.entry(&dir, path, entry, &mut below, reader);
            }
        });
        self.crew.add(below);
        match listed.and(failure) {
            Err(e) if !node::is_gone(&e) => Err(failed(e)),
            _ => Ok(()),
        }
    }

    fn entry(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        entry: node::Listed<'_>,
        below: &mut Vec<Vec<u8>>,
        reader: &mut Reader,
    ) -> std::io::Result<()> {
        let at = joined(path, entry.name);
        let kind = match entry.kind {
            NodeKind::Unknown => node::look(dir, entry.name).map(|node| node.kind),
            kind => Ok(kind),
        };
        let looked = match kind {
            Ok(NodeKind::Directory) => {
                below.push(at);
                Ok(())
            }
            Ok(_) => self.attributes(&at, Bearer::Named(dir.as_fd(), entry.name), reader),
            Err(e) => Err(e),
        };
        match looked {
            Err(e) if node::is_gone(&e) => Ok(()),
            looked => looked,
        }
    }

    fn attributes(&self, path: &[u8], bearer: Bearer<'_>, reader: &mut Reader) -> std::io::Result<()> {
        let list = reader.list(bearer)?;
        let refused = |name: &&CStr| attributes::fate(name) == Fate::Refused;
        for name in attributes::names(list).filter(refused) {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.count += 1;
            if found.named.len() < NAMED {
                found.named.push((shown(path), name.to_owned()));
            }
        }
        Ok(())
    }
}
