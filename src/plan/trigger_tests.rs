use super::*;
use crate::store::OverlayView;
use crate::store::records::{Action, StoreRecord};

fn view(pending: Option<RequestRecord>) -> StoreView {
    let mut root = OverlayView::absent();
    root.request = pending.map(Ok);
    StoreView {
        record: StoreRecord { uuid: "ours".into(), ..StoreRecord::default() },
        reserve: true,
        overlays: [("root".to_owned(), root)].into(),
        strange: Vec::new(),
    }
}

fn pending(action: Action, level: Level) -> RequestRecord {
    RequestRecord {
        store: "ours".into(),
        action,
        level,
        requested_by: "root".into(),
        ..RequestRecord::default()
    }
}

fn decided(found: &[Trigger], view: &StoreView, marks: &[&str], mode: Mode) -> Decision {
    let marks: Vec<String> = marks.iter().map(|mark| mark.to_string()).collect();
    let now = Moment::default();
    decide(found, &Scene { view, marks: Some(&marks), level: Level::Factory, mode, now: &now })
}

fn on(found: &[Trigger], view: &StoreView, marks: &[&str]) -> Decision {
    decided(found, view, marks, Mode::Persistent)
}

fn line(text: &str) -> Vec<Trigger> {
    let words = command_line(text);
    assert_eq!(words.problems, [""; 0], "{text}");
    words.triggers
}

/// The request that is written, if one is.
fn written(decision: &Decision) -> Option<&RequestRecord> {
    decision.steps.iter().find_map(|step| match step {
        Step::WriteRequest(_, request) => Some(request),
        _ => None,
    })
}

fn remembered(decision: &Decision) -> Option<Vec<&str>> {
    match decision.steps.last()? {
        Step::RememberTriggers(marks) => Some(marks.iter().map(String::as_str).collect()),
        _ => None,
    }
}

#[test]
fn the_command_line_names_tokens_and_levels() {
    let words = command_line("quiet overlayd.reset=a.B_1- overlayd.reset=b:wipe -- overlayd.reset=init");
    let token = |token: &str, level| Trigger { source: Source::Token(token.into()), level };
    assert_eq!(words.triggers, [token("a.B_1-", None), token("b", Some(Level::Wipe))]);
    assert_eq!((words.systemd, words.problems), (None, vec![]));
    for bad in ["overlayd.reset", "overlayd.reset=", "overlayd.reset=a/b", "overlayd.reset=a:all"] {
        let words = command_line(bad);
        assert!(words.triggers.is_empty() && words.problems.len() == 1, "{bad}");
        assert!(words.problems[0].starts_with(&format!("{bad} is not obeyed: ")), "{words:?}");
    }
    let long = "x".repeat(65);
    assert_eq!(command_line(&format!("overlayd.reset={long}")).problems.len(), 1);
    assert_eq!(command_line(&format!("overlayd.reset={}", &long[1..])).problems.len(), 0);
}

#[test]
fn systemds_word_is_read_as_systemd_does() {
    for (text, wanted) in [
        ("systemd.factory_reset=1", Some(true)),
        ("systemd.factory-reset", Some(true)),
        ("systemd.factory_reset=On systemd.factory_reset=no", Some(false)),
        ("xsystemd.factory_reset=1", None),
    ] {
        let words = command_line(text);
        assert_eq!(words.systemd, wanted, "{text}");
        assert_eq!(words.triggers.len(), usize::from(wanted == Some(true)), "{text}");
    }
    let words = command_line("systemd.factory_reset=maybe");
    assert_eq!((words.systemd, words.problems.len()), (None, 1));
}

