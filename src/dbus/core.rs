//! What the interfaces, the jobs' threads and the main loop share: the last look at the status, the jobs, and who
//! is being served. It knows no bus.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zruntime::{Event, EventListener, SharedRuntime};

use super::jobs::{Ended, Job, Jobs};
use super::wait;
use crate::error::{Error, Kind, Result};
use crate::layer::Progress;
use crate::operation::Site;
use crate::status::{self, OverlayStatus, Sources, Status};

/// A walk of the upper is not repeated more often than this, whoever asks.
const FULL_AGE: Duration = Duration::from_secs(3);
/// Nor is any other look.
const QUICK_AGE: Duration = Duration::from_millis(200);

/// Nobody waits longer than this for a quick look: a device that hangs must not keep the main loop, which feeds the
/// watchdog, nor a client.
const QUICK_LIMIT: Duration = Duration::from_secs(10);
/// The same of a walk of the upper; clients of D-Bus wait 25 s.
const FULL_LIMIT: Duration = Duration::from_secs(20);

/// Where the daemon finds its things; the defaults are those of a running system.
#[derive(Clone, Debug)]
pub struct Places {
    /// The store; none if early boot mounted none.
    pub store: Option<PathBuf>,
    /// The boot handoff.
    pub handoff: PathBuf,
    /// The root below which the configuration lies.
    pub root: PathBuf,
}

/// What a thread tells the main loop.
#[derive(Debug)]
pub(super) enum Report {
    /// A job is this far.
    Progress {
        /// The job.
        id: u64,
        /// What it is at.
        stage: &'static str,
        /// Per cent.
        percent: u32,
        /// What is done, and how much there is.
        counts: Progress,
    },
    /// A job is over.
    Ended(u64, Ended),
}

/// How much a look must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything but what the upper holds, which takes a walk of it.
    Quick,
    /// Everything.
    Full,
}

/// The shared part of the daemon.
#[derive(Debug)]
pub(super) struct Core {
    places: Places,
    state: Mutex<State>,
    /// Diffs that are being written, and whether they shall end.
    streams: AtomicUsize,
    closing: AtomicBool,
    /// Something for the main loop to do.
    pub(super) wake: Event,
    looked: Event,
}

#[derive(Debug)]
struct State {
    /// Clients can call: from here on readers wait for the first look.
    serving: bool,
    look: Option<Look>,
    looking: bool,
    jobs: Jobs,
    reports: Vec<Report>,
    calls: usize,
}

#[derive(Clone, Debug)]
struct Look {
    status: Arc<Status>,
    quick: Instant,
    full: Option<Instant>,
}

/// A call that is being served; the daemon does not exit before it is over.
#[derive(Debug)]
pub(super) struct Call<'a>(&'a Core);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.lock().calls -= 1;
        self.0.wake.notify(usize::MAX);
    }
}

impl Core {
    /// Nothing looked at, no job.
    pub(super) fn new(places: Places, first_job: u64) -> Self {
        let state = State {
            serving: false,
            look: None,
            looking: false,
            jobs: Jobs::new(first_job),
            reports: Vec::new(),
            calls: 0,
        };
        Core {
            places,
            state: Mutex::new(state),
            streams: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            wake: Event::new(),
            looked: Event::new(),
        }
    }

    /// Clients can call from now on.
    pub(super) fn serve(&self) {
        self.lock().serving = true;
    }

    /// Where operations find their things, or why there is no store.
    pub(super) fn site(&self) -> Result<Site> {
        Ok(Site {
            store: self.store()?,
            handoff: Some(self.places.handoff.clone()),
            root: self.places.root.clone(),
        })
    }

    /// The store, or why there is none: early boot has said so, and it is part of the status.
    pub(super) fn store(&self) -> Result<PathBuf> {
        self.places.store.clone().ok_or_else(|| {
            let why = self.seen().and_then(|status| {
                let degraded = status.overlays.iter().find_map(|o| o.degraded.clone());
                degraded.or_else(|| status.problems.first().cloned())
            });
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            Error::new(Kind::StoreUnavailable, format!("no store is mounted{why}"))
                .remedy("`overlayctl status` shows the mode and every problem")
        })
    }

    /// Works on the jobs.
    pub(super) fn jobs<R>(&self, work: impl FnOnce(&mut Jobs) -> R) -> R {
        work(&mut self.lock().jobs)
    }

    /// One job.
    pub(super) fn job(&self, id: u64) -> Option<Job> {
        self.lock().jobs.get(id).cloned()
    }

    /// The number of the job that waits or runs on an overlay.
    pub(super) fn active_job(&self, overlay: &str) -> Option<u64> {
        self.lock().jobs.active(overlay).map(|j| j.id)
    }

    /// A thread's report, for the main loop.
    pub(super) fn report(&self, report: Report) {
        self.lock().reports.push(report);
        self.wake.notify(usize::MAX);
    }

