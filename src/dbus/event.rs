//! What a client hears: the daemon's signals as plain data, for `overlayctl monitor`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use zbus::{Message, OwnedObjectPath, OwnedVariant, Variant};

use super::{NAME, paths};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The daemon came or went.
    Daemon {
        /// Whether it runs now.
        running: bool,
    },
    /// An overlay came.
    OverlayNew {
        /// Its name.
        overlay: String,
    },
    /// An overlay went.
    OverlayRemoved {
        /// Its name.
        overlay: String,
    },
    /// A snapshot came.
    SnapshotNew {
        /// Its overlay.
        overlay: String,
        /// Its number.
        id: u64,
    },
    /// A snapshot went.
    SnapshotRemoved {
        /// Its overlay.
        overlay: String,
        /// Its number.
        id: u64,
    },
    /// A job was accepted.
    JobNew {
        /// Its number.
        id: u64,
        /// Its overlay; empty for all.
        overlay: String,
    },
    /// A job ended.
    JobRemoved {
        /// Its number.
        id: u64,
        /// Its overlay; empty for all.
        overlay: String,
        /// done, canceled or failed.
        result: String,
        /// Name of the error; empty if there was none.
        error: String,
        /// Its text.
        message: String,
    },
    /// Properties of an object changed.
    Changed {
        /// The object.
        path: String,
        /// The interface.
        interface: String,
        /// The new values.
        properties: BTreeMap<String, Value>,
    },
}

/// Interfaces of an object that came, with their properties.
type Interfaces = BTreeMap<String, BTreeMap<String, OwnedVariant>>;

/// The event that a signal tells; none for signals that tell nothing new.
pub(super) fn parse(message: &Message) -> Option<Event> {
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "NameOwnerChanged" => {
            let (name, _, new): (&str, &str, &str) = body.deserialize().ok()?;
            (name == NAME).then_some(Event::Daemon { running: !new.is_empty() })
        }
        "OverlayNew" => {
            let (overlay, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Event::OverlayNew { overlay })
        }
        "OverlayRemoved" => {
            let (overlay, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Event::OverlayRemoved { overlay })
        }
        "JobNew" => {
            let (id, _, overlay): (u64, OwnedObjectPath, String) = body.deserialize().ok()?;
            Some(Event::JobNew { id, overlay })
        }
        "JobRemoved" => {
            let (id, _, overlay, result, error, message): (
                u64,
                OwnedObjectPath,
                String,
                String,
                String,
                String,
            ) = body.deserialize().ok()?;
            Some(Event::JobRemoved { id, overlay, result, error, message })
        }
        "InterfacesAdded" => {
            let (path, _): (OwnedObjectPath, Interfaces) = body.deserialize().ok()?;
            let (overlay, id) = paths::snapshot_at(path.as_str())?;
            Some(Event::SnapshotNew { overlay, id })
        }
        "InterfacesRemoved" => {
            let (path, _): (OwnedObjectPath, Vec<String>) = body.deserialize().ok()?;
            let (overlay, id) = paths::snapshot_at(path.as_str())?;
            Some(Event::SnapshotRemoved { overlay, id })
        }
        "PropertiesChanged" => {
            let (interface, values, _): (String, BTreeMap<String, OwnedVariant>, Vec<String>) =
                body.deserialize().ok()?;
            let properties = values.iter().map(|(name, value)| (name.clone(), json(value))).collect();
            Some(Event::Changed { path: header.path()?.to_string(), interface, properties })
        }
        _ => None,
    }
}

/// A value of the bus as JSON; file descriptors and signatures have none.
fn json(value: &Variant<'_>) -> Value {
    match value {
        Variant::Bool(b) => Value::from(*b),
        Variant::U8(n) => Value::from(*n),
        Variant::I16(n) => Value::from(*n),
        Variant::U16(n) => Value::from(*n),
        Variant::I32(n) => Value::from(*n),
        Variant::U32(n) => Value::from(*n),
        Variant::I64(n) => Value::from(*n),
        Variant::U64(n) => Value::from(*n),
        Variant::F64(n) => Value::from(*n),
        Variant::Str(text) => Value::from(text.as_str()),
        Variant::ObjectPath(path) => Value::from(path.as_str()),
        Variant::Variant(inner) => json(inner),
        Variant::Array(items) => items.iter().map(json).collect(),
        Variant::Dict(entries) => entries
            .iter()
            .map(|(name, value)| match name {
                Variant::Str(name) => (name.to_string(), json(value)),
                other => (json(other).to_string(), json(value)),
            })
            .collect(),
        Variant::Structure(fields) => fields.fields().iter().map(json).collect(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json() {
        let list = Variant::from(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(json(&list), serde_json::json!(["a", "b"]));
        assert_eq!(json(&Variant::from(7u64)), serde_json::json!(7));
        let map = Variant::from(std::collections::HashMap::from([("k", Variant::from(true))]));
        assert_eq!(json(&map), serde_json::json!({"k": true}));
    }

    #[test]
    fn signals_become_events() {
        let path = zbus::ObjectPath::try_from("/org/overlayd1/job/7").unwrap();
        let signal = Message::signal("/org/overlayd1", super::super::MANAGER, "JobNew");
        let event = parse(&signal.build(&(7u64, path, "root")).unwrap()).unwrap();
        assert_eq!(event, Event::JobNew { id: 7, overlay: "root".into() });
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"event":"job-new","id":7,"overlay":"root"}"#);
        let gone = |path: &'static str| {
            let path = zbus::ObjectPath::try_from(path).unwrap();
            let signal =
                Message::signal("/org/overlayd1", "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved");
            parse(&signal.build(&(path, vec![super::super::SNAPSHOT])).unwrap())
        };
        assert_eq!(
            gone("/org/overlayd1/overlay/var_2dlib/snapshot/3"),
            Some(Event::SnapshotRemoved { overlay: "var-lib".into(), id: 3 })
        );
        // Overlays and jobs have signals of their own.
        assert_eq!(gone("/org/overlayd1/job/3"), None);
    }
}
