//! Boots that do not come up lead back, one step after the other, and nobody's data is given up on the way.

use std::fs;
use std::process::Command;

use overlayd::config::Mode;
use overlayd::exec;
use overlayd::handoff::HandoffOverlay;
use overlayd::observe::{self, Base};
use overlayd::operation::Site;
use overlayd::operation::health::{self, Mark, Marked};
use overlayd::plan::execute::Scene;
use overlayd::plan::retain::Keeping;
use overlayd::plan::{self, Step};
use overlayd::store::health_record::{HealthRecord, Rung};
use overlayd::store::records::OutcomeRecord;
use overlayd::store::{Layout, read, write};

use crate::reset::fill;
use crate::restore::{ask_restore, ask_undo, state};
use crate::rig::{Rig, manifest, run, s};
use crate::snapshots::asked;

/// A machine that counts its boots, with what each step of the way back looks like.
struct Machine {
    rig: Rig,
    bare: String,
}

impl Machine {
    fn new(fstype: &str) -> Machine {
        let mut rig = Rig::new(fstype, 400);
        rig.configure_counting("");
        let bare = manifest(&rig.sysroot);
        Machine { rig, bare }
    }

    /// A boot that ends before it is complete; what was mounted.
    fn fails(&self) -> HandoffOverlay {
        let root = self.boots();
        self.rig.shutdown();
        root
    }

    fn boots(&self) -> HandoffOverlay {
        let handoff = self.rig.boot();
        assert_eq!(handoff.problems, Vec::<String>::new());
        let root = handoff.overlay["root"].clone();
        assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None));
        root
    }

    /// Marks what the boot mounted, as somebody would whose tool works on the store: there is no daemon here.
    fn marks(&self, mark: &Mark) -> Marked {
        self.rig.offline(|layout| health::mark(&Site::offline(layout.root()), mark, &asked()).unwrap())
    }

    fn is_good(&self) {
        self.marks(&Mark::Good { forget: false });
    }

    fn health(&self) -> HealthRecord {
        self.rig.offline(|layout| state(layout).health.unwrap().unwrap())
    }

    fn outcome(&self) -> OutcomeRecord {
        self.rig.offline(|layout| state(layout).outcome.unwrap().unwrap())
    }

    fn generations(&self) -> Vec<u64> {
        self.rig.offline(|layout| state(layout).generations.keys().copied().collect())
    }

    /// One more boot that does not come up, of the same generation.
    fn stays_on(&self, generation: u64, boots: u64) {
        let root = self.fails();
        assert_eq!((root.generation, root.executed), (Some(generation), None));
        assert_eq!(self.health().boots, boots);
    }

    /// The boot after the last that was one too many; it does not come up either. What was mounted.
    fn goes_back(&self, to: u64, why: &str) -> String {
        let root = self.boots();
        assert!(root.executed.is_some(), "{why}");
        assert_eq!(root.generation, Some(to), "{why}");
        let now = manifest(&self.rig.sysroot);
        self.rig.shutdown();
        let outcome = self.outcome();
        assert_eq!((outcome.result.as_str(), outcome.via.as_deref()), ("done", Some("health")), "{why}");
        assert_eq!((outcome.requested_by.as_str(), outcome.to_generation), ("overlayd", to), "{why}");
        assert!(outcome.reason.is_some_and(|reason| reason.contains("did not complete")), "{why}");
        assert_eq!(self.health().boots, 1, "{why}");
        now
    }

    fn writes(&self, text: &str) -> String {
        self.boots();
        fs::write(self.rig.path("etc/hostname"), text).unwrap();
        let tree = manifest(&self.rig.sysroot);
        self.rig.shutdown();
        tree
    }
}

