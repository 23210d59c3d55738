//! Opening one directory in all the layers that have it, and listing it.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::{Maker, Opened, Waiting, Walk, refused, shown};
use crate::error::{Error, Kind, Result};
use crate::layer::attributes::{self, Fate};
use crate::layer::merge::{Layers, Listing};
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

impl<M: Maker> Walk<'_, M> {
    /// Opens a directory in all its layers. None if it is not there any more.
    pub(super) fn open(&self, waiting: &Waiting, listing: &mut Listing) -> Result<Option<Opened>> {
        let mut opened: Option<Opened> = None;
        let mut reader = Reader::default();
        for layer in waiting.merged.iter() {
            let at = || self.stack.layers[layer].join(shown(&waiting.path));
            let dir = match node::open_below(&self.tops[layer], &waiting.path) {
                Ok(dir) => dir,
                Err(e) if node::is_gone(&e) => match opened {
                    Some(_) => continue,
                    None => return Ok(None),
                },
                Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {
                    let text = format!("cannot copy {}: something is mounted there", at().display());
                    return Err(Error::new(Kind::Refused, text));
                }
                Err(e) => return Err(Error::io("open", at(), e)),
            };
            // First, so that whatever changes from now on shows in its times.
            let node = node::look_at(&dir).map_err(|e| Error::io("examine", at(), e))?;
            let (attributes, value) = self.attributes(&dir, &waiting.path, &mut reader)?;
            let opaque = value.as_slice() == b"y";
            let mut failure = None;
            let each = |listed: node::Listed<'_>| {
                let kind = match listed.kind {
                    NodeKind::Unknown => node::look(&dir, listed.name).map(|node| node.kind),
                    kind => Ok(kind),
                };
                match kind {
                    Ok(kind) => listing.add(layer, &node::Listed { kind, ..listed }),
                    Err(e) if node::is_gone(&e) => (),
                    Err(e) => failure = Some(e),
                }
            };
            match node::list(&dir, each) {
                Ok(()) => (),
                // It was removed after it was opened.
                Err(e) if node::is_gone(&e) => return Ok(None),
                Err(e) => return Err(Error::io("list", at(), e)),
            }
            if let Some(e) = failure {
                return Err(Error::io("examine", at(), e));
            }
            let opened = match &mut opened {
                Some(opened) => opened,
                None => opened.insert(self.topmost(waiting, (layer, node), &dir, attributes)),
            };
            if value.as_slice() == b"x" {
                opened.marked = opened.marked.and(layer);
            }
            opened.layers[layer] = Some(dir);
            if opaque {
                opened.opaque = true;
                break;
            }
        }
        Ok(opened.map(|opened| Opened { base_shows: opened.base_shows && !opened.opaque, ..opened }))
    }

    fn topmost(
        &self,
        waiting: &Waiting,
        (layer, node): (usize, Node),
        dir: &OwnedFd,
        attributes: Vec<(CString, Vec<u8>)>,
    ) -> Opened {
        Opened {
            path: waiting.path.clone().into(),
            node,
            layer,
            attributes,
            opaque: waiting.blocked,
            flags: node::flags(dir),
            layers: Default::default(),
            marked: Layers::default(),
            base_shows: waiting.base_shows,
            excluded: self.excluded.get(&*waiting.path).cloned().unwrap_or_default(),
            length: 0,
        }
    }

    /// A directory's attributes that travel, and the value of its opaque mark.
    #[expect(clippy::type_complexity, reason = "a list and a value")]
    fn attributes(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        reader: &mut Reader,
    ) -> Result<(Vec<(CString, Vec<u8>)>, Vec<u8>)> {
        let failed = |e| Error::io("read the attributes of", shown(path), e);
        let bearer = Bearer::Open(std::os::fd::AsFd::as_fd(dir));
        let list = reader.list(bearer).map_err(failed)?.to_vec();
        let (mut all, mut opaque) = (Vec::new(), Vec::new());
        for name in attributes::names(&list) {
            let fate = attributes::fate(name);
            match fate {
                Fate::Stays => continue,
                Fate::Refused => return Err(refused(&shown(path), name)),
                Fate::Travels | Fate::Opaque => (),
            }
            let Some(value) = reader.get(bearer, name).map_err(failed)? else { continue };
            if fate == Fate::Opaque {
                opaque = value.to_vec();
            } else {
                all.push((name.to_owned(), value.to_vec()));
            }
        }
        Ok((all, opaque))
    }
}
