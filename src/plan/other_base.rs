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
use crate::store::records::Level;
use crate::store::{OverlayView, StoreView};

/// Who asks, for the record.
const ASKED_BY: &str = "overlayd";
/// How.
const VIA: &str = "base-changed";

/// The steps that write the request; none if there is nothing to ask for, or somebody else asked for something.
pub fn decide(
    view: &StoreView,
    name: &str,
    overlay: &Overlay,
    base: &Base,
    now: &Moment,
) -> Result<Vec<Step>> {
    let Some(state) = view.overlays.get(name).filter(|state| state.request.is_none()) else {
        return Ok(Vec::new());
    };
    let Some(made_on) = made_on_another(state, base).filter(|_| overlay.mode == Mode::Persistent) else {
        return Ok(Vec::new());
    };
    let asked = Asked { by: ASKED_BY.to_owned(), via: Some(VIA.to_owned()) };
    let reason = format!("the base changed: it was {made_on}, this is {}", base.identity);
    let planned = match overlay.base_changed {
        BaseChanged::Keep | BaseChanged::Refuse => return Ok(Vec::new()),
        BaseChanged::Reset => {
            let wanted = Resetting { level: Level::Baseline, ..Resetting::default() };
            because(request::reset(view, name, &wanted, &asked, now)?, &reason)
        }
        BaseChanged::SetAside => match (waiting(name, state, base), fitting_baseline(state, base)) {
            (Some(number), _) => request::go_back(view, name, number, &asked, &reason, now)?,
            (None, Some(id)) => because(request::restore(view, name, id, &asked, now)?, &reason),
            (None, None) => request::bare(view, name, &asked, &reason, now)?,
        },
    };
    Ok(planned.steps)
}

/// The base that the live generation was made on, if it is another.
fn made_on_another<'a>(state: &'a OverlayView, base: &Base) -> Option<&'a str> {
    let live = state.current.as_ref().ok()?.as_ref()?;
    let record = state.generations.get(live)?.record.as_ref().ok()?;
    (record.base != base.identity).then_some(&record.base)
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
