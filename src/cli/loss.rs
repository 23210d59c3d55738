//! What a reset takes and keeps: named before it is asked for, and entry by entry in a dry run.

use super::answer::{Losses, Steps};
use super::args::Now;
use super::format::{bytes, count, plain};
use super::output::Output;
use super::request::{entries, listed_steps, live, moment, named};
use super::status::place;
use crate::error::Result;
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

/// What a dry run found.
pub(crate) fn tell(overlay: &str, losses: &Losses, output: &Output) -> Result<u8> {
    match output.is_json() {
        true => output.value(losses)?,
        false => output.text(&found(overlay, losses))?,
    }
    Ok(0)
}

fn found(overlay: &str, losses: &Losses) -> String {
    let size = |number: u64, bytes_in: u64| format!("{}, {}", entries(number), bytes(bytes_in));
    let kept = format!("Kept: {}", size(losses.kept_entries, losses.kept_bytes));
    let lost = format!("Lost: {}", size(losses.lost_entries, losses.lost_bytes));
    let warnings = &losses.steps.warnings;
    let mut text = match warnings.is_empty() {
        true => String::new(),
        false => section("Warnings", warnings, warnings.len() as u64),
    };
    text += &section(&kept, &losses.kept, losses.kept_entries);
    if !losses.unmatched.is_empty() {
        text += &section("Nothing matches", &losses.unmatched, losses.unmatched.len() as u64);
    }
    text += &section(&lost, &losses.lost, losses.lost_entries);
    if !losses.given_up.is_empty() {
        text += &section("Lost as a whole", &losses.given_up, losses.given_up.len() as u64);
    }
    text + &listed_steps(overlay, &Steps { warnings: Vec::new(), ..losses.steps.clone() })
}

fn section(title: &str, lines: &[String], count: u64) -> String {
    let mut text = format!("{title}\n");
    text.extend(lines.iter().map(|line| format!("  {}\n", plain(line))));
    let more = count.saturating_sub(lines.len() as u64);
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    text
}

fn lost(status: &Status, overlay: &OverlayStatus, level: Level) -> Vec<String> {
    let mut lines = vec![live(overlay)];
    lines.extend(overlay.undo.map(|undo| format!("generation {}, kept for an undo", undo.generation)));
    lines.extend(snapshots(overlay));
    if overlay.name == "root" {
        lines.extend(status.overlays.iter().filter(|o| o.name != "root" && is_stored(o)).map(other));
    }
    if let (Level::Wipe, Some(store)) = (level, &status.store) {
        let device = store.encrypted_on.as_deref().or(store.device.as_deref()).unwrap_or("the state device");
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
        let mut encrypted = status;
        encrypted.store.as_mut().unwrap().encrypted_on = Some("/dev/sda3".into());
        let text = for_good(&encrypted, &encrypted.overlays[0], &asked(Level::Wipe), Some(Now::Reboot));
        assert!(text.contains("  everything on /dev/sda3 (ext4), 66d4:"), "{text}");
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
    fn a_dry_run_tells_both_sides() {
        let losses = Losses {
            kept: vec!["file /etc/machine-id, 33 bytes".into()],
            kept_entries: 1,
            kept_bytes: 33,
            lost: vec!["directory /srv".into(), "file /srv/a, 2048 bytes".into()],
            lost_entries: 1002,
            lost_bytes: 4096,
            given_up: vec!["snapshot 2 \"clean\": 3 entries, 12 bytes".into()],
            unmatched: vec!["/etc/gone".into()],
            ..Losses::default()
        };
        let expected = "\
Kept: 1 entry, 33B
  file /etc/machine-id, 33 bytes
Nothing matches
  /etc/gone
Lost: 1002 entries, 4K
  directory /srv
  file /srv/a, 2048 bytes
  and 1000 more
Lost as a whole
  snapshot 2 \"clean\": 3 entries, 12 bytes
Now:
";
        let text = found("root", &losses);
        assert!(text.starts_with(expected), "{text}");
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
