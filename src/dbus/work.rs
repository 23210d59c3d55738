//! What jobs do, each on a thread of its own: one operation, and reports about it. No bus here.

mod check;
mod requests;
mod snapshots;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::{Core, Report};
use super::errors::BusError;
use super::flags::{Effect, Taking};
use super::jobs::{Details, Ended, Job};
use super::task::Work;
use crate::error::{Error, Kind, Result};
use crate::layer::Progress;
use crate::logging::message_id;
use crate::operation::erase::{self, Cleaned, Stage};
use crate::operation::{Asked, Site, room};
use crate::sys::process;

/// Progress is not reported more often than this.
const PACE: Duration = Duration::from_millis(200);
/// Enough for walking a tree, far from the default of 8 MiB.
const STACK: usize = 512 << 10;
/// What an entry costs besides its bytes, in bytes that could have been copied meanwhile.
const ENTRY_COST: u64 = 16 << 10;
/// The longest list that a job tells.
const LIST: usize = 1000;

/// Runs a job on its thread; the last report says how it ended.
pub(super) fn start(core: &Arc<Core>, job: Job) {
    let (worker, id) = (core.clone(), job.id);
    let run = move || {
        let ended = run(&worker, &job).unwrap_or_else(|error| match error.kind() {
            Kind::Canceled => Ended::Canceled(Details::default()),
            _ => Ended::Failed(error.into()),
        });
        worker.report(Report::Ended(job.id, ended));
    };
    let thread = std::thread::Builder::new().name(format!("job-{id}")).stack_size(STACK);
    if let Err(error) = thread.spawn(run) {
        let error = BusError::from(Error::io("start a thread for", format!("job {id}"), error));
        core.report(Report::Ended(id, Ended::Failed(error)));
    }
}

fn run(core: &Arc<Core>, job: &Job) -> Result<Ended> {
    let site = core.site()?;
    if job.cancel.load(Ordering::Relaxed) {
        return Ok(Ended::Canceled(Details::default()));
    }
    let at = At { core, job, site: &site };
    let details = match &job.work {
        Work::Cleanup => return cleanup(&at),
        Work::Check(checking, reach) => check::check(&at, *checking, *reach)?,
        Work::Reset { wanted, effect: Effect::DryRun, .. } => requests::preview_reset(&at, wanted)?,
        Work::Reset { wanted, via, .. } => requests::reset(&at, wanted, via.as_deref())?,
        Work::Restore(id, Effect::DryRun) => requests::preview_restore(&at, *id)?,
        Work::Restore(id, _) => requests::restore(&at, *id)?,
        Work::Undo(Effect::DryRun) => requests::preview_undo(&at)?,
        Work::Undo(_) => requests::undo(&at)?,
        Work::Snapshot(wanted, Taking::Quiesced) => requests::snapshot(&at, wanted)?,
        Work::Snapshot(wanted, _) => snapshots::create(&at, wanted)?,
        Work::Commit(_, paths, Taking::DryRun) => snapshots::preview_commit(&at, paths)?,
        Work::Commit(wanted, paths, Taking::Quiesced) => requests::commit(&at, wanted, paths)?,
        Work::Commit(wanted, paths, Taking::Now) => snapshots::commit(&at, wanted, paths)?,
        Work::Paths(from, paths, effect) => snapshots::restore_paths(&at, *from, paths, *effect)?,
        Work::Delete(id) => snapshots::delete(&at, *id)?,
    };
    Ok(Ended::Done(details))
}

/// A job at its work.
struct At<'a> {
    core: &'a Core,
    job: &'a Job,
    site: &'a Site,
}

