//! `org.overlayd1.Manager`: the overlays, the jobs, and the machine's factory reset.

use std::sync::Arc;
use std::time::Instant;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, interface};

use super::authority::{self, Answer, FACTORY_RESET};
use super::caller::Caller;
use super::core::{Core, Depth, find};
use super::errors::{BusError, BusResult as Result, name_of};
use super::request::{self, Call, Pretext};
use super::task::Work;
use super::{announce, flags, paths};
use crate::error::Kind;
use crate::operation::erase::ERASING;
use crate::operation::health::Mark;
use crate::status::Status;

/// The overlay that a factory reset is about.
const MACHINE: &str = "root";
/// Its action's word.
const RESET: &str = "reset";

/// The object at `/org/overlayd1`.
#[derive(Debug)]
pub(super) struct ManagerObject {
    /// Shared state.
    pub(super) core: Arc<Core>,
}

/// Number, type, overlay, state, progress and path of a job.
type JobRow = (u64, String, String, String, u32, OwnedObjectPath);

#[interface(name = "org.overlayd1.Manager", introspection_docs = false)]
impl ManagerObject {
    #[zbus(out_args("overlays"))]
    async fn list_overlays(&self, flags: u64) -> Result<Vec<(String, String, OwnedObjectPath)>> {
        flags::none(flags)?;
        let status = self.core.fresh(Depth::Quick).await;
        let row = |o: &crate::status::OverlayStatus| {
            (o.name.clone(), o.mount_point.clone(), paths::overlay(&o.name))
        };
        Ok(status.overlays.iter().map(row).collect())
    }

    #[zbus(out_args("overlay"))]
    async fn get_overlay(&self, name: &str, #[zbus(connection)] bus: &Connection) -> Result<OwnedObjectPath> {
        let has = |status: &Status| status.overlays.iter().any(|overlay| overlay.name == name);
        if name == MACHINE || has(&*self.core.status().await) {
            return Ok(paths::overlay(name));
        }
        // It may have been mounted since: that tells nobody.
        if !has(&*self.core.look(Depth::Quick, Some(Instant::now())).await) {
            let text = format!("there is no overlay \"{name}\"");
            return Err(BusError::new(name_of(Kind::NoSuchOverlay), text));
        }
        announce::appear(&self.core, bus, name).await?;
        Ok(paths::overlay(name))
    }

    #[zbus(out_args("jobs"))]
    fn list_jobs(&self, flags: u64) -> Result<Vec<JobRow>> {
        flags::none(flags)?;
        let row = |j: &super::jobs::Job| {
            let state = j.state.word().to_owned();
            (j.id, j.work.word().to_owned(), j.overlay.clone(), state, j.progress, paths::job(j.id))
        };
        Ok(self.core.jobs(|jobs| jobs.all().map(row).collect()))
    }

