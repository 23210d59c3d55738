//! Which extended attributes of a layer travel into a copy of it. Pure.
//!
//! `trusted.overlay.` is overlayfs's own: marks about this one upper and its lowers mean nothing in a copy, or mislead.
//! See <https://docs.kernel.org/filesystems/overlayfs.html>.

use std::ffi::CStr;

pub(crate) use crate::sys::xattr::names;

/// Whether a directory hides what is below it: `y`, or `x`: it contains whiteouts in the form of attributes.
pub(crate) const OPAQUE: &CStr = c"trusted.overlay.opaque";
/// On an empty file: it is a whiteout.
pub(crate) const WHITEOUT: &CStr = c"trusted.overlay.whiteout";
/// On a directory: where it was copied up from. Empty: not known, but it may contain whiteouts.
#[cfg(feature = "host")]
pub(super) const ORIGIN: &CStr = c"trusted.overlay.origin";
/// Inode flags that the overlay shows, but that its upper file does not bear.
pub(crate) const PROTATTR: &CStr = c"trusted.overlay.protattr";

const PRIVATE: &[u8] = b"trusted.overlay.";

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is copied.
    Travels,
    /// It is left out.
    Stays,
    /// It says how layers are merged, and is decided anew.
    Opaque,
    /// It makes the layer depend on another.
    Refused,
}

/// What becomes of the attribute of this name.
pub(crate) fn fate(name: &CStr) -> Fate {
    let Some(private) = name.to_bytes().strip_prefix(PRIVATE) else { return Fate::Travels };
    match private {
        b"opaque" => Fate::Opaque,
        b"whiteout" | b"protattr" => Fate::Travels,
        b"metacopy" | b"redirect" => Fate::Refused,
        // What an overlay on top of this one wrote through it, and will read through it.
        _ if private.starts_with(b"overlay.") => Fate::Travels,
        _ => Fate::Stays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        for name in
            [c"user.a", c"user.overlay.origin", c"security.capability", c"trusted.x", c"trusted.overlayfs.x"]
        {
            assert_eq!(fate(name), Fate::Travels, "{name:?}");
        }
        for name in
            [WHITEOUT, PROTATTR, c"trusted.overlay.overlay.origin", c"trusted.overlay.overlay.redirect"]
        {
            assert_eq!(fate(name), Fate::Travels, "{name:?}");
        }
        for name in ["origin", "impure", "nlink", "uuid", "upper", "verity", "tmpfile", "unheard-of"] {
            let name = std::ffi::CString::new(format!("trusted.overlay.{name}")).unwrap();
            assert_eq!(fate(&name), Fate::Stays, "{name:?}");
        }
        assert_eq!(fate(OPAQUE), Fate::Opaque);
        assert_eq!(fate(c"trusted.overlay.metacopy"), Fate::Refused);
        assert_eq!(fate(c"trusted.overlay.redirect"), Fate::Refused);
    }
}
