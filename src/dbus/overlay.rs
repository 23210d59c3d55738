//! `org.overlayd1.Overlay`: what one overlay is, and what can be asked of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, interface};

use super::caller::Caller;
use super::core::{Core, Depth, find};
use super::errors::{BusError, BusResult as Result};
use super::flags::{self, Effect, Source};
use super::request::{self, Call, Pretext};
use super::task::Work;
use super::{announce, arguments, authority, changes, paths, reboot};
use crate::operation::restore::From;
use crate::status::OverlayStatus;

/// The object of one overlay.
#[derive(Debug)]
pub(super) struct OverlayObject {
    /// Shared state.
    pub(super) core: Arc<Core>,
    /// Which overlay.
    pub(super) name: String,
}

#[interface(name = "org.overlayd1.Overlay", introspection_docs = false)]
impl OverlayObject {
    #[zbus(out_args("id", "job"))]
    async fn reset(
        &self,
        level: &str,
        keep: Vec<String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let work = request::reset(level, &keep, flags)?;
        Call { core: &self.core, bus, header: &header }.job(&self.name, work).await
    }

    #[zbus(out_args("id", "job"))]
    async fn reset_via(
        &self,
        level: &str,
        keep: Vec<String>,
        via: &str,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let work = request::reset_via(level, &keep, via, flags)?;
        authority::require_root(&Caller::of(bus, &header).await?, "say what asks for a reset")?;
        Call { core: &self.core, bus, header: &header }.job(&self.name, work).await
    }

    #[zbus(out_args("id", "job"))]
    async fn create_snapshot(
        &self,
        description: &str,
        userdata: BTreeMap<String, String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let taking = flags::snapshot(flags)?;
        let work = Work::Snapshot(arguments::wanted(description, userdata)?, taking);
        Call { core: &self.core, bus, header: &header }.job(&self.name, work).await
    }

    #[zbus(out_args("snapshots"))]
    async fn list_snapshots(&self, flags: u64) -> Result<Vec<(u64, String, OwnedObjectPath)>> {
        flags::none(flags)?;
        let status = self.core.fresh(Depth::Quick).await;
        let row = |s: crate::status::Snapshot| (s.id, s.description, paths::snapshot(&self.name, s.id));
        Ok(find(&status, &self.name).snapshots.into_iter().map(row).collect())
    }

    #[zbus(out_args("id", "job"))]
    async fn commit(
        &self,
        description: &str,
        userdata: BTreeMap<String, String>,
        paths: Vec<String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let taking = flags::commit(flags)?;
        let wanted = arguments::wanted(description, userdata)?;
        let work = Work::Commit(wanted, arguments::paths(&paths)?, taking);
        Call { core: &self.core, bus, header: &header }.job(&self.name, work).await
    }

    #[zbus(out_args("id", "job"))]
    async fn restore(
        &self,
        snapshot: u64,
        paths: Vec<String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let work = restore(snapshot, &paths, flags)?;
        Call { core: &self.core, bus, header: &header }.job(&self.name, work).await
    }

    #[zbus(out_args("id", "job"))]
    async fn undo(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        let work = Work::Undo(flags::effect(flags)?);
        Call { core: &self.core, bus, header: &header }.job(&self.name, work).await
    }

