//! One row of the boot matrix, from the first boot to the last: [`Row::run`] is the whole story.

use crate::checks::{
    COMPARE, Marks, Verdict, assert_healthy, assert_identical, assert_marks, assert_trash_goes, make_marks,
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
    /// The whole story of the row's mode; the state filesystem is clean after each end of it.
    pub(crate) fn run(self) {
        let mut machine = Machine::new(&self.name(), self.suite, self.initramfs, self.root, self.state);
        match self.mode {
            Mode::Persistent => self.run_persistent(&mut machine),
            Mode::Volatile => self.run_volatile(&mut machine),
        }
    }

    /// boot → write → reboot → still there → reset → reboot → the image's own state, byte for byte → write →
    /// reboot → the request did not fire again
    fn run_persistent(self, machine: &mut Machine) {
        let (mut guest, _) = self.boot(machine, &[]);
        make_marks(&mut guest);
        guest.reboot();
        machine.disk.assert_clean();

        let (mut guest, before) = self.boot(machine, &[]);
        assert_marks(&mut guest, Marks::All);
        guest.reboot_by("overlayctl reset --yes --now=reboot");
        machine.disk.assert_clean();

        let (mut guest, after) = self.boot(machine, COMPARE);
        assert_identical(&mut guest);
        assert_marks(&mut guest, Marks::None);
        assert_executed(&before, &after);
        assert_trash_goes(&mut guest);
        make_marks(&mut guest);
        guest.poweroff();
        machine.disk.assert_clean();

        let last = Verdict::of(machine, &[&format!("overlayd.mode={}", self.mode.word())]);
        assert_eq!((last.mode(), last.reason(), last.marks()), ("persistent", "", "all"), "{last:#?}");
        assert_eq!(Value::from(last.generation()), after["generation"], "the request fired again");
    }

    /// boot → write → a reset is refused: every reboot is one → reboot → the image's own state, byte for byte →
    /// poweroff
    fn run_volatile(self, machine: &mut Machine) {
        let (mut guest, _) = self.boot(machine, &[]);
        make_marks(&mut guest);
        assert_marks(&mut guest, Marks::All);
        let refused = guest.run("overlayctl reset --yes");
        assert!(matches!(refused.status, 3 | 4), "reset of a volatile root: {refused:?}");
        guest.reboot();
        machine.disk.assert_clean();

        let (mut guest, _) = self.boot(machine, COMPARE);
        assert_identical(&mut guest);
        assert_marks(&mut guest, Marks::None);
        guest.poweroff();
        machine.disk.assert_clean();
    }

    fn name(self) -> String {
        let Row { suite, initramfs, mode, root, state } = self;
        format!("{suite:?}-{initramfs:?}-{mode:?}-{root:?}-{state:?}").to_lowercase()
    }

    /// A healthy system, and the status of its root.
    fn boot(self, machine: &mut Machine, words: &[&str]) -> (Guest, Value) {
        let mode = format!("overlayd.mode={}", self.mode.word());
        let mut guest = machine.boot(&[&[mode.as_str()], words].concat());
        guest.wait_until_up();
        let root = assert_healthy(&mut guest, self.mode.word());
        (guest, root)
    }
}

fn assert_executed(before: &Value, after: &Value) {
    assert_eq!(after["pending"], Value::Null, "{after:#}");
    assert_eq!(after["last"]["action"], "reset", "{after:#}");
    assert_eq!(after["last"]["result"], "done", "{after:#}");
    assert_eq!(after["last"]["from-generation"], before["generation"], "{after:#}");
    assert_eq!(after["last"]["to-generation"], after["generation"], "{after:#}");
    assert_ne!(after["generation"], before["generation"], "{after:#}");
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
