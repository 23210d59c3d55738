//! Asking for something at the next boot, and taking it back. The boot that carries it out is `plan::execute`.

use std::collections::BTreeMap;

use super::{Refusal, Step, execute, retain};
use crate::config::Undo;
use crate::error::{Error, Kind, Result};
use crate::keep::Pattern;
use crate::observe::Moment;
use crate::operation::{Asked, Planned};
use crate::store::records::{Action, Level, RECORD_VERSION, RequestRecord};
use crate::store::{OverlayView, StoreView};

/// What the record of a sealed snapshot shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealing {
    /// For people.
    pub description: String,
    /// Free words.
    pub userdata: BTreeMap<String, String>,
    /// Whether it becomes the baseline.
    pub commit: bool,
}

/// How far a reset shall go, and what it shall keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resetting {
    /// How far.
    pub level: Level,
    /// Patterns of what is kept, besides what the configuration says.
    pub keep: Vec<String>,
    /// Keep nothing of what the configuration says.
    pub drop_kept: bool,
}

impl Resetting {
    /// Whether the patterns are ones; the error names the first that is not.
    pub fn check(&self) -> Result<()> {
        let mut parsed = self.keep.iter().map(|text| (text, Pattern::parse(text).err()));
        match parsed.find_map(|(text, wrong)| Some((text, wrong?))) {
            Some((text, why)) => {
                Err(Error::new(Kind::InvalidArgs, format!("{text:?} is no pattern of files to keep: {why}")))
            }
            None => Ok(()),
        }
    }
}

/// The steps of asking for a reset. The same request twice is no step; one that goes further takes the place of a milder.
pub fn reset(
    view: &StoreView,
    overlay: &str,
    wanted: &Resetting,
    asked: &Asked,
    now: &Moment,
) -> Result<Planned> {
    find(view, overlay)?;
    let Resetting { level, keep, drop_kept } = wanted.clone();
    wanted.check()?;
    ask(view, overlay, RequestRecord { action: Action::Reset, level, keep, drop_kept, ..blank(asked, now) })
}

/// The steps of asking for a new generation on snapshot `id`.
pub fn restore(view: &StoreView, overlay: &str, id: u64, asked: &Asked, now: &Moment) -> Result<Planned> {
    execute::usable(find(view, overlay)?, id)?;
    ask(view, overlay, RequestRecord { action: Action::Restore, snapshot: Some(id), ..blank(asked, now) })
}

/// The steps of asking for what a restore makes, without a snapshot: a new generation on the bare image. Other than a
/// reset to it, this gives nothing up. For what asks without a person, and so says why.
pub fn bare(view: &StoreView, overlay: &str, asked: &Asked, reason: &str, now: &Moment) -> Result<Planned> {
    let reason = Some(reason.to_owned());
    ask(view, overlay, RequestRecord { action: Action::Restore, reason, ..blank(asked, now) })
}

/// The steps of asking for generation `number`, which is retained for whatever reason: an undo that names where it goes.
/// For what asks without a person, and so says why.
pub fn go_back(
    view: &StoreView,
    overlay: &str,
    number: u64,
    asked: &Asked,
    reason: &str,
    now: &Moment,
) -> Result<Planned> {
    execute::stand(overlay, find(view, overlay)?, number)?;
    let (generation, reason) = (Some(number), Some(reason.to_owned()));
    ask(view, overlay, RequestRecord { action: Action::Undo, generation, reason, ..blank(asked, now) })
}

/// The steps of asking for the generation before. `undo` is what the configuration says of its retention.
pub fn undo(view: &StoreView, overlay: &str, undo: Undo, asked: &Asked, now: &Moment) -> Result<Planned> {
    let state = find(view, overlay)?;
    let target = match (retain::undo_target(state, undo, now), &state.request) {
        (Ok(target), _) => Some(target),
        // Asked for already: what was retained then is so until it is carried out.
        (Err(_), Some(Ok(pending))) if pending.action == Action::Undo => pending.generation,
        (Err(nothing), _) => return Err(nothing),
    };
    ask(view, overlay, RequestRecord { action: Action::Undo, generation: target, ..blank(asked, now) })
}

