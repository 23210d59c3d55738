//! Rebooting the machine, by whoever is there to do it.

use zbus::Connection;

use crate::error::{Error, Kind, Result};

/// Asks logind for a reboot, and systemd where there is no logind.
pub(super) async fn reboot(bus: &Connection) -> Result<()> {
    let logind = bus
        .call_method(
            Some("org.freedesktop.login1"),
            "/org/freedesktop/login1",
            Some("org.freedesktop.login1.Manager"),
            "Reboot",
            &false,
        )
        .await;
    let Err(first) = logind else { return Ok(()) };
    bus.call_method(
        Some("org.freedesktop.systemd1"),
        "/org/freedesktop/systemd1",
        Some("org.freedesktop.systemd1.Manager"),
        "Reboot",
        &(),
    )
    .await
    .map(drop)
    .map_err(|second| {
        Error::new(Kind::Failed, format!("failed to reboot: logind: {first}; systemd: {second}"))
            .remedy("the request stands: reboot by hand")
    })
}
