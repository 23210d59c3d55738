//! Giving a copy the extended attributes of its original, and the flags that one of them stands for.

use std::ffi::CStr;
use std::io;

use super::Copier;
use super::file::Trouble;
use crate::layer::attributes::{self, Fate, PROTATTR};
use crate::layer::walk::{Folder, joined, refused, shown};
use crate::sys::node::Flags;
use crate::sys::xattr::{self, Bearer, Reader};

impl Copier<'_> {
    /// Copies the attributes that travel; returns the flags that one of them stands for.
    pub(super) fn copy_attributes(
        &self,
        folder: &Folder<Self>,
        name: &CStr,
        (source, target): (Bearer<'_>, Bearer<'_>),
        reader: &mut Reader,
    ) -> Result<Flags, Trouble> {
        let read = |e| Trouble::Source("read the attributes of", e);
        let list = reader.list(source).map_err(read)?;
        if list.is_empty() {
            return Ok(Flags::default());
        }
        let list = list.to_vec();
        let mut flags = Flags::default();
        for attribute in attributes::names(&list) {
            match attributes::fate(attribute) {
                Fate::Travels => (),
                Fate::Stays | Fate::Opaque => continue,
                Fate::Refused => {
                    let path = shown(&joined(&folder.opened.path, name));
                    return Err(refused(&path, attribute).into());
                }
            }
            let Some(value) = reader.get(source, attribute).map_err(read)? else { continue };
            if attribute == PROTATTR {
                flags = flags.with(protected(value));
            }
            set(target, attribute, value).map_err(|e| folder.failed("set an attribute of", name, e))?;
        }
        Ok(flags)
    }
}

/// Sets an attribute. What belongs to another kind of filesystem is left out.
pub(super) fn set(target: Bearer<'_>, attribute: &CStr, value: &[u8]) -> io::Result<()> {
    match target.set(attribute, value) {
        Err(e) if xattr::is_unsupported(&e) && attribute.to_bytes().starts_with(b"btrfs.") => Ok(()),
        result => result,
    }
}

/// The flags that overlayfs keeps in an attribute: it shows them on the file, and does not set them below.
///
/// It reads the attribute from an upper only. A copy becomes a lower, and must bear the flags themselves.
pub(super) fn protected(value: &[u8]) -> Flags {
    value.iter().fold(Flags::default(), |flags, letter| match letter {
        b'i' => flags.with(Flags::IMMUTABLE),
        b'a' => flags.with(Flags::APPEND),
        _ => flags,
    })
}
