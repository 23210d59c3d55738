//! `org.freedesktop.LogControl1`: `systemctl service-log-level overlayd.service debug`.

use zbus::message::Header;
use zbus::{Connection, interface};

use super::authority;
use super::caller::Caller;
use super::errors::{BusError, BusResult as Result};
use crate::logging::LogHandle;

/// Where systemd expects it, whatever the service's own paths are (org.freedesktop.LogControl1(5)).
pub(super) const PATH: &str = "/org/freedesktop/LogControl1";

/// Levels of syslog, with the level that is as talkative here; the first one is its name when read.
const LEVELS: [(&str, tracing::Level); 8] = [
    ("err", tracing::Level::ERROR),
    ("crit", tracing::Level::ERROR),
    ("alert", tracing::Level::ERROR),
    ("emerg", tracing::Level::ERROR),
    ("warning", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("notice", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
];

/// The object at [`PATH`].
#[derive(Debug)]
pub(super) struct LogControl {
    /// The program's log.
    pub(super) log: LogHandle,
}

#[interface(name = "org.freedesktop.LogControl1", introspection_docs = false)]
impl LogControl {
    #[zbus(property(emits_changed_signal = "false"))]
    fn log_level(&self) -> String {
        let level = self.log.level();
        let name = LEVELS.iter().find(|(_, l)| *l == level).map_or("debug", |(name, _)| name);
        name.to_owned()
    }

    #[zbus(property)]
    async fn set_log_level(
        &self,
        name: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<()> {
        require_root(bus, header).await?;
        let level = LEVELS.iter().find(|(known, _)| *known == name);
        let (_, level) = level.ok_or_else(|| BusError::invalid(format!("unknown log level \"{name}\"")))?;
        self.log.set_level(*level);
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn log_target(&self) -> String {
        self.log.target().to_owned()
    }

    #[zbus(property)]
    async fn set_log_target(
        &self,
        target: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Option<Header<'_>>,
    ) -> Result<()> {
        require_root(bus, header).await?;
        match target == self.log.target() || target == "auto" {
            true => Ok(()),
            false => Err(BusError::not_supported(format!("the log goes to {} only", self.log.target()))),
        }
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn syslog_identifier(&self) -> &str {
        "overlayd"
    }
}

async fn require_root(bus: &Connection, header: Option<Header<'_>>) -> Result<()> {
    let header = header.ok_or_else(|| BusError::denied("the message has no sender"))?;
    authority::require_root(&Caller::of(bus, &header).await?, "change the log")
}
