//! What goes when a snapshot was made: the oldest that nobody needs, by number and by free space. Which those are says
//! `plan::retain`; here they are removed.

use std::ops::ControlFlow;
use std::time::Duration;

use super::live::state as state_of;
use super::making::Scene;
use super::{Site, empty_trash, open, policy};
use crate::error::Result;
use crate::layer::{OnProgress, Progress};
use crate::observe;
use crate::plan::retain::{self, Keeping};
use crate::store::lock::StoreLock;
use crate::store::{Layout, reserve, trash, write};
use crate::sys::space::Space;

/// Removes what `[overlay.NAME.snapshots]` says is too much, and returns which snapshots that were. The new one stays.
///
/// Where space is short it also deletes, because only then it is known whether there is enough; else that is left to
/// the cleanup. In a store that no running system uses nothing is too much: its rules are in an image that is not at hand.
pub(super) fn apply(
    site: &Site,
    scene: &Scene<'_>,
    new: u64,
    on_progress: &mut OnProgress<'_>,
) -> Result<Vec<u64>> {
    if site.handoff.is_none() {
        sweep(site)?;
        return Ok(Vec::new());
    }
    let rules = policy(site, scene.overlay).snapshots;
    let mut removed = remove_surplus(site, scene, new, rules.limit)?;
    let mut go_on = |_| on_progress(Progress::default());
    while is_short(&observe::space(scene.layout.root())?, rules.min_free) {
        if make_room(&scene.layout, &mut go_on)? {
            continue;
        }
        match give_way(site, scene, new)? {
            Gave::Snapshot(id) => removed.push(id),
            Gave::Generation => {}
            Gave::Nothing => break,
        }
        if !make_room(&scene.layout, &mut go_on)? {
            break;
        }
    }
    removed.sort_unstable();
    Ok(removed)
}

/// Without a daemon nobody else empties the trash.
pub(super) fn sweep(site: &Site) -> Result<()> {
    match site.handoff {
        Some(_) => Ok(()),
        None => empty_trash(&site.store, &mut |_| ControlFlow::Continue(())).map(drop),
    }
}

fn remove_surplus(site: &Site, scene: &Scene<'_>, new: u64, limit: u64) -> Result<Vec<u64>> {
    let _lock = StoreLock::exclusive(&scene.layout)?;
    let state = state_of(site, &open(&site.store)?, scene.overlay)?;
    let mut surplus = retain::surplus(&state, scene.mounted_snapshot(), limit);
    surplus.retain(|id| *id != new);
    for id in &surplus {
        write::discard_snapshot(&scene.layout, scene.overlay, &id.to_string())?;
    }
    Ok(surplus)
}

fn is_short(space: &Space, min_free: u8) -> bool {
    u128::from(space.bytes_free) * 100 < u128::from(space.bytes_total) * u128::from(min_free)
}

enum Gave {
    Snapshot(u64),
    Generation,
    Nothing,
}

/// What is retained gives way first, then the oldest snapshot.
fn give_way(site: &Site, scene: &Scene<'_>, new: u64) -> Result<Gave> {
    let _lock = StoreLock::exclusive(&scene.layout)?;
    let state = state_of(site, &open(&site.store)?, scene.overlay)?;
    let (mounted, keeping) = (
        scene.live.as_ref().ok().and_then(|live| live.generation),
        Keeping::of(&policy(site, scene.overlay)),
    );
    if let Some(number) = retain::next_to_go(&state, mounted, keeping, &observe::moment()) {
        write::discard(&scene.layout, scene.overlay, &number.to_string())?;
        return Ok(Gave::Generation);
    }
    match retain::expendable(&state, scene.mounted_snapshot()).into_iter().find(|id| *id != new) {
        Some(id) => {
            write::discard_snapshot(&scene.layout, scene.overlay, &id.to_string())?;
            Ok(Gave::Snapshot(id))
        }
        None => Ok(Gave::Nothing),
    }
}

/// Deletes what lies in the trash; false if nothing lay there, or if it was stopped.
fn make_room(layout: &Layout, go_on: &mut dyn FnMut(trash::Deleted) -> ControlFlow<()>) -> Result<bool> {
    let deleted = trash::empty(layout, go_on)?;
    if deleted.trees > 0 {
        // XFS and btrfs free the space of removed files in the background.
        let before = observe::space(layout.root())?.bytes_free;
        reserve::sync_filesystem(layout.root())?;
        for _ in 0..10 {
            if observe::space(layout.root())?.bytes_free > before {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(deleted.trees > 0)
}
