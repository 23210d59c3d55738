//! What clients are told when the status changes: one `PropertiesChanged` for each object that did, and overlays
//! that came or went.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use zbus::fdo::Properties;
use zbus::message::Header;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, Variant};

use super::caller::Caller;
use super::core::{Core, find};
use super::errors::{BusError, BusResult, name_of};
use super::jobs::Job;
use super::manager::{ManagerObjectSignals, factory_reset_state, health_state, reset_is_secure, tries_left};
use super::overlay::OverlayObject;
use super::snapshot::SnapshotObject;
use super::{JOB, MANAGER, OVERLAY, ROOT, SNAPSHOT, job, paths};
use crate::error::Kind;
use crate::status::{OverlayStatus, Snapshot, Status};

type Values = HashMap<&'static str, Variant<'static>>;

/// Tells everything that differs between two looks. Objects are added before, and removed after their signals.
pub(super) async fn difference(
    core: &Arc<Core>,
    bus: &Connection,
    before: &Status,
    now: &Status,
) -> zbus::Result<()> {
    for overlay in &now.overlays {
        let path = paths::overlay(&overlay.name);
        if is_in(before, &overlay.name) {
            let changed = changed(&values(&find(before, &overlay.name)), values(overlay));
            properties(bus, &path, OVERLAY, changed).await?;
        } else {
            appear(core, bus, &overlay.name).await?;
        }
        snapshots(core, bus, &find(before, &overlay.name), overlay).await?;
    }
    for gone in before.overlays.iter().filter(|o| !is_in(now, &o.name)) {
        let path = paths::overlay(&gone.name);
        let name = gone.name.clone();
        snapshots(core, bus, gone, &OverlayStatus { name, ..OverlayStatus::default() }).await?;
        bus.object_server().remove::<OverlayObject, _>(&path).await?;
        root(bus)?.overlay_removed(&gone.name, path.into_inner()).await?;
    }
    let state = |status| {
        HashMap::from([
            ("FactoryResetState", Variant::from(factory_reset_state(status))),
            ("ResetIsSecure", Variant::from(reset_is_secure(status))),
            ("HealthState", Variant::from(health_state(status))),
            ("TriesLeft", Variant::from(tries_left(status))),
        ])
    };
    properties(bus, &root_path(), MANAGER, changed(&state(before), state(now))).await
}

/// Snapshots that came, changed, or went.
async fn snapshots(
    core: &Arc<Core>,
    bus: &Connection,
    before: &OverlayStatus,
    now: &OverlayStatus,
) -> zbus::Result<()> {
    let of = |overlay: &OverlayStatus, id: u64| overlay.snapshots.iter().find(|s| s.id == id).cloned();
    for snapshot in &now.snapshots {
        match of(before, snapshot.id) {
            Some(known) => {
                let changed = changed(&snapshot_values(&known), snapshot_values(snapshot));
                properties(bus, &paths::snapshot(&now.name, snapshot.id), SNAPSHOT, changed).await?;
            }
            None => drop(add_snapshot(core, bus, &now.name, snapshot.id).await?),
        }
    }
    for gone in before.snapshots.iter().filter(|s| of(now, s.id).is_none()) {
        let path = paths::snapshot(&now.name, gone.id);
        bus.object_server().remove::<SnapshotObject, _>(&path).await?;
    }
    Ok(())
}

/// Puts a snapshot on the bus; false if it is there already.
pub(super) async fn add_snapshot(
    core: &Arc<Core>,
    bus: &Connection,
    overlay: &str,
    id: u64,
) -> zbus::Result<bool> {
    let object = SnapshotObject { core: core.clone(), overlay: overlay.to_owned(), id };
    Ok(bus.object_server().at(&paths::snapshot(overlay, id), object).await?.is_none())
}

/// Puts an overlay on the bus and says so, unless it is there already.
pub(super) async fn appear(core: &Arc<Core>, bus: &Connection, name: &str) -> zbus::Result<()> {
    if add(core, bus, name).await? {
        root(bus)?.overlay_new(name, paths::overlay(name).into_inner()).await?;
    }
    Ok(())
}

/// Puts an overlay on the bus; false if it is there already.
pub(super) async fn add(core: &Arc<Core>, bus: &Connection, name: &str) -> zbus::Result<bool> {
    let object = OverlayObject { core: core.clone(), name: name.to_owned() };
    Ok(bus.object_server().at(&paths::overlay(name), object).await?.is_none())
}

/// Tells how a job is.
pub(super) async fn job(bus: &Connection, job: &Job) -> zbus::Result<()> {
    properties(bus, &paths::job(job.id), JOB, job::changing(job)).await
}

/// Tells how far a job is.
pub(super) async fn job_moves(bus: &Connection, job: &Job) -> zbus::Result<()> {
    properties(bus, &paths::job(job.id), JOB, job::moving(job)).await
}

