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
    /// Whether all that was on the device was encrypted. The header with the key slots was overwritten, too.
    pub encrypted: bool,
}

impl Erasure {
    /// Of a reset that leaves the filesystem as it is: the device plays no part.
    pub fn of_files(level: Level, done: Erased) -> Erasure {
        Erasure { level, done, rotational: None, encrypted: false }
    }
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
        (Level::Wipe, done) if erasure.encrypted => destroyed(done, erasure.rotational),
        (Level::Wipe, done) => wiped(done, erasure.rotational),
    }
}

/// Of an encrypted volume nothing was ever on the device that means something without the key.
fn destroyed(done: Erased, rotational: Option<bool>) -> (&'static str, &'static str) {
    match (done, rotational) {
        (Erased::SecurelyDiscarded, _) => (
            "yes",
            "the key slots of the encrypted volume were overwritten, and the whole device was erased with a secure \
             discard (BLKSECDISCARD), by which it promises to destroy every copy",
        ),
        // A key slot is spread over 4000 stripes, all of which are needed (LUKS2 on-disk format, anti-forensic splitter):
        // a sector that the disk had replaced before is worth nothing.
        (_, Some(true)) => (
            "yes",
            "everything on the device was encrypted, and the key slots were overwritten on a rotating disk: nothing can \
             decrypt what may be left",
        ),
        (_, _) => (
            "unknown",
            "everything on the device was encrypted, and the key slots were overwritten: flash may keep an old copy of \
             them, which opens what may be left of the volume to whoever has a key of that time",
        ),
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
        judged(&Erasure { level, done, rotational, encrypted: false })
    }

    fn judged(erasure: &Erasure) -> &'static str {
        let (word, why) = verdict(erasure);
        assert!(why.len() > 40, "{why}");
        word
    }

    #[test]
    fn a_destroyed_key_is_secure_where_overwriting_overwrites() {
        let word =
            |done, rotational| judged(&Erasure { level: Level::Wipe, done, rotational, encrypted: true });
        assert_eq!(word(Erased::Discarded, Some(true)), "yes");
        assert_eq!(word(Erased::Overwritten, Some(true)), "yes");
        assert_eq!(word(Erased::SecurelyDiscarded, Some(false)), "yes");
        assert_eq!(word(Erased::Discarded, Some(false)), "unknown");
        assert_eq!(word(Erased::Overwritten, None), "unknown");
        let factory =
            Erasure { level: Level::Factory, done: Erased::Trimmed, rotational: Some(true), encrypted: true };
        assert_eq!(judged(&factory), "unknown", "the key is still there");
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
