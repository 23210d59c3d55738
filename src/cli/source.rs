//! Where the truth comes from: the daemon, a store given by `--store`, or, for root without a daemon, the files.

use super::args::{Arguments, Now};
use super::output::Output;
use crate::dbus::client::Client;
use crate::error::{Error, Kind, Result};
use crate::status::{self, OverlayStatus, Sources, Status};
use crate::sys::user;

/// The status, from wherever it can be had.
pub(crate) fn status(arguments: &Arguments, output: &Output) -> Result<Status> {
    if let Some(store) = &arguments.store {
        return match status::collect(&Sources::store_only(store)) {
            Status { store: None, problems, .. } => {
                Err(Error::new(Kind::StoreUnavailable, problems.join("; ")))
            }
            found => Ok(found),
        };
    }
    match Client::connect(false) {
        Ok(client) => client.status(),
        Err(error) if user::own_uid() == 0 => {
            output.note(&format!("overlayctl: {}; reading the files directly", error.message()));
            Ok(status::collect(&Sources::system()))
        }
        Err(error) => Err(error),
    }
}

/// Only the overlay that was asked for; all of them if none was.
pub(crate) fn select(mut status: Status, overlay: Option<&str>) -> Result<Status> {
    let Some(name) = overlay else { return Ok(status) };
    status.overlays.retain(|o| o.name == name);
    match status.overlays.is_empty() {
        true => Err(Error::new(Kind::NoSuchOverlay, format!("there is no overlay \"{name}\""))
            .remedy("`overlayctl list` shows them all")),
        false => Ok(status),
    }
}

/// The overlay that a command is about.
pub(crate) fn overlay(arguments: &Arguments, output: &Output) -> Result<OverlayStatus> {
    let mut found = select(status(arguments, output)?, Some(arguments.target()))?;
    Ok(found.overlays.swap_remove(0))
}

/// The same, for a question about what is lost. None without a store: there is nothing to lose then, and whoever is
/// asked next says why.
pub(crate) fn changeable(arguments: &Arguments, output: &Output) -> Result<Option<OverlayStatus>> {
    let mut found = select(status(arguments, output)?, Some(arguments.target()))?;
    Ok(found.store.is_some().then(|| found.overlays.swap_remove(0)))
}

/// The same, with everything else that is in the store.
pub(crate) fn everything(arguments: &Arguments, output: &Output) -> Result<Option<(Status, OverlayStatus)>> {
    let found = status(arguments, output)?;
    let mut one = select(found.clone(), Some(arguments.target()))?;
    Ok(found.store.is_some().then(|| (found, one.overlays.swap_remove(0))))
}

/// A store by itself boots nothing.
pub(crate) fn no_boot_without_daemon(arguments: &Arguments, now: Option<Now>) -> Result<()> {
    match arguments.store.is_some() && now.is_some() {
        true => Err(Error::new(Kind::InvalidArgs, "--now needs the daemon, and --store works without it")),
        false => Ok(()),
    }
}