/// Every step of the way: what was good, the baseline, the bare image, and there it ends.
fn goes_all_the_way(fstype: &str) {
    let machine = Machine::new(fstype);
    let first = machine.writes("first\n");
    let id = machine.rig.copy_to_snapshot();
    let second = machine.writes("second\n");
    machine.is_good();
    ask_restore(&machine.rig, id);
    machine.writes("third\n");
    machine.rig.offline(|layout| write::point_baseline(layout, "root", Some(id)).unwrap());
    assert_eq!(machine.health(), HealthRecord { boots: 1, generation: 2, ..machine.health() });
    (2..=3).for_each(|boots| machine.stays_on(2, boots));
    assert_eq!(machine.goes_back(1, "what was good"), second);
    assert_eq!(machine.health().bad_ones().collect::<Vec<_>>(), [2]);
    (2..=3).for_each(|boots| machine.stays_on(1, boots));
    assert_eq!(machine.goes_back(3, "the baseline"), first);
    assert_eq!(machine.health().good, None, "it was good, and is not any more");
    (2..=3).for_each(|boots| machine.stays_on(3, boots));
    assert_eq!(machine.goes_back(4, "the bare image"), machine.bare);
    assert_eq!(machine.generations(), [1, 2, 3, 4], "nothing was given up");
    (2..=3).for_each(|boots| machine.stays_on(4, boots));
    for boots in 4..=5 {
        let handoff = machine.rig.boot();
        let root = &handoff.overlay["root"];
        assert_eq!((root.mode, root.generation, root.executed.clone()), (Mode::Persistent, Some(4), None));
        assert!(
            handoff.problems[0].ends_with("and there is nothing left to go back to"),
            "{:?}",
            handoff.problems
        );
        machine.rig.shutdown();
        assert_eq!(machine.health().boots, boots);
    }
    assert_eq!(machine.health().rung, Rung::Bare);
    // Somebody has a look at what was there, and it is counted anew.
    ask_undo(&machine.rig);
    let back = machine.boots();
    assert_eq!(back.generation, Some(3));
    machine.rig.shutdown();
    assert_eq!((machine.health().boots, machine.health().rung), (1, Rung::Start));
    machine.marks(&Mark::Good { forget: false });
    assert_eq!(machine.health().good, Some(3));
    machine.stays_on(3, 1);
}

#[test]
fn it_goes_all_the_way_on_ext4() {
    goes_all_the_way("ext4");
}

#[test]
fn it_goes_all_the_way_on_xfs() {
    goes_all_the_way("xfs");
}

#[test]
fn it_goes_all_the_way_on_btrfs() {
    goes_all_the_way("btrfs");
}

#[test]
fn boots_that_come_up_are_never_too_many() {
    let machine = Machine::new("ext4");
    for _ in 0..2 {
        machine.stays_on(1, 1);
        machine.stays_on(1, 2);
        machine.stays_on(1, 3);
        machine.is_good();
    }
    machine.stays_on(1, 1);
}

#[test]
fn what_is_marked_bad_goes_at_once_and_can_be_had_back() {
    let machine = Machine::new("ext4");
    let mine = machine.writes("mine\n");
    machine.is_good();
    let marked = machine.marks(&Mark::Bad { reason: "the screen is black".into() });
    assert_eq!((marked.generation, marked.next.as_deref()), (1, Some("the bare image")));
    let root = machine.boots();
    assert_eq!((root.generation, manifest(&machine.rig.sysroot)), (Some(2), machine.bare.clone()));
    machine.rig.shutdown();
    let reason = machine.outcome().reason.unwrap();
    assert_eq!(reason, "marked bad by a test: the screen is black");
    machine.is_good();
    machine.stays_on(2, 1);
    assert_eq!(machine.generations(), [1, 2], "kept, though the new one is good");
    ask_undo(&machine.rig);
    machine.boots();
    assert_eq!(manifest(&machine.rig.sysroot), mine);
    machine.rig.shutdown();
    assert_eq!(machine.health().badness(1), None, "somebody wants it");
    machine.stays_on(1, 2);
}

