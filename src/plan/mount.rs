//! Mounting an overlay that is not the root, on a running system: the same plan as at boot, without a fallback, and
//! without what is done for the root alone. Pure.

use super::Step;
use super::boot::{self, BootPlan, Facts};
use crate::config::Overlay;
use crate::error::{Error, Kind, Result};
use crate::store::StoreView;
use crate::sys::space::Space;

/// The plan: make the overlay and its first generation, or execute its request, or go on with what is live; mount it.
pub fn overlay(config: &Overlay, facts: &Facts, view: &StoreView, space: &Space) -> Result<BootPlan> {
    if let Some(below) = facts.base.submounts.first() {
        return Err(Error::new(
            Kind::Refused,
            format!("{} is mounted in the directory: it would be hidden", below.display()),
        )
        .remedy("mount the overlay first, and then what belongs in it"));
    }
    let mut plan = boot::persistent(config, facts, Some(&Ok(view.clone())), space)?;
    // The base's filesystem may be anybody's, its view is there already, and the store is guarded for the host.
    plan.steps.retain(|step| !step.is_for_a_boot());
    Ok(plan)
}

/// What executes the pending request of an overlay that is not mounted, so that the next mount finds it done.
pub fn request(config: &Overlay, facts: &Facts, view: &StoreView, space: &Space) -> Result<BootPlan> {
    let mut plan = overlay(config, facts, view, space)?;
    plan.steps.retain(|step| !matches!(step, Step::MountOverlay { .. }));
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::observe::{Base, Moment};
    use crate::store::records::StoreRecord;
    use std::collections::BTreeMap;

    fn planned(submounts: &[&str]) -> Result<BootPlan> {
        let base = Base {
            identity: "b".into(),
            submounts: submounts.iter().map(Into::into).collect(),
            ..Base::default()
        };
        let facts = Facts {
            name: "data".into(),
            base,
            ram: 0,
            now: Moment::default(),
            run: "/run/overlayd".into(),
            new_uuid: String::new(),
            kept: None,
        };
        let record = StoreRecord { format: 1, uuid: "u".into(), created: 0, features: Vec::new() };
        let view = StoreView { record, reserve: true, overlays: BTreeMap::new(), strange: Vec::new() };
        overlay(
            config::settings::build(&BTreeMap::new(), &mut Vec::new()).root(),
            &facts,
            &view,
            &Space::default(),
        )
    }

    #[test]
    fn the_base_and_the_host_are_left_alone() {
        let steps = planned(&[]).unwrap().steps;
        assert!(
            matches!(&steps[..], [Step::MakeGeneration(..), Step::PointCurrent(..), Step::MountOverlay { overlay, .. }]
                if overlay.name == "overlayd:data" && overlay.upper.ends_with("store/overlays/data/generations/1/fs")),
            "{steps:?}"
        );
    }

    #[test]
    fn nothing_is_hidden() {
        let refused = planned(&["/srv/data/below"]).unwrap_err();
        assert_eq!(refused.kind(), Kind::Refused);
    }
}
