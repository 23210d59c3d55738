//! Commits: of everything, of single paths, of a volatile root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use overlayd::config::Mode;
use overlayd::error::{Error, Kind};
use overlayd::operation::snapshot::{self, Made};
use overlayd::operation::{self, commit, restore};
use overlayd::store::read;

use crate::rig::{Rig, manifest};
use crate::snapshots::{asked, commit_all, destroy, ids, kind, layout, live, live_in, named, on};

fn commit_paths(rig: &Rig, paths: &[&str]) -> Result<Made, Error> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    commit::commit(&live(rig), "root", &named("paths"), &paths, &asked(), &mut on)
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
