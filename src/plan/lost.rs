//! A store, or the files of a layer, that are gone without anybody having asked: what tells of it, and what then. Pure.
//!
//! fsck puts what has no name any more into `lost+found`, and what has no inode any more is gone. A boot that took what is
//! left for a new device, or for a layer after a reset, would hide the loss; so it says "lost", and touches nothing.

use super::boot::BootPlan;
use crate::error::{Error, Kind, Result};
use crate::store::{OverlayView, StoreView};

/// What the state filesystem says of what was on it, besides the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Entries of its `lost+found`.
    pub orphans: usize,
    /// It was written to by overlayd before, which makes a store first of all; and not even a part of one is there.
    pub used: bool,
    /// The store is there, and the directory of all its overlays, which it was made with, is not.
    pub beheaded: bool,
}

/// The refusal to make a store, or the first generation in one, where what is missing may lie in `lost+found`.
pub fn missing(traces: Traces, store: Option<&Result<StoreView>>, device: &str) -> Option<Error> {
    let what = match store {
        _ if traces.orphans == 0 => return None,
        None => "the store",
        Some(Ok(view)) if view.overlays.values().all(is_empty) => "everything in the store",
        Some(_) => return None,
    };
    let found = found(traces, device);
    Some(Error::new(Kind::StoreDamaged, format!("{what} is lost: {found}")).remedy(
        "move what is missing back from there to its place; or empty lost+found, and the next boot starts afresh",
    ))
}

/// Why a boot is degraded although it has its mode, or what is to be added to why it has not. The plan is of the root.
pub fn told(
    traces: Traces,
    store: Option<&Result<StoreView>>,
    device: &str,
    plan: &BootPlan,
) -> Option<String> {
    let found = found(traces, device);
    match (&plan.reason, store) {
        (Some(why), _) if traces.orphans > 0 && !why.contains("lost+found") => {
            Some(format!("{why}; what is missing may be lost: {found}"))
        }
        (Some(_), _) => None,
        (None, None) if traces.used => Some(format!(
            "the store that was on {device} is lost, and nothing of it is in lost+found; this one is new"
        )),
        (None, Some(_)) if traces.beheaded => Some(format!(
            "everything that was in the store on {device} is lost, and nothing of it is in lost+found; the layer is new"
        )),
        (None, Some(Ok(view))) if traces.orphans > 0 && plan.executes.is_none() => {
            let number = plan.generation?;
            let emptied = view.overlays.get("root")?.generations.get(&number)?.empty;
            emptied.then(|| format!("the files of generation {number} are lost: it is empty, and {found}"))
        }
        _ => None,
    }
}

fn found(traces: Traces, device: &str) -> String {
    format!("fsck put {} without a name into lost+found of {device}", traces.orphans)
}

fn is_empty(overlay: &OverlayView) -> bool {
    overlay.generations.is_empty() && overlay.snapshots.is_empty() && overlay.request.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::plan::boot::bare;
    use crate::store::read::GenerationView;
    use crate::store::records::{GenerationRecord, RequestRecord, StoreRecord};

    const FOUND: Traces = Traces { orphans: 2, used: true, beheaded: false };

    fn store(overlay: Option<OverlayView>) -> Result<StoreView> {
        let overlays = overlay.map(|overlay| ("root".to_owned(), overlay)).into_iter().collect();
        Ok(StoreView { record: StoreRecord::default(), reserve: true, overlays, strange: Vec::new() })
    }

    fn with_generation(empty: bool) -> OverlayView {
        let record = Ok(GenerationRecord::default());
        OverlayView {
            generations: [(1, GenerationView { record, empty, husk: false })].into(),
            ..OverlayView::absent()
        }
    }

    fn plan(reason: Option<&str>) -> BootPlan {
        let generation = reason.is_none().then_some(1);
        BootPlan { generation, ..bare(Mode::Persistent, reason.map(str::to_owned), Vec::new()) }
    }

    #[test]
    fn what_may_lie_in_lost_and_found_is_not_made_anew() {
        let why = |store: Option<&Result<StoreView>>| missing(FOUND, store, "/dev/x").map(|e| e.to_string());
        assert!(why(None).unwrap().contains("the store is lost: fsck put 2"));
        assert!(why(Some(&store(None))).unwrap().contains("everything in the store is lost"));
        assert!(why(Some(&store(Some(OverlayView::absent())))).is_some());
        assert!(why(Some(&store(Some(with_generation(true))))).is_none());
        let asked = OverlayView { request: Some(Ok(RequestRecord::default())), ..OverlayView::absent() };
        assert!(why(Some(&store(Some(asked)))).is_none(), "somebody asked for it");
        assert!(missing(Traces { orphans: 0, ..FOUND }, None, "/dev/x").is_none());
    }

    #[test]
    fn what_can_not_be_found_again_is_told_of_the_new_one() {
        let gone = Traces { orphans: 0, ..FOUND };
        assert!(
            told(gone, None, "/dev/x", &plan(None)).unwrap().contains("the store that was on /dev/x is lost")
        );
        let beheaded = Traces { orphans: 0, used: false, beheaded: true };
        assert!(told(beheaded, Some(&store(None)), "/dev/x", &plan(None)).unwrap().contains("lost"));
        assert_eq!(told(Traces::default(), None, "/dev/x", &plan(None)), None, "the first boot");
        assert_eq!(told(gone, Some(&store(None)), "/dev/x", &plan(None)), None);
    }

    #[test]
    fn an_emptied_layer_is_no_reset() {
        let of =
            |empty, plan: &BootPlan| told(FOUND, Some(&store(Some(with_generation(empty)))), "/dev/x", plan);
        assert!(of(true, &plan(None)).unwrap().contains("the files of generation 1 are lost"));
        assert_eq!(of(false, &plan(None)), None);
        let reset = BootPlan { executes: Some("r".into()), ..plan(None) };
        assert_eq!(of(true, &reset), None);
        let damaged = of(false, &plan(Some("generation 1 is missing"))).unwrap();
        assert!(
            damaged.starts_with("generation 1 is missing; ") && damaged.contains("lost+found"),
            "{damaged}"
        );
        let refused = plan(Some("the store is lost: it may be in lost+found"));
        assert_eq!(of(false, &refused), None, "it is said once");
    }
}
