//! Restoring single paths, at once, through the mounted overlay: so the kernel keeps the upper in order.
//!
//! A file is replaced by a rename, once it is complete; a directory is made equal in place. What is mounted below is
//! neither entered nor removed. Symlinks are never followed.

mod copy;
mod equal;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::live::{self, Live};
use super::restore::{From, Restored};
use super::{Asked, Site, open, selection};
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;
use crate::plan::{Refusal, execute};
use crate::store::job::JobLock;
use crate::store::{Layout, OverlayView};
use crate::sys::overlay::OPTIONS;
use crate::sys::{mountinfo, node, view};
use equal::Equal;

/// Makes the paths what they are in `from`; `dry_run` only tells.
pub(super) fn restore(
    site: &Site,
    overlay: &str,
    from: From,
    paths: &[PathBuf],
    dry_run: bool,
    asked: &Asked,
    on_progress: &mut OnProgress<'_>,
) -> Result<Restored> {
    let layout = Layout::new(&site.store);
    let paths = selection::parse(site, overlay, paths)?;
    if paths.is_empty() {
        return Err(Refusal::new(
            Kind::InvalidArgs,
            "no path is given, or the whole tree",
            "without a path, restore takes effect at the next boot",
        )
        .into());
    }
    let what = format!("restoring of paths of {overlay}");
    let _job = (!dry_run).then(|| JobLock::take(&layout, &asked.by, &what)).transpose()?;
    let store = open(&site.store)?;
    let state = live::state(site, &store, overlay)?;
    let live = live::find(site, &state, overlay)?;
    let (Some(place), Some(base)) = (&live.mount_point, &live.base_dir) else {
        return Err(Error::new(
            Kind::Refused,
            format!("{overlay} is not mounted: single paths are restored through it"),
        )
        .remedy("restore the whole snapshot, which takes effect at the next boot"));
    };
    let mounts = Mounted::below(place, &live)?;
    for path in &paths {
        mounts.refuse(path)?;
    }
    let source = source(&layout, &state, overlay, from, base)?;
    let target = match dry_run {
        true => view::alone(place)?,
        false => view::writable(place, base)?,
    };
    let mut equal = Equal::new(&source, &target, &mounts, dry_run, on_progress);
    equal.count(&paths)?;
    for path in &paths {
        equal.path(path)?;
    }
    equal.finish()
}

/// The tree as it is in a snapshot or in the base.
fn source(layout: &Layout, state: &OverlayView, overlay: &str, from: From, base: &Path) -> Result<OwnedFd> {
    match from {
        From::Base => view::alone(base),
        From::Snapshot(id) => {
            execute::usable(state, id)?;
            let lowers = [layout.snapshot_fs(overlay, id), base.to_owned()];
            view::merged(&lowers, OPTIONS, &base.with_file_name("view"))
        }
    }
}

/// What is mounted below an overlay, as paths in it.
#[derive(Debug, Default)]
struct Mounted(Vec<PathBuf>);

impl Mounted {
    fn below(place: &Path, live: &Live) -> Result<Mounted> {
        // A root may be written with a slash at its end; the kernel's list has none.
        let place: PathBuf = place.components().collect();
        let mounts = mountinfo::read()?;
        let is_mask = |m: &mountinfo::Mount| m.root.starts_with("/systemd/inaccessible");
        let below = mounts.iter().filter(|m| !is_mask(m) && m.target != place);
        let paths = below.filter_map(|m| m.target.strip_prefix(&place).ok().map(Path::to_owned));
        let _ = live;
        Ok(Mounted(paths.collect()))
    }

    /// A path on another mount is not the overlay's.
    fn refuse(&self, path: &Path) -> Result<()> {
        match self.0.iter().find(|mount| path.starts_with(mount)) {
            None => Ok(()),
            Some(mount) => Err(Error::new(
                Kind::Refused,
                format!(
                    "/{} is not part of the overlay: something is mounted at /{}",
                    path.display(),
                    mount.display()
                ),
            )),
        }
    }

    /// Whether something is mounted at, or below, a path.
    fn touches(&self, path: &[u8]) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        self.0.iter().any(|mount| mount.starts_with(path))
    }

    /// Whether something is mounted at a path.
    fn is_at(&self, path: &[u8]) -> bool {
        self.0.iter().any(|mount| mount.as_os_str().as_bytes() == path)
    }
}

/// The directory and the last name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    }
}

fn joined(path: &[u8], name: &CString) -> Vec<u8> {
    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
    [path, slash, name.to_bytes()].concat()
}

/// The path, for messages.
fn at(path: &[u8]) -> PathBuf {
    Path::new("/").join(std::ffi::OsStr::from_bytes(path))
}

/// The names of a directory; none if it is not there.
fn names(top: &OwnedFd, path: &[u8]) -> Result<Vec<CString>> {
    let failed = |e| Error::io("list", at(path), e);
    let dir = match node::open_below(top, path) {
        Err(e) if node::is_gone(&e) => return Ok(Vec::new()),
        dir => dir.map_err(failed)?,
    };
    let mut names = Vec::new();
    node::list(&dir, |listed| names.push(listed.name.to_owned())).map_err(failed)?;
    names.sort();
    Ok(names)
}
