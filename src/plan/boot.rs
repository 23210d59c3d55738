//! Boot: which mode the root overlay gets, and the steps that lead there. Every way ends in a plan.
//!
//! What a persistent overlay needs is the same for every overlay: `plan::persistent`.

use std::path::PathBuf;

use super::execute::Scene;
pub use super::persistent::instead;
pub(super) use super::persistent::persistent;
use super::retain::{self, Keeping};
use super::trigger::SKIP_WORD;
use super::{Step, execute, state};
use crate::config::{BaseChanged, Config, Fallback, Mode, Overlay};
use crate::error::{Error, Kind, Result};
use crate::keep::Selection;
use crate::observe::{Base, Moment};
use crate::store::layout::Layout;
use crate::store::records::{Action, FORMAT, Level, RequestRecord, StoreRecord};
use crate::store::{OverlayView, StoreView, reserve};
use crate::sys::overlay::{self, OPTIONS};
use crate::sys::space::Space;

/// What is known at boot, the store aside.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The overlay's name: `root` at boot.
    pub name: String,
    /// Its base.
    pub base: Base,
    /// RAM in bytes.
    pub ram: u64,
    /// Now.
    pub now: Moment,
    /// `/run/overlayd`.
    pub run: PathBuf,
    /// A new UUID, should a store be made.
    pub new_uuid: String,
    /// What the pending reset keeps, or why that can not be told; none: nothing is to be kept.
    pub kept: Option<Result<Selection>>,
}

/// The state filesystem after it was looked for.
#[derive(Clone, Debug)]
pub enum Disk {
    /// Mounted; the store as it stands, or none yet.
    Mounted {
        /// Where the store is, or will be.
        layout: Layout,
        /// None: not made yet.
        store: Option<Result<StoreView>>,
        /// Free space.
        space: Space,
    },
    /// Not to be had, and why.
    Unavailable(Error),
    /// Not looked for: this mode needs none.
    NotWanted,
}

/// What the root gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The mode.
    pub mode: Mode,
    /// Why it is not the configured one.
    pub reason: Option<String>,
    /// The generation, if there is a persistent upper.
    pub generation: Option<u64>,
    /// The snapshot that is mounted between the upper and the base.
    pub snapshot: Option<u64>,
    /// Id of the request that is executed.
    pub executes: Option<String>,
    /// Overlayfs options.
    pub options: String,
    /// What is not as it should be, but does not change the mode.
    pub problems: Vec<String>,
    /// What to do.
    pub steps: Vec<Step>,
}

/// The plan for the root. `fallback = "fail"` is the only error.
pub fn root(config: &Config, config_problems: &[String], facts: &Facts, disk: &Disk) -> Result<BootPlan> {
    if let Some(first) = config_problems.first() {
        let more = match config_problems.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        return fallback(config.root(), facts, &format!("the configuration is wrong: {first}{more}"));
    }
    match config.root().mode {
        Mode::Off => Ok(bare(Mode::Off, None, Vec::new())),
        Mode::ReadOnly => Ok(read_only(facts, None)),
        Mode::Volatile => match disk {
            Disk::Mounted { store, space, .. } => on_baseline(config.root(), facts, store.as_ref(), space)
                .or_else(|e| fallback(config.root(), facts, &e.to_string())),
            Disk::Unavailable(why) => fallback(config.root(), facts, &why.to_string()),
            Disk::NotWanted => Ok(volatile(config.root(), facts, None)),
        },
        Mode::Persistent => match disk {
            Disk::Mounted { store, space, .. } => persistent(config.root(), facts, store.as_ref(), space)
                .or_else(|e| fallback(config.root(), facts, &e.to_string())),
            Disk::Unavailable(why) => fallback(config.root(), facts, &why.to_string()),
            Disk::NotWanted => fallback(config.root(), facts, "there is no state device"),
        },
    }
}

/// The declared fallback, because of `reason`.
pub fn fallback(overlay: &Overlay, facts: &Facts, reason: &str) -> Result<BootPlan> {
    match overlay.fallback {
        Fallback::Volatile => Ok(volatile(overlay, facts, Some(reason.to_owned()))),
        Fallback::ReadOnly => Ok(read_only(facts, Some(reason.to_owned()))),
        Fallback::Fail => {
            Err(Error::new(Kind::Refused, reason).remedy("boot stops here because fallback = \"fail\""))
        }
    }
}

/// One boot without the upper, because the kernel command line says so: nothing of the store is mounted, whatever is wrong
/// with it, and nothing is carried out.
pub fn without_upper(overlay: &Overlay, facts: &Facts) -> BootPlan {
    let reason = Some(format!("{SKIP_WORD} is on the kernel command line, for one boot"));
    match overlay.fallback {
        Fallback::ReadOnly => read_only(facts, reason),
        Fallback::Volatile | Fallback::Fail => volatile(overlay, facts, reason),
    }
}

/// The base alone: the last resort, and the mode of that name.
pub fn read_only(facts: &Facts, reason: Option<String>) -> BootPlan {
    let steps = vec![Step::ProtectBase, Step::ExposeBase(base_at(facts)), Step::PrepareHost];
    bare(Mode::ReadOnly, reason, steps)
}

pub(super) fn bare(mode: Mode, reason: Option<String>, steps: Vec<Step>) -> BootPlan {
    BootPlan {
        mode,
        reason,
        generation: None,
        snapshot: None,
        executes: None,
        options: String::new(),
        problems: Vec::new(),
        steps,
    }
}

fn volatile(overlay: &Overlay, facts: &Facts, reason: Option<String>) -> BootPlan {
    let mut plan = bare(Mode::Volatile, reason, vec![Step::ProtectBase, Step::ExposeBase(base_at(facts))]);
    in_memory(overlay, facts, &mut plan);
    plan.steps.push(Step::PrepareHost);
    plan
}

