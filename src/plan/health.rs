//! Health: boots that do not come up are counted, and after so many the machine goes back by itself: to the generation
//! that was good last, then to a new one on the baseline, then to a new one on the bare image. Pure.
//!
//! Going back is an ordinary request, which the boot that finds it necessary writes, and carries out like any other. What
//! has been tried is in `health.toml`, written by that boot too: so each step of the way is gone once.

use super::{Refusal, Step, execute, request};
use crate::config::{BaseChanged, Mode, Overlay};
use crate::error::{Kind, Result};
use crate::observe::Moment;
use crate::operation::Asked;
use crate::store::health_record::{HealthRecord, Rung};
use crate::store::records::{Action, RECORD_VERSION, RequestRecord};
use crate::store::{OverlayView, StoreView};

/// Who asks.
pub const BY: &str = "overlayd";
/// How: requests that say so, and have a reason, are ours.
pub const VIA: &str = "health";

/// The steps that write the request to go back, if it is time to. A request that waits already is somebody's, and wins.
pub fn decide(view: &StoreView, root: &Overlay, now: &Moment) -> Vec<Step> {
    let Some(state) = view.overlays.get(execute::ROOT).filter(|_| is_on(root)) else { return Vec::new() };
    let ours = |request: &Result<RequestRecord>| request.as_ref().is_ok_and(|r| r.store == view.record.uuid);
    if state.request.as_ref().is_some_and(ours) {
        return Vec::new();
    }
    let Some(found) = Found::of(state, root) else { return Vec::new() };
    let (Some(why), Some(next)) = (&found.why, found.next(state)) else { return Vec::new() };
    let mut steps = Vec::new();
    if state.request.is_some() {
        // It is for another store, or can not be read, and would never be carried out.
        steps.push(Step::SetRequestAside(execute::ROOT.to_owned()));
    }
    let request = next.request(&view.record.uuid, found.live, why, now);
    steps.push(Step::WriteRequest(execute::ROOT.to_owned(), request));
    steps
}

/// Whether boots are counted at all.
pub fn is_on(root: &Overlay) -> bool {
    root.mode == Mode::Persistent && root.tries > 0
}

/// Where the machine goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the generation that was good last.
    Good(u64),
    /// To a new one on the baseline.
    Baseline(u64),
    /// To a new one on the bare image.
    Bare,
}

impl Next {
    /// The request to go there. What it needs was looked at before.
    fn request(self, store: &str, from: u64, why: &str, now: &Moment) -> RequestRecord {
        let (action, generation, snapshot) = match self {
            Next::Good(number) => (Action::Undo, Some(number), None),
            Next::Baseline(id) => (Action::Restore, None, Some(id)),
            Next::Bare => (Action::Restore, None, None),
        };
        let asked = Asked { by: BY.to_owned(), via: Some(VIA.to_owned()) };
        let (store, reason) = (store.to_owned(), Some(why.to_owned()));
        let from = Some(from);
        RequestRecord { store, action, generation, snapshot, from, reason, ..request::blank(&asked, now) }
    }
}

impl std::fmt::Display for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Next::Good(number) => write!(f, "generation {number}, which came up last"),
            Next::Baseline(id) => write!(f, "the baseline, snapshot {id}"),
            Next::Bare => f.write_str("the bare image"),
        }
    }
}

/// How it is with the live generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its number.
    pub live: u64,
    /// What the configuration says.
    pub root: &'a Overlay,
    /// What is recorded; nothing yet, if none.
    pub health: Option<&'a HealthRecord>,
    /// So many boots of it began, and it was not marked good since.
    pub boots: u64,
    /// Why the next boot does not go on with it, if it shall not.
    pub why: Option<String>,
}

