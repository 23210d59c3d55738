//! Marking the live generation of the root good or bad. What early boot makes of it says `plan::health`.

use std::path::Path;

use super::{Asked, Site, mounted, open, policy};
use crate::config::{self, Mode};
use crate::error::{Error, Kind, Result};
use crate::plan::execute::ROOT;
use crate::plan::health::{self, Found};
use crate::plan::request::find;
use crate::store::health_record::{HealthRecord, Rung};
use crate::store::lock::StoreLock;
use crate::store::records::RECORD_VERSION;
use crate::store::{Layout, OverlayView, write};
use crate::sys::mount;
use crate::{handoff, observe};

/// The longest reason, in bytes.
const REASON_MAX: usize = 128;

/// How it is marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It came up well.
    Good {
        /// What was bad before is not kept any longer.
        forget: bool,
    },
    /// The next boot shall go back.
    Bad {
        /// Why, in words for people; may be empty.
        reason: String,
    },
}

impl Mark {
    /// The word on the command line, in logs and in answers.
    pub fn word(&self) -> &'static str {
        match self {
            Mark::Good { .. } => "good",
            Mark::Bad { .. } => "bad",
        }
    }
}

/// What was marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// The generation.
    pub generation: u64,
    /// It was marked so already: nothing changed.
    pub was: bool,
    /// Generations that are deleted, because nobody needs them any longer.
    pub forgotten: Vec<u64>,
    /// Of a bad one: where the next boot goes; none: there is nothing left to go back to.
    pub next: Option<String>,
}

/// Marks the live generation of the root. Where boots are not counted there is nothing to do, which is the error.
pub fn mark(site: &Site, mark: &Mark, asked: &Asked) -> Result<Marked> {
    // First: a store that is damaged is no failure of a boot that goes on without it.
    let mounted = counted(site, mark)?;
    let layout = Layout::new(&site.store);
    let _lock = StoreLock::exclusive(&layout)?;
    let view = open(&site.store)?;
    let state = find(&view, ROOT)?;
    let generation = match mounted {
        Some(number) => number,
        None => {
            state.current.clone()?.ok_or_else(|| Error::new(Kind::NothingToDo, "there is no generation"))?
        }
    };
    let old = match &state.health {
        Some(Ok(health)) => health.clone(),
        None => HealthRecord::default(),
        Some(Err(damage)) => {
            tracing::warn!("set aside: {damage}");
            write::set_health_aside(&layout, ROOT)?;
            HealthRecord::default()
        }
    };
    let new = match mark {
        Mark::Good { forget } => good(&old, generation, *forget),
        Mark::Bad { reason } => bad(&old, generation, &asked.by, checked(reason)?),
    };
    let mut marked = Marked { generation, was: new == old, ..Marked::default() };
    if *mark == (Mark::Good { forget: true }) {
        // Before it is marked: after a cut in between, the record still says what is to go.
        marked.forgotten = forget(&layout, state, generation, &old)?;
    }
    if !marked.was {
        let now = observe::moment();
        let new =
            HealthRecord { by: Some(asked.by.clone()), at: Some(now.unix), boot: Some(now.boot), ..new };
        write::write_health(&layout, ROOT, &new)?;
        marked.next = next(state, &policy(site, ROOT), generation, &new);
    }
    Ok(marked)
}

/// The same on the running system, by root, where the daemon can not be reached: a machine whose bus is broken has come up
/// nevertheless. From here on this process sees the store writable, and nobody else does.
pub fn mark_without_daemon(how: &Mark, asked: &Asked) -> Result<Marked> {
    let store = Path::new(handoff::RUN_STORE);
    mount::private_namespace()?;
    mount::make_store_writable(store)?;
    let site = Site { store: store.to_owned(), handoff: Some(handoff::BOOT_TOML.into()), root: "/".into() };
    mark(&site, how, asked)
}

/// The generation that is meant: the one that is mounted; none: the one that is pointed at. Where its upper was left out, for
/// one boot or because it can not be mounted, it may still be marked bad.
fn counted(site: &Site, mark: &Mark) -> Result<Option<u64>> {
    let Some((_, root)) = mounted(site, ROOT)? else { return Ok(None) };
    if policy(site, ROOT).tries == 0 {
        return Err(health::off("overlay.root.health.tries is 0").into());
    }
    match (root.configured, root.mode, root.generation) {
        (_, Mode::Persistent, Some(number)) => Ok(Some(number)),
        (Mode::Persistent, ..) if matches!(mark, Mark::Bad { .. }) => Ok(None),
        (Mode::Persistent, ..) => {
            let why = root.reason.unwrap_or_else(|| "no reason is recorded".to_owned());
            Err(health::off(&format!("this boot is without the root's upper: {why}")).into())
        }
        (mode, ..) => Err(health::off(&format!("the root is {}", mode.word())).into()),
    }
}

fn good(old: &HealthRecord, generation: u64, forget: bool) -> HealthRecord {
    let mut new = HealthRecord {
        version: RECORD_VERSION,
        generation,
        boots: 0,
        good: Some(generation),
        rung: Rung::Start,
        ..old.clone()
    };
    new.bad.remove(&generation.to_string());
    if forget {
        new.bad.clear();
    }
    new
}

fn bad(old: &HealthRecord, generation: u64, by: &str, reason: &str) -> HealthRecord {
    let mut new = HealthRecord { version: RECORD_VERSION, ..old.clone() };
    let colon = if reason.is_empty() { "" } else { ": " };
    new.bad.insert(generation.to_string(), format!("marked bad by {by}{colon}{reason}"));
    new.good = old.good.filter(|good| *good != generation);
    new
}

fn checked(reason: &str) -> Result<&str> {
    let wrong = |what: String| Err(Error::new(Kind::InvalidArgs, what));
    match reason.trim() {
        text if text.len() > REASON_MAX => wrong(format!("the reason has more than {REASON_MAX} bytes")),
        text if text.chars().any(char::is_control) => wrong("the reason has control characters".to_owned()),
        text => Ok(text),
    }
}

fn next(
    state: &OverlayView,
    root: &config::Overlay,
    generation: u64,
    health: &HealthRecord,
) -> Option<String> {
    let state =
        OverlayView { current: Ok(Some(generation)), health: Some(Ok(health.clone())), ..state.clone() };
    let marked = config::Overlay { tries: u64::MAX, ..root.clone() };
    let found = Found::of(&state, &marked)?;
    found.why.as_ref()?;
    found.next(&state).map(|next| next.to_string())
}

/// Moves the bad ones to the trash, but not what is live or asked for.
fn forget(layout: &Layout, state: &OverlayView, live: u64, old: &HealthRecord) -> Result<Vec<u64>> {
    let pointed = state.current.clone()?;
    let wanted = state.request.as_ref().and_then(|r| r.as_ref().ok()).and_then(|r| r.generation);
    let is_free = |n: &u64| *n != live && Some(*n) != pointed && Some(*n) != wanted;
    let gone: Vec<u64> =
        old.bad_ones().filter(is_free).filter(|n| state.generations.contains_key(n)).collect();
    for number in &gone {
        write::discard(layout, ROOT, &number.to_string())?;
    }
    Ok(gone)
}
