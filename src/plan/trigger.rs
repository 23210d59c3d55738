//! What asks for a reset without anybody at a prompt: words of the kernel command line, files, EFI variables, a target
//! of systemd. How their content is read, and which request they become. Pure.
//!
//! The rule: whatever asks, asks once. What can be removed (files, the flag of systemd 257) is removed once the request
//! is durable. What stays where it is, is remembered in the store's `tokens`, by a *mark*, a line each.

use super::{Refusal, Step, request};
use crate::cmdline;
use crate::config::Mode;
use crate::error::{Error, Kind};
use crate::observe::Moment;
use crate::operation::Asked;
use crate::plan::request::Resetting;
use crate::store::StoreView;
use crate::store::records::{Level, RequestRecord};

/// So many marks are remembered; more, only if all of them are still there.
pub const MARKS_MAX: usize = 32;
/// The longest token.
const TOKEN_MAX: usize = 64;
/// The word of systemd.
const SYSTEMD_WORD: &str = "systemd.factory_reset";
/// Its mark: no token has a `=`.
pub(super) const SYSTEMD_MARK: &str = "systemd.factory_reset=1";
/// In front of the boot that wrote systemd's EFI variable.
const EFI_MARK: &str = "efi=";
/// How a word of the kernel command line is told of.
const COMMAND_LINE: &str = "the kernel command line";
/// Our own word.
const OWN_WORD: &str = "overlayd.reset=";
/// Asks for one boot without the upper.
pub const SKIP_WORD: &str = "overlayd.skip";
/// Its mark.
const SKIP_MARK: &str = "overlayd.skip=1";
/// The overlay that all of this is about.
const ROOT: &str = "root";

/// Where a reset was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `overlayd.reset=TOKEN`.
    Token(String),
    /// `systemd.factory_reset=1`.
    SystemdWord,
    /// systemd's EFI variable `FactoryResetRequest` (258 and later), and the boot that wrote it.
    EfiRequest(String),
    /// systemd's EFI variable `FactoryReset` (257 and earlier).
    EfiFlag,
    /// systemd in the initramfs took its variable away before we ran, and left word in `/run`.
    SystemdDone,
    /// The file on the state filesystem.
    StateFile,
    /// The file on the ESP.
    EspFile,
    /// `factory-reset.target`, on the running system.
    Target,
    /// `overlayd.skip`: asks for no reset, but for one boot without the upper.
    Skip,
}

impl Source {
    /// Who asked, and how, for the record.
    pub fn asked(&self) -> Asked {
        let (by, via) = match self {
            Source::Token(token) => (format!("{OWN_WORD}{token}"), COMMAND_LINE),
            Source::SystemdWord => (SYSTEMD_MARK.to_owned(), COMMAND_LINE),
            Source::EfiRequest(boot) => {
                (format!("systemd in boot {boot}"), "the EFI variable FactoryResetRequest")
            }
            Source::EfiFlag => ("systemd".to_owned(), "the EFI variable FactoryReset"),
            Source::SystemdDone => ("systemd in the initramfs".to_owned(), "an EFI variable"),
            Source::StateFile => ("the file overlayd-reset".to_owned(), "the state filesystem"),
            Source::EspFile => ("the file overlayd-reset".to_owned(), "the ESP"),
            Source::Target => ("systemd".to_owned(), "factory-reset.target"),
            Source::Skip => (SKIP_WORD.to_owned(), COMMAND_LINE),
        };
        Asked { by, via: Some(via.to_owned()) }
    }

    /// What is remembered of it, if it stays where it is.
    fn mark(&self) -> Option<String> {
        match self {
            Source::Token(token) => Some(token.clone()),
            Source::SystemdWord => Some(SYSTEMD_MARK.to_owned()),
            Source::EfiRequest(boot) => Some(format!("{EFI_MARK}{boot}")),
            Source::Skip => Some(SKIP_MARK.to_owned()),
            _ => None,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Asked { by, via } = self.asked();
        write!(f, "{by} via {}", via.unwrap_or_default())
    }
}

/// One way in which a reset is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Where.
    pub source: Source,
    /// How far it shall go; none: as the configuration says.
    pub level: Option<Level>,
}

impl Trigger {
    /// One that names no level.
    pub fn plain(source: Source) -> Trigger {
        Trigger { source, level: None }
    }
}

/// What the kernel command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The triggers on it.
    pub triggers: Vec<Trigger>,
    /// systemd's word; the last one counts. `Some(false)` turns its EFI variables off.
    pub systemd: Option<bool>,
    /// What can not be understood.
    pub problems: Vec<String>,
}