/// An upper in RAM, and below it the snapshot that was committed last, if there is one.
fn on_baseline(
    overlay: &Overlay,
    facts: &Facts,
    store: Option<&Result<StoreView>>,
    space: &Space,
) -> Result<BootPlan> {
    let mut plan = bare(Mode::Volatile, None, Vec::new());
    let mut after = Vec::new();
    let view = store.map(|view| view.as_ref().map_err(Clone::clone)).transpose()?;
    if view.is_none() {
        create(facts, space, &mut plan.steps);
    }
    match view.and_then(|view| view.overlays.get(&facts.name)) {
        None => plan.steps.push(Step::MakeOverlay(facts.name.clone())),
        Some(state) if total_reset(view, state).is_some() => {
            after.extend(execute_in_memory(facts, view, state, space, &mut plan)?);
        }
        Some(state) => {
            plan.snapshot = state.baseline.clone()?;
            if let Some(id) = plan.snapshot {
                let record =
                    execute::usable(state, id).map_err(|e| e.context("the baseline is not usable"))?;
                let changed = base_changed(&format!("snapshot {id}"), &record.base, facts);
                match (changed, overlay.base_changed) {
                    (Some(why), BaseChanged::Refuse) => return Err(Error::new(Kind::BaseMismatch, why)),
                    (Some(why), BaseChanged::SetAside) => {
                        plan.snapshot = None;
                        plan.problems.push(format!("{why}: it waits for that"));
                    }
                    (changed, _) => plan.problems.extend(changed),
                }
            }
            let left = retain::unfinished_snapshots(state, plan.snapshot).into_iter();
            after.extend(left.map(|dir| Step::DiscardSnapshot(facts.name.clone(), dir)));
        }
    }
    after.extend(view.map(|view| state::refill(view, space)).unwrap_or_default());
    plan.steps.extend([Step::ProtectBase, Step::ExposeBase(base_at(facts)), Step::ExposeStore]);
    in_memory(overlay, facts, &mut plan);
    plan.steps.extend(after);
    plan.steps.extend([Step::GuardStore, Step::PrepareHost]);
    Ok(plan)
}

/// The pending request, if it is one that concerns a volatile overlay: a reset to the bare image.
fn total_reset<'v>(view: Option<&'v StoreView>, state: &'v OverlayView) -> Option<&'v RequestRecord> {
    let request = state.request.as_ref()?.as_ref().ok()?;
    let ours = view.is_some_and(|view| view.record.uuid == request.store);
    (ours && request.action == Action::Reset && request.level == Level::Factory).then_some(request)
}

/// What is done once the overlay is mounted on the bare image.
fn execute_in_memory(
    facts: &Facts,
    view: Option<&StoreView>,
    state: &OverlayView,
    space: &Space,
    plan: &mut BootPlan,
) -> Result<Vec<Step>> {
    let (Some(view), Some(request)) = (view, total_reset(view, state)) else { return Ok(Vec::new()) };
    let kept = facts.kept.as_ref().map(Result::as_ref);
    let scene = Scene { base: &facts.base, now: &facts.now, keeping: Keeping::NOTHING, scarce: true, kept };
    if reserve::is_low(space) {
        plan.steps.push(Step::ReleaseReserve);
    }
    plan.executes = Some(request.id.clone());
    plan.problems.extend(kept.map(|_| execute::NOT_KEPT_IN_MEMORY.to_owned()));
    execute::in_memory(view, &facts.name, request, &scene)
}

fn in_memory(overlay: &Overlay, facts: &Facts, plan: &mut BootPlan) {
    let bytes = overlay.size.bytes(facts.ram);
    let at = facts.run.join(&facts.name).join("volatile");
    plan.options = OPTIONS.to_owned();
    plan.steps.push(Step::MountVolatile { at: at.clone(), bytes, inodes: overlay.inodes.of(bytes) });
    mount_overlay(facts, at.join("fs"), at.join("work"), plan);
}

/// The steps that make the store.
pub fn create(facts: &Facts, space: &Space, steps: &mut Vec<Step>) {
    let record = StoreRecord {
        format: FORMAT,
        uuid: facts.new_uuid.clone(),
        created: facts.now.unix,
        features: Vec::new(),
    };
    steps.push(Step::CreateStore(record));
    if reserve::fits(space) {
        steps.push(Step::FillReserve(reserve::bytes_for(space)));
    }
}

/// A problem, if `what` was made on another base than this one.
pub(super) fn base_changed(what: &str, made_on: &str, facts: &Facts) -> Option<String> {
    let now = &facts.base.identity;
    (made_on != now).then(|| format!("the base changed: {what} was made on {made_on}, this is {now}"))
}

/// The overlay with this upper, over the plan's snapshot and the base.
pub(super) fn mount_overlay(facts: &Facts, upper: PathBuf, work: PathBuf, plan: &mut BootPlan) {
    let snapshot = plan.snapshot.map(|id| visible_store(facts).snapshot_fs(&facts.name, id));
    let overlay = overlay::Overlay {
        name: format!("overlayd:{}", facts.name),
        lowers: snapshot.into_iter().chain([base_at(facts)]).collect(),
        upper,
        work,
        options: plan.options.clone(),
    };
    plan.steps.push(Step::MountOverlay { overlay, submounts: facts.base.submounts.clone() });
}

/// Where the store stays visible: the paths that mountinfo shows then exist.
pub(super) fn visible_store(facts: &Facts) -> Layout {
    Layout::new(facts.run.join("store"))
}

/// Where the base is shown.
pub(super) fn base_at(facts: &Facts) -> PathBuf {
    facts.run.join(&facts.name).join("base")
}
