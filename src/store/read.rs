//! Reading a whole store into a value that plans are made from. Tolerant: damage is part of the value.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::codec::Record;
use super::health_record::HealthRecord;
use super::layout::{Layout, is_overlay_name};
use super::records::{
    self, FORMAT, GenerationRecord, OutcomeRecord, RequestRecord, SEALED, SnapshotRecord, StoreRecord,
};
use super::reserve;
use crate::error::{Error, Kind, Result};
use crate::sys::{atomic, order};

/// Features this program knows; format 1 has none.
const FEATURES: &[&str] = &[];

/// No generation and no snapshot ever has a number as large: what is larger was not written by this program.
const NUMBER_MAX: u64 = 1 << 53;

/// A store as it stands.
#[derive(Clone, Debug)]
pub struct StoreView {
    /// `store.toml`.
    pub record: StoreRecord,
    /// Whether the ballast is whole.
    pub reserve: bool,
    /// Overlays by name.
    pub overlays: BTreeMap<String, OverlayView>,
    /// What else lies in the directory of all overlays.
    pub strange: Vec<PathBuf>,
}

/// One overlay of a store as it stands.
#[derive(Clone, Debug)]
pub struct OverlayView {
    /// The pointer; `Ok(None)` if there is none.
    pub current: Result<Option<u64>>,
    /// Generations by number.
    pub generations: BTreeMap<u64, GenerationView>,
    /// Directories in `generations/` that were never finished.
    pub unfinished: Vec<String>,
    /// The pointer to the baseline; `Ok(None)`: the bare image.
    pub baseline: Result<Option<u64>>,
    /// Snapshots by number; their records, or what is wrong with them.
    pub snapshots: BTreeMap<u64, Result<SnapshotRecord>>,
    /// Directories in `snapshots/` that were never finished.
    pub unfinished_snapshots: Vec<String>,
    /// Snapshots that are to be sealed, by number, and the generation in which their files still lie.
    pub sealing: BTreeMap<u64, u64>,
    /// The highest number a snapshot ever had, as far as it is recorded.
    pub last_snapshot: u64,
    /// The pending request.
    pub request: Option<Result<RequestRecord>>,
    /// How the last one ended.
    pub outcome: Option<Result<OutcomeRecord>>,
    /// Which boots came up; of the root alone.
    pub health: Option<Result<HealthRecord>>,
    /// Names in `trash/`.
    pub trash: Vec<String>,
    /// Whatever else there is, by path in the overlay's directory: what was set aside, temporary files, nobody knows what.
    pub strange: Vec<PathBuf>,
}

/// One generation as it stands.
#[derive(Clone, Debug)]
pub struct GenerationView {
    /// `generation.toml`.
    pub record: Result<GenerationRecord>,
    /// Whether the upper holds nothing.
    pub empty: bool,
    /// Whether its files became a snapshot, so that it is left without.
    pub husk: bool,
}

impl OverlayView {
    /// An overlay of which there is nothing yet.
    pub fn absent() -> OverlayView {
        OverlayView {
            current: Ok(None),
            generations: BTreeMap::new(),
            unfinished: Vec::new(),
            baseline: Ok(None),
            snapshots: BTreeMap::new(),
            unfinished_snapshots: Vec::new(),
            sealing: BTreeMap::new(),
            last_snapshot: 0,
            request: None,
            outcome: None,
            health: None,
            trash: Vec::new(),
            strange: Vec::new(),
        }
    }

    /// The number that the next generation gets: above all that was ever seen.
    pub fn next_number(&self) -> u64 {
        let trashed = self.trash.iter().filter_map(|n| n.split('.').next()?.parse().ok());
        let pointed = self.current.iter().flatten().copied();
        // The newest one was either left or reached by the last request, whatever was deleted since.
        let told = self.outcome.iter().flatten().flat_map(|o| [o.from_generation, Some(o.to_generation)]);
        let told = told.flatten();
        above(&mut self.generations.keys().copied().chain(trashed).chain(pointed).chain(told))
    }

    /// The number that the next snapshot gets.
    pub fn next_snapshot(&self) -> u64 {
        above(&mut self.snapshots.keys().copied().chain([self.last_snapshot]))
    }
}

/// The number after all of these, as far as they are ones that are given.
fn above(numbers: &mut dyn Iterator<Item = u64>) -> u64 {
    numbers.filter(|number| *number < NUMBER_MAX).max().unwrap_or(0) + 1
}

/// Whether there is a store in this directory at all: a missing or an empty directory is none.
pub fn exists(layout: &Layout) -> Result<bool> {
    match fs::read_dir(layout.root()) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", layout.root(), e)),
    }
}