/// Tells that a job is over; its object stays for a while.
pub(super) async fn job_removed(bus: &Connection, job: &Job) -> zbus::Result<()> {
    let (error, message) = job::error_of(job);
    let result = job.ended.as_ref().map_or("", super::jobs::Ended::word);
    let path = paths::job(job.id).into_inner();
    root(bus)?.job_removed(job.id, path, &job.overlay, result, &error, &message).await
}

/// Tells which job an overlay has now.
pub(super) async fn active_job(core: &Core, bus: &Connection, overlay: &str) -> zbus::Result<()> {
    if overlay.is_empty() {
        return Ok(());
    }
    let path = core.active_job(overlay).map_or_else(paths::none, paths::job);
    let values = HashMap::from([("ActiveJob", Variant::from(path.into_inner()))]);
    properties(bus, &paths::overlay(overlay), OVERLAY, values).await
}

/// Any status as JSON.
pub(super) fn json(status: &impl Serialize) -> BusResult<String> {
    serde_json::to_string(status).map_err(|e| BusError::new(name_of(Kind::Failed), e.to_string()))
}

/// A status for the sender of a message: names of files that people have are for root.
pub(super) async fn told_to(
    bus: &Connection,
    header: &Header<'_>,
    status: Arc<Status>,
) -> BusResult<Arc<Status>> {
    if !status.overlays.iter().any(names_files) || Caller::of(bus, header).await?.is_root() {
        return Ok(status);
    }
    let mut told = (*status).clone();
    for overlay in &mut told.overlays {
        overlay.snapshots.iter_mut().for_each(|snapshot| snapshot.unstable.clear());
        if let Some(pending) = &mut overlay.pending {
            pending.keep.clear();
        }
        if let Some(last) = &mut overlay.last {
            last.kept.clear();
            last.unmatched.clear();
        }
    }
    Ok(Arc::new(told))
}

/// Whether a status tells what files somebody has, or thinks to have.
fn names_files(overlay: &OverlayStatus) -> bool {
    let kept = overlay.last.as_ref().is_some_and(|last| !last.kept.is_empty() || !last.unmatched.is_empty());
    let keep = overlay.pending.as_ref().is_some_and(|pending| !pending.keep.is_empty());
    kept || keep || overlay.snapshots.iter().any(|snapshot| !snapshot.unstable.is_empty())
}

fn snapshot_values(snapshot: &Snapshot) -> Values {
    HashMap::from([
        ("Created", Variant::from(snapshot.created)),
        ("Description", Variant::from(snapshot.description.clone())),
        ("Userdata", Variant::from(HashMap::<String, String>::from_iter(snapshot.userdata.clone()))),
        ("BaseIdentity", Variant::from(snapshot.base.clone())),
        ("Strategy", Variant::from(snapshot.strategy.clone())),
        ("Consistency", Variant::from(snapshot.consistency.clone())),
        ("Entries", Variant::from(snapshot.entries)),
        ("Bytes", Variant::from(snapshot.bytes)),
        ("State", Variant::from(snapshot.state.clone())),
        ("Protected", Variant::from(snapshot.protected)),
    ])
}

fn values(overlay: &OverlayStatus) -> Values {
    let pending = overlay.pending.clone().unwrap_or_default();
    HashMap::from([
        ("ConfiguredMode", Variant::from(overlay.configured_mode.clone())),
        ("Mode", Variant::from(overlay.mode.clone())),
        ("BaseChanged", Variant::from(overlay.base_changed)),
        ("Generation", Variant::from(overlay.generation.unwrap_or(0))),
        ("Snapshot", Variant::from(overlay.snapshot.unwrap_or(0))),
        ("Baseline", Variant::from(overlay.baseline.unwrap_or(0))),
        ("PendingAction", Variant::from(pending.action)),
        ("PendingSince", Variant::from(pending.requested_at)),
        ("Degraded", Variant::from(overlay.degraded.is_some())),
        ("DegradedReason", Variant::from(overlay.degraded.clone().unwrap_or_default())),
        ("Space", Variant::from(overlay.space.clone())),
    ])
}

fn changed(before: &Values, mut now: Values) -> Values {
    now.retain(|name, value| before.get(name) != Some(value));
    now
}

async fn properties(
    bus: &Connection,
    path: &OwnedObjectPath,
    interface: &'static str,
    values: Values,
) -> zbus::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(bus, path)?;
    let interface = InterfaceName::from_static_str_unchecked(interface);
    Properties::properties_changed(&emitter, interface, values, (&[]).into()).await
}

fn root(bus: &Connection) -> zbus::Result<SignalEmitter<'static>> {
    SignalEmitter::new(bus, ROOT)
}

fn root_path() -> OwnedObjectPath {
    OwnedObjectPath::try_from(ROOT).expect("a constant path")
}

fn is_in(status: &Status, name: &str) -> bool {
    status.overlays.iter().any(|o| o.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let before = OverlayStatus { mode: "persistent".into(), ..OverlayStatus::default() };
        let mut now = before.clone();
        assert!(changed(&values(&before), values(&now)).is_empty());
        now.generation = Some(2);
        let told = changed(&values(&before), values(&now));
        assert_eq!(told, HashMap::from([("Generation", Variant::from(2u64))]));
    }
}
