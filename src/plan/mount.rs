//! Mounting an overlay that is not the root, on a running system: the same plan as at boot, without a fallback, and
//! without what is done for the root alone. Pure.

use super::Step;
use super::boot::{self, BootPlan, Facts};
use crate::config::Undo;
use crate::error::{Error, Kind, Result};
use crate::store::StoreView;
use crate::sys::space::Space;

/// The plan: make the overlay and its first generation, or execute its request, or go on with what is live; mount it.
pub fn overlay(undo: Undo, facts: &Facts, view: &StoreView, space: &Space) -> Result<BootPlan> {
    if let Some(below) = facts.base.submounts.first() {
        return Err(Error::new(
            Kind::Refused,
            format!("{} is mounted in the directory: it would be hidden", below.display()),
        )
        .remedy("mount the overlay first, and then what belongs in it"));
    }
    let mut plan = boot::persistent(undo, facts, Some(&Ok(view.clone())), space)?;
    // The base's filesystem may be anybody's, its view is there already, and the store is guarded for the host.
    plan.steps.retain(|step| {
        !matches!(
            step,
            Step::ProtectBase
                | Step::ExposeBase(_)
                | Step::ExposeStore
                | Step::GuardStore
                | Step::PrepareHost
        )
    });
    Ok(plan)
}

/// What executes the pending request of an overlay that is not mounted, so that the next mount finds it done.
pub fn request(undo: Undo, facts: &Facts, view: &StoreView, space: &Space) -> Result<BootPlan> {
    let mut plan = overlay(undo, facts, view, space)?;
    plan.steps.retain(|step| !matches!(step, Step::MountOverlay { .. }));
    Ok(plan)
}
