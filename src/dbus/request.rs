//! From a call to its effect: the flow that all objects share. Arguments are parsed before; then: authorise, one
//! operation or one job.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

use super::authority::{self, COMMIT, CREATE_SNAPSHOT, FACTORY_RESET, MARK_BOOT, RESET, RESTORE};
use super::caller::Caller;
use super::core::{Core, Depth, find};
use super::errors::{BusError, BusResult};
use super::flags;
use super::job::JobObject;
use super::jobs::Initiator;
use super::manager::ManagerObjectSignals;
use super::reboot::{self, Boot};
use super::task::{Lane, Work};
use super::{ROOT, arguments, paths};
use crate::error::{Error, Kind};
use crate::logging::message_id;
use crate::operation::health::{self, Mark, Marked};
use crate::operation::{self, Asked, Site};
use crate::plan::request::Resetting;
use crate::status::{OverlayStatus, Pending};
use crate::store::records::Level;

/// One call: who it is from, and where it came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// Shared state.
    pub(super) core: &'a Arc<Core>,
    /// The bus.
    pub(super) bus: &'a Connection,
    /// The message.
    pub(super) header: &'a Header<'a>,
}

/// What a reset is asked with, parsed.
pub(super) fn reset(level: &str, keep: &[String], flags: u64) -> BusResult<Work> {
    let (effect, drop_kept) = flags::reset(flags)?;
    let wanted = Resetting { level: flags::level(level)?, keep: arguments::keep(keep)?, drop_kept };
    Ok(Work::Reset { wanted, via: None, effect })
}

/// The same, asked by a program that says what makes it ask.
pub(super) fn reset_via(level: &str, keep: &[String], via: &str, flags: u64) -> BusResult<Work> {
    let said = arguments::via(via)?;
    let mut work = reset(level, keep, flags)?;
    if let Work::Reset { via, .. } = &mut work {
        *via = Some(said);
    }
    Ok(work)
}

/// Whom a pending request is taken back for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pretext {
    /// For those who may ask for the same.
    Any,
    /// For those who may reset the machine; only a reset is meant.
    FactoryReset,
}

impl Call<'_> {
    /// Authorises, then makes the job. Nothing is done before the caller is known to be allowed.
    pub(super) async fn job(&self, overlay: &str, work: Work) -> BusResult<(u64, OwnedObjectPath)> {
        let actions = work.actions();
        self.job_for(overlay, work, actions).await
    }

    /// The same, for those who may do any of `actions`.
    pub(super) async fn job_for(
        &self,
        overlay: &str,
        work: Work,
        actions: &[&str],
    ) -> BusResult<(u64, OwnedObjectPath)> {
        let _call = self.core.enter();
        let caller = self.authorised(actions, &work.about(overlay)).await?;
        let status = self.core.status().await;
        self.core.store()?;
        if work.boots() == Some(Boot::Soft) {
            self.require_soft(&work, &find(&status, overlay)).await?;
        }
        submit(self.core, self.bus, work, overlay, caller.initiator()).await
    }

    /// Authorises, then does something that takes an instant only. Comes back when clients can see the effect; says
    /// who asked.
    pub(super) async fn change(
        &self,
        action: &str,
        about: &[(&str, String)],
        change: impl FnOnce(&Site) -> crate::Result<()> + Send + 'static,
    ) -> BusResult<String> {
        let _call = self.core.enter();
        let caller = self.authorised(&[action], about).await?;
        self.core.status().await;
        let site = self.core.site()?;
        let before = Instant::now();
        zruntime::unblock(move || change(&site)).await?;
        self.core.look(Depth::Quick, Some(before)).await;
        Ok(caller.initiator().name)
    }

    /// Takes the pending request of an overlay back: for those who may ask for it.
    pub(super) async fn mark(&self, overlay: &str, mark: Mark) -> BusResult<()> {
        let _call = self.core.enter();
        let about = [("overlay", overlay.to_owned()), ("mark", mark.word().to_owned())];
        let caller = self.authorised(&[MARK_BOOT], &about).await?;
        self.core.status().await;
        let (site, by) = (self.core.site()?, caller.initiator().name);
        let asked = Asked { by: format!("{by} via D-Bus"), via: None };
        let before = Instant::now();
        let (marked, mark) =
            zruntime::unblock(move || health::mark(&site, &mark, &asked).map(|marked| (marked, mark)))
                .await?;
        tell_mark(overlay, &mark, &marked, &by);
        self.core.look(Depth::Quick, Some(before)).await;
        Ok(())
    }

    pub(super) async fn cancel(&self, overlay: &str, pretext: Pretext, flags: u64) -> BusResult<()> {
        let _call = self.core.enter();
        flags::none(flags)?;
        let status = self.core.look(Depth::Quick, Some(Instant::now())).await;
        let pending = find(&status, overlay).pending;
        let action = match pretext {
            Pretext::Any => action_of(pending.as_ref()),
            Pretext::FactoryReset => FACTORY_RESET,
        };
        let caller = self.authorised(&[action], &[("overlay", overlay.to_owned())]).await?;
        if pretext == Pretext::FactoryReset && pending.is_some_and(|p| p.action != "reset") {
            return Err(nothing_pending(overlay).into());
        }
        let store = self.core.store()?;
        self.core.jobs(|jobs| jobs.check_conflict(Lane::Request, overlay))?;
        let name = overlay.to_owned();
        let before = Instant::now();
        zruntime::unblock(move || take_back(store, name)).await?;
        let by = caller.initiator().name;
        tracing::info!(
            message_id = crate::logging::message_id::REQUEST_CANCELLED,
            operation = "cancel",
            overlay,
            by,
            "request cancelled"
        );
        self.core.look(Depth::Quick, Some(before)).await;
        Ok(())
    }

    /// Refuses a soft-reboot where it would not lead to what is asked for.
    async fn require_soft(&self, work: &Work, overlay: &OverlayStatus) -> BusResult<()> {
        if work.wipes() {
            let why = "the state device is in use until the machine reboots";
            return Err(BusError::not_supported(format!("no soft-reboot: {why} (use a reboot)")));
        }
        if !is_soft_rebootable(overlay) {
            let why = match overlay.name.as_str() {
                "root" => format!("the root is {}, not persistent", overlay.mode),
                _ => "only the root changes by it; others do at once".to_owned(),
            };
            return Err(BusError::not_supported(format!("no soft-reboot: {why} (use a reboot)")));
        }
        reboot::require_soft(self.bus).await
    }

    /// Who calls, if allowed to do any of `actions`.
    pub(super) async fn authorised(&self, actions: &[&str], about: &[(&str, String)]) -> BusResult<Caller> {
        let caller = Caller::of(self.bus, self.header).await?;
        let details: Vec<(&str, &str)> = about.iter().map(|(name, value)| (*name, value.as_str())).collect();
        authority::require_any(self.bus, &caller, actions, &details).await?;
        Ok(caller)
    }
}

