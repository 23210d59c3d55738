//! Views of merged trees for this process alone: descriptors of mounts that are attached nowhere.
//!
//! What is mounted below is not in them: neither read nor changed by accident.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::sys::{mount, overlay};

/// The directory `path` alone, as it is seen here.
pub fn alone(path: &Path) -> Result<OwnedFd> {
    mount::clone_tree(path).and_then(|tree| readable(&tree, path))
}

/// Layers over each other, topmost first, read-only. `scratch` is a directory for the oldest way of mounting.
pub fn merged(lowers: &[PathBuf], options: &str, scratch: &Path) -> Result<OwnedFd> {
    let tree = overlay::mount_read_only(lowers, options, scratch)?;
    readable(&tree, Path::new("the view of the layers"))
}

/// The directory that is mounted at `path`, writable even where this process sees it read-only, as a sandbox does.
/// `scratch` is any directory: something is mounted on it for an instant, in a namespace that nobody else sees.
pub fn writable(path: &Path, scratch: &Path) -> Result<OwnedFd> {
    let (path, scratch) = (path.to_owned(), scratch.to_owned());
    // A namespace belongs to a thread; this one must keep its own.
    let made = std::thread::Builder::new().name("view".to_owned()).spawn(move || -> Result<OwnedFd> {
        mount::private_namespace()?;
        mount::attach(mount::clone_tree(&path)?, &scratch)?;
        mount::allow_writing(&scratch)?;
        let file = File::open(&scratch).map_err(|e| Error::io("open", &scratch, e))?;
        mount::detach(&scratch)?;
        Ok(file.into())
    });
    let thread = made.map_err(|e| Error::io("start", "a thread", e))?;
    thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Failed, "the thread that prepares a view died")))
}

/// A mount's descriptor only names it.
fn readable(tree: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let at = format!("/proc/self/fd/{}", tree.as_raw_fd());
    File::open(at).map(OwnedFd::from).map_err(|e| Error::io("open", path, e))
}
