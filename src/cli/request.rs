//! What `reset`, `restore` and `undo` have in common: a request that a boot executes, what is lost by it, its steps, and
//! what is said about it.

use super::answer::{Requested, Steps};
use super::args::Now;
use super::format::{ago, count, date};
use super::output::Output;
use super::report::now;
use super::status::{place, usage};
use super::worker::Back;
use crate::error::Result;
use crate::operation::switch;
use crate::status::{OverlayStatus, Snapshot};
use crate::store::records::Level;

/// More lines than this are counted, not shown, before a question.
const LINES: usize = 20;

/// What is lost, when, and what may be dangerous about it.
pub(crate) fn losses(overlay: &OverlayStatus, back: &Back, at: Option<Now>, warnings: &[String]) -> String {
    let moment = moment(overlay, at);
    let mut text = warned(warnings);
    let goal = goal(overlay, back);
    text += &format!(
        "The overlay \"{}\"{} goes back to {goal} {moment}.\n",
        overlay.name,
        place(" on ", overlay)
    );
    text += &format!("Lost: {}.\n", live(overlay));
    text + "It is kept for `overlayctl undo` as reset.undo is configured."
}

/// When it happens.
pub(crate) fn moment(overlay: &OverlayStatus, at: Option<Now>) -> &'static str {
    match at {
        _ if switch::is_immediate(&overlay.name) => "at once",
        None => "at the next boot",
        Some(Now::Reboot) => "by a reboot, now",
        Some(Now::SoftReboot) => "by a soft-reboot, now",
    }
}

/// `generation 3, made 2h ago: 12.3M in 841 entries`.
pub(crate) fn live(overlay: &OverlayStatus) -> String {
    let generation =
        overlay.generation.map_or_else(|| "the live generation".into(), |n| format!("generation {n}"));
    let made = overlay.generation_created.map(|t| format!(", made {}", ago(t, now()))).unwrap_or_default();
    let upper = overlay.upper.as_ref().map_or_else(|| "everything written since".into(), usage);
    format!("{generation}{made}: {upper}")
}

fn warned(warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    format!("Warnings about what it brings back:\n{}", listed(warnings, true))
}

/// The first of some lines, indented, and how many more there are.
pub(crate) fn listed(lines: &[String], complete: bool) -> String {
    let mut text: String = lines.iter().take(LINES).map(|line| format!("  {line}\n")).collect();
    let more = lines.len().saturating_sub(LINES) as u64;
    match (more, complete) {
        (0, true) => {}
        (0, false) => text += "  and more\n",
        (more, true) => text += &format!("  and {more} more\n"),
        (more, false) => text += &format!("  and more than {more} more\n"),
    }
    text
}

fn goal(overlay: &OverlayStatus, back: &Back) -> String {
    let base = if overlay.base.is_empty() { "the base" } else { &overlay.base };
    match back {
        Back::Reset { .. } => match overlay.baseline {
            Some(id) => format!("its baseline, {}", named(overlay, id)),
            None => base.to_owned(),
        },
        Back::Restore(id) => named(overlay, *id),
        Back::Undo => match overlay.undo {
            Some(undo) => format!("generation {}", undo.generation),
            None => "the generation before".to_owned(),
        },
    }
}

/// `snapshot 3 "before the upgrade" of 2026-05-09 05:29:33 UTC`.
pub(crate) fn named(overlay: &OverlayStatus, id: u64) -> String {
    match overlay.snapshots.iter().find(|s| s.id == id) {
        Some(Snapshot { damage: None, description, created, .. }) => {
            let description =
                if description.is_empty() { String::new() } else { format!(" \"{description}\"") };
            format!("snapshot {id}{description} of {}", date(*created))
        }
        Some(_) => format!("snapshot {id}, which is damaged"),
        None => format!("snapshot {id}"),
    }
}

/// The steps of a dry run.
pub(crate) fn tell_steps(overlay: &str, steps: &Steps, output: &Output) -> Result<u8> {
    match output.is_json() {
        true => output.value(steps)?,
        false => output.text(&listed_steps(overlay, steps))?,
    }
    Ok(0)
}

/// Steps and warnings, for people.
pub(crate) fn listed_steps(overlay: &str, steps: &Steps) -> String {
    let mut text = String::new();
    let then = if switch::is_immediate(overlay) { "Then, at once:" } else { "At the next boot:" };
    for (title, steps) in [("Now:", &steps.now), (then, &steps.at_boot)] {
        text += &format!("{title}\n");
        text.extend(steps.iter().map(|step| format!("  {step}\n")));
        if steps.is_empty() {
            text += "  nothing: the same request is pending already\n";
        }
    }
    if !steps.warnings.is_empty() {
        text += "Warnings about what it brings back:\n";
        text.extend(steps.warnings.iter().map(|warning| format!("  {warning}\n")));
    }
    text
}

/// That it was asked for.
pub(crate) fn tell_requested(done: &Requested, back: &Back, at: Option<Now>, output: &Output) -> Result<u8> {
    match output.is_json() {
        true => output.value(done)?,
        false => output.text(&said(done, back, at))?,
    }
    Ok(0)
}

