//! The request and the execution of a reset, and of a restore, with few and with many entries in the upper: the cost is to be the same.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use overlayd::config::Mode;
use overlayd::operation::snapshot::{self, Wanted};
use overlayd::operation::{self, Asked, Site, restore};
use overlayd::store::Layout;

use crate::boot::{configuration, expect};
use crate::figures::{Contender, Report, Samples, interleaved};
use crate::initramfs::TOOL;
use crate::machine::{Machine, ROOT, STATE, early, timed};
use crate::system::{Loop, attach, ext4, fill, s, unmount, unmount_all};
use crate::world::{World, text};

const SMALL: u64 = 100;
/// Entries of the large upper, if nothing else is asked for.
pub(crate) const LARGE: u64 = 200_000;
/// Room for so many entries of the large upper, twice: there is a snapshot of it.
const ENTRIES_A_MIB: u64 = 256;
const INODES_AN_ENTRY: f64 = 2.25;
const ROUNDS: usize = 15;
/// Deleting is slow; it is here for comparison only.
const RM_ROUNDS: usize = 5;
/// How far apart the two sizes may be: noise. Whoever walks the upper is hundreds away.
const NEAR_ONE: f64 = 2.0;
const BY_STORE: &str = "request by overlayctl --store";
const BY_BUS: &str = "request by overlayctl through the daemon";
const EXECUTE: &str = "boot that executes it";
const RESTORE: &str = "request of a restore by overlayctl --store";
const EXECUTE_RESTORE: &str = "boot that executes a restore";
const ORDINARY: &str = "boot without a request";
const REMOVE: &str = "rm -rf of the upper, for comparison";

/// A state filesystem whose live upper has this many entries.
pub(crate) struct Upper {
    entries: u64,
    label: String,
    pub(crate) state: Loop,
}

/// One for each size, still without a store.
pub(crate) fn uppers(dir: &Path, large: u64) -> Vec<Upper> {
    let inodes = (large as f64 * INODES_AN_ENTRY) as u64;
    let make = |entries: u64| {
        let (image, label) = (dir.join(format!("upper-{entries}.img")), format!("b{entries}"));
        ext4(&image, (large / ENTRIES_A_MIB).max(64), inodes, &label);
        Upper { entries, label, state: Loop::attach(&image) }
    };
    [SMALL, large].map(make).into()
}

/// Inside the machine: requests without a daemon, and boots with and without one pending.
pub(crate) fn measure(report: &mut Report, machine: &Machine, uppers: &[Upper]) {
    for upper in uppers {
        boot(machine, upper, None, false);
        machine.offline(&upper.state, |_| {
            fill(&live(&layout()), upper.entries as usize);
            snapshot();
        });
    }
    let by_store: Vec<Contender<'_>> =
        uppers.iter().map(|u| contender(u, BY_STORE, || request(machine, u, &["reset"]))).collect();
    let restore = uppers.iter().map(|u| contender(u, RESTORE, || request(machine, u, &["restore", "1"])));
    let execute_reset = uppers.iter().map(|u| contender(u, EXECUTE, || execute(machine, u, Back::Reset)));
    let execute_restore =
        uppers.iter().map(|u| contender(u, EXECUTE_RESTORE, || execute(machine, u, Back::Restore)));
    let ordinary = uppers.iter().map(|u| contender(u, ORDINARY, || boot(machine, u, None, true)));
    let mut all: Vec<Contender<'_>> = by_store
        .into_iter()
        .chain(restore)
        .chain(execute_reset)
        .chain(execute_restore)
        .chain(ordinary)
        .collect();
    let measured = interleaved(ROUNDS, &mut all);
    tell(report, &measured, &[BY_STORE, EXECUTE, RESTORE, EXECUTE_RESTORE]);
    tell_kind(report, &measured, ORDINARY);
}

/// Outside: requests through a daemon on a private bus.
pub(crate) fn measure_bus(report: &mut Report, uppers: &[Upper]) {
    let mut worlds: Vec<World> = uppers.iter().map(world_of).collect();
    let mut contenders: Vec<Contender<'_>> =
        uppers.iter().zip(&worlds).map(|(u, world)| contender(u, BY_BUS, || request_by_bus(world))).collect();
    let measured = interleaved(ROUNDS, &mut contenders);
    drop(contenders);
    tell(report, &measured, &[BY_BUS]);
    for world in &mut worlds {
        if let Some(mut daemon) = world.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
        unmount_all(&[s(&world.dir)]);
    }
}

/// Outside: what `rm -rf` of the same upper takes. It consumes what the other measurements need.
pub(crate) fn measure_rm(report: &mut Report, uppers: &[Upper], at: &Path) {
    fs::create_dir_all(at).unwrap();
    let mut contenders: Vec<Contender<'_>> =
        uppers.iter().map(|u| contender(u, REMOVE, || remove(&u.state, u.entries, at))).collect();
    let measured = interleaved(RM_ROUNDS, &mut contenders);
    tell_kind(report, &measured, REMOVE);
}

