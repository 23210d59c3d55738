//! Back to the bare image: entry by entry, and nothing of what was is left in the store, whatever lay there.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use overlayd::config::{Mode, Undo};
use overlayd::error::Kind;
use overlayd::observe::{self, Base};
use overlayd::operation;
use overlayd::plan::{execute, request};
use overlayd::store::records::Level;
use overlayd::store::{Layout, read, write};

use crate::keep::look;
use crate::reset::live_in;
use crate::restore::{ask_restore, state};
use crate::rig::{Rig, run, s};
use crate::snapshots::asked;

const MARKER: &str = "a-secret-that-must-go-5f0c";

/// A store that was lived in for long: layers, a baseline, another overlay, damage, and what nobody knows.
fn live_long(rig: &Rig) {
    live_in(rig);
    for path in ["etc/hostname", "root/secret", "tmp/.odd\nname"] {
        fs::write(rig.path(path), MARKER).unwrap();
    }
    rig.shutdown();
    let id = rig.copy_to_snapshot();
    rig.offline(|layout| write::point_baseline(layout, "root", Some(id)).unwrap());
    ask_restore(rig, id);
    rig.boot();
    fs::write(rig.path("etc/another"), MARKER).unwrap();
    rig.shutdown();
    rig.offline(|layout| {
        let base = Base { identity: "another".into(), ..Base::default() };
        for number in [1, 2] {
            let record = execute::generation(number, &base, &observe::moment(), None, None);
            write::make_generation(layout, "data", &record).unwrap();
            fs::write(layout.upper("data", number).join(MARKER), MARKER).unwrap();
        }
        write::point_current(layout, "data", 2).unwrap();
        let record = execute::generation(7, &base, &observe::moment(), None, None);
        write::make_generation(layout, "root", &record).unwrap();
        fs::write(layout.generation_record("root", 7), MARKER).unwrap();
        strew(layout);
    });
}

fn strew(layout: &Layout) {
    let place = |path: &str| layout.overlays().join(path);
    fs::create_dir_all(place("root/generations/9.new/fs")).unwrap();
    fs::create_dir_all(place("root/snapshots/12")).unwrap();
    fs::create_dir_all(place("Not An Overlay/x")).unwrap();
    for path in [
        "root/generations/9.new/fs/x",
        "root/generations/.hidden",
        "root/snapshots/12/snapshot.toml",
        "root/request.toml.damaged",
        "root/.outcome.toml.new",
        "data/request.toml",
        "data/notes",
        "Not An Overlay/x/y",
        ".z",
    ] {
        fs::write(place(path), MARKER).unwrap();
    }
    symlink("/etc/passwd", place("root/leads-out")).unwrap();
    symlink("nowhere", place("Dangling")).unwrap();
}

/// Files of the store that name the marker, or hold it.
fn found(layout: &Layout) -> String {
    let root = s(layout.root());
    let output = Command::new("sh")
        .args(["-c", "grep -rl -e \"$1\" \"$0\"; find \"$0\" -name \"*$1*\"", root, MARKER])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn empties(layout: &Layout) {
    operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
    let view = read::load(layout).unwrap();
    assert!(view.overlays.values().all(|state| state.trash.is_empty()));
    assert_eq!(found(layout), "", "the marker is left");
}

fn goes_back(fstype: &str) {
    let rig = Rig::new(fstype, 400);
    let bare = look(&rig);
    rig.boot();
    live_long(&rig);
    rig.offline(|layout| assert!(found(layout).lines().count() > 10));
    rig.request(Level::Factory, &[]);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone(), root.snapshot), (Mode::Persistent, None, None));
    assert_eq!((root.generation, handoff.problems.clone()), (Some(8), Vec::new()));
    bare.assert_same(&look(&rig), fstype);
    assert!(Path::new("/run/overlayd/cleanup-wanted").exists(), "what is in the trash is to be deleted");
    rig.shutdown();
    rig.offline(|layout| {
        let view = read::load(layout).unwrap();
        let state = &view.overlays["root"];
        let outcome = state.outcome.clone().unwrap().unwrap();
        assert_eq!((outcome.result.as_str(), outcome.level), ("done", Level::Factory));
        assert_eq!(outcome.erasure.as_deref(), Some("erasing"));
        assert_eq!((outcome.from_generation, outcome.to_generation), (Some(2), 8));
        assert_eq!(state.generations.keys().copied().collect::<Vec<_>>(), [8]);
        assert!(state.request.is_none() && state.snapshots.is_empty() && state.unfinished.is_empty());
        assert_eq!((state.baseline.clone().unwrap(), state.strange.len()), (None, 0));
        let data = &view.overlays["data"];
        assert!(
            data.current.clone().unwrap().is_none() && data.generations.is_empty() && data.request.is_none()
        );
        assert!(view.strange.is_empty(), "{:?}", view.strange);
        let why = request::undo(&view, "root", Undo::Always, &asked(), &observe::moment()).unwrap_err();
        assert!(why.to_string().contains("the last reset was to the bare image"), "{why}");
        assert_eq!(why.kind(), Kind::NothingToDo);
        empties(layout);
    });
    let again = rig.boot();
    assert_eq!(again.overlay["root"].generation, Some(8), "it fires once");
    bare.assert_same(&look(&rig), fstype);
}

