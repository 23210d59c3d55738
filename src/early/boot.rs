//! Early boot, from the configuration to the handoff: observe, plan, execute, or fall back.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::other_base;
use super::state::{self, Brought, Need};
use super::triggers::Triggers;
use crate::config::{self, Config, Mode};
use crate::error::{Error, Result};
use crate::exec;
use crate::exec::mounts::{self, Places};
use crate::handoff::{self, BootMode, Handoff, HandoffOverlay};
use crate::keep::{self, Selection};
use crate::motd;
use crate::observe::{self, Moment};
use crate::plan::boot::{self, BootPlan, Disk, Facts};
use crate::plan::{Step, health};
use crate::store::lock::StoreLock;
use crate::store::read;
use crate::sys::block::Paths;
use crate::sys::{mount, mountinfo, process};

/// Mounts the overlay over `sysroot`. An error means `fallback = "fail"`, or that not even the base is there.
pub fn run(sysroot: &Path) -> Result<()> {
    let started = Instant::now();
    let run = PathBuf::from("/run");
    let handoff_path = Path::new(handoff::BOOT_TOML);
    if handoff_path.exists() {
        tracing::info!("nothing to do: early boot ran already");
        return Ok(());
    }
    let command_line = observe::kernel_command_line();
    let mut loaded = config::load::load_at_boot(Path::new("/"), sysroot, &command_line);
    if let Some(root) = loaded.config.overlays.get_mut("root").filter(|_| !observe::marks_good(sysroot)) {
        // Every boot would be one that did not come up.
        root.tries = 0;
    }
    let config_problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let mut facts = Facts {
        name: "root".to_owned(),
        base: observe::base(sysroot, &command_line, &Paths::default())?,
        ram: observe::ram(),
        now: observe::moment(),
        run: run.join("overlayd"),
        // The boot id is as random, and as unique to this store.
        new_uuid: process::random_uuid().unwrap_or_else(|_| observe::boot_id()),
        kept: None,
    };
    let state_at = run.join("overlayd/state");
    make_run_dir(&run.join("overlayd")).unwrap_or_else(|e| tracing::error!("{e}"));
    let need = need(&loaded.config, &config_problems);
    let mut brought =
        state::bring_up_at_boot(&loaded.config, need, &facts.base, sysroot, &state_at, &Paths::default());
    let triggers = Triggers::new(&loaded.config, &command_line, &facts.now, sysroot, &run);
    let obeyed = triggers.obey(&mut brought);
    state::wipe_if_asked(&loaded.config, &facts.base, sysroot, &state_at, &facts.now, &mut brought);
    if config_problems.is_empty() && !obeyed.skips {
        ask_for_this_base(&loaded.config, &facts, &mut brought);
        go_back_if_ill(&loaded.config, &facts.now, &mut brought);
    }
    // Only now: what asks for a reset is read, and keeps what the configuration says.
    facts.kept = kept(&loaded.config, &brought.disk);
    let places = Places {
        name: facts.name.clone(),
        sysroot: sysroot.to_owned(),
        run: run.clone(),
        layout: match &brought.disk {
            Disk::Mounted { layout, .. } => Some(layout.clone()),
            _ => None,
        },
        base_device: facts.base.device.is_some().then_some(facts.base.number),
    };
    let planned = match obeyed.skips {
        true => Ok(boot::without_upper(loaded.config.root(), &facts)),
        false => boot::root(&loaded.config, &config_problems, &facts, &brought.disk),
    };
    let done = planned.and_then(|plan| carry_out(&loaded.config, &facts, plan, &places));
    if let (Some(layout), true, true) = (&places.layout, obeyed.unsettled, done.is_ok()) {
        brought.problems.extend(triggers.settle(layout));
    }
    if mountinfo::at(&mountinfo::read().unwrap_or_default(), &state_at).is_some() {
        // Only the store stays visible; the overlay keeps the filesystem itself.
        mount::detach(&state_at).unwrap_or_else(|e| tracing::warn!("{e}"));
    }
    let (mut plan, problems) = done?;
    plan.reason = brought.loss(&plan).or(plan.reason);
    let took = started.elapsed().saturating_sub(brought.waited);
    let mut handoff = handoff(&loaded.config, &facts, plan, brought, problems, took);
    name_visible_paths(&mut handoff, &places);
    report(&handoff);
    want_cleanup(&handoff);
    // The overlay is mounted: a report that can not be written must not stop the boot.
    handoff::save(handoff_path, &handoff).unwrap_or_else(|e| tracing::error!("{e}"));
    greet(&handoff);
    Ok(())
}

