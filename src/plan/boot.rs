//! Boot: which mode the root overlay gets, and the steps that lead there. Every way ends in a plan.
//!
//! What a persistent overlay needs is the same for every overlay; `plan::mount` takes it from here.

use std::path::PathBuf;

use super::{Step, reset, state};
use crate::config::{Config, Fallback, Mode, Overlay};
use crate::error::{Error, Kind, Result};
use crate::observe::{Base, Moment};
use crate::store::layout::Layout;
use crate::store::records::{FORMAT, RequestRecord, StoreRecord};
use crate::store::{OverlayView, StoreView, reserve};
use crate::sys::overlay::{self, OPTIONS};
use crate::sys::space::Space;

/// One inode a so many bytes, in a volatile upper: the ratio the kernel takes for a whole tmpfs.
const BYTES_PER_INODE: u64 = 4096;

/// What is known at boot, the store aside.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        Mode::Volatile => Ok(volatile(config.root(), facts, None)),
        Mode::Persistent => match disk {
            Disk::Mounted { store, space, .. } => persistent(facts, store.as_ref(), space)
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

/// The base alone: the last resort, and the mode of that name.
pub fn read_only(facts: &Facts, reason: Option<String>) -> BootPlan {
    let steps = vec![Step::ProtectBase, Step::ExposeBase(base_at(facts)), Step::PrepareHost];
    bare(Mode::ReadOnly, reason, steps)
}

fn bare(mode: Mode, reason: Option<String>, steps: Vec<Step>) -> BootPlan {
    BootPlan {
        mode,
        reason,
        generation: None,
        executes: None,
        options: String::new(),
        problems: Vec::new(),
        steps,
    }
}

fn volatile(overlay: &Overlay, facts: &Facts, reason: Option<String>) -> BootPlan {
    let bytes = overlay.size.bytes(facts.ram);
    let at = facts.run.join(&facts.name).join("volatile");
    let mut steps = vec![Step::ProtectBase, Step::ExposeBase(base_at(facts))];
    steps.push(Step::MountVolatile { at: at.clone(), bytes, inodes: bytes / BYTES_PER_INODE });
    steps.extend(overlay_steps(facts, at.join("fs"), at.join("work"), OPTIONS));
    steps.push(Step::PrepareHost);
    BootPlan { options: OPTIONS.to_owned(), ..bare(Mode::Volatile, reason, steps) }
}

/// The plan for a persistent upper.
pub(super) fn persistent(
    facts: &Facts,
    store: Option<&Result<StoreView>>,
    space: &Space,
) -> Result<BootPlan> {
    let mut plan = bare(Mode::Persistent, None, Vec::new());
    let live = match store {
        None => first_boot(facts, space, &mut plan.steps),
        Some(view) => existing(facts, view.as_ref().map_err(Clone::clone)?, space, &mut plan)?,
    };
    plan.generation = Some(live.number);
    plan.options = live.options;
    plan.steps.extend([Step::ProtectBase, Step::ExposeBase(base_at(facts))]);
    // Where the store stays visible: the paths that mountinfo shows then exist.
    let visible = Layout::new(facts.run.join("store"));
    let (upper, work) = (visible.upper(&facts.name, live.number), visible.work(&facts.name, live.number));
    plan.steps.push(Step::ExposeStore);
    plan.steps.extend(overlay_steps(facts, upper, work, &plan.options));
    plan.steps.extend(live.after);
    plan.steps.extend([Step::GuardStore, Step::PrepareHost]);
    Ok(plan)
}

/// The generation to mount.
struct Live {
    number: u64,
    options: String,
    /// Steps once it is mounted.
    after: Vec<Step>,
}

impl Live {
    fn new(number: u64) -> Live {
        Live { number, options: OPTIONS.to_owned(), after: Vec::new() }
    }
}

fn first_boot(facts: &Facts, space: &Space, steps: &mut Vec<Step>) -> Live {
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
    first_generation(facts, steps)
}

fn first_generation(facts: &Facts, steps: &mut Vec<Step>) -> Live {
    let record = reset::generation(1, &facts.base, &facts.now, None);
    steps.push(Step::MakeGeneration(facts.name.clone(), record));
    steps.push(Step::PointCurrent(facts.name.clone(), 1));
    Live::new(1)
}

fn existing(facts: &Facts, view: &StoreView, space: &Space, plan: &mut BootPlan) -> Result<Live> {
    let Some(state) = view.overlays.get(&facts.name) else {
        plan.steps.extend(state::refill(view, space));
        return Ok(first_generation(facts, &mut plan.steps));
    };
    let request = match &state.request {
        None => None,
        Some(Ok(request)) if request.store == view.record.uuid => Some(request),
        Some(Ok(request)) => {
            plan.problems.push(format!(
                "the pending request is for store {}, not for this one ({}): not executed",
                request.store, view.record.uuid
            ));
            None
        }
        Some(Err(damage)) => return Err(reset::damaged_request(damage)),
    };
    match request {
        Some(request) => execute(facts, view, request, space, plan),
        None => continue_live(facts, view, state, space, plan),
    }
}

fn execute(
    facts: &Facts,
    view: &StoreView,
    request: &RequestRecord,
    space: &Space,
    plan: &mut BootPlan,
) -> Result<Live> {
    if reserve::is_low(space) {
        plan.steps.push(Step::ReleaseReserve);
    }
    let execution = reset::execution(view, &facts.name, request, &facts.base, &facts.now)?;
    plan.steps.extend(execution.before);
    plan.executes = Some(request.id.clone());
    Ok(Live { after: execution.after, ..Live::new(execution.number) })
}

fn continue_live(
    facts: &Facts,
    view: &StoreView,
    state: &OverlayView,
    space: &Space,
    plan: &mut BootPlan,
) -> Result<Live> {
    let Some(number) = state.current.clone()? else { return repoint(facts, state, plan) };
    let Some(generation) = state.generations.get(&number) else {
        let what = format!("generation {number} is the live one, but it is missing");
        return Err(damage(what));
    };
    let record = generation.record.clone().map_err(|e| e.remedy(REMEDY))?;
    check_options(&record.options)?;
    if record.base != facts.base.identity {
        plan.problems.push(format!(
            "the base changed: generation {number} was made on {}, this is {}",
            record.base, facts.base.identity
        ));
    }
    if view.reserve && reserve::is_low(space) {
        // XFS can not even renew the work directory without free blocks: the overlay would be read-only.
        plan.steps.push(Step::ReleaseSpare);
    }
    let mut after: Vec<Step> =
        reset::garbage(state, number).into_iter().map(|dir| Step::Discard(facts.name.clone(), dir)).collect();
    after.extend(state::refill(view, space));
    Ok(Live { number, options: record.options, after })
}

const REMEDY: &str = "repair it, or start afresh with `overlayctl reset`: what can not be read is kept";

/// No pointer: the power went before the first one was written, or it got lost. Only empty uppers tell the former.
fn repoint(facts: &Facts, state: &OverlayView, plan: &mut BootPlan) -> Result<Live> {
    if state.generations.is_empty() {
        return Ok(first_generation(facts, &mut plan.steps));
    }
    if state.generations.values().any(|g| !g.empty || g.record.is_err()) {
        return Err(damage(
            "the pointer \"current\" is missing, and there are generations with data".to_owned(),
        ));
    }
    let number = state.generations.keys().copied().max().unwrap_or(1);
    plan.steps.push(Step::PointCurrent(facts.name.clone(), number));
    Ok(Live::new(number))
}

fn damage(what: String) -> Error {
    Error::new(Kind::StoreDamaged, what).remedy(REMEDY)
}

/// Invariant 9: an upper keeps its options, and none is taken that this version does not know.
fn check_options(options: &str) -> Result<()> {
    match options.split(',').find(|o| !OPTIONS.split(',').any(|known| known == *o)) {
        Some(option) => {
            Err(damage(format!("the generation records the mount option \"{option}\", unknown here")))
        }
        None => Ok(()),
    }
}

fn overlay_steps(facts: &Facts, upper: PathBuf, work: PathBuf, options: &str) -> Vec<Step> {
    let overlay = overlay::Overlay {
        name: format!("overlayd:{}", facts.name),
        lowers: vec![base_at(facts)],
        upper,
        work,
        options: options.to_owned(),
    };
    vec![Step::MountOverlay { overlay, submounts: facts.base.submounts.clone() }]
}

fn base_at(facts: &Facts) -> PathBuf {
    facts.run.join(&facts.name).join("base")
}
