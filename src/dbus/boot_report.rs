//! Tells the journal once a boot what early boot did: that has no journal, and the kernel log takes no fields.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use crate::handoff::{self, Handoff};
use crate::logging::message_id;

/// Beside the handoff: there once this boot was told about.
const MARKER: &str = "reported";

/// Tells, unless an earlier run of the daemon did. Reads the handoff at `path`.
pub(super) fn tell(path: &Path) {
    // A handoff that can not be read is a problem of the status already.
    let Ok(Some(handoff)) = handoff::load(path) else { return };
    match OpenOptions::new().write(true).create_new(true).open(path.with_file_name(MARKER)) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        _ => tell_now(&handoff),
    }
}

fn tell_now(handoff: &Handoff) {
    for (overlay, state) in &handoff.overlay {
        if let Some(request) = &state.executed {
            tracing::info!(
                message_id = message_id::RESET_EXECUTED,
                operation = "reset",
                overlay,
                request,
                generation = state.generation,
                "reset executed at boot"
            );
        }
        if let Some(reason) = &state.reason {
            tracing::warn!(
                message_id = message_id::BOOTED_DEGRADED,
                overlay,
                mode = state.mode.word(),
                configured = state.configured.word(),
                reason,
                "overlay is not in its configured mode"
            );
        }
    }
}