#[test]
fn goes_back_to_the_image_on_ext4() {
    goes_back("ext4");
}

#[test]
fn goes_back_to_the_image_on_xfs() {
    goes_back("xfs");
}

#[test]
fn goes_back_to_the_image_on_btrfs() {
    goes_back("btrfs");
}

/// Its baseline and what else is in the store go; nothing can be kept.
#[test]
fn a_volatile_root_goes_back_to_the_image() {
    let mut rig = Rig::new("ext4", 400);
    rig.boot();
    live_long(&rig);
    rig.configure("[overlay.root]\nmode = \"volatile\"\n");
    let bare = look(&rig);
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].snapshot, Some(1), "on the baseline");
    rig.shutdown();
    rig.request(Level::Factory, &[]);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone(), root.snapshot), (Mode::Volatile, None, None));
    assert!(root.executed.is_some());
    bare.assert_same(&look(&rig), "volatile");
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        assert!(state.request.is_none() && state.generations.is_empty() && state.snapshots.is_empty());
        assert_eq!(state.outcome.unwrap().unwrap().erasure.as_deref(), Some("erasing"));
        empties(layout);
    });
    assert_eq!(rig.boot().overlay["root"].executed, None);
    // The store that is left is one that a persistent root can begin in.
    rig.shutdown();
    rig.configure("");
    let root = rig.boot().overlay["root"].clone();
    assert_eq!((root.mode, root.generation, root.reason), (Mode::Persistent, Some(1), None));
}

/// A step fails although nothing is damaged: the machine comes up with what it had, and says why.
fn fails_half_way(level: Level) {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    live_in(&rig);
    let before = look(&rig);
    rig.shutdown();
    rig.request(level, &["/root/.ssh"]);
    let immutable = |sign: &str| {
        rig.offline(|layout| run("chattr", &[&format!("{sign}i"), s(&layout.generations("root"))]));
    };
    immutable("+");
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation, root.reason.clone()), (Mode::Persistent, Some(1), None));
    assert!(handoff.problems.iter().any(|p| p.contains("reset was not possible")), "{handoff:?}");
    before.assert_same(&look(&rig), "the old system is whole");
    rig.shutdown();
    immutable("-");
    assert_eq!(rig.boot().overlay["root"].generation, Some(1), "it is not tried again");
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        let outcome = state.outcome.unwrap().unwrap();
        assert_eq!((outcome.result.as_str(), outcome.level, outcome.erasure), ("failed", level, None));
        assert!(outcome.message.is_some() && state.request.is_none());
    });
}

#[test]
fn a_reset_that_fails_leaves_the_old_system_whole() {
    fails_half_way(Level::Baseline);
}

#[test]
fn a_factory_reset_that_fails_leaves_the_old_system_whole() {
    fails_half_way(Level::Factory);
}
