//! How a boot carries a request out. Each prefix of the steps leaves the old or the new generation whole, repeating
//! converges, and nothing is given up before the new one has proved to work.
//!
//! A new generation carries the request's id. If the power goes after the pointer moved, the next boot sees that id
//! on the live generation, and only finishes: the request fires once (invariant 5). An undo makes no generation; it
//! is done if the one it names is live.

use std::path::Path;

use super::erasure::{self, Erased, Erasure};
use super::request::find;
use super::retain::{self, Keeping, Kept, Why};
use super::{Refusal, Step, sweep};
use crate::config::Undo;
use crate::error::{Error, Kind, Result};
use crate::keep::{Selection, Source};
use crate::observe::{Base, Moment};
use crate::store::records::{
    Action, ERASING, GenerationRecord, Level, OutcomeRecord, RECORD_VERSION, RequestRecord, SEALED,
    SnapshotRecord,
};
use crate::store::{OverlayView, StoreView};
use crate::sys::overlay::OPTIONS;

/// What a boot knows besides the store and the request.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The base that is mounted.
    pub base: &'a Base,
    /// Now.
    pub now: &'a Moment,
    /// How long the generation that is left is retained, and which others are.
    pub keeping: Keeping,
    /// Whether space is needed: then nothing is retained.
    pub scarce: bool,
    /// What the reset keeps; see [`Facts::kept`](super::boot::Facts::kept).
    pub kept: Option<Result<&'a Selection, &'a Error>>,
}

/// The overlay that is `/`. A reset to the bare image of it concerns the whole store.
pub const ROOT: &str = "root";

/// How a boot carries a request out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The generation that becomes live.
    pub number: u64,
    /// The snapshot that it stands on.
    pub snapshot: Option<u64>,
    /// Its overlayfs options.
    pub options: String,
    /// Identity of the base that it was made on.
    pub base: String,
    /// What is not as it should be, and does not stop it.
    pub problems: Vec<String>,
    /// Steps before the overlay is mounted: the new generation, the pointer.
    pub before: Vec<Step>,
    /// Steps once the overlay is mounted and was written to: the outcome, the trash, the request last.
    pub after: Vec<Step>,
}

/// The steps by which a boot carries the request out. An error: it can not be; see [`failure`].
pub fn execution(
    view: &StoreView,
    overlay: &str,
    request: &RequestRecord,
    scene: &Scene<'_>,
) -> Result<Execution> {
    let state = find(view, overlay)?;
    let current = state.current.as_ref().ok().copied().flatten();
    let done = current.filter(|n| match request.action {
        Action::Undo => Some(*n) == request.generation,
        _ => made_by(state, *n, &request.id),
    });
    let from = if done.is_none() { current } else { origin(state, request) };
    let mut execution = match (done, request.action) {
        (Some(number), _) => stand(overlay, state, number)?,
        (None, Action::Undo) => back(overlay, state, request)?,
        (None, Action::Reset) => reset(overlay, state, request, scene)?,
        (None, Action::Restore) => {
            request.snapshot.map_or(Ok(()), |id| usable(state, id).map(drop))?;
            fresh(overlay, state, request, request.snapshot, None, scene)
        }
        (None, Action::Snapshot) => seal(overlay, state, request, scene)?,
    };
    execution.after = after(view, overlay, request, &execution, from, scene)?;
    Ok(execution)
}

/// The layers of the generation that a reset leaves, topmost first. An error: which these are, nobody can tell.
pub fn kept_from(state: &OverlayView, request: &RequestRecord) -> Result<Vec<Source>> {
    let number = match state.current.clone()? {
        Some(live) if made_by(state, live, &request.id) => origin(state, request),
        live => live,
    };
    let Some(number) = number else { return Ok(Vec::new()) };
    let Some(found) = state.generations.get(&number) else {
        return Err(Error::new(Kind::StoreDamaged, format!("generation {number} is missing")));
    };
    let mut layers = vec![Source::Generation(number)];
    if let Some(id) = found.record.as_ref().map_err(Clone::clone)?.snapshot {
        layers.push(match state.sealing.get(&id) {
            Some(&generation) => Source::Generation(generation),
            None => usable(state, id).map(|_| Source::Snapshot(id))?,
        });
    }
    Ok(layers)
}