/// Reads the store. Only `store.toml` must be sound; other damage is reported in the value.
pub fn load(layout: &Layout) -> Result<StoreView> {
    let record = load_store_record(layout)?;
    load_rest(layout, record)
}

/// The same of a store whose `store.toml` is known, or of which it does not matter.
pub fn load_rest(layout: &Layout, record: StoreRecord) -> Result<StoreView> {
    if !layout.overlays().is_dir() {
        return Err(Error::damaged(layout.overlays(), None, "missing, or not a directory"));
    }
    let mut overlays = BTreeMap::new();
    for name in overlay_names(layout)? {
        // One overlay that can not be read is no reason to give the others up.
        let view = load_overlay(layout, &name).unwrap_or_else(|e| unreadable(layout, &name, e));
        overlays.insert(name, view);
    }
    let strange =
        strange(&layout.overlays(), |name| name.to_str().is_some_and(|name| overlays.contains_key(name)))?;
    Ok(StoreView { record, reserve: reserve::is_whole(layout), overlays, strange })
}

/// The names of the overlays in the store.
pub fn overlay_names(layout: &Layout) -> Result<Vec<String>> {
    let is_overlay = |name: &String| is_overlay_name(name) && layout.overlay(name).is_dir();
    Ok(names(&layout.overlays())?.into_iter().filter(is_overlay).collect())
}

/// The names in the trash of one overlay.
pub fn trash_entries(layout: &Layout, overlay: &str) -> Result<Vec<String>> {
    names(&layout.trash(overlay))
}

/// The numbers of the snapshots of one overlay, none if they can not be read. Without their records: an instant.
pub fn snapshot_numbers(layout: &Layout, overlay: &str) -> Vec<u64> {
    names(&layout.snapshots(overlay)).unwrap_or_default().iter().filter_map(|n| number_of(n)).collect()
}

/// How the last request of an overlay ended; none if there was none, or its record can not be read.
pub fn outcome(layout: &Layout, overlay: &str) -> Option<OutcomeRecord> {
    load_optional(&layout.outcome(overlay))?.ok()
}

/// Reads `store.toml`.
pub fn load_store_record(layout: &Layout) -> Result<StoreRecord> {
    let path = layout.record();
    let Some(text) = atomic::read_optional(&path)? else {
        if !exists(layout)? {
            return Err(Error::new(
                Kind::StoreUnavailable,
                format!("there is no store in {}", layout.root().display()),
            ));
        }
        return Err(Error::damaged(&path, None, "missing, but the directory is not empty"));
    };
    let record: StoreRecord = records::parse(&path, &text)?;
    if record.format != FORMAT {
        let what = format!(
            "store format {} is not known to this overlayd, which reads format {FORMAT}",
            record.format
        );
        return Err(Error::damaged(&path, None, what).remedy("use the overlayd that wrote it"));
    }
    match record.features.iter().find(|f| !FEATURES.contains(&f.as_str())) {
        Some(feature) => Err(Error::damaged(&path, None, format!("unknown feature \"{feature}\""))
            .remedy("use the overlayd that wrote it")),
        None => Ok(record),
    }
}

fn load_overlay(layout: &Layout, name: &str) -> Result<OverlayView> {
    let mut view = OverlayView::absent();
    view.current = load_pointer(&layout.current(name), "a generation");
    for entry in names(&layout.generations(name))? {
        match number_of(&entry) {
            Some(number) => drop(view.generations.insert(number, load_generation(layout, name, number))),
            None => view.unfinished.push(entry),
        }
    }
    view.baseline = load_pointer(&layout.baseline(name), "a snapshot");
    for entry in names(&layout.snapshots(name))? {
        match number_of(&entry) {
            Some(id) => drop(view.snapshots.insert(id, load_snapshot(layout, name, id))),
            None => view.unfinished_snapshots.push(entry),
        }
    }
    look_for_seals(layout, name, &mut view);
    view.last_snapshot = load_pointer(&layout.last_snapshot(name), "a snapshot").ok().flatten().unwrap_or(0);
    view.request = load_optional(&layout.request(name));
    view.outcome = load_optional(&layout.outcome(name));
    view.health = load_optional(&layout.health(name));
    // What is on its way out keeps nobody from going on.
    view.trash = trash_entries(layout, name).unwrap_or_default();
    view.strange = strange_things(layout, name)?;
    Ok(view)
}

/// An overlay of which it is known only that it is there.
fn unreadable(layout: &Layout, name: &str, why: Error) -> OverlayView {
    let strange = strange(&layout.overlay(name), |name| name == "trash").unwrap_or_default();
    OverlayView { current: Err(why.with_kind(Kind::StoreDamaged)), strange, ..OverlayView::absent() }
}

