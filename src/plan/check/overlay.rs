//! The records of one overlay: its pointers, the request, the outcome.

use std::path::{Path, PathBuf};

use super::{Finding, LATER, place, strange};
use crate::config::Undo;
use crate::error::{Error, Kind};
use crate::plan::retain::{self, Keeping};
use crate::plan::{Step, execute};
use crate::store::OverlayView;
use crate::store::inspect::Inspection;
use crate::store::read::GenerationView;
use crate::store::records::{Action, RequestRecord};
use crate::sys::node::NodeKind;

const RESET: &str = "`overlayctl reset` starts afresh on the baseline, and keeps what can not be read";

/// What is surely retained, whatever the configuration says, which is not at hand.
const KEEPING: Keeping = Keeping { undo: Undo::Always, other_bases: false };

/// Everything but the layers.
pub(super) fn findings(found: &Inspection, name: &str, state: &OverlayView) -> Vec<Finding> {
    let one = One { found, name, state, place: Path::new("overlays").join(name) };
    let mut all = one.directories();
    all.extend(one.lost_directories());
    all.extend(one.current());
    all.extend(one.request());
    all.extend(one.outcome());
    all.extend(one.health());
    all.extend(one.baseline());
    all.extend(one.last_snapshot());
    all.extend(state.strange.iter().map(|path| strange(one.place.join(path), Some(name))));
    all
}

struct One<'a> {
    found: &'a Inspection,
    name: &'a str,
    state: &'a OverlayView,
    place: PathBuf,
}

