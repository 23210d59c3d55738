//! Where the truth comes from: the daemon, a store given by `--store`, or, for root without a daemon, the files.

use std::io::{self, IsTerminal};

use super::agent::Agent;
use super::args::Arguments;
use super::output::Output;
use crate::dbus::client::Client;
use crate::error::{Error, Kind, Result};
use crate::status::{self, Sources, Status};
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

/// The daemon, and somebody who asks for the password if it takes one.
pub(crate) fn daemon(arguments: &Arguments) -> Result<(Client, Option<Agent>)> {
    let interactive = !arguments.no_ask_password;
    let client = Client::connect(interactive)?;
    let asks = interactive && user::own_uid() != 0 && io::stdin().is_terminal();
    Ok((client, asks.then(Agent::start).flatten()))
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
