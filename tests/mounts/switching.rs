//! Overlays that are not the root change at once: reset, undo, restore, snapshots and commits of them.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use overlayd::error::Kind;
use overlayd::handoff;
use overlayd::operation::snapshot::Wanted;
use overlayd::operation::switch::{self, ByHand, Remount};
use overlayd::operation::{self, Planned, Site, commit, restore, snapshot};
use overlayd::plan::request::Resetting;
use overlayd::store::records::Level;
use overlayd::store::{Layout, read};

use crate::other::{generation, machine, mounted};
use crate::rig::{Rig, run, s};
use crate::snapshots::asked;

/// The running machine as its daemon sees it: with a writable view of the store.
pub(crate) struct Daemon {
    site: Site,
    pub(crate) by: ByHand,
}

impl Daemon {
    pub(crate) fn of(rig: &Rig) -> Daemon {
        let own = rig.beside("own");
        fs::create_dir(&own).unwrap();
        run("mount", &[&rig.device, s(&own)]);
        let site =
            Site { store: own.join("overlayd"), handoff: Some(handoff::BOOT_TOML.into()), root: "/".into() };
        let command = vec![env!("CARGO_BIN_EXE_overlayd-early").to_owned(), "mount".to_owned()];
        Daemon { site, by: ByHand { command } }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.site.store)
    }

    fn switch(&self, ask: &dyn Fn() -> overlayd::Result<Planned>) -> overlayd::Result<Planned> {
        self.switch_by(&self.by, ask)
    }

    pub(crate) fn switch_by(
        &self,
        by: &dyn Remount,
        ask: &dyn Fn() -> overlayd::Result<Planned>,
    ) -> overlayd::Result<Planned> {
        switch::at_once(&self.site, "data", &asked(), by, ask)
    }

    pub(crate) fn reset(&self) -> overlayd::Result<Planned> {
        self.switch(&|| self.ask_reset())
    }

    pub(crate) fn ask_reset(&self) -> overlayd::Result<Planned> {
        operation::request_reset(&self.site, "data", &Default::default(), &asked())
    }

    pub(crate) fn undo(&self) -> overlayd::Result<Planned> {
        self.switch(&|| restore::request_undo(&self.site, "data", &asked()))
    }

    fn restore(&self, id: u64) -> overlayd::Result<Planned> {
        self.switch(&|| restore::request(&self.site, "data", id, &asked()))
    }

    fn snapshot(&self) -> u64 {
        let wanted = Wanted::default();
        snapshot::create(&self.site, "data", &wanted, &asked(), &mut |_| ControlFlow::Continue(()))
            .unwrap()
            .id
    }

    pub(crate) fn current(&self) -> Option<u64> {
        read::load(&self.layout()).unwrap().overlays["data"].current.clone().unwrap()
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.layout().request("data").exists()
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn changes_at_once(fstype: &str) {
    let rig = machine(fstype);
    let data = mounted(&rig, "data");
    let logs = mounted(&rig, "logs");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "first").unwrap();
    fs::write(logs.join("mine"), "logs").unwrap();
    fs::remove_file(data.join("given")).unwrap();

    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given"], "the base alone, at once");
    assert_eq!(generation("data"), Some(2));
    assert!(!daemon.is_pending());
    fs::write(data.join("second"), "x").unwrap();

    daemon.undo().unwrap();
    assert_eq!(names(&data), ["mine"]);
    assert_eq!(generation("data"), Some(1));
    daemon.undo().unwrap();
    assert_eq!(names(&data), ["given", "second"], "and forward again");

    fs::write(data.join("snapped"), "kept").unwrap();
    fs::remove_file(data.join("second")).unwrap();
    assert_eq!(daemon.snapshot(), 1);
    fs::remove_file(data.join("given")).unwrap();
    daemon.restore(1).unwrap();
    assert_eq!(names(&data), ["given", "snapped"]);
    fs::write(data.join("snapped"), "changed").unwrap();
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().unwrap();
    assert_eq!((told.overlay["data"].snapshot, told.overlay["data"].generation), (Some(1), Some(3)));
    daemon.restore(1).unwrap();
    assert_eq!(fs::read_to_string(data.join("snapped")).unwrap(), "kept");
    let gone = daemon.restore(7).unwrap_err();
    assert_eq!(gone.kind(), Kind::NoSuchSnapshot);
    assert_eq!(names(&data), ["given", "snapped"]);

    let outcome = read::load(&daemon.layout()).unwrap().overlays["data"].outcome.clone().unwrap().unwrap();
    assert_eq!(
        (outcome.action.word(), outcome.result.as_str(), outcome.requested_by.as_str()),
        ("restore", "done", "a test")
    );
    assert_eq!(fs::read_to_string(logs.join("mine")).unwrap(), "logs", "the other one saw nothing of it");
    run("umount", &[s(&data)]);
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given", "snapped"]);
}

