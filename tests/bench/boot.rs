//! Early boot's own work: against a bare mount, and against overlayroot.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use overlayd::config::Mode;
use overlayd::handoff::{self, Handoff};

use crate::figures::{Contender, ROUNDS, Report, Samples, interleaved};
use crate::machine::{Machine, bare, early, overlayroot, plain, timed};
use crate::system::{Loop, s};
use crate::trace;

const FLOOR: &str = "bare mount";
const OURS: &str = "overlayd-early";
const NO_FSCK: &str = "overlayd-early, fsck = never";
const BY_PATH: &str = "overlayd-early, fsck = never, device by path";
const VOLATILE: &str = "overlayd-early, volatile";
const FSCK: &str = "e2fsck -p alone";
const THEIRS: &str = "overlayroot, device";
const THEIRS_VOLATILE: &str = "overlayroot, tmpfs";

/// A state device, and where it lies.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: &'a Loop,
    pub(crate) label: &'a str,
}

/// Persistent boots with the state in this place.
pub(crate) fn measure(report: &mut Report, machine: &Machine, place: &Place<'_>) {
    let measured = interleaved(ROUNDS, &mut persistent(machine, place));
    let only = |names: &[&str]| -> Vec<(String, Samples)> {
        measured.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect()
    };
    let on = place.name;
    let floor = only(&[FLOOR, OURS, NO_FSCK, BY_PATH, FSCK]);
    report.compare(&format!("Early boot against a bare mount, state {on}"), "ms", floor, FLOOR);
    let theirs = only(&[THEIRS, OURS, NO_FSCK]);
    report.compare(&format!("Early boot against overlayroot, state {on}"), "ms", theirs, THEIRS);
}

/// Boots with an upper in RAM.
pub(crate) fn measure_volatile(report: &mut Report, machine: &Machine) {
    let ours = || {
        machine.configure("[overlay.root]\nmode = \"volatile\"\n");
        machine.boot(&mut early(), || drop(expect(Mode::Volatile)))
    };
    let mut contenders: Vec<Contender<'_>> = vec![
        (THEIRS_VOLATILE.into(), Box::new(|| overlayroot_boot(machine, "tmpfs"))),
        (VOLATILE.into(), Box::new(ours)),
    ];
    let measured = interleaved(ROUNDS, &mut contenders);
    report.compare("A volatile boot against overlayroot", "ms", measured, THEIRS_VOLATILE);
}

/// What each does, in system calls.
pub(crate) fn count(report: &mut Report, machine: &Machine, place: &Place<'_>) {
    let runs: [(&str, String); 2] =
        [(OURS, configuration(&by_label(place), "")), (NO_FSCK, configuration(&by_label(place), NEVER))];
    let mut count = |name: &str, command: &Command| {
        let counted = trace::count(machine, command);
        for (what, number) in
            [("all", counted.all), ("fsync, syncfs", counted.syncs), ("programs started", counted.programs)]
        {
            report.add("System calls", &format!("{name}: {what}"), "calls", Samples::one(number.into()));
        }
    };
    count(FLOOR, &bare(place.state));
    machine.configure_overlayroot(&device_word(place));
    count(THEIRS, &overlayroot());
    for (name, configuration) in &runs {
        machine.configure(configuration);
        count(name, &early());
    }
}

/// Where the milliseconds of early boot go.
pub(crate) fn explain(report: &mut Report, machine: &Machine, place: &Place<'_>) {
    let section = format!("Where overlayd-early's time goes, state {}", place.name);
    machine.configure(&configuration(&by_label(place), ""));
    for (phase, samples) in trace::phases(machine, &early) {
        report.add(&section, phase, "ms", samples);
    }
}

const NEVER: &str = "fsck = \"never\"\n";

fn persistent<'a>(machine: &'a Machine, place: &'a Place<'_>) -> Vec<Contender<'a>> {
    let node = s(&place.state.node);
    let ours = |device: String, more: &'static str| move || persistent_boot(machine, &device, more);
    let fsck = move || timed(plain("/usr/sbin/e2fsck").args(["-p", node]));
    vec![
        (FLOOR.into(), Box::new(|| machine.boot(&mut bare(place.state), || {}))),
        (FSCK.into(), Box::new(fsck)),
        (OURS.into(), Box::new(ours(by_label(place), ""))),
        (NO_FSCK.into(), Box::new(ours(by_label(place), NEVER))),
        (BY_PATH.into(), Box::new(ours(node.to_owned(), NEVER))),
        (THEIRS.into(), Box::new(|| overlayroot_boot(machine, &device_word(place)))),
    ]
}

fn persistent_boot(machine: &Machine, device: &str, more: &str) -> Duration {
    machine.configure(&configuration(device, more));
    machine.boot(&mut early(), || drop(expect(Mode::Persistent)))
}

fn overlayroot_boot(machine: &Machine, word: &str) -> Duration {
    machine.configure_overlayroot(word);
    machine.boot(&mut overlayroot(), || {
        assert!(Path::new("/root/media/root-ro/etc/fstab").exists(), "overlayroot did its whole work");
    })
}

fn device_word(place: &Place<'_>) -> String {
    format!("device:dev={}", s(&place.state.node))
}

fn by_label(place: &Place<'_>) -> String {
    format!("LABEL={}", place.label)
}

/// overlayd's configuration for a state device.
pub(crate) fn configuration(device: &str, more: &str) -> String {
    // Each boot is counted, as everywhere, and nobody marks it good.
    format!("[state]\ndevice = \"{device}\"\n{more}\n[overlay.root.health]\ntries = 1000000\n")
}

/// Fast, but degraded, would be no result.
pub(crate) fn expect(mode: Mode) -> Handoff {
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().expect("boot.toml is missing");
    let root = &told.overlay["root"];
    assert!(root.mode == mode && root.reason.is_none() && told.problems.is_empty(), "{told:?}");
    told
}
