//! Power cuts in the boot that executes a reset or a restore. Whatever the moment, the next boot ends in the complete new
//! state (the request is durable before anything is destroyed), and the request does not fire again.

use crate::chance::Chance;
use crate::checks::{Marks, VERDICT, Verdict, assert_marks, make_marks};
use crate::harness::{Disk, Initramfs, Machine, RootFs, StateFs, Suite};
use std::time::{Duration, Instant};

/// The last words before the executor, in initramfs-tools.
pub(crate) const EXECUTOR_STARTS: &str = "Running /scripts/init-bottom";

/// What is asked for; all lead to a root without the marks.
const RESET: &str = "overlayctl reset --yes --keep '/var/kept/**'";
const FACTORY: &str = "overlayctl reset --factory --yes --keep '/var/kept/**'";
/// Of a snapshot made before the marks.
const RESTORE: &str = "overlayctl restore 1 --yes";

#[test]
fn power_cuts_while_a_reset_is_executed_on_ext4() {
    cut(StateFs::Ext4, RESET, cuts(2, 10));
}

#[test]
fn power_cuts_while_a_factory_reset_is_executed_on_ext4() {
    cut(StateFs::Ext4, FACTORY, cuts(2, 10));
}

#[cfg(feature = "test-full")]
#[test]
fn power_cuts_while_a_factory_reset_is_executed_on_xfs() {
    cut(StateFs::Xfs, FACTORY, 10);
}

#[cfg(feature = "test-full")]
#[test]
fn power_cuts_while_a_factory_reset_is_executed_on_btrfs() {
    cut(StateFs::Btrfs, FACTORY, 10);
}

#[test]
fn power_cuts_while_a_restore_is_executed_on_ext4() {
    cut(StateFs::Ext4, RESTORE, cuts(1, 5));
}

#[cfg(feature = "test-full")]
#[test]
fn power_cuts_while_a_reset_is_executed_on_xfs() {
    cut(StateFs::Xfs, RESET, 10);
}

#[cfg(feature = "test-full")]
#[test]
fn power_cuts_while_a_reset_is_executed_on_btrfs() {
    cut(StateFs::Btrfs, RESET, 10);
}

/// How often: every cut costs two boots, and tests/mounts and tests/crash cut in many more places.
pub(crate) fn cuts(sample: u32, all: u32) -> u32 {
    if cfg!(feature = "test-full") { all } else { sample }
}

fn cut(state: StateFs, request: &str, times: u32) {
    let words: Vec<&str> = request.split(' ').skip(1).take(2).map(|word| word.trim_matches('-')).collect();
    let name = format!("power-{}-{}", state.word(), words.join("-"));
    let mut machine = Machine::new(&name, Suite::Trixie, Initramfs::InitramfsTools, RootFs::Squashfs, state);
    let old = arm(&mut machine, request);
    let armed = machine.disk.copy(machine.dir().join("armed.img"));
    let window = time_execution(&mut machine);
    assert_settled(&machine, request, old, "undisturbed");
    cut_at_random(&mut machine, &armed, window, times, &|machine, verdict, what| {
        assert_new(verdict, old, what);
        assert_settled(machine, request, old, what);
    });
}

/// Boots `armed` so many times, cuts the power somewhere in the `window` of the executor, and has the next boot judged.
pub(crate) fn cut_at_random(
    machine: &mut Machine,
    armed: &Disk,
    window: Duration,
    times: u32,
    judge: &dyn Fn(&Machine, &Verdict, &str),
) {
    let mut chance = Chance::new(&machine.dir().to_string_lossy());
    for number in 1..=times {
        machine.disk = armed.copy(machine.dir().join("state.img"));
        let delay = chance.below(window);
        let mut guest = machine.boot(VERDICT);
        guest.wait_for_console(EXECUTOR_STARTS);
        std::thread::sleep(delay);
        guest.cut_power();
        let verdict = Verdict::of(machine, &[]);
        let seed = chance.seed;
        let what = format!("cut {number} of {times}, seed {seed}, {delay:?} into {window:?}: {verdict:#?}");
        judge(machine, &verdict, &what);
    }
}

/// A machine with changes in its root and a request to leave them, off. Gives back the generation.
fn arm(machine: &mut Machine, request: &str) -> i64 {
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    // A restore stands on it, a factory reset gives it up.
    match request {
        RESTORE => drop(guest.succeed("overlayctl snapshot create")),
        FACTORY => drop(guest.succeed("echo base >/var/base && overlayctl commit")),
        _ => {}
    }
    // What is kept lies beside what goes.
    guest.succeed("mkdir -p /var/kept/deep && echo kept >/var/kept/deep/file && echo gone >/var/gone");
    make_marks(&mut guest);
    assert_marks(&mut guest, Marks::All);
    guest.succeed(request);
    guest.poweroff();
    current(machine)
}

/// How long the executor needs when nobody disturbs it.
pub(crate) fn time_execution(machine: &mut Machine) -> Duration {
    let mut guest = machine.boot(VERDICT);
    guest.wait_for_console(EXECUTOR_STARTS);
    let start = Instant::now();
    guest.wait_for_console("verdict: begin");
    let window = start.elapsed();
    guest.wait_off();
    window
}

fn assert_new(verdict: &Verdict, old: i64, what: &str) {
    assert_eq!(verdict.mode(), "persistent", "{what}");
    assert_eq!(verdict.marks(), "none", "{what}");
    assert_eq!(verdict.generation(), old + 1, "{what}");
}

/// On disk: one pointer, at the new generation, what is kept in it and nothing else, and no request left that could fire
/// again; after a factory reset no other generation and no snapshot.
fn assert_settled(machine: &Machine, request: &str, old: i64, what: &str) {
    assert_eq!(current(machine), old + 1, "{what}");
    let left = machine.disk.inside("ls overlayd/overlays/root | grep -x request.toml || true");
    assert_eq!(left, "", "a request is left: {what}");
    let upper = format!("overlayd/overlays/root/generations/{}/fs", old + 1);
    let files = machine.disk.inside(&format!("cd {upper} && find . -type f"));
    let kept = if request == RESTORE { "" } else { "./var/kept/deep/file" };
    assert_eq!(files.trim(), kept, "{what}");
    if request == FACTORY {
        let others = machine
            .disk
            .inside("cd overlayd/overlays/root && ls generations snapshots; cat baseline 2>&1 || true");
        let expected = format!("generations:\n{}\n\nsnapshots:\n", old + 1);
        assert!(others.starts_with(&expected) && others.contains("No such file"), "{others:?}: {what}");
    }
}

fn current(machine: &Machine) -> i64 {
    let text = machine.disk.inside("cat overlayd/overlays/root/current");
    text.trim().parse().unwrap_or_else(|_| panic!("current is no number: {text:?}"))
}
