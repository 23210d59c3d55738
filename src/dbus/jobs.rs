//! The list of jobs: who may add one, which one runs next, how each one ended. Data only, no I/O and no bus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::errors::{self, BusError, BusResult};
use super::task::{Lane, Work};
use crate::error::{Error, Kind};
use crate::layer::Progress;

/// Jobs that wait or run, in all.
const QUEUE: usize = 8;
/// Jobs of one user that wait or run.
const PER_USER: usize = 2;
/// How long a finished job stays listed.
pub(super) const LISTED: Duration = Duration::from_secs(60);

/// On whose behalf a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Initiator {
    /// User id; 0 for the daemon itself.
    pub(super) uid: u32,
    /// For people: `root (uid 0)`.
    pub(super) name: String,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Accepted; its object and its signal come first.
    Accepted,
    /// In the queue.
    Waiting,
    /// On its thread.
    Running,
    /// Over, and still listed.
    Finished,
}

impl State {
    /// The word on the bus.
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Accepted | State::Waiting => "waiting",
            State::Running => "running",
            State::Finished => "finished",
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// As it should.
    Done(Details),
    /// By `Cancel`; what was done stays valid.
    Canceled(Details),
    /// With an error.
    Failed(BusError),
}

impl Ended {
    /// The word on the bus.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Ended::Done(_) => "done",
            Ended::Canceled(_) => "canceled",
            Ended::Failed(_) => "failed",
        }
    }
}

