//! `mount.overlayd NAME TARGET`: mounts an overlay that is not the root, on a running system; mount(8) and systemd call
//! it. Which overlay there is, and where, the configuration says.
//!
//! Layers are written in a mount namespace of this process alone, so that the host never sees the store writable, and
//! nothing is left behind if it is killed. The finished mount is then taken over to the host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::state::{self, Need};
use super::{boot, other_base};
use crate::config::{self, Config, Mode, State};
use crate::error::{Error, Kind, Result};
use crate::exec::mounts::{self, Places};
use crate::handoff::{self, BootMode, Handoff, HandoffOverlay, HandoffState};
use crate::keep;
use crate::observe::{self, Base};
use crate::plan::boot::{BootPlan, Disk, Facts};
use crate::plan::{self, Step};
use crate::store::lock::StoreLock;
use crate::store::{Layout, read};
use crate::sys::block::Paths;
use crate::sys::mount::{self, Flags};
use crate::sys::{lock, mountinfo, probe, process};

/// Another mount at the same time may have to bring the state device up first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Mounts the overlay `name` on `target`, or where the configuration says. True if it was mounted there already.
pub fn run(name: &str, target: Option<&Path>, flags: Flags) -> Result<bool> {
    let command_line = observe::kernel_command_line();
    let loaded = config::load(Path::new("/"), &command_line);
    if let Some(first) = loaded.problems.first() {
        return Err(Error::new(Kind::BadConfig, format!("the configuration is wrong: {first}"))
            .remedy("`overlayctl config check` tells everything that is"));
    }
    let target = target_of(&loaded.config, name, target)?;
    let run = Path::new(handoff::RUN_DIR);
    boot::make_run_dir(run)?;
    let _turn = lock::exclusive(&run.join("mount.lock"), PATIENCE)?;
    if is_mounted(name, &target)? {
        return Ok(true);
    }
    let state = bring_store(&loaded.config.state)?;
    let layout = Layout::new(handoff::RUN_STORE);
    let _lock = StoreLock::exclusive(&layout)?;
    let places = Places {
        name: name.to_owned(),
        sysroot: target.clone(),
        run: run.parent().unwrap_or(run).to_owned(),
        layout: Some(layout),
        base_device: None,
    };
    let before = handoff::load(Path::new(handoff::BOOT_TOML))?;
    let mut facts = facts(&places, before.as_ref())?;
    let (plan, problems) = mount(&places, &mut facts, &loaded.config.overlays[name], flags)?;
    save(before, state, &loaded.config, &facts, plan, problems)?;
    Ok(false)
}

/// A mistake in fstab must not mount an overlay where it does not belong.
fn target_of(config: &Config, name: &str, given: Option<&Path>) -> Result<PathBuf> {
    let Some(overlay) = config.overlays.get(name).filter(|_| name != "root") else {
        return Err(Error::new(Kind::NoSuchOverlay, format!("no overlay \"{name}\" is configured"))
            .remedy(format!("give it a table [overlay.{name}] with a target; see overlayd.toml(5)")));
    };
    let wanted = &overlay.target;
    if given.is_some_and(|given| given != wanted) {
        return Err(Error::new(
            Kind::Refused,
            format!("the overlay \"{name}\" belongs on {}", wanted.display()),
        ));
    }
    let real = std::fs::canonicalize(wanted).map_err(|e| Error::io("find", wanted, e))?;
    match real == *wanted {
        true => Ok(real),
        false => Err(Error::new(Kind::Refused, format!("{} leads to {}", wanted.display(), real.display()))
            .remedy(format!("name the latter in overlay.{name}.target"))),
    }
}

fn is_mounted(name: &str, target: &Path) -> Result<bool> {
    let mounts = mountinfo::read()?;
    let ours = handoff::source_of(name);
    match (mountinfo::at(&mounts, target), mounts.iter().find(|m| m.source == ours)) {
        (Some(top), _) if top.source == ours => Ok(true),
        (Some(top), _) if top.fstype == "autofs" => {
            Err(Error::new(Kind::NotSupported, format!("{} is an automount point", target.display())).remedy(
                "leave x-systemd.automount out: what mounts an overlay has to see what lies below it",
            ))
        }
        (_, Some(other)) => Err(Error::new(
            Kind::Refused,
            format!("the overlay \"{name}\" is mounted at {} already", other.target.display()),
        )),
        _ => Ok(false),
    }
}

/// Shows the store at `/run/overlayd/store` where early boot did not: on a machine without an overlay root.
fn bring_store(config: &State) -> Result<Option<HandoffState>> {
    let store = Path::new(handoff::RUN_STORE);
    if mountinfo::at(&mountinfo::read()?, store).is_some() {
        return Ok(None);
    }
    let at = Path::new(handoff::RUN_DIR).join("state");
    let brought = state::bring_up(config, Need::Required, &Base::default(), &at, &Paths::default());
    let shown = show_store(brought.disk);
    if mountinfo::at(&mountinfo::read()?, &at).is_some() {
        mount::detach(&at)?;
    }
    shown.map(|()| brought.state)
}