    /// Reports that the main loop has not seen yet.
    pub(super) fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.lock().reports)
    }

    /// Marks a call as being served.
    pub(super) fn enter(&self) -> Call<'_> {
        self.lock().calls += 1;
        Call(self)
    }

    /// Counts one more diff that is being written, unless there are `most` already.
    pub(super) fn begin_stream(&self, most: usize) -> bool {
        let one_more = |count: usize| (count < most).then_some(count + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// And one less.
    pub(super) fn end_stream(&self) {
        self.streams.fetch_sub(1, Ordering::AcqRel);
        self.wake.notify(usize::MAX);
    }

    /// Lets diffs end that would take longer.
    pub(super) fn close_streams(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether they shall.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn is_streaming(&self) -> bool {
        self.streams.load(Ordering::Acquire) > 0
    }

    /// Whether a call is being served or a job is not over.
    pub(super) fn busy(&self) -> bool {
        let state = self.lock();
        self.is_streaming() || state.calls > 0 || state.jobs.open().next().is_some()
    }

    /// Whether nothing at all would be lost by an exit: no call, and no job that is still listed.
    pub(super) fn idle(&self) -> bool {
        let state = self.lock();
        !self.is_streaming() && state.calls == 0 && state.jobs.all().next().is_none()
    }

    /// The last look, if there was one.
    pub(super) fn seen(&self) -> Option<Arc<Status>> {
        self.lock().look.as_ref().map(|l| l.status.clone())
    }

    /// The last look, however old. Waits for the first one.
    pub(super) async fn status(self: &Arc<Self>) -> Arc<Status> {
        self.look(Depth::Quick, None).await
    }

    /// The last look at one overlay.
    pub(super) async fn overlay(self: &Arc<Self>, name: &str) -> OverlayStatus {
        find(&*self.status().await, name)
    }

    /// A look that is hardly older than the question.
    pub(super) async fn fresh(self: &Arc<Self>, depth: Depth) -> Arc<Status> {
        let age = if depth == Depth::Full { FULL_AGE } else { QUICK_AGE };
        self.look(depth, Instant::now().checked_sub(age)).await
    }

    /// A look that began at or after `since`, or any; where none ends in time, what was seen before, and that this is
    /// so. Before clients can call it is empty: objects are asked for all their properties when they are made, and that
    /// must not cost a look, let alone one before the name is ours.
    pub(super) async fn look(self: &Arc<Self>, depth: Depth, since: Option<Instant>) -> Arc<Status> {
        if !self.lock().serving {
            return Arc::default();
        }
        let _call = self.enter();
        let limit = if depth == Depth::Full { FULL_LIMIT } else { QUICK_LIMIT };
        let end = Instant::now() + limit;
        loop {
            let looked = self.looked.listen();
            if let Some(status) = self.young_enough(depth, since) {
                return status;
            }
            self.start_look(depth);
            if !in_time(looked, end).await {
                return self.unanswered(limit);
            }
        }
    }

    /// What was seen last, of a store that does not answer.
    fn unanswered(&self, limit: Duration) -> Arc<Status> {
        let mut status = self.seen().map(|status| (*status).clone()).unwrap_or_default();
        let limit = limit.as_secs();
        status
            .problems
            .push(format!("the store does not answer within {limit} s: this is how it was before"));
        Arc::new(status)
    }

    fn young_enough(&self, depth: Depth, since: Option<Instant>) -> Option<Arc<Status>> {
        let state = self.lock();
        let look = state.look.as_ref()?;
        let at = match depth {
            Depth::Quick => look.quick,
            Depth::Full => look.full?,
        };
        since.is_none_or(|since| at >= since).then(|| look.status.clone())
    }

    /// Looks on a thread, unless one is at it already; whoever waits checks again after that.
    fn start_look(self: &Arc<Self>, depth: Depth) {
        if std::mem::replace(&mut self.lock().looking, true) {
            return;
        }
        let core = self.clone();
        let started = Instant::now();
        // The future is only the way to wait for it; the work runs without.
        drop(zruntime::unblock(move || {
            let status = status::collect(&core.sources(depth));
            core.seen_now(status, depth, started);
        }));
    }

    fn sources(&self, depth: Depth) -> Sources {
        Sources {
            store: self.places.store.clone(),
            handoff: self.places.handoff.clone(),
            root: self.places.root.clone(),
            count_upper: depth == Depth::Full,
        }
    }

    /// A look counts from when it started: what was written since may be missing in it.
    fn seen_now(&self, mut status: Status, depth: Depth, started: Instant) {
        let mut state = self.lock();
        let before = state.look.take();
        let full = match (depth, &before) {
            (Depth::Full, _) => Some(started),
            (Depth::Quick, Some(look)) => {
                keep_usage(&look.status, &mut status);
                look.full
            }
            (Depth::Quick, None) => None,
        };
        state.look = Some(Look { status: Arc::new(status), quick: started, full });
        state.looking = false;
        drop(state);
        self.looked.notify(usize::MAX);
        self.wake.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something happened before `end`.
async fn in_time(happened: EventListener, end: Instant) -> bool {
    match SharedRuntime::current() {
        Ok(runtime) => wait::before(happened, runtime.sleep_until(end)).await,
        Err(_) => {
            happened.await;
            true
        }
    }
}

/// One overlay of a status; an empty one if it is gone.
pub(super) fn find(status: &Status, name: &str) -> OverlayStatus {
    let found = status.overlays.iter().find(|o| o.name == name);
    found.cloned().unwrap_or_else(|| OverlayStatus { name: name.to_owned(), ..OverlayStatus::default() })
}

/// A quick look does not count the upper: what was counted before stays, for the same generation.
fn keep_usage(before: &Status, now: &mut Status) {
    for overlay in &mut now.overlays {
        let old = find(before, &overlay.name);
        if overlay.upper.is_none() && old.generation == overlay.generation {
            overlay.upper = old.upper;
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
