//! Every prefix of every plan: carry out the first N steps, cut the power, boot. Old or new, never a mixture.
//! And a kill at system calls of the boot that carries a request out.

use std::fs;

use overlayd::config::Mode;
use overlayd::exec;
use overlayd::keep;
use overlayd::observe::{self, Base};
use overlayd::operation;
use overlayd::plan::execute::Scene;
use overlayd::plan::retain::Keeping;
use overlayd::plan::{self, Step};
use overlayd::store::health_record::HealthRecord;
use overlayd::store::records::{self, Level};
use overlayd::store::{Layout, read, write};

use crate::reset::live_in;
use crate::restore::{ask_bare, ask_named, ask_restore, ask_seal, ask_undo, state};
use crate::rig::{Rig, manifest};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Reset,
    ResetToBaseline,
    /// Of a store with a snapshot, a baseline and another overlay.
    Factory,
    /// The same, and something is kept.
    FactoryKeeping,
    /// To the baseline, and something is kept.
    ResetKeeping,
    Restore,
    Undo,
    /// What asks without a person: a new generation on the bare image, from one on a baseline.
    Bare,
    /// The same: back to a generation that is not the one before.
    Named,
    Seal,
    Commit,
}

/// What the tests keep: a name of each boot's own, and a directory with something immutable in it.
const KEEP: &[&str] = &["/etc/hostname", "/root"];

impl Ask {
    /// How far a reset on a snapshot goes, and what it keeps.
    fn reset(self) -> Option<(Level, &'static [&'static str])> {
        match self {
            Ask::ResetToBaseline => Some((Level::Baseline, &[])),
            Ask::ResetKeeping => Some((Level::Baseline, KEEP)),
            Ask::Factory => Some((Level::Factory, &[])),
            Ask::FactoryKeeping => Some((Level::Factory, KEEP)),
            _ => None,
        }
    }

    fn is_factory(self) -> bool {
        matches!(self, Ask::Factory | Ask::FactoryKeeping)
    }
}

