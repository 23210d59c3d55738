//! Reset: what a request writes, what the boot that executes it does, and taking a request back.

use super::{Refusal, Step};
use crate::error::{Error, Kind, Result};
use crate::observe::{Base, Moment};
use crate::operation::Planned;
use crate::store::records::{Action, GenerationRecord, OutcomeRecord, RECORD_VERSION, RequestRecord};
use crate::store::{OverlayView, StoreView};
use crate::sys::overlay::OPTIONS;

/// The steps of asking for a reset. The same request twice is no step.
pub fn request(view: &StoreView, overlay: &str, by: &str, now: &Moment) -> Result<Planned> {
    let state = find(view, overlay)?;
    match &state.request {
        Some(Ok(pending)) if pending.store == view.record.uuid && pending.action == Action::Reset => {
            Ok(Planned { request: pending.clone(), steps: Vec::new() })
        }
        Some(Ok(pending)) => Err(Refusal::new(
            Kind::RebootPending,
            format!(
                "another request waits for the next boot: {}, by {}",
                pending.action.word(),
                pending.requested_by
            ),
            "take it back with `overlayctl cancel` first",
        )
        .into()),
        Some(Err(damage)) => Err(damaged_request(damage)),
        None => {
            let request = RequestRecord {
                version: RECORD_VERSION,
                id: now.random.clone(),
                store: view.record.uuid.clone(),
                action: Action::Reset,
                requested_by: by.to_owned(),
                requested_at: now.unix,
                boot: now.boot.clone(),
                from: state.current.as_ref().ok().copied().flatten(),
                ..RequestRecord::default()
            };
            Ok(Planned { steps: vec![Step::WriteRequest(overlay.to_owned(), request.clone())], request })
        }
    }
}

/// The steps of taking the pending request back.
pub fn cancel(view: &StoreView, overlay: &str) -> Result<Vec<Step>> {
    match find(view, overlay)?.request {
        Some(Ok(_)) => Ok(vec![Step::RemoveRequest(overlay.to_owned())]),
        Some(Err(_)) => Ok(vec![Step::SetRequestAside(overlay.to_owned())]),
        None => Err(Error::new(Kind::NoPendingAction, format!("nothing is pending for {overlay}"))),
    }
}

/// How a boot executes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The generation that is made live.
    pub number: u64,
    /// Steps before the overlay is mounted: the new generation, the pointer.
    pub before: Vec<Step>,
    /// Steps once the overlay is mounted and was written to: the outcome, the trash, the request last.
    pub after: Vec<Step>,
}

/// The steps by which a boot executes the request: each prefix of them leaves the old or the new generation whole,
/// and nothing is given up before the new one has proved to work.
///
/// The generation carries the request's id. If the power goes after the pointer moved, the next boot sees that id
/// on the live generation, and only finishes: the request fires once (invariant 5).
pub fn execution(
    view: &StoreView,
    overlay: &str,
    request: &RequestRecord,
    base: &Base,
    now: &Moment,
) -> Result<Execution> {
    let state = find(view, overlay)?;
    let name = || overlay.to_owned();
    let live = state.current.as_ref().ok().copied().flatten();
    let done = live.filter(|n| made_by(state, *n, &request.id));
    let number = done.unwrap_or_else(|| unpointed(state, &request.id).unwrap_or_else(|| state.next_number()));
    let mut before = Vec::new();
    if done.is_none() {
        before.push(Step::MakeGeneration(name(), generation(number, base, now, Some(request.id.clone()))));
        before.push(Step::PointCurrent(name(), number));
    }
    let from = if done.is_none() { live } else { origin(state, &request.id, number) };
    let mut after = vec![Step::WriteOutcome(name(), outcome(request, from, number, now))];
    after.extend(garbage(state, number).into_iter().map(|dir| Step::Discard(name(), dir)));
    after.push(Step::RemoveRequest(name()));
    Ok(Execution { number, before, after })
}

/// A record for a new generation on `base`.
pub fn generation(number: u64, base: &Base, now: &Moment, request: Option<String>) -> GenerationRecord {
    GenerationRecord {
        version: RECORD_VERSION,
        number,
        created: now.unix,
        base: base.identity.clone(),
        options: OPTIONS.to_owned(),
        request,
        snapshot: None,
    }
}

/// What in `generations/` is reachable from nothing once `live` is the live one. What can not be read may be
/// somebody's data, and is no garbage.
pub fn garbage(state: &OverlayView, live: u64) -> Vec<String> {
    let old =
        state.generations.iter().filter(|(n, g)| **n != live && g.record.is_ok()).map(|(n, _)| n.to_string());
    let unfinished = state.unfinished.iter().filter(|n| n.ends_with(".new")).cloned();
    old.chain(unfinished).collect()
}

fn made_by(state: &OverlayView, number: u64, request: &str) -> bool {
    let record = state.generations.get(&number).and_then(|g| g.record.as_ref().ok());
    record.is_some_and(|r| r.request.as_deref() == Some(request))
}

/// A generation that an interrupted execution of the same request made, but did not point at.
fn unpointed(state: &OverlayView, request: &str) -> Option<u64> {
    state.generations.keys().copied().find(|n| made_by(state, *n, request))
}

/// The generation that an interrupted execution left: recorded, or else the newest that still lies there.
fn origin(state: &OverlayView, request: &str, live: u64) -> Option<u64> {
    let recorded = state.outcome.as_ref().and_then(|o| o.as_ref().ok()).filter(|o| o.request == request);
    match recorded {
        Some(outcome) => outcome.from_generation,
        None => state.generations.keys().copied().filter(|n| *n < live).max(),
    }
}

fn outcome(request: &RequestRecord, from: Option<u64>, to: u64, now: &Moment) -> OutcomeRecord {
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
    }
}

fn find<'a>(view: &'a StoreView, overlay: &str) -> Result<&'a OverlayView> {
    view.overlays.get(overlay).ok_or_else(|| {
        Error::new(Kind::NoSuchOverlay, format!("the store has no overlay \"{overlay}\""))
            .remedy("`overlayctl list` names those it has")
    })
}

/// The error for a request that can not be read.
pub fn damaged_request(damage: &Error) -> Error {
    damage.clone().remedy("`overlayctl cancel` sets it aside")
}
