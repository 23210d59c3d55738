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
use super::{announce, flags, paths};
use crate::config::Mode;
use crate::error::Kind;

/// The overlay that a factory reset is about.
const MACHINE: &str = "root";

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
    async fn get_overlay(&self, name: &str) -> Result<OwnedObjectPath> {
        let status = self.core.status().await;
        match name == MACHINE || status.overlays.iter().any(|o| o.name == name) {
            true => Ok(paths::overlay(name)),
            false => {
                Err(BusError::new(name_of(Kind::NoSuchOverlay), format!("there is no overlay \"{name}\"")))
            }
        }
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
        if self.state().await == "unsupported" {
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

/// The word systemd's factory-reset tool has for it: unsupported, off or pending. What is in RAM by configuration is not
/// reset: it is gone at the next boot anyway.
pub(super) fn factory_reset_state(status: &crate::status::Status) -> &'static str {
    let machine = find(status, MACHINE);
    match (machine.pending, &status.store) {
        (Some(pending), _) if pending.action == "reset" => "pending",
        (_, Some(store)) if !store.read_only && machine.configured_mode != Mode::Volatile.word() => "off",
        _ => "unsupported",
    }
}
