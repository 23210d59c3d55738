use super::*;
use crate::store::records::{GenerationRecord, OutcomeRecord, RequestRecord, SnapshotRecord, StoreRecord};
use crate::store::{read, reserve, write};
use crate::sys::overlay::OPTIONS;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A store with one generation, a snapshot that is the baseline, and the ballast.
struct Rig {
    dir: PathBuf,
    layout: Layout,
}

impl Drop for Rig {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

impl Rig {
    fn new() -> Rig {
        let dir = crate::sys::process::test_dir("check");
        let layout = Layout::new(dir.join("overlayd"));
        let store = StoreRecord { format: 1, uuid: "u".into(), created: 1, features: vec![] };
        write::create_store(&layout, &store).unwrap();
        reserve::fill(&layout, 1 << 16).unwrap();
        let rig = Rig { dir, layout };
        rig.generation(1);
        rig.snapshot(1);
        write::point_current(&rig.layout, "root", 1).unwrap();
        write::point_baseline(&rig.layout, "root", Some(1)).unwrap();
        rig
    }

    fn generation(&self, number: u64) {
        let record = GenerationRecord {
            version: 1,
            number,
            created: 1,
            base: "b".into(),
            options: OPTIONS.into(),
            request: None,
            snapshot: None,
        };
        write::make_generation(&self.layout, "root", &record).unwrap();
        fs::write(self.layout.upper("root", number).join("data"), "precious").unwrap();
    }

    fn snapshot(&self, id: u64) {
        write::take_snapshot_number(&self.layout, "root", id).unwrap();
        fs::create_dir(write::begin_snapshot(&self.layout, "root", id).unwrap().join("fs")).unwrap();
        let record = SnapshotRecord { version: 1, id, options: OPTIONS.into(), ..SnapshotRecord::default() };
        write::finish_snapshot(&self.layout, "root", &record).unwrap();
    }

    fn outcome(&self, from: u64, to: u64) {
        let record = OutcomeRecord {
            version: 1,
            result: "done".into(),
            from_generation: Some(from),
            to_generation: to,
            ..OutcomeRecord::default()
        };
        write::write_outcome(&self.layout, "root", &record).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.layout.overlay("root").join(name)
    }

    /// What is found, as `path: what`.
    fn found(&self) -> Vec<String> {
        told(&check(self.layout.root(), &Asked::default()).unwrap().remaining)
    }

    fn repair(&self) -> Checked {
        repair(self.layout.root(), &Asked::default()).unwrap()
    }

    /// Everything there is, in order, with what is in files.
    fn tree(&self) -> Vec<String> {
        let mut all = Vec::new();
        list(self.layout.root(), &mut all);
        all.sort();
        all
    }
}

fn list(dir: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => list(&entry, all),
            false => all.push(format!("{} {:?}", entry.display(), fs::read(&entry).unwrap_or_default())),
        }
        all.push(format!("{} {:o}", entry.display(), entry.symlink_metadata().unwrap().permissions().mode()));
    }
}

fn told(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        let line = finding.line.map_or_else(String::new, |line| format!(":{line}"));
        format!("{}{line}: {}", finding.path.display(), finding.what)
    };
    findings.iter().map(line).collect()
}

/// Breaks something, expects this one finding, repairs it, and expects a sound store.
fn repairs(spoil: impl FnOnce(&Rig), expected: &[&str]) -> Rig {
    let rig = Rig::new();
    spoil(&rig);
    let before = rig.tree();
    assert_eq!(rig.found(), expected);
    assert_eq!(rig.tree(), before, "looking changes nothing");
    let checked = rig.repair();
    assert!(checked.is_sound(), "{checked:?}");
    assert_eq!(told(&checked.repaired)[..expected.len()], *expected);
    assert!(rig.repair().repaired.is_empty(), "once is enough");
    assert_eq!(fs::read(rig.path("generations/1/fs/data")).unwrap(), b"precious");
    rig
}

