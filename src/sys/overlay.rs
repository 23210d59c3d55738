//! Mounting an overlayfs, by the best way this kernel has. The result is detached: probe it, then attach it.
//!
//! | kernel | layers are given as |
//! | --- | --- |
//! | 6.13 | file descriptors: a path in someone else's namespace never matters |
//! | 6.7 | one path a call (`lowerdir+`): no escaping, no page-size limit |
//! | 5.2 | one option string for mount(2), escaped |

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::mount::MountAttrFlags;

use crate::error::{Error, Kind, Result};
use crate::sys::mount::{self, FsContext};

/// Options of every generation made by this version (invariant 9).
pub const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=nofollow,xino=auto";

/// What to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Shown as the source of the mount.
    pub name: String,
    /// Read-only layers, highest first.
    pub lowers: Vec<PathBuf>,
    /// The writable layer; empty: there is none, and the overlay is read-only.
    pub upper: PathBuf,
    /// Its work directory.
    pub work: PathBuf,
    /// Comma-separated `key=value`.
    pub options: String,
}

/// How layers are given to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// fsconfig with descriptors.
    Descriptors,
    /// fsconfig with paths.
    Paths,
    /// mount(2).
    OneString,
}

/// Mounts `overlay`, detached, in the best flavour that works. `scratch` is a directory for the oldest flavour.
pub fn mount(overlay: &Overlay, scratch: &Path) -> Result<OwnedFd> {
    mount_with(overlay, MountAttrFlags::empty(), scratch)
}

/// Mounts at least two layers over each other, detached and read-only.
pub fn mount_read_only(lowers: &[PathBuf], options: &str, scratch: &Path) -> Result<OwnedFd> {
    let view = Overlay {
        name: "overlayd:view".to_owned(),
        lowers: lowers.to_vec(),
        upper: PathBuf::new(),
        work: PathBuf::new(),
        options: options.to_owned(),
    };
    mount_with(&view, mount::PRIVATE.union(MountAttrFlags::MOUNT_ATTR_RDONLY), scratch)
}

fn mount_with(overlay: &Overlay, attributes: MountAttrFlags, scratch: &Path) -> Result<OwnedFd> {
    for flavour in [Flavour::Descriptors, Flavour::Paths] {
        match configure(overlay, flavour)? {
            Configured::Ready(context) => return context.mount(attributes),
            Configured::NotThisWay => {}
            Configured::Legacy => break,
        }
    }
    mount_one_string(overlay, scratch)
}

/// Mounts `overlay` in exactly one flavour; the tests of the fallbacks use it.
pub fn mount_as(overlay: &Overlay, flavour: Flavour, scratch: &Path) -> Result<OwnedFd> {
    if flavour == Flavour::OneString {
        return mount_one_string(overlay, scratch);
    }
    match configure(overlay, flavour)? {
        Configured::Ready(context) => context.mount(MountAttrFlags::empty()),
        _ => Err(Error::new(Kind::NotSupported, "this kernel does not take layers in that way")),
    }
}

enum Configured {
    Ready(FsContext),
    /// This kernel does not take layers in this way.
    NotThisWay,
    /// overlayfs does not speak the new interface at all (before 6.5): it would take any key, and fail later.
    Legacy,
}

fn configure(overlay: &Overlay, flavour: Flavour) -> Result<Configured> {
    let context = FsContext::new("overlay", format!("overlay {}", overlay.name))?;
    context.string("source", Path::new(&overlay.name))?;
    for (i, (key, path)) in layers(overlay).enumerate() {
        // The first layer tells whether the kernel knows this way; later failures are real ones.
        match set_layer(&context, key, path, flavour) {
            Err(e) if i == 0 && e.errno() == Some(Errno::EINVAL as i32) => return Ok(Configured::NotThisWay),
            Err(e) if i == 0 && e.errno() == Some(Errno::EOPNOTSUPP as i32) => return Ok(Configured::Legacy),
            other => other?,
        }
    }
    for option in overlay.options.split(',').filter(|o| !o.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => context.string(key, Path::new(value))?,
            None => context.flag(option)?,
        }
    }
    Ok(Configured::Ready(context))
}

fn layers(overlay: &Overlay) -> impl Iterator<Item = (&'static str, &PathBuf)> {
    let lowers = overlay.lowers.iter().map(|path| ("lowerdir+", path));
    let writable = [("upperdir", &overlay.upper), ("workdir", &overlay.work)];
    lowers.chain(writable.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()))
}

fn set_layer(context: &FsContext, key: &str, path: &Path, flavour: Flavour) -> Result<()> {
    match flavour {
        Flavour::Descriptors => {
            let directory = File::open(path).map_err(|e| Error::io("open layer", path, e))?;
            context.fd(key, directory.as_fd())
        }
        // The kernel takes backslashes out of these two, and of these two only (fs/overlayfs/params.c).
        _ if key != "lowerdir+" => context.string(key, OsString::from_vec(escape(path.as_os_str(), b"\\"))),
        _ => context.string(key, path),
    }
}

/// Mounts on `scratch`, takes a detached copy, and unmounts it there again.
fn mount_one_string(overlay: &Overlay, scratch: &Path) -> Result<OwnedFd> {
    fs::create_dir_all(scratch).map_err(|e| Error::io("make", scratch, e))?;
    let data = one_string(overlay);
    nix::mount::mount(
        Some(overlay.name.as_str()),
        scratch,
        Some("overlay"),
        MsFlags::empty(),
        Some(data.as_os_str()),
    )
    .map_err(|e| Error::io("mount the overlay", &overlay.name, e))?;
    let detached = mount::clone_tree(scratch);
    mount::detach(scratch)?;
    detached
}

fn one_string(overlay: &Overlay) -> OsString {
    let lowers: Vec<Vec<u8>> = overlay.lowers.iter().map(|l| escape(l.as_os_str(), b":,\\")).collect();
    let mut data = b"lowerdir=".to_vec();
    data.extend(lowers.join(&b':'));
    for (key, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        if !path.as_os_str().is_empty() {
            data.extend(format!(",{key}=").bytes());
            data.extend(escape(path.as_os_str(), b",\\"));
        }
    }
    if !overlay.options.is_empty() {
        data.push(b',');
        data.extend(overlay.options.as_bytes());
    }
    OsString::from_vec(data)
}

/// Puts a backslash before each of `special` (Documentation/filesystems/overlayfs.rst).
fn escape(text: &OsStr, special: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if special.contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_string_escapes_separators() {
        let overlay = Overlay {
            name: "o".into(),
            lowers: vec!["/a:b".into(), "/c,d".into()],
            upper: "/u:,x".into(),
            work: "/w\\".into(),
            options: "index=off".into(),
        };
        let data = one_string(&overlay).into_string().unwrap();
        assert_eq!(data, "lowerdir=/a\\:b:/c\\,d,upperdir=/u:\\,x,workdir=/w\\\\,index=off");
    }
}
