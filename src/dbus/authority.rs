//! Asking polkit whether a caller may. The subject is the message's sender, never a process id.

use std::collections::HashMap;

use zbus::{Connection, Variant};

use super::caller::Caller;
use super::errors::{self, BusError, BusResult};

/// Reset of one overlay.
pub(super) const RESET: &str = "org.overlayd1.reset";
/// Reset of the machine's root.
pub(super) const FACTORY_RESET: &str = "org.overlayd1.factory-reset";

/// A new snapshot, or another description of one.
pub(super) const CREATE_SNAPSHOT: &str = "org.overlayd1.create-snapshot";
/// One snapshot less, or its protection from that changed.
pub(super) const DELETE_SNAPSHOT: &str = "org.overlayd1.delete-snapshot";
/// Another baseline.
pub(super) const COMMIT: &str = "org.overlayd1.commit";
/// Going back: to a snapshot, to the generation before, or single paths.
pub(super) const RESTORE: &str = "org.overlayd1.restore";
/// What is wrong with the store, put right as far as it can be proved.
pub(super) const REPAIR_STORE: &str = "org.overlayd1.repair-store";
/// The booted root is good, or bad.
pub(super) const MARK_BOOT: &str = "org.overlayd1.mark-boot";
/// Names of files that were changed.
pub(super) const READ_CHANGES: &str = "org.overlayd1.read-changes";

const ALLOW_INTERACTION: u32 = 1;

/// What polkit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The caller may.
    Yes,
    /// The caller may not.
    No,
    /// The caller may after authentication.
    Challenge,
}

/// Lets those pass who may do any of `actions`; a password is asked for the last one only. With none, only root.
pub(super) async fn require_any(
    bus: &Connection,
    caller: &Caller,
    actions: &[&str],
    details: &[(&str, &str)],
) -> BusResult<()> {
    let Some((last, others)) = actions.split_last() else {
        return require_root(caller, "do this");
    };
    for action in others {
        if ask(bus, caller, action, details, false).await? == Answer::Yes {
            return Ok(());
        }
    }
    require(bus, caller, last, details).await
}

/// Lets only those pass whom root or polkit lets do `action`. `details` go into polkit's message and rules.
pub(super) async fn require(
    bus: &Connection,
    caller: &Caller,
    action: &str,
    details: &[(&str, &str)],
) -> BusResult<()> {
    match ask(bus, caller, action, details, caller.interactive).await? {
        Answer::Yes => Ok(()),
        Answer::Challenge if !caller.interactive => Err(BusError::new(
            errors::INTERACTION,
            format!("{action} needs authentication (allow interactive authorization)"),
        )),
        Answer::No | Answer::Challenge => Err(BusError::denied(format!(
            "{} is not authorised for {action} (do it as root, or ask an administrator)",
            caller.initiator().name
        ))),
    }
}

/// Lets only root pass, where there is no action to ask polkit about.
pub(super) fn require_root(caller: &Caller, what: &str) -> BusResult<()> {
    match caller.is_root() {
        true => Ok(()),
        false => Err(BusError::denied(format!("only root may {what}"))),
    }
}

/// What the caller could expect now. Root may always; without polkit nobody else may.
pub(super) async fn ask(
    bus: &Connection,
    caller: &Caller,
    action: &str,
    details: &[(&str, &str)],
    interactive: bool,
) -> BusResult<Answer> {
    if caller.is_root() {
        return Ok(Answer::Yes);
    }
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(caller.sender.as_str()))]));
    let details: HashMap<&str, &str> = details.iter().copied().collect();
    let flags = if interactive { ALLOW_INTERACTION } else { 0 };
    let reply = bus
        .call_method(
            Some("org.freedesktop.PolicyKit1"),
            "/org/freedesktop/PolicyKit1/Authority",
            Some("org.freedesktop.PolicyKit1.Authority"),
            "CheckAuthorization",
            &(subject, action, details, flags, ""),
        )
        .await;
    match reply {
        Ok(reply) => answer(&reply),
        Err(error) if errors::reply(&error).is_some_and(|(name, _)| is_absent(&name)) => Ok(Answer::No),
        Err(error) => Err(BusError::denied(format!("failed to ask polkit about {action}: {error}"))),
    }
}

fn answer(reply: &zbus::Message) -> BusResult<Answer> {
    let body = reply.body();
    let ((authorized, challenge, _),): ((bool, bool, HashMap<String, String>),) = body.deserialize()?;
    Ok(match (authorized, challenge) {
        (true, _) => Answer::Yes,
        (false, true) => Answer::Challenge,
        (false, false) => Answer::No,
    })
}

/// polkit is not installed, or does not start.
fn is_absent(error: &str) -> bool {
    error == "org.freedesktop.DBus.Error.NameHasNoOwner"
        || error == "org.freedesktop.DBus.Error.ServiceUnknown"
        || error.starts_with("org.freedesktop.DBus.Error.Spawn.")
}
