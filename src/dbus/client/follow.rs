//! Waiting for a job: how far it is, how it ended, what it told.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use zbus::match_rule::MatchRule;
use zbus::message::Type;
use zbus::{Message, MessageStream, OwnedObjectPath, OwnedVariant};
use zruntime::SharedRuntime;

use super::{Client, lost, owner_rule, stream};
use crate::dbus::errors::{from_bus, kind_of};
use crate::dbus::{JOB, MANAGER, NAME, ROOT};
use crate::error::{Error, Kind, Result};

/// How often whoever waits is asked whether to go on, although nothing happened.
const PULSE: Duration = Duration::from_millis(100);

/// What a job told when it was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobDone {
    /// Yes or no by name.
    pub flags: HashMap<String, bool>,
    /// Texts by name.
    pub texts: HashMap<String, String>,
    /// Numbers by name.
    pub numbers: HashMap<String, u64>,
    /// Lists by name.
    pub lists: HashMap<String, Vec<String>>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// The job's number.
    pub id: u64,
    /// What it is at, in a word for people.
    pub stage: String,
    /// Per cent.
    pub percent: u32,
    /// Entries done.
    pub entries: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Entries in all; 0 as long as it is not known.
    pub total_entries: u64,
    /// Bytes in all; 0 as long as it is not known.
    pub total_bytes: u64,
}

/// Called when there is news, and ten times a second without; `Break` cancels the job, and then its end is still
/// waited for.
pub type OnProgress<'a> = dyn FnMut(&JobProgress) -> ControlFlow<()> + 'a;

/// For those who only want to know the end.
pub(super) fn ignore(_: &JobProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What happened.
enum News {
    Changed(Message),
    Removed(Message),
    DaemonGone,
    Nothing,
}

struct Signals {
    changed: MessageStream,
    removed: MessageStream,
}

impl Client {
    /// Calls a method that makes a job, and waits for the job's end.
    pub(super) async fn job<B>(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        method: &str,
        body: &B,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<JobDone>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let mut signals = self.job_signals().await?;
        let (id, job): (u64, OwnedObjectPath) = self.call(path.as_str(), interface, method, body).await?;
        self.wait(&mut signals, id, &job, on_progress).await?;
        // It is done; with a reboot under way the daemon may be gone before it can tell more.
        Ok(self.details(&job).await.unwrap_or_default())
    }

    async fn job_signals(&self) -> Result<Signals> {
        let rule = || MatchRule::builder().msg_type(Type::Signal).sender(NAME);
        let removed = rule().interface(MANAGER).member("JobRemoved");
        let jobs = format!("{ROOT}/job");
        let changed = rule()
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path_namespace(jobs.as_str());
        Ok(Signals {
            changed: stream(&self.bus, changed.build()).await?,
            removed: stream(&self.bus, removed.build()).await?,
        })
    }

    /// Waits for the end of job `id`; an error if it failed, was cancelled, or the daemon died.
    async fn wait(
        &self,
        signals: &mut Signals,
        id: u64,
        job: &OwnedObjectPath,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<()> {
        let mut owner = stream(&self.bus, owner_rule()).await?;
        let runtime = SharedRuntime::current().map_err(|e| Error::new(Kind::Failed, e.to_string()))?;
        let mut progress = JobProgress { id, ..JobProgress::default() };
        let mut stopped = false;
        loop {
            let pulse = pin!(runtime.sleep(PULSE));
            match news(signals, &mut owner, pulse).await? {
                News::Changed(message) => update(&mut progress, &message, job),
                News::Removed(message) => {
                    if let Some(end) = end_of(&message, id)? {
                        return end;
                    }
                }
                News::DaemonGone => {
                    return Err(Error::new(Kind::Failed, format!("overlayd ended before job {id} did"))
                        .remedy("see: journalctl -u overlayd"));
                }
                News::Nothing => {}
            }
            if !stopped && on_progress(&progress).is_break() {
                stopped = true;
                self.stop(job).await?;
            }
        }
    }

    /// Cancels a job; one that ended in the meantime tells so itself.
    async fn stop(&self, job: &OwnedObjectPath) -> Result<()> {
        let cancelled: Result<()> = self.call(job.as_str(), JOB, "Cancel", &0u64).await;
        match cancelled {
            Err(error) if error.kind() == Kind::NoPendingAction => Ok(()),
            other => other,
        }
    }

    async fn details(&self, job: &OwnedObjectPath) -> Result<JobDone> {
        let details: HashMap<String, OwnedVariant> =
            self.call(job.as_str(), JOB, "GetDetails", &0u64).await?;
        let mut done = JobDone::default();
        for (name, value) in details {
            if let Ok(flag) = bool::try_from(&value) {
                done.flags.insert(name, flag);
            } else if let Ok(number) = u64::try_from(&value) {
                done.numbers.insert(name, number);
            } else if let Ok(text) = <&str>::try_from(&value) {
                done.texts.insert(name, text.to_owned());
            } else if let Ok(list) = Vec::<String>::try_from(value) {
                done.lists.insert(name, list);
            }
        }
        Ok(done)
    }
}

/// The next thing that happens; the order of what happened at the same time does not matter, an end comes last.
async fn news(
    signals: &mut Signals,
    owner: &mut MessageStream,
    mut pulse: Pin<&mut impl Future>,
) -> Result<News> {
    poll_fn(|context| {
        if let Poll::Ready(message) = poll(&mut signals.changed, context) {
            return Poll::Ready(message.map(News::Changed));
        }
        if let Poll::Ready(message) = poll(&mut signals.removed, context) {
            return Poll::Ready(message.map(News::Removed));
        }
        if let Poll::Ready(message) = poll(owner, context) {
            return Poll::Ready(message.map(|_| News::DaemonGone));
        }
        pulse.as_mut().poll(context).map(|_| Ok(News::Nothing))
    })
    .await
}

fn poll(stream: &mut MessageStream, context: &mut Context<'_>) -> Poll<Result<Message>> {
    Pin::new(stream).poll_next(context).map(|item| item.ok_or_else(lost)?.map_err(from_bus))
}

fn update(progress: &mut JobProgress, message: &Message, job: &OwnedObjectPath) {
    if message.header().path().is_none_or(|path| path.as_str() != job.as_str()) {
        return;
    }
    let body = message.body();
    let Ok((_, values, _)) = body.deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>()
    else {
        return;
    };
    let number = |name: &str, old: u64| values.get(name).and_then(|v| u64::try_from(v).ok()).unwrap_or(old);
    progress.entries = number("Entries", progress.entries);
    progress.bytes = number("Bytes", progress.bytes);
    progress.total_entries = number("TotalEntries", progress.total_entries);
    progress.total_bytes = number("TotalBytes", progress.total_bytes);
    if let Some(percent) = values.get("Progress").and_then(|v| u32::try_from(v).ok()) {
        progress.percent = percent;
    }
    if let Some(Ok(stage)) = values.get("Stage").map(<&str>::try_from) {
        stage.clone_into(&mut progress.stage);
    }
}

/// How job `id` ended, if that is what the message tells.
fn end_of(message: &Message, id: u64) -> Result<Option<Result<()>>> {
    let body = message.body();
    let (job, _, _, result, error, text): (u64, OwnedObjectPath, &str, &str, &str, &str) =
        body.deserialize().map_err(from_bus)?;
    Ok((job == id).then(|| match result {
        "done" => Ok(()),
        "canceled" => Err(Error::new(Kind::Canceled, format!("job {id} was cancelled"))),
        _ => Err(Error::new(kind_of(error), text)),
    }))
}
