//! The steps that change the store.

use crate::error::Result;
use crate::plan::Step;
use crate::store::{Layout, reserve, write};

/// Executes the store's steps of a plan in order; others are not its business and are passed over.
pub fn run(layout: &Layout, steps: &[Step]) -> Result<()> {
    for step in steps {
        apply(layout, step)?;
    }
    Ok(())
}

/// Executes one step; false if it is not one of the store's.
pub fn apply(layout: &Layout, step: &Step) -> Result<bool> {
    tracing::debug!(step = %step, "executing");
    match step {
        Step::CreateStore(record) => write::create_store(layout, record)?,
        Step::FillReserve(bytes) => reserve::fill(layout, *bytes)?,
        Step::ReleaseReserve => reserve::release(layout)?,
        Step::ReleaseSpare => reserve::release_spare(layout)?,
        Step::MakeOverlay(overlay) => write::make_overlay(layout, overlay)?,
        Step::MakeGeneration(overlay, record) => write::make_generation(layout, overlay, record)?,
        Step::KeepFiles { overlay, generation, kept } => {
            write::keep_files(layout, overlay, *generation, kept)?;
        }
        Step::PointCurrent(overlay, number) => write::point_current(layout, overlay, *number)?,
        Step::PointBaseline(overlay, snapshot) => write::point_baseline(layout, overlay, *snapshot)?,
        Step::TakeSnapshotNumber(overlay, id) => write::take_snapshot_number(layout, overlay, *id)?,
        Step::PrepareSeal(overlay, record) => write::prepare_seal(layout, overlay, record)?,
        Step::SealFiles { overlay, generation, snapshot } => {
            write::seal_files(layout, overlay, *generation, *snapshot)?;
        }
        Step::DiscardSnapshot(overlay, name) => write::discard_snapshot(layout, overlay, name)?,
        Step::RememberTriggers(marks) => write::remember_triggers(layout, marks)?,
        Step::CountBoot(overlay, record) => write::write_health(layout, overlay, record)?,
        Step::WriteRequest(overlay, record) => write::write_request(layout, overlay, record)?,
        Step::WriteOutcome(overlay, record) => write::write_outcome(layout, overlay, record)?,
        Step::Discard(overlay, name) => write::discard(layout, overlay, name)?,
        Step::DiscardOther { overlay, path } => write::discard_other(layout, overlay, path)?,
        Step::RemoveRequest(overlay) => write::remove_request(layout, overlay)?,
        Step::SetRequestAside(overlay) => write::set_request_aside(layout, overlay)?,
        _ => return Ok(false),
    }
    Ok(true)
}
