//! What is reachable: the live generation, those that are retained, snapshots in use. The rest is garbage, or may become
//! it. Here is only said which; who removes it holds the store's lock.

use super::{Refusal, Step, execute};
use crate::config::{BaseChanged, Overlay, Undo};
use crate::error::{Kind, Result};
use crate::observe::Moment;
use crate::store::OverlayView;
use crate::store::records::{Action, GenerationRecord, OutcomeRecord};

/// The generation that the last successful request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its number.
    pub generation: u64,
    /// Since when, Unix time in seconds.
    pub at: u64,
}

/// The generation that was left last, whether or not it is still there.
pub fn left(outcome: &OutcomeRecord) -> Option<Left> {
    if is_past(outcome) {
        return None;
    }
    let moved = outcome.result == "done" && outcome.action != Action::Snapshot;
    let (generation, at) = match moved {
        true => (outcome.from_generation, Some(outcome.executed_at)),
        // What failed, and what only made a snapshot, left the way back as it was.
        false => (outcome.undo_generation, outcome.undo_since),
    };
    Some(Left { generation: generation?, at: at? })
}

/// Whether it left nothing to go back to.
fn is_past(outcome: &OutcomeRecord) -> bool {
    outcome.result == "done" && execute::is_total(outcome.action, outcome.level)
}

/// The generation that an undo goes back to, or why there is none.
pub fn undo_target(state: &OverlayView, undo: Undo, now: &Moment) -> Result<u64> {
    let nothing = |reason: String| Err(Refusal::new(Kind::NothingToDo, reason, "").into());
    let outcome = state.outcome.clone().transpose()?;
    let undo = policy(outcome.as_ref(), undo);
    if undo == Undo::Never {
        return nothing("nothing to undo: reset.undo is \"never\", so nothing is retained".to_owned());
    }
    if outcome.as_ref().is_some_and(is_past) {
        return nothing("nothing to undo: the last reset was to the bare image".to_owned());
    }
    let Some(Left { generation, at }) = outcome.as_ref().and_then(left) else {
        return nothing("nothing to undo: no reset, restore or undo was carried out".to_owned());
    };
    if state.current.as_ref().is_ok_and(|live| *live == Some(generation)) {
        return nothing(format!("nothing to undo: generation {generation} is the live one"));
    }
    // A clock that runs backwards keeps it.
    match undo {
        Undo::For(time) if now.unix.saturating_sub(at) >= time.as_secs() => {
            let hours = time.as_secs().div_ceil(3600);
            return nothing(format!(
                "nothing to undo: generation {generation} was retained for {hours} h, which are over"
            ));
        }
        _ => {}
    }
    match state.generations.get(&generation) {
        Some(found) => found.record.clone().map(|_| generation),
        None => nothing(format!("nothing to undo: generation {generation} is gone; space was needed")),
    }
}

/// How long what was left is retained: as `configured`, if a person left it. What nobody gave up waits for somebody.
pub fn policy(outcome: Option<&OutcomeRecord>, configured: Undo) -> Undo {
    let by_itself = outcome.is_some_and(|outcome| outcome.reason.is_some() && outcome.result == "done");
    if by_itself { Undo::Always } else { configured }
}

/// What is reached from somewhere; every other generation is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached<'a> {
    /// The live generation.
    pub live: u64,
    /// The snapshot that it stands on.
    pub snapshot: Option<u64>,
    /// What is retained besides.
    pub kept: &'a [Kept],
}

/// Why a generation that is not live is retained. What comes first gives way first where space is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It did not come up, or was marked bad: somebody may want to look at it.
    Bad,
    /// An undo goes back to it.
    Undo,
    /// It came up well, and the live one has not yet.
    Good,
    /// It was made on another base, and waits for that to come back. It does not give way: it is what that system is.
    Base,
}

/// A generation that is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub generation: u64,
    /// The strongest reason.
    pub why: Why,
}

/// What the configuration says of generations that were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// How long one that somebody left is retained.
    pub undo: Undo,
    /// Whether those of other bases wait for these.
    pub other_bases: bool,
}

