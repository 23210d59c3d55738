//! The page that `overlayctl status` shows, and the table of `list`. Pure: a status and a time go in, text comes out.

use std::fmt::Write;

use super::format::{bytes, count, percent, when};
use super::output::{Paint, Tone};
use crate::status::{Outcome, OverlayStatus, Pending, Status, StoreStatus, Usage};

/// Width of the labels, with their colon.
const LABEL: usize = 12;

/// The whole page.
pub(crate) fn render(status: &Status, now: u64, paint: Paint) -> String {
    let mut page = Page { text: String::new(), paint };
    for overlay in &status.overlays {
        page.overlay(overlay, status, now);
    }
    if status.overlays.is_empty() {
        page.text.push_str("no overlays\n");
    }
    page.problems(&status.problems);
    page.text
}

/// Name, mount point, mode, generation and pending request of each overlay.
pub(crate) fn table(status: &Status) -> String {
    let head = ["OVERLAY", "MOUNT", "MODE", "GENERATION", "PENDING"].map(str::to_owned);
    let rows = status.overlays.iter().map(|o| {
        let mode = match o.degraded {
            Some(_) => format!("{} (degraded)", o.mode),
            None => o.mode.clone(),
        };
        let generation = o.generation.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let pending = o.pending.as_ref().map_or_else(|| "-".to_owned(), |p| p.action.clone());
        [o.name.clone(), o.mount_point.clone(), mode, generation, pending]
    });
    columns(std::iter::once(head).chain(rows).collect())
}

/// Rows as aligned columns, two spaces apart.
pub(crate) fn columns<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn overlay(&mut self, overlay: &OverlayStatus, status: &Status, now: u64) {
        let tone = if overlay.degraded.is_some() { Tone::Bad } else { Tone::Good };
        let dot = self.paint.tone(tone, "●");
        self.line(&format!("{dot} {}{}", overlay.name, place(" - writable layer of ", overlay)));
        self.field("Configured", or(&overlay.configured_mode, "unknown"));
        self.actual(overlay);
        self.base(overlay);
        if let Some(generation) = overlay.generation {
            let made = overlay.generation_created.map(|t| format!(", made {}", when(t, now)));
            self.field("Generation", &format!("{generation}{}", made.unwrap_or_default()));
        }
        if let Some(upper) = &overlay.upper {
            self.field("Upper", &usage(upper));
        }
        match &status.store {
            Some(store) => self.store(store),
            None => self.field("Store", "none: nothing that is written here persists"),
        }
        self.pending(overlay.pending.as_ref(), now);
        self.field("Last", &overlay.last.as_ref().map_or_else(|| "no reset yet".into(), |o| last(o, now)));
        if overlay.trash > 0 {
            self.field(
                "Trash",
                &format!("{} being deleted", count(overlay.trash, "old generation", "old generations")),
            );
        }
    }

    fn actual(&mut self, overlay: &OverlayStatus) {
        let mode = or(&overlay.mode, "unknown");
        match &overlay.degraded {
            Some(why) => {
                let mode = self.paint.tone(Tone::Bad, mode);
                self.field("Actual", &format!("{mode}: {why}"));
            }
            None => {
                let mode = self.paint.tone(Tone::Good, mode);
                self.field("Actual", &mode);
            }
        }
    }

    fn base(&mut self, overlay: &OverlayStatus) {
        if !overlay.base.is_empty() {
            self.field("Base", &overlay.base);
        }
        for lower in &overlay.lowers {
            self.continued(&format!("└─ {lower}"));
        }
        if let (true, Some(made_on)) = (overlay.base_changed, &overlay.generation_base) {
            let text = format!("changed: the generation was made on {made_on}");
            let text = self.paint.tone(Tone::Notice, &text);
            self.continued(&text);
        }
    }

    fn store(&mut self, store: &StoreStatus) {
        let device = store.device.as_deref().unwrap_or("unknown device");
        let filesystem = or(&store.fstype, "unknown filesystem");
        let read_only = if store.read_only { ", read-only" } else { "" };
        self.field("Store", &format!("{device} ({filesystem}{read_only}), {}", store.uuid));
        let free = percent(store.bytes_free, store.bytes_total);
        let mut text = format!("{} of {} ({free}%)", bytes(store.bytes_free), bytes(store.bytes_total));
        if store.inodes_total > 0 {
            // Writing to a String can not fail.
            let _ = write!(text, ", {}% of the inodes", percent(store.inodes_free, store.inodes_total));
        }
        self.field("Free", &text);
        if !store.reserve {
            let text = self.paint.tone(Tone::Notice, "gone: it is refilled when there is space");
            self.field("Reserve", &text);
        }
    }

    fn pending(&mut self, pending: Option<&Pending>, now: u64) {
        let Some(pending) = pending else {
            return self.field("Pending", "nothing");
        };
        let what = self.paint.tone(Tone::Notice, &format!("{} at the next boot", pending.action));
        self.field("Pending", &what);
        let boot = if pending.this_boot { "" } else { ", in an earlier boot" };
        self.continued(&format!("by {}, {}{boot}", pending.requested_by, when(pending.requested_at, now)));
    }

    fn problems(&mut self, problems: &[String]) {
        if problems.is_empty() {
            return;
        }
        let head = self.paint.tone(Tone::Bad, "Problems:");
        self.line("");
        self.line(&head);
        for problem in problems {
            self.line(&format!("  - {problem}"));
        }
    }

    fn field(&mut self, label: &str, value: &str) {
        self.line(&format!("{:>LABEL$} {value}", format!("{label}:")));
    }

    fn continued(&mut self, value: &str) {
        self.line(&format!("{:LABEL$} {value}", ""));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// `12.3M in 841 entries`.
pub(crate) fn usage(usage: &Usage) -> String {
    let least = if usage.complete { "" } else { "at least " };
    format!("{least}{} in {}", bytes(usage.bytes), count(usage.entries, "entry", "entries"))
}

fn last(outcome: &Outcome, now: u64) -> String {
    let from = outcome.from_generation.map_or_else(String::new, |n| format!(", from generation {n}"));
    format!(
        "{} {} {}{from} to {}, asked by {}",
        outcome.action,
        outcome.result,
        when(outcome.executed_at, now),
        outcome.to_generation,
        outcome.requested_by
    )
}

/// Where it is mounted, if it is.
pub(crate) fn place(word: &str, overlay: &OverlayStatus) -> String {
    match overlay.mount_point.as_str() {
        "" => String::new(),
        path => format!("{word}{path}"),
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