    #[zbus(out_args("json"))]
    async fn describe(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String> {
        flags::none(flags)?;
        let status = self.core.fresh(Depth::Full).await;
        announce::json(&*announce::told_to(bus, &header, status).await?)
    }

    async fn reload(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        let _call = self.core.enter();
        flags::none(flags)?;
        authority::require_root(&Caller::of(bus, &header).await?, "make overlayd read everything again")?;
        self.core.look(Depth::Quick, Some(Instant::now())).await;
        Ok(())
    }

    #[zbus(out_args("answer"))]
    async fn can_factory_reset(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String> {
        let _call = self.core.enter();
        flags::none(flags)?;
        if self.core.status().await.store.as_ref().is_none_or(|store| store.read_only) {
            return Ok("na".to_owned());
        }
        let caller = Caller::of(bus, &header).await?;
        let answer = authority::ask(bus, &caller, FACTORY_RESET, &[("overlay", MACHINE)], false).await?;
        Ok(match answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Challenge => "challenge",
        }
        .to_owned())
    }

    async fn request_factory_reset(
        &self,
        level: &str,
        keep: Vec<String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        let work = request::reset(level, &keep, flags)?;
        let call = Call { core: &self.core, bus, header: &header };
        call.job_for(MACHINE, work, &[FACTORY_RESET]).await.map(drop)
    }

    async fn cancel_factory_reset(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Call { core: &self.core, bus, header: &header }.cancel(MACHINE, Pretext::FactoryReset, flags).await
    }

    #[zbus(out_args("id", "job"))]
    async fn check_store(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let (checking, reach) = flags::check(flags)?;
        let work = Work::Check(checking, reach);
        Call { core: &self.core, bus, header: &header }.job("", work).await
    }

    async fn mark_good(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        let mark = Mark::Good { forget: flags::mark(flags)? };
        Call { core: &self.core, bus, header: &header }.mark(MACHINE, mark).await
    }

    async fn mark_bad(
        &self,
        reason: &str,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        flags::none(flags)?;
        let mark = Mark::Bad { reason: reason.to_owned() };
        Call { core: &self.core, bus, header: &header }.mark(MACHINE, mark).await
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn boot_mode(&self) -> String {
        self.core.status().await.boot_mode.clone()
    }

    #[zbus(property)]
    async fn factory_reset_state(&self) -> String {
        self.state().await.to_owned()
    }

    #[zbus(property)]
    async fn reset_is_secure(&self) -> String {
        reset_is_secure(&*self.core.status().await)
    }

    #[zbus(property)]
    async fn health_state(&self) -> String {
        health_state(&*self.core.status().await)
    }

    #[zbus(property)]
    async fn tries_left(&self) -> u64 {
        tries_left(&*self.core.status().await)
    }

    #[zbus(signal)]
    async fn overlay_new(
        emitter: &SignalEmitter<'_>,
        name: &str,
        overlay: ObjectPath<'_>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn overlay_removed(
        emitter: &SignalEmitter<'_>,
        name: &str,
        overlay: ObjectPath<'_>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn job_new(
        emitter: &SignalEmitter<'_>,
        id: u64,
        job: ObjectPath<'_>,
        overlay: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u64,
        job: ObjectPath<'_>,
        overlay: &str,
        result: &str,
        error: &str,
        message: &str,
    ) -> zbus::Result<()>;
}

impl ManagerObject {
    async fn state(&self) -> &'static str {
        factory_reset_state(&*self.core.status().await)
    }
}

/// The words systemd's factory-reset tool has for it, where it has one: pending before all; then how the last request
/// ended, if that was a reset.
pub(super) fn factory_reset_state(status: &Status) -> &'static str {
    let machine = find(status, MACHINE);
    if machine.pending.is_some_and(|p| p.action == RESET) {
        return "pending";
    }
    let supported = status.store.as_ref().is_some_and(|store| !store.read_only);
    match machine.last.filter(|last| last.action == RESET) {
        Some(last) if last.result != "done" => "failed",
        Some(last) if last.erasure.as_deref() == Some(ERASING) => "erasing",
        Some(_) => "complete",
        None if supported => "off",
        None => "unsupported",
    }
}

/// What the last factory reset or wipe was worth: yes, no or unknown.
pub(super) fn reset_is_secure(status: &Status) -> String {
    let last = find(status, MACHINE).last.and_then(|last| last.secure);
    last.unwrap_or_else(|| "unknown".to_owned())
}

/// Whether the boots of the root come up.
pub(super) fn health_state(status: &Status) -> String {
    find(status, MACHINE).health.map_or_else(|| "off".to_owned(), |health| health.state)
}

/// So many boots may still fail.
pub(super) fn tries_left(status: &Status) -> u64 {
    find(status, MACHINE).health.map_or(0, |health| health.tries_left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Outcome, OverlayStatus, Pending, StoreStatus};

    fn status(last: Option<Outcome>) -> Status {
        let root = OverlayStatus { name: MACHINE.into(), last, ..OverlayStatus::default() };
        Status { store: Some(StoreStatus::default()), overlays: vec![root], ..Status::default() }
    }

    fn reset(result: &str, erasure: Option<&str>) -> Option<Outcome> {
        let (action, result) = (RESET.to_owned(), result.to_owned());
        Some(Outcome { action, result, erasure: erasure.map(str::to_owned), ..Outcome::default() })
    }

    #[test]
    fn a_reset_goes_through_its_states() {
        assert_eq!(factory_reset_state(&Status::default()), "unsupported");
        assert_eq!(factory_reset_state(&status(None)), "off");
        assert_eq!(factory_reset_state(&status(reset("done", None))), "complete");
        assert_eq!(factory_reset_state(&status(reset("done", Some("erasing")))), "erasing");
        assert_eq!(factory_reset_state(&status(reset("done", Some("complete")))), "complete");
        assert_eq!(factory_reset_state(&status(reset("failed", None))), "failed");
        let restore = Outcome { action: "restore".into(), result: "failed".into(), ..Outcome::default() };
        assert_eq!(factory_reset_state(&status(Some(restore))), "off");
        let mut again = status(reset("failed", None));
        again.overlays[0].pending = Some(Pending { action: RESET.into(), ..Pending::default() });
        assert_eq!(factory_reset_state(&again), "pending");
        let mut read_only = status(None);
        read_only.store = Some(StoreStatus { read_only: true, ..StoreStatus::default() });
        assert_eq!(factory_reset_state(&read_only), "unsupported");
    }

    #[test]
    fn nothing_is_called_secure_before_it_is_known() {
        assert_eq!(reset_is_secure(&status(reset("done", Some("erasing")))), "unknown");
        let mut known = status(reset("done", Some("complete")));
        known.overlays[0].last.as_mut().unwrap().secure = Some("no".into());
        assert_eq!(reset_is_secure(&known), "no");
    }
}
