//! Snapshots, and going back to them, by the operations themselves, on real mounts.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use overlayd::config::Mode;
use overlayd::error::{Error, Kind};
use overlayd::handoff;
use overlayd::layer::Progress;
use overlayd::operation::snapshot::{self, Made, Wanted};
use overlayd::operation::{self, Asked, Site, commit, restore};
use overlayd::store::{Layout, read};

use crate::rig::{Rig, manifest, run, s};

/// Goes on, whatever was done.
pub(crate) fn on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn asked() -> Asked {
    Asked { by: "a test".into(), via: None }
}

pub(crate) fn named(description: &str) -> Wanted {
    Wanted { description: description.into(), ..Wanted::default() }
}

/// The running system as its daemon sees it: the store is writable.
pub(crate) fn live(rig: &Rig) -> Site {
    overlayd::sys::remount_store_writable(Path::new(handoff::RUN_STORE)).unwrap();
    Site {
        store: handoff::RUN_STORE.into(),
        handoff: Some(handoff::BOOT_TOML.into()),
        root: rig.sysroot.clone(),
    }
}

pub(crate) fn create(rig: &Rig, description: &str) -> Made {
    snapshot::create(&live(rig), "root", &named(description), &asked(), &mut on).unwrap()
}

pub(crate) fn commit_all(rig: &Rig) -> Result<Made, Error> {
    commit::commit(&live(rig), "root", &named("commit"), &[], &asked(), &mut on)
}

pub(crate) fn request(rig: &Rig, id: u64) {
    restore::request(&live(rig), "root", id, &asked()).unwrap();
}

pub(crate) fn layout() -> Layout {
    Layout::new(handoff::RUN_STORE)
}

/// What somebody did to a system: changed, removed and new things of every kind.
pub(crate) fn live_in(rig: &Rig) {
    fs::write(rig.path("etc/hostname"), "mine\n").unwrap();
    fs::remove_file(rig.path("etc/os-release")).unwrap();
    fs::remove_dir_all(rig.path("var/lib/.hidden")).unwrap();
    fs::create_dir(rig.path("var/lib/.hidden")).unwrap();
    fs::write(rig.path("var/lib/.hidden/anew"), "opaque").unwrap();
    fs::create_dir_all(rig.path("srv/deep/er")).unwrap();
    fs::write(rig.path("srv/deep/er/one"), "linked").unwrap();
    fs::hard_link(rig.path("srv/deep/er/one"), rig.path("srv/two")).unwrap();
    symlink("deep/er/one", rig.path("srv/link")).unwrap();
    fs::set_permissions(rig.path("srv/two"), fs::Permissions::from_mode(0o4750)).unwrap();
    run("mkfifo", &[s(&rig.path("srv/pipe"))]);
    run("truncate", &["-s", "1M", s(&rig.path("srv/holes"))]);
    run("setfattr", &["-n", "user.note", "-v", "x", s(&rig.path("srv/holes"))]);
}

/// And then it is broken.
pub(crate) fn destroy(rig: &Rig) {
    fs::remove_dir_all(rig.path("etc")).unwrap();
    fs::remove_dir_all(rig.path("srv")).unwrap();
    fs::write(rig.path("var/lib/.hidden/anew"), "worse").unwrap();
    fs::write(rig.path("junk"), "junk").unwrap();
}

fn restores(fstype: &str, strategy: &str) {
    let rig = Rig::new(fstype, 400);
    rig.boot();
    live_in(&rig);
    let before = manifest(&rig.sysroot);
    let made = create(&rig, "before");
    assert_eq!((made.id, made.strategy.as_str()), (1, strategy));
    assert!(made.entries > 10 && made.bytes > 1 << 20, "{made:?}");
    assert_eq!(manifest(&rig.sysroot), before, "a snapshot changes nothing that can be seen");
    destroy(&rig);
    request(&rig, 1);
    let handoff = rig.reboot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation, root.snapshot), (Mode::Persistent, Some(2), Some(1)));
    assert_eq!(handoff.problems, Vec::<String>::new());
    assert_eq!(manifest(&rig.sysroot), before, "the tree as it was, entry by entry");

    // And on top of it another one.
    fs::remove_file(rig.path("srv/two")).unwrap();
    fs::write(rig.path("srv/deep/er/three"), "3").unwrap();
    fs::write(rig.path("etc/os-release"), "mine").unwrap();
    let later = manifest(&rig.sysroot);
    let second = create(&rig, "on top");
    assert_eq!(second.id, 2);
    destroy(&rig);
    request(&rig, 2);
    let root = rig.reboot().overlay["root"].clone();
    assert_eq!((root.generation, root.snapshot), (Some(3), Some(2)));
    assert_eq!(manifest(&rig.sysroot), later);
}

