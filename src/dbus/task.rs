//! What jobs are for: their names, what each needs for itself, and who may ask for it. Data only.

use std::path::PathBuf;

use super::authority::{
    COMMIT, CREATE_SNAPSHOT, DELETE_SNAPSHOT, FACTORY_RESET, READ_CHANGES, REPAIR_STORE, RESET, RESTORE,
};
use super::flags::{Checking, Effect, Reach, Taking};
use super::reboot::Boot;
use crate::operation::restore::From;
use crate::operation::snapshot::Wanted;
use crate::plan::request::Resetting;
use crate::store::records::Level;

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Asks for a reset at the next boot, or shows its plan and what is lost by it.
    Reset {
        /// How far, and what is kept.
        wanted: Resetting,
        /// What asks, if not whoever is at the bus.
        via: Option<String>,
        /// When.
        effect: Effect,
    },
    /// Makes a snapshot, or asks for one at the next boot.
    Snapshot(Wanted, Taking),
    /// Makes a snapshot and the baseline of it, or shows what it would hold.
    Commit(Wanted, Vec<PathBuf>, Taking),
    /// Asks for a generation on a snapshot at the next boot, or shows the plan.
    Restore(u64, Effect),
    /// Brings single paths back, at once.
    Paths(From, Vec<PathBuf>, Effect),
    /// Asks for the generation before at the next boot, or shows the plan.
    Undo(Effect),
    /// Moves a snapshot into the trash.
    Delete(u64),
    /// Deletes what lies in the trash.
    Cleanup,
    /// Looks the whole store through, or repairs it, too.
    Check(Checking, Reach),
}

/// What a job needs for itself: of each, one at a time on an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Nothing: it only reads, or yields to everything.
    Free,
    /// The request for the next boot. An instant.
    Request,
    /// The snapshots, or the mounted tree. Seconds or minutes; requests do not wait for it.
    Content,
}