/// The steps of a reset to the bare image where the upper lies in RAM: there is no generation to be made, nor to keep in.
pub fn in_memory(
    view: &StoreView,
    overlay: &str,
    request: &RequestRecord,
    scene: &Scene<'_>,
) -> Result<Vec<Step>> {
    let from = find(view, overlay)?.current.as_ref().ok().copied().flatten();
    let mut record = outcome(request, from, 0, scene.now);
    record.message = scene.kept.map(|_| NOT_KEPT_IN_MEMORY.to_owned());
    Ok(given_up(view, overlay, None, record))
}

/// Why nothing is kept there.
pub const NOT_KEPT_IN_MEMORY: &str =
    "nothing was kept: the overlay is volatile, and what is kept would be lost at once";

/// Whether the request leaves nothing to go back to.
pub fn is_total(action: Action, level: Level) -> bool {
    action == Action::Reset && level != Level::Baseline
}

/// The steps that give up a request that can not be carried out; `live` stays the live generation.
pub fn failure(
    overlay: &str,
    state: &OverlayView,
    request: &RequestRecord,
    live: u64,
    why: &Error,
    now: &Moment,
) -> Vec<Step> {
    let mut record = keeping_way_back(outcome(request, None, live, now), state);
    record.result = "failed".to_owned();
    record.message = Some(why.to_string());
    vec![Step::WriteOutcome(overlay.to_owned(), record), Step::RemoveRequest(overlay.to_owned())]
}

/// The record of a snapshot that a generation can stand on, or why it can not.
pub fn usable(state: &OverlayView, id: u64) -> Result<&SnapshotRecord> {
    match state.snapshots.get(&id) {
        Some(Ok(record)) => {
            check_options(&record.options, &format!("snapshot {id}"))?;
            Ok(record)
        }
        Some(Err(damage)) => Err(damage.clone()),
        None => {
            let known: Vec<String> = state.snapshots.keys().map(u64::to_string).collect();
            let known = match known.is_empty() {
                true => "there is none".to_owned(),
                false => format!("there are {}", known.join(", ")),
            };
            Err(Error::new(Kind::NoSuchSnapshot, format!("there is no snapshot {id}; {known}")))
        }
    }
}

/// The live generation, if a snapshot can be made of its upper as a whole.
pub fn sealable(state: &OverlayView) -> Result<&GenerationRecord> {
    let live = state.current.clone()?.and_then(|n| state.generations.get(&n));
    let Some(generation) = live else {
        return Err(Error::new(Kind::NothingToDo, "there is no generation that a snapshot could be made of"));
    };
    let record = generation.record.as_ref().map_err(Clone::clone)?;
    match record.snapshot {
        None => Ok(record),
        Some(id) => Err(Refusal::new(
            Kind::Refused,
            format!(
                "generation {} stands on snapshot {id}: the two would have to be merged, which no boot waits for",
                record.number
            ),
            "take the snapshot now, without --quiesced",
        )
        .into()),
    }
}

/// Invariant 9: a layer keeps its options, and none is taken that this version does not know.
pub fn check_options(options: &str, whose: &str) -> Result<()> {
    match options.split(',').find(|o| !OPTIONS.split(',').any(|known| known == *o)) {
        Some(option) => Err(Error::new(
            Kind::StoreDamaged,
            format!("the record of {whose} has the mount option \"{option}\", unknown here"),
        )),
        None => Ok(()),
    }
}

/// A record for a new generation on `base`.
pub fn generation(
    number: u64,
    base: &Base,
    now: &Moment,
    request: Option<String>,
    snapshot: Option<u64>,
) -> GenerationRecord {
    GenerationRecord {
        version: RECORD_VERSION,
        number,
        created: now.unix,
        base: base.identity.clone(),
        options: OPTIONS.to_owned(),
        request,
        snapshot,
    }
}