/// Where the base changed, and the configuration says what to do then.
fn ask_for_this_base(config: &Config, facts: &Facts, brought: &mut Brought) {
    let Disk::Mounted { layout, store, .. } = &mut brought.disk else { return };
    let Some(Ok(view)) = store else { return };
    match other_base::ask(layout, view, config.root(), facts) {
        Ok(true) => *store = Some(read::load(layout)),
        Ok(false) => {}
        Err(e) => brought.problems.push(format!("base-changed could not be followed: {e}")),
    }
}

/// Writes the request to go back, if too many boots did not come up. What can not be written must not stop this one.
fn go_back_if_ill(config: &Config, now: &Moment, brought: &mut Brought) {
    let Disk::Mounted { layout, store: store @ Some(Ok(_)), .. } = &mut brought.disk else { return };
    let Some(Ok(view)) = store else { return };
    let steps = health::decide(view, config.root(), now);
    if steps.is_empty() {
        return;
    }
    let done = StoreLock::exclusive(layout).and_then(|_lock| exec::store::run(layout, &steps));
    done.unwrap_or_else(|e| brought.problems.push(e.context("the machine does not go back").to_string()));
    *store = Some(read::load(layout));
}

/// What the pending reset keeps.
fn kept(config: &Config, disk: &Disk) -> Option<Result<Selection>> {
    let Disk::Mounted { layout, store: Some(Ok(view)), .. } = disk else { return None };
    keep::select::pending(layout, view, "root", config.root()).transpose()
}

/// Open to everyone: what lies in it guards itself.
pub(super) fn make_run_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(path)
        .map_err(|e| Error::io("make", path, e))
}

/// A volatile root starts from what was committed, if there is a store; a default device may just not be there.
fn need(config: &Config, problems: &[String]) -> Need {
    match config.root().mode {
        _ if !problems.is_empty() => Need::Nothing,
        Mode::Persistent => Need::Required,
        Mode::Volatile if config.state.device_set => Need::Required,
        Mode::Volatile => Need::Optional,
        Mode::ReadOnly | Mode::Off => Need::Nothing,
    }
}

/// The plan, or the fallback, or at the very least the base as it is.
fn carry_out(
    config: &Config,
    facts: &Facts,
    plan: BootPlan,
    places: &Places,
) -> Result<(BootPlan, Vec<String>)> {
    let degraded = plan.reason.is_some();
    let failed = match execute(&plan, places) {
        Ok(problems) if degraded => return Ok(with_store((plan, problems), places)),
        Ok(problems) => return Ok((plan, problems)),
        Err(e) => e,
    };
    tracing::error!("{failed}");
    if let Some(plan) = instead(config, facts, places, &plan, &failed)
        && let Ok(problems) = execute(&plan, places)
    {
        return Ok((plan, problems));
    }
    let why = match &plan.reason {
        // It was the fallback that failed: what led to it must not be lost.
        Some(reason) => format!("{reason}; and the fallback failed: {failed}"),
        None => failed.to_string(),
    };
    let plan = boot::fallback(config.root(), facts, &why)?;
    match execute(&plan, places).map(|problems| (plan, problems)) {
        Ok(done) => Ok(with_store(done, places)),
        Err(second) => {
            tracing::error!("{second}");
            // The fallback may be just what failed before.
            let again = second.to_string() == failed.to_string();
            let reason = if again { why } else { format!("{why}; and the fallback failed: {second}") };
            let plan = boot::read_only(facts, Some(reason));
            let problems = execute(&plan, places).unwrap_or_else(|third| vec![third.to_string()]);
            Ok((plan, problems))
        }
    }
}

/// A request that fails must not cost the persistent mode, if the live generation is as it was.
fn instead(
    config: &Config,
    facts: &Facts,
    places: &Places,
    plan: &BootPlan,
    failed: &Error,
) -> Option<BootPlan> {
    let layout = places.layout.as_ref().filter(|_| plan.executes.is_some())?;
    let (view, space) = (read::load(layout).ok()?, observe::space(layout.root()).ok()?);
    boot::instead(plan, config.root(), facts, &view, &space, failed)
}

