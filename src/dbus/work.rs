//! What jobs do, each on a thread of its own: one operation, and reports about it. No bus here.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::{Core, Report};
use super::errors::BusError;
use super::flags::Effect;
use super::jobs::{Details, Ended, Job, Work};
use crate::error::{Error, Result};
use crate::operation::{self, Asked};
use crate::store::trash::Deleted;
use crate::sys::process;

/// A deletion is not reported more often than this.
const PACE: Duration = Duration::from_millis(500);
/// Enough for walking a tree, far from the default of 8 MiB.
const STACK: usize = 512 << 10;

/// Runs a job on its thread; the last report says how it ended.
pub(super) fn start(core: &Arc<Core>, job: Job) {
    let (worker, id) = (core.clone(), job.id);
    let run = move || {
        let ended = run(&worker, &job).unwrap_or_else(|error| Ended::Failed(error.into()));
        worker.report(Report::Ended(job.id, ended));
    };
    let thread = std::thread::Builder::new().name(format!("job-{id}")).stack_size(STACK);
    if let Err(error) = thread.spawn(run) {
        let error = BusError::from(Error::io("start a thread for", format!("job {id}"), error));
        core.report(Report::Ended(id, Ended::Failed(error)));
    }
}

fn run(core: &Arc<Core>, job: &Job) -> Result<Ended> {
    let store = core.store()?;
    if job.cancel.load(Ordering::Relaxed) {
        return Ok(Ended::Canceled(Details::default()));
    }
    match job.work {
        Work::Reset(Effect::DryRun) => preview(core, job),
        Work::Reset(_) => reset(core, job),
        Work::Cleanup => cleanup(core, &store, job),
    }
}

fn reset(core: &Core, job: &Job) -> Result<Ended> {
    core.report(Report::Progress { id: job.id, stage: "requesting", percent: 0 });
    let planned = operation::request_reset(&core.site()?, &job.overlay, &asked(job))?;
    let request = planned.request;
    tracing::info!(
        message_id = crate::logging::message_id::RESET_REQUESTED,
        operation = "reset",
        overlay = %job.overlay,
        request = %request.id,
        by = %request.requested_by,
        "reset requested"
    );
    Ok(Ended::Done(Details {
        flags: vec![("was-pending", planned.steps.is_empty())],
        numbers: vec![("requested-at", request.requested_at)],
        texts: vec![("request", request.id), ("requested-by", request.requested_by)],
        ..Details::default()
    }))
}

fn preview(core: &Core, job: &Job) -> Result<Ended> {
    let preview = operation::preview_reset(&core.site()?, &job.overlay, &asked(job))?;
    let lines = |steps: &[crate::plan::Step]| steps.iter().map(ToString::to_string).collect();
    Ok(Ended::Done(Details {
        lists: vec![("now", lines(&preview.now)), ("at-boot", lines(&preview.at_boot))],
        ..Details::default()
    }))
}

/// Deletes at the lowest priority. Cut short, it goes on the next time.
fn cleanup(core: &Core, store: &Path, job: &Job) -> Result<Ended> {
    process::set_idle_priority();
    let trees = core.seen().map_or(0, |s| s.overlays.iter().map(|o| o.trash).sum::<u64>()).max(1);
    let mut told = Instant::now();
    let deleted = operation::empty_trash(store, &mut |done: Deleted| {
        if told.elapsed() >= PACE {
            told = Instant::now();
            let percent = u32::try_from(done.trees * 100 / trees).unwrap_or(100).min(99);
            core.report(Report::Progress { id: job.id, stage: "deleting", percent });
        }
        match job.cancel.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    let details = Details {
        numbers: vec![("trees", deleted.trees), ("entries", deleted.entries)],
        ..Details::default()
    };
    if job.cancel.load(Ordering::Relaxed) {
        return Ok(Ended::Canceled(details));
    }
    tracing::info!(
        message_id = crate::logging::message_id::CLEANUP_FINISHED,
        operation = "cleanup",
        trees = deleted.trees,
        entries = deleted.entries,
        "cleanup finished"
    );
    Ok(Ended::Done(details))
}

fn asked(job: &Job) -> Asked {
    Asked { by: format!("{} via D-Bus", job.by.name) }
}
