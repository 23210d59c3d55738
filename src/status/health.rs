//! How the boots of the root are, for the status. Pure.

use super::{Health, OverlayStatus};
use crate::config::{self, Mode};
use crate::plan::health::{self, Found};
use crate::store::OverlayView;
use crate::store::health_record::{HealthRecord, Rung};

/// What there is to tell; none of an overlay that is not mounted, whose rules are not at hand.
pub(super) fn of(state: &OverlayView, overlay: &OverlayStatus, root: &config::Overlay) -> Option<Health> {
    let known = state.health.as_ref().and_then(|health| health.as_ref().ok());
    let is_mounted = !overlay.configured_mode.is_empty();
    let is_on = is_mounted && health::is_on(root) && overlay.configured_mode == Mode::Persistent.word();
    if !is_mounted && known.is_none() {
        return None;
    }
    let record = known.cloned().unwrap_or_default();
    let (bad, rung) = (by_number(&record), record.rung.word().to_owned());
    let told = Health { good: record.good, bad, rung, by: record.by, at: record.at, ..Health::default() };
    let found = Found::of(state, root).filter(|_| is_on);
    let Some(found) = found else { return Some(Health { state: "off".to_owned(), ..told }) };
    let next = found.next(state);
    // A boot that is one too many has still to be given its chance: only a mark, or the next boot, makes it bad.
    let is_marked = known.is_some_and(|h| h.badness(found.live).is_some());
    let word = match (is_marked, &next) {
        (true, Some(_)) => "bad",
        (true, None) => "failed",
        _ if found.boots == 0 && known.is_some_and(|h| h.good == Some(found.live)) => "good",
        _ if found.why.is_some() && record.rung == Rung::Bare => "failed",
        _ => "pending",
    };
    Some(Health {
        state: word.to_owned(),
        boots: found.boots,
        tries: root.tries,
        tries_left: if is_marked { 0 } else { root.tries.saturating_sub(found.boots) },
        next: next.filter(|_| is_marked).map(|next| next.to_string()),
        ..told
    })
}

fn by_number(record: &HealthRecord) -> std::collections::BTreeMap<u64, String> {
    record.bad.iter().filter_map(|(number, why)| Some((number.parse().ok()?, why.clone()))).collect()
}
