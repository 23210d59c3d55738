//! What a persistent overlay gets: its live generation, or what a request makes of it.

use super::boot::{BootPlan, Facts, bare, base_at, base_changed, create, mount_overlay, visible_store};
use super::execute::{self, Execution, Scene};
use super::{Step, request, retain, state};
use crate::config::{Mode, Undo};
use crate::error::{Error, Kind, Result};
use crate::store::read::GenerationView;
use crate::store::records::RequestRecord;
use crate::store::{OverlayView, StoreView, reserve};
use crate::sys::overlay::OPTIONS;
use crate::sys::space::Space;

/// The plan for a persistent upper.
pub(super) fn persistent(
    undo: Undo,
    facts: &Facts,
    store: Option<&Result<StoreView>>,
    space: &Space,
) -> Result<BootPlan> {
    let mut plan = bare(Mode::Persistent, None, Vec::new());
    let live = match store {
        None => {
            create(facts, space, &mut plan.steps);
            first_generation(facts, &mut plan.steps)
        }
        Some(view) => {
            let view = view.as_ref().map_err(Clone::clone)?;
            existing(&Given { undo, facts, view, space }, &mut plan)?
        }
    };
    Ok(mounting(live, facts, plan))
}

/// The plan after a step of a request failed before the pointer moved: the live generation, and the request is given up
/// because of `why`. None: there is no such request, or it moved, or there is nothing to go back to; then a request
/// stays, and is tried by each boot.
pub fn instead(
    failed: &BootPlan,
    undo: Undo,
    facts: &Facts,
    view: &StoreView,
    space: &Space,
    why: &Error,
) -> Option<BootPlan> {
    let state = view.overlays.get(&facts.name)?;
    let request = state.request.as_ref()?.as_ref().ok()?;
    let moved = state.current.as_ref().map_or(true, |live| *live == failed.generation);
    if moved || failed.executes.as_ref() != Some(&request.id) {
        return None;
    }
    let mut plan = bare(Mode::Persistent, None, Vec::new());
    let live = give_up(&Given { undo, facts, view, space }, state, request, why, &mut plan).ok()?;
    Some(mounting(live, facts, plan))
}

fn mounting(live: Live, facts: &Facts, mut plan: BootPlan) -> BootPlan {
    plan.generation = Some(live.number);
    plan.snapshot = live.snapshot;
    plan.options = live.options;
    plan.steps.extend([Step::ProtectBase, Step::ExposeBase(base_at(facts)), Step::ExposeStore]);
    let visible = visible_store(facts);
    let (upper, work) = (visible.upper(&facts.name, live.number), visible.work(&facts.name, live.number));
    mount_overlay(facts, upper, work, &mut plan);
    plan.steps.extend(live.after);
    plan.steps.extend([Step::GuardStore, Step::PrepareHost]);
    plan
}

/// What the decisions below are made from.
struct Given<'a> {
    undo: Undo,
    facts: &'a Facts,
    view: &'a StoreView,
    space: &'a Space,
}

/// The generation to mount.
struct Live {
    number: u64,
    snapshot: Option<u64>,
    options: String,
    /// Steps once it is mounted.
    after: Vec<Step>,
}

impl Live {
    fn new(number: u64) -> Live {
        Live { number, snapshot: None, options: OPTIONS.to_owned(), after: Vec::new() }
    }
}

fn first_generation(facts: &Facts, steps: &mut Vec<Step>) -> Live {
    let record = execute::generation(1, &facts.base, &facts.now, None, None);
    steps.push(Step::MakeGeneration(facts.name.clone(), record));
    steps.push(Step::PointCurrent(facts.name.clone(), 1));
    Live::new(1)
}

fn existing(given: &Given<'_>, plan: &mut BootPlan) -> Result<Live> {
    let view = given.view;
    let Some(state) = view.overlays.get(&given.facts.name) else {
        plan.steps.extend(state::refill(view, given.space));
        return Ok(first_generation(given.facts, &mut plan.steps));
    };
    match &state.request {
        None => continue_live(given, state, plan),
        Some(Ok(request)) if request.store == view.record.uuid => execute(given, state, request, plan),
        Some(Ok(request)) => {
            plan.problems.push(format!(
                "the pending request is for store {}, not for this one ({}): not executed",
                request.store, view.record.uuid
            ));
            continue_live(given, state, plan)
        }
        Some(Err(damage)) => Err(request::damaged_request(damage)),
    }
}

