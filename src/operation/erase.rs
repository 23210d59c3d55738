//! The end of a reset to the image: what it gave up is deleted, the device is told to forget it, and only then the record
//! says so. Every part can be repeated: who is interrupted begins again.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{open, set_aside_again};
use crate::error::Result;
use crate::exec;
use crate::plan::Step;
use crate::plan::erasure::{Erased, Erasure, verdict};
use crate::store::lock::StoreLock;
use crate::store::records::OutcomeRecord;
pub use crate::store::records::{COMPLETE, ERASING};
use crate::store::trash::{self, Deleted};
use crate::store::{Layout, OverlayView, StoreView};
use crate::sys::{btrfs, space, trim};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Trees are deleted, so far this many.
    Deleting(Deleted),
    /// The device is told what is free.
    Trimming,
}

/// Called now and then; `Break` stops it, but for the instant in which the device is told.
pub type OnStage<'a> = dyn FnMut(Stage) -> ControlFlow<()> + 'a;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What was deleted.
    pub deleted: Deleted,
    /// Bytes that the device was told to forget; none if it can not, or nothing had to be erased.
    pub trimmed: Option<u64>,
    /// Why the device could not be told, although it may know how.
    pub untold: Option<String>,
    /// Resets whose erasure is complete now, with their overlays.
    pub erased: Vec<(String, OutcomeRecord)>,
}

/// Freed blocks may come back late; until this many looks in a row show no more of them.
const QUIET_LOOKS: u32 = 5;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Less is what a running system deletes by itself.
const NOISE: u64 = 1 << 20;
/// Then it goes on all the same.
const PATIENCE: Duration = Duration::from_secs(300);

/// Deletes what lies in the trash; and if that was given up by a reset to the image, ends that reset.
pub fn clean(store: &Path, on_stage: &mut OnStage<'_>) -> Result<Cleaned> {
    let layout = Layout::new(store);
    let deleted = trash::empty(&layout, &mut |deleted| on_stage(Stage::Deleting(deleted)))?;
    let mut cleaned = Cleaned { deleted, ..Cleaned::default() };
    let told = !ready(&open(store)?).is_empty() && forget(&layout, &mut cleaned, on_stage)?;
    set_aside_again(&layout)?;
    if told {
        record(&layout, &mut cleaned)?;
    }
    Ok(cleaned)
}

/// Has the device told what is free. False if it was stopped.
fn forget(layout: &Layout, cleaned: &mut Cleaned, on_stage: &mut OnStage<'_>) -> Result<bool> {
    // The ballast is made of blocks that were free once, and still holds what was in them.
    let lock = StoreLock::exclusive(layout)?;
    exec::store::run(layout, &[Step::ReleaseReserve])?;
    drop(lock);
    if !settle(layout.root(), on_stage)? {
        return Ok(false);
    }
    match trim::free_blocks(layout.root()) {
        Ok(trimmed) => cleaned.trimmed = trimmed,
        Err(error) => cleaned.untold = Some(error.to_string()),
    }
    Ok(true)
}

/// Says in every outcome that is concerned that it is complete, and what it is worth.
fn record(layout: &Layout, cleaned: &mut Cleaned) -> Result<()> {
    let _lock = StoreLock::exclusive(layout)?;
    cleaned.erased = ready(&open(layout.root())?);
    for (overlay, record) in &mut cleaned.erased {
        let done = if cleaned.trimmed.is_some() { Erased::Trimmed } else { Erased::Deleted };
        let (word, why) = verdict(&Erasure::of_files(record.level, done));
        record.erasure = Some(COMPLETE.to_owned());
        (record.secure, record.secure_why) = (Some(word.to_owned()), Some(why.to_owned()));
        exec::store::run(layout, &[Step::WriteOutcome(overlay.clone(), record.clone())])?;
    }
    Ok(())
}

/// Whether a reset gave something up that may still be there.
pub fn is_erasing(outcome: &OutcomeRecord) -> bool {
    outcome.erasure.as_deref() == Some(ERASING)
}

/// The resets of which everything is deleted, and that do not say so yet. A root's reset concerns every overlay.
fn ready(view: &StoreView) -> Vec<(String, OutcomeRecord)> {
    if view.overlays.values().any(|state| !state.trash.is_empty()) {
        return Vec::new();
    }
    let record = |state: &OverlayView| match (&state.outcome, &state.request) {
        // The boot that executes it was interrupted: there is more to come.
        (Some(Ok(outcome)), Some(Ok(request))) if request.id == outcome.request => None,
        (Some(Ok(outcome)), _) if is_erasing(outcome) => Some(outcome.clone()),
        _ => None,
    };
    view.overlays.iter().filter_map(|(name, state)| Some((name.clone(), record(state)?))).collect()
}

/// Waits until the blocks of what was deleted are free: XFS and btrfs free them in the background, ext4 with the
/// journal. False if it was stopped.
fn settle(store: &Path, on_stage: &mut OnStage<'_>) -> Result<bool> {
    let end = Instant::now() + PATIENCE;
    let (mut free, mut quiet) = (0, 0);
    while quiet < QUIET_LOOKS && Instant::now() < end {
        if on_stage(Stage::Trimming).is_break() {
            return Ok(false);
        }
        btrfs::free_deleted(store)?;
        trim::write_out(store)?;
        let now = space::of(store)?.bytes_free;
        quiet = if now > free + NOISE { 0 } else { quiet + 1 };
        free = now;
        thread::sleep(PAUSE);
    }
    Ok(true)
}
