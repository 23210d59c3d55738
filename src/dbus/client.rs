//! The daemon as `overlayctl` sees it: plain blocking calls. The only other user of the bus in this crate.

use std::collections::HashMap;
use std::ops::ControlFlow;

use zbus::connection::Builder;
use zbus::match_rule::MatchRule;
use zbus::message::Type;
use zbus::proxy::MethodFlags;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, OwnedVariant, Proxy};

use super::errors::from_bus;
use super::event::{self, Event};
use super::{JOB, MANAGER, NAME, OVERLAY, ROOT, wait};
use crate::error::{Error, Kind, Result};
use crate::status::Status;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// When a reset takes effect, or whether it is only shown.
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
            When::SoftReboot => 1,
            When::Reboot => 2,
            When::DryRun => 4,
        }
    }
}

/// What a job told when it was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobDone {
    /// Yes or no by name.
    pub flags: HashMap<String, bool>,
    /// Texts by name.
    pub texts: HashMap<String, String>,
    /// Numbers by name.
    pub numbers: HashMap<String, u64>,
    /// Lists by name.
    pub lists: HashMap<String, Vec<String>>,
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
        serde_json::from_str(&json)
            .map_err(|e| Error::new(Kind::Failed, format!("failed to read overlayd's answer: {e}")))
    }

    /// Asks for a reset and waits until it is written down.
    pub fn reset(&self, overlay: &str, when: When) -> Result<JobDone> {
        zbus::block_on(async {
            let path = self.overlay(overlay).await?;
            let mut removed = self.signals(MANAGER, "JobRemoved").await?;
            let keep: &[&str] = &[];
            let body = ("", keep, when.flags());
            let (id, job): (u64, OwnedObjectPath) = self.call(path.as_str(), OVERLAY, "Reset", &body).await?;
            self.wait(&mut removed, id).await?;
            // It is done; with a reboot under way the daemon may be gone before it can tell more.
            Ok(self.details(&job).await.unwrap_or_default())
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

    async fn signals(&self, interface: &str, member: &str) -> Result<MessageStream> {
        let rule =
            MatchRule::builder().msg_type(Type::Signal).sender(NAME).interface(interface).member(member);
        stream(&self.bus, rule.build()).await
    }

    /// Waits for the end of job `id`; an error if it failed, was cancelled, or the daemon died.
    async fn wait(&self, removed: &mut MessageStream, id: u64) -> Result<()> {
        let mut owner = stream(&self.bus, owner_rule()).await?;
        loop {
            let message = either(removed, &mut owner).await?;
            if message.header().member().is_some_and(|m| m == "NameOwnerChanged") {
                return Err(Error::new(Kind::Failed, format!("overlayd ended before job {id} did"))
                    .remedy("see: journalctl -u overlayd"));
            }
            let body = message.body();
            let (job, _, _, result, error, text): (u64, OwnedObjectPath, &str, &str, &str, &str) =
                body.deserialize().map_err(from_bus)?;
            if job == id {
                return outcome(result, error, text);
            }
        }
    }

    async fn details(&self, job: &OwnedObjectPath) -> Result<JobDone> {
        let value: OwnedVariant = self.call(job.as_str(), PROPERTIES, "Get", &(JOB, "Details")).await?;
        let details = HashMap::<String, OwnedVariant>::try_from(value).map_err(from_bus)?;
        let mut done = JobDone::default();
        for (name, value) in details {
            if let Ok(flag) = bool::try_from(&value) {
                done.flags.insert(name, flag);
            } else if let Ok(number) = u64::try_from(&value) {
                done.numbers.insert(name, number);
            } else if let Ok(text) = <&str>::try_from(&value) {
                done.texts.insert(name, text.to_owned());
            } else if let Ok(list) = Vec::<String>::try_from(value) {
                done.lists.insert(name, list);
            }
        }
        Ok(done)
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

fn outcome(result: &str, error: &str, text: &str) -> Result<()> {
    match result {
        "done" => Ok(()),
        "canceled" => Err(Error::new(Kind::Failed, "somebody cancelled the job")),
        _ => Err(Error::new(super::errors::kind_of(error), text)),
    }
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

fn unreachable(error: zbus::Error) -> Error {
    Error::new(Kind::Failed, format!("overlayd can not be reached: {error}"))
        .remedy("see: systemctl status dbus overlayd; `--store DIR` works without both")
}

fn lost() -> Error {
    Error::new(Kind::Failed, "the connection to the system bus ended")
}
