//! The running system: has the state filesystem gone read-only, or away, and is there space? A timer looks every half
//! minute; only when something is new the journal, the login message and the daemon are told.
//!
//! A mounted overlay says `rw` whatever happens below it, so what lies below is asked. Nothing here writes to the state
//! filesystem, and what may hang on a device that hangs is done by a child that is left behind.

mod level;
mod look;
mod record;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::handoff::{self, Handoff};
use crate::logging::message_id;
use crate::motd;
use crate::sys::process;
pub use level::Level;
pub use look::try_store;
use look::{Look, Place};
pub use record::{Room, Watched, load, path};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The handoff of early boot; beside it lies what was seen the last time.
    pub handoff: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// The login message.
    pub motd: PathBuf,
    /// The program that tries the store: this one.
    pub program: PathBuf,
}

/// Looks once, and tells what is new since the last time.
pub fn run(places: &Places) -> Result<()> {
    let Some(handoff) = handoff::load(&places.handoff)? else { return Ok(()) };
    let before = load(&places.handoff).unwrap_or_default();
    let look = look::look(&Place {
        handoff: &handoff,
        store: &places.store,
        program: &places.program,
        run: run_dir(places),
    });
    let now = judged(&before, &look);
    greet(&places.motd, &handoff, &now);
    if now == before {
        return Ok(());
    }
    tell(&before, &now, &look);
    // A daemon that is started now shall know what was, so that it can say what is new: this is answered after the first look.
    call(&["org.overlayd1.Manager", "ListOverlays", "t", "0"]);
    record::save(&places.handoff, &now)?;
    call(&["org.overlayd1.Manager", "Reload", "t", "0"]);
    Ok(())
}

fn run_dir(places: &Places) -> &Path {
    places.handoff.parent().unwrap_or(&places.handoff)
}

/// What was seen, by the levels that were told before: what is at a limit shall not be told again and again.
fn judged(before: &Watched, look: &Look) -> Watched {
    let mut now = Watched { trouble: look.trouble.clone(), ..Watched::default() };
    for (name, space) in &look.spaces {
        let level = level::of(before.level(name), space, name == record::STATE);
        if level != Level::Enough {
            // Figures that move all the time are no news.
            now.room.insert(name.clone(), Room { level });
        }
    }
    now
}

fn greet(path: &Path, handoff: &Handoff, now: &Watched) {
    let mut text = motd::of_boot(handoff);
    if let Some(trouble) = &now.trouble {
        motd::add(&mut text, trouble);
    }
    let shown = std::fs::read_to_string(path).unwrap_or_default();
    if shown != text {
        motd::write(path, &text).unwrap_or_else(|e| tracing::warn!("{e}"));
    }
}

fn tell(before: &Watched, now: &Watched, look: &Look) {
    match &now.trouble {
        Some(reason) if before.trouble.as_ref() != Some(reason) => tracing::error!(
            message_id = message_id::STATE_TROUBLE,
            reason,
            "{reason}: what is written now may be lost"
        ),
        None if before.trouble.is_some() => {
            tracing::info!(message_id = message_id::STATE_WELL, "the state filesystem is well again");
        }
        _ => {}
    }
    for (name, space) in &look.spaces {
        let (level, was) = (now.level(name), before.level(name));
        if level == was {
            continue;
        }
        let (what, free) = (record::described(name), level::figures(space));
        match level {
            Level::Enough => tracing::info!(
                message_id = message_id::SPACE_ENOUGH,
                filesystem = name,
                "there is space again on {what}: {free}"
            ),
            Level::Low | Level::Critical => tracing::warn!(
                message_id = message_id::SPACE_LOW,
                filesystem = name,
                level = level.word(),
                free,
                "space is {} on {what}: {free}",
                level.word()
            ),
        }
    }
}

/// Calls the daemon, which the bus starts. Without a bus there is nobody to be told.
fn call(what: &[&str]) {
    let Some(busctl) = process::find_program("busctl") else { return };
    let arguments =
        [&["--system", "--quiet", "--timeout=8", "call", "org.overlayd1", "/org/overlayd1"], what].concat();
    match process::run(&busctl, &arguments, PATIENCE) {
        Ok(exit) if exit.code == Some(0) => {}
        Ok(exit) => tracing::debug!("the daemon was not told: {}", exit.output),
        Err(error) => tracing::debug!("the daemon was not told: {error}"),
    }
}
