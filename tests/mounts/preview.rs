//! What a dry run of a reset says is what then happens: kept is what is there afterwards, lost is what is gone.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use overlayd::operation::losing::{self, Losses};
use overlayd::plan::request::Resetting;
use overlayd::store::records::Level;
use overlayd::store::{Layout, read};

use crate::restore::ask_seal;
use crate::rig::{Rig, run, s};
use crate::snapshots::{asked, live, on};

const KEEP: &[&str] = &["/keep/**", "!/keep/not", "/etc/host*", "/srv/only/this", "/nothing/here"];

fn make(rig: &Rig, names: &[&str]) {
    for name in names {
        let path = rig.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

/// Lived in, on a snapshot that was lived in, too.
fn live_in(rig: &Rig) {
    make(rig, &["keep/old", "keep/not/old", "keep/changed", "srv/old/x", "srv/only/that", "etc/hostname"]);
    rig.shutdown();
    ask_seal(rig, false);
    rig.boot();
    make(
        rig,
        &["keep/new", "keep/not/new", "keep/deep/er/x", "srv/only/this", "srv/new/er/y", "srv/only/other"],
    );
    make(rig, &["keep/odd \u{e9} name", "keep/-", "srv/.hidden", "var/lib/x"]);
    fs::write(rig.path("keep/changed"), "changed").unwrap();
    fs::hard_link(rig.path("keep/new"), rig.path("keep/linked")).unwrap();
    fs::hard_link(rig.path("keep/new"), rig.path("srv/linked")).unwrap();
    symlink("/etc/passwd", rig.path("keep/symlink")).unwrap();
    run("mkfifo", &[s(&rig.path("srv/pipe"))]);
    fs::create_dir(rig.path("srv/empty")).unwrap();
    fs::remove_file(rig.path("etc/os-release")).unwrap();
    fs::remove_file(rig.path("keep/old")).unwrap();
}

/// Every entry of a layer, but whiteouts: path from the root, and whether it is a directory.
fn entries(top: &Path) -> BTreeSet<(String, bool)> {
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::new()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(top.join(&dir)).unwrap().map(Result::unwrap) {
            let path = dir.join(entry.file_name());
            let node = fs::symlink_metadata(entry.path()).unwrap();
            if node.file_type().is_char_device() && node.rdev() == 0 {
                continue;
            }
            found.insert((format!("/{}", path.display()), node.is_dir()));
            if node.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

/// The path that a line is about, and whether it is a directory's.
fn told(line: &str) -> (String, bool) {
    let (kind, rest) = line.split_once(' ').unwrap();
    let path = match kind {
        "file" => rest.rsplit_once(", ").unwrap().0,
        _ => rest,
    };
    (path.to_owned(), kind == "directory")
}

fn paths(lines: &[String]) -> BTreeSet<(String, bool)> {
    let all: BTreeSet<_> = lines.iter().map(|line| told(line)).collect();
    assert_eq!(all.len(), lines.len(), "each once: {lines:?}");
    all
}

fn leads_to(dir: &str, entries: &BTreeSet<(String, bool)>) -> bool {
    entries.iter().any(|(path, _)| Path::new(path).starts_with(dir) && path != dir)
}

fn wanted(level: Level) -> Resetting {
    Resetting { level, keep: KEEP.iter().map(ToString::to_string).collect(), drop_kept: false }
}

fn preview(rig: &Rig, level: Level) -> Losses {
    let losses = losing::preview(&live(rig), "root", &wanted(level), &asked(), &mut on).unwrap();
    assert!(losses.lost.complete && losses.kept.complete);
    assert_eq!(losses.unmatched, ["/nothing/here"]);
    assert_eq!(losses.lost.entries, losses.lost.lines.len() as u64);
    assert_eq!(losses.kept.entries, losses.kept.lines.len() as u64);
    losses
}

fn happens(fstype: &str, level: Level) {
    let rig = Rig::new(fstype, 400);
    rig.boot();
    live_in(&rig);
    let losses = preview(&rig, level);
    let (lost, kept) = (paths(&losses.lost.lines), paths(&losses.kept.lines));
    rig.shutdown();
    let (upper, below) =
        rig.offline(|layout| (entries(&layout.upper("root", 2)), entries(&layout.snapshot_fs("root", 1))));
    rig.request(level, KEEP);
    let handoff = rig.boot();
    assert_eq!(handoff.problems, Vec::<String>::new());
    rig.shutdown();
    rig.offline(|layout| {
        let now = entries(&layout.upper("root", 3));
        // Kept is what is there, but for the directories that lead there.
        assert!(kept.is_subset(&now), "{:?} is not there", kept.difference(&now));
        for (path, is_dir) in now.difference(&kept) {
            assert!(*is_dir && leads_to(path, &kept), "{path} is there, and was not told of");
        }
        // Lost is all the rest.
        for (path, _) in &lost {
            assert!(!now.iter().any(|(there, _)| there == path), "{path} is still there");
        }
        let left = if level == Level::Baseline { upper } else { upper.union(&below).cloned().collect() };
        for entry in left.difference(&lost) {
            assert!(now.contains(entry) || entry.0 == "/keep/old", "{entry:?} is gone, and was not told of");
        }
        gone(layout, &losses, level);
    });
}

/// What was told to go as a whole is gone from where it was.
fn gone(layout: &Layout, losses: &Losses, level: Level) {
    let state = read::load(layout).unwrap().overlays.remove("root").unwrap();
    match level {
        Level::Baseline => assert!(state.snapshots.contains_key(&1), "the snapshot stays"),
        _ => {
            let [snapshot] = &losses.given_up[..] else { panic!("{:?}", losses.given_up) };
            assert!(
                snapshot.starts_with("snapshot 1 \"whole\": ") && snapshot.contains(" entries, "),
                "{snapshot}"
            );
            assert!(state.snapshots.is_empty());
            assert_eq!(state.generations.keys().copied().collect::<Vec<_>>(), [3]);
        }
    }
}

#[test]
fn a_dry_run_of_a_reset_says_what_happens() {
    happens("ext4", Level::Baseline);
}

#[test]
fn a_dry_run_of_a_factory_reset_says_what_happens() {
    happens("ext4", Level::Factory);
}

#[test]
fn a_dry_run_of_a_factory_reset_says_what_happens_on_btrfs() {
    happens("btrfs", Level::Factory);
}

#[test]
fn long_lists_are_counted_to_the_end_and_it_can_be_stopped() {
    let rig = Rig::new("ext4", 400);
    rig.boot();
    for n in 0..1500 {
        make(&rig, &[&format!("keep/{n}"), &format!("srv/{}/{n}", n % 10)]);
    }
    let wanted = Resetting { level: Level::Factory, keep: vec!["/keep".into()], drop_kept: false };
    let site = live(&rig);
    let losses = losing::preview(&site, "root", &wanted, &asked(), &mut on).unwrap();
    assert_eq!((losses.kept.entries, losses.kept.lines.len(), losses.kept.complete), (1501, 1000, false));
    assert_eq!((losses.lost.entries, losses.lost.lines.len(), losses.lost.complete), (1511, 1000, false));
    assert_eq!(losses.lost.lines[0], "directory /srv", "before what is in it");
    let stopped = losing::preview(&site, "root", &wanted, &asked(), &mut |seen| match seen.entries {
        100 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(stopped.unwrap_err().kind(), overlayd::error::Kind::Canceled);
}
