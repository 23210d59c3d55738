//! What asks for a reset without anybody at a prompt: files and words of the kernel command line. Once, whatever happens
//! in between.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use overlayd::config::Mode;
use overlayd::handoff::Handoff;
use overlayd::store::Layout;
use overlayd::store::records::{Action, Level, OutcomeRecord};

use crate::crash::kill_at;
use crate::reset::{fill, live_in};
use crate::restore::{ask_restore, state};
use crate::rig::{Rig, manifest, run, s, text};

/// A rig with words of its own on the kernel command line.
struct Machine {
    rig: Rig,
    bare: String,
}

impl Machine {
    /// One that was booted once, and lived in.
    fn lived_in(fstype: &str, mib: u64) -> Machine {
        let machine = Machine::new(fstype, mib);
        machine.rig.boot();
        live_in(&machine.rig);
        machine.rig.shutdown();
        machine
    }

    fn new(fstype: &str, mib: u64) -> Machine {
        let rig = Rig::new(fstype, mib);
        let words = rig.beside("cmdline");
        fs::write(&words, "quiet\n").unwrap();
        // Before /run, which `shutdown` takes down.
        run("mount", &["--bind", s(&words), "/proc/cmdline"]);
        let bare = manifest(&rig.sysroot);
        Machine { rig, bare }
    }

    fn words(&self, words: &str) {
        fs::write(self.rig.beside("cmdline"), format!("{words}\n")).unwrap();
    }

