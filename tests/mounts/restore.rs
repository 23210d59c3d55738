//! Restore, undo, seal, and a reset to the baseline: on the three filesystems, on full disks, with damage.

use std::fs;
use std::ops::ControlFlow;

use overlayd::config::{Mode, Undo};
use overlayd::operation;
use overlayd::plan::request::{self, Sealing};
use overlayd::store::{Layout, OverlayView, read, write};

use crate::reset::{fill, live_in};
use crate::rig::{Rig, manifest, run, s};
use crate::snapshots::asked;

pub(crate) fn ask_restore(rig: &Rig, id: u64) {
    rig.ask(|view, now| request::restore(view, "root", id, &asked(), now));
}

pub(crate) fn ask_undo(rig: &Rig) {
    rig.ask(|view, now| request::undo(view, "root", Undo::Always, &asked(), now));
}

/// What asks without a person.
pub(crate) fn ask_bare(rig: &Rig) {
    rig.ask(|view, now| request::bare(view, "root", &asked(), "a test wants it", now));
}

/// The same.
pub(crate) fn ask_named(rig: &Rig, number: u64) {
    rig.ask(|view, now| request::go_back(view, "root", number, &asked(), "a test wants it", now));
}

pub(crate) fn ask_seal(rig: &Rig, commit: bool) {
    let wanted = Sealing { description: "whole".into(), userdata: [("k".into(), "v".into())].into(), commit };
    rig.ask(|view, now| request::snapshot(view, "root", &wanted, &asked(), now));
}

pub(crate) fn state(layout: &Layout) -> OverlayView {
    read::load(layout).unwrap().overlays["root"].clone()
}

/// Boots, and expects this generation on this snapshot, without a word of complaint.
fn boots(rig: &Rig, generation: u64, snapshot: Option<u64>) {
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.as_deref()), (Mode::Persistent, None));
    assert_eq!((root.generation, root.snapshot), (Some(generation), snapshot));
    assert_eq!(handoff.problems, Vec::<String>::new());
}

fn restores(fstype: &str) {
    let rig = Rig::new(fstype, 400);
    rig.boot();
    live_in(&rig);
    let first = manifest(&rig.sysroot);
    rig.shutdown();
    let id = rig.copy_to_snapshot();
    rig.boot();
    fs::write(rig.path("etc/hostname"), "broken\n").unwrap();
    fs::remove_dir_all(rig.path("usr")).unwrap();
    let broken = manifest(&rig.sysroot);
    rig.shutdown();

    ask_restore(&rig, id);
    boots(&rig, 2, Some(id));
    assert_eq!(manifest(&rig.sysroot), first, "as it was when the snapshot was made");
    fs::write(rig.path("etc/hostname"), "after\n").unwrap();
    fs::remove_file(rig.path("root/.ssh/authorized_keys")).unwrap();
    fs::remove_dir(rig.path("var/lib")).unwrap();
    let after = manifest(&rig.sysroot);
    rig.shutdown();
    boots(&rig, 2, Some(id));
    assert_eq!(manifest(&rig.sysroot), after, "it fires once, and what came later survives");
    rig.shutdown();

    ask_undo(&rig);
    boots(&rig, 1, None);
    assert_eq!(manifest(&rig.sysroot), broken);
    rig.shutdown();
    ask_undo(&rig);
    boots(&rig, 2, Some(id));
    assert_eq!(manifest(&rig.sysroot), after, "an undo of an undo goes forward");
    rig.shutdown();

    rig.offline(|layout| write::point_baseline(layout, "root", Some(id)).unwrap());
    rig.request_reset();
    boots(&rig, 3, Some(id));
    assert_eq!(manifest(&rig.sysroot), first, "a reset goes to the baseline");
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        assert_eq!(state.trash, ["1"], "one generation is retained, not all");
        assert_eq!(state.generations.keys().copied().collect::<Vec<_>>(), [2, 3]);
        operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(self::state(layout).trash.is_empty());
    });
}

#[test]
fn restores_on_ext4() {
    restores("ext4");
}

#[test]
fn restores_on_xfs() {
    restores("xfs");
}

