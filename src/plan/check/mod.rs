//! What is wrong with a store, why that matters, and what a repair may do about it. Pure.
//!
//! A repair is offered only where it can be proved: it sets back what has one possible value, makes what holds nothing,
//! and renames aside what can not be read and nobody needs. All else is a person's to decide, and nothing is deleted.

mod layers;
mod overlay;
mod place;

use std::fmt;
use std::path::{Path, PathBuf};

use super::Step;
use crate::error::{Error, Kind};
use crate::store::inspect::Inspection;
use crate::store::reserve::Ballast;
use crate::sys::node::NodeKind;

pub use layers::{mark, more_marks};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Something does not work as it should, or will not.
    Fault,
    /// Nothing suffers by it.
    Note,
}

impl Grade {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Fault => "fault",
            Grade::Note => "note",
        }
    }
}

/// One thing that a repair does. Paths are relative to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// One of the store's own steps.
    Step(Box<Step>),
    /// Rename to `NAME.damaged`.
    SetAside(PathBuf),
    /// Make a private directory.
    MakeDirectory(PathBuf),
    /// Set permissions.
    SetMode(PathBuf, u32),
    /// Give it to this user.
    Own(PathBuf, u32),
    /// Clear the immutable and the append-only flag.
    Unfix(PathBuf),
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Mend::Step(step) => step.fmt(f),
            Mend::SetAside(path) => {
                write!(f, "rename it to {}.damaged", name(path).trim_start_matches('.'))
            }
            Mend::MakeDirectory(_) => f.write_str("make an empty directory"),
            Mend::SetMode(_, mode) => write!(f, "set its permissions to {mode:o}"),
            Mend::Own(_, uid) => write!(f, "give it to user {uid}"),
            Mend::Unfix(_) => f.write_str("make it changeable (chattr -i -a)"),
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, relative to the store.
    pub path: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// How bad it is.
    pub grade: Grade,
    /// What a repair does, in this order; empty: a person has to decide.
    pub mends: Vec<Mend>,
    /// What a person can do; empty where there is nothing to do.
    pub advice: String,
}

impl Finding {
    fn new(
        grade: Grade,
        path: impl Into<PathBuf>,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Finding {
        let (path, what, why) = (path.into(), what.into(), why.into());
        Finding { path, line: None, what, why, grade, mends: Vec::new(), advice: String::new() }
    }

    fn fault(path: impl Into<PathBuf>, what: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Grade::Fault, path, what, why)
    }

    fn note(path: impl Into<PathBuf>, what: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Grade::Note, path, what, why)
    }

    /// A record that can not be read; the error names the file, and perhaps the line.
    fn damage(found: &Inspection, path: &Path, error: &Error, why: impl Into<String>) -> Finding {
        let absolute = found.root.join(path).display().to_string();
        let rest = error.message().strip_prefix(&absolute).and_then(|rest| rest.strip_prefix(':'));
        let Some(rest) = rest else { return Finding::fault(path, error.message(), why) };
        let (line, what) = match rest.split_once(": ") {
            Some((line, what)) if line.parse::<usize>().is_ok() => (line.parse().ok(), what),
            _ => (None, rest.trim_start()),
        };
        Finding { line, ..Finding::fault(path, what, why) }
    }

    fn mend(mut self, mend: Mend) -> Finding {
        self.mends.push(mend);
        self
    }

    fn step(self, step: Step) -> Finding {
        self.mend(Mend::Step(Box::new(step)))
    }

    fn set_aside(self) -> Finding {
        let path = self.path.clone();
        self.mend(Mend::SetAside(path))
    }

    fn advise(mut self, advice: impl Into<String>) -> Finding {
        self.advice = advice.into();
        self
    }

    /// Whether a repair does something about it.
    pub fn is_mendable(&self) -> bool {
        !self.mends.is_empty()
    }
}

/// What to do about a record that a later version wrote: it is not damaged.
const LATER: &str = "use the overlayd that wrote it, or a later one";

/// Everything that is found, in the order in which it is repaired.
pub fn findings(found: &Inspection) -> Vec<Finding> {
    let mut all = place::private(found);
    all.extend(of_store(found));
    if let Ok(view) = &found.view {
        all.extend(view.strange.iter().map(|path| unknown_overlay(found, path)));
        for (name, state) in &view.overlays {
            all.extend(overlay::findings(found, name, state));
            all.extend(layers::findings(found, name, state));
        }
    }
    // Of a store that is not known to be ours, or is not to be touched, nothing is changed.
    if found.record.is_err() {
        for finding in all.iter_mut().filter(|finding| finding.is_mendable()) {
            finding.mends.clear();
            finding.advice = "nothing is repaired before store.toml is sound".to_owned();
        }
    }
    all
}