/// The snapshot that a reset goes back to, and why it is not the one that was chosen.
pub fn baseline(state: &OverlayView) -> (Option<u64>, Option<String>) {
    let chosen =
        state.baseline.clone().and_then(|id| id.map_or(Ok(None), |id| usable(state, id).map(|_| Some(id))));
    match chosen {
        Ok(snapshot) => (snapshot, None),
        Err(e) => (None, Some(format!("the reset went to the bare image, not to the baseline: {e}"))),
    }
}

fn incomplete(what: &str) -> Error {
    Error::new(Kind::StoreDamaged, format!("the request does not say which {what}"))
}

fn back(overlay: &str, state: &OverlayView, request: &RequestRecord) -> Result<Execution> {
    let number = request.generation.ok_or_else(|| incomplete("generation"))?;
    let mut execution = stand(overlay, state, number)?;
    execution.before.push(Step::PointCurrent(overlay.to_owned(), number));
    Ok(execution)
}

/// On a generation that is there, as it is. All that may be left to do is a seal's last rename.
pub fn stand(overlay: &str, state: &OverlayView, number: u64) -> Result<Execution> {
    let Some(found) = state.generations.get(&number) else {
        return Err(Error::new(Kind::NothingToDo, format!("generation {number} is gone; space was needed")));
    };
    let record = found.record.as_ref().map_err(Clone::clone)?;
    check_options(&record.options, &format!("generation {number}"))?;
    let mut before = Vec::new();
    if let Some(snapshot) = record.snapshot {
        match state.sealing.get(&snapshot) {
            Some(&generation) => {
                before.push(Step::SealFiles { overlay: overlay.to_owned(), generation, snapshot });
            }
            None => drop(
                usable(state, snapshot)
                    .map_err(|e| e.context(format!("generation {number} stands on snapshot {snapshot}")))?,
            ),
        }
    }
    Ok(Execution {
        number,
        snapshot: record.snapshot,
        options: record.options.clone(),
        base: record.base.clone(),
        problems: Vec::new(),
        before,
        after: Vec::new(),
    })
}

/// On the baseline, or on the bare image, with what is kept.
fn reset(
    overlay: &str,
    state: &OverlayView,
    request: &RequestRecord,
    scene: &Scene<'_>,
) -> Result<Execution> {
    let kept = scene.kept.transpose().map_err(Clone::clone)?;
    let (snapshot, problem) = match request.level {
        Level::Baseline => baseline(state),
        Level::Factory => (None, None),
        // Carried out before the store is used, or refused there; never by anything milder.
        Level::Wipe => {
            let what = "early boot could not wipe the state device";
            return Err(Error::new(Kind::Refused, what).remedy("ask again, or reset with --factory"));
        }
    };
    let lost = kept.and_then(|kept| kept.lost.as_ref()).map(|why| format!("nothing could be kept: {why}"));
    let new = fresh(overlay, state, request, snapshot, kept.filter(|kept| kept.total.count > 0), scene);
    Ok(Execution { problems: problem.into_iter().chain(lost).collect(), ..new })
}

/// On a new generation, whose upper is empty but for what is kept.
fn fresh(
    overlay: &str,
    state: &OverlayView,
    request: &RequestRecord,
    snapshot: Option<u64>,
    kept: Option<&Selection>,
    scene: &Scene<'_>,
) -> Execution {
    // One that an interrupted run made, but did not point at, is taken if it is as wanted. What was put into it may be
    // a part only: that is done anew, or it is not taken.
    let made = |n: &u64| {
        let found = state.generations.get(n).filter(|g| g.empty || kept.is_some());
        let record = found.and_then(|g| g.record.as_ref().ok());
        made_by(state, *n, &request.id) && record.is_some_and(|r| r.snapshot == snapshot)
    };
    let number = state.generations.keys().copied().find(made).unwrap_or_else(|| state.next_number());
    let record = generation(number, scene.base, scene.now, Some(request.id.clone()), snapshot);
    let (options, base) = (record.options.clone(), record.base.clone());
    let mut before = vec![Step::MakeGeneration(overlay.to_owned(), record)];
    before.extend(kept.map(|kept| Step::KeepFiles {
        overlay: overlay.to_owned(),
        generation: number,
        kept: kept.clone(),
    }));
    before.push(Step::PointCurrent(overlay.to_owned(), number));
    Execution { number, snapshot, options, base, problems: Vec::new(), before, after: Vec::new() }
}