/// Breaks something, expects this one finding, and that a repair leaves it and everything else alone.
fn leaves(spoil: impl FnOnce(&Rig), expected: &[&str]) -> Rig {
    let rig = Rig::new();
    fs::write(rig.layout.job(), "").unwrap();
    spoil(&rig);
    assert_eq!(rig.found(), expected);
    let before = rig.tree();
    let checked = rig.repair();
    assert!(checked.repaired.is_empty() && !checked.is_sound(), "{checked:?}");
    assert!(checked.remaining.iter().all(|finding| !finding.advice.is_empty()), "{checked:?}");
    let but_locks = |tree: Vec<String>| -> Vec<String> {
        tree.into_iter().filter(|line| !line.contains("/job ") && !line.contains("/lock ")).collect()
    };
    assert_eq!(but_locks(rig.tree()), but_locks(before), "nothing is touched");
    rig
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_store_as_it_should_be() {
    let rig = Rig::new();
    assert_eq!(rig.found(), [""; 0]);
    assert!(!rig.layout.job().exists(), "looking makes nothing");
    let checked = rig.repair();
    assert!(checked.is_sound() && checked.repaired.is_empty());
}

#[test]
fn permissions() {
    let rig = repairs(
        |rig| {
            chmod(rig.layout.root(), 0o755);
            chmod(&rig.path("generations/1/work"), 0o500);
            chmod(&rig.path("current"), 0o644);
        },
        &[
            ": has permissions 755, not 700",
            "overlays/root/current: has permissions 644, not 600",
            "overlays/root/generations/1/work: has permissions 500, not 700",
        ],
    );
    assert_eq!(fs::metadata(rig.layout.root()).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn another_owner_as_root() {
    let rig = repairs(
        |rig| std::os::unix::fs::lchown(rig.path("trash"), Some(1234), Some(1234)).unwrap(),
        &["overlays/root/trash: belongs to user 1234, not to user 0"],
    );
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(rig.path("trash")).unwrap()), 0);
}

#[test]
fn the_pointer_where_one_generation_is_there() {
    for content in ["", "x\n", "1", "0\n", "99999999999999999999\n", "\0\0\n"] {
        let expected = ["overlays/root/current:1: not the number of a generation"];
        let rig = repairs(|rig| write_private(&rig.path("current"), content), &expected);
        assert_eq!(fs::read_to_string(rig.path("current")).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(rig.path("current.damaged")).unwrap(), content);
    }
    repairs(|rig| fs::remove_file(rig.path("current")).unwrap(), &["overlays/root/current: missing"]);
}

fn write_private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    chmod(path, 0o600);
}

#[test]
fn the_pointer_where_it_could_be_another() {
    let rig = leaves(
        |rig| {
            rig.generation(2);
            rig.outcome(1, 2);
            fs::remove_file(rig.path("current")).unwrap();
        },
        &["overlays/root/current: missing"],
    );
    let remaining = rig.repair().remaining;
    assert!(remaining[0].advice.contains("led to generation 2"), "{remaining:?}");
    // One that can not be read may be the one.
    leaves(
        |rig| {
            fs::create_dir(rig.path("generations/2")).unwrap();
            chmod(&rig.path("generations/2"), 0o700);
            fs::remove_file(rig.path("current")).unwrap();
        },
        &["overlays/root/current: missing", "overlays/root/generations/2/generation.toml: missing"],
    );
    leaves(
        |rig| write::point_current(&rig.layout, "root", 7).unwrap(),
        &["overlays/root/current: points at generation 7, which is not there"],
    );
}

#[test]
fn the_work_directory() {
    let work = |rig: &Rig| rig.path("generations/1/work");
    repairs(|rig| fs::remove_dir(work(rig)).unwrap(), &["overlays/root/generations/1/work: missing"]);
    let rig = repairs(
        |rig| {
            fs::remove_dir(work(rig)).unwrap();
            fs::write(work(rig), "").unwrap();
        },
        &["overlays/root/generations/1/work: not a directory"],
    );
    assert!(work(&rig).is_dir() && rig.path("generations/1/work.damaged").is_file());
}

