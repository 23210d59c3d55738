//! Telling systemd how the daemon is: ready, alive, about to stop.

use std::time::Duration;

use libsystemd::daemon::{self, NotifyState};

/// Ready to serve.
pub(super) fn ready() {
    send(NotifyState::Ready);
}

/// About to exit: start requests are queued from here on, not lost.
pub(super) fn stopping() {
    send(NotifyState::Stopping);
}

/// The main loop turns.
pub(super) fn alive() {
    send(NotifyState::Watchdog);
}

/// How often [`alive`] must be called: half of what the watchdog allows. None if there is no watchdog.
pub(super) fn interval() -> Option<Duration> {
    daemon::watchdog_enabled(false).map(|limit| limit / 2)
}

fn send(state: NotifyState) {
    if let Err(error) = daemon::notify(false, &[state]) {
        tracing::warn!(error = %error, "failed to notify the service manager");
    }
}
