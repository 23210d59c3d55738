//! Room, where it became short while the system runs: what configuration says may go goes, as after a new snapshot, and not
//! only when there is one.

use super::making::Scene;
use super::{Site, open, retention};
use crate::error::{Kind, Result};
use crate::layer::OnProgress;
use crate::store::Layout;
use crate::store::job::JobLock;

/// No snapshot has this number.
const NONE_NEW: u64 = 0;

/// Lets what is retained and the oldest snapshots go, until there is as much space as `min-free` says; returns which
/// snapshots of which overlays those were. Who copies or deletes meanwhile makes room in the end as well: it is not waited for.
pub fn make(site: &Site, on_progress: &mut OnProgress<'_>) -> Result<Vec<(String, Vec<u64>)>> {
    let layout = Layout::new(&site.store);
    let _job = match JobLock::take(&layout, "overlayd", "making room") {
        Err(busy) if busy.kind() == Kind::JobInProgress => return Ok(Vec::new()),
        taken => taken?,
    };
    let mut gone = Vec::new();
    for overlay in open(&site.store)?.overlays.into_keys() {
        let removed = retention::apply(site, &Scene::look(site, &overlay)?, NONE_NEW, on_progress)?;
        if !removed.is_empty() {
            gone.push((overlay, removed));
        }
    }
    Ok(gone)
}
