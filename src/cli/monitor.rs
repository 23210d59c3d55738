//! `overlayctl monitor`: what the daemon tells, line by line, until interrupted.

use std::ops::ControlFlow;

use super::output::Output;
use crate::dbus::client;
use crate::dbus::event::Event;
use crate::error::Result;

/// Follows the daemon's signals; ends when nobody reads any more.
pub(crate) fn monitor(output: &Output) -> Result<u8> {
    let mut failed = None;
    client::monitor(&mut |event| {
        let written = match output.is_json() {
            true => output.value(&event),
            false => output.text(&line(&event)),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(0), Err)
}

fn line(event: &Event) -> String {
    match event {
        Event::Daemon { running: true } => "overlayd started\n".to_owned(),
        Event::Daemon { running: false } => "overlayd ended\n".to_owned(),
        Event::OverlayNew { overlay } => format!("overlay {overlay} appeared\n"),
        Event::OverlayRemoved { overlay } => format!("overlay {overlay} is gone\n"),
        Event::SnapshotNew { overlay, id } => format!("snapshot {id} of {overlay} appeared\n"),
        Event::SnapshotRemoved { overlay, id } => format!("snapshot {id} of {overlay} is gone\n"),
        Event::JobNew { id, overlay } => format!("job {id}{} started\n", of(overlay)),
        Event::JobRemoved { id, overlay, result, message, .. } => {
            let why = if message.is_empty() { String::new() } else { format!(": {message}") };
            format!("job {id}{} {result}{why}\n", of(overlay))
        }
        Event::Changed { path, properties, .. } => {
            let object = path.strip_prefix("/org/overlayd1/").unwrap_or("manager");
            properties.iter().map(|(name, value)| format!("{object} {name} = {value}\n")).collect()
        }
    }
}

fn of(overlay: &str) -> String {
    if overlay.is_empty() { String::new() } else { format!(" of {overlay}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        let removed = Event::JobRemoved {
            id: 7,
            overlay: "root".into(),
            result: "failed".into(),
            error: "org.overlayd1.Error.StoreDamaged".into(),
            message: "store.toml:1: bad".into(),
        };
        assert_eq!(line(&removed), "job 7 of root failed: store.toml:1: bad\n");
        let changed = Event::Changed {
            path: "/org/overlayd1/overlay/root".into(),
            interface: "org.overlayd1.Overlay".into(),
            properties: [("PendingAction".to_owned(), "reset".into())].into(),
        };
        assert_eq!(line(&changed), "overlay/root PendingAction = \"reset\"\n");
    }
}
