//! Being asked to stop: the first signal is remembered, a second one ends the process at once.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result};

/// The number of the signal that came; 0 as long as none did.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// From here on SIGINT, SIGTERM and SIGHUP do not end the process the first time: [`caught`] tells that one came.
pub fn catch_stop() -> Result<()> {
    let flags = SaFlags::SA_RESTART | SaFlags::SA_RESETHAND;
    let action = SigAction::new(SigHandler::Handler(remember), flags, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        #[expect(unsafe_code, reason = "a signal handler")]
        unsafe { sigaction(signal, &action) }.map_err(|e| Error::io("catch", signal.as_str(), e))?;
    }
    Ok(())
}

/// The number of the signal that came, if one did.
pub fn caught() -> Option<i32> {
    Some(CAUGHT.load(Ordering::Relaxed)).filter(|number| *number != 0)
}

extern "C" fn remember(number: i32) {
    CAUGHT.store(number, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_remembered() {
        catch_stop().unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(caught(), Some(Signal::SIGHUP as i32));
        catch_stop().unwrap();
    }
}
