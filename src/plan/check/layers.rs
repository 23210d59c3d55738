//! Generations and snapshots of one overlay.

use std::path::{Path, PathBuf};

use super::{Finding, LATER, Mend, strange};
use crate::error::Error;
use crate::plan::{Step, execute};
use crate::store::OverlayView;
use crate::store::inspect::Inspection;
use crate::store::read::GenerationView;
use crate::sys::node::NodeKind;

/// What is wrong with the layers.
pub(super) fn findings(found: &Inspection, name: &str, state: &OverlayView) -> Vec<Finding> {
    let layers = Layers { found, name, state, place: Path::new("overlays").join(name) };
    let mut all = Vec::new();
    for (number, generation) in &state.generations {
        all.extend(layers.generation(*number, generation));
    }
    for (id, record) in &state.snapshots {
        all.extend(record.as_ref().err().map(|error| layers.snapshot(*id, error)));
        all.extend(layers.index(*id));
    }
    all.extend(state.unfinished.iter().map(|dir| layers.unfinished("generations", dir)));
    all.extend(state.unfinished_snapshots.iter().map(|dir| layers.unfinished("snapshots", dir)));
    all
}

/// A mark that makes a layer depend on another, on a file of it. By whom and what for it was set nobody can know: what it
/// takes the place of may be gone, or a secret.
pub fn mark(path: &Path, attribute: &str) -> Finding {
    let why = "no overlay of overlayd leaves it: whoever mounts the layer with other options follows it, and may show anybody what \
               is not theirs to read; here it can not be opened or deleted, and no snapshot can be made of it";
    let advice =
        format!("ask who made it; while the layer is not mounted, `setfattr -x {attribute}` takes it away");
    Finding::fault(path, format!("bears the mark {attribute}"), why).advise(advice)
}

/// The same, of those that are not named one by one.
pub fn more_marks(layer: &Path, more: usize) -> Finding {
    let why = "each of them makes the layer depend on another";
    Finding::fault(layer, format!("bears {more} more such marks"), why)
        .advise("begin with those that are named, and look again")
}

struct Layers<'a> {
    found: &'a Inspection,
    name: &'a str,
    state: &'a OverlayView,
    place: PathBuf,
}

impl Layers<'_> {
    fn generation(&self, number: u64, generation: &GenerationView) -> Vec<Finding> {
        let place = self.place.join("generations").join(number.to_string());
        let mut all = Vec::new();
        if generation.husk {
            return all;
        }
        all.extend(self.work(number, &place));
        let live = matches!(self.state.current, Ok(Some(live)) if live == number);
        let why = match live {
            true => "it is the live one: the boot takes the declared fallback",
            false => "nothing can go back to it, and no boot deletes it",
        };
        match &generation.record {
            // Told above.
            Err(error) if self.is_about(error, &place.join("work")) => {}
            Err(error) if self.is_about(error, &place.join("fs")) => {
                let finding = Finding::fault(place.join("fs"), "missing, or not a directory", why);
                all.push(finding.advise("the files are gone; put them back, or go back to a snapshot"));
            }
            Err(error) => all.push(self.record(number, &place, error, why)),
            Ok(_) => all.extend(execute::stand(self.name, self.state, number).err().map(|error| {
                let finding = Finding::fault(place.join("generation.toml"), error.message(), why);
                finding.advise("put back what is missing; `overlayctl reset` starts afresh on the baseline")
            })),
        }
        all
    }

    fn record(&self, number: u64, place: &Path, error: &Error, why: &str) -> Finding {
        let path = place.join("generation.toml");
        let mut finding = Finding::damage(self.found, &path, error, why);
        let says = finding.what.strip_prefix("says that it is generation ").and_then(|n| n.parse().ok());
        if says.is_some_and(|other: u64| self.state.generations.contains_key(&other)) {
            finding.what += &format!(", whose number is used twice then: there is {number}, too");
        }
        finding.advise(match self.found.later.contains(&path) {
            true => LATER,
            false => "put a copy of the record back; `overlayctl reset` starts afresh, and keeps what can not be read",
        })
    }

    /// A work directory holds nothing that anybody needs: overlayfs empties it at each mount.
    fn work(&self, number: u64, place: &Path) -> Option<Finding> {
        let path = place.join("work");
        let why = format!("the kernel can not mount generation {number} without it");
        let node = self.found.places.get(&path);
        let files = self.found.places.get(&place.join("fs")).map(|node| node.kind);
        match node.map(|node| node.kind) {
            Some(NodeKind::Directory) => None,
            _ if files != Some(NodeKind::Directory) => None,
            None => Some(Finding::fault(&path, "missing", why).mend(Mend::MakeDirectory(path))),
            Some(_) => {
                let finding = Finding::fault(&path, "not a directory", why).set_aside();
                Some(finding.mend(Mend::MakeDirectory(path)))
            }
        }
    }

    fn snapshot(&self, id: u64, error: &Error) -> Finding {
        let place = self.place.join("snapshots").join(id.to_string());
        if let Some(generation) = self.state.sealing.get(&id) {
            let what = format!("waits for the files of generation {generation}");
            return Finding::note(place, what, "the next boot completes it, or gives it up");
        }
        let path = match self.is_about(error, &place.join("fs")) {
            true => place.join("fs"),
            false => place.join("snapshot.toml"),
        };
        let later = self.found.later.contains(&path);
        let finding =
            Finding::damage(self.found, &path, error, "nothing can go back to it, and no boot deletes it");
        finding.advise(match later {
            true => LATER.to_owned(),
            false => format!("put a copy back, or give it up: `overlayctl snapshot delete {id}`"),
        })
    }

    fn index(&self, id: u64) -> Option<Finding> {
        let path = self.place.join("snapshots").join(id.to_string()).join("index");
        self.found.broken_indexes.contains(&path).then(|| {
            let why =
                "the next snapshot copies every file, where it would have shared those that did not change";
            Finding::note(path, "not an index, or damaged", why)
        })
    }

    fn unfinished(&self, directory: &str, name: &str) -> Finding {
        let path = self.place.join(directory).join(name);
        let (owned, dir) = (self.name.to_owned(), name.to_owned());
        match (name.ends_with(".new"), directory) {
            (false, _) => strange(path, None),
            (true, "generations") => half_made(path).step(Step::Discard(owned, dir)),
            (true, _) => half_made(path).step(Step::DiscardSnapshot(owned, dir)),
        }
    }

    fn is_about(&self, error: &Error, path: &Path) -> bool {
        error.message().starts_with(&format!("{}:", self.found.root.join(path).display()))
    }
}

fn half_made(path: PathBuf) -> Finding {
    Finding::note(path, "half made, and cut short", "it was never used; the next boot does the same")
}
