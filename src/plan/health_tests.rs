use std::collections::BTreeMap;

use super::*;
use crate::config::settings;
use crate::store::read::GenerationView;
use crate::store::records::{GenerationRecord, Level, SnapshotRecord, StoreRecord};
use crate::sys::overlay::OPTIONS;

fn root() -> Overlay {
    settings::build(&BTreeMap::new(), &mut Vec::new()).root().clone()
}

fn now() -> Moment {
    Moment { unix: 1000, boot: "boot-b".into(), random: "request-r".into() }
}

/// An overlay whose live generation is the newest.
fn state(generations: &[u64], health: Option<HealthRecord>) -> OverlayView {
    let generation = |number: &u64| {
        let options = OPTIONS.to_owned();
        let record = GenerationRecord { version: 1, number: *number, options, ..GenerationRecord::default() };
        (*number, GenerationView { record: Ok(record), empty: false, husk: false })
    };
    OverlayView {
        current: Ok(generations.last().copied()),
        generations: generations.iter().map(generation).collect(),
        health: health.map(Ok),
        ..OverlayView::absent()
    }
}

fn with_baseline(mut state: OverlayView) -> OverlayView {
    let record =
        SnapshotRecord { version: 1, id: 7, options: OPTIONS.to_owned(), ..SnapshotRecord::default() };
    state.snapshots.insert(7, Ok(record));
    state.baseline = Ok(Some(7));
    state
}

fn counted(generation: u64, boots: u64) -> HealthRecord {
    HealthRecord { version: 1, generation, boots, ..HealthRecord::default() }
}

fn bad(health: HealthRecord, number: u64) -> HealthRecord {
    HealthRecord { bad: [(number.to_string(), "marked bad".to_owned())].into(), ..health }
}

fn view(state: OverlayView) -> StoreView {
    let record = StoreRecord { format: 1, uuid: "u".into(), created: 0, features: Vec::new() };
    StoreView { record, reserve: true, overlays: [("root".to_owned(), state)].into(), strange: Vec::new() }
}

/// The request that is written, if one is.
fn asked(state: &OverlayView, root: &Overlay) -> Option<RequestRecord> {
    decide(&view(state.clone()), root, &now()).into_iter().find_map(|step| match step {
        Step::WriteRequest(_, request) => Some(request),
        _ => None,
    })
}

/// Where it goes.
fn goes(state: &OverlayView) -> Option<(Action, Option<u64>, Option<u64>)> {
    asked(state, &root()).map(|r| (r.action, r.generation, r.snapshot))
}

#[test]
fn nothing_happens_before_so_many_boots_and_then_it_does() {
    for boots in 0..3 {
        assert_eq!(goes(&state(&[1], Some(counted(1, boots)))), None, "{boots}");
    }
    assert_eq!(goes(&state(&[1], Some(counted(1, 3)))), Some((Action::Restore, None, None)));
    assert_eq!(goes(&state(&[1], None)), None, "nothing was counted");
    assert_eq!(goes(&state(&[1, 2], Some(counted(1, 9)))), None, "another generation was counted");
    let patient = Overlay { tries: 10, ..root() };
    assert_eq!(asked(&state(&[1], Some(counted(1, 9))), &patient), None);
}

#[test]
fn the_request_says_who_asks_and_why() {
    let request = asked(&state(&[1], Some(counted(1, 3))), &root()).unwrap();
    assert_eq!((request.requested_by.as_str(), request.via.as_deref()), (BY, Some(VIA)));
    assert_eq!(request.reason.as_deref(), Some("3 boots of generation 1 in a row did not complete"));
    assert_eq!((request.from, request.store.as_str()), (Some(1), "u"));
}

#[test]
fn it_is_off_where_nothing_is_counted() {
    let ill = state(&[1], Some(counted(1, 99)));
    assert!(asked(&ill, &root()).is_some());
    assert_eq!(asked(&ill, &Overlay { tries: 0, ..root() }), None);
    for mode in [Mode::Volatile, Mode::ReadOnly, Mode::Off] {
        assert_eq!(asked(&ill, &Overlay { mode, ..root() }), None, "{mode:?}");
    }
}

#[test]
fn what_is_marked_bad_goes_at_once() {
    let marked = bad(counted(2, 0), 2);
    assert_eq!(goes(&state(&[1, 2], Some(marked.clone()))), Some((Action::Restore, None, None)));
    assert_eq!(goes(&state(&[1, 2, 3], Some(marked))), None, "it is not live any more");
}

#[test]
fn it_goes_down_one_rung_after_the_other_and_ends_at_the_bare_image() {
    let (good, baseline, bare) =
        ((Action::Undo, Some(1), None), (Action::Restore, None, Some(7)), (Action::Restore, None, None));
    let ill = |rung, good| HealthRecord { rung, good, ..counted(2, 3) };
    let at = |rung, good| goes(&with_baseline(state(&[1, 2], Some(ill(rung, good)))));
    assert_eq!(at(Rung::Start, Some(1)), Some(good));
    assert_eq!(at(Rung::Start, None), Some(baseline));
    assert_eq!(at(Rung::Good, Some(1)), Some(baseline), "it was there already");
    assert_eq!(at(Rung::Baseline, Some(1)), Some(bare));
    assert_eq!(at(Rung::Bare, Some(1)), None, "there is nothing below");
    let without = |rung| goes(&state(&[1, 2], Some(ill(rung, None))));
    assert_eq!((without(Rung::Start), without(Rung::Good)), (Some(bare), Some(bare)));
}

