//! What must hold after a crash: the store is sound, what it shows is the complete old or the complete new, and nothing
//! half-made counts.

use std::collections::BTreeMap;
use std::path::Path;

use overlayd::store::{Layout, read};

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
}

/// What was seen of a machine at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) picture: Picture,
    /// The merged root.
    pub(crate) merged: Manifest,
}

impl Evidence {
    /// Of a booted machine.
    pub(crate) fn take(layout: &Layout, root: &Path) -> Evidence {
        Evidence { picture: picture(layout).unwrap(), merged: merged(root) }
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
    for (number, generation) in &root.generations {
        generation.record.as_ref().map_err(|e| say(&format!("generation {number}"), e))?;
    }
    let stands_on = live.record.as_ref().unwrap().snapshot;
    let baseline = *root.baseline.as_ref().map_err(|e| say("baseline", e))?;
    let mut snapshots = BTreeMap::new();
    for (id, record) in &root.snapshots {
        record.as_ref().map_err(|e| say(&format!("snapshot {id}"), e))?;
        snapshots.insert(*id, content(&layout.snapshot_fs("root", *id)));
    }
    for id in [baseline, stands_on].into_iter().flatten() {
        snapshots.get(&id).ok_or_else(|| format!("snapshot {id} is pointed at and not there"))?;
    }
    if root.snapshots.keys().any(|id| *id > root.last_snapshot) {
        return Err(format!("last-snapshot is {} and there are {:?}", root.last_snapshot, snapshots.keys()));
    }
    root.request.as_ref().map_or(Ok(()), |r| r.as_ref().map(drop)).map_err(|e| say("request", e))?;
    root.outcome.as_ref().map_or(Ok(()), |o| o.as_ref().map(drop)).map_err(|e| say("outcome", e))?;
    Ok(Picture { baseline, stands_on, live: content(&layout.upper("root", current)), snapshots })
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

fn difference(expected: &Picture, found: &Picture) -> String {
    let mut text = format!(
        "baseline {:?}, {:?}; stands on {:?}, {:?}; snapshots {:?}, {:?}",
        expected.baseline,
        found.baseline,
        expected.stands_on,
        found.stands_on,
        expected.snapshots.keys().collect::<Vec<_>>(),
        found.snapshots.keys().collect::<Vec<_>>()
    );
    for (name, one, other) in
        [("live", &expected.live, &found.live)].into_iter().chain(expected.snapshots.iter().filter_map(
            |(id, one)| Some((if *id == 1 { "1" } else { "a later one" }, one, found.snapshots.get(id)?)),
        ))
    {
        if one != other {
            text += &format!("\n  {name}: {}", differences(one, other));
        }
    }
    text
}
