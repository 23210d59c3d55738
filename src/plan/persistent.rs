//! What a persistent overlay gets: its live generation, or what a request makes of it.

use super::boot::{BootPlan, Facts, bare, base_at, base_changed, create, mount_overlay, visible_store};
use super::execute::{self, Execution, Scene};
use super::retain::{self, Keeping, Kept, Why};
use super::{Step, health, request, state};
use crate::config::{BaseChanged, Mode, Overlay};
use crate::error::{Error, Kind, Result};
use crate::store::read::GenerationView;
use crate::store::records::RequestRecord;
use crate::store::{OverlayView, StoreView, reserve};
use crate::sys::overlay::OPTIONS;
use crate::sys::space::Space;

/// The plan for a persistent upper.
pub(super) fn persistent(
    overlay: &Overlay,
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
            existing(&Given { overlay, facts, view, space }, &mut plan)?
        }
    };
    let state = store.and_then(|view| view.as_ref().ok()?.overlays.get(&facts.name));
    Ok(mounting(live, overlay, facts, state, plan))
}

/// The plan after a step of a request failed before the pointer moved: the live generation, and the request is given up
/// because of `why`. None: there is no such request, or it moved, or there is nothing to go back to; then a request
/// stays, and is tried by each boot.
pub fn instead(
    failed: &BootPlan,
    overlay: &Overlay,
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
    let live = give_up(&Given { overlay, facts, view, space }, state, request, why, &mut plan).ok()?;
    Some(mounting(live, overlay, facts, Some(state), plan))
}

fn mounting(
    live: Live,
    overlay: &Overlay,
    facts: &Facts,
    state: Option<&OverlayView>,
    mut plan: BootPlan,
) -> BootPlan {
    count(&live, overlay, facts, state, &mut plan);
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
    overlay: &'a Overlay,
    facts: &'a Facts,
    view: &'a StoreView,
    space: &'a Space,
}

/// The generation to mount.
struct Live {
    number: u64,
    snapshot: Option<u64>,
    options: String,
    /// Whether the request was possible; none: there is none for this boot.
    done: Option<bool>,
    /// Steps once it is mounted.
    after: Vec<Step>,
}

impl Live {
    fn new(number: u64) -> Live {
        Live { number, snapshot: None, options: OPTIONS.to_owned(), done: None, after: Vec::new() }
    }
}

