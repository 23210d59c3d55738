//! Reading files of another root: symbolic links resolve inside it, never out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use crate::sys::atomic;

/// The text of the file `path` (relative) inside `root`; `None` if there is none. The error is a clause for people.
pub fn read(root: &Path, path: &Path) -> Result<Option<String>, String> {
    match open_in(root, path, OFlag::O_RDONLY) {
        Ok(fd) => atomic::read_text(File::from(fd), path).map(Some).map_err(|e| e.message().to_owned()),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(e) => Err(format!("can not be opened: {}", e.desc().to_lowercase())),
    }
}

/// Whether there is something at `path` (relative) inside `root`.
pub fn exists(root: &Path, path: &Path) -> bool {
    open_in(root, path, OFlag::O_RDONLY).is_ok()
}

/// The names in the directory `path` (relative) inside `root`, without `.` and `..`; empty if there is none.
pub fn list(root: &Path, path: &Path) -> nix::Result<Vec<OsString>> {
    let fd = match open_in(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in Dir::from_fd(fd)?.iter() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn open_in(root: &Path, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(&root, path, how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn absolute_links_stay_inside_the_root() {
        let dir = crate::sys::process::test_dir("inroot");
        fs::create_dir_all(dir.join("etc/d")).unwrap();
        fs::write(dir.join("etc/real"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/real", dir.join("etc/link")).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.join("etc/d/masked")).unwrap();
        assert_eq!(read(&dir, Path::new("etc/link")).unwrap().as_deref(), Some("inside"));
        assert!(exists(&dir, Path::new("etc/link")) && !exists(&dir, Path::new("etc/none")));
        assert_eq!(read(&dir, Path::new("etc/none")).unwrap(), None);
        assert_eq!(list(&dir, Path::new("etc/d")).unwrap(), ["masked"]);
        assert_eq!(list(&dir, Path::new("none")).unwrap(), Vec::<OsString>::new());
        fs::remove_dir_all(dir).unwrap();
    }
}
