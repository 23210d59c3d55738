//! Tells the journal once a boot what early boot did: that has no journal, and the kernel log takes no fields.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use super::core::Places;
use crate::config::Mode;
use crate::handoff::{self, Handoff};
use crate::logging::message_id;
use crate::plan::{execute, health};
use crate::store::records::{Action, OutcomeRecord};
use crate::store::{Layout, read};

/// Beside the handoff: there once this boot was told about.
const MARKER: &str = "reported";

/// Tells, unless an earlier run of the daemon did.
pub(super) fn tell(places: &Places) {
    // A handoff that can not be read is a problem of the status already.
    let Ok(Some(handoff)) = handoff::load(&places.handoff) else { return };
    match OpenOptions::new().write(true).create_new(true).open(places.handoff.with_file_name(MARKER)) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        _ => tell_now(&handoff, places.store.as_deref()),
    }
}

fn tell_now(handoff: &Handoff, store: Option<&Path>) {
    nothing_below(handoff);
    for (overlay, state) in &handoff.overlay {
        let outcome = store.and_then(|store| read::outcome(&Layout::new(store), overlay));
        match outcome.filter(|outcome| outcome.boot == handoff.boot_id) {
            Some(outcome) if outcome.result == "done" => executed(overlay, &outcome),
            Some(outcome) => failed(overlay, &outcome),
            None => {}
        }
        match &state.reason {
            // A fallback of a volatile overlay is volatile, too.
            Some(reason) if state.mode == Mode::Persistent => tracing::error!(
                message_id = message_id::LAYER_LOST,
                overlay,
                reason,
                "overlay `{overlay}`: {reason}"
            ),
            Some(reason) => tracing::warn!(
                message_id = message_id::BOOTED_DEGRADED,
                overlay,
                mode = state.mode.word(),
                configured = state.configured.word(),
                reason,
                "overlay `{overlay}` is not in its configured mode: {reason}"
            ),
            None => {}
        }
    }
}

/// Nothing more happens by itself: somebody has to know.
fn nothing_below(handoff: &Handoff) {
    let told = handoff.problems.iter().find(|problem| problem.contains(health::NOTHING_BELOW));
    if let Some(reason) = told {
        tracing::error!(
            message_id = message_id::NOTHING_BELOW,
            operation = "health",
            overlay = execute::ROOT,
            reason,
            "boots do not come up: {reason}"
        );
    }
}

fn executed(overlay: &str, outcome: &OutcomeRecord) {
    let message_id = match outcome.action {
        _ if by_itself(outcome) => message_id::WENT_BACK,
        Action::Reset => message_id::RESET_EXECUTED,
        Action::Restore => message_id::RESTORE_EXECUTED,
        Action::Undo => message_id::UNDO_EXECUTED,
        Action::Snapshot => message_id::SNAPSHOT_SEALED,
    };
    let operation = outcome.action.word();
    tracing::info!(
        message_id,
        operation,
        overlay,
        request = outcome.request,
        by = outcome.requested_by,
        via = outcome.via,
        reason = outcome.reason,
        level = level(outcome),
        generation = outcome.to_generation,
        from_generation = outcome.from_generation,
        snapshot = outcome.snapshot,
        erasure = outcome.erasure,
        "{operation} executed at boot"
    );
    if outcome.kept_count.is_some_and(|count| count > 0) || !outcome.unmatched.is_empty() {
        kept(overlay, outcome);
    }
}

/// Whether boots that did not come up are why.
fn by_itself(outcome: &OutcomeRecord) -> bool {
    outcome.reason.is_some() && outcome.via.as_deref() == Some(health::VIA)
}

/// How far a reset went; nothing for what is none.
fn level(outcome: &OutcomeRecord) -> Option<&'static str> {
    (outcome.action == Action::Reset).then(|| outcome.level.word())
}

fn kept(overlay: &str, outcome: &OutcomeRecord) {
    tracing::info!(
        message_id = message_id::RESET_KEPT,
        operation = outcome.action.word(),
        overlay,
        request = outcome.request,
        count = outcome.kept_count.unwrap_or(0),
        kept = outcome.kept.join(" "),
        unmatched = outcome.unmatched.join(" "),
        "files kept over the reset"
    );
}

fn failed(overlay: &str, outcome: &OutcomeRecord) {
    let message_id = match outcome.action {
        Action::Reset => message_id::RESET_FAILED,
        Action::Restore | Action::Undo | Action::Snapshot => message_id::REQUEST_FAILED,
    };
    let operation = outcome.action.word();
    let reason = outcome.message.as_deref().unwrap_or("no reason is recorded");
    tracing::error!(
        message_id,
        operation,
        overlay,
        request = outcome.request,
        by = outcome.requested_by,
        via = outcome.via,
        level = level(outcome),
        reason,
        "{operation} could not be executed at boot: {reason}"
    );
}
