//! `org.overlayd1.Job`: one piece of work, while it runs and for a minute after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use zbus::message::Header;
use zbus::{Connection, OwnedVariant, Variant, interface};

use super::authority;
use super::caller::Caller;
use super::core::Core;
use super::errors::{BusError, BusResult as Result, name_of};
use super::flags;
use super::jobs::{Details, Ended, Job, State};
use super::task::Work;
use crate::error::Kind;

/// Details as they travel.
type Values = HashMap<String, OwnedVariant>;

/// Who reads the details of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// Whoever asked for it, and root.
    Owner,
    /// Anybody.
    Everyone,
}

/// The object of one job.
#[derive(Debug)]
pub(super) struct JobObject {
    /// Shared state.
    pub(super) core: Arc<Core>,
    /// Which job.
    pub(super) id: u64,
}

#[interface(name = "org.overlayd1.Job", introspection_docs = false)]
impl JobObject {
    async fn cancel(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        let _call = self.core.enter();
        flags::none(flags)?;
        let job = self.job().ok_or_else(|| no_such_job(self.id))?;
        let caller = Caller::of(bus, &header).await?;
        may_cancel(bus, &caller, &job).await?;
        if job.state == State::Finished {
            return Err(BusError::new(
                name_of(Kind::NoPendingAction),
                format!("job {} is finished already", job.id),
            ));
        }
        job.cancel.store(true, Ordering::Relaxed);
        tracing::info!(operation = job.work.word(), job = job.id, by = %caller.initiator().name, "job cancelled");
        Ok(())
    }

    #[zbus(out_args("details"))]
    async fn get_details(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Values> {
        let _call = self.core.enter();
        flags::none(flags)?;
        let job = self.job().ok_or_else(|| no_such_job(self.id))?;
        let caller = Caller::of(bus, &header).await?;
        if !caller.is_root() && caller.uid != job.by.uid {
            return Err(BusError::denied(format!(
                "only {} and root may read what job {} found",
                job.by.name, job.id
            )));
        }
        Ok(owned(details(&job, Audience::Owner)))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u64 {
        self.id
    }

    #[zbus(property(emits_changed_signal = "const"), name = "Type")]
    fn kind(&self) -> String {
        self.read(|j| j.work.word().to_owned())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn overlay(&self) -> String {
        self.read(|j| j.overlay.clone())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn initiator(&self) -> String {
        self.read(|j| j.by.name.clone())
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.read(|j| j.state.word().to_owned())
    }

    #[zbus(property)]
    fn stage(&self) -> String {
        self.read(|j| j.stage.to_owned())
    }

    #[zbus(property)]
    fn progress(&self) -> u32 {
        self.read(|j| j.progress)
    }

    #[zbus(property)]
    fn entries(&self) -> u64 {
        self.read(|j| j.counts.entries)
    }

    #[zbus(property)]
    fn bytes(&self) -> u64 {
        self.read(|j| j.counts.bytes)
    }

    #[zbus(property)]
    fn total_entries(&self) -> u64 {
        self.read(|j| j.counts.total_entries)
    }

    #[zbus(property)]
    fn total_bytes(&self) -> u64 {
        self.read(|j| j.counts.total_bytes)
    }

    #[zbus(property)]
    fn result(&self) -> String {
        self.read(|j| j.ended.as_ref().map_or("", Ended::word).to_owned())
    }

    #[zbus(property)]
    fn error(&self) -> String {
        self.read(|j| error_of(j).0)
    }

    #[zbus(property)]
    fn details(&self) -> Values {
        self.read(|j| owned(details(j, Audience::Everyone)))
    }
}

impl JobObject {
    fn job(&self) -> Option<Job> {
        self.core.job(self.id)
    }

    fn read<T: Default>(&self, get: impl FnOnce(&Job) -> T) -> T {
        self.job().as_ref().map(get).unwrap_or_default()
    }
}

/// The error for a job that is not listed.
pub(super) fn no_such_job(id: u64) -> BusError {
    BusError::new(name_of(Kind::NoSuchJob), format!("there is no job {id}"))
}

/// The error's name and text; empty for a job that did not fail.
pub(super) fn error_of(job: &Job) -> (String, String) {
    match &job.ended {
        Some(Ended::Failed(error)) => (error.name().to_owned(), error.message().to_owned()),
        _ => Default::default(),
    }
}

/// What changes while a job runs, as it stands now.
pub(super) fn moving(job: &Job) -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([
        ("Stage", Variant::from(job.stage)),
        ("Progress", Variant::from(job.progress)),
        ("Entries", Variant::from(job.counts.entries)),
        ("Bytes", Variant::from(job.counts.bytes)),
        ("TotalEntries", Variant::from(job.counts.total_entries)),
        ("TotalBytes", Variant::from(job.counts.total_bytes)),
    ])
}

/// What changes during a job's life, as it stands now.
pub(super) fn changing(job: &Job) -> HashMap<&'static str, Variant<'static>> {
    let result = job.ended.as_ref().map_or("", Ended::word);
    let details: HashMap<&'static str, Variant<'static>> =
        details(job, Audience::Everyone).into_iter().map(|(name, value)| (name, value.into())).collect();
    let mut all = HashMap::from([
        ("State", Variant::from(job.state.word())),
        ("Result", Variant::from(result)),
        ("Error", Variant::from(error_of(job).0)),
        ("Details", Variant::from(details)),
    ]);
    all.extend(moving(job));
    all
}

fn details(job: &Job, audience: Audience) -> Vec<(&'static str, OwnedVariant)> {
    let Details { flags, numbers, texts, lists, private } = match &job.ended {
        Some(Ended::Done(details) | Ended::Canceled(details)) => details.clone(),
        Some(Ended::Failed(error)) => {
            Details { texts: vec![("message", error.message().to_owned())], ..Details::default() }
        }
        None => Details::default(),
    };
    let private = if audience == Audience::Owner { private } else { Vec::new() };
    let flags = flags.into_iter().map(|(name, flag)| (name, Variant::from(flag)));
    let numbers = numbers.into_iter().map(|(name, n)| (name, Variant::from(n)));
    let texts = texts.into_iter().map(|(name, text)| (name, Variant::from(text)));
    let lists = lists.into_iter().chain(private).map(|(name, list)| (name, Variant::from(list)));
    let all = flags.chain(numbers).chain(texts).chain(lists);
    all.filter_map(|(name, value)| Some((name, value.try_into().ok()?))).collect()
}

fn owned(details: Vec<(&'static str, OwnedVariant)>) -> Values {
    details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Everyone may stop what is his own; for the rest it takes what starting it takes.
async fn may_cancel(bus: &Connection, caller: &Caller, job: &Job) -> Result<()> {
    if caller.uid == job.by.uid {
        return Ok(());
    }
    if job.work == Work::Cleanup {
        return authority::require_root(caller, "cancel a cleanup");
    }
    let about = job.work.about(&job.overlay);
    let details: Vec<(&str, &str)> = about.iter().map(|(name, value)| (*name, value.as_str())).collect();
    authority::require_any(bus, caller, job.work.actions(), &details).await
}