/// Reads the kernel command line. Words after `--` are init's.
pub fn command_line(text: &str) -> Words {
    let mut words = Words::default();
    let mut skip = None;
    for word in cmdline::words(text).into_iter().take_while(|word| word != "--") {
        let (name, value) = word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value)));
        // As systemd compares the names of its words.
        if name.replace('-', "_") == SYSTEMD_WORD {
            match value.map_or(Some(true), boolean) {
                Some(wanted) => words.systemd = Some(wanted),
                None => words.problems.push(format!("{word} is neither yes nor no")),
            }
        } else if name == SKIP_WORD {
            match value.map_or(Some(true), boolean) {
                Some(wanted) => skip = Some(wanted),
                None => words.problems.push(format!("{word} is neither yes nor no")),
            }
        } else if name == OWN_WORD.trim_end_matches('=') {
            match token(value.unwrap_or_default()) {
                Ok(trigger) => words.triggers.push(trigger),
                Err(why) => words.problems.push(format!("{word} is not obeyed: {why}")),
            }
        }
    }
    if skip == Some(true) {
        words.triggers.push(Trigger::plain(Source::Skip));
    }
    if words.systemd == Some(true) {
        words.triggers.push(Trigger::plain(Source::SystemdWord));
    }
    words
}

/// `TOKEN` or `TOKEN:LEVEL`.
fn token(value: &str) -> Result<Trigger, String> {
    let (token, level) = value.split_once(':').map_or((value, None), |(token, word)| (token, Some(word)));
    if !is_token(token) {
        return Err(format!("a token is 1 to {TOKEN_MAX} of A-Z a-z 0-9 . _ -"));
    }
    let level = level.map(|word| Level::of(word).ok_or_else(|| unknown_level(word))).transpose()?;
    Ok(Trigger { source: Source::Token(token.to_owned()), level })
}

fn is_token(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(known)
}

fn unknown_level(word: &str) -> String {
    format!("\"{}\" is not baseline, factory or wipe", word.escape_default())
}

/// systemd's booleans (`parse_boolean`).
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// What a file `overlayd-reset` says: nothing, or a level. The error says why it is not obeyed.
pub fn file(content: &[u8]) -> Result<Option<Level>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "its content is not text".to_owned())?;
    match text.trim_end() {
        "" => Ok(None),
        line if line.lines().count() > 1 => Err("it has more than one line".to_owned()),
        word => Level::of(word.trim()).map(Some).ok_or_else(|| unknown_level(word)),
    }
}

/// The marks in `tokens`, the oldest first. The error: somebody else wrote it.
pub fn marks(text: &str) -> Result<Vec<String>, String> {
    let good = |line: &str| {
        line == SYSTEMD_MARK
            || line == SKIP_MARK
            || is_token(line)
            || line.strip_prefix(EFI_MARK).is_some_and(is_token)
    };
    match text.lines().position(|line| !good(line)) {
        Some(at) => Err(format!("line {} is not one that overlayd wrote", at + 1)),
        None => Ok(text.lines().map(str::to_owned).collect()),
    }
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The store.
    pub view: &'a StoreView,
    /// What is remembered; none if that can not be read.
    pub marks: Option<&'a [String]>,
    /// How far a trigger goes that does not say.
    pub level: Level,
    /// What the root is configured to be.
    pub mode: Mode,
    /// Now.
    pub now: &'a Moment,
}

/// What is to be done about the triggers that were found.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Makes the request durable, and then remembers what asked for it.
    pub steps: Vec<Step>,
    /// Takes the request back, should it turn out that what asked for it can not be removed.
    pub withdraw: Vec<Step>,
    /// What the request was made for; none if there is no new one.
    pub fires: Option<Source>,
    /// This boot goes without the upper.
    pub skips: bool,
    /// What is done with, and is removed where it can be.
    pub spent: Vec<Source>,
    /// What is not obeyed, and why.
    pub problems: Vec<String>,
}

/// Decides. The one that goes furthest makes the request; all are done with then, by the same reset. One that another
/// pending request forbids is done with, too: it shall not fire a boot later, when nobody thinks of it any more.
pub fn decide(found: &[Trigger], scene: &Scene<'_>) -> Decision {
    let mut decision = Decision::default();
    let mut live: Vec<(&Trigger, Level)> = Vec::new();
    for trigger in found {
        let level = trigger.level.unwrap_or(scene.level);
        let fired = trigger.source.mark().map(|mark| scene.marks.map(|marks| marks.contains(&mark)));
        match fired {
            Some(Some(true)) => decision.spent.push(trigger.source.clone()),
            Some(None) => {
                decision.problems.push(not_obeyed(trigger, "it can not be told whether it was before"))
            }
            _ if trigger.source == Source::Skip => {
                decision.skips = true;
                decision.spent.push(Source::Skip);
            }
            _ if scene.mode == Mode::Volatile && level == Level::Baseline => {
                let why = "the root is volatile, and every boot goes back to the baseline";
                decision.problems.push(not_obeyed(trigger, why));
            }
            _ => live.push((trigger, level)),
        }
    }
    // The first of those that go furthest.
    if let Some((trigger, level)) = live.iter().rev().max_by_key(|(_, level)| *level) {
        ask(trigger, *level, scene, &mut decision);
    }
    decision.spent.extend(live.iter().map(|(trigger, _)| trigger.source.clone()));
    decision.steps.extend(remember(found, &decision.spent, scene));
    decision
}

