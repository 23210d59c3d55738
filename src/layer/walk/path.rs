//! Paths below the top, as bytes without a slash in front.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, PathBuf};

/// The path of a name in a directory.
pub(in crate::layer) fn joined(dir: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.count_bytes());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

/// A path for people; the top is `.`.
pub(in crate::layer) fn shown(path: &[u8]) -> PathBuf {
    if path.is_empty() { PathBuf::from(".") } else { PathBuf::from(OsStr::from_bytes(path)) }
}

/// What is left out, by the directory that it is in.
pub(super) fn by_directory(exclude: &[PathBuf]) -> HashMap<Vec<u8>, Vec<Box<[u8]>>> {
    let mut all: HashMap<Vec<u8>, Vec<Box<[u8]>>> = HashMap::new();
    for path in exclude {
        let names: Vec<&[u8]> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.as_bytes()),
                _ => None,
            })
            .collect();
        if let Some((last, dirs)) = names.split_last() {
            all.entry(dirs.join(&b'/')).or_default().push((*last).into());
        }
    }
    all
}