#[test]
fn restores_on_ext4() {
    restores("ext4", "copy");
}

#[test]
fn restores_on_xfs() {
    restores("xfs", "reflink");
}

#[test]
fn restores_on_btrfs() {
    restores("btrfs", "subvolume");
}

#[test]
fn what_is_unchanged_is_shared_with_the_last_one() {
    for fstype in ["ext4", "xfs"] {
        let rig = Rig::new(fstype, 400);
        rig.boot();
        live_in(&rig);
        fs::write(rig.path("srv/changes"), "1").unwrap();
        create(&rig, "first");
        // A change within the clock's tick of the copy can not be told from none.
        std::thread::sleep(std::time::Duration::from_millis(20));
        create(&rig, "in between");
        fs::write(rig.path("srv/changes"), "2").unwrap();
        let before = manifest(&rig.sysroot);
        let third = create(&rig, "third");
        let inode =
            |id, name: &str| fs::symlink_metadata(layout().snapshot_fs("root", id).join(name)).unwrap().ino();
        assert_eq!(inode(2, "srv/holes"), inode(3, "srv/holes"), "{fstype}");
        assert_ne!(inode(2, "srv/changes"), inode(3, "srv/changes"), "{fstype}");
        assert!(third.reused >= 4, "{third:?}");
        // Neither needs the other.
        snapshot::delete(&live(&rig), "root", 2, &asked()).unwrap();
        operation::empty_trash(&live(&rig).store, &mut |_| ControlFlow::Continue(())).unwrap();
        destroy(&rig);
        request(&rig, 3);
        rig.reboot();
        assert_eq!(manifest(&rig.sysroot), before, "{fstype}");
    }
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    result.unwrap_err().kind()
}

pub(crate) fn ids() -> Vec<u64> {
    read::load(&layout()).unwrap().overlays["root"].snapshots.keys().copied().collect()
}

/// What lies around that is no snapshot.
pub(crate) fn leftovers() -> Vec<String> {
    let state = read::load(&layout()).unwrap().overlays["root"].clone();
    [state.unfinished_snapshots, state.trash].concat()
}

#[test]
fn a_snapshot_that_is_needed_is_not_deleted() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/one"), "1").unwrap();
    create(&rig, "stands");
    fs::write(rig.path("etc/two"), "2").unwrap();
    let baseline = commit_all(&rig).unwrap().id;
    let asked_for = create(&rig, "asked for").id;
    let protected = create(&rig, "protected").id;
    let free = create(&rig, "free").id;
    request(&rig, 1);
    rig.reboot();
    request(&rig, asked_for);
    snapshot::set_protected(&live(&rig), "root", protected, true).unwrap();
    let delete = |id| snapshot::delete(&live(&rig), "root", id, &asked());
    for (id, word) in [(1, "generation 2 stands on it"), (baseline, "baseline"), (asked_for, "restore")] {
        let error = delete(id).unwrap_err();
        assert_eq!(error.kind(), Kind::SnapshotProtected);
        assert!(error.message().contains(word), "{error}");
    }
    let error = delete(protected).unwrap_err();
    assert_eq!(error.kind(), Kind::SnapshotProtected);
    assert!(error.to_string().contains("--off"), "{error}");
    assert_eq!(kind(delete(77)), Kind::NoSuchSnapshot);
    delete(free).unwrap();
    snapshot::set_protected(&live(&rig), "root", protected, false).unwrap();
    delete(protected).unwrap();
    assert_eq!(ids(), [1, baseline, asked_for]);
    assert_eq!(leftovers(), [format!("snapshot-{protected}"), format!("snapshot-{free}")]);
    operation::cancel(&live(&rig).store, "root").unwrap();
    delete(asked_for).unwrap();
}