#[test]
fn a_file_is_empty_or_one_word() {
    for (content, level) in
        [("", None), (" \n\n", None), ("wipe\n", Some(Level::Wipe)), (" baseline ", Some(Level::Baseline))]
    {
        assert_eq!(file(content.as_bytes()), Ok(level), "{content:?}");
    }
    for bad in [&b"Wipe"[..], b"factory\nwipe", b"factory now", b"\xff", b"\0\0", b"\nwipe\nwipe"] {
        assert!(file(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_token_fires_once_and_the_request_comes_before_the_mark() {
    let found = line("overlayd.reset=one");
    let decision = on(&found, &view(None), &["older"]);
    let request = written(&decision).unwrap();
    assert_eq!((request.level, request.drop_kept, request.action), (Level::Factory, false, Action::Reset));
    assert_eq!(request.requested_by, "overlayd.reset=one");
    assert_eq!(request.via.as_deref(), Some("the kernel command line"));
    assert_eq!(decision.steps.len(), 2, "the mark is written last: {:?}", decision.steps);
    assert_eq!(remembered(&decision), Some(vec!["older", "one"]));
    let again = on(&found, &view(None), &["older", "one"]);
    assert!(again.steps.is_empty() && again.problems.is_empty() && again.fires.is_none(), "{again:?}");
}

/// The power went after the request, and before the mark: the next boot may be without the word.
#[test]
fn a_cut_between_request_and_mark_loses_neither() {
    let found = line("overlayd.reset=one");
    let asked = written(&on(&found, &view(None), &[])).unwrap().clone();
    let with_word = on(&found, &view(Some(asked.clone())), &[]);
    assert_eq!((written(&with_word), remembered(&with_word)), (None, Some(vec!["one"])));
    let without_word = on(&[], &view(Some(asked)), &[]);
    assert_eq!((written(&without_word), remembered(&without_word)), (None, Some(vec!["one"])));
}

#[test]
fn systemds_word_fires_again_after_a_boot_without_it() {
    let found = line("systemd.factory_reset=1");
    let first = on(&found, &view(None), &[]);
    assert_eq!(remembered(&first), Some(vec![SYSTEMD_MARK]));
    assert!(on(&found, &view(None), &["a", SYSTEMD_MARK]).steps.is_empty());
    assert_eq!(remembered(&on(&[], &view(None), &["a", SYSTEMD_MARK])), Some(vec!["a"]));
    // A token of ours stays used however long it is gone.
    assert!(on(&[], &view(None), &["a"]).steps.is_empty());
}

#[test]
fn an_efi_request_is_known_by_the_boot_that_wrote_it() {
    let of = |boot: &str| [Trigger::plain(Source::EfiRequest(boot.into()))];
    let first = on(&of("b1"), &view(None), &["a", "efi=b0"]);
    assert!(written(&first).is_some());
    assert_eq!(remembered(&first), Some(vec!["a", "efi=b1"]));
    let again = on(&of("b1"), &view(None), &["a", "efi=b1"]);
    assert!(again.steps.is_empty() && again.spent == [Source::EfiRequest("b1".into())], "{again:?}");
    assert!(on(&[], &view(None), &["efi=b1"]).steps.is_empty(), "it stays known when the variable is gone");
}

#[test]
fn of_several_the_furthest_counts_and_all_are_done_with() {
    let mut found = line("overlayd.reset=a:baseline overlayd.reset=b");
    found.push(Trigger { source: Source::StateFile, level: Some(Level::Factory) });
    let decision = on(&found, &view(None), &[]);
    assert_eq!(decision.fires, Some(Source::Token("b".into())), "the first of the furthest");
    assert_eq!(decision.spent.len(), 3);
    assert_eq!(remembered(&decision), Some(vec!["a", "b"]));
    found.push(Trigger { source: Source::EspFile, level: Some(Level::Wipe) });
    let decision = on(&found, &view(None), &[]);
    let request = written(&decision).unwrap();
    assert_eq!((request.level, request.drop_kept), (Level::Wipe, true));
    assert_eq!(decision.fires, Some(Source::EspFile));
}

#[test]
fn a_pending_request_is_replaced_or_stays_by_the_rule() {
    let found = [Trigger::plain(Source::StateFile)];
    let milder = pending(Action::Reset, Level::Baseline);
    let decision = on(&found, &view(Some(milder.clone())), &[]);
    assert_eq!(written(&decision).unwrap().level, Level::Factory);
    assert_eq!(decision.withdraw, [Step::WriteRequest("root".into(), milder)]);
    let same = on(&found, &view(Some(pending(Action::Reset, Level::Factory))), &[]);
    assert!(same.steps.is_empty() && same.withdraw.is_empty() && same.problems.is_empty(), "{same:?}");
    for other in [pending(Action::Reset, Level::Wipe), pending(Action::Restore, Level::Baseline)] {
        let decision = on(&found, &view(Some(other)), &[]);
        assert!(decision.steps.is_empty() && decision.fires.is_none(), "{decision:?}");
        assert_eq!(decision.spent, [Source::StateFile], "it must not fire a boot later");
        assert!(decision.problems[0].contains("waits for the next boot"), "{:?}", decision.problems);
    }
}

#[test]
fn a_request_that_means_nothing_makes_way() {
    let found = [Trigger::plain(Source::StateFile)];
    let foreign = RequestRecord { store: "another".into(), ..pending(Action::Reset, Level::Wipe) };
    let mut damaged = view(None);
    damaged.overlays.get_mut("root").unwrap().request = Some(Err(Error::new(Kind::StoreDamaged, "garbage")));
    for view in [view(Some(foreign)), damaged] {
        let decision = on(&found, &view, &[]);
        assert_eq!(decision.steps[0], Step::SetRequestAside("root".into()));
        assert_eq!(written(&decision).unwrap().level, Level::Factory);
        assert_eq!(decision.withdraw, [Step::RemoveRequest("root".into())]);
    }
}

#[test]
fn what_can_not_be_removed_takes_its_own_request_back_and_no_other() {
    let found = [Trigger::plain(Source::EspFile)];
    let fresh = on(&found, &view(None), &[]);
    assert_eq!(fresh.withdraw, [Step::RemoveRequest("root".into())]);
    // The power went between the two: the request stands, and is its own.
    let own = written(&fresh).unwrap().clone();
    let again = on(&found, &view(Some(own)), &[]);
    assert!(again.steps.is_empty());
    assert_eq!(again.withdraw, [Step::RemoveRequest("root".into())]);
}

#[test]
fn a_volatile_root_has_no_reset_to_the_baseline() {
    let volatile = |text: &str| decided(&line(text), &view(None), &[], Mode::Volatile);
    let plain = volatile("overlayd.reset=a:baseline");
    assert!(plain.steps.is_empty() && plain.spent.is_empty(), "it is left: {plain:?}");
    assert!(plain.problems[0].contains("the root is volatile"), "{:?}", plain.problems);
    assert!(written(&volatile("overlayd.reset=a")).is_some());
}

#[test]
fn marks_are_bounded_and_what_is_still_there_is_not_forgotten() {
    let old: Vec<String> = (0..MARKS_MAX).map(|i| format!("t{i}")).collect();
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let decision = on(&line("overlayd.reset=t0 overlayd.reset=new"), &view(None), &old);
    let marks = remembered(&decision).unwrap();
    assert_eq!((marks.len(), &marks[30..]), (MARKS_MAX, &["t0", "new"][..]));
    assert!(!marks.contains(&"t1"), "the oldest goes");
}

#[test]
fn marks_that_somebody_else_wrote_let_nothing_fire_that_relies_on_them() {
    assert_eq!(marks("a\nsystemd.factory_reset=1\nefi=0f\n").unwrap().len(), 3);
    assert_eq!(marks("").unwrap().len(), 0);
    for bad in ["a b\n", "a\n\n", "x=1\n", "\u{0}\n"] {
        assert!(marks(bad).is_err(), "{bad:?}");
    }
    let view = view(None);
    let now = Moment::default();
    let mode = Mode::Persistent;
    let scene = Scene { view: &view, marks: None, level: Level::Factory, mode, now: &now };
    let token = decide(&line("overlayd.reset=a"), &scene);
    assert!(token.steps.is_empty() && token.problems.len() == 1, "{token:?}");
    let file = decide(&[Trigger::plain(Source::StateFile)], &scene);
    assert!(matches!(file.steps[..], [Step::WriteRequest(..)]), "{file:?}");
}

#[test]
fn a_store_that_is_new_spends_what_was_there_before_it() {
    let view = view(None);
    let (now, mode) = (Moment::default(), Mode::Persistent);
    let scene = Scene { view: &view, marks: Some(&[]), level: Level::Factory, mode, now: &now };
    let mut found = line("overlayd.reset=first systemd.factory_reset=1");
    found.push(Trigger::plain(Source::StateFile));
    let decision = settle(&found, &scene);
    assert_eq!((decision.spent.len(), written(&decision)), (3, None));
    assert_eq!(remembered(&decision), Some(vec!["first", SYSTEMD_MARK]));
}
