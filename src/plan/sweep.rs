//! What a reset to the bare image gives up: everything but the generation that became live. Of the root overlay that is
//! everything of the whole store, readable or not, known or not.

use std::path::{Path, PathBuf};

use super::Step;
use super::execute::ROOT;
use crate::store::{OverlayView, StoreView};

/// The steps that move it to the trash. Pointers go first, so that none ever names what is gone.
pub fn discards(view: &StoreView, overlay: &str, live: Option<u64>) -> Vec<Step> {
    let mut steps = Vec::new();
    if overlay == ROOT {
        for (name, state) in view.overlays.iter().filter(|(name, _)| *name != ROOT) {
            let files = files(state).into_iter().filter(|(_, is_there)| *is_there);
            steps.extend(files.map(|(file, _)| other(name, &Path::new(name).join(file))));
            steps.extend(layers(name, state, None));
        }
        steps.extend(view.strange.iter().map(|path| other(overlay, path)));
    }
    let own = view.overlays.get(overlay);
    if own.is_some_and(|state| state.health.is_some()) && live.is_none() {
        // Where there is a live generation, it is counted afresh.
        steps.push(other(overlay, &Path::new(overlay).join("health.toml")));
    }
    steps.extend(own.into_iter().flat_map(|state| layers(overlay, state, live)));
    steps
}

/// Whether it is a pointer or a record of an overlay: it holds nothing that a person could miss.
pub fn is_bookkeeping(path: &Path) -> bool {
    let names = files(&OverlayView::absent()).map(|(name, _)| name);
    path.components().count() == 2 && names.iter().any(|name| path.ends_with(name))
}

/// What an overlay has besides its layers.
fn files(state: &OverlayView) -> [(&'static str, bool); 5] {
    let points = |pointer: &crate::Result<Option<u64>>| !matches!(pointer, Ok(None));
    [
        ("current", points(&state.current)),
        ("request.toml", state.request.is_some()),
        ("outcome.toml", state.outcome.is_some()),
        ("health.toml", state.health.is_some()),
        ("baseline", points(&state.baseline)),
    ]
}

fn layers(name: &str, state: &OverlayView, live: Option<u64>) -> Vec<Step> {
    let owned = || name.to_owned();
    let old = state.generations.keys().filter(|number| Some(**number) != live).map(u64::to_string);
    let generations = old.chain(state.unfinished.iter().cloned()).map(|dir| Step::Discard(owned(), dir));
    let snapshots =
        state.snapshots.keys().map(u64::to_string).chain(state.unfinished_snapshots.iter().cloned());
    let snapshots = snapshots.map(|dir| Step::DiscardSnapshot(owned(), dir));
    let strange = state.strange.iter().map(|path| other(name, &Path::new(name).join(path)));
    generations.chain(snapshots).chain(strange).collect()
}

fn other(overlay: &str, path: &Path) -> Step {
    Step::DiscardOther { overlay: overlay.to_owned(), path: PathBuf::from(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_records_are_told_from_what_a_person_put_there() {
        for path in ["root/current", "var/baseline", "root/health.toml", "var/request.toml"] {
            assert!(is_bookkeeping(Path::new(path)), "{path}");
        }
        for path in ["current", "root/current/x", "root/current.old", "root/notes", "root", "tokens"] {
            assert!(!is_bookkeeping(Path::new(path)), "{path}");
        }
    }
}