    /// Boots, and expects that a reset was carried out; how it ended.
    fn resets(&self, why: &str) -> OutcomeRecord {
        let handoff = self.rig.boot();
        let root = &handoff.overlay["root"];
        assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None), "{why}");
        assert!(root.executed.is_some(), "{why}: {handoff:?}");
        assert_eq!(handoff.problems, Vec::<String>::new(), "{why}");
        assert_eq!(manifest(&self.rig.sysroot), self.bare, "{why}");
        fs::write(self.rig.path("etc/mine"), "x").unwrap();
        self.rig.shutdown();
        let outcome = self.rig.offline(|layout| state(layout).outcome.unwrap().unwrap());
        assert_eq!((outcome.action, outcome.result.as_str()), (Action::Reset, "done"), "{why}");
        outcome
    }

    /// Boots, and expects that nothing was; what was reported.
    fn stays(&self, why: &str) -> Vec<String> {
        let handoff = self.rig.boot();
        self.assert_stays(&handoff, why);
        self.rig.shutdown();
        handoff.problems
    }

    fn assert_stays(&self, handoff: &Handoff, why: &str) {
        let root = &handoff.overlay["root"];
        assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None), "{why}");
        assert_eq!(root.executed, None, "{why}: {handoff:?}");
        assert_ne!(manifest(&self.rig.sysroot), self.bare, "{why}");
    }

    /// At the top of the state filesystem.
    fn with_file(&self, work: impl FnOnce(PathBuf)) {
        self.rig.offline(|layout| work(beside_store(layout)));
    }

    fn marks(&self) -> Vec<String> {
        self.rig.offline(|layout| {
            let text = fs::read_to_string(layout.tokens()).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("/proc/cmdline").output();
    }
}

fn beside_store(layout: &Layout) -> PathBuf {
    layout.root().with_file_name("overlayd-reset")
}

fn the_file_asks(fstype: &str) {
    let machine = Machine::lived_in(fstype, 400);
    machine.with_file(|file| fs::write(file, "").unwrap());
    let outcome = machine.resets("an empty file");
    assert_eq!(outcome.level, Level::Factory, "as configured");
    assert_eq!(outcome.requested_by, "the file overlayd-reset");
    assert_eq!(outcome.via.as_deref(), Some("the state filesystem"));
    machine.with_file(|file| assert!(!file.exists(), "it is removed"));
    assert_eq!(machine.stays("it asked once"), Vec::<String>::new());
    machine.with_file(|file| fs::write(file, "baseline\n").unwrap());
    assert_eq!(machine.resets("a level").level, Level::Baseline);
    assert_eq!(machine.marks(), Vec::<String>::new());
}

#[test]
fn a_file_on_ext4_asks_once_and_may_name_the_level() {
    the_file_asks("ext4");
}

#[test]
fn a_file_on_xfs_asks_once_and_may_name_the_level() {
    the_file_asks("xfs");
}

#[test]
fn a_file_on_btrfs_asks_once_and_may_name_the_level() {
    the_file_asks("btrfs");
}

#[test]
fn the_configuration_says_how_far_a_file_goes_that_does_not() {
    let mut machine = Machine::new("ext4", 64);
    machine.rig.configure("[overlay.root.reset]\nlevel = \"baseline\"\n");
    machine.bare = manifest(&machine.rig.sysroot);
    machine.rig.boot();
    live_in(&machine.rig);
    machine.rig.shutdown();
    machine.with_file(|file| fs::write(file, "").unwrap());
    assert_eq!(machine.resets("the configured level").level, Level::Baseline);
}

#[test]
fn what_is_no_word_is_told_of_and_left() {
    let machine = Machine::lived_in("ext4", 64);
    type Make = fn(&Path);
    let makes: [(&str, Make); 6] = [
        ("not baseline, factory or wipe", |file| fs::write(file, "please").unwrap()),
        ("more than one line", |file| fs::write(file, "factory\nwipe\n").unwrap()),
        ("not text", |file| fs::write(file, [0xff, 0xfe]).unwrap()),
        ("not a small file", |file| fs::write(file, vec![b' '; 5000]).unwrap()),
        ("not a small file", |file| symlink("/dev/zero", file).unwrap()),
        ("not a small file", |file| drop(run("mkfifo", &[s(file)]))),
    ];
    for (why, make) in makes {
        machine.with_file(|file| make(&file));
        let problems = machine.stays(why);
        assert!(problems.len() == 1 && problems[0].contains(why), "{why}: {problems:?}");
        assert!(
            problems[0].contains("overlayd-reset via the state filesystem is not obeyed"),
            "{problems:?}"
        );
        machine.with_file(|file| {
            assert!(file.symlink_metadata().is_ok(), "{why}: it is left");
            fs::remove_file(file).unwrap();
        });
    }
}

#[test]
fn what_can_not_be_removed_does_not_fire() {
    let machine = Machine::lived_in("ext4", 64);
    machine.with_file(|file| {
        fs::write(&file, "").unwrap();
        run("chattr", &["+i", s(&file)]);
    });
    for life in 0..2 {
        let problems = machine.stays("immutable");
        assert!(problems[0].contains("because it can not be removed"), "life {life}: {problems:?}");
        machine.rig.offline(|layout| assert!(state(layout).request.is_none(), "it was taken back"));
    }
    machine.with_file(|file| drop(run("chattr", &["-i", s(&file)])));
    machine.resets("it can be removed now");
}

#[test]
fn a_token_fires_once_however_long_it_stays() {
    let machine = Machine::lived_in("ext4", 64);
    machine.words("quiet overlayd.reset=one:baseline -- overlayd.reset=not-this");
    let outcome = machine.resets("the first token");
    assert_eq!(outcome.level, Level::Baseline);
    assert_eq!(outcome.requested_by, "overlayd.reset=one");
    assert_eq!(outcome.via.as_deref(), Some("the kernel command line"));
    assert_eq!(machine.stays("it stays on the line"), Vec::<String>::new());
    machine.words("quiet");
    machine.stays("it is gone");
    machine.words("overlayd.reset=one");
    machine.stays("it is back, and used");
    machine.words("overlayd.reset=one overlayd.reset=two");
    assert_eq!(machine.resets("another token").level, Level::Factory);
    machine.stays("both are used");
    assert_eq!(machine.marks(), ["one", "two"]);
    machine.words("overlayd.reset=a/b overlayd.reset=three:all");
    let problems = machine.stays("neither is one");
    assert!(problems[0].starts_with("overlayd.reset=a/b is not obeyed: a token is"), "{problems:?}");
    assert!(
        problems[1].starts_with("overlayd.reset=three:all is not obeyed: \"all\" is not"),
        "{problems:?}"
    );
}

#[test]
fn systemds_word_fires_again_after_a_boot_without_it() {
    let machine = Machine::lived_in("ext4", 64);
    machine.words("systemd.factory_reset=1");
    assert_eq!(machine.resets("the word").requested_by, "systemd.factory_reset=1");
    machine.stays("it stays on the line");
    machine.words("systemd.factory_reset=0");
    machine.stays("it is off");
    machine.words("systemd.factory-reset");
    machine.resets("it is there again");
    machine.stays("and once again once");
}

/// Boots, and expects that the upper was left out.
fn skips(machine: &Machine, why: &str) {
    let handoff = machine.rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation), (Mode::Volatile, None), "{why}: {handoff:?}");
    assert!(root.reason.as_ref().is_some_and(|why| why.starts_with("overlayd.skip is on")), "{handoff:?}");
    assert_eq!(handoff.problems, Vec::<String>::new(), "{why}");
    assert_eq!(manifest(&machine.rig.sysroot), machine.bare, "{why}");
    machine.rig.shutdown();
}

