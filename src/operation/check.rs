//! Looking a store through, and repairing what can be proved: under both locks, so that nothing that is half way is taken
//! for damage.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::Asked;
use crate::error::{Error, Kind, Result};
use crate::exec;
use crate::layer::marks;
use crate::observe;
use crate::plan::check::{self, Finding, Grade, Mend};
use crate::store::inspect::{self, Inspection};
use crate::store::job::JobLock;
use crate::store::lock::StoreLock;
use crate::store::{Layout, mend, read};
use crate::sys::user;

/// A repair may bring to light what another one hid.
const ROUNDS: usize = 4;

/// What was found, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is repaired.
    pub repaired: Vec<Finding>,
    /// What is as it was.
    pub remaining: Vec<Finding>,
    /// Why a repair was not possible, with the path of what was found.
    pub failures: Vec<(PathBuf, String)>,
}

impl Checked {
    /// Whether nothing is wrong any more that matters.
    pub fn is_sound(&self) -> bool {
        self.remaining.iter().all(|finding| finding.grade == Grade::Note)
    }

    /// Adds what else was found, unless it was found already: marks at the top of a layer are, without a walk.
    pub fn add(&mut self, more: Vec<Finding>) {
        let new: Vec<_> = more.into_iter().filter(|finding| !self.remaining.contains(finding)).collect();
        self.remaining.extend(new);
    }
}

/// Looks the store through. Changes nothing.
pub fn check(store: &Path, asked: &Asked) -> Result<Checked> {
    let layout = Layout::new(store);
    must_be_a_store(&layout)?;
    // A lock that was never made nobody holds, and looking must not make one.
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_file());
    let job = is_file(&layout.job()).then(|| JobLock::take(&layout, &asked.by, "check of the store"));
    let _job = job.transpose()?;
    let lock = is_file(&layout.lock()).then(|| StoreLock::exclusive(&layout));
    let _lock = lock.transpose()?;
    Ok(Checked { remaining: check::findings(&look(&layout)?), ..Checked::default() })
}

/// The same, and repairs what can be proved. Repeating it after a power cut goes on where it ended.
pub fn repair(store: &Path, asked: &Asked) -> Result<Checked> {
    let layout = Layout::new(store);
    must_be_a_store(&layout)?;
    // What may not be ours, or is not to be touched, is not: not even a lock is made in it.
    if read::load_store_record(&layout).is_err() {
        return check(store, asked);
    }
    clear_locks(&layout)?;
    let _job = JobLock::take(&layout, &asked.by, "repair of the store")?;
    let _lock = StoreLock::exclusive(&layout)?;
    let mut checked = Checked::default();
    for _ in 0..ROUNDS {
        let found = check::findings(&look(&layout)?);
        let (mendable, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(Finding::is_mendable);
        checked.remaining = rest;
        if mendable.is_empty() {
            break;
        }
        if !apply(&layout, mendable, &mut checked)? {
            break;
        }
    }
    Ok(checked)
}

/// Looks at every file of every layer for marks that make it depend on another one, which takes as long as the layers are
/// large. Nothing of that is repaired: a person has to decide. Snapshots are not deleted meanwhile.
pub fn layers(
    store: &Path,
    asked: &Asked,
    on_tick: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Vec<Finding>> {
    let layout = Layout::new(store);
    let is_file = layout.job().symlink_metadata().is_ok_and(|m| m.is_file());
    let job = is_file.then(|| JobLock::take(&layout, &asked.by, "check of the layers"));
    let _job = job.transpose()?;
    // What is wrong with the records was told.
    let Ok(view) = read::load(&layout) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (name, state) in &view.overlays {
        let uppers = state.generations.keys().map(|number| layout.upper(name, *number));
        let snapshots = state.snapshots.keys().map(|id| layout.snapshot_fs(name, *id));
        for layer in
            uppers.chain(snapshots).filter(|layer| layer.symlink_metadata().is_ok_and(|m| m.is_dir()))
        {
            all.extend(marks_of(&layout, &layer, on_tick)?);
        }
    }
    Ok(all)
}

fn marks_of(
    layout: &Layout,
    layer: &Path,
    on_tick: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Vec<Finding>> {
    let found = marks::find(layer, on_tick)?;
    let place = layer.strip_prefix(layout.root()).unwrap_or(layer);
    let named =
        found.named.iter().map(|(path, name)| check::mark(&place.join(path), &name.to_string_lossy()));
    let more = found.count - found.named.len();
    Ok(named.chain((more > 0).then(|| check::more_marks(place, more))).collect())
}

/// Carries the repairs out; false if none could be.
fn apply(layout: &Layout, mendable: Vec<Finding>, checked: &mut Checked) -> Result<bool> {
    let before = checked.repaired.len();
    let mut failures = Vec::new();
    for finding in mendable {
        match finding.mends.iter().try_for_each(|one| carry_out(layout, one)) {
            Ok(()) => checked.repaired.push(finding),
            Err(e) if e.errno() == Some(nix::Error::EROFS as i32) => return Err(e),
            Err(e) => {
                failures.push((finding.path.clone(), e.to_string()));
                checked.remaining.push(finding);
            }
        }
    }
    checked.failures = failures;
    Ok(checked.repaired.len() > before)
}

/// Executes one part of a repair.
fn carry_out(layout: &Layout, one: &Mend) -> Result<()> {
    tracing::info!(operation = "check", repair = %one, "repairing the store");
    let at = |path: &Path| match path.as_os_str().is_empty() {
        true => layout.root().to_owned(),
        false => layout.root().join(path),
    };
    match one {
        Mend::Step(step) => exec::store::apply(layout, step).map(drop),
        Mend::SetAside(path) => mend::set_aside(&at(path)),
        Mend::MakeDirectory(path) => mend::make_directory(&at(path)),
        Mend::SetMode(path, mode) => mend::set_mode(&at(path), *mode),
        Mend::Own(path, uid) => mend::own(&at(path), *uid),
        Mend::Unfix(path) => mend::unfix(&at(path)),
    }
}

fn look(layout: &Layout) -> Result<Inspection> {
    inspect::inspect(layout, user::own_uid(), &observe::space(layout.root())?)
}

/// What has neither of the two is somebody else's directory, and no file is made in it.
fn must_be_a_store(layout: &Layout) -> Result<()> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    match is_there(&layout.record()) || is_there(&layout.overlays()) {
        true => Ok(()),
        false => {
            let what = format!("there is no store in {}", layout.root().display());
            Err(Error::new(Kind::StoreUnavailable, what)
                .remedy("name the directory that has store.toml and overlays in it"))
        }
    }
}

/// Whatever lies in the place of a lock and is no file can not have been locked.
fn clear_locks(layout: &Layout) -> Result<()> {
    for path in [layout.lock(), layout.job()] {
        if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
            mend::set_aside(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