/// The upper becomes a snapshot by one rename, after everything else: the snapshot without its files, the
/// generation on it, the pointer. Until that rename the files lie where they were, and whoever finds the pointer
/// there completes it ([`stand`]), with or without the request.
fn seal(overlay: &str, state: &OverlayView, request: &RequestRecord, scene: &Scene<'_>) -> Result<Execution> {
    let id = request.snapshot.ok_or_else(|| incomplete("snapshot"))?;
    let from = sealable(state)?;
    check_options(&from.options, &format!("generation {}", from.number))?;
    let ours = match state.snapshots.get(&id) {
        None => true,
        Some(Ok(r)) => r.strategy == SEALED && r.generation == Some(from.number),
        Some(Err(_)) => state.sealing.get(&id) == Some(&from.number),
    };
    if !ours {
        let what = format!("there is a snapshot {id} already, which this request did not make");
        return Err(Error::new(Kind::Refused, what));
    }
    let record = SnapshotRecord {
        version: RECORD_VERSION,
        id,
        created: scene.now.unix,
        description: request.description.clone().unwrap_or_default(),
        created_by: request.requested_by.clone(),
        base: from.base.clone(),
        options: from.options.clone(),
        strategy: SEALED.to_owned(),
        consistency: "atomic".to_owned(),
        generation: Some(from.number),
        userdata: request.userdata.clone(),
        ..SnapshotRecord::default()
    };
    let (generation, overlay) = (from.number, overlay.to_owned());
    let mut execution = fresh(&overlay, state, request, Some(id), None, scene);
    execution.before.insert(0, Step::PrepareSeal(overlay.clone(), record));
    execution.before.push(Step::SealFiles { overlay, generation, snapshot: id });
    Ok(execution)
}

fn after(
    view: &StoreView,
    overlay: &str,
    request: &RequestRecord,
    execution: &Execution,
    from: Option<u64>,
    scene: &Scene<'_>,
) -> Result<Vec<Step>> {
    let state = find(view, overlay)?;
    let name = || overlay.to_owned();
    let mut record = with_kept(outcome(request, from, execution.number, scene.now), state, scene);
    if is_total(request.action, request.level) {
        return Ok(given_up(view, overlay, Some(execution.number), record));
    }
    if request.action == Action::Snapshot {
        record = keeping_way_back(record, state);
    }
    record.snapshot = execution.snapshot;
    let kept = kept(state, request, execution.number, from, scene);
    if request.action == Action::Reset {
        let is_kept = from.is_some_and(|from| kept.iter().any(|kept| kept.generation == from));
        let done = if is_kept { Erased::Nothing } else { Erased::Deleted };
        let erasure = Erasure::of_files(request.level, done);
        let (secure, why) = erasure::verdict(&erasure);
        (record.secure, record.secure_why) = (Some(secure.to_owned()), Some(why.to_owned()));
    }
    let mut steps = Vec::new();
    if request.commit {
        steps.push(Step::PointBaseline(name(), execution.snapshot));
    }
    steps.push(Step::WriteOutcome(name(), record));
    let reached = retain::Reached { live: execution.number, snapshot: execution.snapshot, kept: &kept };
    steps.extend(retain::discards(overlay, state, reached));
    steps.push(Step::RemoveRequest(name()));
    Ok(steps)
}

