//! The mount unit of an overlay: PID 1 unmounts it and mounts it again, so that it shows up where systemd's users look,
//! and the daemon mounts nothing. Blocking: a job's thread calls it.

use std::path::Path;

use zbus::connection::Builder;
use zbus::match_rule::MatchRule;
use zbus::message::Type;
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant, Proxy, Variant};

use super::errors::from_bus;
use super::wait;
use crate::error::{Error, Kind, Result};
use crate::operation::switch::Remount;
use crate::sys::{mountinfo, users};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// Nobody uses the mount, so nobody who is ordered after it has to be stopped for the instant that it is gone; and
/// local-fs.target must not end in the emergency mode because a mount did not come back.
const MODE: &str = "ignore-dependencies";

/// The service manager of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceManager;

impl Remount for ServiceManager {
    fn whose(&self) -> &'static str {
        users::HOST
    }

    fn remount(&self, overlay: &str, target: &Path) -> Result<()> {
        refuse_stacked(target)?;
        zbus::block_on(async {
            let manager = Manager::connect().await?;
            let unit = unit_name(target);
            if manager.knows(&unit).await? {
                return manager.job("RestartUnit", &unit, &(&unit, MODE)).await;
            }
            manager.job("StopUnit", &unit, &(&unit, MODE)).await?;
            manager.start_transient(&unit, overlay).await
        })
    }

    fn mount(&self, overlay: &str, target: &Path) -> Result<()> {
        zbus::block_on(async {
            let manager = Manager::connect().await?;
            let unit = unit_name(target);
            match manager.knows(&unit).await? {
                true => manager.job("StartUnit", &unit, &(&unit, MODE)).await,
                false => manager.start_transient(&unit, overlay).await,
            }
        })
    }
}

struct Manager {
    bus: Connection,
    proxy: Proxy<'static>,
}

impl Manager {
    async fn connect() -> Result<Manager> {
        let bus = Builder::system().build().await.map_err(from_bus)?;
        let proxy = Proxy::new(&bus, SYSTEMD, MANAGER_PATH, MANAGER).await.map_err(from_bus)?;
        // Without a subscriber systemd tells nobody about its jobs.
        proxy.call::<_, _, ()>("Subscribe", &()).await.map_err(from_bus)?;
        Ok(Manager { bus, proxy })
    }

    /// Whether there is a unit file that mounts the overlay: the line in fstab, or what an earlier start left.
    async fn knows(&self, unit: &str) -> Result<bool> {
        let path: OwnedObjectPath = self.proxy.call("LoadUnit", &unit).await.map_err(from_bus)?;
        let properties = Proxy::new(&self.bus, SYSTEMD, path, "org.freedesktop.DBus.Properties")
            .await
            .map_err(from_bus)?;
        let key = ("org.freedesktop.systemd1.Unit", "FragmentPath");
        let value: OwnedVariant = properties.call("Get", &key).await.map_err(from_bus)?;
        let file = String::try_from(value).map_err(from_bus)?;
        if file.is_empty() {
            return Ok(false);
        }
        let text = std::fs::read_to_string(&file).map_err(|e| Error::io("read", &file, e))?;
        match is_ours(&text) {
            true => Ok(true),
            false => Err(Error::new(Kind::Refused, format!("{file} mounts something else than the overlay"))
                .remedy("let the overlay's target be a directory that nothing else is mounted on")),
        }
    }

    async fn start_transient(&self, unit: &str, overlay: &str) -> Result<()> {
        let properties = vec![
            ("Description", Variant::from(format!("Overlay {overlay}"))),
            ("What", Variant::from(overlay.to_owned())),
            ("Type", Variant::from("overlayd".to_owned())),
        ];
        let others: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        self.job("StartTransientUnit", unit, &(unit, MODE, properties, others)).await
    }

    /// Calls a method that makes a job, and waits for the job's end.
    async fn job<B>(&self, method: &str, unit: &str, body: &B) -> Result<()>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let mut ended = self.ended().await?;
        let job: OwnedObjectPath = self.proxy.call(method, body).await.map_err(from_bus)?;
        loop {
            let message = wait::next(&mut ended).await;
            let message = message
                .ok_or_else(|| Error::new(Kind::Failed, "lost the connection to systemd"))?
                .map_err(from_bus)?;
            let body = message.body();
            let (_, path, _, result): (u32, OwnedObjectPath, &str, &str) =
                body.deserialize().map_err(from_bus)?;
            match result {
                _ if path != job => {}
                "done" => return Ok(()),
                _ => {
                    return Err(Error::new(
                        Kind::Failed,
                        format!("{method} of {unit} ended as \"{result}\""),
                    )
                    .remedy(format!("see: journalctl -u '{unit}'")));
                }
            }
        }
    }

    async fn ended(&self) -> Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SYSTEMD)
            .interface(MANAGER)
            .member("JobRemoved");
        MessageStream::for_match_rule(rule.build().map_err(from_bus)?, &self.bus, None)
            .await
            .map_err(from_bus)
    }
}

/// systemd unmounts everything at a path, what lies below the overlay too.
fn refuse_stacked(target: &Path) -> Result<()> {
    let mounts = mountinfo::read()?;
    let here: Vec<&str> = mounts.iter().filter(|m| m.target == target).map(|m| m.fstype.as_str()).collect();
    match here[..] {
        [] | [_] => Ok(()),
        [below, ..] => Err(Error::new(
            Kind::Refused,
            format!(
                "{below} is mounted on {} below the overlay, and systemd would unmount both",
                target.display()
            ),
        )
        .remedy("let the overlay's target be a directory in it")),
    }
}

fn is_ours(unit: &str) -> bool {
    unit.lines().any(|line| line.trim() == "Type=overlayd")
}

/// The unit of a mount point, as `systemd-escape --path --suffix=mount` names it (systemd.unit(5)).
fn unit_name(target: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = target.as_os_str().as_bytes();
    let inner = path.strip_prefix(b"/").unwrap_or(path);
    let mut name = String::new();
    for (i, &byte) in inner.iter().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if i == 0 => name.push_str("\\x2e"),
            b':' | b'_' | b'.' => name.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => name.push(byte.into()),
            _ => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    name + ".mount"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_as_systemd_escape_names_them() {
        for path in ["/srv/data", "/srv/my-data/.x", "/.hidden/a b", "/a:b_c.d/é"] {
            let escape = std::process::Command::new("systemd-escape");
            let output = { escape }.args(["--path", "--suffix=mount", path]).output().unwrap();
            assert_eq!(
                unit_name(Path::new(path)),
                String::from_utf8(output.stdout).unwrap().trim(),
                "{path}"
            );
        }
    }

    #[test]
    fn a_unit_that_mounts_something_else_is_not_ours() {
        assert!(is_ours("[Mount]\nWhat=data\nWhere=/srv/data\nType=overlayd\n"));
        assert!(!is_ours("[Mount]\nWhat=/dev/vdb\nWhere=/srv/data\nType=ext4\n"));
    }
}