/// Whether a soft-reboot would go on with another generation of it.
pub(super) fn is_soft_rebootable(overlay: &OverlayStatus) -> bool {
    overlay.name == "root" && overlay.mode == "persistent"
}

/// What it takes to ask for this request; a damaged one counts as a reset.
fn action_of(pending: Option<&Pending>) -> &'static str {
    match pending.map(|p| (p.action.as_str(), p.commit)) {
        Some(("reset", _)) if pending.is_some_and(|p| p.level != Level::Baseline.word()) => FACTORY_RESET,
        Some(("restore" | "undo", _)) => RESTORE,
        Some(("snapshot", true)) => COMMIT,
        Some(("snapshot", false)) => CREATE_SNAPSHOT,
        _ => RESET,
    }
}

fn tell_mark(overlay: &str, mark: &Mark, marked: &Marked, by: &str) {
    if marked.was && marked.forgotten.is_empty() {
        return;
    }
    let generation = marked.generation;
    match mark {
        Mark::Good { .. } => tracing::info!(
            message_id = message_id::MARKED_GOOD,
            operation = "mark",
            overlay,
            generation,
            by,
            "generation marked good"
        ),
        Mark::Bad { reason } => tracing::warn!(
            message_id = message_id::MARKED_BAD,
            operation = "mark",
            overlay,
            generation,
            by,
            reason,
            next = marked.next.as_deref().unwrap_or("nothing: everything was tried"),
            "generation marked bad"
        ),
    }
}

fn take_back(store: PathBuf, overlay: String) -> crate::Result<()> {
    let steps = operation::cancel(&store, &overlay)?;
    if steps.is_empty() {
        return Err(nothing_pending(&overlay));
    }
    Ok(())
}

fn nothing_pending(overlay: &str) -> Error {
    Error::new(Kind::NoPendingAction, format!("no request is pending for overlay {overlay}"))
}

/// Queues a job and puts it on the bus: object, then `JobNew`, then it may start; the reply comes after all that.
pub(super) async fn submit(
    core: &Arc<Core>,
    bus: &Connection,
    work: Work,
    overlay: &str,
    by: Initiator,
) -> BusResult<(u64, OwnedObjectPath)> {
    let (name, word) = (by.name.clone(), work.word());
    let id = core.jobs(|jobs| jobs.submit(work, overlay, by))?;
    let path = paths::job(id);
    tracing::info!(operation = word, overlay, job = id, by = name, "job accepted");
    // A job that is accepted runs, whether or not it could be shown.
    if let Err(error) = show(core, bus, id, overlay).await {
        tracing::warn!(job = id, "failed to tell clients of a job: {error}");
    }
    core.jobs(|jobs| jobs.announced(id));
    core.wake.notify(usize::MAX);
    Ok((id, path))
}

async fn show(core: &Arc<Core>, bus: &Connection, id: u64, overlay: &str) -> zbus::Result<()> {
    let path = paths::job(id);
    bus.object_server().at(&path, JobObject { core: core.clone(), id }).await?;
    SignalEmitter::new(bus, ROOT)?.job_new(id, path.into_inner(), overlay).await
}
