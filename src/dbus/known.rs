//! What can be put on the bus before the store is read, so that a call that starts the daemon finds its object.

use std::collections::BTreeMap;

use super::core::Places;
use crate::handoff;
use crate::status::{Snapshot, Status};
use crate::store::{Layout, read};

/// Overlays, each with the numbers of its snapshots. Names only: no record is read.
pub(super) type Known = BTreeMap<String, Vec<u64>>;

/// Overlays of the boot, and the snapshots that the store has of them.
pub(super) fn overlays(places: &Places) -> Known {
    let mut names = vec!["root".to_owned()];
    if let Ok(Some(handoff)) = handoff::load(&places.handoff) {
        names.extend(handoff.overlay.into_keys().filter(|n| n != "root"));
    }
    let numbers = |name: &str| {
        let layout = places.store.as_ref().map(Layout::new);
        layout.map(|layout| read::snapshot_numbers(&layout, name)).unwrap_or_default()
    };
    names.into_iter().map(|name| (name.clone(), numbers(&name))).collect()
}

/// The part of a status that clients know already: what is missing in it is told as new, what is only here as gone.
pub(super) fn part(status: &Status, known: &Known) -> Status {
    let mut told = status.clone();
    told.overlays.retain(|overlay| known.contains_key(&overlay.name));
    for overlay in &mut told.overlays {
        let numbers = known.get(&overlay.name).map_or(&[][..], Vec::as_slice);
        overlay.snapshots.retain(|s| numbers.contains(&s.id));
        let gone = |id: &&u64| !overlay.snapshots.iter().any(|s| s.id == **id);
        let gone: Vec<u64> = numbers.iter().filter(gone).copied().collect();
        overlay.snapshots.extend(gone.into_iter().map(|id| Snapshot { id, ..Snapshot::default() }));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::OverlayStatus;

    #[test]
    fn what_came_and_what_went_since_the_start_is_told() {
        let snapshot = |id| Snapshot { id, description: "x".into(), ..Snapshot::default() };
        let root = OverlayStatus {
            name: "root".into(),
            snapshots: vec![snapshot(2), snapshot(3)],
            ..OverlayStatus::default()
        };
        let var = OverlayStatus { name: "var".into(), ..OverlayStatus::default() };
        let status = Status { overlays: vec![root, var], ..Status::default() };
        let told = part(&status, &Known::from([("root".to_owned(), vec![1, 2])]));
        assert_eq!(told.overlays.len(), 1);
        let ids: Vec<(u64, &str)> =
            told.overlays[0].snapshots.iter().map(|s| (s.id, s.description.as_str())).collect();
        assert_eq!(ids, [(2, "x"), (1, "")]);
    }
}
