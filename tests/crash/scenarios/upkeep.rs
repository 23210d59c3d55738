//! Taking back, marking, cleaning up, mending; and another overlay than the root.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use overlayd::handoff;
use overlayd::operation::check;
use overlayd::operation::health::{self, Mark};
use overlayd::operation::switch::{self, ByHand};
use overlayd::operation::{self, Site, erase, restore};
use overlayd::store::{Layout, read};

use super::prepare::{change, with_snapshot};
use super::{After, Watch, asked, at_once, evidence, live};
use crate::judge::{Evidence, Picture, picture};
use crate::machine::Machine;

/// A request that was durable is taken back; until then the next boot carries it out.
pub(super) fn cancel(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    let before = evidence(machine);
    let site = live(machine);
    restore::request(&site, "root", 1, &asked()).unwrap();
    watch.was(restored(machine, &before));
    watch.begin();
    operation::cancel(&site.store, "root").unwrap();
    watch.lasts();
    watch.is_now(evidence(machine));
    machine.shutdown();
}

/// What the boot would make of a restore of snapshot 1.
fn restored(machine: &Machine, before: &Evidence) -> Evidence {
    let layout = Layout::new(handoff::RUN_STORE);
    let left = (1, before.picture.live.clone());
    let picture = Picture {
        stands_on: Some(1),
        live: crate::manifest::Manifest::new(),
        retained: [left].into(),
        outcome: "restore done".into(),
        ..before.picture.clone()
    };
    let merged = machine.merged_over_base(&layout.snapshot_fs("root", 1));
    Evidence { picture, merged, ..before.clone() }
}

pub(super) fn nothing_waits(after: &After<'_>) -> Result<(), String> {
    let view = read::load(after.layout).map_err(|e| e.to_string())?;
    match &view.overlays["root"].request {
        None => Ok(()),
        Some(request) => Err(format!("a request waits after a boot: {request:?}")),
    }
}

const GOOD: Mark = Mark::Good { forget: true };

/// And what was bad is not kept any longer.
pub(super) fn mark_good(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| drop(health::mark(site, &GOOD, &asked()).unwrap()));
}

/// What was bad is gone, and what is live is not yet marked. A boot forgets what is gone.
pub(super) fn not_yet_good(old: &Picture, new: &Picture) -> Option<Picture> {
    let mut half = Picture { retained: new.retained.clone(), ..old.clone() };
    half.marks.bad.clear();
    Some(half)
}

pub(super) fn mark_good_again(after: &After<'_>) -> Result<(), String> {
    let site = Site::offline(after.layout.root());
    health::mark(&site, &GOOD, &asked()).map_err(|e| format!("again: {e}"))?;
    let found = picture(after.layout)?;
    let (marks, retained) = (&after.new.picture.marks, &after.new.picture.retained);
    match (&found.marks, &found.retained) == (marks, retained) {
        true => Ok(()),
        false => Err(format!("{:?}, generations {:?}", found.marks, found.retained.keys())),
    }
}

fn clean(store: &Path) -> overlayd::Result<()> {
    erase::clean(store, &mut |_| ControlFlow::Continue(())).map(drop)
}

/// The end of a reset to the image.
pub(super) fn clean_up(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| clean(&site.store).unwrap());
}

/// It is not called complete before it is.
pub(super) fn clean_up_again(after: &After<'_>) -> Result<(), String> {
    let is_complete = || picture(after.layout).map(|p| p.outcome == after.new.picture.outcome);
    let trash = read::trash_entries(after.layout, "root").map_err(|e| e.to_string())?;
    if is_complete()? && !trash.is_empty() {
        return Err(format!("it is called complete, and there is {trash:?}"));
    }
    clean(after.layout.root()).map_err(|e| format!("again: {e}"))?;
    match is_complete()? {
        true => Ok(()),
        false => Err(format!("it does not end: {}", picture(after.layout)?.outcome)),
    }
}

/// With records that can be proved to be wrong, one of which keeps the upper from being mounted.
pub(super) fn damaged(machine: &Machine) {
    with_snapshot(machine);
    machine.boot().unwrap();
    let layout = live_layout(machine);
    for path in [layout.current("root"), layout.last_snapshot("root"), layout.health("root")] {
        fs::write(path, "nonsense\n").unwrap();
    }
    fs::write(layout.request("root"), "action = \"dance\"\n").unwrap();
    fs::remove_dir(layout.trash("root")).unwrap();
    fs::write(layout.trash("root"), "a file").unwrap();
    machine.shutdown();
}

fn live_layout(machine: &Machine) -> Layout {
    Layout::new(live(machine).store)
}

fn mend(store: &Path) -> Result<(), String> {
    let checked = check::repair(store, &asked()).map_err(|e| format!("repair: {e}"))?;
    match checked.is_sound() && checked.failures.is_empty() {
        true => Ok(()),
        false => Err(format!("not sound: {checked:?}")),
    }
}

/// From the fallback, in which there is no upper.
pub(super) fn repair(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap_err();
    let site = live(machine);
    watch.begin();
    mend(&site.store).unwrap();
    watch.lasts();
    machine.shutdown();
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.is_now(evidence(machine));
    machine.shutdown();
}

pub(super) fn repair_again(after: &After<'_>) -> Result<(), String> {
    mend(after.layout.root())?;
    let checked = check::repair(after.layout.root(), &asked()).map_err(|e| format!("again: {e}"))?;
    match checked.repaired.is_empty() {
        true => Ok(()),
        false => Err(format!("a second repair finds {:?}", checked.repaired)),
    }
}

/// Another overlay, lived in.
pub(super) fn other_lived_in(machine: &Machine) {
    machine.boot().unwrap();
    fs::write(machine.other().join("given"), "changed").unwrap();
    fs::write(machine.other().join("new"), "new").unwrap();
    change(&machine.sysroot, "first");
    machine.shutdown();
}

/// It is reset while the system runs: unmounted, and mounted again.
pub(super) fn reset_the_other(machine: &Machine, watch: &mut dyn Watch) {
    at_once(machine, watch, |site| {
        let by = ByHand { command: vec![env!("CARGO_BIN_EXE_overlayd-early").into(), "mount".into()] };
        let ask = || operation::request_reset(site, "data", &Default::default(), &asked());
        drop(switch::at_once(site, "data", &asked(), &by, &ask).unwrap());
    });
}