    #[zbus(out_args("changes"))]
    async fn list_changes(
        &self,
        from: &str,
        to: &str,
        paths: Vec<String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<zbus::OwnedFd> {
        let wanted = changes::wanted(from, to, &paths, flags)?;
        let call = Call { core: &self.core, bus, header: &header };
        changes::list(call, &self.name, wanted).await
    }

    async fn cancel_pending(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Call { core: &self.core, bus, header: &header }.cancel(&self.name, Pretext::Any, flags).await
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
        let status = announce::told_to(bus, &header, status).await?;
        announce::json(&find(&status, &self.name))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn mount_point(&self) -> String {
        self.now().await.mount_point
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn lowers(&self) -> Vec<String> {
        self.now().await.lowers
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn base_identity(&self) -> String {
        self.now().await.base
    }

    #[zbus(property)]
    async fn configured_mode(&self) -> String {
        self.now().await.configured_mode
    }

    #[zbus(property)]
    async fn mode(&self) -> String {
        self.now().await.mode
    }

    #[zbus(property)]
    async fn base_changed(&self) -> bool {
        self.now().await.base_changed
    }

    #[zbus(property)]
    async fn generation(&self) -> u64 {
        self.now().await.generation.unwrap_or(0)
    }

    #[zbus(property)]
    async fn snapshot(&self) -> u64 {
        self.now().await.snapshot.unwrap_or(0)
    }

    #[zbus(property)]
    async fn baseline(&self) -> u64 {
        self.now().await.baseline.unwrap_or(0)
    }

    #[zbus(property)]
    async fn pending_action(&self) -> String {
        self.now().await.pending.map(|p| p.action).unwrap_or_default()
    }

    #[zbus(property)]
    async fn pending_since(&self) -> u64 {
        self.now().await.pending.map_or(0, |p| p.requested_at)
    }

    #[zbus(property)]
    async fn degraded(&self) -> bool {
        self.now().await.degraded.is_some()
    }

    #[zbus(property)]
    async fn degraded_reason(&self) -> String {
        self.now().await.degraded.unwrap_or_default()
    }

    #[zbus(property)]
    async fn space(&self) -> String {
        self.now().await.space
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn soft_reboot_capable(&self, #[zbus(connection)] bus: &Connection) -> bool {
        request::is_soft_rebootable(&self.now().await) && reboot::require_soft(bus).await.is_ok()
    }

    #[zbus(property)]
    fn active_job(&self) -> OwnedObjectPath {
        self.core.active_job(&self.name).map_or_else(paths::none, paths::job)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn bytes_used(&self) -> u64 {
        let status = self.core.fresh(Depth::Full).await;
        find(&status, &self.name).upper.map_or(0, |u| u.bytes)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn bytes_free(&self) -> u64 {
        let status = self.core.fresh(Depth::Quick).await;
        let on_disk = || status.store.as_ref().map_or(0, |s| s.bytes_free);
        find(&status, &self.name).memory.map_or_else(on_disk, |m| m.bytes_free)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn inodes_free(&self) -> u64 {
        let status = self.core.fresh(Depth::Quick).await;
        let on_disk = || status.store.as_ref().map_or(0, |s| s.inodes_free);
        find(&status, &self.name).memory.map_or_else(on_disk, |m| m.inodes_free)
    }
}

impl OverlayObject {
    async fn now(&self) -> OverlayStatus {
        self.core.overlay(&self.name).await
    }
}

/// What `Restore` is asked with, parsed.
fn restore(snapshot: u64, paths: &[String], flags: u64) -> Result<Work> {
    let (effect, source) = flags::restore(flags)?;
    let paths = arguments::paths(paths)?;
    let from = match source {
        Source::Snapshot => From::Snapshot(arguments::id(snapshot)?),
        Source::Base if snapshot != 0 => {
            return Err(BusError::invalid(format!("both snapshot {snapshot} and the base are named")));
        }
        Source::Base => From::Base,
    };
    match (from, paths.is_empty(), effect) {
        (_, false, Effect::Reboot | Effect::SoftReboot) => {
            Err(BusError::invalid("single paths are restored at once, without a reboot"))
        }
        (from, false, effect) => Ok(Work::Paths(from, paths, effect)),
        (From::Snapshot(id), true, effect) => Ok(Work::Restore(id, effect)),
        (From::Base, true, _) => {
            Err(BusError::invalid("from the base only paths are restored (for all of it there is Reset)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_is_of_everything_or_of_paths() {
        let etc = ["/etc".to_owned()];
        assert_eq!(restore(3, &[], 2).unwrap(), Work::Restore(3, Effect::Reboot));
        let paths = Work::Paths(From::Snapshot(3), vec!["/etc".into()], Effect::NextBoot);
        assert_eq!(restore(3, &etc, 0).unwrap(), paths);
        assert_eq!(
            restore(0, &etc, 12).unwrap(),
            Work::Paths(From::Base, vec!["/etc".into()], Effect::DryRun)
        );
        for (id, paths, flags) in
            [(0, &etc[..], 0), (0, &[], 0), (0, &[], 8), (3, &etc, 8), (3, &etc, 2), (0, &etc, 10)]
        {
            assert!(restore(id, paths, flags).is_err(), "{id} {paths:?} {flags}");
        }
    }
}
