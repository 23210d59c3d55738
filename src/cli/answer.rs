//! What a command gets to know, whether the daemon told it or an operation on a store: the shapes that are printed with
//! `--json` (overlayctl(1) explains each field), and what is made of a job's details.

use serde::Serialize;

use crate::dbus::client::JobDone;
use crate::operation::commit;
use crate::operation::health::Mark;
use crate::operation::restore::Restored;
use crate::operation::snapshot::Made;
use crate::operation::switch;
use crate::operation::{self, Planned, losing};

/// A request for the next boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Requested {
    /// Which overlay.
    pub(crate) overlay: String,
    /// `requested`, `was-pending`, or `done` where nothing has to wait for a boot.
    pub(crate) result: &'static str,
    /// The request's id; empty if nothing waits.
    pub(crate) request: String,
    /// Who asked first.
    pub(crate) requested_by: String,
    /// `restore`: the snapshot. `snapshot`, `commit`: the number it gets.
    pub(crate) snapshot: Option<u64>,
    /// `undo`: the generation.
    pub(crate) generation: Option<u64>,
}

/// What a request would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Steps {
    /// Steps of asking.
    pub(crate) now: Vec<String>,
    /// Steps of the next boot.
    pub(crate) at_boot: Vec<String>,
    /// What it would bring back that may be dangerous.
    pub(crate) warnings: Vec<String>,
}

/// What a reset would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Losses {
    /// The steps.
    #[serde(flatten)]
    pub(crate) steps: Steps,
    /// A line for each entry that would be lost.
    pub(crate) lost: Vec<String>,
    /// How many there are.
    pub(crate) lost_entries: u64,
    /// Bytes in their files.
    pub(crate) lost_bytes: u64,
    /// A line for each entry that would be kept.
    pub(crate) kept: Vec<String>,
    /// How many there are.
    pub(crate) kept_entries: u64,
    /// Bytes in their files.
    pub(crate) kept_bytes: u64,
    /// What goes as a whole: snapshots, generations, other overlays.
    pub(crate) given_up: Vec<String>,
    /// Patterns that match nothing.
    pub(crate) unmatched: Vec<String>,
    /// Whether the lists have all of it.
    pub(crate) complete: bool,
}

/// A snapshot that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Taken {
    /// Which overlay.
    pub(crate) overlay: String,
    /// `done`.
    pub(crate) result: &'static str,
    /// Its number.
    pub(crate) snapshot: u64,
    /// Names in it.
    pub(crate) entries: u64,
    /// Bytes in its files.
    pub(crate) bytes: u64,
    /// Files shared with the last one.
    pub(crate) reused: u64,
    /// `subvolume`, `reflink` or `copy`.
    pub(crate) strategy: String,
    /// `atomic` or `per-file`.
    pub(crate) consistency: String,
    /// Files that changed each time they were copied.
    pub(crate) unstable: Vec<String>,
    /// Snapshots that retention removed.
    pub(crate) removed: Vec<u64>,
}

/// A generation that was marked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Marks {
    /// `good` or `bad`.
    pub(crate) result: &'static str,
    /// The generation.
    pub(crate) generation: u64,
    /// Of a bad one: where the next boot goes.
    pub(crate) next: Option<String>,
}

impl Marks {
    /// What is said of it.
    pub(crate) fn new(mark: &Mark, generation: u64, next: Option<String>) -> Marks {
        Marks { result: mark.word(), generation, next }
    }
}

/// Changes of paths: what a commit would hold, or what a restore of paths changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Changes {
    /// Which overlay.
    pub(crate) overlay: String,
    /// `preview` or `done`.
    pub(crate) result: &'static str,
    /// Entries.
    pub(crate) entries: u64,
    /// Bytes in files.
    pub(crate) bytes: u64,
    /// A line for each entry, as far as there is room.
    pub(crate) changes: Vec<String>,
    /// Whether `changes` has all of them.
    pub(crate) complete: bool,
}

impl Requested {
    /// From the daemon.
    pub(super) fn told(overlay: &str, done: JobDone) -> Requested {
        let flag = |name: &str| done.flags.get(name).copied().unwrap_or_default();
        let text = |name: &str| done.texts.get(name).cloned().unwrap_or_default();
        let number = |name: &str| done.numbers.get(name).copied().filter(|n| *n > 0);
        Requested {
            overlay: overlay.to_owned(),
            result: result(overlay, &text("request"), flag("was-pending")),
            request: text("request"),
            requested_by: text("requested-by"),
            snapshot: number("snapshot"),
            generation: number("generation"),
        }
    }

    /// From an operation.
    pub(super) fn planned(overlay: &str, planned: Planned) -> Requested {
        let request = planned.request;
        Requested {
            overlay: overlay.to_owned(),
            result: result(overlay, &request.id, planned.steps.is_empty()),
            requested_by: request.requested_by,
            snapshot: request.snapshot,
            generation: request.generation,
            request: request.id,
        }
    }
}

fn result(overlay: &str, request: &str, was_pending: bool) -> &'static str {
    match (request, was_pending) {
        _ if switch::is_immediate(overlay) => "done",
        ("", _) => "done",
        (_, true) => "was-pending",
        (_, false) => "requested",
    }
}