#[test]
fn restores_on_btrfs() {
    restores("btrfs");
}

fn seals(fstype: &str) {
    let rig = Rig::new(fstype, 400);
    let bare = manifest(&rig.sysroot);
    rig.boot();
    live_in(&rig);
    let first = manifest(&rig.sysroot);
    rig.shutdown();
    ask_seal(&rig, false);
    boots(&rig, 2, Some(1));
    assert_eq!(manifest(&rig.sysroot), first, "a snapshot changes nothing that can be seen");
    fs::write(rig.path("etc/hostname"), "later\n").unwrap();
    let later = manifest(&rig.sysroot);
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        let record = state.snapshots[&1].clone().unwrap();
        assert_eq!((record.strategy.as_str(), record.consistency.as_str()), ("sealed", "atomic"));
        assert_eq!((record.description.as_str(), record.userdata["k"].as_str()), ("whole", "v"));
        assert_eq!((record.created_by.as_str(), record.generation), ("a test", Some(1)));
        assert_eq!((state.request.is_none(), state.last_snapshot), (true, 1));
        assert_eq!(state.trash, ["1"]);
        let again = request::snapshot(
            &read::load(layout).unwrap(),
            "root",
            &Sealing::default(),
            &asked(),
            &overlayd::observe::moment(),
        );
        assert!(again.unwrap_err().to_string().contains("stands on snapshot 1"));
        operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(self::state(layout).trash.is_empty());
    });
    boots(&rig, 2, Some(1));
    assert_eq!(manifest(&rig.sysroot), later);
    rig.shutdown();
    ask_restore(&rig, 1);
    boots(&rig, 3, Some(1));
    assert_eq!(manifest(&rig.sysroot), first);
    rig.shutdown();
    rig.request_reset();
    boots(&rig, 4, None);
    assert_eq!(manifest(&rig.sysroot), bare, "no baseline: the image");
    live_in(&rig);
    let second = manifest(&rig.sysroot);
    rig.shutdown();
    ask_seal(&rig, true);
    boots(&rig, 5, Some(2));
    rig.shutdown();
    rig.request_reset();
    boots(&rig, 6, Some(2));
    assert_eq!(manifest(&rig.sysroot), second, "committed");
}

#[test]
fn seals_on_ext4() {
    seals("ext4");
}

#[test]
fn seals_on_xfs() {
    seals("xfs");
}

#[test]
fn seals_on_btrfs() {
    seals("btrfs");
}

/// Zero blocks, zero inodes: back to a snapshot, and back from it, at once.
fn goes_back_when_full(fstype: &str, mib: u64) {
    let rig = Rig::new(fstype, mib);
    rig.boot();
    live_in(&rig);
    let first = manifest(&rig.sysroot);
    rig.shutdown();
    let id = rig.copy_to_snapshot();
    rig.boot();
    fill(&rig, fstype);
    rig.shutdown();
    let still = rig.boot();
    assert_eq!(still.overlay["root"].mode, Mode::Persistent, "a full disk still boots: {still:?}");
    rig.shutdown();
    ask_restore(&rig, id);
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].snapshot, Some(id), "{handoff:?}");
    assert_eq!(manifest(&rig.sysroot), first);
    fs::write(rig.path("etc/works"), "again").unwrap();
    rig.shutdown();
    rig.offline(|layout| {
        let kept = state(layout).generations.len();
        assert_eq!(kept, 1, "what was left gives way where space is needed");
        operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(read::load(layout).unwrap().reserve, "the reserve is filled again");
    });
    undoes_when_full(&rig, fstype, id);
}

/// From an empty disk with a snapshot and one generation on it.
fn undoes_when_full(rig: &Rig, fstype: &str, id: u64) {
    rig.boot();
    let before = manifest(&rig.sysroot);
    rig.shutdown();
    ask_restore(rig, id);
    let live = rig.boot().overlay["root"].generation;
    fill(rig, fstype);
    rig.shutdown();
    ask_undo(rig);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None), "{handoff:?}");
    assert_ne!(root.generation, live);
    assert_eq!(manifest(&rig.sysroot), before);
    fs::write(rig.path("etc/works"), "again").unwrap();
}

