//! `overlayctl reset` and `cancel`.

use std::collections::BTreeMap;

use super::args::{Arguments, Reset};
use super::output::Output;
use super::request::{losses, tell_requested, tell_steps};
use super::worker::{Back, Worker};
use super::{ask, source};
use crate::error::Result;

/// Asks for a reset, after a confirmation that names what will be lost.
pub(crate) fn reset(arguments: &Arguments, reset: &Reset, output: &Output) -> Result<u8> {
    source::no_boot_without_daemon(arguments, reset.now)?;
    if !reset.dry_run && !reset.yes {
        confirm(arguments, reset, output)?;
    }
    let worker = Worker::new(arguments, output)?;
    match reset.dry_run {
        true => tell_steps(arguments.target(), &worker.preview(Back::Reset)?, output),
        false => tell_requested(&worker.go(Back::Reset, reset.now)?, Back::Reset, reset.now, output),
    }
}

/// Takes the pending request back.
pub(crate) fn cancel(arguments: &Arguments, output: &Output) -> Result<u8> {
    let overlay = arguments.target();
    Worker::new(arguments, output)?.cancel()?;
    match output.is_json() {
        true => output.value(&BTreeMap::from([("overlay", overlay), ("result", "cancelled")]))?,
        false => {
            output.text(&format!("The request is taken back: the next boot leaves {overlay} as it is.\n"))?
        }
    }
    Ok(0)
}

fn confirm(arguments: &Arguments, reset: &Reset, output: &Output) -> Result<()> {
    let Some(overlay) = source::changeable(arguments, output)? else { return Ok(()) };
    if overlay.pending.as_ref().is_some_and(|p| p.action == "reset") && reset.now.is_none() {
        return Ok(());
    }
    ask::confirm(output, &losses(&overlay, Back::Reset, reset.now, &[]), "Reset it?")
}