/// What a job has to tell besides its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// Yes or no by name: whether the same was pending already, …
    pub(super) flags: Vec<(&'static str, bool)>,
    /// Numbers by name: entries deleted, …
    pub(super) numbers: Vec<(&'static str, u64)>,
    /// Texts by name: who asked first, …
    pub(super) texts: Vec<(&'static str, String)>,
    /// Lists by name: the steps of a dry run.
    pub(super) lists: Vec<(&'static str, Vec<String>)>,
    /// Lists that name what people have in their files: for whoever asked for the job, and for root.
    pub(super) private: Vec<(&'static str, Vec<String>)>,
}

/// One job.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Its number.
    pub(super) id: u64,
    /// What it does.
    pub(super) work: Work,
    /// On which overlay; empty for all of them.
    pub(super) overlay: String,
    /// For whom.
    pub(super) by: Initiator,
    /// Where it stands.
    pub(super) state: State,
    /// What it is at, in a word.
    pub(super) stage: &'static str,
    /// Per cent.
    pub(super) progress: u32,
    /// What is done, and how much there is.
    pub(super) counts: Progress,
    /// Set once it is over.
    pub(super) ended: Option<Ended>,
    /// Set to stop it.
    pub(super) cancel: Arc<AtomicBool>,
    ended_at: Option<Instant>,
}

/// All jobs that are listed.
#[derive(Debug)]
pub(super) struct Jobs {
    next: u64,
    list: BTreeMap<u64, Job>,
}

impl Jobs {
    /// No job; the first one gets the number `first`.
    pub(super) fn new(first: u64) -> Self {
        Jobs { next: first.max(1), list: BTreeMap::new() }
    }

    /// Accepts a job, or says who is in the way.
    pub(super) fn submit(&mut self, work: Work, overlay: &str, by: Initiator) -> BusResult<u64> {
        self.check_conflict(work.lane(), overlay)?;
        self.check_limits(work.lane(), &by)?;
        let id = self.next;
        self.next += 1;
        let job = Job {
            id,
            work,
            overlay: overlay.to_owned(),
            by,
            state: State::Accepted,
            stage: "waiting",
            progress: 0,
            counts: Progress::default(),
            ended: None,
            cancel: Arc::default(),
            ended_at: None,
        };
        self.list.insert(id, job);
        Ok(id)
    }

    /// Refuses what needs `lane` of `overlay` while another job has it or waits for it, naming who and what.
    pub(super) fn check_conflict(&self, lane: Lane, overlay: &str) -> BusResult<()> {
        let other = self.open().find(|j| j.overlay == overlay && j.work.lane() == lane);
        match other {
            Some(job) if lane != Lane::Free => Err(Error::new(
                Kind::JobInProgress,
                format!(
                    "job {} ({} of {overlay}) by {} is not finished",
                    job.id,
                    job.work.word(),
                    job.by.name
                ),
            )
            .remedy("wait for it, or cancel it")
            .into()),
            _ => Ok(()),
        }
    }

    /// A request for the next boot is an instant, and never waits for what the same user has running for longer.
    fn check_limits(&self, lane: Lane, by: &Initiator) -> BusResult<()> {
        if self.open().count() >= QUEUE {
            return Err(BusError::new(
                errors::LIMITS,
                format!("{QUEUE} jobs wait already (try again later)"),
            ));
        }
        let others = self.open().filter(|j| j.by == *by && j.work.lane() != Lane::Request);
        if lane != Lane::Request && others.count() >= PER_USER {
            let text = format!("{} has {PER_USER} unfinished jobs already (wait for one to finish)", by.name);
            return Err(BusError::new(errors::LIMITS, text));
        }
        Ok(())
    }

    /// A job is on the bus now, and may start.
    pub(super) fn announced(&mut self, id: u64) {
        if let Some(job) = self.list.get_mut(&id) {
            job.state = State::Waiting;
        }
    }

    /// The jobs that may start now; they count as running from here. Of each lane one, whatever its overlay: the
    /// store is locked as a whole.
    pub(super) fn start(&mut self) -> Vec<Job> {
        let running = self.list.values().filter(|j| j.state == State::Running);
        let mut taken: Vec<Lane> = running.map(|j| j.work.lane()).collect();
        let mut started = Vec::new();
        for job in self.list.values_mut().filter(|j| j.state == State::Waiting) {
            let lane = job.work.lane();
            if lane != Lane::Free && taken.contains(&lane) {
                continue;
            }
            taken.push(lane);
            job.state = State::Running;
            started.push(job.clone());
        }
        started
    }

    /// A running job tells where it is.
    pub(super) fn progress(&mut self, id: u64, stage: &'static str, percent: u32, counts: Progress) {
        if let Some(job) = self.list.get_mut(&id) {
            job.stage = stage;
            job.progress = percent.min(100);
            job.counts = counts;
        }
    }

    /// A job is over.
    pub(super) fn finish(&mut self, id: u64, ended: Ended, now: Instant) -> Option<Job> {
        let job = self.list.get_mut(&id)?;
        job.state = State::Finished;
        job.progress = if matches!(ended, Ended::Done(_)) { 100 } else { job.progress };
        job.stage = ended.word();
        job.ended = Some(ended);
        job.ended_at = Some(now);
        Some(job.clone())
    }

    /// Stops what can be continued another time.
    pub(super) fn stop_cleanups(&self) {
        for job in self.open().filter(|j| j.work == Work::Cleanup) {
            job.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Stops everything that can be stopped.
    pub(super) fn stop_all(&self) {
        for job in self.open() {
            job.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Takes finished jobs off the list when their time is over; they are returned.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u64> {
        let over = |j: &Job| j.ended_at.is_some_and(|at| now.duration_since(at) >= LISTED);
        let ids: Vec<u64> = self.list.values().filter(|j| over(j)).map(|j| j.id).collect();
        self.list.retain(|id, _| !ids.contains(id));
        ids
    }

    /// When the next finished job leaves the list.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.list.values().filter_map(|j| j.ended_at).min().map(|at| at + LISTED)
    }

    /// One job.
    pub(super) fn get(&self, id: u64) -> Option<&Job> {
        self.list.get(&id)
    }

    /// Every listed job.
    pub(super) fn all(&self) -> impl Iterator<Item = &Job> {
        self.list.values()
    }

    /// Jobs that are not over.
    pub(super) fn open(&self) -> impl Iterator<Item = &Job> {
        self.list.values().filter(|j| j.state != State::Finished)
    }

    /// The job that waits or runs on `overlay`.
    pub(super) fn active(&self, overlay: &str) -> Option<&Job> {
        self.open().find(|j| j.overlay == overlay)
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
