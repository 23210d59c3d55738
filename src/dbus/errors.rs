//! Error names on the bus, from [`Kind`] and back to it.

use std::fmt;

use zbus::DBusError;
use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::error::{Error, Kind};

/// Prefix of our own error names.
const OURS: &str = "org.overlayd1.Error";
/// Prefix of the standard ones.
const STANDARD: &str = "org.freedesktop.DBus.Error";

/// The caller must authenticate, and did not allow to be asked.
pub const INTERACTION: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
/// Too many jobs wait.
pub const LIMITS: &str = "org.freedesktop.DBus.Error.LimitsExceeded";

/// Every kind with its name; the first one listed for a name is what the name means to a client.
const NAMES: &[(Kind, &str)] = &[
    (Kind::Failed, "org.freedesktop.DBus.Error.Failed"),
    (Kind::InvalidArgs, "org.freedesktop.DBus.Error.InvalidArgs"),
    (Kind::NotSupported, "org.freedesktop.DBus.Error.NotSupported"),
    (Kind::AccessDenied, "org.freedesktop.DBus.Error.AccessDenied"),
    (Kind::AccessDenied, INTERACTION),
    (Kind::Refused, "org.overlayd1.Error.Refused"),
    (Kind::Refused, LIMITS),
    (Kind::BadConfig, "org.overlayd1.Error.BadConfig"),
    (Kind::NoSuchOverlay, "org.overlayd1.Error.NoSuchOverlay"),
    (Kind::NoSuchSnapshot, "org.overlayd1.Error.NoSuchSnapshot"),
    (Kind::NoSuchJob, "org.overlayd1.Error.NoSuchJob"),
    (Kind::JobInProgress, "org.overlayd1.Error.JobInProgress"),
    (Kind::RebootPending, "org.overlayd1.Error.RebootPending"),
    (Kind::NoPendingAction, "org.overlayd1.Error.NoPendingAction"),
    (Kind::NothingToDo, "org.overlayd1.Error.NothingToDo"),
    (Kind::Canceled, "org.overlayd1.Error.Canceled"),
    (Kind::OverlayBusy, "org.overlayd1.Error.OverlayBusy"),
    (Kind::BaseMismatch, "org.overlayd1.Error.BaseMismatch"),
    (Kind::SnapshotProtected, "org.overlayd1.Error.SnapshotProtected"),
    (Kind::SnapshotIncomplete, "org.overlayd1.Error.SnapshotIncomplete"),
    (Kind::StoreUnavailable, "org.overlayd1.Error.StoreUnavailable"),
    (Kind::StoreDamaged, "org.overlayd1.Error.StoreDamaged"),
    (Kind::InsufficientSpace, "org.overlayd1.Error.InsufficientSpace"),
];

/// The name of `kind` on the bus.
pub fn name_of(kind: Kind) -> &'static str {
    NAMES.iter().find(|(k, _)| *k == kind).map_or("org.freedesktop.DBus.Error.Failed", |(_, name)| name)
}

/// What an error name means; everything unknown is [`Kind::Failed`].
pub fn kind_of(name: &str) -> Kind {
    NAMES.iter().find(|(_, n)| *n == name).map_or(Kind::Failed, |(kind, _)| *kind)
}

/// Whether `name` is one that a client of ours can expect.
pub fn is_known(name: &str) -> bool {
    name.starts_with(OURS) || name.starts_with(STANDARD)
}

/// What a method of ours replies when it fails.
#[derive(Clone, Debug)]
pub(super) struct BusError {
    name: &'static str,
    message: String,
}

/// Result of a method.
pub(super) type BusResult<T> = Result<T, BusError>;

impl BusError {
    /// An error by its name.
    pub(super) fn new(name: &'static str, message: impl Into<String>) -> Self {
        BusError { name, message: message.into() }
    }

    /// An argument that can never be right.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        BusError::new(name_of(Kind::InvalidArgs), message)
    }

    /// Something that this version can not do.
    pub(super) fn not_supported(message: impl Into<String>) -> Self {
        BusError::new(name_of(Kind::NotSupported), message)
    }

    /// A caller who may not.
    pub(super) fn denied(message: impl Into<String>) -> Self {
        BusError::new(name_of(Kind::AccessDenied), message)
    }

    /// The name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The text, with the remedy.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<Error> for BusError {
    fn from(error: Error) -> Self {
        BusError::new(name_of(error.kind()), error.to_string())
    }
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
        BusError::new(name_of(Kind::Failed), error.to_string())
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl DBusError for BusError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name).build(&self.message.as_str())
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.message)
    }
}

/// Name and text of an error reply; none if it is a failure of the bus itself.
pub(super) fn reply(error: &zbus::Error) -> Option<(String, String)> {
    let (name, text) = match error {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.clone()),
        zbus::Error::FDO(standard) => {
            (standard.name().to_string(), standard.description().map(str::to_owned))
        }
        _ => return None,
    };
    let text = text.unwrap_or_else(|| name.clone());
    Some((name, text))
}

/// An error reply, or a failure of the bus itself, as the error of an operation.
pub(super) fn from_bus(error: zbus::Error) -> Error {
    match reply(&error) {
        Some((name, text)) => Error::new(kind_of(&name), text),
        None => Error::new(Kind::Failed, format!("failed to talk to overlayd: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_kind() {
        for (kind, name) in NAMES {
            assert_eq!(kind_of(name), *kind);
            assert!(is_known(name));
        }
        assert_eq!(name_of(Kind::StoreDamaged), "org.overlayd1.Error.StoreDamaged");
        assert_eq!(name_of(Kind::AccessDenied), "org.freedesktop.DBus.Error.AccessDenied");
        assert_eq!(kind_of("com.example.Other"), Kind::Failed);
    }

    #[test]
    fn the_message_holds_the_remedy() {
        let error = BusError::from(Error::new(Kind::Refused, "the store is read-only").remedy("mount it"));
        assert_eq!(error.message(), "the store is read-only (mount it)");
        assert_eq!(error.name(), "org.overlayd1.Error.Refused");
    }
}
