//! Snapshots, commits and restores, by the operations themselves, on real mounts.

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

fn named(description: &str) -> Wanted {
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

fn create(rig: &Rig, description: &str) -> Made {
    snapshot::create(&live(rig), "root", &named(description), &asked(), &mut on).unwrap()
}

fn commit_all(rig: &Rig) -> Result<Made, Error> {
    commit::commit(&live(rig), "root", &named("commit"), &[], &asked(), &mut on)
}

fn commit_paths(rig: &Rig, paths: &[&str]) -> Result<Made, Error> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    commit::commit(&live(rig), "root", &named("paths"), &paths, &asked(), &mut on)
}

fn request(rig: &Rig, id: u64) {
    restore::request(&live(rig), "root", id, &asked()).unwrap();
}

fn layout() -> Layout {
    Layout::new(handoff::RUN_STORE)
}

/// What somebody did to a system: changed, removed and new things of every kind.
fn live_in(rig: &Rig) {
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
fn destroy(rig: &Rig) {
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

fn commits(fstype: &str) {
    let rig = Rig::new(fstype, 400);
    rig.boot();
    assert_eq!(commit_all(&rig).unwrap_err().kind(), Kind::NothingToDo, "nothing was written");
    live_in(&rig);
    let before = manifest(&rig.sysroot);
    assert_eq!(commit_all(&rig).unwrap().id, 1);
    assert_eq!(commit_all(&rig).unwrap_err().kind(), Kind::NothingToDo, "the same again");
    destroy(&rig);
    operation::request_reset(&live(&rig), "root", &Default::default(), &asked()).unwrap();
    let root = rig.reboot().overlay["root"].clone();
    assert_eq!((root.generation, root.snapshot), (Some(2), Some(1)));
    assert_eq!(manifest(&rig.sysroot), before, "a reset goes back to what was committed");
    assert_eq!(commit_all(&rig).unwrap_err().kind(), Kind::NothingToDo, "nothing was written since");

    // From a generation that stands on the baseline.
    fs::write(rig.path("etc/more"), "more").unwrap();
    fs::remove_file(rig.path("srv/two")).unwrap();
    let later = manifest(&rig.sysroot);
    let made = commit_all(&rig).unwrap();
    let view = read::load(&layout()).unwrap();
    assert_eq!(view.overlays["root"].baseline.as_ref().unwrap(), &Some(made.id));
    destroy(&rig);
    operation::request_reset(&live(&rig), "root", &Default::default(), &asked()).unwrap();
    rig.reboot();
    assert_eq!(manifest(&rig.sysroot), later);
}

#[test]
fn commits_on_ext4() {
    commits("ext4");
}

#[test]
fn commits_on_xfs() {
    commits("xfs");
}

#[test]
fn commits_on_btrfs() {
    commits("btrfs");
}

#[test]
fn a_commit_of_paths_holds_these_on_the_baseline() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/one"), "1").unwrap();
    fs::write(rig.path("etc/two"), "2").unwrap();
    fs::create_dir_all(rig.path("srv/app/conf")).unwrap();
    fs::write(rig.path("srv/app/conf/a"), "a").unwrap();
    fs::set_permissions(rig.path("srv/app"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::remove_file(rig.path("etc/os-release")).unwrap();
    commit_paths(&rig, &["/etc/one", "/srv/app/conf", "/etc/os-release"]).unwrap();
    assert_eq!(commit_paths(&rig, &["/etc/one"]).unwrap_err().kind(), Kind::NothingToDo);
    // Changes of what was committed, a deletion of it, and the whole of what the base has.
    fs::write(rig.path("etc/one"), "one").unwrap();
    fs::remove_dir_all(rig.path("srv/app/conf")).unwrap();
    fs::remove_dir_all(rig.path("var/lib/.hidden")).unwrap();
    fs::create_dir(rig.path("var/lib/.hidden")).unwrap();
    fs::write(rig.path("var/lib/.hidden/anew"), "x").unwrap();
    let second = commit_paths(&rig, &["/srv/app/conf", "/var/lib/.hidden"]).unwrap();
    for (bad, kind) in [
        (vec!["/nowhere"], Kind::InvalidArgs),
        (vec!["etc/one"], Kind::InvalidArgs),
        (vec!["/etc/../etc/one"], Kind::InvalidArgs),
        (vec!["/etc/one/below"], Kind::InvalidArgs),
    ] {
        assert_eq!(commit_paths(&rig, &bad).unwrap_err().kind(), kind, "{bad:?}");
    }
    operation::request_reset(&live(&rig), "root", &Default::default(), &asked()).unwrap();
    let root = rig.reboot().overlay["root"].clone();
    assert_eq!(root.snapshot, Some(second.id));
    assert_eq!(fs::read_to_string(rig.path("etc/one")).unwrap(), "1", "as it was committed");
    assert!(!rig.path("etc/two").exists(), "it was not committed");
    assert!(!rig.path("etc/os-release").exists());
    assert!(rig.path("srv/app").exists() && !rig.path("srv/app/conf").exists());
    assert_eq!(fs::metadata(rig.path("srv/app")).unwrap().mode() & 0o777, 0o750);
    let names: Vec<_> =
        fs::read_dir(rig.path("var/lib/.hidden")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["anew"], "what the base has there stays hidden");
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    result.unwrap_err().kind()
}

fn ids() -> Vec<u64> {
    read::load(&layout()).unwrap().overlays["root"].snapshots.keys().copied().collect()
}

/// What lies around that is no snapshot.
fn leftovers() -> Vec<String> {
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
fn the_oldest_go_when_there_are_too_many() {
    let mut rig = Rig::new("ext4", 200);
    rig.configure("[overlay.root.snapshots]\nlimit = 2\n");
    rig.boot();
    fs::write(rig.path("etc/one"), "1").unwrap();
    let baseline = commit_all(&rig).unwrap().id;
    let protected = create(&rig, "protected").id;
    snapshot::set_protected(&live(&rig), "root", protected, true).unwrap();
    let third = create(&rig, "3");
    assert_eq!(third.removed, Vec::<u64>::new(), "the baseline and the new one are two");
    let fourth = create(&rig, "4");
    assert_eq!(fourth.removed, [third.id], "the baseline stays, and so does the new one");
    assert_eq!(ids(), [baseline, protected, fourth.id]);
    assert_eq!(leftovers(), ["snapshot-3"]);
}

#[test]
fn the_oldest_go_when_space_is_short() {
    let mut rig = Rig::new("ext4", 200);
    rig.configure("[overlay.root.snapshots]\nmin-free = \"50%\"\n");
    rig.boot();
    fs::write(rig.path("big"), vec![1; 30 << 20]).unwrap();
    let first = create(&rig, "1");
    assert_eq!(first.removed, Vec::<u64>::new());
    fs::write(rig.path("big"), vec![2; 30 << 20]).unwrap();
    let second = create(&rig, "2");
    assert_eq!(second.removed, [first.id], "two of 30 MiB and the file itself are more than half");
    assert_eq!(ids(), [second.id]);
    assert_eq!(
        leftovers(),
        Vec::<String>::new(),
        "it is deleted at once: else nobody knows if that is enough"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_figures() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("small"), vec![1; 10 << 20]).unwrap();
    create(&rig, "fits");
    fs::write(rig.path("big"), vec![1; 80 << 20]).unwrap();
    let error = snapshot::create(&live(&rig), "root", &named(""), &asked(), &mut on).unwrap_err();
    assert_eq!(error.kind(), Kind::InsufficientSpace, "{error}");
    let text = error.to_string();
    assert!(text.contains("MiB are needed") && text.contains("inodes"), "{text}");
    assert!(text.contains("delete snapshot 1 (up to 10.0 MiB)"), "{text}");
    assert_eq!((ids(), leftovers()), (vec![1], vec![]));
}

/// The estimate was right, but somebody else took the space meanwhile.
#[test]
fn running_out_of_space_leaves_nothing() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    for i in 0..6000 {
        fs::write(rig.path(&format!("file{i}")), vec![1; 9000]).unwrap();
    }
    let site = live(&rig);
    let mut taken = 0;
    let result = snapshot::create(&site, "root", &named(""), &asked(), &mut |progress| {
        if progress.total_bytes > 0 && taken == 0 {
            taken = overlayd::sys::space::of(&site.store).unwrap().bytes_free - (64 << 10);
            run("fallocate", &["-l", &taken.to_string(), s(&rig.path("greedy"))]);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(kind(result), Kind::InsufficientSpace, "after {taken} bytes were taken");
    assert_eq!((ids(), leftovers()), (vec![], vec![]));
    fs::remove_file(rig.path("greedy")).unwrap();
    assert_eq!(create(&rig, "now").id, 2, "numbers are not used again");
}

#[test]
fn a_cancelled_one_leaves_nothing() {
    for fstype in ["ext4", "btrfs"] {
        let rig = Rig::new(fstype, 400);
        rig.boot();
        fs::write(rig.path("etc/one"), "1").unwrap();
        if fstype == "btrfs" {
            // On top of a snapshot it has to be copied there, too.
            create(&rig, "below");
            request(&rig, 1);
            rig.reboot();
        }
        for i in 0..3000 {
            fs::write(rig.path(&format!("file{i}")), vec![1; 9000]).unwrap();
        }
        let before = ids();
        let started = std::time::Instant::now();
        let result =
            snapshot::create(&live(&rig), "root", &named(""), &asked(), &mut |progress| match progress
                .total_entries
                > 0
            {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            });
        assert_eq!(kind(result), Kind::Canceled, "{fstype}");
        assert!(started.elapsed().as_secs() < 10);
        assert_eq!(ids(), before, "{fstype}");
        assert!(leftovers().iter().all(|name| name.starts_with("snapshot-")), "{:?}", leftovers());
    }
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

/// What was cut short goes, and its number is not used again.
#[test]
fn what_a_power_cut_left_is_removed_by_the_next_one() {
    for fstype in ["ext4", "btrfs"] {
        let rig = Rig::new(fstype, 400);
        rig.boot();
        fs::write(rig.path("etc/one"), "1").unwrap();
        live(&rig);
        let cut = layout().new_snapshot("root", 7);
        fs::create_dir_all(cut.join("fs/half")).unwrap();
        let id = create(&rig, "after").id;
        assert_eq!((id, ids()), (1, vec![1]));
        assert_eq!(leftovers(), ["snapshot-7.new"], "{fstype}");
    }
}

#[test]
fn a_volatile_root_is_committed_to_the_store() {
    let mut rig = Rig::new("xfs", 400);
    rig.configure("[overlay.root]\nmode = \"volatile\"\nsize = \"50M\"\n");
    let handoff = rig.boot();
    assert_eq!((handoff.overlay["root"].mode, handoff.overlay["root"].snapshot), (Mode::Volatile, None));
    live_in(&rig);
    let before = manifest(&rig.sysroot);
    let made = commit_all(&rig).unwrap();
    assert_eq!((made.strategy.as_str(), made.consistency.as_str()), ("copy", "per-file"));
    let root = rig.reboot().overlay["root"].clone();
    assert_eq!((root.mode, root.snapshot), (Mode::Volatile, Some(made.id)));
    assert_eq!(manifest(&rig.sysroot), before, "every later boot starts from it");
    assert_eq!(kind(commit_all(&rig)), Kind::NothingToDo);
    fs::write(rig.path("etc/more"), "more").unwrap();
    fs::remove_file(rig.path("srv/two")).unwrap();
    let later = manifest(&rig.sysroot);
    let second = commit_all(&rig).unwrap();
    destroy(&rig);
    assert_eq!(rig.reboot().overlay["root"].snapshot, Some(second.id));
    assert_eq!(manifest(&rig.sysroot), later);

    // There is no generation to restore or to undo: the baseline moves.
    let planned = restore::request(&live(&rig), "root", made.id, &asked()).unwrap();
    assert!(planned.request.id.is_empty() && planned.steps.len() == 1, "{planned:?}");
    assert_eq!(
        kind(operation::request_reset(&live(&rig), "root", &Default::default(), &asked())),
        Kind::Refused
    );
    assert_eq!(kind(restore::request_undo(&live(&rig), "root", &asked())), Kind::Refused);
    assert_eq!(kind(snapshot::request(&live(&rig), "root", &named(""), false, &asked())), Kind::Refused);
    assert_eq!(rig.reboot().overlay["root"].snapshot, Some(made.id));
    assert_eq!(manifest(&rig.sysroot), before);
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

#[test]
fn a_preview_of_a_commit_lists_what_it_would_hold() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    live_in(&rig);
    let preview = |paths: &[&str]| {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        commit::preview(&live(&rig), "root", &paths, &mut on).unwrap()
    };
    let whole = preview(&[]);
    for line in [
        "file /etc/hostname, 5 bytes",
        "removed /etc/os-release",
        "directory /srv/deep/er",
        "symlink /srv/link",
        "pipe /srv/pipe",
        "file /srv/holes, 1048576 bytes",
    ] {
        assert!(whole.lines.iter().any(|l| l == line), "{line} is not in {:#?}", whole.lines);
    }
    assert!(whole.complete);
    let part = preview(&["/etc/os-release", "/srv/deep", "/etc"]);
    assert_eq!(part.lines[..3], ["directory /etc", "file /etc/hostname, 5 bytes", "removed /etc/os-release"]);
    assert_eq!(ids(), Vec::<u64>::new(), "nothing is made");
    let made = commit_all(&rig).unwrap();
    assert_eq!((made.entries, made.bytes), (whole.entries, whole.bytes));
    assert_eq!(whole.lines.len() as u64, whole.entries);
    for i in 0..1100 {
        fs::write(rig.path(&format!("f{i}")), "").unwrap();
    }
    let many = preview(&[]);
    assert_eq!((many.lines.len(), many.complete), (1000, false));
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