/// In the fallback the store is shown nevertheless: whoever repairs the machine needs it.
fn with_store((plan, mut problems): (BootPlan, Vec<String>), places: &Places) -> (BootPlan, Vec<String>) {
    let shown = mounts::run(places, &[Step::ExposeStore, Step::GuardStore]);
    problems.extend(shown.unwrap_or_else(|e| vec![e.to_string()]));
    (plan, problems)
}

fn execute(plan: &BootPlan, places: &Places) -> Result<Vec<String>> {
    // The lock lies in the store: while that is being made there is nothing to guard.
    let lock = match &places.layout {
        Some(layout) if plan.reason.is_none() && read::exists(layout)? => Some(StoreLock::exclusive(layout)?),
        _ => None,
    };
    let problems = mounts::run(places, &plan.steps);
    drop(lock);
    problems
}

fn handoff(
    config: &Config,
    facts: &Facts,
    plan: BootPlan,
    brought: Brought,
    problems: Vec<String>,
    took: Duration,
) -> Handoff {
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let root = HandoffOverlay {
        target: config.root().target.display().to_string(),
        configured: config.root().mode,
        mode: plan.mode,
        reason: plan.reason,
        lowers: plan
            .snapshot
            .map(|id| format!("snapshot:{id}"))
            .into_iter()
            .chain([facts.base.lower.clone()])
            .collect(),
        base: facts.base.identity.clone(),
        generation: plan.generation,
        snapshot: plan.snapshot,
        options: plan.options,
        executed: plan.executes.or(brought.wiped),
    };
    Handoff {
        took_ms: millis(took),
        waited_ms: millis(brought.waited),
        problems: [brought.problems, plan.problems, problems].concat(),
        state: brought.state,
        overlay: [("root".to_owned(), root)].into(),
        ..Handoff::new(BootMode::Initrd, facts.now.boot.clone())
    }
}

/// Messages name files where early boot saw them; later they are seen in `/run/overlayd/store`.
fn name_visible_paths(handoff: &mut Handoff, places: &Places) {
    let Some(layout) = &places.layout else { return };
    let seen = layout.root().display().to_string();
    let visible = |text: &mut String| *text = text.replace(&seen, handoff::RUN_STORE);
    handoff.problems.iter_mut().for_each(visible);
    handoff.overlay.values_mut().filter_map(|o| o.reason.as_mut()).for_each(visible);
}

fn report(handoff: &Handoff) {
    for problem in &handoff.problems {
        tracing::warn!("{problem}");
    }
    for (name, overlay) in &handoff.overlay {
        let (mode, took) = (overlay.mode.word(), handoff.took_ms);
        match &overlay.reason {
            Some(reason) if overlay.mode == overlay.configured => {
                tracing::error!("overlay {name} is {mode}, but {reason}")
            }
            Some(reason) => {
                tracing::error!("overlay {name} is {mode}, not {}: {reason}", overlay.configured.word())
            }
            None => tracing::info!("overlay {name} is {mode}, after {took} ms"),
        }
    }
}

/// What everybody is told who logs in, also where the daemon never starts.
pub(super) fn greet(handoff: &Handoff) {
    motd::write(Path::new(motd::PATH), &motd::of_boot(handoff)).unwrap_or_else(|e| tracing::warn!("{e}"));
}

/// The flag for the unit that deletes the trash and reports, once the system is up.
pub(super) fn want_cleanup(handoff: &Handoff) {
    let visible = crate::store::Layout::new(handoff::RUN_STORE);
    // A boot in which the daemon was interrupted may have deleted all, and not said so.
    let erasing =
        |name: &str| read::outcome(&visible, name).is_some_and(|o| o.erasure.as_deref() == Some("erasing"));
    let trash = read::overlay_names(&visible)
        .unwrap_or_default()
        .iter()
        .any(|name| read::trash_entries(&visible, name).is_ok_and(|t| !t.is_empty()) || erasing(name));
    let notable = handoff.overlay.values().any(|o| o.reason.is_some() || o.executed.is_some());
    if trash || notable {
        std::fs::write(handoff::CLEANUP_WANTED, "")
            .map_err(|e| Error::io("write", handoff::CLEANUP_WANTED, e))
            .unwrap_or_else(|e| tracing::warn!("{e}"));
    }
}