impl<'a> Found<'a> {
    /// What the store says; none if there is no live generation, or the record can not be read.
    pub fn of(state: &'a OverlayView, root: &'a Overlay) -> Option<Found<'a>> {
        let live = state.current.as_ref().ok().copied().flatten()?;
        let health =
            state.health.as_ref().map(|health| health.as_ref().ok()).map_or(Some(None), |h| h.map(Some))?;
        let counted = health.filter(|h| h.generation == live);
        let boots = counted.map_or(0, |h| h.boots);
        let bad = health.and_then(|h| h.badness(live)).map(str::to_owned);
        let late = (boots >= root.tries)
            .then(|| format!("{boots} boots of generation {live} in a row did not complete"));
        Some(Found { live, root, health, boots, why: bad.or(late) })
    }

    /// Where the next boot goes if it does not go on with this one; none: everything was tried.
    pub fn next(&self, state: &OverlayView) -> Option<Next> {
        let health = self.health?;
        let is_sound = |n: &u64| *n != self.live && health.badness(*n).is_none() && self.fits(state, *n);
        let good = health.good.filter(is_sound).filter(|n| execute::stand(execute::ROOT, state, *n).is_ok());
        let (baseline, _) = execute::baseline(state);
        match (health.rung, good, baseline) {
            (Rung::Start, Some(number), _) => Some(Next::Good(number)),
            (Rung::Start | Rung::Good, _, Some(id)) => Some(Next::Baseline(id)),
            (Rung::Start | Rung::Good | Rung::Baseline, ..) => Some(Next::Bare),
            (Rung::Bare, ..) => None,
        }
    }

    /// Whether a generation was made on the base of the live one. If not, it waits for that, or is refused here.
    fn fits(&self, state: &OverlayView, number: u64) -> bool {
        let base = |n: u64| state.generations.get(&n)?.record.as_ref().ok().map(|record| record.base.clone());
        self.root.base_changed == BaseChanged::Keep || base(number) == base(self.live)
    }
}

/// What is told of a boot that goes on because everything was tried.
pub const NOTHING_BELOW: &str = "there is nothing left to go back to";

/// Why this boot would not go on with what is live, if there were anything else.
pub fn exhausted(state: &OverlayView, root: &Overlay) -> Option<String> {
    let found = Found::of(state, root)?;
    let why = found.why.as_ref().filter(|_| found.next(state).is_none())?;
    Some(format!("{why}, and {NOTHING_BELOW}"))
}

/// The refusal where nothing is counted.
pub fn off(why: &str) -> Refusal {
    Refusal::new(Kind::NothingToDo, format!("boots are not counted: {why}"), "")
}

/// The record that a boot writes before it mounts generation `number`: one more boot of it that is still to come up.
/// `asked` is the request that it executes, and whether it was possible.
pub fn count(
    state: Option<&OverlayView>,
    number: u64,
    asked: Option<(&RequestRecord, bool)>,
    now: &Moment,
) -> HealthRecord {
    let none = HealthRecord::default();
    let old = state.and_then(|state| state.health.as_ref()?.as_ref().ok()).unwrap_or(&none);
    let boots = if old.generation == number { old.boots + 1 } else { 1 };
    let mut new =
        HealthRecord { version: RECORD_VERSION, generation: number, boots, ..HealthRecord::default() };
    if asked.is_some_and(|(request, done)| done && execute::is_total(request.action, request.level)) {
        return new;
    }
    (new.rung, new.good, new.at) = (old.rung, old.good, old.at);
    (new.by, new.boot) = (old.by.clone(), old.boot.clone());
    let ours = asked.filter(|(request, _)| is_ours(request));
    // Somebody wants the one that is gone to.
    let wanted = asked.filter(|(_, done)| *done && ours.is_none()).map(|_| number);
    let left = ours.and_then(|(request, done)| request.from.filter(|from| done && *from != number));
    if let Some((request, _)) = ours {
        new.rung = rung_of(request);
        (new.by, new.at, new.boot) = (Some(BY.to_owned()), Some(now.unix), Some(now.boot.clone()));
    } else if wanted.is_some() {
        new.rung = Rung::Start;
    }
    let is_there = |number: u64| state.is_some_and(|state| state.generations.contains_key(&number));
    for (number, why) in old.bad.iter().filter_map(|(number, why)| Some((number.parse().ok()?, why))) {
        if is_there(number) && Some(number) != wanted {
            new.set_bad(number, why);
        }
    }
    if let (Some(from), Some((request, _))) = (left, ours) {
        new.set_bad(from, request.reason.as_deref().unwrap_or_default());
        new.good = new.good.filter(|good| *good != from);
    }
    new
}

fn is_ours(request: &RequestRecord) -> bool {
    request.reason.is_some() && request.via.as_deref() == Some(VIA)
}

/// How far the request goes.
fn rung_of(request: &RequestRecord) -> Rung {
    match (request.action, request.snapshot) {
        (Action::Undo, _) => Rung::Good,
        (_, Some(_)) => Rung::Baseline,
        (_, None) => Rung::Bare,
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