#[test]
fn the_upper_is_left_out_once_however_long_the_word_stays() {
    let machine = Machine::lived_in("ext4", 64);
    let id = machine.rig.copy_to_snapshot();
    ask_restore(&machine.rig, id);
    machine.words("overlayd.skip");
    skips(&machine, "the word");
    assert_eq!(machine.marks(), ["overlayd.skip=1"]);
    let handoff = machine.rig.boot();
    assert_eq!(handoff.overlay["root"].snapshot, Some(id), "the request had to wait: {handoff:?}");
    machine.rig.shutdown();
    machine.stays("the word is still there");
    machine.words("overlayd.skip=no");
    machine.stays("it says no");
    machine.words("overlayd.skip=1 overlayd.reset=with:baseline");
    skips(&machine, "the word, again");
    assert_eq!(machine.marks(), ["overlayd.skip=1", "with"]);
    machine.words("quiet");
    machine.rig.boot();
    assert_eq!(manifest(&machine.rig.sysroot), machine.bare, "the reset was asked for before");
    machine.rig.shutdown();
    assert_eq!(machine.marks(), ["with"]);
}

#[test]
fn an_upper_that_is_left_out_is_neither_counted_nor_given_up() {
    let mut machine = Machine::new("xfs", 320);
    machine.rig.configure_counting("");
    machine.bare = manifest(&machine.rig.sysroot);
    machine.rig.boot();
    live_in(&machine.rig);
    let mine = manifest(&machine.rig.sysroot);
    machine.rig.shutdown();
    let boots = |machine: &Machine| machine.rig.offline(|at| state(at).health.unwrap().unwrap().boots);
    (2..=3).for_each(|_| drop(machine.stays("it does not come up")));
    assert_eq!(boots(&machine), 3);
    machine.words("overlayd.skip");
    skips(&machine, "one too many, but left out");
    assert_eq!(boots(&machine), 3);
    machine.rig.offline(|at| fs::remove_file(at.health("root")).unwrap());
    machine.rig.boot();
    assert_eq!(manifest(&machine.rig.sysroot), mine);
    machine.rig.shutdown();
}

#[test]
fn marks_that_were_tampered_with_leave_no_upper_out() {
    let machine = Machine::lived_in("ext4", 64);
    machine.words("overlayd.skip");
    machine.rig.offline(|layout| fs::write(layout.tokens(), "one two\n").unwrap());
    let problems = machine.stays("tampered");
    assert!(
        problems.iter().any(|p| p.starts_with("overlayd.skip via the kernel command line is not")),
        "{problems:?}"
    );
}

