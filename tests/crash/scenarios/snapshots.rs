//! What is done at once to snapshots, to what they say, and to the mounted tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use overlayd::error::Kind;
use overlayd::operation::restore::{self, From};
use overlayd::operation::snapshot::Wanted;
use overlayd::operation::{Site, commit, snapshot};
use overlayd::store::Layout;

use super::prepare::with_snapshot;
use super::{After, Watch, asked, at_once, empty_trash, evidence, go_on, live, wanted};
use crate::judge::{Evidence, Picture, content, picture};
use crate::machine::Machine;
use crate::manifest::differences;

pub(super) fn create(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| {
        drop(snapshot::create(site, "root", &wanted("one"), &asked(), &mut go_on).unwrap());
    });
}

pub(crate) fn create_again(after: &After<'_>) -> Result<(), String> {
    let site = Site::offline(after.layout.root());
    let made = snapshot::create(&site, "root", &wanted("again"), &asked(), &mut go_on)
        .map_err(|e| format!("again: {e}"))?;
    holds_what_the_last_one_does(after.layout, made.id, after.new)
}

/// A snapshot too many: the new one is there, and the oldest not yet gone.
pub(super) fn one_too_many(old: &Picture, new: &Picture) -> Option<Picture> {
    let mut both = new.clone();
    both.snapshots.extend(old.snapshots.clone());
    both.said.extend(old.said.clone());
    Some(both)
}

pub(super) fn commit_all(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| {
        drop(commit::commit(site, "root", &wanted("one"), &[], &asked(), &mut go_on).unwrap());
    });
}

/// The snapshot is there, and not yet the baseline.
pub(crate) fn not_yet_the_baseline(old: &Picture, new: &Picture) -> Option<Picture> {
    Some(Picture { baseline: old.baseline, ..new.clone() })
}

pub(crate) fn commit_again(after: &After<'_>) -> Result<(), String> {
    commits_again(after, &[])
}

fn some_paths() -> Vec<PathBuf> {
    ["/etc/hostname", "/var/lib/second", "/etc/skel"].map(PathBuf::from).to_vec()
}

pub(super) fn commit_paths(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| {
        drop(commit::commit(site, "root", &wanted("one"), &some_paths(), &asked(), &mut go_on).unwrap());
    });
}

pub(super) fn commit_paths_again(after: &After<'_>) -> Result<(), String> {
    commits_again(after, &some_paths())
}

fn commits_again(after: &After<'_>, paths: &[PathBuf]) -> Result<(), String> {
    let site = Site::offline(after.layout.root());
    let id = match commit::commit(&site, "root", &wanted("again"), paths, &asked(), &mut go_on) {
        Ok(made) => made.id,
        Err(e) if e.kind() == Kind::NothingToDo => {
            picture(after.layout)?.baseline.ok_or("nothing to commit?")?
        }
        Err(e) => return Err(format!("again: {e}")),
    };
    if picture(after.layout)?.baseline != Some(id) {
        return Err(format!("snapshot {id} was committed and is not the baseline"));
    }
    holds_what_the_last_one_does(after.layout, id, after.new)
}

pub(super) fn delete(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.begin();
    let site = live(machine);
    snapshot::delete(&site, "root", 1, &asked()).unwrap();
    watch.lasts();
    watch.is_now(evidence(machine));
    empty_trash(&site);
    machine.shutdown();
}

pub(crate) fn delete_again(after: &After<'_>) -> Result<(), String> {
    match snapshot::delete(&Site::offline(after.layout.root()), "root", 1, &asked()) {
        Err(e) if e.kind() != Kind::NoSuchSnapshot => Err(format!("again: {e}")),
        _ => Ok(()),
    }
}

fn holds_what_the_last_one_does(layout: &Layout, id: u64, new: &Evidence) -> Result<(), String> {
    let (_, expected) = new.picture.snapshots.last_key_value().unwrap();
    let found = content(&layout.snapshot_fs("root", id));
    match &found == expected {
        true => Ok(()),
        false => Err(format!("made again: {}", differences(expected, &found))),
    }
}

/// Another description, with a word of the user's.
fn other_words() -> Wanted {
    let userdata = BTreeMap::from([("ticket".to_owned(), "4711".to_owned())]);
    Wanted { userdata, ..wanted("described") }
}

fn speak(site: &Site) -> overlayd::Result<()> {
    snapshot::set_metadata(site, "root", 1, &other_words())?;
    snapshot::set_protected(site, "root", 1, true)
}

/// Describes, then protects.
pub(super) fn describe(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| speak(site).unwrap());
}

/// Described, and not yet protected.
pub(super) fn not_yet_protected(_: &Picture, new: &Picture) -> Option<Picture> {
    let mut half = new.clone();
    half.said.values_mut().for_each(|said| *said = said.replace("protected", "free"));
    Some(half)
}

pub(super) fn describe_again(after: &After<'_>) -> Result<(), String> {
    speak(&Site::offline(after.layout.root())).map_err(|e| format!("again: {e}"))?;
    match picture(after.layout)?.said == after.new.picture.said {
        true => Ok(()),
        false => Err(format!("described again: {:?}", picture(after.layout)?.said)),
    }
}

/// With a snapshot, and a directory that has been worked in since.
pub(super) fn with_a_directory_to_restore(machine: &Machine) {
    with_snapshot(machine);
    machine.boot().unwrap();
    let own = machine.sysroot.join("var/lib/first");
    fs::write(own.join("deep/file-3"), "other").unwrap();
    fs::remove_file(own.join("link")).unwrap();
    fs::write(own.join("link"), "a file now").unwrap();
    fs::remove_file(own.join("sparse")).unwrap();
    fs::create_dir(own.join("more")).unwrap();
    fs::write(own.join("more/file"), "more").unwrap();
    machine.shutdown();
}

fn restore_them(site: &Site) -> overlayd::Result<()> {
    let paths = ["/etc/hostname", "/var/lib/first"].map(PathBuf::from);
    let from = From::Snapshot(1);
    restore::paths(site, "root", from, &paths, false, &asked(), &mut go_on).map(drop)
}

pub(super) fn restore_paths(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| restore_them(site).unwrap());
}

pub(super) fn restore_paths_again(machine: &Machine) -> Result<(), String> {
    restore_them(&live(machine)).map_err(|e| format!("again: {e}"))
}
