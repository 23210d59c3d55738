//! What the boot after a cut may find, by how far the operation had come.

use super::operation::{Operation, deletable};
use serde_json::Value;

/// Whether something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sure {
    No,
    /// It was cut before anybody was told that it is done.
    Perhaps,
    Yes,
}

/// What one operation changes.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// The live generation is another one.
    pub(super) moves: Sure,
    /// As the outcome calls it; empty: the machine went back by itself.
    pub(super) action: &'static str,
    /// It is this one; none: a new one.
    pub(super) to: Option<u64>,
    /// What lies in /var/kept comes along.
    pub(super) keeps: bool,
    /// Nothing but the new generation is left.
    pub(super) total: bool,
    /// There is one more snapshot.
    pub(super) adds: Sure,
    /// And it is the baseline.
    pub(super) commits: bool,
    /// This snapshot is gone.
    pub(super) removes: Option<(u64, Sure)>,
}

impl Expected {
    /// Everything is as it was.
    pub(super) fn nothing() -> Expected {
        Expected {
            moves: Sure::No,
            action: "",
            to: None,
            keeps: false,
            total: false,
            adds: Sure::No,
            commits: false,
            removes: None,
        }
    }

    /// What comes of `operation` with a root whose status was this, if it was done, or perhaps done.
    pub(super) fn of(operation: Operation, root: &Value, sure: Sure) -> Expected {
        let nothing = Expected::nothing();
        let moves = Expected { moves: sure, ..nothing.clone() };
        match operation {
            Operation::Write | Operation::Shutdown | Operation::FirstBoot => nothing,
            Operation::Snapshot => Expected { adds: sure, ..nothing },
            Operation::Commit => Expected { adds: sure, commits: true, ..nothing },
            Operation::Delete => Expected { removes: deletable(root).map(|id| (id, sure)), ..nothing },
            Operation::Quiesced => Expected { adds: sure, action: "snapshot", ..moves },
            Operation::Reset => Expected { action: "reset", keeps: true, ..moves },
            Operation::Factory | Operation::Cleanup => {
                Expected { action: "reset", keeps: true, total: true, ..moves }
            }
            Operation::Restore => Expected { action: "restore", ..moves },
            Operation::Undo => Expected { action: "undo", to: root["undo"]["generation"].as_u64(), ..moves },
            Operation::MarkBad | Operation::FailedBoots => moves,
        }
    }
}
