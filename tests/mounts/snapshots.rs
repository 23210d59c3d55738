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
    Asked { by: "a test".into() }
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

fn commits(fstype: &str) {
    let rig = Rig::new(fstype, 400);
    rig.boot();
    assert_eq!(commit_all(&rig).unwrap_err().kind(), Kind::NothingToDo, "nothing was written");
    live_in(&rig);
    let before = manifest(&rig.sysroot);
    assert_eq!(commit_all(&rig).unwrap().id, 1);
    if fstype == "btrfs" {
        assert_eq!(commit_all(&rig).unwrap_err().kind(), Kind::NothingToDo, "the same again");
    }
    destroy(&rig);
    operation::request_reset(&live(&rig), "root", &asked()).unwrap();
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
    operation::request_reset(&live(&rig), "root", &asked()).unwrap();
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
    operation::request_reset(&live(&rig), "root", &asked()).unwrap();
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
