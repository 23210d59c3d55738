//! Who sent a message, as the bus knows it. Never what the message says of itself.

use zbus::Connection;
use zbus::message::{Flags, Header};

use super::errors::{BusError, BusResult};
use super::jobs::Initiator;
use crate::sys::user;

/// The sender of a method call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Unique name on the bus.
    pub(super) sender: String,
    /// User id.
    pub(super) uid: u32,
    /// Whether the caller waits for a password to be typed.
    pub(super) interactive: bool,
}

impl Caller {
    /// Asks the bus for the sender's user.
    pub(super) async fn of(bus: &Connection, header: &Header<'_>) -> BusResult<Caller> {
        let sender = header.sender().ok_or_else(|| BusError::denied("the message has no sender"))?;
        let reply = bus
            .call_method(
                Some("org.freedesktop.DBus"),
                "/org/freedesktop/DBus",
                Some("org.freedesktop.DBus"),
                "GetConnectionUnixUser",
                &sender.as_str(),
            )
            .await
            .map_err(|error| BusError::denied(format!("the sender is not known to the bus: {error}")))?;
        Ok(Caller {
            sender: sender.to_string(),
            uid: reply.body().deserialize()?,
            interactive: header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH),
        })
    }

    /// Whether it is root, who may do everything here.
    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The caller as the one on whose behalf a job runs.
    pub(super) fn initiator(&self) -> Initiator {
        Initiator { uid: self.uid, name: user::describe(self.uid) }
    }
}