#[test]
fn what_was_left_half_made_goes_to_the_trash() {
    let rig = Rig::new();
    for name in ["generations/2.new", "snapshots/2.new"] {
        fs::create_dir_all(rig.path(name).join("fs")).unwrap();
    }
    fs::write(rig.path(".current.new"), "7").unwrap();
    fs::write(rig.layout.root().join(".tokens.new"), "x").unwrap();
    assert!(check(rig.layout.root(), &Asked::default()).unwrap().is_sound(), "nothing suffers by them");
    assert_eq!(rig.repair().repaired.len(), 4);
    assert!(rig.path("trash/2.new").is_dir() && rig.path("trash/snapshot-2.new").is_dir());
    assert_eq!(fs::read(rig.path("trash/other")).unwrap(), b"7");
    assert_eq!(fs::read(rig.layout.root().join("tokens.new.damaged")).unwrap(), b"x");
}

#[test]
fn the_ballast() {
    let what = "of what is set aside for a reset on a full disk are missing";
    repairs(
        |rig| fs::remove_file(rig.layout.reserve().join("spare")).unwrap(),
        &[&format!("reserve: parts {what}")],
    );
    let rig = repairs(
        |rig| {
            fs::remove_dir_all(rig.layout.reserve()).unwrap();
            fs::write(rig.layout.reserve(), "").unwrap();
        },
        &["reserve: not a directory"],
    );
    assert!(reserve::is_whole(&rig.layout));
}

#[test]
fn a_request_that_nobody_can_carry_out() {
    let at = "overlays/root/request.toml";
    let rig = repairs(
        |rig| write_private(&rig.path("request.toml"), "version = 1\nid = 5\n"),
        &[&format!("{at}:2: id: expected a string, found integer")],
    );
    assert!(rig.path("request.toml.damaged").exists());
    let other = RequestRecord { version: 1, store: "v".into(), ..RequestRecord::default() };
    repairs(
        |rig| write::write_request(&rig.layout, "root", &other).unwrap(),
        &[&format!("{at}: for store v, not for this one (u)")],
    );
    leaves(
        |rig| write_private(&rig.path("request.toml"), "version = 2\n"),
        &[&format!("{at}:1: version: 2 is not known to this overlayd, which reads 1")],
    );
}

#[test]
fn an_outcome_is_set_aside_only_where_nothing_hangs_on_it() {
    let garbage = |rig: &Rig| write_private(&rig.path("outcome.toml"), "=");
    let at = "overlays/root/outcome.toml:1: ";
    let rig = Rig::new();
    garbage(&rig);
    let found = rig.found();
    assert!(found.len() == 1 && found[0].starts_with(at), "{found:?}");
    assert!(rig.repair().is_sound() && rig.path("outcome.toml.damaged").exists());
    let rig = Rig::new();
    rig.generation(2);
    write::point_current(&rig.layout, "root", 2).unwrap();
    garbage(&rig);
    let checked = rig.repair();
    assert!(
        checked.repaired.is_empty() && checked.remaining[0].advice.contains("generation 1"),
        "{checked:?}"
    );
}

#[test]
fn so_is_the_record_of_boots() {
    let at = "overlays/root/health.toml:1: \"version\" is missing";
    let garbage = |rig: &Rig| write_private(&rig.path("health.toml"), "x = 1\n");
    let rig = repairs(garbage, &[at]);
    assert!(rig.path("health.toml.damaged").exists());
    let two = |rig: &Rig| {
        rig.generation(2);
        garbage(rig);
    };
    leaves(two, &[at]);
    // What a readable outcome keeps needs no record of boots.
    let outcome = |rig: &Rig| {
        rig.generation(2);
        write::point_current(&rig.layout, "root", 2).unwrap();
        rig.outcome(1, 2);
        garbage(rig);
    };
    repairs(outcome, &[at]);
    // Nor does what a readable record of boots keeps need an outcome.
    let rig = Rig::new();
    rig.generation(2);
    write_private(&rig.path("health.toml"), "version = 1\ngeneration = 1\nboots = 0\ngood = 2\n");
    write_private(&rig.path("outcome.toml"), "");
    assert!(rig.repair().is_sound(), "{:?}", rig.found());
}

