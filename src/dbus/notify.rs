//! Telling systemd how the daemon is: ready, alive, about to stop.

use std::time::{Duration, Instant};

use libsystemd::daemon::{self, NotifyState};

/// Ready to serve.
pub(super) fn ready() {
    send(NotifyState::Ready);
}

/// About to exit: start requests are queued from here on, not lost.
pub(super) fn stopping() {
    send(NotifyState::Stopping);
}

/// The watchdog, fed by the main loop: as long as it turns, and not more often than needed.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Half of what systemd allows; none if it does not watch.
    every: Option<Duration>,
    next: Instant,
}

impl Watchdog {
    /// As systemd says in the environment.
    pub(super) fn new() -> Self {
        let every = daemon::watchdog_enabled(false).map(|limit| limit / 2);
        Watchdog { every, next: Instant::now() }
    }

    /// Feeds it if it is time. Called at every turn of the main loop.
    pub(super) fn feed(&mut self) {
        let Some(every) = self.every else { return };
        let now = Instant::now();
        if now >= self.next {
            send(NotifyState::Watchdog);
            self.next = now + every;
        }
    }

    /// When the main loop must turn at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.every.map(|_| self.next)
    }
}

fn send(state: NotifyState) {
    if let Err(error) = daemon::notify(false, &[state]) {
        tracing::warn!("failed to notify the service manager: {error}");
    }
}
