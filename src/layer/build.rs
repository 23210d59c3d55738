//! Building one layer out of several.

use std::path::Path;

use super::{Built, Estimate, OnProgress, Options, Stack};
use crate::error::{Error, Kind, Result};

/// Counts what [`build`] will take.
pub fn estimate(_stack: &Stack, _options: &Options, _on_progress: &mut OnProgress<'_>) -> Result<Estimate> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Builds in the new directory `into` one layer that, over the base, shows what the stack shows over it.
pub fn build(
    _stack: &Stack,
    _into: &Path,
    _options: &Options,
    _on_progress: &mut OnProgress<'_>,
) -> Result<Built> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}
