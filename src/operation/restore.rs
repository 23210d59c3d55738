//! Restore and undo: asking for them, and saying beforehand what they would bring back.

use std::path::PathBuf;

use super::{Asked, Planned, Site};
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;
use crate::plan::Step;

/// What a restore or an undo would do.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Steps now.
    pub now: Vec<Step>,
    /// Steps at the next boot.
    pub at_boot: Vec<Step>,
    /// What it would bring back that may be dangerous: setuid files, older passwords, revoked keys; each with its path.
    pub warnings: Vec<String>,
}

/// Where single paths come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A snapshot over the base.
    Snapshot(u64),
    /// The base alone.
    Base,
}

/// What restoring paths did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries written or removed.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// A line for each, as far as there is room.
    pub lines: Vec<String>,
    /// Whether `lines` has all of them.
    pub complete: bool,
}

/// Asks for a new generation on snapshot `id`, at the next boot. Where the upper is in RAM there is no generation: the
/// baseline moves to `id` at once, the next boot begins on it, and the request that is returned has an empty id.
pub fn request(_site: &Site, _overlay: &str, _id: u64, _asked: &Asked) -> Result<Planned> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// What [`request`] and the next boot would do.
pub fn preview(_site: &Site, _overlay: &str, _id: u64, _asked: &Asked) -> Result<Preview> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Asks for the generation before, at the next boot.
pub fn request_undo(_site: &Site, _overlay: &str, _asked: &Asked) -> Result<Planned> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// What [`request_undo`] and the next boot would do.
pub fn preview_undo(_site: &Site, _overlay: &str, _asked: &Asked) -> Result<Preview> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Makes the paths (absolute in the merged tree) what they are in `from`, at once, through the mounted overlay.
pub fn paths(
    _site: &Site,
    _overlay: &str,
    _from: From,
    _paths: &[PathBuf],
    _dry_run: bool,
    _asked: &Asked,
    _on_progress: &mut OnProgress<'_>,
) -> Result<Restored> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}
