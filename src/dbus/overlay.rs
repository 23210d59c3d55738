//! `org.overlayd1.Overlay`: what one overlay is, and what can be asked of it.

use std::sync::Arc;

use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, interface};

use super::authority::RESET;
use super::core::{Core, Depth, find};
use super::errors::BusResult as Result;
use super::flags;
use super::request::{self, Wanted};
use super::{announce, paths};
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
        let wanted = Wanted { overlay: &self.name, action: RESET, level, keep: &keep, flags };
        request::reset(&self.core, bus, &header, wanted).await
    }

    async fn cancel_pending(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        request::cancel(&self.core, bus, &header, &self.name, RESET, flags).await
    }

    #[zbus(out_args("json"))]
    async fn describe(&self, flags: u64) -> Result<String> {
        flags::none(flags)?;
        let status = self.core.fresh(Depth::Full).await;
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
        self.core.fresh(Depth::Quick).await.store.as_ref().map_or(0, |s| s.bytes_free)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn inodes_free(&self) -> u64 {
        self.core.fresh(Depth::Quick).await.store.as_ref().map_or(0, |s| s.inodes_free)
    }
}

impl OverlayObject {
    async fn now(&self) -> OverlayStatus {
        self.core.overlay(&self.name).await
    }
}
