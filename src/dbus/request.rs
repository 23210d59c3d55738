//! Asking for a reset, and taking it back: the flow that the Overlay and the Manager share.

use std::path::PathBuf;
use std::sync::Arc;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

use super::authority;
use super::caller::Caller;
use super::core::{Core, Depth};
use super::errors::BusResult;
use super::flags::{self, Effect};
use super::job::JobObject;
use super::jobs::{Initiator, Work};
use super::manager::ManagerObjectSignals;
use super::{ROOT, paths};
use crate::error::{Error, Kind};
use crate::operation;

/// What a caller wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The overlay's name.
    pub(super) overlay: &'a str,
    /// The polkit action it takes.
    pub(super) action: &'a str,
    /// Level of the reset.
    pub(super) level: &'a str,
    /// Paths to keep.
    pub(super) keep: &'a [String],
    /// Flags of the method.
    pub(super) flags: u64,
}

/// Parses, authorises, then makes the job. Nothing is done before the caller is known to be allowed.
pub(super) async fn reset(
    core: &Arc<Core>,
    bus: &Connection,
    header: &Header<'_>,
    wanted: Wanted<'_>,
) -> BusResult<(u64, OwnedObjectPath)> {
    let _call = core.enter();
    let effect = flags::effect(wanted.flags)?;
    flags::level(wanted.level)?;
    flags::keep(wanted.keep)?;
    let caller = Caller::of(bus, header).await?;
    let details = [("overlay", wanted.overlay), ("level", "reset")];
    authority::require(bus, &caller, wanted.action, &details).await?;
    core.status().await;
    core.store()?;
    submit(core, bus, Work::Reset(effect), wanted.overlay, caller.initiator()).await
}

/// Takes the pending request of an overlay back.
pub(super) async fn cancel(
    core: &Arc<Core>,
    bus: &Connection,
    header: &Header<'_>,
    overlay: &str,
    action: &str,
    flags: u64,
) -> BusResult<()> {
    let _call = core.enter();
    flags::none(flags)?;
    let caller = Caller::of(bus, header).await?;
    authority::require(bus, &caller, action, &[("overlay", overlay)]).await?;
    core.status().await;
    let store = core.store()?;
    core.jobs(|jobs| jobs.check_conflict(Work::Reset(Effect::NextBoot), overlay))?;
    let name = overlay.to_owned();
    let before = std::time::Instant::now();
    zruntime::unblock(move || take_back(store, name)).await?;
    let by = caller.initiator().name;
    tracing::info!(
        message_id = crate::logging::message_id::REQUEST_CANCELLED,
        operation = "cancel",
        overlay,
        by,
        "request cancelled"
    );
    core.look(Depth::Quick, Some(before)).await;
    Ok(())
}

fn take_back(store: PathBuf, overlay: String) -> crate::Result<()> {
    let steps = operation::cancel(&store, &overlay)?;
    if steps.is_empty() {
        return Err(Error::new(
            Kind::NoPendingAction,
            format!("no request is pending for overlay {overlay}"),
        ));
    }
    Ok(())
}

/// Queues a job and puts it on the bus: object, then `JobNew`, then it may start; the reply comes after all that.
pub(super) async fn submit(
    core: &Arc<Core>,
    bus: &Connection,
    work: Work,
    overlay: &str,
    by: Initiator,
) -> BusResult<(u64, OwnedObjectPath)> {
    let name = by.name.clone();
    let id = core.jobs(|jobs| jobs.submit(work, overlay, by))?;
    let path = paths::job(id);
    tracing::info!(operation = work.word(), overlay, job = id, by = name, "job accepted");
    // A job that is accepted runs, whether or not it could be shown.
    if let Err(error) = show(core, bus, id, overlay).await {
        tracing::warn!(job = id, error = %error, "failed to tell clients of a job");
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