impl At<'_> {
    fn overlay(&self) -> &str {
        &self.job.overlay
    }

    fn by(&self) -> &str {
        &self.job.by.name
    }

    fn asked(&self) -> Asked {
        Asked { by: format!("{} via D-Bus", self.job.by.name), via: Some("D-Bus".to_owned()) }
    }

    fn stage(&self, stage: &'static str) {
        self.report(stage, 0, Progress::default());
    }

    fn report(&self, stage: &'static str, percent: u32, counts: Progress) {
        self.core.report(Report::Progress { id: self.job.id, stage, percent, counts });
    }

    /// Whether the work shall go on.
    fn flow(&self) -> ControlFlow<()> {
        match self.job.cancel.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// What an operation calls while it works: it reports, at once what is new and the rest at a bounded pace, and stops
    /// what was cancelled.
    fn on_progress<'b>(&'b self, stage: &'static str) -> impl FnMut(Progress) -> ControlFlow<()> + 'b {
        let mut told: Option<(Instant, &'static str)> = None;
        move |progress| {
            let known = progress.total_entries > 0 || progress.total_bytes > 0;
            let stage = if known { stage } else { "estimating" };
            if told.is_none_or(|(at, said)| said != stage || at.elapsed() >= PACE) {
                told = Some((Instant::now(), stage));
                self.report(stage, percent(&progress), progress);
            }
            self.flow()
        }
    }
}

/// Per cent of the work, weighed between entries and bytes; the end itself is told by the job's result.
fn percent(progress: &Progress) -> u32 {
    let cost = |entries: u64, bytes: u64| u128::from(entries) * u128::from(ENTRY_COST) + u128::from(bytes);
    let total = cost(progress.total_entries, progress.total_bytes);
    let done = cost(progress.entries, progress.bytes) * 100;
    u32::try_from(done.checked_div(total).unwrap_or(0)).unwrap_or(100).min(99)
}

/// A list of bounded length, and whether that is all of it.
fn bounded(mut list: Vec<String>, complete: bool) -> (Vec<String>, bool) {
    let complete = complete && list.len() <= LIST;
    list.truncate(LIST);
    (list, complete)
}

/// Lets go what may go where space is short.
fn make_room(at: &At<'_>) -> Result<()> {
    if at.core.seen().is_none_or(|status| !status.is_short()) {
        return Ok(());
    }
    for (overlay, removed) in room::make(at.site, &mut at.on_progress("deleting"))? {
        for snapshot in removed {
            tracing::info!(
                message_id = message_id::SNAPSHOT_DELETED,
                operation = "cleanup",
                overlay,
                snapshot,
                by = "overlayd",
                "snapshot deleted: space is short"
            );
        }
    }
    Ok(())
}

/// Deletes at the lowest priority. Cut short, it goes on the next time.
fn cleanup(at: &At<'_>) -> Result<Ended> {
    process::set_idle_priority();
    // What can not go must not keep the trash from going.
    make_room(at).unwrap_or_else(|e| tracing::warn!(operation = "cleanup", "failed to make room: {e}"));
    let trees = at.core.seen().map_or(0, |s| s.overlays.iter().map(|o| o.trash).sum::<u64>()).max(1);
    let mut told = Instant::now();
    let cleaned = erase::clean(&at.site.store, &mut |stage| {
        if told.elapsed() >= PACE {
            told = Instant::now();
            match stage {
                Stage::Deleting(done) => {
                    let percent = u32::try_from(done.trees * 100 / trees).unwrap_or(100).min(99);
                    at.report("deleting", percent, Progress { entries: done.entries, ..Progress::default() });
                }
                Stage::Trimming => at.report("trimming", 99, Progress::default()),
            }
        }
        at.flow()
    })?;
    let deleted = cleaned.deleted;
    let trimmed = cleaned.trimmed.map(|bytes| ("trimmed", bytes));
    let details = Details {
        numbers: [("trees", deleted.trees), ("entries", deleted.entries)]
            .into_iter()
            .chain(trimmed)
            .collect(),
        ..Details::default()
    };
    erased(&cleaned);
    if at.flow().is_break() {
        return Ok(Ended::Canceled(details));
    }
    tracing::info!(
        message_id = message_id::CLEANUP_FINISHED,
        operation = "cleanup",
        trees = deleted.trees,
        entries = deleted.entries,
        "cleanup finished"
    );
    Ok(Ended::Done(details))
}

/// Tells which resets are complete now.
fn erased(cleaned: &Cleaned) {
    if let Some(error) = &cleaned.untold {
        tracing::warn!(operation = "cleanup", "the device was not told what was deleted: {error}");
    }
    for (overlay, outcome) in &cleaned.erased {
        tracing::info!(
            message_id = message_id::ERASURE_COMPLETE,
            operation = "reset",
            overlay,
            request = outcome.request,
            level = outcome.level.word(),
            trimmed = cleaned.trimmed,
            secure = outcome.secure,
            reason = outcome.secure_why,
            "erasure complete"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_grows_with_entries_and_bytes_and_stops_short_of_the_end() {
        let progress =
            |entries, bytes| Progress { entries, bytes, total_entries: 100, total_bytes: 100 << 20 };
        assert_eq!(percent(&Progress::default()), 0);
        assert_eq!(percent(&progress(0, 0)), 0);
        assert!(percent(&progress(50, 0)) < percent(&progress(50, 50 << 20)));
        assert_eq!(percent(&progress(50, 50 << 20)), 50);
        assert_eq!(percent(&progress(100, 100 << 20)), 99);
        let huge = Progress { entries: u64::MAX, bytes: u64::MAX, total_entries: 1, total_bytes: 1 };
        assert_eq!(percent(&huge), 99);
    }

    #[test]
    fn a_list_that_was_cut_says_so() {
        assert_eq!(bounded(vec!["a".into()], true), (vec!["a".into()], true));
        let (list, complete) = bounded(vec![String::new(); LIST + 1], true);
        assert_eq!((list.len(), complete), (LIST, false));
        assert!(!bounded(vec![], false).1);
    }
}
