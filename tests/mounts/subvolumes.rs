//! Subvolumes of btrfs that somebody made by hand among the store's own: they are deleted with what they lie in, and
//! snapshots hold what is in them.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use overlayd::operation::snapshot::{self, Wanted};
use overlayd::operation::{self, Site};
use overlayd::store::records::Level;
use overlayd::store::{Layout, read};
use overlayd::sys::tree;

use crate::restore::{ask_restore, ask_seal, state};
use crate::rig::{Rig, manifest, run, s};
use crate::snapshots::{asked, live, on};

fn subvolume(words: &[&str]) {
    run("btrfs", &[&["subvolume"], words].concat());
}

/// One of this content, with a file of two names.
fn make(place: &Path, content: &str) {
    subvolume(&["create", s(place)]);
    fs::create_dir(place.join("dir")).unwrap();
    fs::write(place.join("dir/file"), content).unwrap();
    fs::hard_link(place.join("dir/file"), place.join("dir/link")).unwrap();
}

fn make_read_only(place: &Path) {
    run("btrfs", &["property", "set", "-ts", s(place), "ro", "true"]);
}

/// Three deep, the middle one read-only, and of that a copy from before, with the same inodes.
fn nest(place: &Path) {
    let [outer, middle, inner, copy] = ["a", "a/dir/b", "a/dir/b/dir/c", "copy"].map(|path| place.join(path));
    make(&outer, "outer");
    make(&middle, "middle");
    subvolume(&["snapshot", "-r", s(&middle), s(&copy)]);
    fs::write(middle.join("dir/file"), "changed").unwrap();
    make(&inner, "inner");
    make_read_only(&middle);
}

/// A machine that is off, with subvolumes in its live upper. What is left is not kept.
fn machine() -> Rig {
    let mut rig = Rig::new("btrfs", 200);
    rig.configure("[overlay.root.reset]\nundo = \"never\"\n");
    rig.boot();
    fs::create_dir(rig.path("srv")).unwrap();
    rig.shutdown();
    rig.offline(|layout| nest(&layout.upper("root", 1).join("srv")));
    rig
}

/// What is in the trash goes, and the filesystem has as many subvolumes as before.
fn empties(layout: &Layout, left: usize) {
    operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
    let view = read::load(layout).unwrap();
    assert!(view.overlays.values().all(|state| state.trash.is_empty()));
    let listed = run("btrfs", &["subvolume", "list", s(layout.root().parent().unwrap())]).stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert_eq!(listed.lines().count(), left, "{listed}");
}

#[test]
fn a_reset_gives_them_up() {
    let rig = machine();
    rig.offline(|layout| {
        let srv = layout.upper("root", 1).join("srv");
        let usage = tree::usage(&srv, Duration::from_secs(10)).unwrap();
        assert_eq!((usage.entries, usage.complete), (16, true));
    });
    rig.request_reset();
    assert_eq!(rig.boot().overlay["root"].generation, Some(2));
    rig.shutdown();
    rig.offline(|layout| {
        assert_eq!(state(layout).trash, ["1"]);
        empties(layout, 1);
    });
}

/// Those that lie where nothing of the kind belongs, too: a read-only one can not even be renamed into the trash.
#[test]
fn a_factory_reset_gives_all_of_them_up() {
    let rig = machine();
    rig.offline(|layout| {
        for place in ["overlays/root/mine", "overlays/theirs", "overlays/root/generations/old"] {
            let place = layout.root().join(place);
            subvolume(&["create", s(&place)]);
            nest(&place);
            make_read_only(&place);
        }
    });
    rig.request(Level::Factory, &[]);
    let handoff = rig.boot();
    assert_eq!(
        (handoff.overlay["root"].generation, handoff.problems.clone()),
        (Some(2), Vec::new()),
        "{handoff:?}"
    );
    rig.shutdown();
    rig.offline(|layout| {
        // The place of an overlay stays, empty.
        empties(layout, 2);
        let view = read::load(layout).unwrap();
        assert!(view.strange.is_empty() && view.overlays["root"].strange.is_empty());
    });
}

#[test]
fn a_snapshot_holds_what_is_in_them_and_goes_with_those_in_it() {
    let rig = machine();
    rig.boot();
    let before = manifest(&rig.sysroot);
    let made = snapshot::create(&live(&rig), "root", &Wanted::default(), &asked(), &mut on).unwrap();
    assert_eq!((made.id, &*made.strategy), (1, "reflink"));
    rig.shutdown();
    ask_restore(&rig, 1);
    rig.boot();
    assert_eq!(manifest(&rig.sysroot), before);
    let [file, link] = ["srv/a/dir/b/dir/file", "srv/a/dir/b/dir/link"].map(|path| rig.path(path));
    assert_eq!(file.metadata().unwrap().ino(), link.metadata().unwrap().ino());
    assert_eq!(fs::read_to_string(rig.path("srv/copy/dir/file")).unwrap(), "middle");
    rig.shutdown();
    rig.request_reset();
    rig.boot();
    rig.shutdown();
    rig.offline(|layout| {
        nest(&layout.snapshot_fs("root", 1));
        make_read_only(&layout.snapshot("root", 1));
        snapshot::delete(&Site::offline(layout.root()), "root", 1, &asked()).unwrap();
        assert!(!layout.snapshot("root", 1).exists());
    });
}

#[test]
fn a_seal_would_lose_them_and_is_refused() {
    let rig = machine();
    rig.boot();
    let before = manifest(&rig.sysroot);
    rig.shutdown();
    rig.offline(|layout| {
        let site = Site::offline(layout.root());
        let refusal = snapshot::request(&site, "root", &Wanted::default(), false, &asked()).unwrap_err();
        assert!(refusal.to_string().contains("the subvolumes in it: /srv/a, /srv/copy"), "{refusal}");
        assert!(state(layout).request.is_none());
    });
    // Made after it was asked.
    ask_seal(&rig, true);
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].generation, Some(1));
    assert_eq!(manifest(&rig.sysroot), before);
    rig.shutdown();
    rig.offline(|layout| {
        let outcome = state(layout).outcome.unwrap().unwrap();
        let message = outcome.message.unwrap();
        assert_eq!(outcome.result, "failed", "{message}");
        assert!(message.contains("/srv/a, /srv/copy"), "{message}");
        assert!(state(layout).snapshots.is_empty());
    });
}
