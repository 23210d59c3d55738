//! Kills: `overlayctl --store` dies at its N-th system call of a kind, for every kind that changes something and every N.
//! (A kill at a call that changes nothing leaves what a kill at the next one that does leaves.)

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use overlayd::operation;
use overlayd::store::Layout;
use std::ops::ControlFlow;

use crate::chance::{Chance, seed};
use crate::judge::{Evidence, leftovers, picture, whole};
use crate::machine::{Fs, Machine, clone};
use crate::scenarios::{
    After, Again, Half, changed, commit_again, create_again, delete_again, not_yet_the_baseline,
    with_snapshot,
};
use crate::system::{Loop, s, text};

/// What changes files, names or what is known of them.
const CALLS: [&str; 24] = [
    "openat",
    "openat2",
    "mkdirat",
    "mkdir",
    "mknodat",
    "symlinkat",
    "linkat",
    "unlinkat",
    "unlink",
    "rename",
    "renameat2",
    "write",
    "pwrite64",
    "copy_file_range",
    "ioctl",
    "fallocate",
    "ftruncate",
    "fsetxattr",
    "lsetxattr",
    "fchownat",
    "fchmodat",
    "utimensat",
    "fsync",
    "syncfs",
];
/// Kills of each kind of call in `make test`, at most.
const SAMPLE: usize = 2;

/// One command that dies.
struct Victim {
    arguments: &'static [&'static str],
    prepare: fn(&Machine),
    again: Again,
    half: Half,
}

const CREATE: Victim = Victim {
    arguments: &["snapshot", "create", "-m", "killed"],
    prepare: changed,
    again: create_again,
    half: |_, _| None,
};
const SECOND: Victim = Victim { prepare: with_snapshot, ..CREATE };
const COMMIT: Victim = Victim {
    arguments: &["commit", "-m", "killed"],
    prepare: with_snapshot,
    again: commit_again,
    half: not_yet_the_baseline,
};
const DELETE: Victim = Victim {
    arguments: &["snapshot", "delete", "1", "--yes"],
    prepare: with_snapshot,
    again: delete_again,
    half: |_, _| None,
};

#[test]
fn kills_on_ext4() {
    [CREATE, SECOND, COMMIT, DELETE].iter().for_each(|victim| kill(Fs::Ext4, victim));
}

#[test]
fn kills_on_xfs() {
    [CREATE, SECOND, COMMIT, DELETE].iter().for_each(|victim| kill(Fs::Xfs, victim));
}

#[test]
fn kills_on_btrfs() {
    [CREATE, SECOND, COMMIT, DELETE].iter().for_each(|victim| kill(Fs::Btrfs, victim));
}

fn kill(fs: Fs, victim: &Victim) {
    let (seed, all) = (seed(), std::env::var("OVERLAYD_CRASH_KILLS").is_ok_and(|text| text == "all"));
    let mut chance = Chance::new(seed);
    let machine = Machine::new(fs, "");
    let before = machine.disk("before");
    {
        let _device = Loop::attach(&before);
        (victim.prepare)(&machine);
    }
    let rig = Rig { machine: &machine, before: &before, victim };
    let old = rig.with(|layout| picture(layout).unwrap());
    let new = rig.with(|layout| {
        let output = Command::new(TOOL).args(["--store", s(layout.root())]).args(victim.arguments).output();
        assert!(output.as_ref().is_ok_and(|o| o.status.success()), "{output:?}");
        picture(layout).unwrap()
    });
    let (old, new) = (evidence(old), evidence(new));
    let mut kills = 0;
    for call in CALLS {
        let mut last = 0;
        let numbers: Box<dyn Iterator<Item = usize>> = match all {
            true => Box::new(1..),
            false => Box::new((0..SAMPLE).map(|_| {
                last += 1 + chance.below(1 + 2 * last);
                last
            })),
        };
        for nth in numbers {
            let what =
                || format!("{} {:?} killed at {call} {nth} (seed {seed})", fs.word(), victim.arguments);
            match rig.with(|layout| rig.kill_and_judge(layout, call, nth, &old, &new)) {
                Ok(true) => kills += 1,
                Ok(false) => break,
                Err(why) => panic!("{}: {why}", what()),
            }
        }
    }
    eprintln!("{} {:?}: {kills} kills", fs.word(), victim.arguments);
    assert!(kills >= 8, "only {kills} kills of {:?}", victim.arguments);
}

const TOOL: &str = env!("CARGO_BIN_EXE_overlayctl");

struct Rig<'a> {
    machine: &'a Machine,
    before: &'a Path,
    victim: &'a Victim,
}

impl Rig<'_> {
    /// Works on the store as it was before.
    fn with<T>(&self, work: impl FnOnce(&Layout) -> T) -> T {
        let image = self.machine.image("victim");
        clone(self.before, &image);
        let device = Loop::attach(&image);
        self.machine.offline(&device.node, work).unwrap()
    }

    /// False if it ended before that call.
    fn kill_and_judge(
        &self,
        layout: &Layout,
        call: &str,
        nth: usize,
        old: &Evidence,
        new: &Evidence,
    ) -> Result<bool, String> {
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")])
            .args([TOOL, "--store", s(layout.root())])
            .args(self.victim.arguments)
            .output()
            .expect("strace is needed");
        if output.status.success() {
            return Ok(false);
        }
        if output.status.signal() != Some(9) {
            return Err(format!("it failed by itself: {}", text(&output)));
        }
        let found = picture(layout)?;
        if (self.victim.half)(&old.picture, &new.picture) != Some(found.clone()) {
            whole(&found, Some(&old.picture), &new.picture)?;
        }
        (self.victim.again)(&After { layout, old: Some(old), new })?;
        operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(()))
            .map_err(|e| e.to_string())?;
        leftovers(layout)?;
        Ok(true)
    }
}

fn evidence(picture: crate::judge::Picture) -> Evidence {
    Evidence { picture, ..Evidence::default() }
}
