//! `org.overlayd1.Snapshot`: what one snapshot is, and what can be done with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, interface};

use super::authority::{CREATE_SNAPSHOT, DELETE_SNAPSHOT};
use super::core::Core;
use super::errors::BusResult as Result;
use super::request::Call;
use super::task::Work;
use super::{arguments, flags};
use crate::operation::snapshot;
use crate::status::Snapshot;

/// The object of one snapshot.
#[derive(Debug)]
pub(super) struct SnapshotObject {
    /// Shared state.
    pub(super) core: Arc<Core>,
    /// Its overlay.
    pub(super) overlay: String,
    /// Its number.
    pub(super) id: u64,
}

#[interface(name = "org.overlayd1.Snapshot", introspection_docs = false)]
impl SnapshotObject {
    #[zbus(out_args("id", "job"))]
    async fn delete(
        &self,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u64, OwnedObjectPath)> {
        flags::none(flags)?;
        Call { core: &self.core, bus, header: &header }.job(&self.overlay, Work::Delete(self.id)).await
    }

    async fn set_metadata(
        &self,
        description: &str,
        userdata: BTreeMap<String, String>,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        flags::none(flags)?;
        let wanted = arguments::wanted(description, userdata)?;
        let (overlay, id) = (self.overlay.clone(), self.id);
        let call = Call { core: &self.core, bus, header: &header };
        let change = move |site: &_| snapshot::set_metadata(site, &overlay, id, &wanted);
        let by = call.change(CREATE_SNAPSHOT, &self.about(), change).await?;
        self.changed("description", &by);
        Ok(())
    }

    async fn set_protected(
        &self,
        protected: bool,
        flags: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        flags::none(flags)?;
        let (overlay, id) = (self.overlay.clone(), self.id);
        let call = Call { core: &self.core, bus, header: &header };
        let change = move |site: &_| snapshot::set_protected(site, &overlay, id, protected);
        let by = call.change(DELETE_SNAPSHOT, &self.about(), change).await?;
        self.changed(if protected { "protection on" } else { "protection off" }, &by);
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u64 {
        self.id
    }

    #[zbus(property)]
    async fn created(&self) -> u64 {
        self.now().await.created
    }

    #[zbus(property)]
    async fn description(&self) -> String {
        self.now().await.description
    }

    #[zbus(property)]
    async fn userdata(&self) -> BTreeMap<String, String> {
        self.now().await.userdata
    }

    #[zbus(property)]
    async fn base_identity(&self) -> String {
        self.now().await.base
    }

    #[zbus(property)]
    async fn strategy(&self) -> String {
        self.now().await.strategy
    }

    #[zbus(property)]
    async fn consistency(&self) -> String {
        self.now().await.consistency
    }

    #[zbus(property)]
    async fn entries(&self) -> u64 {
        self.now().await.entries
    }

    #[zbus(property)]
    async fn bytes(&self) -> u64 {
        self.now().await.bytes
    }

    #[zbus(property)]
    async fn state(&self) -> String {
        self.now().await.state
    }

    #[zbus(property)]
    async fn protected(&self) -> bool {
        self.now().await.protected
    }
}

impl SnapshotObject {
    async fn now(&self) -> Snapshot {
        let found = self.core.overlay(&self.overlay).await.snapshots.into_iter().find(|s| s.id == self.id);
        found.unwrap_or_default()
    }

    fn about(&self) -> [(&'static str, String); 2] {
        [("overlay", self.overlay.clone()), ("snapshot", self.id.to_string())]
    }

    fn changed(&self, what: &str, by: &str) {
        tracing::info!(
            message_id = crate::logging::message_id::SNAPSHOT_CHANGED,
            operation = "change",
            overlay = self.overlay,
            snapshot = self.id,
            what,
            by,
            "snapshot changed"
        );
    }
}
