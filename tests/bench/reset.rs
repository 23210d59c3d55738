//! The request and the execution of a reset, with few and with many entries in the upper: the cost is to be the same.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use overlayd::config::Mode;
use overlayd::operation::{self, Asked, Site};
use overlayd::store::{Layout, read};

use crate::boot::{configuration, expect};
use crate::figures::{Contender, Report, Samples, interleaved};
use crate::initramfs::TOOL;
use crate::machine::{Machine, ROOT, STATE, early, timed};
use crate::system::{Loop, attach, ext4, fill, s, unmount, unmount_all};
use crate::world::{World, text};

const SIZES: [usize; 2] = [100, 200_000];
const STATE_MIB: u64 = 768;
const INODES: u64 = 220_000;
const ROUNDS: usize = 15;
/// Deleting is slow; it is here for comparison only.
const RM_ROUNDS: usize = 5;
/// How far apart the two sizes may be: noise. Whoever walks the upper is hundreds away.
const NEAR_ONE: f64 = 2.0;
const BY_STORE: &str = "request by overlayctl --store";
const BY_BUS: &str = "request by overlayctl through the daemon";
const EXECUTE: &str = "boot that executes it";
const ORDINARY: &str = "boot without a request";
const REMOVE: &str = "rm -rf of the upper, for comparison";

/// A state filesystem whose live upper has this many entries.
pub(crate) struct Upper {
    entries: usize,
    label: String,
    pub(crate) state: Loop,
}

/// One for each size, still without a store.
pub(crate) fn uppers(dir: &Path) -> Vec<Upper> {
    let make = |entries: usize| {
        let (image, label) = (dir.join(format!("upper-{entries}.img")), format!("b{entries}"));
        ext4(&image, STATE_MIB, INODES, &label);
        Upper { entries, label, state: Loop::attach(&image) }
    };
    SIZES.map(make).into()
}

/// Inside the machine: requests without a daemon, and boots with and without one pending.
pub(crate) fn measure(report: &mut Report, machine: &Machine, uppers: &[Upper]) {
    for upper in uppers {
        boot(machine, upper, false);
        machine.offline(&upper.state, |_| fill(&live(&layout()), upper.entries));
    }
    let by_store: Vec<Contender<'_>> =
        uppers.iter().map(|u| contender(u, BY_STORE, || request(machine, u))).collect();
    let execute = uppers.iter().map(|u| contender(u, EXECUTE, || execute(machine, u)));
    let ordinary = uppers.iter().map(|u| contender(u, ORDINARY, || boot(machine, u, false)));
    let mut all: Vec<Contender<'_>> = by_store.into_iter().chain(execute).chain(ordinary).collect();
    let measured = interleaved(ROUNDS, &mut all);
    tell(report, &measured, &[BY_STORE, EXECUTE]);
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

fn boot(machine: &Machine, upper: &Upper, executes: bool) -> Duration {
    machine.configure(&configuration(&format!("LABEL={}", upper.label), ""));
    machine.boot(&mut early(), || {
        let told = expect(Mode::Persistent);
        assert_eq!(told.overlay["root"].executed.is_some(), executes, "{told:?}");
        assert!(!executes || !Path::new(ROOT).join("d000").exists(), "the reset left files");
    })
}

fn request(machine: &Machine, upper: &Upper) -> Duration {
    machine.offline(&upper.state, |_| {
        let layout = layout();
        let took = timed(Command::new(TOOL).args(["--store", s(layout.root()), "reset", "--yes"]));
        operation::cancel(layout.root(), "root").unwrap();
        took
    })
}

/// Requests, boots, and puts the large upper back for the next round.
fn execute(machine: &Machine, upper: &Upper) -> Duration {
    machine.offline(&upper.state, |_| {
        operation::request_reset(&Site::offline(layout().root()), "root", &Asked { by: "a bench".into() })
            .unwrap();
    });
    let took = boot(machine, upper, true);
    machine.offline(&upper.state, |_| {
        let layout = layout();
        let trash = layout.trash("root");
        let old = trash.join(&read::trash_entries(&layout, "root").unwrap()[0]);
        fs::remove_dir(live(&layout)).unwrap();
        fs::rename(old.join("fs"), live(&layout)).unwrap();
        fs::remove_dir_all(old).unwrap();
    });
    took
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

fn remove(state: &Loop, entries: usize, at: &Path) -> Duration {
    let with_state = |work: &mut dyn FnMut()| {
        attach(s(&state.node), at, "ext4", MsFlags::MS_NOATIME);
        work();
        unmount(at);
    };
    let victim = at.join("victim");
    with_state(&mut || {
        // The store has served its purpose, and its entries would leave no room.
        let _ = fs::remove_dir_all(at.join("overlayd"));
        fill(&victim, entries);
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
    let current = fs::read_to_string(layout.current("root")).unwrap();
    layout.upper("root", current.trim().parse().unwrap())
}
