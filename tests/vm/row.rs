//! One row of the boot matrix, from the first boot to the last: [`Row::run`] is the whole story.

use crate::checks::{
    COMPARE, Marks, assert_healthy, assert_identical, assert_marks, assert_trash_goes, make_marks,
    status_of_root,
};
use crate::harness::{Guest, Initramfs, Machine, RootFs, StateFs, Suite};
use serde_json::Value;

/// Tests named after rows: `name: suite initramfs mode root state;`
macro_rules! rows {
    ($($name:ident: $suite:ident $initramfs:ident $mode:ident $root:ident $state:ident;)*) => {
        $(#[test]
        fn $name() {
            use crate::harness::{Initramfs, RootFs, StateFs, Suite};
            use crate::row::{Mode, Row};
            Row {
                suite: Suite::$suite,
                initramfs: Initramfs::$initramfs,
                mode: Mode::$mode,
                root: RootFs::$root,
                state: StateFs::$state,
            }
            .run();
        })*
    };
}

/// What the root does with changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Persistent,
    Volatile,
}

/// One combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) suite: Suite,
    pub(crate) initramfs: Initramfs,
    pub(crate) mode: Mode,
    pub(crate) root: RootFs,
    pub(crate) state: StateFs,
}

impl Row {
    /// boot → write → reboot → still there, or gone → reset → reboot → the image's own state → reboot → the
    /// request did not fire again → poweroff; and the state filesystem is clean after each of them.
    pub(crate) fn run(self) {
        let mut machine = Machine::new(&self.name(), self.suite, self.initramfs, self.root, self.state);

        let mut guest = self.boot(&mut machine, &[]);
        make_marks(&mut guest);
        guest.reboot();
        machine.disk.assert_clean();

        let mut guest = self.boot(&mut machine, &[]);
        assert_marks(&mut guest, self.survivors());
        let before = status_of_root(&mut guest);
        self.reset(guest);
        machine.disk.assert_clean();

        let mut guest = self.boot(&mut machine, COMPARE);
        assert_identical(&mut guest);
        assert_marks(&mut guest, Marks::None);
        let after = status_of_root(&mut guest);
        self.assert_executed(&before, &after);
        make_marks(&mut guest);
        guest.reboot();
        machine.disk.assert_clean();

        let mut guest = self.boot(&mut machine, &[]);
        assert_marks(&mut guest, self.survivors());
        assert_eq!(status_of_root(&mut guest)["generation"], after["generation"], "the request fired again");
        if self.mode == Mode::Persistent {
            assert_trash_goes(&mut guest);
        }
        assert_healthy(&mut guest, self.mode.word());
        guest.poweroff();
        machine.disk.assert_clean();
    }

    fn name(self) -> String {
        let Row { suite, initramfs, mode, root, state } = self;
        format!("{suite:?}-{initramfs:?}-{mode:?}-{root:?}-{state:?}").to_lowercase()
    }

    fn boot(self, machine: &mut Machine, words: &[&str]) -> Guest {
        let mode = format!("overlayd.mode={}", self.mode.word());
        let words: Vec<&str> = [mode.as_str()].into_iter().chain(words.iter().copied()).collect();
        let mut guest = machine.boot(&words);
        guest.wait_until_up();
        assert_healthy(&mut guest, self.mode.word());
        guest
    }

    /// What is left of the changes after a reboot.
    fn survivors(self) -> Marks {
        match self.mode {
            Mode::Persistent => Marks::All,
            Mode::Volatile => Marks::None,
        }
    }

    /// A volatile root has nothing to reset: every reboot is one. The tool says so.
    fn reset(self, mut guest: Guest) {
        match self.mode {
            Mode::Persistent => guest.reboot_by("overlayctl reset --yes --now=reboot"),
            Mode::Volatile => {
                let refused = guest.run("overlayctl reset --yes");
                assert!(matches!(refused.status, 3 | 4), "reset of a volatile root: {refused:?}");
                guest.reboot();
            }
        }
    }

    fn assert_executed(self, before: &Value, after: &Value) {
        if self.mode == Mode::Volatile {
            return;
        }
        assert_eq!(after["pending"], Value::Null, "{after:#}");
        assert_eq!(after["last"]["action"], "reset", "{after:#}");
        assert_eq!(after["last"]["result"], "done", "{after:#}");
        assert_eq!(after["last"]["from-generation"], before["generation"], "{after:#}");
        assert_eq!(after["last"]["to-generation"], after["generation"], "{after:#}");
        assert_ne!(after["generation"], before["generation"], "{after:#}");
    }
}

impl Mode {
    /// As in the configuration.
    fn word(self) -> &'static str {
        match self {
            Mode::Persistent => "persistent",
            Mode::Volatile => "volatile",
        }
    }
}
