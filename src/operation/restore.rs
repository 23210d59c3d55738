//! Restore and undo: asking for them, and saying beforehand what they would bring back.

use std::path::PathBuf;

use super::live::{self, Live};
use super::{Asked, Planned, Site, is_volatile, open, paths as single, policy, refuse_in_memory, warnings};
use crate::config::BaseChanged;
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;
use crate::plan::execute::{self, Scene};
use crate::plan::retain::Keeping;
use crate::plan::{Step, request as ask};
use crate::store::lock::StoreLock;
use crate::store::records::{Action, RequestRecord};
use crate::store::{Layout, OverlayView, StoreView};
use crate::{exec, observe};

/// What a restore or an undo would do.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Steps now.
    pub now: Vec<Step>,
    /// Steps at the next boot.
    pub at_boot: Vec<Step>,
    /// What it would bring back that may be dangerous: setuid files, older passwords, revoked keys; each with its path.
    pub warnings: Vec<String>,
}

/// Where single paths come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A snapshot over the base.
    Snapshot(u64),
    /// The base alone.
    Base,
}

/// What restoring paths did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries written or removed.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// A line for each, as far as there is room.
    pub lines: Vec<String>,
    /// Whether `lines` has all of them.
    pub complete: bool,
}

/// Asks for a new generation on snapshot `id`, at the next boot. Where the upper is in RAM there is no generation: the
/// baseline moves to `id` at once, the next boot begins on it, and the request that is returned has an empty id.
pub fn request(site: &Site, overlay: &str, id: u64, asked: &Asked) -> Result<Planned> {
    let _lock = StoreLock::exclusive(&Layout::new(&site.store))?;
    let view = open(&site.store)?;
    let planned = plan(site, &view, overlay, id, asked)?;
    exec::store::run(&Layout::new(&site.store), &planned.steps)?;
    Ok(planned)
}

/// What [`request`] and the next boot would do.
pub fn preview(site: &Site, overlay: &str, id: u64, asked: &Asked) -> Result<Preview> {
    let view = open(&site.store)?;
    let planned = plan(site, &view, overlay, id, asked)?;
    let state = live::state(site, &view, overlay)?;
    let after = [Layout::new(&site.store).snapshot_fs(overlay, id)];
    let mut warnings = other_base(site, &state, overlay, id)?;
    warnings.extend(warnings::find(site, &state, overlay, &after)?);
    let at_boot = at_boot(site, &view, overlay, &planned.request)?;
    Ok(Preview { now: planned.steps, at_boot, warnings })
}

/// Asks for the generation before, at the next boot.
pub fn request_undo(site: &Site, overlay: &str, asked: &Asked) -> Result<Planned> {
    refuse_in_memory(site, overlay, "undo")?;
    let _lock = StoreLock::exclusive(&Layout::new(&site.store))?;
    let view = open(&site.store)?;
    let planned = plan_undo(site, &view, overlay, asked)?;
    exec::store::run(&Layout::new(&site.store), &planned.steps)?;
    Ok(planned)
}

/// What [`request_undo`] and the next boot would do.
pub fn preview_undo(site: &Site, overlay: &str, asked: &Asked) -> Result<Preview> {
    refuse_in_memory(site, overlay, "undo")?;
    let view = open(&site.store)?;
    let planned = plan_undo(site, &view, overlay, asked)?;
    let state = live::state(site, &view, overlay)?;
    let after = match planned.request.generation {
        Some(number) => layers_of(&Layout::new(&site.store), &state, overlay, number)?,
        None => Vec::new(),
    };
    let warnings = warnings::find(site, &state, overlay, &after)?;
    let at_boot = at_boot(site, &view, overlay, &planned.request)?;
    Ok(Preview { now: planned.steps, at_boot, warnings })
}

