//! Repairs of a store that nothing else makes: each durable, each may be repeated, and nothing is ever deleted.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::{atomic, node};

/// Renames what lies at `path` to `NAME.damaged`, or `NAME.damaged.1` and so on, for whoever wants to look at it.
pub fn set_aside(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden names are temporary files, and this is none any more.
    let name = name.trim_start_matches('.');
    let place = |i: u32| match i {
        0 => path.with_file_name(format!("{name}.damaged")),
        i => path.with_file_name(format!("{name}.damaged.{i}")),
    };
    let free = (0..).map(place).find(|place| place.symlink_metadata().is_err());
    atomic::rename(path, &free.unwrap_or_else(|| place(0)))
}

/// Makes a private directory.
pub fn make_directory(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(Error::io("make", path, e)),
        _ => {}
    }
    set_mode(path, 0o700)?;
    path.parent().map_or(Ok(()), atomic::sync_dir)
}

/// Sets permissions.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Error::io("set the mode of", path, e))
}

/// Gives what lies at `path` to a user and their group. What is set-user-id does not stay so.
pub fn own(path: &Path, uid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))
        .map_err(|e| Error::io("change the owner of", path, e))
}

/// Clears what keeps a directory from being changed (`chattr -i -a`).
pub fn unfix(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(|e| Error::io("open", path, e))?;
    match node::unflag(&directory) {
        true => Ok(()),
        false => Err(Error::io("make changeable", path, nix::Error::EPERM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_never_written_over() {
        let dir = crate::sys::process::test_dir("mend");
        let path = dir.join("current");
        for content in ["one", "two", "three"] {
            fs::write(&path, content).unwrap();
            set_aside(&path).unwrap();
        }
        fs::create_dir(dir.join(".current.new")).unwrap();
        set_aside(&dir.join(".current.new")).unwrap();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(read("current.damaged"), "one");
        assert_eq!(read("current.damaged.2"), "three");
        assert!(dir.join("current.new.damaged").is_dir() && !path.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
