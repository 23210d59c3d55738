//! Snapshots: making one, deleting one, what its record says, and how many are kept.

use std::collections::BTreeMap;

use super::{Asked, Planned, Site};
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;

/// What a snapshot's record shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// For people; at most 128 bytes, no control characters.
    pub description: String,
    /// Free words.
    pub userdata: BTreeMap<String, String>,
}

/// A snapshot that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub id: u64,
    /// Names in it.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Files shared with the last one.
    pub reused: u64,
    /// `subvolume`, `reflink` or `copy`.
    pub strategy: String,
    /// `atomic` or `per-file`.
    pub consistency: String,
    /// Files that changed each time they were copied.
    pub unstable: Vec<String>,
    /// Snapshots that retention removed.
    pub removed: Vec<u64>,
}

/// Makes a snapshot of what is live, now.
pub fn create(
    _site: &Site,
    _overlay: &str,
    _wanted: &Wanted,
    _asked: &Asked,
    _on_progress: &mut OnProgress<'_>,
) -> Result<Made> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Asks for a snapshot at the next boot, before anything runs.
pub fn request(
    _site: &Site,
    _overlay: &str,
    _wanted: &Wanted,
    _commit: bool,
    _asked: &Asked,
) -> Result<Planned> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Deletes a snapshot: into the trash.
pub fn delete(_site: &Site, _overlay: &str, _id: u64, _asked: &Asked) -> Result<()> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Protects a snapshot from retention and deletion, or does so no longer.
pub fn set_protected(_site: &Site, _overlay: &str, _id: u64, _protected: bool) -> Result<()> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Changes what a snapshot's record says.
pub fn set_metadata(_site: &Site, _overlay: &str, _id: u64, _wanted: &Wanted) -> Result<()> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}
