//! The daemon as `overlayctl` sees it: plain blocking calls. The only other user of the bus in this crate.

mod follow;

use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use zbus::connection::Builder;
use zbus::match_rule::MatchRule;
use zbus::message::Type;
use zbus::proxy::MethodFlags;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, Proxy};

pub use follow::{JobDone, JobProgress, OnProgress};

use super::errors::from_bus;
use super::event::{self, Event};
use super::{JOB, MANAGER, NAME, OVERLAY, ROOT, SNAPSHOT, flags, paths, wait};
use crate::error::{Error, Kind, Result};
use crate::operation::diff;
use crate::operation::health::Mark;
use crate::operation::restore::From;
use crate::operation::snapshot::Wanted;
use crate::plan::request::Resetting;
use crate::status::Status;
use crate::status::report::StoreReport;

/// When a reset, a restore or an undo takes effect, or whether it is only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the next boot.
    NextBoot,
    /// At once, by a reboot.
    Reboot,
    /// At once, by a soft-reboot.
    SoftReboot,
    /// Not at all.
    DryRun,
}

impl When {
    fn flags(self) -> u64 {
        match self {
            When::NextBoot => 0,
            When::SoftReboot => flags::SOFT_REBOOT,
            When::Reboot => flags::REBOOT,
            When::DryRun => flags::DRY_RUN,
        }
    }
}

/// How a snapshot or a commit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Of what is live, now.
    Now,
    /// At the next boot, before anything runs.
    Quiesced,
    /// Not at all: what it would hold is told. Of a commit only.
    DryRun,
}

impl Taking {
    fn flags(self) -> u64 {
        match self {
            Taking::Now => 0,
            Taking::Quiesced => flags::QUIESCED,
            Taking::DryRun => flags::DRY_RUN,
        }
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    bus: Connection,
    interactive: bool,
}

impl Client {
    /// Connects to the system bus and starts the daemon. An error means that it can not be reached at all.
    /// With `interactive`, calls may wait for a password to be typed.
    pub fn connect(interactive: bool) -> Result<Client> {
        zbus::block_on(async {
            let bus = Builder::system().build().await.map_err(unreachable)?;
            let ping = bus.call_method(Some(NAME), ROOT, Some("org.freedesktop.DBus.Peer"), "Ping", &());
            ping.await.map_err(unreachable)?;
            Ok(Client { bus, interactive })
        })
    }

    /// Everything.
    pub fn status(&self) -> Result<Status> {
        let json: String = zbus::block_on(self.call(ROOT, MANAGER, "Describe", &0u64))?;
        serde_json::from_str(&json).map_err(unreadable)
    }

