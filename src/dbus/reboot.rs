//! Rebooting the machine, or its userspace alone, by whoever is there to do it.

use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use super::errors::{BusError, BusResult};
use crate::error::{Error, Kind, Result};

/// What boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    /// Userspace, into the root that overlayd-nextroot.service mounts.
    Soft,
    /// The whole machine.
    Full,
}

impl Boot {
    /// What systemd starts for it.
    fn target(self) -> &'static str {
        match self {
            Boot::Soft => "soft-reboot.target",
            Boot::Full => "reboot.target",
        }
    }
}

/// The flag of logind's RebootWithFlags that means a soft-reboot (SD_LOGIND_SOFT_REBOOT, systemd 254).
const LOGIND_SOFT_REBOOT: u64 = 1 << 2;
/// The first systemd that can do it.
const SOFT_SINCE: u32 = 254;
/// What mounts the next root.
const NEXTROOT: &str = "overlayd-nextroot.service";

const LOGIND: (&str, &str, &str) =
    ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager");
const SYSTEMD: (&str, &str, &str) =
    ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");

/// Asks logind for it, and systemd where there is no logind. logind may also be gone before it answers, when all stops
/// already: then the same target is started once more, which changes nothing. systemd's own `Reboot` and `SoftReboot` must
/// not be called: they stop nothing in order, and do not wait for overlayd-nextroot.service.
pub(super) async fn reboot(bus: &Connection, boot: Boot) -> Result<()> {
    let first = match boot {
        Boot::Full => call(bus, LOGIND, "Reboot", &false).await,
        Boot::Soft => call(bus, LOGIND, "RebootWithFlags", &LOGIND_SOFT_REBOOT).await,
    };
    let Err(first) = first else { return Ok(()) };
    let second = call(bus, SYSTEMD, "StartUnit", &(boot.target(), "replace-irreversibly")).await;
    second.map_err(|second| {
        Error::new(Kind::Failed, format!("failed to reboot: logind: {first}; systemd: {second}"))
            .remedy("the request stands: reboot by hand")
    })
}

async fn call<B>(bus: &Connection, whom: (&str, &str, &str), method: &str, body: &B) -> zbus::Result<()>
where
    B: serde::Serialize + zbus::DynamicType,
{
    bus.call_method(Some(whom.0), whom.1, Some(whom.2), method, body).await.map(drop)
}

/// Refuses what this machine's systemd can not do.
pub(super) async fn require_soft(bus: &Connection) -> BusResult<()> {
    let no = |why: &str| Err(BusError::not_supported(format!("no soft-reboot: {why} (use a reboot)")));
    match (version(bus).await, has_nextroot(bus).await) {
        (Err(_), _) => no("systemd does not answer"),
        (Ok(version), _) if version < SOFT_SINCE => {
            no(&format!("systemd {version} can not, {SOFT_SINCE} is the first that can"))
        }
        (_, Ok(true)) => Ok(()),
        _ => no(&format!("{NEXTROOT} is not installed")),
    }
}

/// `257.9-1~deb13u1` is 257.
async fn version(bus: &Connection) -> zbus::Result<u32> {
    let text = String::try_from(property(bus, SYSTEMD.1, SYSTEMD.2, "Version").await?)?;
    Ok(major(&text))
}

fn major(version: &str) -> u32 {
    let digits = version.trim_start_matches('v');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

async fn has_nextroot(bus: &Connection) -> zbus::Result<bool> {
    let (name, path, interface) = SYSTEMD;
    let reply = bus.call_method(Some(name), path, Some(interface), "LoadUnit", &NEXTROOT).await?;
    let unit: OwnedObjectPath = reply.body().deserialize()?;
    let state = property(bus, unit.as_str(), "org.freedesktop.systemd1.Unit", "LoadState").await?;
    Ok(String::try_from(state)? == "loaded")
}

async fn property(bus: &Connection, path: &str, interface: &str, name: &str) -> zbus::Result<OwnedVariant> {
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = bus.call_method(Some(SYSTEMD.0), path, properties, "Get", &(interface, name)).await?;
    reply.body().deserialize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_distributions() {
        for (text, wanted) in
            [("257.9-1~deb13u1", 257), ("252", 252), ("v254-rc1", 254), ("262~devel", 262), ("", 0), ("x", 0)]
        {
            assert_eq!(major(text), wanted, "{text}");
        }
    }
}