#[test]
fn what_was_bad_can_be_looked_at() {
    let machine = Machine::new("ext4");
    machine.boots();
    fs::write(machine.rig.path("etc/hostname"), "mine\n").unwrap();
    fs::remove_file(machine.rig.path("etc/os-release")).unwrap();
    machine.rig.shutdown();
    machine.marks(&Mark::Bad { reason: String::new() });
    assert_eq!(machine.boots().generation, Some(2));
    let diff = |places: &[&str], words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlayctl"));
        let output = command.args(places).arg("diff").args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = "M file /etc/hostname: content, 6 → 5 bytes\n- file /etc/os-release, 24 bytes\n";
    // On the machine that went back, whose base is the right one.
    let store = ["--store", "/run/overlayd/store"];
    assert_eq!(diff(&store, &["base", "generation:1"]), expected);
    assert_eq!(diff(&store, &["live", "generation:1"]), expected);
    machine.rig.shutdown();
    machine.rig.offline(|layout| {
        let base = ["--base", s(&machine.rig.sysroot), "base", "generation:1"];
        assert_eq!(diff(&["--store", s(layout.root())], &base), expected);
    });
}

#[test]
fn what_was_bad_goes_when_somebody_says_so() {
    let machine = Machine::new("ext4");
    machine.writes("mine\n");
    machine.marks(&Mark::Bad { reason: String::new() });
    machine.fails();
    let marked = machine.marks(&Mark::Good { forget: true });
    assert_eq!((marked.generation, marked.forgotten), (2, vec![1]));
    assert_eq!((machine.generations(), machine.health().bad.len()), (vec![2], 0));
    machine.stays_on(2, 1);
}

#[test]
fn a_damaged_record_is_told_and_stops_no_boot() {
    let machine = Machine::new("ext4");
    machine.fails();
    machine.rig.offline(|layout| fs::write(layout.health("root"), "version = 9\n").unwrap());
    for _ in 0..4 {
        let handoff = machine.rig.boot();
        let root = &handoff.overlay["root"];
        assert_eq!((root.mode, root.generation), (Mode::Persistent, Some(1)));
        assert!(handoff.problems[0].starts_with("this boot is not counted: "), "{:?}", handoff.problems);
        machine.rig.shutdown();
    }
    machine.is_good();
    machine.rig.offline(|layout| assert!(layout.overlay("root").join("health.toml.damaged").exists()));
    machine.stays_on(1, 1);
}

#[test]
fn a_boot_that_can_not_be_counted_comes_up() {
    let machine = Machine::new("ext4");
    machine.fails();
    let change =
        |flag: &str| machine.rig.offline(|layout| drop(run("chattr", &[flag, s(&layout.health("root"))])));
    change("+i");
    let handoff = machine.rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::Persistent);
    assert!(handoff.problems[0].starts_with("this boot is not counted: "), "{:?}", handoff.problems);
    machine.rig.shutdown();
    change("-i");
    assert_eq!(machine.health().boots, 1);
}

/// A full disk may be why nothing comes up: it is counted, gone back from, and what fills it is still there afterwards.
fn goes_back_on_a_full(fstype: &str, mib: u64) {
    let mut rig = Rig::new(fstype, mib);
    rig.configure_counting("");
    let bare = manifest(&rig.sysroot);
    let machine = Machine { rig, bare };
    machine.rig.boot();
    fill(&machine.rig, fstype);
    machine.rig.shutdown();
    for boots in 2..=3 {
        let root = machine.rig.boot().overlay["root"].clone();
        assert_eq!((root.mode, root.generation), (Mode::Persistent, Some(1)), "{fstype}");
        machine.rig.shutdown();
        assert_eq!(machine.health().boots, boots, "{fstype}");
    }
    let root = machine.rig.boot().overlay["root"].clone();
    assert_eq!((root.mode, root.generation), (Mode::Persistent, Some(2)), "{fstype}");
    assert_eq!(manifest(&machine.rig.sysroot), machine.bare, "{fstype}");
    fs::write(machine.rig.path("etc/mine"), "there is room again").unwrap();
    machine.rig.shutdown();
    assert_eq!((machine.health().boots, machine.health().rung), (1, Rung::Bare), "{fstype}");
    assert_eq!(machine.generations(), [1, 2], "{fstype}: nobody gave it up");
    // From now on it gives way to the lack of space.
    assert_eq!(machine.rig.boot().overlay["root"].generation, Some(2), "{fstype}");
    machine.rig.shutdown();
    assert_eq!(machine.generations(), [2], "{fstype}");
}

