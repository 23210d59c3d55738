//! What a reset to the image, or a wipe, takes for good: named before it is asked for. Pure.

use super::args::Now;
use super::format::{bytes, count};
use super::request::{live, moment, named};
use super::status::place;
use crate::plan::request::Resetting;
use crate::status::{OverlayStatus, Snapshot, Status};
use crate::store::records::Level;

/// More snapshots than this are counted, not named.
const NAMED: usize = 20;

/// Everything that goes, and that nothing brings back.
pub(crate) fn for_good(
    status: &Status,
    overlay: &OverlayStatus,
    wanted: &Resetting,
    at: Option<Now>,
) -> String {
    let base = if overlay.base.is_empty() { "the image" } else { &overlay.base };
    let mut text = format!(
        "The overlay \"{}\"{} goes back to {base} {}.\n",
        overlay.name,
        place(" on ", overlay),
        moment(overlay, at)
    );
    text += "Lost for good, and no undo brings it back:\n";
    for line in lost(status, overlay, wanted.level) {
        text += &format!("  {line}\n");
    }
    let option = if wanted.level == Level::Wipe { "--wipe" } else { "--factory" };
    text += &format!("`overlayctl reset {option} --dry-run` names every file.");
    text + &kept(wanted)
}

/// What is not lost, for the end of a question.
pub(crate) fn kept(wanted: &Resetting) -> String {
    let configured = match (wanted.level, wanted.drop_kept) {
        (Level::Wipe, _) => return "\nNothing is kept.".to_owned(),
        (_, true) if wanted.keep.is_empty() => {
            return "\nNothing is kept, whatever the configuration says.".to_owned();
        }
        (_, true) => None,
        (_, false) if wanted.keep.is_empty() => return String::new(),
        (_, false) => Some("what the configuration says".to_owned()),
    };
    let all: Vec<String> = configured.into_iter().chain(wanted.keep.iter().cloned()).collect();
    format!("\nKept: {}.", all.join(", "))
}

fn lost(status: &Status, overlay: &OverlayStatus, level: Level) -> Vec<String> {
    let mut lines = vec![live(overlay)];
    lines.extend(overlay.undo.map(|undo| format!("generation {}, kept for an undo", undo.generation)));
    lines.extend(snapshots(overlay));
    if overlay.name == "root" {
        lines.extend(status.overlays.iter().filter(|o| o.name != "root" && is_stored(o)).map(other));
    }
    if let (Level::Wipe, Some(store)) = (level, &status.store) {
        let device = store.device.as_deref().unwrap_or("the state device");
        let all =
            format!("everything on {device} ({}), {}: it is erased and made anew", store.fstype, store.uuid);
        lines.push(all);
    }
    lines
}

fn snapshots(overlay: &OverlayStatus) -> Vec<String> {
    let line = |snapshot: &Snapshot| {
        let baseline = if snapshot.baseline { "the baseline, " } else { "" };
        format!("{baseline}{}, {}", named(overlay, snapshot.id), bytes(snapshot.bytes))
    };
    let mut lines: Vec<String> = overlay.snapshots.iter().take(NAMED).map(line).collect();
    let more = overlay.snapshots.len().saturating_sub(NAMED) as u64;
    if more > 0 {
        lines.push(format!("{more} more {}", if more == 1 { "snapshot" } else { "snapshots" }));
    }
    lines
}

/// Whether there is something of it in the store.
fn is_stored(overlay: &OverlayStatus) -> bool {
    overlay.generation.is_some() || overlay.baseline.is_some() || !overlay.snapshots.is_empty()
}