#[test]
fn a_reset_that_systemd_completed_in_the_initramfs_is_ours_too() {
    let machine = Machine::lived_in("ext4", 64);
    let complete = |()| {
        fs::create_dir_all("/run/systemd").unwrap();
        fs::write("/run/systemd/factory-reset-complete", "").unwrap();
    };
    complete(());
    assert_eq!(machine.resets("the variable is gone").requested_by, "systemd in the initramfs");
    machine.stays("the next boot");
    // The word is not the variable: it has its own rule.
    machine.words("systemd.factory_reset=1");
    complete(());
    machine.resets("the word");
    complete(());
    machine.stays("the word, again");
}

#[test]
fn a_new_store_spends_what_was_there_before_it() {
    let machine = Machine::new("ext4", 64);
    machine.words("overlayd.reset=from-the-factory");
    machine.rig.offline(|layout| fs::write(beside_store(layout), "wipe").unwrap());
    let first = machine.rig.boot();
    assert_eq!((first.overlay["root"].generation, &first.problems), (Some(1), &vec![]));
    live_in(&machine.rig);
    machine.rig.shutdown();
    assert_eq!(machine.marks(), ["from-the-factory"]);
    machine.with_file(|file| assert!(!file.exists()));
    machine.stays("there was nothing to be reset when it was found");
}

#[test]
fn without_a_store_what_asks_waits() {
    let mut machine = Machine::lived_in("ext4", 64);
    machine.words("overlayd.reset=one");
    machine.rig.configure("[overlay.root]\nmode = \"read-only\"\n");
    let problems = machine.rig.boot().problems;
    assert!(problems[0].contains("waits: there is no store that could be reset"), "{problems:?}");
    machine.rig.shutdown();
    machine.rig.offline(|layout| {
        let record = fs::read_to_string(layout.record()).unwrap();
        fs::write(layout.record(), format!("{record}garbage")).unwrap();
    });
    machine.rig.configure("");
    let handoff = machine.rig.boot();
    assert_eq!(handoff.overlay["root"].mode, Mode::Volatile, "the fallback");
    let told = handoff.problems.iter().any(|p| p.contains("waits: the store can not be read"));
    assert!(told, "{:?}", handoff.problems);
    machine.rig.shutdown();
    machine.rig.offline(|layout| {
        let record = fs::read_to_string(layout.record()).unwrap();
        fs::write(layout.record(), record.trim_end_matches("garbage")).unwrap();
    });
    machine.bare = manifest(&machine.rig.sysroot);
    machine.resets("the store is back");
}

#[test]
fn another_pending_request_comes_first_and_the_trigger_is_done_with() {
    let machine = Machine::lived_in("ext4", 64);
    let id = machine.rig.copy_to_snapshot();
    ask_restore(&machine.rig, id);
    machine.with_file(|file| fs::write(file, "").unwrap());
    let handoff = machine.rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.snapshot, root.executed.is_some()), (Some(id), true), "{handoff:?}");
    assert!(handoff.problems[0].contains("another request waits"), "{:?}", handoff.problems);
    machine.rig.shutdown();
    machine.stays("it does not fire a boot later");
    // What nobody can read makes way.
    machine.with_file(|file| fs::write(file, "").unwrap());
    machine.rig.offline(|layout| fs::write(layout.request("root"), "garbage").unwrap());
    machine.resets("over garbage");
}

#[test]
fn marks_that_were_tampered_with_let_no_token_fire() {
    let machine = Machine::lived_in("ext4", 64);
    machine.words("overlayd.reset=one");
    machine.rig.offline(|layout| fs::write(layout.tokens(), "one two\n").unwrap());
    let problems = machine.stays("tampered");
    assert!(
        problems.iter().any(|p| p.contains("tokens: line 1 is not one that overlayd wrote")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|p| p.contains("it can not be told whether it was before")), "{problems:?}");
    machine.rig.offline(|layout| fs::remove_file(layout.tokens()).unwrap());
    machine.resets("without marks it is a new one");
}