impl One<'_> {
    fn directories(&self) -> Vec<Finding> {
        let why = "nothing can be found in it, nor made in it";
        let finding = |(path, kind): (PathBuf, NodeKind)| match kind {
            // Somebody may have moved it.
            NodeKind::Symlink => Finding::fault(path, "a symlink, not a directory", why)
                .advise("put the directory itself in its place"),
            _ => Finding::fault(path, "not a directory", why)
                .set_aside()
                .step(Step::MakeOverlay(self.name.to_owned())),
        };
        place::directories(self.found, &self.place).into_iter().map(finding).collect()
    }

    /// Directories that are gone, although something lies in them.
    fn lost_directories(&self) -> Vec<Finding> {
        let named = [
            ("generations", !matches!(self.state.current, Ok(None))),
            ("snapshots", self.highest_snapshot() > 0),
        ];
        let lost = |(name, named): (&str, bool)| {
            let path = self.place.join(name);
            (named && !self.found.places.contains_key(&path)).then(|| {
                let why = format!("the pointers and records of {} lead into it", self.name);
                Finding::fault(path, "missing", why).advise("put it back")
            })
        };
        named.into_iter().filter_map(lost).collect()
    }

    fn current(&self) -> Option<Finding> {
        let path = self.place.join("current");
        let why = "which generation is live is not known: the boot takes the declared fallback";
        match &self.state.current {
            // Told where it lies.
            Err(error) if !self.is_about(error, &path) => None,
            Err(error) => {
                let finding = Finding::damage(self.found, &path, error, why).set_aside();
                Some(self.point(finding, self.only_one()))
            }
            Ok(None) if self.state.generations.is_empty() => None,
            Ok(None) if self.is_fresh() => {
                let last = self.state.generations.keys().copied().max();
                let why = "the next boot does the same: no generation holds anything yet";
                Some(self.point(Finding::note(path, "missing", why), last))
            }
            Ok(None) => Some(self.point(Finding::fault(path, "missing", why), self.only_one())),
            Ok(Some(number)) if self.state.generations.contains_key(number) => {
                self.other_than_told(path, *number)
            }
            Ok(Some(number)) => {
                let what = format!("points at generation {number}, which is not there");
                let advice = format!("put generations/{number} back; {RESET}");
                Some(Finding::fault(path, what, why).advise(advice))
            }
        }
    }

    /// A request ends with its outcome, and nothing else moves the pointer: while none waits, both say the same.
    fn other_than_told(&self, path: PathBuf, number: u64) -> Option<Finding> {
        let outcome = self.state.outcome.as_ref()?.as_ref().ok()?;
        let told = outcome.to_generation;
        let differs = told != number && told != 0 && self.state.request.is_none();
        let what = format!("points at generation {number}, but the last request led to generation {told}");
        differs.then(|| {
            Finding::note(path, what, "somebody moved it by hand, or it was damaged")
                .advise("see which one is right")
        })
    }

    fn is_about(&self, error: &Error, path: &Path) -> bool {
        error.message().contains(&self.found.root.join(path).display().to_string())
    }

    /// Points at the only generation that it can be, if there is one.
    fn point(&self, finding: Finding, number: Option<u64>) -> Finding {
        if let Some(number) = number {
            return finding.step(Step::PointCurrent(self.name.to_owned(), number));
        }
        let reached = self.state.outcome.iter().flatten().map(|outcome| {
            format!(
                "the last request led to generation {}: write that number into it; ",
                outcome.to_generation
            )
        });
        let advice = reached.chain([RESET.to_owned()]).collect::<String>();
        Finding { mends: Vec::new(), ..finding }.advise(advice)
    }

    /// The generation that must be the live one: no other is there, and a boot can stand on it.
    fn only_one(&self) -> Option<u64> {
        let mut held = self.state.generations.iter().filter(|(_, generation)| !generation.husk);
        let (number, _) = held.next()?;
        let finished = self.state.unfinished.iter().all(|name| name.ends_with(".new"));
        let sure = held.next().is_none() && finished && self.state.sealing.is_empty();
        (sure && execute::stand(self.name, self.state, *number).is_ok()).then_some(*number)
    }

    /// Whether no generation holds anything, as the boot sees it.
    fn is_fresh(&self) -> bool {
        let fresh =
            |g: &GenerationView| g.empty && g.record.as_ref().is_ok_and(|record| record.snapshot.is_none());
        self.state.generations.values().all(fresh)
    }

    fn request(&self) -> Option<Finding> {
        let path = self.place.join("request.toml");
        match self.state.request.as_ref()? {
            Err(error) => {
                let why = "what was asked for is not known, and not done; nothing else can be asked for";
                let finding = Finding::damage(self.found, &path, error, why);
                Some(self.aside(finding, &self.kept(self.undo_target())))
            }
            Ok(request) => self.readable_request(path, request),
        }
    }

    fn readable_request(&self, path: PathBuf, request: &RequestRecord) -> Option<Finding> {
        let ours = self.found.record.as_ref().ok()?;
        if request.store != ours.uuid {
            let what = format!("for store {}, not for this one ({})", request.store, ours.uuid);
            return Some(
                Finding::fault(path, what, "it is never done, and nothing else can be asked for").set_aside(),
            );
        }
        let missing = match (request.action, request.snapshot, request.generation) {
            (Action::Restore, Some(id), _) => {
                execute::usable(self.state, id).err().map(|e| e.message().to_owned())
            }
            (Action::Undo, _, Some(number)) if !self.state.generations.contains_key(&number) => {
                Some(format!("generation {number} is not there"))
            }
            _ => None,
        };
        let why = "the next boot gives it up, and records why";
        missing.map(|what| Finding::fault(path, what, why).advise("take it back with `overlayctl cancel`"))
    }

    /// Renames a record aside, where nothing is given up because it is gone: the next boot deletes what no record says to
    /// keep. `kept` are the generations that other records keep.
    fn aside(&self, finding: Finding, kept: &[u64]) -> Finding {
        if self.found.later.contains(&finding.path) {
            return finding.advise(LATER);
        }
        let live = self.state.current.as_ref().ok().copied().flatten();
        let spared = |n: u64| Some(n) == live || kept.contains(&n);
        let readable = self.state.generations.iter().filter(|(_, g)| g.record.is_ok() && !g.husk);
        let held: Vec<String> =
            readable.filter(|(n, _)| !spared(**n)).map(|(number, _)| number.to_string()).collect();
        match held.is_empty() && self.state.sealing.is_empty() {
            true => finding.set_aside(),
            false => finding.advise(format!(
                "without it the next boot deletes what somebody may want to go back to (generation {}): copy what you \
                 need, then rename the file",
                held.join(", ")
            )),
        }
    }

    fn undo_target(&self) -> Option<u64> {
        let outcome = self.state.outcome.as_ref()?.as_ref().ok()?;
        retain::left(outcome).map(|left| left.generation)
    }

    /// What is retained while the record of boots stays as it is.
    fn kept(&self, undo: Option<u64>) -> Vec<u64> {
        let live = self.state.current.as_ref().ok().copied().flatten().unwrap_or(0);
        retain::kept(self.state, live, undo, KEEPING).iter().map(|kept| kept.generation).collect()
    }

    fn outcome(&self) -> Option<Finding> {
        let path = self.place.join("outcome.toml");
        let Some(outcome) = &self.state.outcome else { return self.lost_outcome(path) };
        let error = outcome.as_ref().err()?;
        let why = "how the last request ended is not known: nothing can be undone, and old generations stay";
        let finding = Finding::damage(self.found, &path, error, why);
        Some(self.aside(finding, &self.kept(None)))
    }

    /// A generation that holds something is left by a request, and then there is an outcome.
    fn lost_outcome(&self, path: PathBuf) -> Option<Finding> {
        let live = self.state.current.as_ref().ok().copied().flatten()?;
        self.state.generations.get(&live)?;
        let kept = self.kept(None);
        let held = |(n, g): &(&u64, &GenerationView)| {
            **n != live && g.record.is_ok() && !g.empty && !g.husk && !kept.contains(n)
        };
        let (left, _) = self.state.generations.iter().find(held)?;
        let moving = self.state.request.is_some() || !self.state.sealing.is_empty();
        let what = format!("missing, although generation {left} was left");
        let why = "nothing can go back to it, and it stays until something else is gone back to";
        let advice = "copy what you need of it; the next reset or restore gives it up";
        (!moving).then(|| Finding::fault(path, what, why).advise(advice))
    }

    fn health(&self) -> Option<Finding> {
        let error = self.state.health.as_ref()?.as_ref().err()?;
        let why = "which boots came up is not known: failed ones are not counted, and old generations stay";
        let finding = Finding::damage(self.found, &self.place.join("health.toml"), error, why);
        let undo: Vec<u64> = self.undo_target().into_iter().collect();
        Some(self.aside(finding, &undo))
    }

    fn baseline(&self) -> Option<Finding> {
        let path = self.place.join("baseline");
        let why = "a reset goes to the bare image, and a volatile overlay does not start from it";
        let finding = match &self.state.baseline {
            Err(error) if !self.is_about(error, &path) => return None,
            Err(error) => Finding::damage(self.found, &path, error, why),
            Ok(None) => return None,
            Ok(Some(id)) => match execute::usable(self.state, *id) {
                Ok(_) => return None,
                Err(e) if e.kind() == Kind::NoSuchSnapshot => {
                    Finding::fault(path, format!("points at snapshot {id}, which is not there"), why)
                }
                Err(_) => Finding::fault(path, format!("points at snapshot {id}, which is damaged"), why),
            },
        };
        Some(finding.advise(
            "write the number of a sound snapshot into it (`overlayctl snapshot list`), or remove it",
        ))
    }

    fn last_snapshot(&self) -> Option<Finding> {
        let path = self.place.join("last-snapshot");
        let why = "a snapshot could get the number of one that was deleted";
        let highest = self.highest_snapshot();
        let finding = match self.found.last_snapshots.get(self.name)? {
            Err(error) => Finding::damage(self.found, &path, error, why).set_aside(),
            Ok(number) if number.unwrap_or(0) >= highest => return None,
            Ok(None) => Finding::fault(path, "missing, although there are snapshots", why),
            Ok(Some(number)) => {
                Finding::fault(path, format!("says {number}, but there is snapshot {highest}"), why)
            }
        };
        // Nothing refers to a higher number than these.
        Some(match highest {
            0 => finding,
            id => finding.step(Step::TakeSnapshotNumber(self.name.to_owned(), id)),
        })
    }

    /// The highest number of a snapshot that anything in the overlay names, but for the pointer beside it.
    fn highest_snapshot(&self) -> u64 {
        let state = self.state;
        let stood_on = state.generations.values().filter_map(|g| g.record.as_ref().ok()?.snapshot);
        // What was never finished was nobody's.
        let trashed = state.trash.iter().filter(|name| !name.contains(".new"));
        let trashed =
            trashed.filter_map(|name| name.strip_prefix("snapshot-")?.split('.').next()?.parse().ok());
        let named = state.request.iter().flatten().filter_map(|r| r.snapshot);
        let reached = state.outcome.iter().flatten().filter_map(|o| o.snapshot);
        let numbers =
            state.snapshots.keys().copied().chain(stood_on).chain(trashed).chain(named).chain(reached);
        numbers.max().unwrap_or(0)
    }
}
