//! The last argument of every method: bits that are known, and nothing else.

use super::errors::{BusError, BusResult};
use super::reboot::Boot;
use crate::store::records::Level;

/// Of `Reset`, `Restore` and `Undo`: at once, by a soft-reboot.
pub(super) const SOFT_REBOOT: u64 = 1;
/// Of `CreateSnapshot` and `Commit`: at the next boot.
pub(super) const QUIESCED: u64 = 1;
/// Of `Reset`, `Restore` and `Undo`: at once, by a reboot.
pub(super) const REBOOT: u64 = 2;
/// Of `CheckStore`: what can be proved is repaired.
pub(super) const REPAIR: u64 = 1;
/// Of `CheckStore`: every file of every layer is looked at, too.
pub(super) const LAYERS: u64 = 2;
/// Of everything that can be shown first.
pub(super) const DRY_RUN: u64 = 4;
/// Of `Restore`: the paths come from the base.
pub(super) const FROM_BASE: u64 = 8;
/// Of `Reset`: what the configuration keeps is not kept.
pub(super) const DROP_KEPT: u64 = 8;
/// Delete what was bad before.
pub(super) const FORGET: u64 = 1;

/// When a reset takes effect, or whether it is only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// At the next boot, whenever that is.
    NextBoot,
    /// At once, by a reboot.
    Reboot,
    /// At once, by a soft-reboot.
    SoftReboot,
    /// Not at all: the plan is reported.
    DryRun,
}

impl Effect {
    /// What boots for it.
    pub(super) fn boots(self) -> Option<Boot> {
        match self {
            Effect::Reboot => Some(Boot::Full),
            Effect::SoftReboot => Some(Boot::Soft),
            Effect::NextBoot | Effect::DryRun => None,
        }
    }
}

/// How a snapshot or a commit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// Of what is live, now.
    Now,
    /// At the next boot, before anything runs.
    Quiesced,
    /// Not at all: what it would hold is reported.
    DryRun,
}

/// What `CheckStore` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checking {
    /// It tells what is wrong, and what a repair would do.
    Look,
    /// It repairs.
    Repair,
}

/// How far `CheckStore` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// At what the store itself consists of.
    Records,
    /// At every file of every layer, too.
    Layers,
}

/// What `Restore` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The snapshot whose number is given.
    Snapshot,
    /// The base alone.
    Base,
}

/// For methods that know no flag yet.
pub(super) fn none(flags: u64) -> BusResult<()> {
    known(flags, 0)
}

/// For `Reset`, `Restore` and `Undo`: 1 soft-reboot, 2 reboot, 4 dry run.
pub(super) fn effect(flags: u64) -> BusResult<Effect> {
    known(flags, SOFT_REBOOT | REBOOT | DRY_RUN)?;
    match flags {
        0 => Ok(Effect::NextBoot),
        REBOOT => Ok(Effect::Reboot),
        DRY_RUN => Ok(Effect::DryRun),
        SOFT_REBOOT => Ok(Effect::SoftReboot),
        other => Err(exclude(other)),
    }
}

/// For `CreateSnapshot`: 1 quiesced.
pub(super) fn snapshot(flags: u64) -> BusResult<Taking> {
    known(flags, QUIESCED)?;
    commit(flags)
}

/// For `Commit`: 1 quiesced, 4 dry run.
pub(super) fn commit(flags: u64) -> BusResult<Taking> {
    known(flags, QUIESCED | DRY_RUN)?;
    match flags {
        0 => Ok(Taking::Now),
        QUIESCED => Ok(Taking::Quiesced),
        DRY_RUN => Ok(Taking::DryRun),
        other => Err(exclude(other)),
    }
}

/// For `CheckStore`: 1 repair, 4 dry run of it; 2 of the layers, too.
pub(super) fn check(flags: u64) -> BusResult<(Checking, Reach)> {
    known(flags, REPAIR | LAYERS | DRY_RUN)?;
    let repairs = flags & (REPAIR | DRY_RUN) == REPAIR;
    let reach = if flags & LAYERS == 0 { Reach::Records } else { Reach::Layers };
    Ok((if repairs { Checking::Repair } else { Checking::Look }, reach))
}

/// For `Restore`: as [`effect`], and 8 from the base.
pub(super) fn restore(flags: u64) -> BusResult<(Effect, Source)> {
    known(flags, SOFT_REBOOT | REBOOT | DRY_RUN | FROM_BASE)?;
    let source = if flags & FROM_BASE == 0 { Source::Snapshot } else { Source::Base };
    Ok((effect(flags & !FROM_BASE)?, source))
}