fn strange_things(layout: &Layout, name: &str) -> Result<Vec<PathBuf>> {
    let is_known = |name: &OsStr| Layout::KNOWN.iter().any(|known| name == *known);
    let mut found = strange(&layout.overlay(name), is_known)?;
    // Of layers, `names` lists all but these.
    let is_listed = |name: &OsStr| name.to_str().is_some_and(|name| !name.starts_with('.'));
    for place in [layout.generations(name), layout.snapshots(name)] {
        let directory = PathBuf::from(place.file_name().unwrap_or_default());
        found.extend(strange(&place, is_listed)?.into_iter().map(|path| directory.join(path)));
    }
    Ok(found)
}

/// The names in a directory that are not known.
fn strange(directory: &Path, is_known: impl Fn(&OsStr) -> bool) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", directory, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::io("read", directory, e))?.file_name();
        if !is_known(&name) {
            found.push(PathBuf::from(name));
        }
    }
    Ok(order::sorted(found.iter().map(PathBuf::as_path)))
}

/// Reads a file that holds a number and nothing else; `what` it is the number of.
pub fn load_pointer(path: &Path, what: &str) -> Result<Option<u64>> {
    let Some(text) = atomic::read_optional(path)? else { return Ok(None) };
    match text.strip_suffix('\n').map(str::parse) {
        Some(Ok(number)) if (1..=NUMBER_MAX).contains(&number) => Ok(Some(number)),
        _ => Err(Error::damaged(path, Some(1), format_args!("not the number of {what}"))),
    }
}

/// The number that a directory's name is, if it is one as we write it.
fn number_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number) && number.to_string() == name)
}

fn load_snapshot(layout: &Layout, name: &str, id: u64) -> Result<SnapshotRecord> {
    let path = layout.snapshot_record(name, id);
    let record = match load_optional::<SnapshotRecord>(&path) {
        None => return Err(Error::damaged(&path, None, "missing").with_kind(Kind::SnapshotIncomplete)),
        Some(record) => record.map_err(|e| e.with_kind(Kind::SnapshotIncomplete))?,
    };
    let wrong =
        |path: &Path, what: String| Err(Error::damaged(path, None, what).with_kind(Kind::SnapshotIncomplete));
    if record.id != id {
        return wrong(&path, format!("says that it is snapshot {}", record.id));
    }
    let files = layout.snapshot_fs(name, id);
    match files.is_dir() {
        true => Ok(record),
        false => wrong(&files, "missing, or not a directory".to_owned()),
    }
}

fn load_generation(layout: &Layout, name: &str, number: u64) -> GenerationView {
    let path = layout.generation_record(name, number);
    let record = match load_optional::<GenerationRecord>(&path) {
        None => Err(Error::damaged(&path, None, "missing")),
        Some(Ok(record)) if record.number != number => {
            Err(Error::damaged(&path, None, format!("says that it is generation {}", record.number)))
        }
        Some(other) => other,
    };
    let record = record.and_then(|record| {
        let missing =
            [layout.upper(name, number), layout.work(name, number)].into_iter().find(|d| !d.is_dir());
        missing.map_or(Ok(record), |d| Err(Error::damaged(d, None, "missing, or not a directory")))
    });
    let empty = fs::read_dir(layout.upper(name, number)).is_ok_and(|mut d| d.next().is_none());
    GenerationView { record, empty, husk: false }
}

/// A seal moves the files of a generation to the snapshot by one rename: they lie either there or here.
fn look_for_seals(layout: &Layout, name: &str, view: &mut OverlayView) {
    for (&id, found) in &view.snapshots {
        let record = match found {
            Ok(record) => Some(record.clone()),
            Err(_) => load_optional(&layout.snapshot_record(name, id)).and_then(Result::ok),
        };
        let sealed = record.filter(|r| r.strategy == SEALED && r.id == id).and_then(|r| r.generation);
        let Some(generation) = sealed else { continue };
        let is_here = layout.upper(name, generation).is_dir();
        match view.generations.get_mut(&generation) {
            Some(husk) if found.is_ok() && !is_here => husk.husk = true,
            Some(_) if is_here && !layout.snapshot_fs(name, id).exists() => {
                view.sealing.insert(id, generation);
            }
            _ => {}
        }
    }
}

fn load_optional<T: Record>(path: &Path) -> Option<Result<T>> {
    match atomic::read_optional(path) {
        Ok(None) => None,
        Ok(Some(text)) => Some(records::parse(path, &text)),
        Err(e) => Some(Err(e.with_kind(Kind::StoreDamaged))),
    }
}

/// Names in a directory, sorted; none if it is missing. Hidden ones are temporary files of `sys::atomic`.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", directory, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", directory, e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    Ok(names)
}