fn show_store(disk: Disk) -> Result<()> {
    let (layout, store, space) = match disk {
        Disk::Mounted { layout, store, space } => (layout, store, space),
        Disk::Unavailable(why) => return Err(why),
        Disk::NotWanted => return Err(Error::new(Kind::StoreUnavailable, "there is no state device")),
    };
    let mut steps = Vec::new();
    match store {
        Some(view) => drop(view?),
        None => plan::boot::create(&facts_of("", Base::default()), &space, &mut steps),
    }
    steps.extend([Step::ExposeStore, Step::GuardStore]);
    let places = Places {
        name: String::new(),
        sysroot: PathBuf::new(),
        run: "/run".into(),
        layout: Some(layout),
        base_device: None,
    };
    mounts::run(&places, &steps).map(drop)
}

fn facts(places: &Places, handoff: Option<&Handoff>) -> Result<Facts> {
    let root = handoff.and_then(|h| h.overlay.get("root")).map(|root| root.base.as_str());
    Ok(facts_of(&places.name, observe::directory(&places.sysroot, root, &Paths::default())?))
}

fn facts_of(name: &str, base: Base) -> Facts {
    Facts {
        name: name.to_owned(),
        base,
        ram: 0,
        now: observe::moment(),
        run: handoff::RUN_DIR.into(),
        new_uuid: process::random_uuid().unwrap_or_else(|_| observe::boot_id()),
        kept: None,
    }
}

/// Executes the plan out of the host's sight, then attaches the base's view and the overlay in the host's namespace.
/// What a mount before left is cleaned.
fn mount(
    places: &Places,
    facts: &mut Facts,
    overlay: &config::Overlay,
    flags: Flags,
) -> Result<(BootPlan, Vec<String>)> {
    let base_at = facts.run.join(&facts.name).join("base");
    while mountinfo::at(&mountinfo::read()?, &base_at).is_some() {
        mount::detach(&base_at)?;
    }
    let host = mount::this_namespace()?;
    // Not one that follows the host: a view of the base that is a peer of the mount that it shows would be covered by
    // the overlay too, in every mount namespace.
    mount::private_namespace()?;
    let store = Path::new(handoff::RUN_STORE);
    mount::restrict(store, false)?;
    let layout = Layout::new(store);
    let mut view = read::load(&layout)?;
    if other_base::ask(&layout, &view, overlay, facts)? {
        view = read::load(&layout)?;
    }
    facts.kept = keep::select::pending(&layout, &view, &facts.name, overlay).transpose();
    let plan = plan::mount::overlay(overlay, facts, &view, &observe::space(store)?)?;
    mounts::run(places, &[Step::ExposeBase(base_at.clone())])?;
    refuse_second_mount(places, &plan)?;
    let problems = mounts::run(places, &plan.steps)?;
    let (base, overlay) = (mount::clone_tree(&base_at)?, mount::clone_tree(&places.sysroot)?);
    mount::enter_namespace(&host)?;
    mount::attach(base, &base_at)?;
    mount::make_private(&base_at)?;
    mount::attach(overlay, &places.sysroot)?;
    flags.apply(&places.sysroot)?;
    Ok((plan, problems))
}

/// Invariant 3: one that was unmounted lazily, or lives on in another mount namespace, still writes to its layers.
pub(super) fn refuse_second_mount(places: &Places, plan: &BootPlan) -> Result<()> {
    let overlay = plan.steps.iter().find_map(|step| match step {
        Step::MountOverlay { overlay, .. } => Some(overlay),
        _ => None,
    });
    let Some(overlay) = overlay.filter(|o| o.work.exists()) else { return Ok(()) };
    let beside = overlay.upper.with_file_name("probe");
    if probe::in_use(&places.scratch("probe"), &beside, &overlay.work, &places.scratch("scratch"))? {
        return Err(Error::new(
            Kind::OverlayBusy,
            format!("the layers of the overlay \"{}\" are in use by another mount", places.name),
        )
        .remedy("somebody unmounted it lazily, or keeps it in a mount namespace: end who still uses it"));
    }
    Ok(())
}

/// Adds the overlay to the handoff, in place of what was there of it.
fn save(
    handoff: Option<Handoff>,
    state: Option<HandoffState>,
    config: &Config,
    facts: &Facts,
    plan: BootPlan,
    problems: Vec<String>,
) -> Result<()> {
    let mut handoff = handoff.unwrap_or_else(|| Handoff::new(BootMode::Unit, facts.now.boot.clone()));
    handoff.state = handoff.state.or(state);
    let ours = format!("overlay {}: ", facts.name);
    handoff.problems.retain(|problem| !problem.starts_with(&ours));
    handoff
        .problems
        .extend([plan.problems, problems].concat().iter().map(|problem| format!("{ours}{problem}")));
    let snapshot = plan.snapshot.map(|id| format!("snapshot:{id}"));
    let overlay = HandoffOverlay {
        target: config.overlays[&facts.name].target.display().to_string(),
        configured: Mode::Persistent,
        mode: plan.mode,
        reason: None,
        lowers: snapshot.into_iter().chain([facts.base.lower.clone()]).collect(),
        base: facts.base.identity.clone(),
        generation: plan.generation,
        snapshot: plan.snapshot,
        options: plan.options,
        executed: plan.executes,
    };
    handoff.overlay.insert(facts.name.clone(), overlay);
    boot::want_cleanup(&handoff);
    handoff::save(Path::new(handoff::BOOT_TOML), &handoff)
}