impl Keeping {
    /// Nothing is retained.
    pub const NOTHING: Keeping = Keeping { undo: Undo::Never, other_bases: false };

    /// As `overlay` is configured.
    pub fn of(overlay: &Overlay) -> Keeping {
        Keeping { undo: overlay.undo, other_bases: overlay.base_changed == BaseChanged::SetAside }
    }
}

/// What is retained besides `live`, the strongest reason first: of each other base the newest one, what was good last,
/// `undo`, which an undo goes back to, and what is bad; any may be, where that can not be read. Where the configuration says
/// that nothing is retained, what somebody left is not, however good it was.
pub fn kept(state: &OverlayView, live: u64, undo: Option<u64>, keeping: Keeping) -> Vec<Kept> {
    let health = state.health.as_ref().and_then(|health| health.as_ref().ok());
    let good = health.and_then(|h| h.good).filter(|_| keeping.undo != Undo::Never);
    let any = state.generations.keys().filter(|_| matches!(state.health, Some(Err(_)))).copied();
    let bad = health.into_iter().flat_map(|h| h.bad_ones()).chain(any);
    let is_there = |n: u64| n != live && state.generations.get(&n).is_some_and(|g| !g.husk);
    let mut kept: Vec<Kept> = Vec::new();
    let mut keep = |generation: u64, why: Why| {
        if is_there(generation) && kept.iter().all(|k| k.generation != generation) {
            kept.push(Kept { generation, why });
        }
    };
    waiting(state, live).filter(|_| keeping.other_bases).for_each(|n| keep(n, Why::Base));
    good.into_iter().for_each(|n| keep(n, Why::Good));
    undo.into_iter().for_each(|n| keep(n, Why::Undo));
    bad.for_each(|n| keep(n, Why::Bad));
    kept
}

/// Of each base that is not the live generation's: the newest generation.
fn waiting(state: &OverlayView, live: u64) -> impl Iterator<Item = u64> {
    let records = || state.generations.values().filter_map(|found| found.record.as_ref().ok());
    let here = state.generations.get(&live).and_then(|found| found.record.as_ref().ok());
    let is_newest = move |of: &&GenerationRecord| {
        records().all(|other| other.base != of.base || other.number <= of.number)
    };
    let elsewhere = records().filter(move |record| here.is_none_or(|here| here.base != record.base));
    elsewhere.filter(is_newest).map(|record| record.number)
}

/// The next generation that gives way to something that needs space: what is garbage anyway, then what is retained for the
/// weakest reason, the oldest first. Never the live one, what is `mounted`, or what a request goes to; and none that can not be
/// read.
pub fn next_to_go(state: &OverlayView, mounted: Option<u64>, keeping: Keeping, now: &Moment) -> Option<u64> {
    let live = state.current.as_ref().ok()?.as_ref().copied()?;
    let wanted = match &state.request {
        None => None,
        Some(request) => request.as_ref().ok()?.generation,
    };
    let kept = kept(state, live, undo_target(state, keeping.undo, now).ok(), keeping);
    let why = |n: &u64| kept.iter().find(|kept| kept.generation == *n).map(|kept| kept.why);
    let free = |n: &u64| *n != live && Some(*n) != mounted && Some(*n) != wanted;
    let sound = state.generations.iter().filter(|(_, g)| g.record.is_ok()).map(|(n, _)| *n);
    sound.filter(free).filter(|n| why(n) != Some(Why::Base)).min_by_key(why)
}

/// Gives up what is retained for the weakest reason, so that there is more space: the rest is needed more, and may not
/// have to go. The next boot knows.
pub fn give_way(kept: &mut Vec<Kept>) {
    if let Some(weakest) = kept.last().map(|kept| kept.why).filter(|why| *why != Why::Base) {
        kept.retain(|kept| kept.why != weakest);
    }
}

/// The steps that move to the trash what is not reached.
///
/// What can not be read may be somebody's data, and is no garbage.
pub fn discards(overlay: &str, state: &OverlayView, reached: Reached<'_>) -> Vec<Step> {
    let name = || overlay.to_owned();
    let generations = generations(state, reached).into_iter().map(|dir| Step::Discard(name(), dir));
    let snapshots = unfinished_snapshots(state, reached.snapshot)
        .into_iter()
        .map(|dir| Step::DiscardSnapshot(name(), dir));
    generations.chain(snapshots).collect()
}

