//! The page that `overlayctl status` shows, and the table of `list`. Pure: a status and a time go in, text comes out.

use std::fmt::Write;

use super::format::{bytes, count, percent, plain, when};
use super::output::{Paint, Tone};
use super::page::{Page, columns, or};
use crate::operation::erase::ERASING;
use crate::status::{Health, Outcome, OverlayStatus, Pending, Status, StoreStatus, Usage};

/// So many kept files are named, and patterns.
const NAMED: usize = 4;

/// The whole page.
pub(crate) fn render(status: &Status, now: u64, paint: Paint) -> String {
    let mut page = Page::new(paint);
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

impl Page {
    fn overlay(&mut self, overlay: &OverlayStatus, status: &Status, now: u64) {
        let tone = if overlay.degraded.is_some() { Tone::Bad } else { Tone::Good };
        self.title(tone, &format!("{}{}", overlay.name, place(" - writable layer of ", overlay)));
        self.field("Configured", or(&overlay.configured_mode, "unknown"));
        self.actual(overlay);
        self.base(overlay);
        if let Some(generation) = overlay.generation {
            let made = overlay.generation_created.map(|t| format!(", made {}", when(t, now)));
            self.field("Generation", &format!("{generation}{}", made.unwrap_or_default()));
        }
        if let Some(id) = overlay.snapshot {
            self.field("Snapshot", &title(overlay, id));
        }
        if let Some(upper) = &overlay.upper {
            self.field("Upper", &usage(upper));
        }
        if let Some(memory) = &overlay.memory {
            let bytes = (memory.bytes_free, memory.bytes_total);
            self.field("RAM free", &free(bytes, (memory.inodes_free, memory.inodes_total)));
        }
        if status.store.is_some() {
            self.snapshots(overlay);
        }
        match &status.store {
            Some(store) => self.store(store),
            None => self.field("Store", "none: nothing that is written here persists"),
        }
        self.pending(overlay, now);
        if let Some(undo) = overlay.undo {
            let until =
                undo.until.map_or_else(String::new, |until| format!("until {}, or ", when(until, now)));
            let generation = undo.generation;
            self.field("Undo", &format!("to generation {generation}, kept {until}until space is needed"));
        }
        self.last(overlay.last.as_ref(), now);
        if let Some(health) = &overlay.health {
            self.health(health);
        }
        if overlay.trash > 0 {
            self.field(
                "Trash",
                &format!("{} being deleted", count(overlay.trash, "old layer", "old layers")),
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
        let below = store.encrypted_on.as_ref().map(|on| format!(", encrypted on {on}")).unwrap_or_default();
        self.field("Store", &format!("{device} ({filesystem}{read_only}{below}), {}", store.uuid));
        let bytes = (store.bytes_free, store.bytes_total);
        self.field("Free", &free(bytes, (store.inodes_free, store.inodes_total)));
        if !store.reserve {
            let text = self.paint.tone(Tone::Notice, "gone: it is refilled when there is space");
            self.field("Reserve", &text);
        }
    }

    fn snapshots(&mut self, overlay: &OverlayStatus) {
        let baseline = overlay.baseline.map_or_else(
            || "none, a reset goes back to the base".to_owned(),
            |id| format!("snapshot {}", title(overlay, id)),
        );
        self.field("Baseline", &baseline);
        let all = &overlay.snapshots;
        let mut text = all.len().to_string();
        if !all.is_empty() {
            text += &format!(", holding {}", bytes(all.iter().map(|s| s.bytes).sum()));
        }
        let damaged = all.iter().filter(|s| s.damage.is_some()).count();
        if damaged > 0 {
            text += &self.paint.tone(Tone::Bad, &format!(", {damaged} damaged"));
        }
        self.field("Snapshots", &text);
    }

    fn pending(&mut self, overlay: &OverlayStatus, now: u64) {
        let Some(pending) = &overlay.pending else {
            return self.field("Pending", "nothing");
        };
        let what = format!("{} at the next boot", action(overlay, pending));
        let what = self.paint.tone(Tone::Notice, &what);
        self.field("Pending", &what);
        let boot = if pending.this_boot { "" } else { ", in an earlier boot" };
        let by = asked_by(&pending.requested_by, pending.via.as_deref());
        self.continued(&format!("by {by}, {}{boot}", when(pending.requested_at, now)));
        if !pending.keep.is_empty() {
            self.continued(&format!("keeps {}", first(&pending.keep, pending.keep.len() as u64)));
        }
        if pending.drop_kept {
            self.continued("keeps nothing of what the configuration says");
        }
    }

    fn last(&mut self, outcome: Option<&Outcome>, now: u64) {
        let Some(outcome) = outcome else { return self.field("Last", "nothing yet") };
        self.field("Last", &last(outcome, now));
        if outcome.kept_count > 0 {
            self.continued(&kept(outcome));
        }
        if !outcome.unmatched.is_empty() {
            let patterns = first(&outcome.unmatched, outcome.unmatched.len() as u64);
            self.continued(&format!("nothing to keep matched {patterns}"));
        }
        if outcome.erasure.as_deref() == Some(ERASING) {
            let text = self.paint.tone(Tone::Notice, "erasing what was given up");
            self.continued(&text);
        }
        if let Some(secure) = &outcome.secure {
            let why = outcome.secure_why.as_deref().unwrap_or("no reason is recorded");
            self.continued(&format!("erased securely: {secure}: {why}"));
        }
    }

    fn health(&mut self, health: &Health) {
        let (tone, text) = match health.state.as_str() {
            "good" => (Tone::Good, "good".to_owned()),
            "pending" => {
                (Tone::Notice, format!("boot {} of {}, not marked good yet", health.boots, health.tries))
            }
            "bad" => {
                let next = health.next.as_deref().unwrap_or("what was before");
                (Tone::Bad, format!("bad: the next boot goes back to {next}"))
            }
            "failed" => {
                (Tone::Bad, "boots do not come up, and there is nothing left to go back to".to_owned())
            }
            _ => (Tone::Notice, "off: boots are not counted".to_owned()),
        };
        let text = self.paint.tone(tone, &text);
        self.field("Health", &text);
        for (generation, why) in &health.bad {
            self.continued(&format!("generation {generation} is bad: {}", plain(why)));
        }
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
}

/// `512M of 1G (50%), 99% of the inodes`: free, and in all.
fn free(of_bytes: (u64, u64), of_inodes: (u64, u64)) -> String {
    let part = percent(of_bytes.0, of_bytes.1);
    let mut text = format!("{} of {} ({part}%)", bytes(of_bytes.0), bytes(of_bytes.1));
    if of_inodes.1 > 0 {
        // Writing to a String can not fail.
        let _ = write!(text, ", {}% of the inodes", percent(of_inodes.0, of_inodes.1));
    }
    text
}

/// `12.3M in 841 entries`.
pub(crate) fn usage(usage: &Usage) -> String {
    let least = if usage.complete { "" } else { "at least " };
    format!("{least}{} in {}", bytes(usage.bytes), count(usage.entries, "entry", "entries"))
}

/// `3 "before the upgrade"`.
fn title(overlay: &OverlayStatus, id: u64) -> String {
    let found = overlay.snapshots.iter().find(|s| s.id == id).map_or("", |s| s.description.as_str());
    if found.is_empty() { id.to_string() } else { format!("{id} \"{found}\"") }
}

/// `restore of snapshot 3 "before the upgrade"`.
fn action(overlay: &OverlayStatus, pending: &Pending) -> String {
    if pending.action == "reset" {
        return reset(&pending.level).to_owned();
    }
    match (pending.action.as_str(), pending.snapshot, pending.generation) {
        ("snapshot", Some(id), _) if pending.commit => format!("commit as snapshot {id}"),
        ("snapshot", Some(id), _) => format!("snapshot {id} is made"),
        ("undo", _, Some(generation)) => format!("undo, back to generation {generation},"),
        (action, Some(id), _) => format!("{action} of snapshot {}", title(overlay, id)),
        ("restore", None, _) => "restore of the bare image".to_owned(),
        (action, ..) => action.to_owned(),
    }
}

fn last(outcome: &Outcome, now: u64) -> String {
    // What failed changed nothing.
    let moved = match (outcome.result.as_str(), outcome.from_generation) {
        ("failed", _) => String::new(),
        (_, Some(from)) => format!(", from generation {from} to {}", outcome.to_generation),
        (_, None) => format!(", to generation {}", outcome.to_generation),
    };
    let why = outcome.message.as_ref().or(outcome.reason.as_ref());
    let why = why.map_or_else(String::new, |why| format!(": {}", plain(why)));
    let snapshot = outcome.snapshot.map_or_else(String::new, |id| format!(" on snapshot {id}"));
    let snapshot = if moved.is_empty() { String::new() } else { snapshot };
    let action = if outcome.action == "reset" { reset(&outcome.level) } else { &outcome.action };
    format!(
        "{action} {} {}{moved}{snapshot}, asked by {}{why}",
        outcome.result,
        when(outcome.executed_at, now),
        asked_by(&outcome.requested_by, outcome.via.as_deref())
    )
}

/// What a reset of this level is called.
fn reset(level: &str) -> &'static str {
    match level {
        "factory" => "factory reset",
        "wipe" => "wipe",
        _ => "reset",
    }
}

/// Who asked, and by what way, where that does not say so already.
fn asked_by(by: &str, via: Option<&str>) -> String {
    match via {
        Some(via) if !by.contains(via) => format!("{by}, through {}", plain(via)),
        _ => by.to_owned(),
    }
}

/// `kept 12 paths: /etc/machine-id, …`; the names are for root only.
fn kept(outcome: &Outcome) -> String {
    let text = format!("kept {}", count(outcome.kept_count, "path", "paths"));
    match outcome.kept.is_empty() {
        true => text,
        false => format!("{text}: {}", first(&outcome.kept, outcome.kept_count)),
    }
}

/// The first few of some paths or patterns, and how many more there are of `count`.
fn first(list: &[String], count: u64) -> String {
    let shown: Vec<String> = list.iter().take(NAMED).map(|text| plain(text)).collect();
    match count.saturating_sub(shown.len() as u64) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Where it is mounted, if it is.
pub(crate) fn place(word: &str, overlay: &OverlayStatus) -> String {
    match overlay.mount_point.as_str() {
        "" => String::new(),
        path => format!("{word}{path}"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