/// What it keeps is named by its place in the booted system; the others are left alone.
#[test]
fn a_factory_reset_of_it_concerns_it_alone() {
    let mut rig = machine("ext4");
    rig.shutdown();
    let table = |name: &str| format!("[overlay.{name}]\ntarget = \"{}\"\n", s(&rig.path(name)));
    let keep = format!("[overlay.data.reset]\nkeep = [\"{}/kept*\"]\n", s(&rig.path("data")));
    let tables = [table("data"), table("logs"), keep].concat();
    rig.configure(&tables);
    rig.boot();
    let (data, logs) = (mounted(&rig, "data"), mounted(&rig, "logs"));
    let daemon = Daemon::of(&rig);
    for name in ["kept-1", "kept-2", "also", "lost"] {
        fs::write(data.join(name), name).unwrap();
        fs::write(logs.join(name), name).unwrap();
    }
    fs::remove_file(data.join("given")).unwrap();
    daemon.snapshot();
    let also = s(&data.join("also")).to_owned();
    let wanted = Resetting { level: Level::Factory, keep: vec![also, "/etc".into()], drop_kept: false };
    daemon.switch(&|| operation::request_reset(&daemon.site, "data", &wanted, &asked())).unwrap();
    assert_eq!(names(&data), ["also", "given", "kept-1", "kept-2"]);
    let view = read::load(&daemon.layout()).unwrap();
    let state = &view.overlays["data"];
    let outcome = state.outcome.clone().unwrap().unwrap();
    assert_eq!((outcome.kept_count, outcome.kept.len()), (Some(3), 3));
    assert!(outcome.kept.contains(&s(&data.join("kept-2")).to_owned()), "{:?}", outcome.kept);
    assert_eq!(
        (outcome.unmatched.as_slice(), outcome.erasure.as_deref()),
        (["/etc".into()].as_slice(), Some("erasing"))
    );
    assert!(state.snapshots.is_empty() && state.generations.len() == 1 && !daemon.is_pending());
    assert!(daemon.undo().unwrap_err().to_string().contains("bare image"));
    assert_eq!(names(&logs).len(), 5, "the other one is as it was");
    assert_eq!(view.overlays["root"].generations.len(), 1);

    let wanted = Resetting { level: Level::Factory, keep: Vec::new(), drop_kept: true };
    run("umount", &[s(&data)]);
    daemon.switch(&|| operation::request_reset(&daemon.site, "data", &wanted, &asked())).unwrap();
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given"], "not mounted, and nothing kept");
}

/// Snapshot, commit and single paths work on any overlay as on the root.
#[test]
fn commits_seals_and_restores_single_paths() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    let mut go_on = |_| ControlFlow::Continue(());
    fs::write(data.join("mine"), "committed").unwrap();
    let made = commit::commit(&daemon.site, "data", &Wanted::default(), &[], &asked(), &mut go_on).unwrap();
    fs::write(data.join("mine"), "later").unwrap();
    let path = [data.join("mine")];
    let from = restore::From::Snapshot(made.id);
    restore::paths(&daemon.site, "data", from, &path, false, &asked(), &mut go_on).unwrap();
    assert_eq!(fs::read_to_string(data.join("mine")).unwrap(), "committed");
    fs::write(data.join("mine"), "later").unwrap();
    fs::write(data.join("new"), "x").unwrap();
    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given", "mine"]);
    assert_eq!(
        fs::read_to_string(data.join("mine")).unwrap(),
        "committed",
        "a reset goes back to the commit"
    );

    let logs = mounted(&rig, "logs");
    fs::write(logs.join("sealed"), "x").unwrap();
    let seal = || snapshot::request(&daemon.site, "logs", &Wanted::default(), false, &asked());
    switch::at_once(&daemon.site, "logs", &asked(), &daemon.by, &seal).unwrap();
    assert_eq!(names(&logs), ["given", "sealed"]);
    let view = read::load(&daemon.layout()).unwrap();
    assert_eq!(view.overlays["logs"].snapshots[&1].as_ref().unwrap().strategy, "sealed");
}

#[test]
fn changes_at_once_on_ext4() {
    changes_at_once("ext4");
}

#[test]
fn changes_at_once_on_xfs() {
    changes_at_once("xfs");
}

#[test]
fn changes_at_once_on_btrfs() {
    changes_at_once("btrfs");
}
