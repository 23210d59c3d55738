//! Whether what was erased can still be had back, and why: the one place that says so, in words for an auditor.
//!
//! `yes` is said only where the device itself promises it, or where the key is gone; what a device was merely told, or
//! what its flash may have kept aside, is `unknown`; what is known to stay is `no`.

use crate::store::records::Level;

/// What was done to what was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// Nothing: it is retained.
    Nothing,
    /// Its files were deleted.
    Deleted,
    /// Its files were deleted, and the filesystem told the device which blocks are free (FITRIM).
    Trimmed,
    /// The whole device was overwritten with zeros: it can not discard.
    Overwritten,
    /// The whole device was discarded (BLKDISCARD), and reads as zeros.
    Discarded,
    /// The whole device was discarded, and told to destroy every copy (BLKSECDISCARD), and reads as zeros.
    SecurelyDiscarded,
}

/// What there is to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// How far the reset went.
    pub level: Level,
    /// What was done.
    pub done: Erased,
    /// Whether the device says that it is a rotating disk; none if it does not say.
    pub rotational: Option<bool>,
}

/// `yes`, `no` or `unknown`, and why.
pub fn verdict(erasure: &Erasure) -> (&'static str, &'static str) {
    match (erasure.level, erasure.done) {
        (_, Erased::Nothing) => {
            ("no", "nothing is erased: what was left is retained, for an undo, or until space is needed")
        }
        (Level::Baseline, _) => (
            "no",
            "only the layer that was left is deleted, snapshots stay, and the device is not told to forget anything",
        ),
        // A filesystem's own discards reach neither its journal nor what the device had moved elsewhere before.
        (Level::Factory, Erased::Deleted) => (
            "no",
            "the files were deleted, and the device was not told to forget them: their contents stay on it until they \
             are overwritten",
        ),
        (Level::Factory, _) => (
            "unknown",
            "the files were deleted and their blocks discarded (FITRIM): whether the device forgets discarded blocks, \
             only its maker knows; names may stay in the filesystem's journal",
        ),
        (Level::Wipe, done) => wiped(done, erasure.rotational),
    }
}

fn wiped(done: Erased, rotational: Option<bool>) -> (&'static str, &'static str) {
    match (done, rotational) {
        (Erased::SecurelyDiscarded, _) => (
            "yes",
            "the whole device was erased with a secure discard (BLKSECDISCARD), by which it promises to destroy every \
             copy, and reads as zeros since",
        ),
        (Erased::Discarded, _) => (
            "unknown",
            "the whole device was discarded (BLKDISCARD), and reads as zeros since: whether its flash forgets \
             discarded blocks, only its maker knows",
        ),
        (_, Some(false)) => (
            "no",
            "the whole device was overwritten with zeros, because it can not discard: it is no rotating disk, and flash \
             keeps old copies of blocks that are overwritten",
        ),
        (_, _) => (
            "unknown",
            "the whole device was overwritten with zeros, because it can not discard: sectors that it had replaced \
             before were not reached",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(level: Level, done: Erased, rotational: Option<bool>) -> &'static str {
        let (word, why) = verdict(&Erasure { level, done, rotational });
        assert!(why.len() > 40, "{why}");
        word
    }

    #[test]
    fn only_a_secure_discard_of_the_device_is_called_secure() {
        for rotational in [None, Some(false), Some(true)] {
            assert_eq!(word(Level::Wipe, Erased::SecurelyDiscarded, rotational), "yes");
            assert_eq!(word(Level::Wipe, Erased::Discarded, rotational), "unknown");
            for level in [Level::Baseline, Level::Factory] {
                for done in [Erased::Nothing, Erased::Deleted, Erased::Trimmed] {
                    assert_ne!(word(level, done, rotational), "yes", "{level:?} {done:?}");
                }
            }
        }
    }

    #[test]
    fn overwritten_flash_is_not_secure_and_a_disk_is_unknown() {
        assert_eq!(word(Level::Wipe, Erased::Overwritten, Some(false)), "no");
        assert_eq!(word(Level::Wipe, Erased::Overwritten, Some(true)), "unknown");
        assert_eq!(word(Level::Wipe, Erased::Overwritten, None), "unknown");
    }

    #[test]
    fn deletion_without_discard_is_never_secure() {
        assert_eq!(word(Level::Baseline, Erased::Nothing, None), "no");
        assert_eq!(word(Level::Baseline, Erased::Trimmed, None), "no");
        assert_eq!(word(Level::Factory, Erased::Deleted, Some(true)), "no");
        assert_eq!(word(Level::Factory, Erased::Trimmed, Some(false)), "unknown");
    }
}
