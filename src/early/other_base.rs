//! A base that changed, where the configuration says that something is to be done: the request is written as if somebody
//! had asked. What is decided, `plan::other_base` says.

use crate::config::Overlay;
use crate::error::Result;
use crate::exec;
use crate::plan::boot::Facts;
use crate::plan::other_base;
use crate::store::lock::StoreLock;
use crate::store::{Layout, StoreView};

/// Writes the request, if there is one to be written, or takes one of another base back; true if so, and the store is
/// to be read again.
pub(super) fn ask(layout: &Layout, view: &StoreView, overlay: &Overlay, facts: &Facts) -> Result<bool> {
    let steps = other_base::decide(view, &facts.name, overlay, &facts.base, &facts.now)?;
    if steps.is_empty() {
        return Ok(false);
    }
    let _lock = StoreLock::exclusive(layout)?;
    exec::store::run(layout, &steps)?;
    tracing::info!("the base of {} changed: what it goes on with is decided by base-changed", facts.name);
    Ok(true)
}