/// For `Reset`: as [`effect`], and whether 8, drop what the configuration keeps.
pub(super) fn reset(flags: u64) -> BusResult<(Effect, bool)> {
    known(flags, SOFT_REBOOT | REBOOT | DRY_RUN | DROP_KEPT)?;
    Ok((effect(flags & !DROP_KEPT)?, flags & DROP_KEPT != 0))
}

/// Of `MarkGood`: whether what was bad before is deleted.
pub(super) fn mark(flags: u64) -> BusResult<bool> {
    known(flags, FORGET)?;
    Ok(flags & FORGET != 0)
}

fn known(flags: u64, known: u64) -> BusResult<()> {
    match flags & !known {
        0 => Ok(()),
        other => Err(BusError::invalid(format!("unknown flags {other:#x}"))),
    }
}

fn exclude(flags: u64) -> BusError {
    BusError::invalid(format!("flags {flags:#x} exclude each other"))
}

/// For `Reset`: how far; `reset` and empty mean the mildest.
pub(super) fn level(level: &str) -> BusResult<Level> {
    match level {
        "" | "reset" => Ok(Level::Baseline),
        word => Level::of(word).ok_or_else(|| {
            BusError::invalid(format!("unknown level \"{word}\" (use \"baseline\", \"factory\" or \"wipe\")"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bits_one_at_a_time() {
        assert_eq!(effect(0).unwrap(), Effect::NextBoot);
        assert_eq!(effect(2).unwrap(), Effect::Reboot);
        assert_eq!(effect(4).unwrap(), Effect::DryRun);
        assert_eq!(effect(1).unwrap(), Effect::SoftReboot);
        for bad in [3, 5, 6, 7, 8, u64::MAX] {
            assert_eq!(effect(bad).unwrap_err().name(), "org.freedesktop.DBus.Error.InvalidArgs", "{bad}");
        }
        assert!(none(0).is_ok() && none(1).is_err());
    }

    #[test]
    fn each_method_has_its_own_bits() {
        assert_eq!(snapshot(1).unwrap(), Taking::Quiesced);
        assert!(snapshot(4).is_err() && snapshot(2).is_err());
        assert_eq!(commit(4).unwrap(), Taking::DryRun);
        assert!(commit(5).is_err() && commit(2).is_err());
        assert_eq!(check(1).unwrap(), (Checking::Repair, Reach::Records));
        assert_eq!(check(3).unwrap(), (Checking::Repair, Reach::Layers));
        assert!([0, 4, 5].iter().all(|flags| check(*flags).unwrap() == (Checking::Look, Reach::Records)));
        assert!([2, 6, 7].iter().all(|flags| check(*flags).unwrap() == (Checking::Look, Reach::Layers)));
        assert!(check(8).is_err());
        assert_eq!(restore(12).unwrap(), (Effect::DryRun, Source::Base));
        assert_eq!(restore(2).unwrap(), (Effect::Reboot, Source::Snapshot));
        assert!(restore(16).is_err() && restore(6).is_err());
        assert_eq!(restore(1).unwrap(), (Effect::SoftReboot, Source::Snapshot));
    }

    #[test]
    fn a_mark_may_forget() {
        assert!(mark(1).unwrap() && !mark(0).unwrap());
        assert!(mark(2).is_err());
    }

    #[test]
    fn levels() {
        for word in ["", "reset", "baseline"] {
            assert_eq!(level(word).unwrap(), Level::Baseline, "{word}");
        }
        assert_eq!(level("factory").unwrap(), Level::Factory);
        assert_eq!(level("wipe").unwrap(), Level::Wipe);
        for bad in ["x", "Factory", "factory "] {
            assert_eq!(level(bad).unwrap_err().name(), "org.freedesktop.DBus.Error.InvalidArgs", "{bad}");
        }
    }

    #[test]
    fn a_reset_may_drop_what_is_kept() {
        assert_eq!(reset(8).unwrap(), (Effect::NextBoot, true));
        assert_eq!(reset(12).unwrap(), (Effect::DryRun, true));
        assert_eq!(reset(2).unwrap(), (Effect::Reboot, false));
        assert!(reset(16).is_err() && reset(14).is_err());
    }
}