/// A manifest in which what is kept, and the directories above it, are as in another.
fn with_kept(below: &str, old: &str) -> String {
    let paths = ["", "etc", "etc/hostname", "root", "root/.ssh", "root/.ssh/authorized_keys"];
    let is_kept = |line: &&str| {
        let path = line.rsplit(' ').next().unwrap();
        paths.contains(&path.trim_start_matches("./"))
    };
    let others = below.lines().filter(|line| !is_kept(line));
    let mut lines: Vec<&str> = others.chain(old.lines().filter(is_kept)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// A machine that is off, with a durable request.
struct Waiting {
    rig: Rig,
    base: String,
    /// The merged tree before.
    old: String,
    /// What it shall be.
    new: String,
}

fn waiting(ask: Ask, fstype: &str) -> Waiting {
    let rig = Rig::new(fstype, 400);
    let bare = manifest(&rig.sysroot);
    let base = rig.boot().overlay["root"].base.clone();
    live_in(&rig);
    let first = manifest(&rig.sysroot);
    rig.shutdown();
    if matches!(ask, Ask::Reset | Ask::Seal | Ask::Commit) {
        match ask {
            Ask::Reset => rig.request_reset(),
            _ => ask_seal(&rig, ask == Ask::Commit),
        }
        let new = if ask == Ask::Reset { bare } else { first.clone() };
        return Waiting { rig, base, old: first, new };
    }
    let id = rig.copy_to_snapshot();
    rig.boot();
    fs::write(rig.path("etc/hostname"), "broken\n").unwrap();
    let broken = manifest(&rig.sysroot);
    rig.shutdown();
    if let Some((level, keep)) = ask.reset() {
        rig.offline(|layout| {
            write::point_baseline(layout, "root", Some(id)).unwrap();
            let record = plan::execute::generation(1, &Base::default(), &observe::moment(), None, None);
            write::make_generation(layout, "data", &record).unwrap();
            write::point_current(layout, "data", 1).unwrap();
        });
        rig.request(level, keep);
        let below = if level == Level::Baseline { first } else { bare };
        let new = if keep.is_empty() { below } else { with_kept(&below, &broken) };
        return Waiting { rig, base, old: broken, new };
    }
    if ask == Ask::Bare {
        rig.offline(|layout| write::point_baseline(layout, "root", Some(id)).unwrap());
        ask_bare(&rig);
        return Waiting { rig, base, old: broken, new: bare };
    }
    ask_restore(&rig, id);
    if ask == Ask::Named {
        rig.boot();
        rig.shutdown();
        mark_good(&rig, 1);
        ask_restore(&rig, id);
        rig.boot();
        fs::write(rig.path("etc/hostname"), "restored\n").unwrap();
        let restored = manifest(&rig.sysroot);
        rig.shutdown();
        ask_named(&rig, 1);
        return Waiting { rig, base, old: restored, new: broken };
    }
    if ask == Ask::Undo {
        rig.boot();
        fs::write(rig.path("etc/hostname"), "restored\n").unwrap();
        let restored = manifest(&rig.sysroot);
        rig.shutdown();
        ask_undo(&rig);
        return Waiting { rig, base, old: restored, new: broken };
    }
    Waiting { rig, base, old: broken, new: first }
}

/// Records that a generation came up well: it is retained until another one does.
fn mark_good(rig: &Rig, number: u64) {
    let record =
        HealthRecord { version: 1, generation: number, good: Some(number), ..HealthRecord::default() };
    rig.offline(|layout| {
        let path = layout.health("root");
        fs::write(&path, records::render(&path, &record).unwrap()).unwrap();
    });
}

/// The store's steps of the request's execution, in the order in which a boot carries them out.
fn execution(layout: &Layout, base: &str) -> Vec<Step> {
    let view = read::load(layout).unwrap();
    let request = view.overlays["root"].request.clone().unwrap().unwrap();
    let base = Base { identity: base.to_owned(), ..Base::default() };
    let now = observe::moment();
    let config = overlayd::config::load(std::path::Path::new("/nonexistent"), "").config;
    let kept = keep::select::pending(layout, &view, "root", config.root()).unwrap();
    let scene = Scene {
        base: &base,
        now: &now,
        keeping: Keeping::of(config.root()),
        scarce: false,
        kept: kept.as_ref().map(Ok),
    };
    let execution = plan::execute::execution(&view, "root", &request, &scene).unwrap();
    [execution.before, execution.after].concat()
}

/// Cut after so many steps; then, if told, the request is taken back. Returns how many steps there are.
fn cut_after(prefix: usize, ask: Ask, fstype: &str, cancel: bool) -> usize {
    let what = format!("{ask:?} on {fstype}, cut after {prefix} steps, cancelled: {cancel}");
    let Waiting { rig, base, old, new } = waiting(ask, fstype);
    let total = rig.offline(|layout| {
        let steps = execution(layout, &base);
        exec::store::run(layout, &steps[..prefix]).unwrap();
        if cancel {
            // The last step took it already.
            assert!(operation::cancel(layout.root(), "root").is_ok() || prefix == steps.len());
        }
        steps.len()
    });
    let root = rig.boot().overlay["root"].clone();
    assert_eq!((root.mode, root.reason), (Mode::Persistent, None), "{what}");
    let now = manifest(&rig.sysroot);
    // Asked for durably, it is carried out by the very next boot, whatever was done before the cut.
    assert!(now == new || (cancel && now == old), "{what}: neither old nor new:\n{now}");
    fs::write(rig.path("etc/hostname"), "kept\n").unwrap();
    let next = rig.reboot();
    assert_eq!(next.overlay["root"].generation, root.generation, "it fired again: {what}");
    assert_eq!(next.overlay["root"].snapshot, root.snapshot, "{what}");
    assert_eq!(fs::read_to_string(rig.path("etc/hostname")).unwrap(), "kept\n");
    rig.shutdown();
    rig.offline(|layout| {
        let state = state(layout);
        assert!(state.request.is_none() && state.unfinished.is_empty(), "{what}");
        assert!(state.unfinished_snapshots.is_empty() && state.sealing.is_empty(), "{what}");
        assert!(state.snapshots.values().all(Result::is_ok), "{what}: {:?}", state.snapshots);
        assert!(state.generations.values().all(|g| g.record.is_ok()), "{what}");
        assert!(state.generations.len() <= 2, "garbage is left: {what}");
        if matches!(ask, Ask::Bare | Ask::Named) && !cancel {
            assert_eq!(state.generations.len(), 2, "what nobody gave up is gone: {what}");
            assert!(state.snapshots.contains_key(&1), "{what}");
        }
        if ask.is_factory() {
            let outcome = state.outcome.clone().unwrap().unwrap();
            assert_eq!(
                (outcome.result.as_str(), outcome.erasure.as_deref()),
                ("done", Some("erasing")),
                "{what}"
            );
            assert_eq!(outcome.kept_count, (ask == Ask::FactoryKeeping).then_some(4), "{what}");
            assert!(state.snapshots.is_empty() && state.generations.len() == 1, "{what}");
            let data = read::load(layout).unwrap().overlays["data"].clone();
            assert!(data.generations.is_empty() && data.current.unwrap().is_none(), "{what}");
        }
        if ask == Ask::Commit && !cancel {
            assert_eq!(state.baseline.unwrap(), Some(1), "{what}");
        }
    });
    total
}

fn every_prefix(ask: Ask, fstype: &str, cancel: bool) {
    let total = cut_after(0, ask, fstype, cancel);
    assert!(total >= 3, "only {total} steps");
    for prefix in 1..=total {
        cut_after(prefix, ask, fstype, cancel);
    }
}

#[test]
fn every_prefix_of_a_reset_is_old_or_new_and_converges() {
    every_prefix(Ask::Reset, "ext4", false);
}

#[test]
fn every_prefix_of_a_reset_to_the_baseline_is_old_or_new_and_converges() {
    every_prefix(Ask::ResetToBaseline, "ext4", false);
}

#[test]
fn every_prefix_of_a_factory_reset_is_old_or_new_and_converges() {
    every_prefix(Ask::Factory, "ext4", false);
}

#[test]
fn every_prefix_of_a_factory_reset_that_keeps_on_ext4_is_old_or_new_and_converges() {
    every_prefix(Ask::FactoryKeeping, "ext4", false);
}

#[test]
fn every_prefix_of_a_factory_reset_that_keeps_on_btrfs_is_old_or_new_and_converges() {
    every_prefix(Ask::FactoryKeeping, "btrfs", false);
}

#[test]
fn every_prefix_of_a_reset_that_keeps_is_old_or_new_and_converges() {
    every_prefix(Ask::ResetKeeping, "xfs", false);
}

#[test]
fn every_prefix_of_a_restore_is_old_or_new_and_converges() {
    every_prefix(Ask::Restore, "ext4", false);
    every_prefix(Ask::Restore, "ext4", true);
}

#[test]
fn every_prefix_of_an_undo_is_old_or_new_and_converges() {
    every_prefix(Ask::Undo, "ext4", false);
    every_prefix(Ask::Undo, "ext4", true);
}

#[test]
fn every_prefix_of_a_restore_of_the_bare_image_is_old_or_new_and_converges() {
    every_prefix(Ask::Bare, "ext4", false);
}

#[test]
fn every_prefix_of_going_back_to_a_named_generation_is_old_or_new_and_converges() {
    every_prefix(Ask::Named, "xfs", false);
}

#[test]
fn every_prefix_of_a_seal_on_ext4_is_old_or_new_and_converges() {
    every_prefix(Ask::Seal, "ext4", true);
    every_prefix(Ask::Commit, "ext4", false);
}

#[test]
fn every_prefix_of_a_seal_on_xfs_is_old_or_new_and_converges() {
    every_prefix(Ask::Seal, "xfs", false);
}

#[test]
fn every_prefix_of_a_seal_on_btrfs_is_old_or_new_and_converges() {
    every_prefix(Ask::Seal, "btrfs", true);
    every_prefix(Ask::Commit, "btrfs", false);
}

/// A kill at every system call that changes something, of the boot that executes a reset.
#[test]
fn a_kill_at_any_system_call_of_the_executing_boot_is_old_or_new() {
    let rig = Rig::new("ext4", 64);
    let bare = manifest(&rig.sysroot);
    rig.boot();
    let mut kills = 0;
    for call in
        ["renameat2,rename,renameat", "fsync", "unlinkat,unlink", "mkdir,mkdirat", "move_mount", "openat"]
    {
        for nth in [1, 2, 3, 5, 8, 13, 21, 34] {
            fs::write(rig.path("etc/hostname"), format!("{call} {nth}\n")).unwrap();
            rig.shutdown();
            rig.request_reset();
            kills += u32::from(kill_at(&rig, call, nth));
            rig.shutdown();
            let root = rig.boot().overlay["root"].clone();
            assert_eq!(root.reason, None, "killed at {call} {nth}");
            assert_eq!(manifest(&rig.sysroot), bare, "killed at {call} {nth}");
        }
    }
    assert!(kills >= 25, "only {kills} boots were killed");
}

/// Kills where a plan's steps differ from a reset's; `prepare` leaves the machine off with a request, and returns what
/// the merged tree shall be.
fn killed(fstype: &str, calls: &[&str], prepare: impl Fn(&Rig) -> String) {
    let rig = Rig::new(fstype, 400);
    rig.boot();
    let mut kills = 0;
    for call in calls {
        for nth in [1, 2, 3, 4, 5, 6, 8, 11] {
            fs::write(rig.path("etc/hostname"), format!("{call} {nth}\n")).unwrap();
            let wanted = prepare(&rig);
            kills += u32::from(kill_at(&rig, call, nth));
            rig.shutdown();
            let root = rig.boot().overlay["root"].clone();
            assert_eq!((root.mode, root.reason), (Mode::Persistent, None), "killed at {call} {nth}");
            assert_eq!(manifest(&rig.sysroot), wanted, "killed at {call} {nth}");
        }
    }
    assert!(kills >= 8, "only {kills} boots were killed");
}

const RENAMES: &str = "renameat2,rename,renameat";

/// A new generation that stands on no snapshot, with something in it.
fn on_the_bare_image(rig: &Rig) {
    rig.shutdown();
    rig.offline(|layout| write::point_baseline(layout, "root", None).unwrap());
    rig.request_reset();
    rig.boot();
    fs::write(rig.path("etc/kept"), "x").unwrap();
}

#[test]
fn a_kill_of_the_boot_that_restores_is_old_or_new() {
    killed("ext4", &[RENAMES, "fsync"], |rig| {
        on_the_bare_image(rig);
        let kept = manifest(&rig.sysroot);
        rig.shutdown();
        let id = rig.copy_to_snapshot();
        rig.boot();
        fs::remove_file(rig.path("etc/kept")).unwrap();
        rig.shutdown();
        ask_restore(rig, id);
        kept
    });
}

#[test]
fn a_kill_of_the_boot_that_undoes_is_old_or_new() {
    killed("ext4", &[RENAMES, "fsync"], |rig| {
        let before = manifest(&rig.sysroot);
        rig.shutdown();
        rig.request_reset();
        rig.boot();
        fs::write(rig.path("etc/more"), "x").unwrap();
        rig.shutdown();
        ask_undo(rig);
        before
    });
}

/// A factory reset that keeps what the last boot left.
fn killed_while_keeping(fstype: &str, calls: &[&str]) {
    killed(fstype, calls, |rig| {
        let bare = manifest(std::path::Path::new("/run/overlayd/root/base"));
        fs::create_dir_all(rig.path("root/.ssh")).unwrap();
        fs::write(rig.path("root/.ssh/authorized_keys"), vec![b'k'; 300_000]).unwrap();
        fs::write(rig.path("etc/lost"), "x").unwrap();
        let old = manifest(&rig.sysroot);
        rig.shutdown();
        rig.request(Level::Factory, KEEP);
        with_kept(&bare, &old)
    });
}

#[test]
fn a_kill_of_the_boot_that_keeps_is_old_or_new() {
    killed_while_keeping(
        "ext4",
        &[RENAMES, "fsync", "mkdirat", "openat2", "copy_file_range,pwrite64", "utimensat"],
    );
}

fn killed_while_sealing(fstype: &str, calls: &[&str]) {
    killed(fstype, calls, |rig| {
        on_the_bare_image(rig);
        let kept = manifest(&rig.sysroot);
        rig.shutdown();
        ask_seal(rig, true);
        kept
    });
}

#[test]
fn a_kill_of_the_boot_that_seals_on_ext4_is_old_or_new() {
    killed_while_sealing("ext4", &[RENAMES, "fsync", "mkdir,mkdirat"]);
}

#[test]
fn a_kill_of_the_boot_that_seals_on_xfs_is_old_or_new() {
    killed_while_sealing("xfs", &[RENAMES]);
}

#[test]
fn a_kill_of_the_boot_that_seals_on_btrfs_is_old_or_new() {
    killed_while_sealing("btrfs", &[RENAMES, "ioctl"]);
}

/// Boots under strace, which kills it at the `nth` call of this kind; false if it ended before that.
pub(crate) fn kill_at(rig: &Rig, call: &str, nth: u32) -> bool {
    let early = rig.early();
    let output = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(early.get_program())
        .args(early.get_args())
        .output()
        .expect("strace is needed");
    !output.status.success()
}