#[test]
fn the_record_says_what_was_asked_for_and_can_be_changed() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/one"), "1").unwrap();
    let mut wanted = named("before the upgrade");
    wanted.userdata.insert("ticket".into(), "4711".into());
    let id = snapshot::create(&live(&rig), "root", &wanted, &asked(), &mut on).unwrap().id;
    let record = || read::load(&layout()).unwrap().overlays["root"].snapshots[&id].clone().unwrap();
    let made = record();
    assert_eq!((made.description.as_str(), made.created_by.as_str()), ("before the upgrade", "a test"));
    assert_eq!((made.userdata["ticket"].as_str(), made.generation), ("4711", Some(1)));
    assert_eq!(
        (made.base.as_str(), made.consistency.as_str()),
        (rig.handoff().overlay["root"].base.as_str(), "per-file")
    );
    snapshot::set_metadata(&live(&rig), "root", id, &named("after")).unwrap();
    assert_eq!((record().description.as_str(), record().userdata.len()), ("after", 0));
    assert_eq!(record().created, made.created);
    assert_eq!(kind(snapshot::set_metadata(&live(&rig), "root", id, &named("a\nb"))), Kind::InvalidArgs);
    assert_eq!(kind(snapshot::set_metadata(&live(&rig), "root", 9, &named(""))), Kind::NoSuchSnapshot);
    assert_eq!(
        kind(snapshot::create(&live(&rig), "other", &named(""), &asked(), &mut on)),
        Kind::NoSuchOverlay
    );
}

#[test]
fn a_second_one_is_told_who_is_at_what() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/one"), "1").unwrap();
    let site = live(&rig);
    let mut told = Vec::new();
    snapshot::create(&site, "root", &named(""), &Asked { by: "anna".into(), via: None }, &mut |_| {
        if told.is_empty() {
            told.push(commit::commit(&site, "root", &named(""), &[], &asked(), &mut on).unwrap_err());
            told.push(snapshot::delete(&site, "root", 1, &asked()).unwrap_err());
            let paths = [PathBuf::from("/etc/one")];
            let from = restore::From::Base;
            told.push(restore::paths(&site, "root", from, &paths, false, &asked(), &mut on).unwrap_err());
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(told.len(), 3);
    for error in told {
        assert_eq!(error.kind(), Kind::JobInProgress);
        assert!(error.message().ends_with("anna, snapshot of root"), "{error}");
    }
    create(&rig, "afterwards");
}

#[test]
fn undo_goes_back_and_forth() {
    let rig = Rig::new("btrfs", 400);
    rig.boot();
    assert_eq!(kind(restore::request_undo(&live(&rig), "root", &asked())), Kind::NothingToDo);
    fs::write(rig.path("etc/one"), "1").unwrap();
    create(&rig, "one");
    fs::write(rig.path("etc/one"), "2").unwrap();
    request(&rig, 1);
    rig.reboot();
    assert_eq!(fs::read_to_string(rig.path("etc/one")).unwrap(), "1");
    for expected in ["2", "1"] {
        let preview = restore::preview_undo(&live(&rig), "root", &asked()).unwrap();
        assert!(!preview.at_boot.is_empty() && preview.warnings.is_empty(), "{preview:?}");
        restore::request_undo(&live(&rig), "root", &asked()).unwrap();
        rig.reboot();
        assert_eq!(fs::read_to_string(rig.path("etc/one")).unwrap(), expected);
    }
}

/// From a rescue shell: nothing is mounted.
#[test]
fn it_works_without_a_running_system() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    live_in(&rig);
    let before = manifest(&rig.sysroot);
    rig.shutdown();
    let id = rig.offline(|layout| {
        let site = Site::offline(layout.root());
        let made = commit::commit(&site, "root", &named(""), &[], &asked(), &mut on).unwrap();
        let gone = snapshot::create(&site, "root", &named(""), &asked(), &mut on).unwrap();
        snapshot::delete(&site, "root", gone.id, &asked()).unwrap();
        let state = read::load(layout).unwrap().overlays["root"].clone();
        assert_eq!((state.snapshots.len(), state.trash.len()), (1, 0), "the trash is emptied at once");
        let paths = [PathBuf::from("/etc/hostname")];
        let error =
            restore::paths(&site, "root", restore::From::Base, &paths, false, &asked(), &mut on).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        restore::request(&site, "root", made.id, &asked()).unwrap();
        made.id
    });
    assert_eq!(rig.boot().overlay["root"].snapshot, Some(id));
    assert_eq!(manifest(&rig.sysroot), before);
}