/// What is retained besides the new live generation.
fn kept(
    state: &OverlayView,
    request: &RequestRecord,
    live: u64,
    from: Option<u64>,
    scene: &Scene<'_>,
) -> Vec<Kept> {
    let by_itself = request.reason.is_some();
    let undo = match request.action {
        // A snapshot changes nothing that could be undone: the way back stays as it was.
        Action::Snapshot => retain::undo_target(state, scene.keeping.undo, scene.now).ok(),
        _ => from.filter(|_| by_itself || !matches!(scene.keeping.undo, Undo::Never)),
    };
    let mut kept = retain::kept(state, live, undo, scene.keeping);
    if request.action == Action::Snapshot {
        // Its files are the snapshot's now, however good it was: what is left could only be taken for damage.
        kept.retain(|kept| Some(kept.generation) != from);
    }
    // What nobody gave up is not given up at once: each later boot gives way to a lack of space.
    if scene.scarce && !by_itself {
        kept.retain(|kept| kept.why == Why::Base);
    }
    kept
}

/// The end of a reset to the bare image: no baseline, the outcome, nothing but `live`, no request. What is in the trash
/// is still to be deleted: until that is done, the outcome says so.
fn given_up(view: &StoreView, overlay: &str, live: Option<u64>, record: OutcomeRecord) -> Vec<Step> {
    let name = || overlay.to_owned();
    let mut steps = vec![
        Step::PointBaseline(name(), None),
        Step::WriteOutcome(name(), OutcomeRecord { erasure: Some(ERASING.to_owned()), ..record }),
    ];
    if live.is_none() {
        // In memory there is no other to point at, and it would name what is gone.
        let path = Path::new(overlay).join("current");
        steps.push(Step::DiscardOther { overlay: overlay.to_owned(), path });
    }
    steps.extend(sweep::discards(view, overlay, live));
    steps.push(Step::RemoveRequest(name()));
    steps
}

/// What was kept, as it is known: of an execution that was interrupted late, its own outcome says it.
fn with_kept(record: OutcomeRecord, state: &OverlayView, scene: &Scene<'_>) -> OutcomeRecord {
    let told = state.outcome.as_ref().and_then(|o| o.as_ref().ok()).filter(|o| o.request == record.request);
    if let Some(told) = told.cloned() {
        let OutcomeRecord { kept, kept_count, unmatched, message, .. } = told;
        return OutcomeRecord { kept, kept_count, unmatched, message, ..record };
    }
    let Some(Ok(selection)) = scene.kept else { return record };
    OutcomeRecord {
        kept: selection.total.paths.clone(),
        kept_count: Some(selection.total.count),
        unmatched: selection.unmatched.clone(),
        message: selection.lost.as_ref().map(|why| format!("nothing could be kept: {why}")),
        ..record
    }
}

fn made_by(state: &OverlayView, number: u64, request: &str) -> bool {
    let record = state.generations.get(&number).and_then(|g| g.record.as_ref().ok());
    record.is_some_and(|r| r.request.as_deref() == Some(request))
}

/// The generation that an interrupted execution left.
fn origin(state: &OverlayView, request: &RequestRecord) -> Option<u64> {
    let recorded = state.outcome.as_ref().and_then(|o| o.as_ref().ok()).filter(|o| o.request == request.id);
    recorded.map_or(request.from, |outcome| outcome.from_generation)
}

/// What failed, and what only made a snapshot, leaves the generation to which `undo` goes as it was.
fn keeping_way_back(record: OutcomeRecord, state: &OverlayView) -> OutcomeRecord {
    let left = state.outcome.as_ref().and_then(|o| o.as_ref().ok()).and_then(retain::left);
    OutcomeRecord { undo_generation: left.map(|l| l.generation), undo_since: left.map(|l| l.at), ..record }
}

pub(super) fn outcome(request: &RequestRecord, from: Option<u64>, to: u64, now: &Moment) -> OutcomeRecord {
    OutcomeRecord {
        version: RECORD_VERSION,
        request: request.id.clone(),
        action: request.action,
        requested_by: request.requested_by.clone(),
        requested_at: request.requested_at,
        executed_at: now.unix,
        boot: now.boot.clone(),
        result: "done".to_owned(),
        message: None,
        snapshot: None,
        from_generation: from,
        to_generation: to,
        via: request.via.clone(),
        reason: request.reason.clone(),
        level: request.level,
        ..OutcomeRecord::default()
    }
}