/// Counts the boot, if those of this overlay are, and says what is wrong with that. What can not be read is left as it is.
fn count(live: &Live, overlay: &Overlay, facts: &Facts, state: Option<&OverlayView>, plan: &mut BootPlan) {
    let request = state.and_then(|state| state.request.as_ref()?.as_ref().ok());
    let asked = live.done.and_then(|done| Some((request?, done)));
    let health = state.and_then(|state| state.health.as_ref());
    // What a reset to the image gives up is forgotten, whether or not anything is counted.
    let forget = health.is_some()
        && asked.is_some_and(|(request, done)| done && execute::is_total(request.action, request.level));
    if facts.name != execute::ROOT || !(forget || health::is_on(overlay)) {
        return;
    }
    match health {
        Some(Err(damage)) if !forget => plan.problems.push(format!("this boot is not counted: {damage}")),
        _ => {
            let record = health::count(state, live.number, asked, &facts.now);
            plan.steps.push(Step::CountBoot(facts.name.clone(), record));
            let exhausted = state.filter(|_| asked.is_none()).and_then(|s| health::exhausted(s, overlay));
            plan.problems.extend(exhausted);
        }
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
        // What was wanted nobody knows; what was there before is.
        Some(Err(damage)) => {
            plan.problems.push(format!("a request is not executed: {}", request::damaged_request(damage)));
            continue_live(given, state, plan)
        }
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
    let scene =
        Scene { base: &facts.base, now: &facts.now, keeping: Keeping::of(given.overlay), scarce, kept };
    let execution = match execute::execution(given.view, &facts.name, request, &scene) {
        Ok(execution) => execution,
        Err(why) => return give_up(given, state, request, &why, plan),
    };
    if let Some(why) = refused(given, &execution) {
        return give_up(given, state, request, &why, plan);
    }
    if low {
        plan.steps.push(Step::ReleaseReserve);
    }
    plan.executes = Some(request.id.clone());
    Ok(Live { done: Some(true), ..take(execution, state, facts, plan) })
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
    live.done = Some(false);
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
    Live { snapshot, options, after, ..Live::new(number) }
}

fn continue_live(given: &Given<'_>, state: &OverlayView, plan: &mut BootPlan) -> Result<Live> {
    let facts = given.facts;
    let Some(number) = state.current.clone()? else { return repoint(given, state, plan) };
    if !state.generations.contains_key(&number) {
        return Err(damage(format!("generation {number} is the live one, but it is missing")));
    }
    let execution = execute::stand(&facts.name, state, number).map_err(|e| e.remedy(REMEDY))?;
    if let Some(why) =
        refused(given, &execution).filter(|_| given.overlay.base_changed == BaseChanged::Refuse)
    {
        return Err(why);
    }
    let mut live = take(execution, state, facts, plan);
    let low = reserve::is_low(given.space);
    if given.view.reserve && low {
        // XFS can not even renew the work directory without free blocks: the overlay would be read-only.
        plan.steps.push(Step::ReleaseSpare);
    }
    // Without a readable outcome nobody knows which generation is retained, nor with an unreadable request, which may
    // have been half executed.
    plan.problems.extend(unreadable(&state.outcome).map(|e| format!("nothing old is given up: {e}")));
    if unreadable(&state.outcome).is_none() && unreadable(&state.request).is_none() {
        let keeping = Keeping::of(given.overlay);
        let back = retain::undo_target(state, keeping.undo, &facts.now).ok();
        let mut kept = retain::kept(state, number, back, keeping);
        if state::is_scarce(given.view, given.space) {
            retain::give_way(&mut kept);
        }
        for old in left_untold(state, number) {
            if kept.iter().all(|kept| kept.generation != old) {
                plan.problems.push(format!("generation {old} is not given up: {UNTOLD}"));
                kept.push(Kept { generation: old, why: Why::Undo });
            }
        }
        let reached = retain::Reached { live: number, snapshot: live.snapshot, kept: &kept };
        live.after.extend(retain::discards(&facts.name, state, reached));
    }
    live.after.extend(state::refill(given.view, given.space));
    Ok(live)
}

const UNTOLD: &str = "outcome.toml, which would tell about it, is missing, or tells of another live one";

/// Generations that hold something besides the live one, where the record that tells which were left is lost, or the
/// pointer is not where that record says: then a pointer that went astray would cost what was live.
fn left_untold(state: &OverlayView, live: u64) -> Vec<u64> {
    let outcome = state.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let told = outcome.is_some_and(|outcome| outcome.to_generation == live);
    let moving = state.request.is_some() || !state.sealing.is_empty();
    let holds = |(n, g): &(&u64, &GenerationView)| **n != live && !g.empty && !g.husk && g.record.is_ok();
    let left = state.generations.iter().filter(|_| !told && !moving).filter(holds);
    left.map(|(number, _)| *number).collect()
}

fn unreadable<T>(record: &Option<Result<T>>) -> Option<&Error> {
    record.as_ref().and_then(|record| record.as_ref().err())
}

/// Why a generation that was made on another base is not gone to, if `base-changed` has something to do with it: what it
/// does, the next boot would do.
fn refused(given: &Given<'_>, execution: &Execution) -> Option<Error> {
    let changed = base_changed(&format!("generation {}", execution.number), &execution.base, given.facts)?;
    let remedy = "boot that base again, or go on with this one: `overlayctl reset`";
    let keeps = given.overlay.base_changed == BaseChanged::Keep;
    (!keeps).then(|| Error::new(Kind::BaseMismatch, changed).remedy(remedy))
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
