//! The root that a soft-reboot goes on with: the same plan as at boot, for a request that does not need the machine to
//! start afresh. Pure.

use super::boot::{self, BootPlan, Facts};
use super::{Refusal, Step};
use crate::config::{Mode, Overlay};
use crate::error::{Error, Kind, Result};
use crate::handoff::Handoff;
use crate::store::StoreView;
use crate::store::records::{Action, Level};
use crate::sys::space::Space;

/// The plan: the request is executed, and what it makes is mounted. `handoff` says what is mounted now.
pub fn root(
    config: &Overlay,
    facts: &Facts,
    view: &StoreView,
    space: &Space,
    handoff: &Handoff,
) -> Result<BootPlan> {
    let live = handoff.overlay.get(&facts.name);
    if live.is_none_or(|live| live.mode != Mode::Persistent) {
        return refuse("the root's upper does not lie in the store", "reboot instead");
    }
    let request = view.overlays.get(&facts.name).and_then(|state| state.request.clone()).transpose()?;
    match request {
        None => return refuse("no request is pending", "a soft-reboot restarts what is mounted"),
        Some(request) if request.level == Level::Wipe => {
            return refuse("the state device is in use: it can not be wiped", "reboot instead");
        }
        // Its files would be renamed below the overlay that is still mounted on them (invariant 3).
        Some(request) if request.action == Action::Snapshot => {
            return refuse("a snapshot of the whole layer needs it unmounted", "reboot instead");
        }
        Some(_) => {}
    }
    let mut plan = boot::persistent(config, facts, Some(&Ok(view.clone())), space)?;
    if plan.generation == live.and_then(|live| live.generation) {
        let why = plan.problems.first().cloned().unwrap_or_else(|| "nothing changes".to_owned());
        return refuse(&why, "the next boot deals with the request");
    }
    // All that is there already; and the running root's /usr is no mount of the base.
    plan.steps.retain(|step| !step.is_for_a_boot());
    for step in &mut plan.steps {
        if let Step::MountOverlay { submounts, .. } = step {
            submounts.clear();
        }
    }
    Ok(plan)
}

fn refuse(reason: &str, remedy: &str) -> Result<BootPlan> {
    Err(Error::from(Refusal::new(Kind::Refused, reason.to_owned(), remedy)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::handoff::{BootMode, HandoffOverlay};
    use crate::observe::{Base, Moment};
    use crate::store::OverlayView;
    use crate::store::read::GenerationView;
    use crate::store::records::{GenerationRecord, RequestRecord, StoreRecord};
    use crate::sys::overlay::OPTIONS;
    use std::collections::BTreeMap;

    fn planned(mode: Mode, request: Option<RequestRecord>) -> Result<BootPlan> {
        let facts = Facts {
            name: "root".into(),
            base: Base { identity: "b".into(), submounts: vec!["usr".into()], ..Base::default() },
            ram: 0,
            now: Moment::default(),
            run: "/run/overlayd".into(),
            new_uuid: String::new(),
            kept: None,
        };
        let record = GenerationRecord {
            version: 1,
            number: 1,
            base: "b".into(),
            options: OPTIONS.into(),
            ..GenerationRecord::default()
        };
        let state = OverlayView {
            current: Ok(Some(1)),
            generations: BTreeMap::from([(
                1,
                GenerationView { record: Ok(record), empty: false, husk: false },
            )]),
            request: request.map(Ok),
            ..OverlayView::absent()
        };
        let view = StoreView {
            record: StoreRecord { format: 1, uuid: "u".into(), created: 0, features: Vec::new() },
            reserve: true,
            overlays: BTreeMap::from([("root".to_owned(), state)]),
            strange: Vec::new(),
        };
        let mut handoff = Handoff::new(BootMode::Initrd, "b".into());
        let root = HandoffOverlay { mode, generation: Some(1), ..HandoffOverlay::default() };
        handoff.overlay.insert("root".into(), root);
        let space =
            Space { bytes_total: 1 << 30, bytes_free: 1 << 30, inodes_total: 1 << 16, inodes_free: 1 << 16 };
        root_of(&facts, &view, &space, &handoff)
    }

    fn root_of(facts: &Facts, view: &StoreView, space: &Space, handoff: &Handoff) -> Result<BootPlan> {
        root(config::settings::build(&BTreeMap::new(), &mut Vec::new()).root(), facts, view, space, handoff)
    }

    fn reset(level: Level) -> Option<RequestRecord> {
        Some(RequestRecord {
            version: 1,
            id: "r".into(),
            store: "u".into(),
            action: Action::Reset,
            level,
            ..RequestRecord::default()
        })
    }

    #[test]
    fn a_reset_is_executed_and_nothing_of_the_host_is_touched() {
        let plan = planned(Mode::Persistent, reset(Level::Baseline)).unwrap();
        assert_eq!((plan.generation, plan.executes.as_deref()), (Some(2), Some("r")));
        assert!(
            plan.steps
                .iter()
                .any(|s| matches!(s, Step::MountOverlay { submounts, .. } if submounts.is_empty()))
        );
        assert!(
            !plan.steps.iter().any(|s| matches!(s, Step::ExposeStore | Step::GuardStore | Step::PrepareHost))
        );
    }

    #[test]
    fn what_needs_the_machine_to_start_afresh_is_refused() {
        for (mode, request, why) in [
            (Mode::Persistent, None, "no request"),
            (Mode::Persistent, reset(Level::Wipe), "wiped"),
            (
                Mode::Persistent,
                reset(Level::Baseline).map(|r| RequestRecord {
                    action: Action::Snapshot,
                    snapshot: Some(1),
                    ..r
                }),
                "unmounted",
            ),
            (Mode::Volatile, reset(Level::Baseline), "does not lie in the store"),
            (
                Mode::Persistent,
                reset(Level::Baseline).map(|r| RequestRecord { store: "other".into(), ..r }),
                "store other",
            ),
        ] {
            let refused = planned(mode, request).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