#[test]
fn it_goes_back_on_a_full_ext4() {
    goes_back_on_a_full("ext4", 100);
}

#[test]
fn it_goes_back_on_a_full_xfs() {
    goes_back_on_a_full("xfs", 320);
}

#[test]
fn it_goes_back_on_a_full_btrfs() {
    goes_back_on_a_full("btrfs", 130);
}

/// The power goes after each step of a boot that goes back.
#[test]
fn every_prefix_of_going_back_is_old_or_new_and_converges() {
    let mut total = None;
    for prefix in 0.. {
        if total.is_some_and(|total| prefix > total) {
            break;
        }
        let machine = Machine::new("ext4");
        machine.writes("mine\n");
        (2..=3).for_each(|boots| machine.stays_on(1, boots));
        let steps = machine.rig.offline(|layout| {
            let steps = all_steps(layout);
            exec::store::run(layout, &steps[..prefix]).unwrap();
            steps.len()
        });
        total = Some(steps);
        let root = machine.boots();
        assert_eq!(root.generation, Some(2), "cut after {prefix}");
        assert_eq!(manifest(&machine.rig.sysroot), machine.bare, "cut after {prefix}");
        machine.rig.shutdown();
        let health = machine.health();
        assert_eq!((health.generation, health.rung), (2, Rung::Bare), "cut after {prefix}");
        assert_eq!(health.bad_ones().collect::<Vec<_>>(), [1], "cut after {prefix}");
        machine.stays_on(2, health.boots + 1);
        assert_eq!(machine.generations(), [1, 2], "cut after {prefix}");
    }
    assert!(total.is_some_and(|total| total >= 6), "{total:?}");
}

/// The store's steps of the boot that goes back, in their order.
fn all_steps(layout: &Layout) -> Vec<Step> {
    let config = overlayd::config::load(std::path::Path::new("/nonexistent"), "").config;
    let (now, mut view) = (observe::moment(), read::load(layout).unwrap());
    let asking = plan::health::decide(&view, config.root(), &now);
    let Some(Step::WriteRequest(_, request)) = asking.last() else { panic!("{asking:?}") };
    view.overlays.get_mut("root").unwrap().request = Some(Ok(request.clone()));
    let identity = state(layout).generations[&1].record.clone().unwrap().base;
    let base = Base { identity, ..Base::default() };
    let scene =
        Scene { base: &base, now: &now, keeping: Keeping::of(config.root()), scarce: false, kept: None };
    let execution = plan::execute::execution(&view, "root", request, &scene).unwrap();
    let count =
        plan::health::count(Some(&view.overlays["root"]), execution.number, Some((request, true)), &now);
    let count = vec![Step::CountBoot("root".to_owned(), count)];
    [asking, execution.before, count, execution.after].concat()
}

/// A machine without the unit, or where it is masked, never says that a boot was good.
#[test]
fn nothing_is_counted_where_nothing_marks_a_boot_good() {
    for masked in [false, true] {
        let mut rig = Rig::new("ext4", 64);
        let own = rig.beside("base/etc/systemd/system");
        if masked {
            fs::create_dir_all(&own).unwrap();
            std::os::unix::fs::symlink("/dev/null", own.join("overlayd-good.service")).unwrap();
        }
        rig.configure_counting("");
        if !masked {
            fs::remove_file(rig.beside("base/usr/lib/systemd/system/overlayd-good.service")).unwrap();
            rig.rebuild();
        }
        rig.boot();
        fs::write(rig.path("etc/mine"), "mine").unwrap();
        for boot in 0..5 {
            assert_eq!(rig.reboot().overlay["root"].generation, Some(1), "boot {boot}");
        }
        assert_eq!(fs::read_to_string(rig.path("etc/mine")).unwrap(), "mine");
        assert!(rig.offline(|layout| state(layout).health.is_none()));
    }
}
