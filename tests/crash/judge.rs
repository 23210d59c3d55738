//! What must hold after a crash: the store is sound, what it shows is the complete old or the complete new, and nothing
//! half-made counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use overlayd::store::health_record::{HealthRecord, Rung};
use overlayd::store::records::{OutcomeRecord, SnapshotRecord};
use overlayd::store::{Layout, OverlayView, StoreView, read};

use crate::manifest::{Manifest, differences, manifest};

/// What a store shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) baseline: Option<u64>,
    /// The snapshot that the live generation stands on.
    pub(crate) stands_on: Option<u64>,
    /// The live upper, without its top.
    pub(crate) live: Manifest,
    pub(crate) snapshots: BTreeMap<u64, Manifest>,
    /// What their records say.
    pub(crate) said: BTreeMap<u64, String>,
    /// The generations that are not live.
    pub(crate) retained: BTreeMap<u64, Manifest>,
    /// Which are good, which are bad and why, and how far going back has got.
    pub(crate) marks: Marks,
    /// How the last request ended, and why it was.
    pub(crate) outcome: String,
    /// The live uppers of other overlays.
    pub(crate) others: BTreeMap<String, Manifest>,
}

/// What is recorded of the generations' health, but for the count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    good: Option<u64>,
    pub(crate) bad: BTreeMap<String, String>,
    rung: Rung,
}

/// What was seen of a machine at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) picture: Picture,
    /// The merged root.
    pub(crate) merged: Manifest,
    /// Boots of the live generation that are counted.
    pub(crate) boots: u64,
}

impl Evidence {
    /// Of a booted machine.
    pub(crate) fn take(layout: &Layout, root: &Path) -> Evidence {
        Evidence { picture: picture(layout).unwrap(), merged: merged(root), boots: boots(layout).unwrap() }
    }
}

/// The merged root. When its own directory was changed is nobody's promise: mounting tries a write there.
pub(crate) fn merged(root: &Path) -> Manifest {
    let mut lines = manifest(root);
    lines.remove(".");
    lines
}

/// The store as it stands; any damage is the error.
pub(crate) fn picture(layout: &Layout) -> Result<Picture, String> {
    let view = read::load(layout).map_err(|e| e.to_string())?;
    let root = view.overlays.get("root").ok_or("there is no overlay root")?;
    let say = |what: &str, e: &overlayd::Error| format!("{what}: {e}");
    let current = root.current.as_ref().map_err(|e| say("current", e))?.ok_or("current is missing")?;
    let live = root.generations.get(&current).ok_or_else(|| format!("generation {current} is missing"))?;
    let mut retained = BTreeMap::new();
    for (number, generation) in &root.generations {
        generation.record.as_ref().map_err(|e| say(&format!("generation {number}"), e))?;
        if *number != current && !generation.husk {
            retained.insert(*number, content(&layout.upper("root", *number)));
        }
    }
    let stands_on = live.record.as_ref().unwrap().snapshot;
    let baseline = *root.baseline.as_ref().map_err(|e| say("baseline", e))?;
    let (mut snapshots, mut said) = (BTreeMap::new(), BTreeMap::new());
    for (id, record) in &root.snapshots {
        let record = record.as_ref().map_err(|e| say(&format!("snapshot {id}"), e))?;
        snapshots.insert(*id, content(&layout.snapshot_fs("root", *id)));
        said.insert(*id, words(record));
    }
    for id in [baseline, stands_on].into_iter().flatten() {
        snapshots.get(&id).ok_or_else(|| format!("snapshot {id} is pointed at and not there"))?;
    }
    if root.snapshots.keys().any(|id| *id > root.last_snapshot) {
        return Err(format!("last-snapshot is {} and there are {:?}", root.last_snapshot, snapshots.keys()));
    }
    root.request.as_ref().map_or(Ok(()), |r| r.as_ref().map(drop)).map_err(|e| say("request", e))?;
    let outcome = root.outcome.as_ref().map(|o| o.as_ref().map_err(|e| say("outcome", e))).transpose()?;
    Ok(Picture {
        baseline,
        stands_on,
        live: content(&layout.upper("root", current)),
        snapshots,
        said,
        retained,
        marks: marks(health(root)?.unwrap_or(&HealthRecord::default())),
        outcome: outcome.map(ending).unwrap_or_default(),
        others: others(layout, &view),
    })
}

fn words(record: &SnapshotRecord) -> String {
    let protected = if record.protected { "protected" } else { "free" };
    format!("{:?} {:?} {protected}", record.description, record.userdata)
}

fn health(root: &OverlayView) -> Result<Option<&HealthRecord>, String> {
    root.health.as_ref().map(|h| h.as_ref().map_err(|e| format!("health: {e}"))).transpose()
}

fn marks(health: &HealthRecord) -> Marks {
    Marks { good: health.good, bad: health.bad.clone(), rung: health.rung }
}

fn ending(outcome: &OutcomeRecord) -> String {
    let said = [&outcome.message, &outcome.reason, &outcome.erasure, &outcome.secure];
    let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
    [&[outcome.action.word(), outcome.result.as_str()][..], &said].concat().join(" ")
}

