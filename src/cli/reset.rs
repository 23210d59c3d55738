//! `overlayctl reset` and `cancel`.

use std::collections::BTreeMap;

use super::args::{Arguments, Reset};
use super::output::Output;
use super::request::{losses, tell_requested};
use super::worker::{Back, Worker};
use super::{ask, loss, source};
use crate::error::Result;
use crate::plan::request::Resetting;
use crate::store::records::Level;

/// Asks for a reset, after a confirmation that names what will be lost.
pub(crate) fn reset(arguments: &Arguments, reset: &Reset, output: &Output) -> Result<u8> {
    source::no_boot_without_daemon(arguments, reset.now)?;
    let wanted = Resetting { level: level(reset), keep: reset.keep.clone(), drop_kept: reset.drop_kept };
    wanted.check()?;
    if !reset.dry_run && !reset.yes {
        confirm(arguments, reset, &wanted, output)?;
    }
    let worker = Worker::new(arguments, output)?;
    let back = Back::Reset { wanted: wanted.clone(), via: reset.via.clone() };
    match reset.dry_run {
        true => loss::tell(arguments.target(), &worker.losses(&wanted)?, output),
        false => tell_requested(&worker.go(&back, reset.now)?, &back, reset.now, output),
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

fn level(reset: &Reset) -> Level {
    match (reset.factory, reset.wipe) {
        (_, true) => Level::Wipe,
        (true, false) => Level::Factory,
        (false, false) => Level::Baseline,
    }
}

fn confirm(arguments: &Arguments, reset: &Reset, wanted: &Resetting, output: &Output) -> Result<()> {
    let Some((status, overlay)) = source::everything(arguments, output)? else { return Ok(()) };
    let same = |p: &crate::status::Pending| p.action == "reset" && p.level == wanted.level.word();
    if overlay.pending.as_ref().is_some_and(same) && reset.now.is_none() {
        return Ok(());
    }
    match wanted.level {
        Level::Baseline => {
            let back = Back::Reset { wanted: wanted.clone(), via: None };
            let about = losses(&overlay, &back, reset.now, &[]) + &loss::kept(wanted);
            ask::confirm(output, &about, "Reset it?")
        }
        Level::Factory => {
            ask::confirm(output, &loss::for_good(&status, &overlay, wanted, reset.now), "Delete all of it?")
        }
        Level::Wipe => ask::word(output, &loss::for_good(&status, &overlay, wanted, reset.now), "wipe"),
    }
}
