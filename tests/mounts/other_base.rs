//! The machine boots another base: what `base-changed` says is done, and the first base finds its own again.

use std::fs;

use overlayd::config::Mode;
use overlayd::error::Kind;
use overlayd::handoff::{self, Handoff};
use overlayd::operation::{self, Site};

use crate::restore::state;
use crate::rig::Rig;

/// A machine with two bases, `A` which it was made with, and `B`.
struct TwoBases {
    rig: Rig,
    a: String,
    b: String,
}

impl TwoBases {
    fn new(fstype: &str, policy: &str) -> TwoBases {
        let mut rig = Rig::new(fstype, 300);
        let more = format!(
            "[overlay.root]\nbase-changed = \"{policy}\"\n[overlay.root.reset]\nkeep = [\"/etc/kept\"]"
        );
        rig.configure(&more);
        let a = rig.base_device();
        let b = rig.another_base("2");
        TwoBases { rig, a, b }
    }

    fn boot_b(&mut self) -> Handoff {
        let b = self.b.clone();
        self.rig.change_base(&b);
        self.rig.boot()
    }

    fn boot_a(&mut self) -> Handoff {
        let a = self.a.clone();
        self.rig.change_base(&a);
        self.rig.boot()
    }

    fn version(&self) -> String {
        fs::read_to_string(self.rig.path("etc/os-release")).unwrap()
    }
}

fn persistent(handoff: &Handoff) -> u64 {
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, &root.reason), (Mode::Persistent, &None));
    root.generation.unwrap()
}

fn set_aside(fstype: &str) {
    let mut machine = TwoBases::new(fstype, "set-aside");
    persistent(&machine.rig.boot());
    fs::write(machine.rig.path("etc/of-a"), "a").unwrap();

    let booted = machine.boot_b();
    assert_eq!(persistent(&booted), 2);
    assert!(booted.overlay["root"].executed.is_some() && booted.problems.is_empty(), "{booted:?}");
    assert!(machine.version().contains("IMAGE_VERSION=2"));
    assert!(!machine.rig.path("etc/of-a").exists());
    fs::write(machine.rig.path("etc/of-b"), "b").unwrap();
    let outcome = machine.rig.offline(|layout| state(layout).outcome.unwrap().unwrap());
    assert_eq!((outcome.requested_by.as_str(), outcome.result.as_str()), ("overlayd", "done"));
    let reason = outcome.reason.unwrap();
    assert!(reason.contains("IMAGE_VERSION=1") && reason.contains("IMAGE_VERSION=2"), "{reason}");

    // Nothing is asked for once it is done.
    let again = machine.rig.reboot();
    assert_eq!((persistent(&again), &again.overlay["root"].executed), (2, &None));
    assert!(machine.rig.path("etc/of-b").exists());

    // And back, and forth: each base finds its own.
    for round in 0..2 {
        assert_eq!(persistent(&machine.boot_a()), 1, "round {round}");
        assert_eq!(fs::read_to_string(machine.rig.path("etc/of-a")).unwrap(), "a");
        assert!(!machine.rig.path("etc/of-b").exists());
        assert_eq!(persistent(&machine.boot_b()), 2, "round {round}");
        assert_eq!(fs::read_to_string(machine.rig.path("etc/of-b")).unwrap(), "b");
        assert!(!machine.rig.path("etc/of-a").exists());
    }
}

#[test]
fn each_base_has_a_generation_of_its_own_on_ext4() {
    set_aside("ext4");
}

#[test]
fn each_base_has_a_generation_of_its_own_on_xfs() {
    set_aside("xfs");
}

#[test]
fn each_base_has_a_generation_of_its_own_on_btrfs() {
    set_aside("btrfs");
}

#[test]
fn an_undo_to_another_base_is_refused_when_asked() {
    let mut machine = TwoBases::new("ext4", "set-aside");
    machine.rig.boot();
    machine.boot_b();
    let site = Site {
        store: handoff::RUN_STORE.into(),
        handoff: Some(handoff::BOOT_TOML.into()),
        root: machine.rig.sysroot.clone(),
    };
    let refused = operation::restore::preview_undo(&site, "root", &crate::snapshots::asked()).unwrap_err();
    assert_eq!(refused.kind(), Kind::BaseMismatch, "{refused}");
    machine.boot_a();
}

#[test]
fn a_reset_of_this_base_does_not_touch_what_waits_for_another() {
    let mut machine = TwoBases::new("ext4", "set-aside");
    machine.rig.boot();
    fs::write(machine.rig.path("etc/of-a"), "a").unwrap();
    machine.boot_b();
    fs::write(machine.rig.path("etc/of-b"), "b").unwrap();
    machine.rig.request_reset();
    assert_eq!(persistent(&machine.rig.reboot()), 3);
    assert!(!machine.rig.path("etc/of-b").exists());
    assert_eq!(persistent(&machine.boot_a()), 1);
    assert!(machine.rig.path("etc/of-a").exists());
}

#[test]
fn a_reset_keeps_what_is_to_be_kept() {
    let mut machine = TwoBases::new("ext4", "reset");
    machine.rig.boot();
    fs::write(machine.rig.path("etc/of-a"), "a").unwrap();
    fs::write(machine.rig.path("etc/kept"), "kept").unwrap();
    let booted = machine.boot_b();
    assert_eq!(persistent(&booted), 2);
    assert!(!machine.rig.path("etc/of-a").exists());
    assert_eq!(fs::read_to_string(machine.rig.path("etc/kept")).unwrap(), "kept");
    let again = machine.rig.reboot();
    assert_eq!((persistent(&again), &again.overlay["root"].executed), (2, &None));
}

#[test]
fn what_is_refused_is_mounted_again_on_its_own_base() {
    let mut machine = TwoBases::new("ext4", "refuse");
    machine.rig.boot();
    fs::write(machine.rig.path("etc/of-a"), "a").unwrap();
    let booted = machine.boot_b();
    let root = &booted.overlay["root"];
    assert_eq!(root.mode, Mode::Volatile);
    assert!(root.reason.as_ref().unwrap().contains("the base changed"), "{root:?}");
    assert!(!machine.rig.path("etc/of-a").exists());
    assert_eq!(persistent(&machine.boot_a()), 1);
    assert!(machine.rig.path("etc/of-a").exists());
}

#[test]
fn what_is_kept_is_told() {
    for policy in ["keep", "merge"] {
        let mut machine = TwoBases::new("ext4", policy);
        machine.rig.boot();
        fs::write(machine.rig.path("etc/of-a"), "a").unwrap();
        let booted = machine.boot_b();
        assert_eq!(persistent(&booted), 1);
        assert!(booted.problems.iter().any(|p| p.contains("the base changed")), "{:?}", booted.problems);
        assert!(machine.rig.path("etc/of-a").exists());
    }
}