fn execute(
    given: &Given<'_>,
    state: &OverlayView,
    request: &RequestRecord,
    plan: &mut BootPlan,
) -> Result<Live> {
    let facts = given.facts;
    let kept = facts.kept.as_ref().map(Result::as_ref);
    let left = match kept {
        Some(Ok(kept)) => given.space.without(kept.total.bytes, kept.total.count),
        _ => *given.space,
    };
    let low = reserve::is_low(&left);
    // Where blocks are shared, what is kept takes none: what is retained gives way by what there is now.
    let scarce = state::is_scarce(given.view, given.space);
    let scene = Scene { base: &facts.base, now: &facts.now, undo: given.undo, scarce, kept };
    let execution = match execute::execution(given.view, &facts.name, request, &scene) {
        Ok(execution) => execution,
        Err(why) => return give_up(given, state, request, &why, plan),
    };
    if low {
        plan.steps.push(Step::ReleaseReserve);
    }
    plan.executes = Some(request.id.clone());
    Ok(take(execution, state, facts, plan))
}

/// A request that can not be executed: the live generation stays, the request goes, and the outcome says why.
fn give_up(
    given: &Given<'_>,
    state: &OverlayView,
    request: &RequestRecord,
    why: &Error,
    plan: &mut BootPlan,
) -> Result<Live> {
    let mut live = continue_live(given, state, plan)?;
    plan.problems.push(format!("the {} was not possible: {why}", request::described(request)));
    let Facts { name, now, .. } = given.facts;
    live.after.splice(0..0, execute::failure(name, state, request, live.number, why, now));
    Ok(live)
}

/// What the execution says, as far as it concerns the mount.
fn take(execution: Execution, state: &OverlayView, facts: &Facts, plan: &mut BootPlan) -> Live {
    let Execution { number, snapshot, options, base, problems, before, after } = execution;
    let on = snapshot.and_then(|id| Some((id, state.snapshots.get(&id)?.as_ref().ok()?)));
    let changed = base_changed(&format!("generation {number}"), &base, facts)
        .or_else(|| on.and_then(|(id, record)| base_changed(&format!("snapshot {id}"), &record.base, facts)));
    plan.problems.extend(problems.into_iter().chain(changed));
    plan.steps.extend(before);
    Live { number, snapshot, options, after }
}

fn continue_live(given: &Given<'_>, state: &OverlayView, plan: &mut BootPlan) -> Result<Live> {
    let facts = given.facts;
    let Some(number) = state.current.clone()? else { return repoint(given, state, plan) };
    if !state.generations.contains_key(&number) {
        return Err(damage(format!("generation {number} is the live one, but it is missing")));
    }
    let execution = execute::stand(&facts.name, state, number).map_err(|e| e.remedy(REMEDY))?;
    let mut live = take(execution, state, facts, plan);
    let low = reserve::is_low(given.space);
    if given.view.reserve && low {
        // XFS can not even renew the work directory without free blocks: the overlay would be read-only.
        plan.steps.push(Step::ReleaseSpare);
    }
    // Without a readable outcome nobody knows which generation is retained.
    if !matches!(state.outcome, Some(Err(_))) {
        let kept = retain::undo_target(state, given.undo, &facts.now).ok();
        let kept = kept.filter(|_| !state::is_scarce(given.view, given.space));
        let reached = retain::Reached { live: number, snapshot: live.snapshot, kept };
        live.after.extend(retain::discards(&facts.name, state, reached));
    }
    live.after.extend(state::refill(given.view, given.space));
    Ok(live)
}

const REMEDY: &str = "repair it, or start afresh with `overlayctl reset`: what can not be read is kept";

/// No pointer: the store was made by a wipe, the power went before the first one was written, or it got lost. Only empty
/// uppers tell the second from the third.
fn repoint(given: &Given<'_>, state: &OverlayView, plan: &mut BootPlan) -> Result<Live> {
    let after = state::refill(given.view, given.space);
    if state.generations.is_empty() {
        return Ok(Live { after, ..first_generation(given.facts, &mut plan.steps) });
    }
    let is_data = |g: &GenerationView| !g.empty || g.record.as_ref().map_or(true, |r| r.snapshot.is_some());
    if state.generations.values().any(is_data) {
        return Err(damage(
            "the pointer \"current\" is missing, and there are generations with data".to_owned(),
        ));
    }
    let number = state.generations.keys().copied().max().unwrap_or(1);
    plan.steps.push(Step::PointCurrent(given.facts.name.clone(), number));
    Ok(Live { after, ..Live::new(number) })
}

fn damage(what: String) -> Error {
    Error::new(Kind::StoreDamaged, what).remedy(REMEDY)
}