    /// Asks for a reset and waits until it is written down.
    pub fn reset(
        &self,
        overlay: &str,
        wanted: &Resetting,
        via: Option<&str>,
        when: When,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<JobDone> {
        let drop = if wanted.drop_kept { flags::DROP_KEPT } else { 0 };
        let (level, keep, flags) = (wanted.level.word(), &wanted.keep, when.flags() | drop);
        match via {
            Some(via) => self.overlay_job(overlay, "ResetVia", &(level, keep, via, flags), on_progress),
            None => self.overlay_job(overlay, "Reset", &(level, keep, flags), on_progress),
        }
    }

    /// Makes a snapshot, or asks for one at the next boot. The number is in `numbers["snapshot"]`.
    pub fn create_snapshot(
        &self,
        overlay: &str,
        wanted: &Wanted,
        taking: Taking,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<JobDone> {
        let body = (wanted.description.as_str(), &wanted.userdata, taking.flags());
        self.overlay_job(overlay, "CreateSnapshot", &body, on_progress)
    }

    /// Makes a snapshot, of `paths` only if there are any, and lets it be the baseline.
    pub fn commit(
        &self,
        overlay: &str,
        wanted: &Wanted,
        paths: &[PathBuf],
        taking: Taking,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<JobDone> {
        let body = (wanted.description.as_str(), &wanted.userdata, utf8(paths)?, taking.flags());
        self.overlay_job(overlay, "Commit", &body, on_progress)
    }

    /// Asks for a new generation on snapshot `id` and waits until that is written down.
    pub fn restore(&self, overlay: &str, id: u64, when: When) -> Result<JobDone> {
        let paths: &[&str] = &[];
        self.overlay_job(overlay, "Restore", &(id, paths, when.flags()), &mut follow::ignore)
    }

    /// Makes the paths what they are in `from`, at once; with `dry_run` it tells what that would be.
    pub fn restore_paths(
        &self,
        overlay: &str,
        from: From,
        paths: &[PathBuf],
        dry_run: bool,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<JobDone> {
        let (id, base) = match from {
            From::Snapshot(id) => (id, 0),
            From::Base => (0, flags::FROM_BASE),
        };
        let dry = if dry_run { flags::DRY_RUN } else { 0 };
        self.overlay_job(overlay, "Restore", &(id, utf8(paths)?, base | dry), on_progress)
    }

    /// What differs between two states: a pipe on which the lines of `status::change` come.
    pub fn list_changes(&self, overlay: &str, wanted: &diff::Wanted) -> Result<File> {
        let [from, to] = [wanted.from, wanted.to].map(|point| point.to_string());
        let body = (from, to, utf8(&wanted.paths)?, 0u64);
        let pipe: zbus::OwnedFd = zbus::block_on(async {
            let path = self.overlay(overlay).await?;
            self.call(path.as_str(), OVERLAY, "ListChanges", &body).await
        })?;
        Ok(OwnedFd::from(pipe).into())
    }

    /// Asks for the generation before and waits until that is written down.
    pub fn undo(&self, overlay: &str, when: When) -> Result<JobDone> {
        self.overlay_job(overlay, "Undo", &when.flags(), &mut follow::ignore)
    }

    /// Deletes a snapshot; its space comes back in the background.
    pub fn delete_snapshot(&self, overlay: &str, id: u64) -> Result<JobDone> {
        zbus::block_on(async {
            let path = self.snapshot(overlay, id).await?;
            self.job(&path, SNAPSHOT, "Delete", &0u64, &mut follow::ignore).await
        })
    }

    /// Keeps a snapshot from being deleted, or does so no longer.
    pub fn set_protected(&self, overlay: &str, id: u64, protected: bool) -> Result<()> {
        zbus::block_on(async {
            let path = self.snapshot(overlay, id).await?;
            self.call(path.as_str(), SNAPSHOT, "SetProtected", &(protected, 0u64)).await
        })
    }

    /// Changes what a snapshot's record says.
    pub fn set_metadata(&self, overlay: &str, id: u64, wanted: &Wanted) -> Result<()> {
        zbus::block_on(async {
            let path = self.snapshot(overlay, id).await?;
            let body = (wanted.description.as_str(), &wanted.userdata, 0u64);
            self.call(path.as_str(), SNAPSHOT, "SetMetadata", &body).await
        })
    }

    /// Looks the store through, and repairs what can be proved if told to.
    pub fn check_store(&self, repair: bool, layers: bool) -> Result<StoreReport> {
        let flags = if repair { flags::REPAIR } else { 0 } | if layers { flags::LAYERS } else { 0 };
        let path = paths::manager();
        let done = zbus::block_on(self.job(&path, MANAGER, "CheckStore", &flags, &mut follow::ignore))?;
        let number = |name: &str| done.numbers.get(name).copied().unwrap_or_default();
        let flag = |name: &str| done.flags.get(name).copied().unwrap_or_default();
        let lines = done.lists.get("findings").into_iter().flatten();
        let findings = lines.map(|line| serde_json::from_str(line)).collect::<Result<_, _>>();
        Ok(StoreReport {
            sound: flag("sound"),
            faults: number("faults"),
            repairable: number("repairable"),
            notes: number("notes"),
            repaired: number("repaired"),
            findings: findings.map_err(unreadable)?,
            complete: flag("complete"),
        })
    }

    /// Stops a job. Whoever waits for it gets [`Kind::Canceled`].
    pub fn cancel_job(&self, id: u64) -> Result<()> {
        zbus::block_on(self.call(paths::job(id).as_str(), JOB, "Cancel", &0u64))
    }

    /// Marks the booted root good or bad.
    pub fn mark(&self, mark: &Mark) -> Result<()> {
        zbus::block_on(async {
            match mark {
                Mark::Good { forget } => {
                    let flags = if *forget { flags::FORGET } else { 0 };
                    self.call(ROOT, MANAGER, "MarkGood", &flags).await
                }
                Mark::Bad { reason } => self.call(ROOT, MANAGER, "MarkBad", &(reason, 0u64)).await,
            }
        })
    }

    /// Takes the pending request back.
    pub fn cancel(&self, overlay: &str) -> Result<()> {
        zbus::block_on(async {
            let path = self.overlay(overlay).await?;
            self.call(path.as_str(), OVERLAY, "CancelPending", &0u64).await
        })
    }

    async fn overlay(&self, name: &str) -> Result<OwnedObjectPath> {
        self.call(ROOT, MANAGER, "GetOverlay", &name).await
    }

    /// The object of a snapshot; said by name if there is none.
    async fn snapshot(&self, overlay: &str, id: u64) -> Result<OwnedObjectPath> {
        let path = self.overlay(overlay).await?;
        let rows: Vec<(u64, String, OwnedObjectPath)> =
            self.call(path.as_str(), OVERLAY, "ListSnapshots", &0u64).await?;
        let found = rows.into_iter().find(|(number, ..)| *number == id);
        found.map(|(.., path)| path).ok_or_else(|| {
            Error::new(Kind::NoSuchSnapshot, format!("overlay {overlay} has no snapshot {id}"))
                .remedy("`overlayctl snapshot list` shows them")
        })
    }

    fn overlay_job<B>(
        &self,
        overlay: &str,
        method: &str,
        body: &B,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<JobDone>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        zbus::block_on(async {
            let path = self.overlay(overlay).await?;
            self.job(&path, OVERLAY, method, body, on_progress).await
        })
    }

    async fn call<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R>
    where
        B: serde::Serialize + zbus::DynamicType,
        R: for<'d> zbus::wire::DynamicDeserialize<'d>,
    {
        let proxy = Proxy::new(&self.bus, NAME, path, interface).await.map_err(from_bus)?;
        let flags = match self.interactive {
            true => MethodFlags::ALLOW_INTERACTIVE_AUTH,
            false => MethodFlags::empty(),
        };
        let reply = proxy.call_with_flags(method, flags, body).await.map_err(from_bus)?;
        reply.ok_or_else(lost)
    }
}

/// Hands everything that the daemon tells to `tell`, until that says stop. It does not start the daemon.
pub fn monitor(tell: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<()> {
    zbus::block_on(async {
        let bus = Builder::system().build().await.map_err(unreachable)?;
        let ours = MatchRule::builder().msg_type(Type::Signal).sender(NAME).path_namespace(ROOT);
        let mut signals = stream(&bus, ours.build()).await?;
        let mut owners = stream(&bus, owner_rule()).await?;
        loop {
            let message = either(&mut signals, &mut owners).await?;
            if event::parse(&message).is_some_and(|event| tell(event).is_break()) {
                return Ok(());
            }
        }
    })
}

async fn either(one: &mut MessageStream, other: &mut MessageStream) -> Result<Message> {
    wait::next_of(one, other).await.ok_or_else(lost)?.map_err(from_bus)
}

/// Paths as they can travel.
fn utf8(paths: &[PathBuf]) -> Result<Vec<&str>> {
    let text = |path: &'_ PathBuf| {
        Error::new(Kind::InvalidArgs, format!("{} is not UTF-8 and can not go over the bus", path.display()))
            .remedy("name the directory that it is in, or use `--store`")
    };
    paths.iter().map(|path| path.to_str().ok_or_else(|| text(path))).collect()
}

async fn stream(bus: &Connection, rule: zbus::Result<MatchRule<'_>>) -> Result<MessageStream> {
    MessageStream::for_match_rule(rule.map_err(from_bus)?, bus, None).await.map_err(from_bus)
}

fn owner_rule() -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .add_arg(NAME)
        .build()
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(Kind::Failed, format!("failed to read overlayd's answer: {error}"))
}

fn unreachable(error: zbus::Error) -> Error {
    Error::new(Kind::Failed, format!("overlayd can not be reached: {error}"))
        .remedy("see: systemctl status dbus overlayd; `--store DIR` works without both")
}

fn lost() -> Error {
    Error::new(Kind::Failed, "the connection to the system bus ended")
}