/// Names in `snapshots/` that were never finished. One that waits for the files of a generation is such a one too,
/// unless it is `mounted`, and so gets them now, or a generation stands on it.
pub fn unfinished_snapshots(state: &OverlayView, mounted: Option<u64>) -> Vec<String> {
    let given_up =
        state.sealing.keys().filter(|id| mounted != Some(**id) && stands_on(state, **id).is_none());
    given_up.map(u64::to_string).chain(unfinished(&state.unfinished_snapshots)).collect()
}

/// A generation that stands on snapshot `id`.
fn stands_on(state: &OverlayView, id: u64) -> Option<u64> {
    let records = state.generations.values().filter_map(|g| g.record.as_ref().ok());
    records.filter(|r| r.snapshot == Some(id)).map(|r| r.number).next()
}

fn generations(state: &OverlayView, reached: Reached<'_>) -> Vec<String> {
    // Another generation's snapshot still waits for its files.
    let is_awaited = |n: u64| {
        let mut waiting = state.sealing.iter().filter(|(_, from)| **from == n).map(|(id, _)| *id);
        waiting.any(|id| reached.snapshot != Some(id) && stands_on(state, id).is_some())
    };
    // This boot moves its files to the snapshot that it stands on.
    let is_emptied = |n: u64| reached.snapshot.and_then(|id| state.sealing.get(&id)) == Some(&n);
    let is_kept = |n: u64| !is_emptied(n) && reached.kept.iter().any(|kept| kept.generation == n);
    let is_reached = |n: u64| n == reached.live || is_kept(n) || is_awaited(n);
    let old = state.generations.iter().filter(|(n, g)| !is_reached(**n) && (g.record.is_ok() || g.husk));
    old.map(|(n, _)| n.to_string()).chain(unfinished(&state.unfinished)).collect()
}

fn unfinished(names: &[String]) -> impl Iterator<Item = String> {
    names.iter().filter(|n| n.ends_with(".new")).cloned()
}

/// Why snapshot `id` must stay, if it must. `mounted` is what the boot handoff says.
pub fn in_use(state: &OverlayView, mounted: Option<u64>, id: u64) -> Option<String> {
    match &state.baseline {
        Ok(baseline) if *baseline == Some(id) => return Some("it is the baseline".to_owned()),
        Ok(_) => {}
        Err(e) => return Some(format!("it may be the baseline ({e})")),
    }
    if let Some(number) = stands_on(state, id) {
        return Some(format!("generation {number} stands on it"));
    }
    if mounted == Some(id) {
        return Some("it is mounted".to_owned());
    }
    match &state.request {
        Some(Ok(request)) if request.snapshot == Some(id) => {
            Some(format!("the {} that waits for the next boot needs it", request.action.word()))
        }
        Some(Err(e)) => Some(format!("a request that waits may need it ({e})")),
        _ => None,
    }
}

/// The snapshots that retention may remove, oldest first: readable, unprotected, used by nobody.
pub fn expendable(state: &OverlayView, mounted: Option<u64>) -> Vec<u64> {
    let free = |id: &u64| in_use(state, mounted, *id).is_none();
    unprotected(state).filter(free).collect()
}

/// The snapshots that are too many where `limit` unprotected ones are kept, oldest first. 0: all are kept.
pub fn surplus(state: &OverlayView, mounted: Option<u64>, limit: u64) -> Vec<u64> {
    let count = u64::try_from(unprotected(state).count()).unwrap_or(u64::MAX);
    let over = if limit == 0 { 0 } else { count.saturating_sub(limit) };
    expendable(state, mounted).into_iter().take(usize::try_from(over).unwrap_or(usize::MAX)).collect()
}

fn unprotected(state: &OverlayView) -> impl Iterator<Item = u64> {
    let ours = state.snapshots.iter().filter(|(_, s)| s.as_ref().is_ok_and(|r| !r.protected));
    ours.map(|(id, _)| *id)
}
