//! What a program does, by strace(1): how many system calls, and when its phases begin.

use std::fs;
use std::process::Command;

use crate::figures::{ROUNDS, Samples};
use crate::initramfs::STRACE;
use crate::machine::Machine;

const LOG: &str = "/tmp/trace";

/// Counts of one run, with all its children.
pub(crate) struct Counted {
    pub(crate) all: u32,
    pub(crate) syncs: u32,
    pub(crate) programs: u32,
}

/// A phase begins with the first line that holds this, after the phase before it.
struct Phase {
    name: &'static str,
    begins: &'static str,
}

/// Of a persistent boot. Only these calls are traced, so that the rest runs at its own speed.
const CALLS: &str = "execve,mkdir,mkdirat,clone,clone3,vfork,fsopen,fsconfig,move_mount,exit_group";
const PHASES: [Phase; 9] = [
    Phase { name: "start, configuration, the base", begins: "execve(" },
    Phase { name: "find the state device by its label", begins: "\"/run/overlayd\"" },
    Phase { name: "check its filesystem, e2fsck -p", begins: "CLONE_VFORK" },
    Phase { name: "mount it", begins: "fsopen(\"ext4\"" },
    Phase { name: "read the store, lock it, plan", begins: "move_mount(" },
    Phase { name: "show the base", begins: "\"/run/overlayd/root/base\"" },
    Phase {
        name: "try copy-up and whiteout on a throw-away overlay",
        begins: "\"/run/overlayd/root/probe\"",
    },
    Phase { name: "mount the overlay, try a write on it", begins: "\"overlayd:root\"" },
    Phase { name: "show the store, the shutdown step, the handoff", begins: "\"/root\"" },
];
const END: &str = "exit_group(";

/// Counts system calls.
pub(crate) fn count(machine: &Machine, command: &Command) -> Counted {
    let log = run(machine, &["-f"], command);
    let calls: Vec<&str> = log.lines().filter_map(name).collect();
    let of = |wanted: &[&str]| u32::try_from(calls.iter().filter(|n| wanted.contains(n)).count()).unwrap();
    Counted {
        all: u32::try_from(calls.len()).unwrap(),
        syncs: of(&["fsync", "fdatasync", "sync", "syncfs"]),
        programs: of(&["execve"]),
    }
}

/// How long each phase takes, in milliseconds. A phase whose mark is not met counts to the one before it.
pub(crate) fn phases(machine: &Machine, command: &dyn Fn() -> Command) -> Vec<(&'static str, Samples)> {
    let mut values = vec![Vec::new(); PHASES.len()];
    for _ in 0..ROUNDS {
        let filter = format!("trace={CALLS}");
        let log = run(machine, &["-f", "--seccomp-bpf", "-ttt", "-e", &filter], &command());
        for (all, value) in values.iter_mut().zip(durations(&log)) {
            all.push(value);
        }
    }
    PHASES.iter().zip(values).map(|(phase, all)| (phase.name, Samples::new(all))).collect()
}

fn durations(log: &str) -> Vec<f64> {
    let mut begun: Vec<Option<f64>> = vec![None; PHASES.len()];
    let (mut next, mut end) = (0, 0.0);
    for line in log.lines() {
        if let Some(found) = (next..PHASES.len()).find(|&i| line.contains(PHASES[i].begins)) {
            begun[found] = Some(time(line));
            next = found + 1;
        }
        if line.contains(END) {
            end = time(line);
        }
    }
    let after = |i: usize| begun[i + 1..].iter().flatten().next().copied().unwrap_or(end);
    begun.iter().enumerate().map(|(i, at)| at.map_or(0.0, |at| (after(i) - at) * 1000.0)).collect()
}

/// `123 1700000000.123456 openat(…`: seconds.
fn time(line: &str) -> f64 {
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn run(machine: &Machine, options: &[&str], command: &Command) -> String {
    let mut strace = Command::new(STRACE);
    strace.args(options).args(["-s", "200", "-o", LOG]).arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    machine.boot(&mut strace, || {});
    fs::read_to_string(LOG).unwrap()
}

/// `123 openat(…` → `openat`; nothing for the second half of an interrupted line, a signal or an exit.
fn name(line: &str) -> Option<&str> {
    let call = line.split_once(' ')?.1.trim_start();
    let name = call.split_once('(')?.0;
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(name)
}