fn contender<'a>(upper: &Upper, what: &str, run: impl FnMut() -> Duration + 'a) -> Contender<'a> {
    (format!("{what}, {} entries", upper.entries), Box::new(run))
}

/// A table for each kind, the large upper against the small one.
fn tell(report: &mut Report, measured: &[(String, Samples)], kinds: &[&str]) {
    for kind in kinds {
        let ratio = tell_kind(report, measured, kind);
        report.add_limited(&format!("Reset: {kind}"), "large to small", "×", ratio, NEAR_ONE);
    }
}

fn tell_kind(report: &mut Report, measured: &[(String, Samples)], kind: &str) -> f64 {
    let sizes = measured.iter().filter_map(|(name, samples)| {
        Some((name.strip_prefix(kind)?.strip_prefix(", ")?.to_owned(), samples.clone()))
    });
    let sizes: Vec<(String, Samples)> = sizes.collect();
    let (small, ratio) = (sizes[0].0.clone(), sizes[1].1.median() / sizes[0].1.median());
    report.compare(&format!("Reset: {kind}"), "ms", sizes, &small);
    ratio
}

fn boot(machine: &Machine, upper: &Upper, back: Option<Back>, filled: bool) -> Duration {
    machine.configure(&configuration(&format!("LABEL={}", upper.label), ""));
    machine.boot(&mut early(), || {
        let told = expect(Mode::Persistent);
        assert_eq!(told.overlay["root"].executed.is_some(), back.is_some(), "{told:?}");
        assert_eq!(Path::new(ROOT).join("d000").exists(), filled, "the wrong files");
    })
}

fn request(machine: &Machine, upper: &Upper, what: &[&str]) -> Duration {
    machine.offline(&upper.state, |_| {
        let layout = layout();
        let took = timed(Command::new(TOOL).args(["--store", s(layout.root())]).args(what).arg("--yes"));
        operation::cancel(layout.root(), "root").unwrap();
        took
    })
}

/// Where the boot goes back to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    Reset,
    Restore,
}

/// Requests, boots, and puts the large upper back for the next round.
fn execute(machine: &Machine, upper: &Upper, back: Back) -> Duration {
    let old = machine.offline(&upper.state, |_| {
        let (site, asked) = (Site::offline(layout().root()), Asked { by: "a bench".into(), via: None });
        match back {
            Back::Reset => operation::request_reset(&site, "root", &Default::default(), &asked),
            Back::Restore => restore::request(&site, "root", 1, &asked),
        }
        .unwrap();
        current(&layout())
    });
    let took = boot(machine, upper, Some(back), back == Back::Restore);
    machine.offline(&upper.state, |_| {
        let layout = layout();
        let new = current(&layout);
        assert_ne!(new, old, "the request was not executed");
        fs::write(layout.current("root"), format!("{old}\n")).unwrap();
        fs::remove_file(layout.outcome("root")).unwrap();
        fs::remove_dir_all(layout.generation("root", new)).unwrap();
    });
    took
}

/// Of all that is live.
fn snapshot() {
    let asked = Asked { by: "a bench".into(), via: None };
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    snapshot::create(&Site::offline(layout().root()), "root", &Wanted::default(), &asked, &mut go_on)
        .unwrap();
}

/// A daemon whose store is this one.
fn world_of(upper: &Upper) -> World {
    let mut world = World::new();
    let state = world.dir.join("state");
    fs::create_dir(&state).unwrap();
    attach(s(&upper.state.node), &state, "ext4", MsFlags::MS_NOATIME);
    attach(s(&state.join("overlayd")), &world.store(), "none", MsFlags::MS_BIND);
    world.start_daemon(&["--idle-timeout", "0"]);
    world
}

fn request_by_bus(world: &World) -> Duration {
    let start = Instant::now();
    let asked = world.tool(&["reset", "--yes"]);
    let took = start.elapsed();
    assert!(asked.status.success() && world.request().exists(), "{}", text(&asked));
    assert!(world.tool(&["cancel"]).status.success());
    took
}

fn remove(state: &Loop, entries: u64, at: &Path) -> Duration {
    let with_state = |work: &mut dyn FnMut()| {
        attach(s(&state.node), at, "ext4", MsFlags::MS_NOATIME);
        work();
        unmount(at);
    };
    let victim = at.join("victim");
    with_state(&mut || {
        // The store has served its purpose, and its entries would leave no room.
        let _ = fs::remove_dir_all(at.join("overlayd"));
        fill(&victim, entries as usize);
    });
    // Mounted anew, as at a boot: the names are not in memory.
    let mut took = Duration::ZERO;
    with_state(&mut || took = timed(Command::new("rm").arg("-rf").arg(&victim)));
    took
}

fn layout() -> Layout {
    Layout::new(Path::new(STATE).join("overlayd"))
}

/// The live upper.
fn live(layout: &Layout) -> std::path::PathBuf {
    layout.upper("root", current(layout))
}

fn current(layout: &Layout) -> u64 {
    fs::read_to_string(layout.current("root")).unwrap().trim().parse().unwrap()
}
