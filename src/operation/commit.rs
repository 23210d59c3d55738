//! Commit: a snapshot that becomes the baseline.

use std::path::PathBuf;

use super::snapshot::{Made, Wanted};
use super::{Asked, Site};
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;

/// What a commit would hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Names.
    pub entries: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// A line for each entry, as far as there is room: `file /etc/hostname, 12 bytes`, `removed /etc/motd`.
    pub lines: Vec<String>,
    /// Whether `lines` has all of them.
    pub complete: bool,
}

/// Makes a snapshot of what is live and lets the baseline point at it. With `paths` (absolute in the merged tree), of
/// these only, on top of the present baseline.
pub fn commit(
    _site: &Site,
    _overlay: &str,
    _wanted: &Wanted,
    _paths: &[PathBuf],
    _asked: &Asked,
    _on_progress: &mut OnProgress<'_>,
) -> Result<Made> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// What [`commit`] would hold. Changes nothing.
pub fn preview(
    _site: &Site,
    _overlay: &str,
    _paths: &[PathBuf],
    _on_progress: &mut OnProgress<'_>,
) -> Result<Preview> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}
