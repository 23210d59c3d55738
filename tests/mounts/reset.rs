//! Reset: asked for once, executed once, complete, also on a full disk.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use overlayd::config::Mode;
use overlayd::operation;
use overlayd::store::{Layout, read};

use crate::rig::{Rig, manifest, run};

/// What an ordinary life leaves in an upper.
pub(crate) fn live_in(rig: &Rig) {
    fs::write(rig.path("etc/hostname"), "mine\n").unwrap();
    fs::remove_file(rig.path("etc/os-release")).unwrap();
    fs::remove_dir_all(rig.path("var/lib/.hidden")).unwrap();
    fs::create_dir_all(rig.path("root/.ssh")).unwrap();
    fs::write(rig.path("root/.ssh/authorized_keys"), "secret").unwrap();
    run("chattr", &["+i", rig.path("root/.ssh/authorized_keys").to_str().unwrap()]);
}

fn resets(fstype: &str) {
    let mut rig = Rig::new(fstype, 400);
    let bare = manifest(&rig.sysroot);
    rig.boot();
    live_in(&rig);
    rig.shutdown();
    rig.request_reset();
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation), (Mode::Persistent, Some(2)));
    assert!(root.executed.is_some());
    assert_eq!(handoff.problems, Vec::<String>::new());
    assert_eq!(manifest(&rig.sysroot), bare, "the image's own state, entry by entry");
    assert!(Path::new("/run/overlayd/cleanup-wanted").exists(), "the report is wanted");

    fs::write(rig.path("etc/after"), "x").unwrap();
    let again = rig.reboot();
    assert_eq!(again.overlay["root"].generation, Some(2), "the request fires once");
    assert_eq!(again.overlay["root"].executed, None);
    assert!(rig.path("etc/after").exists());
    rig.shutdown();
    rig.offline(|layout| {
        let view = read::load(layout).unwrap();
        let state = &view.overlays["root"];
        assert!(state.request.is_none());
        let outcome = state.outcome.clone().unwrap().unwrap();
        assert_eq!((outcome.from_generation, outcome.to_generation), (Some(1), 2));
        assert_eq!(outcome.requested_by, "a test");
        assert_eq!(outcome.secure.as_deref(), Some("no"), "it is retained: {outcome:?}");
        assert!(state.trash.is_empty(), "the generation that was left is retained");
        assert!(layout.upper("root", 1).join("root/.ssh/authorized_keys").exists());
    });
    rig.configure("[overlay.root.reset]\nundo = \"never\"\n");
    rig.boot();
    rig.shutdown();
    rig.offline(|layout| {
        assert_eq!(read::load(layout).unwrap().overlays["root"].trash, ["1"]);
        let deleted = operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(deleted.trees, 1);
        assert!(read::load(layout).unwrap().overlays["root"].trash.is_empty());
    });
}

#[test]
fn resets_on_ext4() {
    resets("ext4");
}

#[test]
fn resets_on_xfs() {
    resets("xfs");
}

#[test]
fn resets_on_btrfs() {
    resets("btrfs");
}

/// Fills blocks and inodes through the merged tree, as a runaway log would.
pub(crate) fn fill(rig: &Rig, fstype: &str) {
    fs::write(rig.path("etc/hostname"), "copied up while there are inodes").unwrap();
    if fstype == "ext4" {
        for i in 0.. {
            if fs::write(rig.path(&format!("n{i}")), "").is_err() {
                break;
            }
        }
    }
    for size in [1 << 20, 4096, 1] {
        let chunk = vec![7u8; size];
        for i in 0.. {
            let grown = fs::OpenOptions::new().append(true).create(true).open(rig.path("etc/hostname"));
            let wrote =
                grown.and_then(|mut f| std::io::Write::write_all(&mut f, &chunk).and_then(|()| f.sync_all()));
            if wrote.is_err() || i > 10_000 {
                break;
            }
        }
    }
}

fn resets_when_full(fstype: &str, mib: u64) {
    let rig = Rig::new(fstype, mib);
    let bare = manifest(&rig.sysroot);
    rig.boot();
    fill(&rig, fstype);
    let space = overlayd::sys::space::of(Path::new("/run/overlayd/store")).unwrap();
    if fstype == "ext4" {
        assert_eq!(space.inodes_free, 0, "{space:?}");
    }
    assert!(space.bytes_free < 1 << 20 || fstype != "ext4", "{space:?}");
    rig.shutdown();
    let still = rig.boot();
    assert_eq!(still.overlay["root"].mode, Mode::Persistent, "a full disk still boots: {still:?}");
    rig.shutdown();
    rig.request_reset();
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].generation, Some(2), "{handoff:?}");
    assert_eq!(manifest(&rig.sysroot), bare);
    fs::write(rig.path("etc/works"), "again").unwrap();
    rig.shutdown();
    rig.offline(|layout| {
        operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(read::load(layout).unwrap().reserve, "the reserve is filled again");
    });
}

#[test]
fn resets_a_full_ext4() {
    resets_when_full("ext4", 100);
}

#[test]
fn resets_a_full_xfs() {
    resets_when_full("xfs", 320);
}

#[test]
fn resets_a_full_btrfs() {
    resets_when_full("btrfs", 130);
}

#[test]
fn a_request_for_another_store_does_not_fire() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/mine"), "x").unwrap();
    rig.shutdown();
    rig.request_reset();
    rig.offline(|layout| {
        let path = layout.request("root");
        let text = fs::read_to_string(&path).unwrap();
        let uuid = read::load(layout).unwrap().record.uuid;
        fs::write(&path, text.replace(&uuid, "0b0e7b5c-0000-4000-8000-000000000000")).unwrap();
    });
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].generation, Some(1));
    assert!(handoff.problems[0].contains("not for this one"), "{:?}", handoff.problems);
    assert!(rig.path("etc/mine").exists());
}

#[test]
fn cancel_takes_it_back_and_asking_twice_is_asking_once() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    rig.shutdown();
    rig.request_reset();
    rig.request_reset();
    rig.offline(|layout: &Layout| {
        operation::cancel(layout.root(), "root").unwrap();
        assert!(operation::cancel(layout.root(), "root").is_err());
    });
    assert_eq!(rig.boot().overlay["root"].generation, Some(1));
}

#[test]
fn a_reset_starts_afresh_beside_a_damaged_generation_and_keeps_it() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    fs::write(rig.path("etc/mine"), "x").unwrap();
    rig.shutdown();
    rig.offline(|layout| fs::write(layout.generation_record("root", 1), "").unwrap());
    assert_eq!(rig.boot().overlay["root"].mode, Mode::Volatile);
    rig.shutdown();
    rig.request_reset();
    let handoff = rig.boot();
    assert_eq!(
        (handoff.overlay["root"].mode, handoff.overlay["root"].generation),
        (Mode::Persistent, Some(2))
    );
    assert!(!rig.path("etc/mine").exists());
    rig.reboot();
    rig.shutdown();
    rig.offline(|layout| {
        assert!(layout.upper("root", 1).join("etc/mine").exists(), "what can not be read is kept")
    });
}