fn said(done: &Requested, back: &Back, at: Option<Now>) -> String {
    let overlay = &done.overlay;
    let (noun, verb) = match back {
        Back::Reset { wanted, .. } => match wanted.level {
            Level::Baseline => ("reset", "is reset".to_owned()),
            Level::Factory => ("factory reset", "is reset to the image".to_owned()),
            Level::Wipe => ("wipe", "is wiped".to_owned()),
        },
        Back::Restore(id) => ("restore", format!("goes back to snapshot {id}")),
        Back::Undo => {
            let generation = done.generation.map(|n| format!("generation {n}"));
            ("undo", format!("goes back to {}", generation.as_deref().unwrap_or("the generation before")))
        }
    };
    match (done.result, at) {
        ("done", _) if matches!(back, Back::Restore(_)) && done.request.is_empty() => {
            format!(
                "{overlay} begins on snapshot {} at each boot from the next one on.\n",
                done.snapshot.unwrap_or_default()
            )
        }
        ("done", _) => format!("{overlay} {verb}: done.\n"),
        (_, Some(_)) => format!("{overlay} {verb} by the boot that begins now.\n"),
        ("was-pending", None) => {
            let by = if done.requested_by.is_empty() { "somebody" } else { &done.requested_by };
            format!("The {noun} of {overlay} is pending already, asked by {by}.\n")
        }
        _ => format!("{overlay} {verb} at the next boot. Until then `overlayctl cancel` takes it back.\n"),
    }
}

/// `3 entries`, as the changes of a commit or a restore are counted.
pub(crate) fn entries(number: u64) -> String {
    count(number, "entry", "entries")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::request::Resetting;
    use crate::status::Usage;

    fn overlay() -> OverlayStatus {
        OverlayStatus {
            name: "root".into(),
            mount_point: "/".into(),
            base: "squashfs:abc".into(),
            generation: Some(3),
            upper: Some(Usage { bytes: 1024, entries: 1, complete: false }),
            ..OverlayStatus::default()
        }
    }

    fn to(level: Level) -> Back {
        Back::Reset { wanted: Resetting { level, ..Resetting::default() }, via: None }
    }

    #[test]
    fn the_question_names_what_is_lost() {
        let expected = "The overlay \"root\" on / goes back to squashfs:abc by a reboot, now.\n\
                        Lost: generation 3: at least 1K in 1 entry.\n\
                        It is kept for `overlayctl undo` as reset.undo is configured.";
        assert_eq!(losses(&overlay(), &to(Level::Baseline), Some(Now::Reboot), &[]), expected);
        let data = OverlayStatus { name: "data".into(), ..overlay() };
        assert!(
            losses(&data, &to(Level::Baseline), None, &[]).contains("goes back to squashfs:abc at once.\n")
        );
    }

    #[test]
    fn a_reset_names_the_baseline_and_an_undo_the_generation() {
        let mut overlay = overlay();
        overlay.baseline = Some(2);
        overlay.undo = Some(crate::status::Undo { generation: 7, until: None });
        let snapshot = Snapshot { id: 2, description: "clean".into(), ..Snapshot::default() };
        overlay.snapshots = vec![snapshot];
        let text = losses(&overlay, &to(Level::Baseline), None, &[]);
        assert!(text.contains("goes back to its baseline, snapshot 2 \"clean\" of 1970-01-01"), "{text}");
        assert!(
            losses(&overlay, &Back::Undo, None, &[]).contains("goes back to generation 7 at the next boot")
        );
    }

    #[test]
    fn warnings_come_first() {
        let warnings: Vec<String> = (0..25).map(|n| format!("/bin/{n} is setuid")).collect();
        let text = losses(&overlay(), &Back::Restore(9), None, &warnings);
        let expected = "Warnings about what it brings back:\n  /bin/0 is setuid\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains(
            "  /bin/19 is setuid\n  and 5 more\nThe overlay \"root\" on / goes back to snapshot 9"
        ));
    }

    #[test]
    fn what_was_asked_for_is_said() {
        let requested = |result, snapshot| Requested {
            overlay: "root".into(),
            result,
            request: "f00".into(),
            requested_by: "alice (uid 1000) via D-Bus".into(),
            snapshot,
            generation: Some(4),
        };
        let cancel = " at the next boot. Until then `overlayctl cancel` takes it back.\n";
        assert_eq!(
            said(&requested("requested", None), &to(Level::Baseline), None),
            format!("root is reset{cancel}")
        );
        let factory = said(&requested("requested", None), &to(Level::Factory), None);
        assert_eq!(factory, format!("root is reset to the image{cancel}"));
        let wipe = said(&requested("was-pending", None), &to(Level::Wipe), None);
        assert_eq!(wipe, "The wipe of root is pending already, asked by alice (uid 1000) via D-Bus.\n");
        let restore = said(&requested("requested", Some(2)), &Back::Restore(2), None);
        assert_eq!(restore, format!("root goes back to snapshot 2{cancel}"));
        let undo = said(&requested("requested", None), &Back::Undo, Some(Now::Reboot));
        assert_eq!(undo, "root goes back to generation 4 by the boot that begins now.\n");
        let pending = said(&requested("was-pending", None), &Back::Undo, None);
        assert_eq!(pending, "The undo of root is pending already, asked by alice (uid 1000) via D-Bus.\n");
        let other = Requested { overlay: "data".into(), ..requested("done", Some(2)) };
        assert_eq!(said(&other, &Back::Restore(2), None), "data goes back to snapshot 2: done.\n");
        let volatile = Requested { request: String::new(), ..requested("done", Some(2)) };
        let expected = "root begins on snapshot 2 at each boot from the next one on.\n";
        assert_eq!(said(&volatile, &Back::Restore(2), None), expected);
    }
}
