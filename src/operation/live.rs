//! What is live: the layers that are mounted for an overlay, or that the next boot would mount. Reads only.

use std::path::PathBuf;

use super::{Site, mounted};
use crate::config::Mode;
use crate::error::{Error, Kind, Result};
use crate::layer::Stack;
use crate::store::records::GenerationRecord;
use crate::store::{Layout, OverlayView, StoreView};

/// The live layers of one overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The writable layer.
    pub upper: PathBuf,
    /// The generation it belongs to; none: it lies in RAM.
    pub generation: Option<u64>,
    /// The snapshot below it.
    pub snapshot: Option<u64>,
    /// Where the base can be read, if it is at hand.
    pub base_dir: Option<PathBuf>,
    /// Identity of the base.
    pub base: String,
    /// Overlayfs options.
    pub options: String,
    /// Names the upper over time, for the index: `generation-3`, `volatile-<boot id>`.
    pub source: String,
    /// Where it is mounted; none: it is not.
    pub mount_point: Option<PathBuf>,
}

impl Live {
    /// The upper and the snapshot below it.
    pub fn stack(&self, layout: &Layout, overlay: &str) -> Stack {
        let below = self.snapshot.map(|id| layout.snapshot_fs(overlay, id));
        Stack { layers: [self.upper.clone()].into_iter().chain(below).collect(), base: self.base_dir.clone() }
    }
}

/// One overlay of the store; an empty one if it is mounted but has nothing in the store yet.
pub fn state(site: &Site, view: &StoreView, overlay: &str) -> Result<OverlayView> {
    match view.overlays.get(overlay) {
        Some(state) => Ok(state.clone()),
        None if mounted(site, overlay)?.is_some() => Ok(OverlayView::absent()),
        None => Err(Error::new(Kind::NoSuchOverlay, format!("the store has no overlay \"{overlay}\""))
            .remedy("`overlayctl list` names those it has")),
    }
}

/// The snapshot that is mounted, as the handoff says.
pub fn mounted_snapshot(site: &Site, overlay: &str) -> Result<Option<u64>> {
    Ok(mounted(site, overlay)?.and_then(|(_, overlay)| overlay.snapshot))
}

/// What is live.
pub fn find(site: &Site, state: &OverlayView, overlay: &str) -> Result<Live> {
    let Some((handoff, mount)) = mounted(site, overlay)? else { return pointed_at(site, state, overlay) };
    let run = site.handoff.as_deref().and_then(|p| p.parent()).map(|p| p.join(overlay)).unwrap_or_default();
    let layout = Layout::new(&site.store);
    let (upper, source) = match (mount.mode, mount.generation) {
        (Mode::Persistent, Some(number)) => (layout.upper(overlay, number), source_of(number)),
        (Mode::Volatile, _) => (run.join("volatile/fs"), format!("volatile-{}", handoff.boot_id)),
        _ => return Err(nothing_live(overlay, mount.mode)),
    };
    let target = mount.target.trim_start_matches('/');
    Ok(Live {
        upper,
        generation: mount.generation,
        snapshot: mount.snapshot,
        base_dir: Some(run.join("base")).filter(|d| d.is_dir()),
        base: mount.base,
        options: mount.options,
        source,
        mount_point: Some(site.root.join(target)),
    })
}

/// Nothing is mounted: what the next boot would mount.
fn pointed_at(site: &Site, state: &OverlayView, overlay: &str) -> Result<Live> {
    let number = state.current.clone()?.ok_or_else(|| {
        Error::new(
            Kind::Refused,
            format!("{overlay} has no generation: there is nothing to take a snapshot of"),
        )
    })?;
    let record = generation(state, overlay, number)?;
    Ok(Live {
        upper: Layout::new(&site.store).upper(overlay, number),
        generation: Some(number),
        snapshot: record.snapshot,
        base_dir: None,
        base: record.base.clone(),
        options: record.options.clone(),
        source: source_of(number),
        mount_point: None,
    })
}

fn generation<'a>(state: &'a OverlayView, overlay: &str, number: u64) -> Result<&'a GenerationRecord> {
    match state.generations.get(&number) {
        Some(generation) => generation.record.as_ref().map_err(Clone::clone),
        None => Err(Error::new(
            Kind::StoreDamaged,
            format!("the pointer of {overlay} says generation {number}, which is not there"),
        )),
    }
}

fn source_of(number: u64) -> String {
    format!("generation-{number}")
}

fn nothing_live(overlay: &str, mode: Mode) -> Error {
    Error::new(Kind::Refused, format!("{overlay} is mounted in mode {}: it has no upper layer", mode.word()))
}
