//! Every prefix of every plan: carry out the first N steps, cut the power, boot. Old or new, never a mixture.

use std::fs;

use overlayd::config::Undo;
use overlayd::exec;
use overlayd::observe::{self, Base};
use overlayd::plan::execute::Scene;
use overlayd::plan::{self, Step};
use overlayd::store::{Layout, read};

use crate::rig::{Rig, manifest};

/// The store's steps of a reset's execution, in the order in which a boot carries them out.
fn execution(layout: &Layout, base: &str) -> Vec<Step> {
    let view = read::load(layout).unwrap();
    let request = view.overlays["root"].request.clone().unwrap().unwrap();
    let base = Base { identity: base.to_owned(), ..Base::default() };
    let now = observe::moment();
    let scene = Scene { base: &base, now: &now, undo: Undo::Never, scarce: false };
    let execution = plan::execute::execution(&view, "root", &request, &scene).unwrap();
    [execution.before, execution.after].concat()
}

#[test]
fn every_prefix_of_a_reset_is_old_or_new_and_converges() {
    let rig = Rig::new("ext4", 64);
    let bare = manifest(&rig.sysroot);
    let base = rig.boot().overlay["root"].base.clone();
    let mut prefix = 0;
    loop {
        fs::write(rig.path("etc/hostname"), format!("life {prefix}\n")).unwrap();
        rig.shutdown();
        rig.request_reset();
        let total = rig.offline(|layout| {
            let steps = execution(layout, &base);
            exec::store::run(layout, &steps[..prefix]).unwrap();
            steps.len()
        });
        let handoff = rig.boot();
        let root = &handoff.overlay["root"];
        assert_eq!(root.reason, None, "after {prefix} steps");
        // Asked for durably, it is carried out by the very next boot, whatever was done before the cut.
        assert_eq!(manifest(&rig.sysroot), bare, "after {prefix} steps");
        let generation = root.generation;
        fs::write(rig.path("etc/hostname"), "kept\n").unwrap();
        let next = rig.reboot();
        assert_eq!(next.overlay["root"].generation, generation, "it fired again after {prefix} steps");
        assert_eq!(fs::read_to_string(rig.path("etc/hostname")).unwrap(), "kept\n");
        rig.shutdown();
        rig.offline(|layout| {
            let view = read::load(layout).unwrap();
            assert!(view.overlays["root"].request.is_none());
            assert_eq!(view.overlays["root"].generations.len(), 1, "after {prefix} steps");
        });
        rig.boot();
        prefix += 1;
        if prefix > total {
            break;
        }
    }
    assert!(prefix > 4, "only {prefix} prefixes");
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

/// Boots under strace, which kills it at the `nth` call of this kind; false if it ended before that.
fn kill_at(rig: &Rig, call: &str, nth: u32) -> bool {
    let early = rig.early();
    let output = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(early.get_program())
        .args(early.get_args())
        .output()
        .expect("strace is needed");
    !output.status.success()
}