#[test]
fn goes_back_on_a_full_ext4() {
    goes_back_when_full("ext4", 100);
}

#[test]
fn goes_back_on_a_full_xfs() {
    goes_back_when_full("xfs", 320);
}

#[test]
fn goes_back_on_a_full_btrfs() {
    goes_back_when_full("btrfs", 130);
}

/// A machine whose live generation 2 stands on snapshot 1.
fn on_a_snapshot() -> Rig {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/mine"), "x").unwrap();
    rig.shutdown();
    ask_seal(&rig, true);
    boots(&rig, 2, Some(1));
    rig.shutdown();
    rig
}

fn spoil(rig: &Rig) {
    rig.offline(|layout| fs::write(layout.snapshot_record("root", 1), "version = 1\nid = 1\ncre").unwrap());
}

#[test]
fn a_damaged_snapshot_below_the_live_generation() {
    let rig = on_a_snapshot();
    spoil(&rig);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    let reason = root.reason.clone().unwrap();
    assert_eq!(root.mode, Mode::Volatile);
    for word in ["generation 2 stands on snapshot 1", "/snapshots/1/snapshot.toml:3", "overlayctl reset"] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    rig.shutdown();
    rig.offline(|layout| assert!(layout.snapshot_fs("root", 1).join("etc/mine").exists()));

    rig.request_reset();
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation, root.snapshot), (Mode::Persistent, Some(3), None));
    assert!(
        handoff.problems.iter().any(|p| p.contains("the bare image, not to the baseline")),
        "{handoff:?}"
    );
    assert!(!rig.path("etc/mine").exists());
}

#[test]
fn a_restore_that_is_not_possible_any_more_is_given_up() {
    let rig = on_a_snapshot();
    rig.request_reset();
    rig.offline(|layout| {
        operation::cancel(layout.root(), "root").unwrap();
        write::point_baseline(layout, "root", None).unwrap();
    });
    rig.request_reset();
    boots(&rig, 3, None);
    fs::write(rig.path("etc/other"), "x").unwrap();
    rig.shutdown();
    ask_restore(&rig, 1);
    spoil(&rig);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation, root.executed.clone()), (Mode::Persistent, Some(3), None));
    assert!(rig.path("etc/other").exists());
    let problem = handoff.problems.iter().find(|p| p.contains("the restore of snapshot 1 was not possible"));
    assert!(problem.is_some_and(|p| p.contains("snapshot.toml:3")), "{:?}", handoff.problems);
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        assert!(state.request.is_none());
        let outcome = state.outcome.unwrap().unwrap();
        assert_eq!((outcome.result.as_str(), outcome.to_generation), ("failed", 3));
        assert!(outcome.message.unwrap().contains("snapshot.toml:3"));
        assert_eq!(outcome.undo_generation, Some(2), "the way back is as it was");
        assert!(state.generations.contains_key(&2));
    });
}

/// A step of the request fails although nothing is damaged: the machine comes up with what it had.
#[test]
fn a_seal_that_fails_half_way_does_not_cost_the_persistent_mode() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    live_in(&rig);
    let before = manifest(&rig.sysroot);
    rig.shutdown();
    ask_seal(&rig, true);
    let immutable = |sign: &str| {
        rig.offline(|layout| run("chattr", &[&format!("{sign}i"), s(&layout.generations("root"))]));
    };
    immutable("+");
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation, root.reason.clone()), (Mode::Persistent, Some(1), None));
    assert!(handoff.problems.iter().any(|p| p.contains("the snapshot was not possible")), "{handoff:?}");
    assert_eq!(manifest(&rig.sysroot), before);
    rig.shutdown();
    immutable("-");
    boots(&rig, 1, None);
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        assert_eq!(state.outcome.unwrap().unwrap().result, "failed");
        assert!(state.request.is_none() && state.snapshots.is_empty() && state.sealing.is_empty());
        assert_eq!(state.baseline.unwrap(), None);
    });
}
