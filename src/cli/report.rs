//! `overlayctl status` and `list`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::args::Arguments;
use super::output::Output;
use super::{source, status};
use crate::error::Result;

/// One page of truth.
pub(crate) fn status(arguments: &Arguments, output: &Output) -> Result<u8> {
    let status = source::select(source::status(arguments, output)?, arguments.overlay.as_deref())?;
    match output.is_json() {
        true => output.value(&status)?,
        false => output.text(&status::render(&status, now(), output.paint()))?,
    }
    Ok(0)
}

/// One line an overlay.
pub(crate) fn list(arguments: &Arguments, output: &Output) -> Result<u8> {
    let status = source::select(source::status(arguments, output)?, arguments.overlay.as_deref())?;
    match output.is_json() {
        true => output.value(&status.overlays)?,
        false => output.text(&status::table(&status))?,
    }
    Ok(0)
}

/// Unix time in seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