#[test]
fn what_was_good_is_gone_back_to_only_if_it_can_be() {
    let ill = HealthRecord { good: Some(1), ..counted(2, 3) };
    let bare = Some((Action::Restore, None, None));
    assert_eq!(goes(&state(&[2], Some(ill.clone()))), bare, "it is gone");
    assert_eq!(goes(&state(&[1, 2], Some(bad(ill.clone(), 1)))), bare, "it is bad");
    assert_eq!(
        goes(&state(&[1, 2], Some(HealthRecord { good: Some(2), ..ill.clone() }))),
        bare,
        "it is this one"
    );
    let mut updated = state(&[1, 2], Some(ill.clone()));
    updated.generations.get_mut(&1).unwrap().record.as_mut().unwrap().base = "old".into();
    for (base_changed, goes) in
        [(BaseChanged::Keep, (Action::Undo, Some(1))), (BaseChanged::SetAside, (Action::Restore, None))]
    {
        let request = asked(&updated, &Overlay { base_changed, ..root() }).unwrap();
        assert_eq!((request.action, request.generation), goes, "it is of another base: {base_changed:?}");
    }
    let mut strange = state(&[1, 2], Some(ill));
    strange.generations.get_mut(&1).unwrap().record.as_mut().unwrap().options = "metacopy=on".into();
    assert_eq!(goes(&strange), bare, "it can not be mounted");
}

#[test]
fn a_request_that_waits_wins_unless_nobody_could_carry_it_out() {
    let mut ill = state(&[1], Some(counted(1, 3)));
    let waiting = RequestRecord { store: "u".into(), level: Level::Factory, ..RequestRecord::default() };
    ill.request = Some(Ok(waiting.clone()));
    assert!(decide(&view(ill.clone()), &root(), &now()).is_empty());
    let strange = [
        Err(crate::Error::new(Kind::StoreDamaged, "damaged")),
        Ok(RequestRecord { store: "other".into(), ..waiting }),
    ];
    for request in strange {
        ill.request = Some(request);
        let steps = decide(&view(ill.clone()), &root(), &now());
        assert!(matches!(steps[..], [Step::SetRequestAside(_), Step::WriteRequest(..)]), "{steps:?}");
    }
}

#[test]
fn a_damaged_record_decides_nothing() {
    let mut damaged = state(&[1], None);
    damaged.health = Some(Err(crate::Error::new(Kind::StoreDamaged, "damaged")));
    assert!(decide(&view(damaged), &root(), &now()).is_empty());
}

#[test]
fn boots_of_one_generation_add_up() {
    assert_eq!(count(None, 1, None, &now()), counted(1, 1));
    assert_eq!(count(Some(&state(&[1], Some(counted(1, 1)))), 1, None, &now()), counted(1, 2));
    assert_eq!(count(Some(&state(&[1, 2], Some(counted(1, 2)))), 2, None, &now()), counted(2, 1));
}

#[test]
fn going_back_remembers_what_was_bad_and_why() {
    let ill = state(&[1, 2], Some(HealthRecord { good: Some(1), ..counted(2, 3) }));
    let request = asked(&ill, &root()).unwrap();
    let done = count(Some(&ill), 1, Some((&request, true)), &now());
    assert_eq!((done.generation, done.boots, done.rung, done.good), (1, 1, Rung::Good, Some(1)));
    assert_eq!(done.badness(2), request.reason.as_deref());
    assert_eq!((done.by.as_deref(), done.at, done.boot.as_deref()), (Some(BY), Some(1000), Some("boot-b")));
    // The power goes, and it is carried out again.
    let again = OverlayView { current: Ok(Some(1)), ..state(&[1, 2], Some(done.clone())) };
    let repeated = count(Some(&again), 1, Some((&request, true)), &now());
    assert_eq!(repeated, HealthRecord { boots: 2, ..done });
}

#[test]
fn what_was_good_and_fails_is_not_good_any_more() {
    let ill = state(&[1], Some(HealthRecord { good: Some(1), ..counted(1, 3) }));
    let request = asked(&ill, &root()).unwrap();
    let done = count(Some(&ill), 2, Some((&request, true)), &now());
    assert_eq!((done.rung, done.good, done.bad_ones().collect::<Vec<_>>()), (Rung::Bare, None, vec![1]));
}

#[test]
fn what_was_not_possible_is_not_tried_again() {
    let ill = with_baseline(state(&[1], Some(counted(1, 3))));
    let request = asked(&ill, &root()).unwrap();
    let failed = count(Some(&ill), 1, Some((&request, false)), &now());
    assert_eq!((failed.rung, failed.boots, failed.bad.len()), (Rung::Baseline, 4, 0));
    assert_eq!(goes(&with_baseline(state(&[1], Some(failed)))), Some((Action::Restore, None, None)));
}

#[test]
fn what_a_person_wants_counts_anew() {
    let back = HealthRecord { rung: Rung::Bare, ..bad(counted(2, 1), 1) };
    let undo = RequestRecord { action: Action::Undo, generation: Some(1), ..RequestRecord::default() };
    let after = count(Some(&state(&[1, 2], Some(back.clone()))), 1, Some((&undo, true)), &now());
    assert_eq!((after.generation, after.boots, after.rung, after.bad.len()), (1, 1, Rung::Start, 0));
    let factory = RequestRecord { level: Level::Factory, ..RequestRecord::default() };
    let after = count(Some(&state(&[1, 2], Some(back))), 3, Some((&factory, true)), &now());
    assert_eq!(after, counted(3, 1), "a reset to the image leaves nothing");
}

#[test]
fn what_is_gone_is_forgotten() {
    let record = bad(counted(3, 1), 1);
    assert_eq!(count(Some(&state(&[2, 3], Some(record.clone()))), 3, None, &now()).bad.len(), 0);
    assert_eq!(count(Some(&state(&[1, 3], Some(record))), 3, None, &now()).bad.len(), 1);
}
