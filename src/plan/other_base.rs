//! What a boot asks for by itself where the base is another than the one that the live generation was made on. Pure.
//!
//! The request is written before the boot is planned, and then is one as any other: it fires once, and any cut of the power
//! leaves the old or the new. The new generation is one of this base, so that the next boot has nothing to ask for.

use super::request::{self, Resetting};
use super::{Step, execute};
use crate::config::{BaseChanged, Mode, Overlay};
use crate::error::Result;
use crate::observe::{Base, Moment};
use crate::operation::{Asked, Planned};
use crate::store::read::GenerationView;
use crate::store::records::{Action, GenerationRecord, Level, RequestRecord};
use crate::store::{OverlayView, StoreView};

/// Who asks, for the record.
const ASKED_BY: &str = "overlayd";
/// How.
const VIA: &str = "base-changed";

/// The steps that write the request; none if there is nothing to ask for, or somebody else asked for something. A request
/// that a boot of another base wrote, and did not get to carry out, is none of this one's: it is decided anew.
pub fn decide(
    view: &StoreView,
    name: &str,
    overlay: &Overlay,
    base: &Base,
    now: &Moment,
) -> Result<Vec<Step>> {
    let Some(state) = view.overlays.get(name).filter(|_| overlay.mode == Mode::Persistent) else {
        return Ok(Vec::new());
    };
    let ours = match &state.request {
        None => None,
        Some(Ok(request)) if is_ours(request, view) => Some(request),
        Some(_) => return Ok(Vec::new()),
    };
    let Some(live) = live(state) else { return Ok(Vec::new()) };
    let waits = ours.filter(|request| !has_moved(live, request));
    if live.base == base.identity {
        return Ok(waits.map(|_| Step::RemoveRequest(name.to_owned())).into_iter().collect());
    }
    let mut free = view.clone();
    let mut without = OverlayView { request: None, ..state.clone() };
    // What it made before it was cut short is none that waits.
    without.generations.retain(|_, found| !waits.is_some_and(|request| is_made_by(found, request)));
    free.overlays.insert(name.to_owned(), without);
    let Some(planned) = ask(&free, name, overlay, base, live, now)? else { return Ok(Vec::new()) };
    let stands = waits.is_some_and(|request| request::same(request, &planned.request));
    Ok(if stands { Vec::new() } else { planned.steps })
}

/// The request that the configuration wants, where nothing waits.
fn ask(
    view: &StoreView,
    name: &str,
    overlay: &Overlay,
    base: &Base,
    live: &GenerationRecord,
    now: &Moment,
) -> Result<Option<Planned>> {
    let state = request::find(view, name)?;
    let asked = Asked { by: ASKED_BY.to_owned(), via: Some(VIA.to_owned()) };
    let reason = format!("the base changed: it was {}, this is {}", live.base, base.identity);
    Ok(Some(match overlay.base_changed {
        BaseChanged::Keep | BaseChanged::Refuse => return Ok(None),
        BaseChanged::Reset => {
            let wanted = Resetting { level: Level::Baseline, ..Resetting::default() };
            because(request::reset(view, name, &wanted, &asked, now)?, &reason)
        }
        BaseChanged::SetAside => match (waiting(name, state, base), fitting_baseline(state, base)) {
            (Some(number), _) => request::go_back(view, name, number, &asked, &reason, now)?,
            (None, Some(id)) => because(request::restore(view, name, id, &asked, now)?, &reason),
            (None, None) => request::bare(view, name, &asked, &reason, now)?,
        },
    }))
}

fn is_ours(request: &RequestRecord, view: &StoreView) -> bool {
    request.store == view.record.uuid && request.via.as_deref() == Some(VIA) && request.reason.is_some()
}

/// Whether the pointer is where the request leads: all that is left to do is to end it.
fn has_moved(live: &GenerationRecord, request: &RequestRecord) -> bool {
    live.request.as_ref() == Some(&request.id)
        || (request.action == Action::Undo && request.generation == Some(live.number))
}

fn is_made_by(found: &GenerationView, request: &RequestRecord) -> bool {
    found.record.as_ref().is_ok_and(|record| record.request.as_ref() == Some(&request.id))
}

/// The live generation, if it is known.
fn live(state: &OverlayView) -> Option<&GenerationRecord> {
    let live = state.current.as_ref().ok()?.as_ref()?;
    state.generations.get(live)?.record.as_ref().ok()
}

/// The newest generation that was made on this base, and can be mounted.
fn waiting(name: &str, state: &OverlayView, base: &Base) -> Option<u64> {
    let ours = state.generations.iter().rev().filter(|(_, found)| {
        !found.husk && found.record.as_ref().is_ok_and(|record| record.base == base.identity)
    });
    // One that does not come up is not worth waiting for.
    let health = state.health.as_ref().and_then(|health| health.as_ref().ok());
    let is_bad = |number: u64| health.is_some_and(|health| health.badness(number).is_some());
    let mut sound = ours.map(|(number, _)| *number).filter(|number| !is_bad(*number));
    sound.find(|number| execute::stand(name, state, *number).is_ok())
}

/// The baseline, if it was made on this base.
fn fitting_baseline(state: &OverlayView, base: &Base) -> Option<u64> {
    let id = state.baseline.clone().ok()??;
    execute::usable(state, id).is_ok_and(|record| record.base == base.identity).then_some(id)
}

/// No person asked: the request says why it was.
fn because(mut planned: Planned, reason: &str) -> Planned {
    for step in &mut planned.steps {
        if let Step::WriteRequest(_, request) = step {
            request.reason = Some(reason.to_owned());
        }
    }
    planned
}
