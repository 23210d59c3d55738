//! The table of `snapshot list` and the page of `snapshot show`. Pure.

use super::format::{bytes, date, when};
use super::output::{Paint, Tone};
use super::page::{Page, columns, or};
use super::request::{entries, listed};
use crate::status::{OverlayStatus, Snapshot};

/// One line a snapshot, oldest first.
pub(crate) fn table(overlay: &OverlayStatus) -> String {
    if overlay.snapshots.is_empty() {
        return format!("There are no snapshots of {}.\n", overlay.name);
    }
    let head = ["ID", "CREATED", "SIZE", "ENTRIES", "FLAGS", "DESCRIPTION"].map(str::to_owned);
    let rows = overlay.snapshots.iter().map(|s| {
        let sound = |text: String| if s.damage.is_some() { "-".to_owned() } else { text };
        let counted = |text: String| if is_counted(s) { sound(text) } else { "-".to_owned() };
        let flags = flags(overlay, s).join(",");
        [
            s.id.to_string(),
            sound(date(s.created)),
            counted(bytes(s.bytes)),
            counted(s.entries.to_string()),
            or(&flags, "-").to_owned(),
            s.description.clone(),
        ]
    });
    columns(std::iter::once(head).chain(rows).collect())
}

/// All that is known about one.
pub(crate) fn page(overlay: &OverlayStatus, snapshot: &Snapshot, now: u64, paint: Paint) -> String {
    let mut page = Page::new(paint);
    let title = format!("snapshot {} of {}", snapshot.id, overlay.name);
    let description = match snapshot.description.as_str() {
        "" => String::new(),
        text => format!(" - {text}"),
    };
    let tone = if snapshot.damage.is_some() { Tone::Bad } else { Tone::Good };
    page.title(tone, &(title + &description));
    let flags = flags(overlay, snapshot).join(", ");
    page.field("Flags", or(&flags, "none"));
    if let Some(why) = &snapshot.in_use {
        page.field("In use", why);
    }
    if let Some(damage) = &snapshot.damage {
        let text = page.paint.tone(Tone::Bad, damage);
        page.field("Damage", &text);
        return page.text;
    }
    page.field("Created", &when(snapshot.created, now));
    page.continued(&format!("by {}", or(&snapshot.created_by, "somebody")));
    let from = snapshot.generation.map_or_else(|| "a layer in RAM".to_owned(), |n| format!("generation {n}"));
    page.field("Made from", &from);
    page.field("Base", &snapshot.base);
    page.field("Holds", &holds(snapshot));
    page.field("Strategy", &snapshot.strategy);
    page.field("Consistency", consistency(&snapshot.consistency));
    for (place, (key, value)) in snapshot.userdata.iter().enumerate() {
        let text = format!("{key}={value}");
        if place == 0 { page.field("Userdata", &text) } else { page.continued(&text) }
    }
    if !snapshot.unstable.is_empty() {
        let text = page.paint.tone(Tone::Notice, "these files changed each time they were copied:");
        page.field("Unstable", &text);
        listed(&snapshot.unstable, true).lines().for_each(|line| page.continued(line));
    }
    page.text
}

/// `12.3M in 841 entries`.
pub(crate) fn holds(snapshot: &Snapshot) -> String {
    if !is_counted(snapshot) {
        return "not counted".to_owned();
    }
    format!("{} in {}", bytes(snapshot.bytes), entries(snapshot.entries))
}

/// What is made in constant time may be too large to be counted.
fn is_counted(snapshot: &Snapshot) -> bool {
    let constant = matches!(snapshot.strategy.as_str(), "subvolume" | "sealed");
    !constant || snapshot.entries > 0
}

fn flags(overlay: &OverlayStatus, snapshot: &Snapshot) -> Vec<&'static str> {
    let other_base = snapshot.damage.is_none() && !overlay.base.is_empty() && snapshot.base != overlay.base;
    let all = [
        (snapshot.baseline, "baseline"),
        (snapshot.live, "live"),
        (snapshot.protected, "protected"),
        (other_base, "other-base"),
        (snapshot.damage.is_some(), "damaged"),
    ];
    all.into_iter().filter_map(|(is, flag)| is.then_some(flag)).collect()
}

fn consistency(word: &str) -> &str {
    match word {
        "atomic" => "atomic: as it was at one instant",
        "per-file" => "per-file: each file as it was at one instant",
        other => other,
    }
}