/// What to do about triggers when the store was made a moment ago: there was nothing that could be reset, and what asked
/// for it must not do so at the next boot.
pub fn settle(found: &[Trigger], scene: &Scene<'_>) -> Decision {
    let spent: Vec<Source> = found.iter().map(|trigger| trigger.source.clone()).collect();
    Decision { steps: remember(found, &spent, scene).into_iter().collect(), spent, ..Decision::default() }
}

fn ask(trigger: &Trigger, level: Level, scene: &Scene<'_>, decision: &mut Decision) {
    let asked = trigger.source.asked();
    // Nobody is there who could be told that a keep-list and a wipe exclude each other.
    let wanted = Resetting { level, keep: Vec::new(), drop_kept: level == Level::Wipe };
    let mut view = scene.view.clone();
    let mut before = None;
    if let Some(state) = view.overlays.get_mut(ROOT) {
        let ours = |request: &RequestRecord| request.store == scene.view.record.uuid;
        before = state.request.clone().and_then(Result::ok).filter(ours);
        // What can not be read, or is for another store, would never be carried out.
        if state.request.is_some() && before.is_none() {
            decision.steps.push(Step::SetRequestAside(ROOT.to_owned()));
            state.request = None;
        }
    }
    let planned = match request::reset(&view, ROOT, &wanted, &asked, scene.now) {
        Ok(planned) => planned,
        Err(e) => return decision.problems.push(not_obeyed(trigger, &e.to_string())),
    };
    let own = before.as_ref().is_some_and(|r| (&r.requested_by, &r.via) == (&asked.by, &asked.via));
    decision.withdraw = match before {
        // Somebody else had asked for the same.
        Some(_) if planned.steps.is_empty() && !own => Vec::new(),
        Some(milder) if !own => vec![Step::WriteRequest(ROOT.to_owned(), milder)],
        _ => vec![Step::RemoveRequest(ROOT.to_owned())],
    };
    decision.fires = Some(trigger.source.clone());
    decision.steps.extend(planned.steps);
}

fn not_obeyed(trigger: &Trigger, why: &str) -> String {
    format!("{} is not obeyed: {why}", trigger.source)
}

/// The step that writes the marks, if they change: what is spent now, and the word of a pending request, of which a cut
/// may have left the request alone. What is no longer on the command line may fire again once systemd's word is gone for
/// a boot; a token never.
fn remember(found: &[Trigger], spent: &[Source], scene: &Scene<'_>) -> Option<Step> {
    let old = scene.marks?;
    let is_there = |mark: &str| found.iter().any(|trigger| trigger.source.mark().as_deref() == Some(mark));
    let pending = scene.view.overlays.get(ROOT).and_then(|state| state.request.as_ref()?.as_ref().ok());
    let asked_for =
        pending.and_then(|r| r.requested_by.strip_prefix(OWN_WORD)).filter(|token| is_token(token));
    let new: Vec<String> =
        spent.iter().filter_map(Source::mark).chain(asked_for.map(str::to_owned)).collect();
    let stays = |mark: &&String| match mark.as_str() {
        SYSTEMD_MARK | SKIP_MARK => is_there(mark),
        mark if mark.starts_with(EFI_MARK) => !new.iter().any(|n| n.starts_with(EFI_MARK)) || is_there(mark),
        _ => true,
    };
    let kept: Vec<&String> = old.iter().filter(stays).collect();
    let added: Vec<&String> = new.iter().filter(|mark| !old.contains(mark)).collect();
    if added.is_empty() && kept.len() == old.len() {
        return None;
    }
    // What is still there goes last: the oldest are forgotten, and these must not be.
    let (there, gone): (Vec<&String>, Vec<&String>) = kept.into_iter().partition(|mark| is_there(mark));
    let mut all: Vec<String> = gone.into_iter().chain(there.iter().copied()).cloned().collect();
    for mark in added {
        if !all.contains(mark) {
            all.push(mark.clone());
        }
    }
    let limit = MARKS_MAX.max(there.len() + new.len());
    all.drain(..all.len().saturating_sub(limit));
    Some(Step::RememberTriggers(all))
}

/// The refusal of a trigger on the running system.
pub fn refusal(decision: &Decision) -> Option<Error> {
    let why = decision.problems.first()?;
    Some(Refusal::new(Kind::Refused, why.clone(), "see `overlayctl status`").into())
}

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod tests;