/// Makes the paths (absolute in the merged tree) what they are in `from`, at once, through the mounted overlay.
pub fn paths(
    site: &Site,
    overlay: &str,
    from: From,
    paths: &[PathBuf],
    dry_run: bool,
    asked: &Asked,
    on_progress: &mut OnProgress<'_>,
) -> Result<Restored> {
    single::restore(site, overlay, from, paths, dry_run, asked, on_progress)
}

fn plan(site: &Site, view: &StoreView, overlay: &str, id: u64, asked: &Asked) -> Result<Planned> {
    if !is_volatile(site, overlay)? {
        return ask::restore(view, overlay, id, asked, &observe::moment());
    }
    let state = live::state(site, view, overlay)?;
    execute::usable(&state, id)?;
    let request = RequestRecord {
        action: Action::Restore,
        requested_by: asked.by.clone(),
        requested_at: observe::moment().unix,
        snapshot: Some(id),
        ..RequestRecord::default()
    };
    let steps = match state.baseline {
        Ok(Some(baseline)) if baseline == id => Vec::new(),
        _ => vec![Step::PointBaseline(overlay.to_owned(), Some(id))],
    };
    Ok(Planned { request, steps })
}

fn plan_undo(site: &Site, view: &StoreView, overlay: &str, asked: &Asked) -> Result<Planned> {
    let policy = policy(site, overlay);
    let planned = ask::undo(view, overlay, policy.undo, asked, &observe::moment())?;
    match site.handoff {
        Some(_) if policy.base_changed != BaseChanged::Keep => {
            refuse_other_base(site, view, overlay, &planned.request)?;
        }
        _ => {}
    }
    Ok(planned)
}

/// What the next boot would not go to, or the one after it would leave again.
fn refuse_other_base(site: &Site, view: &StoreView, overlay: &str, request: &RequestRecord) -> Result<()> {
    let state = live::state(site, view, overlay)?;
    let target = request.generation.and_then(|number| state.generations.get(&number));
    let (Some(Ok(record)), Ok(live)) = (target.map(|found| &found.record), live::find(site, &state, overlay))
    else {
        return Ok(());
    };
    if record.base == live.base {
        return Ok(());
    }
    let (number, made_on, base) = (record.number, &record.base, &live.base);
    let what = format!("generation {number} was made on another base: {made_on}, not {base}");
    Err(Error::new(Kind::BaseMismatch, what).remedy("boot that base, or set base-changed = \"keep\""))
}

/// The steps of the next boot; none if there is no request for it.
fn at_boot(site: &Site, view: &StoreView, overlay: &str, request: &RequestRecord) -> Result<Vec<Step>> {
    if request.id.is_empty() {
        return Ok(Vec::new());
    }
    let (base, now) = (observe::unknown_base(), observe::moment());
    let scene = Scene {
        base: &base,
        now: &now,
        keeping: Keeping::of(&policy(site, overlay)),
        scarce: false,
        kept: None,
    };
    let execution = execute::execution(view, overlay, request, &scene)?;
    Ok([execution.before, execution.after].concat())
}

/// The upper of a generation that nobody uses, and the snapshot below it.
fn layers_of(layout: &Layout, state: &OverlayView, overlay: &str, number: u64) -> Result<Vec<PathBuf>> {
    let record = match state.generations.get(&number) {
        Some(generation) => generation.record.clone()?,
        None => return Ok(Vec::new()),
    };
    let below = record.snapshot.map(|id| layout.snapshot_fs(overlay, id));
    Ok([layout.upper(overlay, number)].into_iter().chain(below).collect())
}

/// A snapshot that was made on another base may hide, or miss, what the base has now.
fn other_base(site: &Site, state: &OverlayView, overlay: &str, id: u64) -> Result<Vec<String>> {
    let record = execute::usable(state, id)?;
    Ok(match live::find(site, state, overlay) {
        Ok(Live { base, .. }) if base != record.base => {
            vec![format!("snapshot {id} was made on another base: {}, not {base}", record.base)]
        }
        _ => Vec::new(),
    })
}