fn others(layout: &Layout, view: &StoreView) -> BTreeMap<String, Manifest> {
    let live = |state: &OverlayView| state.current.clone().ok().flatten();
    let others = view.overlays.iter().filter(|(name, _)| *name != "root");
    others
        .filter_map(|(name, state)| Some((name.clone(), content(&layout.upper(name, live(state)?)))))
        .collect()
}

/// So many boots of the live generation are counted.
pub(crate) fn boots(layout: &Layout) -> Result<u64, String> {
    let view = read::load(layout).map_err(|e| e.to_string())?;
    let root = view.overlays.get("root").ok_or("there is no overlay root")?;
    Ok(health(root)?.map_or(0, |health| health.boots))
}

/// A layer's entries.
pub(crate) fn content(layer: &Path) -> Manifest {
    let mut lines = manifest(layer);
    lines.remove(".");
    lines
}

/// What is left of work that was never finished; none after a cleanup.
pub(crate) fn leftovers(layout: &Layout) -> Result<(), String> {
    let view = read::load(layout).map_err(|e| e.to_string())?;
    let root = view.overlays.get("root").ok_or("there is no overlay root")?;
    let left = [&root.unfinished, &root.unfinished_snapshots, &root.trash].into_iter().flatten();
    let left: Vec<&String> = left.collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("garbage is left: {left:?}")),
    }
}

/// Old or new, whole. `old` is none where the new had to last.
pub(crate) fn whole(found: &Picture, old: Option<&Picture>, new: &Picture) -> Result<(), String> {
    if found == new || old == Some(found) {
        return Ok(());
    }
    let mut text = match old {
        Some(_) => "neither the old nor the new:".to_owned(),
        None => "what was done does not last:".to_owned(),
    };
    for (name, other) in [("old", old), ("new", Some(new))] {
        if let Some(other) = other {
            text += &format!("\n against the {name}: {}", difference(other, found));
        }
    }
    Err(text)
}

/// The same of two merged roots.
pub(crate) fn whole_root(found: &Manifest, old: Option<&Manifest>, new: &Manifest) -> Result<(), String> {
    if found == new || old == Some(found) {
        return Ok(());
    }
    Err(format!(
        "the merged root is {} new:\n{}",
        if old.is_some() { "neither the old nor the" } else { "not the" },
        differences(new, found)
    ))
}

/// What a restore of single entries puts its copies under until they are complete.
const BESIDE: &str = ".overlayd-restoring";

/// Each entry for itself, old or new; where there is no old, nothing may be left beside. A directory's time is that of what was last done in it, and of a file with several
/// names some may be the old.
pub(crate) fn whole_entries(found: &Manifest, old: Option<&Manifest>, new: &Manifest) -> Result<(), String> {
    let is_beside = |path: &&String| old.is_some() && path.ends_with(BESIDE);
    let old = old.unwrap_or(new);
    let looks = |of: &Manifest, path: &String| of.get(path).map(|line| plain(line));
    let paths: BTreeSet<&String> = [found, old, new].into_iter().flat_map(|of| of.keys()).collect();
    let mixed = paths.into_iter().filter(|path| !is_beside(path)).find(|path| {
        let is = looks(found, path);
        is != looks(old, path) && is != looks(new, path)
    });
    match mixed {
        None => Ok(()),
        Some(path) => Err(format!(
            "{path} is neither the old nor the new:\n {:?}\n {:?}\n {:?}",
            old.get(path),
            new.get(path),
            found.get(path)
        )),
    }
}

fn plain(line: &str) -> String {
    let line = line.split(" is [").next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [mode, owner, _, ref rest @ ..] if mode.starts_with('4') => {
            [&[mode, owner][..], rest].concat().join(" ")
        }
        _ => line.to_owned(),
    }
}

fn difference(expected: &Picture, found: &Picture) -> String {
    let mut text = format!(
        "baseline {:?}, {:?}; stands on {:?}, {:?}; snapshots {:?}, {:?}",
        expected.baseline, found.baseline, expected.stands_on, found.stands_on, expected.said, found.said,
    );
    if expected.marks != found.marks {
        text += &format!("; marks {:?}, {:?}", expected.marks, found.marks);
    }
    if expected.outcome != found.outcome {
        text += &format!("; outcome {:?}, {:?}", expected.outcome, found.outcome);
    }
    let (kept, keeps) = (expected.retained.keys(), found.retained.keys());
    text += &format!("; retained {kept:?}, {keeps:?}; others {:?}", found.others.keys());
    for (name, one, other) in layers(expected, found) {
        if one != other {
            text += &format!("\n  {name}: {}", differences(one, other));
        }
    }
    text
}

/// Layers that both have.
fn layers<'a>(
    expected: &'a Picture,
    found: &'a Picture,
) -> impl Iterator<Item = (String, &'a Manifest, &'a Manifest)> {
    let snapshots = expected.snapshots.iter();
    let snapshots =
        snapshots.filter_map(|(n, of)| Some((format!("snapshot {n}"), of, found.snapshots.get(n)?)));
    let retained = expected.retained.iter();
    let retained =
        retained.filter_map(|(n, of)| Some((format!("generation {n}"), of, found.retained.get(n)?)));
    let others = expected.others.iter();
    let others = others.filter_map(|(name, of)| Some((name.clone(), of, found.others.get(name)?)));
    [("live".to_owned(), &expected.live, &found.live)]
        .into_iter()
        .chain(snapshots)
        .chain(retained)
        .chain(others)
}