impl Work {
    /// The job's type on the bus.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Work::Reset { .. } => "reset",
            Work::Snapshot(..) => "snapshot",
            Work::Commit(..) => "commit",
            Work::Restore(..) => "restore",
            Work::Paths(..) => "paths",
            Work::Undo(_) => "undo",
            Work::Delete(_) => "delete",
            Work::Cleanup => "cleanup",
            Work::Check(..) => "check",
        }
    }

    /// What it needs for itself.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Work::Cleanup | Work::Check(Checking::Look, _) => Lane::Free,
            Work::Check(Checking::Repair, _) => Lane::Content,
            Work::Reset { effect, .. } | Work::Restore(_, effect) | Work::Undo(effect) => match effect {
                Effect::DryRun => Lane::Free,
                Effect::NextBoot | Effect::Reboot | Effect::SoftReboot => Lane::Request,
            },
            Work::Snapshot(_, taking) | Work::Commit(_, _, taking) => match taking {
                Taking::DryRun => Lane::Free,
                Taking::Quiesced => Lane::Request,
                Taking::Now => Lane::Content,
            },
            Work::Paths(_, _, Effect::DryRun) => Lane::Free,
            Work::Paths(..) | Work::Delete(_) => Lane::Content,
        }
    }

    /// Whether the state device is erased.
    pub(super) fn wipes(&self) -> bool {
        matches!(self, Work::Reset { wanted, .. } if wanted.level == Level::Wipe)
    }

    /// What boots once it is done.
    pub(super) fn boots(&self) -> Option<Boot> {
        match self {
            Work::Reset { effect, .. } | Work::Restore(_, effect) | Work::Undo(effect) => effect.boots(),
            _ => None,
        }
    }

    /// Whether its end, whatever it is, may leave something in the trash.
    pub(super) fn litters(&self) -> bool {
        self.lane() != Lane::Free
    }

    /// The polkit actions of which one is enough. Empty: for root alone. What only shows something can be had by
    /// those who may read it, and by those who may do it.
    pub(super) fn actions(&self) -> &'static [&'static str] {
        match self {
            Work::Reset { wanted, effect: Effect::DryRun, .. } => match wanted.level {
                Level::Baseline => &[RESET, READ_CHANGES],
                Level::Factory | Level::Wipe => &[FACTORY_RESET, READ_CHANGES],
            },
            Work::Reset { wanted, .. } => match wanted.level {
                Level::Baseline => &[RESET],
                Level::Factory | Level::Wipe => &[FACTORY_RESET],
            },
            Work::Snapshot(..) => &[CREATE_SNAPSHOT],
            Work::Commit(_, _, Taking::DryRun) => &[COMMIT, READ_CHANGES],
            Work::Commit(..) => &[COMMIT],
            Work::Restore(_, Effect::DryRun) | Work::Undo(Effect::DryRun) => &[RESTORE, READ_CHANGES],
            Work::Paths(_, _, Effect::DryRun) => &[RESTORE, READ_CHANGES],
            Work::Restore(..) | Work::Paths(..) | Work::Undo(_) => &[RESTORE],
            Work::Delete(_) => &[DELETE_SNAPSHOT],
            Work::Cleanup => &[],
            Work::Check(Checking::Look, _) => &[REPAIR_STORE, READ_CHANGES],
            Work::Check(Checking::Repair, _) => &[REPAIR_STORE],
        }
    }

    /// What polkit's rules and messages get to know of it.
    pub(super) fn about(&self, overlay: &str) -> Vec<(&'static str, String)> {
        let mut about = vec![("overlay", overlay.to_owned())];
        match self {
            Work::Reset { wanted, .. } => about.push(("level", wanted.level.word().to_owned())),
            Work::Commit(_, paths, _) => about.push(("paths", paths.len().to_string())),
            Work::Restore(id, _) | Work::Delete(id) => about.push(("snapshot", id.to_string())),
            Work::Paths(from, paths, _) => {
                let snapshot = match from {
                    From::Snapshot(id) => id.to_string(),
                    From::Base => "base".to_owned(),
                };
                about.extend([("snapshot", snapshot), ("paths", paths.len().to_string())]);
            }
            Work::Snapshot(..) | Work::Undo(_) | Work::Cleanup | Work::Check(..) => {}
        }
        about
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_writes_needs_something_for_itself() {
        let wanted = Wanted::default;
        assert_eq!(Work::Snapshot(wanted(), Taking::Now).lane(), Lane::Content);
        assert_eq!(Work::Snapshot(wanted(), Taking::Quiesced).lane(), Lane::Request);
        assert_eq!(Work::Commit(wanted(), vec![], Taking::DryRun).lane(), Lane::Free);
        assert_eq!(Work::Paths(From::Base, vec![], Effect::NextBoot).lane(), Lane::Content);
        assert_eq!(Work::Paths(From::Base, vec![], Effect::DryRun).lane(), Lane::Free);
        assert_eq!(Work::Restore(1, Effect::Reboot).lane(), Lane::Request);
        assert_eq!(Work::Cleanup.lane(), Lane::Free);
    }

    #[test]
    fn how_far_a_reset_goes_decides_who_may() {
        let work = |level, effect| {
            let wanted = Resetting { level, ..Resetting::default() };
            Work::Reset { wanted, via: None, effect }
        };
        assert_eq!(work(Level::Baseline, Effect::Reboot).actions(), [RESET]);
        assert_eq!(work(Level::Factory, Effect::NextBoot).actions(), [FACTORY_RESET]);
        let wipe = work(Level::Wipe, Effect::DryRun);
        assert_eq!(wipe.actions(), [FACTORY_RESET, READ_CHANGES]);
        assert_eq!(wipe.lane(), Lane::Free);
        let told = [("overlay", "root".to_owned()), ("level", "wipe".to_owned())];
        assert_eq!(wipe.about("root"), told);
    }

    #[test]
    fn polkit_is_told_what_it_is_about() {
        let work = Work::Paths(From::Snapshot(3), vec!["/a".into(), "/b".into()], Effect::DryRun);
        let about = work.about("root");
        let told: Vec<_> = about.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["overlay=root", "snapshot=3", "paths=2"]);
        assert_eq!(work.actions(), [RESTORE, READ_CHANGES]);
    }
}