#[test]
fn the_number_of_the_last_snapshot() {
    let at = "overlays/root/last-snapshot";
    repairs(
        |rig| write_private(&rig.path("last-snapshot"), "x"),
        &[&format!("{at}:1: not the number of a snapshot")],
    );
    repairs(
        |rig| fs::remove_file(rig.path("last-snapshot")).unwrap(),
        &[&format!("{at}: missing, although there are snapshots")],
    );
    let rig = repairs(
        |rig| {
            rig.snapshot(2);
            write::take_snapshot_number(&rig.layout, "root", 1).unwrap();
        },
        &[&format!("{at}: says 1, but there is snapshot 2")],
    );
    assert_eq!(read::load(&rig.layout).unwrap().overlays["root"].last_snapshot, 2);
}

#[test]
fn what_only_a_person_can_say() {
    leaves(
        |rig| write::point_baseline(&rig.layout, "root", Some(9)).unwrap(),
        &["overlays/root/baseline: points at snapshot 9, which is not there"],
    );
    leaves(
        |rig| fs::remove_file(rig.path("generations/1/generation.toml")).unwrap(),
        &["overlays/root/generations/1/generation.toml: missing"],
    );
    leaves(
        |rig| {
            rig.generation(2);
            let (from, to) = (rig.path("generations/1"), rig.path("generations/2"));
            fs::copy(from.join("generation.toml"), to.join("generation.toml")).unwrap();
        },
        &[
            "overlays/root/generations/2/generation.toml: says that it is generation 1, whose number is used twice \
           then: there is 2, too",
        ],
    );
    leaves(
        |rig| write_private(&rig.layout.tokens(), "good\nno token\n"),
        &["tokens: line 2 is not one that overlayd wrote"],
    );
}

#[test]
fn a_store_that_may_not_be_ours_is_not_touched() {
    for (text, what) in [
        ("", ":1: \"format\" is missing"),
        ("format = 2\nuuid = \"u\"\ncreated = 1\nfeatures = []\n", ": store format 2 is not known"),
        ("format = 1\nuuid = \"u\"\ncreated = 1\nfeatures = [\"x\"]\n", ": unknown feature"),
    ] {
        let rig = Rig::new();
        write_private(&rig.layout.record(), text);
        fs::remove_file(rig.path("current")).unwrap();
        let before = rig.tree();
        let checked = rig.repair();
        assert!(checked.repaired.is_empty() && !checked.is_sound());
        let found = told(&checked.remaining);
        assert!(found[0].starts_with(&format!("store.toml{what}")), "{found:?}");
        assert_eq!(rig.tree(), before);
    }
}

#[test]
fn nothing_is_checked_while_something_else_works_on_the_store() {
    let rig = Rig::new();
    let _job = JobLock::take(&rig.layout, "somebody", "snapshot of root").unwrap();
    for error in [check(rig.layout.root(), &Asked::default()), repair(rig.layout.root(), &Asked::default())] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::JobInProgress);
        assert!(error.message().contains("somebody, snapshot of root"), "{error}");
    }
}

#[test]
fn another_directory_is_no_store() {
    let dir = crate::sys::process::test_dir("check");
    for error in [check(&dir, &Asked::default()), repair(&dir, &Asked::default())] {
        assert_eq!(error.unwrap_err().kind(), Kind::StoreUnavailable);
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::remove_dir(dir).unwrap();
}

#[test]
fn every_record_is_named_once_it_is_garbage() {
    let rig = Rig::new();
    rig.outcome(1, 1);
    let request = RequestRecord { version: 1, store: "u".into(), ..RequestRecord::default() };
    write::write_request(&rig.layout, "root", &request).unwrap();
    write_private(&rig.path("health.toml"), "version = 1\ngeneration = 1\nboots = 0\n");
    assert_eq!(rig.found(), [""; 0]);
    for name in [
        "current",
        "baseline",
        "request.toml",
        "outcome.toml",
        "health.toml",
        "generations/1/generation.toml",
        "snapshots/1/snapshot.toml",
    ] {
        let sound = fs::read(rig.path(name)).unwrap();
        write_private(&rig.path(name), "=");
        let found = rig.found();
        assert!(
            found.iter().any(|line| line.starts_with(&format!("overlays/root/{name}:1: "))),
            "{name}: {found:?}"
        );
        fs::write(rig.path(name), sound).unwrap();
    }
}