/// `the overlay "data" on /data: 3M in 12 entries, 2 snapshots`.
fn other(overlay: &OverlayStatus) -> String {
    let upper = overlay.upper.as_ref().map(super::status::usage);
    let snapshots = overlay.snapshots.len() as u64;
    let snapshots = (snapshots > 0).then(|| count(snapshots, "snapshot", "snapshots"));
    let holds: Vec<String> = upper.into_iter().chain(snapshots).collect();
    let holds = if holds.is_empty() { String::new() } else { format!(": {}", holds.join(", ")) };
    format!("the overlay \"{}\"{}{holds}", overlay.name, place(" on ", overlay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{StoreStatus, Undo, Usage};

    fn status() -> Status {
        let snapshot = |id, description: &str, baseline| Snapshot {
            id,
            description: description.into(),
            bytes: 3 << 20,
            baseline,
            ..Snapshot::default()
        };
        let root = OverlayStatus {
            name: "root".into(),
            mount_point: "/".into(),
            base: "squashfs:abc".into(),
            generation: Some(3),
            upper: Some(Usage { bytes: 1024, entries: 2, complete: true }),
            undo: Some(Undo { generation: 2, until: None }),
            snapshots: vec![snapshot(1, "clean", true), snapshot(4, "", false)],
            ..OverlayStatus::default()
        };
        let data = OverlayStatus {
            name: "data".into(),
            mount_point: "/data".into(),
            generation: Some(1),
            snapshots: vec![snapshot(1, "x", false)],
            ..OverlayStatus::default()
        };
        let device = Some("/dev/vdb".into());
        let store =
            StoreStatus { device, fstype: "ext4".into(), uuid: "66d4".into(), ..StoreStatus::default() };
        let bare = OverlayStatus { name: "bare".into(), ..OverlayStatus::default() };
        Status { store: Some(store), overlays: vec![root, data, bare], ..Status::default() }
    }

    fn asked(level: Level) -> Resetting {
        Resetting { level, ..Resetting::default() }
    }

    #[test]
    fn a_factory_reset_names_all_that_goes() {
        let status = status();
        let text = for_good(&status, &status.overlays[0], &asked(Level::Factory), None);
        let expected = "\
The overlay \"root\" on / goes back to squashfs:abc at the next boot.
Lost for good, and no undo brings it back:
  generation 3: 1K in 2 entries
  generation 2, kept for an undo
  the baseline, snapshot 1 \"clean\" of 1970-01-01 00:00:00 UTC, 3M
  snapshot 4 of 1970-01-01 00:00:00 UTC, 3M
  the overlay \"data\" on /data: 1 snapshot
`overlayctl reset --factory --dry-run` names every file.";
        assert_eq!(text, expected);
    }

    #[test]
    fn of_another_overlay_it_is_that_overlay_alone() {
        let status = status();
        let text = for_good(&status, &status.overlays[1], &asked(Level::Factory), None);
        assert!(text.contains("on /data goes back to the image at once.\n"), "{text}");
        assert!(!text.contains("root"), "{text}");
    }

    #[test]
    fn a_wipe_names_the_device() {
        let status = status();
        let text = for_good(&status, &status.overlays[0], &asked(Level::Wipe), Some(Now::Reboot));
        assert!(text.contains("by a reboot, now.\n"), "{text}");
        assert!(
            text.contains("  everything on /dev/vdb (ext4), 66d4: it is erased and made anew\n"),
            "{text}"
        );
        assert!(text.ends_with("\nNothing is kept."), "{text}");
    }

    #[test]
    fn what_is_kept_is_said() {
        let keep = vec!["/etc/machine-id".to_owned()];
        let wanted = Resetting { keep, ..asked(Level::Factory) };
        assert_eq!(kept(&wanted), "\nKept: what the configuration says, /etc/machine-id.");
        assert_eq!(kept(&Resetting { drop_kept: true, ..wanted }), "\nKept: /etc/machine-id.");
        assert_eq!(kept(&asked(Level::Baseline)), "");
        let none = Resetting { drop_kept: true, ..asked(Level::Factory) };
        assert_eq!(kept(&none), "\nNothing is kept, whatever the configuration says.");
    }

    #[test]
    fn many_snapshots_are_counted() {
        let mut status = status();
        let more = (10..40).map(|id| Snapshot { id, ..Snapshot::default() });
        status.overlays[0].snapshots.extend(more);
        let text = for_good(&status, &status.overlays[0], &asked(Level::Factory), None);
        assert!(text.contains("\n  12 more snapshots\n"), "{text}");
    }
}