fn of_store(found: &Inspection) -> Vec<Finding> {
    let kind = |name: &str| found.places.get(Path::new(name)).map(|node| node.kind);
    let mut all = Vec::new();
    all.extend(found.record.as_ref().err().map(|error| store_record(found, error)));
    for name in ["lock", "job"] {
        if kind(name).is_some_and(|kind| kind != NodeKind::File) {
            let why = "nothing can change the store: who works on it locks this file";
            all.push(Finding::fault(name, "not a regular file", why).set_aside());
        }
    }
    all.extend(found.tokens.as_ref().map(|what| {
        let why =
            "what asks for a reset by a word that stays is not obeyed: it might have been obeyed before";
        let advice =
            "take the wrong lines out; a word that is still on the kernel command line must stay in it";
        Finding::damage(found, Path::new("tokens"), &Error::new(Kind::StoreDamaged, what), why).advise(advice)
    }));
    all.extend(overlays(found, kind("overlays")));
    all.extend(reserve(found, kind("reserve")));
    all.extend(found.strange.iter().map(|name| strange(name.clone(), None)));
    all
}

fn store_record(found: &Inspection, error: &Error) -> Finding {
    let path = Path::new("store.toml");
    let why = "the store is not used: no layer of it is mounted, and no request is executed";
    let later = found.later.contains(path) || error.message().contains("unknown feature");
    Finding::damage(found, path, error, why).advise(match later {
        true => LATER,
        false => "put a copy of it back; without one, write it by hand (see docs/reliability.md)",
    })
}

fn overlays(found: &Inspection, kind: Option<NodeKind>) -> Option<Finding> {
    let why = "every layer and snapshot lies in it";
    let finding = match (kind, &found.view) {
        (None, _) => Finding::fault("overlays", "missing", why),
        (Some(NodeKind::Directory), Ok(_)) => return None,
        (Some(NodeKind::Directory), Err(e)) => Finding::damage(found, Path::new("overlays"), e, why),
        (Some(_), _) => Finding::fault("overlays", "not a directory", why),
    };
    Some(finding.advise("put it back; if it is lost, make it empty: the next boot begins on the image"))
}

fn reserve(found: &Inspection, kind: Option<NodeKind>) -> Option<Finding> {
    let why = "a reset on a full disk may fail";
    if kind.is_some_and(|kind| kind != NodeKind::Directory) {
        return Some(Finding::fault("reserve", "not a directory", why).set_aside());
    }
    let what = match found.ballast {
        Ballast::Whole => return None,
        Ballast::Missing => "what is set aside for a reset on a full disk is missing",
        Ballast::Hollow => "parts of what is set aside for a reset on a full disk are missing",
    };
    Some(match found.ballast_bytes {
        Some(bytes) => Finding::fault("reserve", what, why).step(Step::FillReserve(bytes)),
        None => {
            let advice = "make room: it is filled as soon as it fits";
            Finding::note("reserve", format!("{what}, and there is no room for it"), why).advise(advice)
        }
    })
}

fn unknown_overlay(found: &Inspection, path: &Path) -> Finding {
    let place = Path::new("overlays").join(path);
    let named = path.to_str().is_some_and(crate::store::layout::is_overlay_name);
    match found.places.contains_key(&place) || !named {
        true => strange(place, None),
        false => {
            Finding::fault(place, "not a directory", "it has the name of an overlay, and is none").set_aside()
        }
    }
}

/// Something that nobody asked for. A temporary file of `sys::atomic` was never what its name says: it goes to the trash
/// of its overlay, or aside.
fn strange(path: PathBuf, overlay: Option<&str>) -> Finding {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let trash = overlay.zip(path.strip_prefix("overlays").ok().map(Path::to_owned));
    if name.starts_with('.') && name.ends_with(".new") {
        let finding = Finding::note(path, "left over from a write that was cut short", "nothing reads it");
        return match trash {
            Some((overlay, path)) => finding.step(Step::DiscardOther { overlay: overlay.to_owned(), path }),
            None => finding.set_aside(),
        };
    }
    let why = "nothing uses it; a factory reset of the root deletes it";
    if name.contains(".damaged") {
        return Finding::note(path, "set aside by a repair", why).advise("look at it, and delete it");
    }
    Finding::note(path, "not known to overlayd", why).advise("find out whose it is")
}