impl Steps {
    /// From the daemon.
    pub(super) fn told(mut done: JobDone) -> Steps {
        let mut list = |name: &str| done.lists.remove(name).unwrap_or_default();
        Steps { now: list("now"), at_boot: list("at-boot"), warnings: list("warnings") }
    }

    /// From an operation.
    pub(super) fn planned<S: ToString>(now: &[S], at_boot: &[S], warnings: Vec<String>) -> Steps {
        let lines = |steps: &[S]| steps.iter().map(ToString::to_string).collect();
        Steps { now: lines(now), at_boot: lines(at_boot), warnings }
    }
}

impl Losses {
    /// From the daemon.
    pub(super) fn told(mut done: JobDone) -> Losses {
        let number = |name: &str| done.numbers.get(name).copied().unwrap_or_default();
        let [lost_entries, lost_bytes, kept_entries, kept_bytes] =
            ["lost-entries", "lost-bytes", "kept-entries", "kept-bytes"].map(number);
        let mut list = |name: &str| done.lists.remove(name).unwrap_or_default();
        let [lost, kept, given_up, unmatched] = ["lost", "kept", "given-up", "unmatched"].map(&mut list);
        let complete = done.flags.get("complete").copied().unwrap_or_default();
        let steps = Steps::told(done);
        Losses {
            steps,
            lost,
            lost_entries,
            lost_bytes,
            kept,
            kept_entries,
            kept_bytes,
            given_up,
            unmatched,
            complete,
        }
    }
}

impl From<losing::Losses> for Losses {
    fn from(losses: losing::Losses) -> Losses {
        let losing::Losses { now, at_boot, lost, kept, given_up, unmatched, warnings } = losses;
        Losses {
            steps: Steps::planned(&now, &at_boot, warnings),
            complete: lost.complete && kept.complete,
            lost: lost.lines,
            lost_entries: lost.entries,
            lost_bytes: lost.bytes,
            kept: kept.lines,
            kept_entries: kept.entries,
            kept_bytes: kept.bytes,
            given_up,
            unmatched,
        }
    }
}

impl From<operation::restore::Preview> for Steps {
    fn from(preview: operation::restore::Preview) -> Steps {
        Steps::planned(&preview.now, &preview.at_boot, preview.warnings)
    }
}

impl Taken {
    /// From the daemon.
    pub(super) fn told(overlay: &str, mut done: JobDone) -> Taken {
        let number = |name: &str| done.numbers.get(name).copied().unwrap_or_default();
        let text = |name: &str| done.texts.get(name).cloned().unwrap_or_default();
        let removed = done.lists.get("removed").into_iter().flatten().filter_map(|id| id.parse().ok());
        Taken {
            overlay: overlay.to_owned(),
            result: "done",
            snapshot: number("snapshot"),
            entries: number("entries"),
            bytes: number("bytes"),
            reused: number("reused"),
            strategy: text("strategy"),
            consistency: text("consistency"),
            removed: removed.collect(),
            unstable: done.lists.remove("unstable").unwrap_or_default(),
        }
    }

    /// From an operation.
    pub(super) fn made(overlay: &str, made: Made) -> Taken {
        let Made { id, entries, bytes, reused, strategy, consistency, unstable, removed } = made;
        Taken {
            overlay: overlay.to_owned(),
            result: "done",
            snapshot: id,
            entries,
            bytes,
            reused,
            strategy,
            consistency,
            unstable,
            removed,
        }
    }
}

impl Changes {
    /// From the daemon.
    pub(super) fn told(overlay: &str, result: &'static str, mut done: JobDone) -> Changes {
        let number = |name: &str| done.numbers.get(name).copied().unwrap_or_default();
        Changes {
            overlay: overlay.to_owned(),
            result,
            entries: number("entries"),
            bytes: number("bytes"),
            complete: done.flags.get("complete").copied().unwrap_or_default(),
            changes: done.lists.remove("changes").unwrap_or_default(),
        }
    }

    /// From an operation.
    pub(super) fn previewed(overlay: &str, preview: commit::Preview) -> Changes {
        let commit::Preview { entries, bytes, lines, complete } = preview;
        Changes { overlay: overlay.to_owned(), result: "preview", entries, bytes, changes: lines, complete }
    }

    /// From an operation.
    pub(super) fn restored(overlay: &str, result: &'static str, restored: Restored) -> Changes {
        let Restored { entries, bytes, lines, complete } = restored;
        Changes { overlay: overlay.to_owned(), result, entries, bytes, changes: lines, complete }
    }
}

/// Snapshots that were deleted, protected or described.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Touched {
    /// Which overlay.
    pub(crate) overlay: String,
    /// `deleted`, `protected`, `unprotected` or `described`.
    pub(crate) result: &'static str,
    /// Which ones.
    pub(crate) snapshots: Vec<u64>,
}

impl Touched {
    /// None yet.
    pub(super) fn new(overlay: &str, result: &'static str) -> Touched {
        Touched { overlay: overlay.to_owned(), result, snapshots: Vec::new() }
    }
}