#[test]
fn a_token_fires_on_a_full_disk() {
    for (fstype, mib) in [("ext4", 100), ("xfs", 320), ("btrfs", 130)] {
        let machine = Machine::new(fstype, mib);
        machine.rig.boot();
        fill(&machine.rig, fstype);
        machine.rig.shutdown();
        machine.words("overlayd.reset=full:baseline");
        let handoff = machine.rig.boot();
        assert!(handoff.overlay["root"].executed.is_some(), "{fstype}: {handoff:?}");
        assert_eq!(manifest(&machine.rig.sysroot), machine.bare, "{fstype}");
        fs::write(machine.rig.path("etc/mine"), "x").unwrap();
        machine.rig.shutdown();
        machine.stays(fstype);
        assert_eq!(machine.marks(), ["full"], "{fstype}");
    }
}

/// A kill at every call that changes something: the next boot resets, if this one did not; and none after it.
fn killed(arm: impl Fn(&Machine, &str)) {
    let machine = Machine::lived_in("ext4", 64);
    let mut kills = 0;
    for call in ["renameat2,rename,renameat", "fsync", "unlinkat,unlink"] {
        for nth in [1, 2, 3, 4, 5, 6, 8, 11] {
            let why = format!("killed at {nth} of {call}");
            arm(&machine, &format!("{}-{nth}", &call[..5]));
            kills += u32::from(kill_at(&machine.rig, call, nth));
            machine.rig.shutdown();
            let root = machine.rig.boot().overlay["root"].clone();
            assert_eq!((root.mode, root.reason), (Mode::Persistent, None), "{why}");
            assert_eq!(manifest(&machine.rig.sysroot), machine.bare, "{why}");
            fs::write(machine.rig.path("etc/mine"), "x").unwrap();
            machine.rig.shutdown();
            assert_eq!(machine.stays(&why), Vec::<String>::new(), "it fired again: {why}");
            machine.rig.offline(|layout| assert!(state(layout).request.is_none(), "{why}"));
        }
    }
    assert!(kills >= 15, "only {kills} boots were killed");
}

#[test]
fn a_kill_loses_no_token_and_fires_none_twice() {
    killed(|machine, token| machine.words(&format!("overlayd.reset={token}:baseline")));
}

#[test]
fn a_kill_loses_no_file_and_fires_none_twice() {
    killed(|machine, _| machine.with_file(|file| fs::write(file, "baseline").unwrap()));
}

/// What `factory-reset.target` starts on the running system.
#[test]
fn the_target_asks_through_the_guarded_store_and_twice_is_once() {
    let mut machine = Machine::lived_in("ext4", 64);
    let early = env!("CARGO_BIN_EXE_overlayd-early");
    let ask = || Command::new(early).arg("factory-reset").output().unwrap();
    let refused = ask();
    assert!(!refused.status.success() && text(&refused).contains("no store"), "{}", text(&refused));
    machine.rig.boot();
    // The command reads the configuration of the running system, which this machine is not: the default level counts.
    let asked = ask();
    assert!(asked.status.success(), "{}", text(&asked));
    assert!(text(&asked).contains("the next boot resets the root (level factory)"), "{}", text(&asked));
    assert!(text(&ask()).contains("waits for the next boot already"));
    let guarded = fs::write("/run/overlayd/store/new", "").unwrap_err();
    assert_eq!(guarded.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "the host's view stays guarded");
    machine.rig.shutdown();
    machine.bare = manifest(&machine.rig.sysroot);
    let outcome = machine.resets("the target");
    assert_eq!(
        (outcome.via.as_deref(), outcome.requested_by.as_str()),
        (Some("factory-reset.target"), "systemd")
    );
}