/// The steps of asking for a snapshot that is made of the upper as a whole. Constant cost, and so only of a
/// generation that stands on the bare base: on a snapshot the two would have to be merged.
pub fn snapshot(
    view: &StoreView,
    overlay: &str,
    wanted: &Sealing,
    asked: &Asked,
    now: &Moment,
) -> Result<Planned> {
    let state = find(view, overlay)?;
    execute::sealable(state)?;
    let id = match &state.request {
        Some(Ok(RequestRecord { action: Action::Snapshot, snapshot: Some(id), .. })) => *id,
        _ => state.next_snapshot(),
    };
    let request = RequestRecord {
        action: Action::Snapshot,
        snapshot: Some(id),
        description: Some(wanted.description.clone()).filter(|d| !d.is_empty()),
        commit: wanted.commit,
        userdata: wanted.userdata.clone(),
        ..blank(asked, now)
    };
    let mut planned = ask(view, overlay, request)?;
    if !planned.steps.is_empty() {
        // First the number is taken: a snapshot made until the boot gets another one.
        planned.steps.insert(0, Step::TakeSnapshotNumber(overlay.to_owned(), id));
    }
    Ok(planned)
}

/// The steps of taking the pending request back.
pub fn cancel(view: &StoreView, overlay: &str) -> Result<Vec<Step>> {
    match find(view, overlay)?.request {
        Some(Ok(_)) => Ok(vec![Step::RemoveRequest(overlay.to_owned())]),
        Some(Err(_)) => Ok(vec![Step::SetRequestAside(overlay.to_owned())]),
        None => Err(Error::new(Kind::NoPendingAction, format!("nothing is pending for {overlay}"))),
    }
}

/// The error for a request that can not be read.
pub fn damaged_request(damage: &Error) -> Error {
    damage.clone().remedy("`overlayctl cancel` sets it aside")
}

/// The overlay of this name.
pub fn find<'a>(view: &'a StoreView, overlay: &str) -> Result<&'a OverlayView> {
    view.overlays.get(overlay).ok_or_else(|| {
        Error::new(Kind::NoSuchOverlay, format!("the store has no overlay \"{overlay}\""))
            .remedy("`overlayctl list` names those it has")
    })
}

/// A request of whoever asks, with nothing in it yet.
pub(super) fn blank(asked: &Asked, now: &Moment) -> RequestRecord {
    RequestRecord {
        version: RECORD_VERSION,
        id: now.random.clone(),
        requested_by: asked.by.clone(),
        via: asked.via.clone(),
        requested_at: now.unix,
        boot: now.boot.clone(),
        ..RequestRecord::default()
    }
}

/// The step that writes `wanted`; none if the same stands already, and a refusal if it is another.
fn ask(view: &StoreView, overlay: &str, wanted: RequestRecord) -> Result<Planned> {
    let state = find(view, overlay)?;
    match &state.request {
        Some(Ok(pending)) if pending.store == view.record.uuid && same(pending, &wanted) => {
            Ok(Planned { request: pending.clone(), steps: Vec::new() })
        }
        Some(Ok(pending)) if !goes_further(&wanted, pending) => Err(Refusal::new(
            Kind::RebootPending,
            format!(
                "another request waits for the next boot: {}, by {}",
                described(pending),
                pending.requested_by
            ),
            "take it back with `overlayctl cancel` first",
        )
        .into()),
        Some(Err(damage)) => Err(damaged_request(damage)),
        Some(Ok(_)) | None => {
            let request = RequestRecord {
                store: view.record.uuid.clone(),
                from: state.current.as_ref().ok().copied().flatten(),
                ..wanted
            };
            Ok(Planned { steps: vec![Step::WriteRequest(overlay.to_owned(), request.clone())], request })
        }
    }
}

/// Whether both are resets, and the wanted one leaves less than the pending one.
fn goes_further(wanted: &RequestRecord, pending: &RequestRecord) -> bool {
    let resets = [wanted, pending].iter().all(|request| request.action == Action::Reset);
    resets && wanted.level > pending.level
}

/// Whether both ask for the same, whoever does.
pub(super) fn same(a: &RequestRecord, b: &RequestRecord) -> bool {
    a.action == b.action
        && (a.snapshot, a.generation, a.commit) == (b.snapshot, b.generation, b.commit)
        && (&a.description, &a.userdata) == (&b.description, &b.userdata)
        && (a.level, &a.keep, a.drop_kept) == (b.level, &b.keep, b.drop_kept)
}

/// `reset`, `restore of snapshot 3`, …
pub fn described(request: &RequestRecord) -> String {
    let word = request.action.word();
    match (request.action, request.snapshot, request.generation) {
        (Action::Restore, Some(id), _) => format!("{word} of snapshot {id}"),
        (Action::Restore, None, _) => format!("{word} of the bare image"),
        (Action::Reset, ..) if request.level != Level::Baseline => format!("{} {word}", request.level.word()),
        (Action::Undo, _, Some(number)) => format!("{word} to generation {number}"),
        _ => word.to_owned(),
    }
}
