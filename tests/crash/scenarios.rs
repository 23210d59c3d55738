//! What is done while the power may go: everything that changes a store.

mod boots;
mod prepare;
mod snapshots;
mod upkeep;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use overlayd::handoff;
use overlayd::operation::snapshot::Wanted;
use overlayd::operation::{self, Asked, Site};
use overlayd::plan::request::Resetting;
use overlayd::store::Layout;
use overlayd::store::records::Level;

use crate::judge::{Evidence, Picture};
use crate::machine::Machine;

pub(crate) use prepare::{changed, with_snapshot};
pub(crate) use snapshots::{commit_again, create_again, delete_again, not_yet_the_baseline};

/// Hears of the moments that count.
pub(crate) trait Watch {
    /// Here it begins.
    fn begin(&mut self);
    /// This is the old.
    fn was(&mut self, old: Evidence);
    /// Whatever happens from here on, it is the new.
    fn lasts(&mut self);
    /// This is the new.
    fn is_now(&mut self, new: Evidence);
    /// The node of the state device.
    fn device(&self) -> PathBuf;
}

/// A store after a crash and a boot, of which nothing is mounted.
pub(crate) struct After<'a> {
    pub(crate) layout: &'a Layout,
    /// None where the new had to last.
    pub(crate) old: Option<&'a Evidence>,
    pub(crate) new: &'a Evidence,
}

/// Does something again, and compares what comes of it with the new.
pub(crate) type Again = fn(&After<'_>) -> Result<(), String>;
/// A half of it that is allowed to be seen, of what the old and the new show.
pub(crate) type Half = fn(&Picture, &Picture) -> Option<Picture>;

/// Does something again on the booted machine.
pub(crate) type OnMachine = fn(&Machine) -> Result<(), String>;

/// One thing that is done.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Lines of the base's configuration.
    pub(crate) configuration: &'static str,
    /// What comes before, on a machine that is off before and after.
    pub(crate) prepare: fn(&Machine),
    /// What is recorded, from off to off.
    pub(crate) act: fn(&Machine, &mut dyn Watch),
    pub(crate) again: Again,
    pub(crate) half: Half,
    /// What does not count here.
    pub(crate) leave_out: fn(&mut Picture),
    /// Of the mounted tree each entry for itself is old or new; this makes it the new.
    pub(crate) by_entry: Option<OnMachine>,
    /// The old may not come up; doing it again is what helps.
    pub(crate) mends: bool,
}

const USUAL: Scenario = Scenario {
    name: "",
    configuration: "",
    prepare: |_| {},
    act: |_, _| {},
    again: |_| Ok(()),
    half: |_, _| None,
    leave_out: |_| {},
    by_entry: None,
    mends: false,
};

const SNAPSHOT: Scenario = Scenario { act: snapshots::create, again: create_again, ..USUAL };
const COMMIT: Scenario = Scenario { half: not_yet_the_baseline, ..USUAL };

/// All of them.
pub(crate) const ALL: [Scenario; 31] = [
    Scenario { name: "first boot", act: boots::first_boot, ..USUAL },
    Scenario {
        name: "another boot",
        prepare: changed,
        act: boots::counted,
        again: boots::counts_on,
        ..USUAL
    },
    Scenario { name: "snapshot", prepare: changed, ..SNAPSHOT },
    Scenario { name: "second snapshot", prepare: with_snapshot, ..SNAPSHOT },
    Scenario { name: "snapshot on a restored one", prepare: prepare::restored, ..SNAPSHOT },
    Scenario {
        name: "snapshot too many",
        configuration: "[overlay.root.snapshots]\nlimit = 2\n",
        prepare: prepare::with_two_snapshots,
        half: snapshots::one_too_many,
        ..SNAPSHOT
    },
    Scenario {
        name: "commit",
        prepare: with_snapshot,
        act: snapshots::commit_all,
        again: commit_again,
        ..COMMIT
    },
    Scenario {
        name: "commit of paths",
        prepare: prepare::committed,
        act: snapshots::commit_paths,
        again: snapshots::commit_paths_again,
        ..COMMIT
    },
    Scenario { name: "delete", prepare: with_snapshot, act: snapshots::delete, again: delete_again, ..USUAL },
    Scenario {
        name: "description",
        prepare: with_snapshot,
        act: snapshots::describe,
        again: snapshots::describe_again,
        half: snapshots::not_yet_protected,
        ..USUAL
    },
    Scenario { name: "restore", prepare: with_snapshot, act: boots::restore_first, ..USUAL },
    Scenario {
        name: "restore of paths",
        prepare: snapshots::with_a_directory_to_restore,
        act: snapshots::restore_paths,
        leave_out: |picture| picture.live.clear(),
        by_entry: Some(snapshots::restore_paths_again),
        ..USUAL
    },
    Scenario { name: "undo", prepare: prepare::restored, act: boots::undo, ..USUAL },
    Scenario {
        name: "cancel",
        prepare: with_snapshot,
        act: upkeep::cancel,
        again: upkeep::nothing_waits,
        ..USUAL
    },
    Scenario {
        name: "reset",
        configuration: NO_UNDO,
        prepare: prepare::committed,
        act: boots::reset,
        ..USUAL
    },
    Scenario {
        name: "reset by soft-reboot",
        prepare: prepare::committed,
        act: boots::reset_by_soft_reboot,
        ..USUAL
    },
    Scenario { name: "factory reset", prepare: prepare::committed, act: boots::factory, ..USUAL },
    Scenario {
        name: "reset by a file",
        prepare: prepare::committed,
        act: boots::asked_by_a_file,
        again: boots::nothing_asks,
        ..USUAL
    },
    Scenario {
        name: "reset by a word",
        prepare: prepare::committed,
        act: boots::asked_by_a_word,
        again: boots::the_word_is_remembered,
        ..USUAL
    },
    Scenario { name: "quiesced snapshot", prepare: changed, act: boots::seal, ..USUAL },
    Scenario { name: "quiesced commit", prepare: changed, act: boots::seal_and_commit, ..USUAL },
    Scenario {
        name: "mark good",
        prepare: prepare::went_back,
        act: upkeep::mark_good,
        again: upkeep::mark_good_again,
        half: upkeep::not_yet_good,
        ..USUAL
    },
    Scenario { name: "mark bad", prepare: prepare::good_and_another, act: boots::mark_bad, ..USUAL },
    Scenario {
        name: "going back",
        configuration: "[overlay.root.health]\ntries = 4\n",
        prepare: prepare::ill,
        act: boots::go_back,
        ..USUAL
    },
    Scenario {
        name: "another base, set aside",
        configuration: SET_ASIDE,
        prepare: prepare::committed,
        act: boots::boot_the_other_base,
        ..USUAL
    },
    Scenario {
        name: "another base, reset",
        configuration: RESET,
        prepare: changed,
        act: boots::boot_the_other_base,
        ..USUAL
    },
    Scenario {
        name: "another base for one boot",
        configuration: SET_ASIDE,
        prepare: prepare::committed,
        act: boots::boot_the_other_base_once,
        leave_out: |picture| {
            picture.retained.clear();
            picture.outcome.clear();
        },
        ..USUAL
    },
    Scenario {
        name: "cleanup",
        prepare: prepare::erasing,
        act: upkeep::clean_up,
        again: upkeep::clean_up_again,
        ..USUAL
    },
    Scenario {
        name: "repair",
        prepare: upkeep::damaged,
        act: upkeep::repair,
        again: upkeep::repair_again,
        mends: true,
        ..USUAL
    },
    Scenario { name: "another overlay", configuration: OTHER, act: boots::first_boot, ..USUAL },
    Scenario {
        name: "reset of another overlay",
        configuration: OTHER,
        prepare: upkeep::other_lived_in,
        act: upkeep::reset_the_other,
        ..USUAL
    },
];

/// Then a reset leaves something for the trash.
const NO_UNDO: &str = "[overlay.root.reset]\nundo = \"never\"\n";
const SET_ASIDE: &str = "[overlay.root]\nbase-changed = \"set-aside\"\n";
const RESET: &str = "[overlay.root]\nbase-changed = \"reset\"\n[overlay.root.reset]\nkeep = [\"/etc/hostname\", \"/var/lib/first\"]\n";
const OTHER: &str = "[overlay.data]\ntarget = \"@SYSROOT@/srv\"\n";

/// Does it on the running machine.
fn at_once(machine: &Machine, watch: &mut dyn Watch, work: impl FnOnce(&Site)) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    let site = live(machine);
    watch.begin();
    work(&site);
    watch.lasts();
    watch.is_now(evidence(machine));
    machine.shutdown();
}

/// The running machine's store, writable as in the daemon's namespace.
pub(crate) fn live(machine: &Machine) -> Site {
    let store = Path::new(handoff::RUN_STORE);
    overlayd::sys::remount_store_writable(store).unwrap();
    Site { store: store.to_owned(), handoff: Some(handoff::BOOT_TOML.into()), root: machine.sysroot.clone() }
}

fn evidence(machine: &Machine) -> Evidence {
    Evidence::take(&Layout::new(handoff::RUN_STORE), &machine.sysroot)
}

fn empty_trash(site: &Site) {
    operation::empty_trash(&site.store, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn to_the_image() -> Resetting {
    Resetting { level: Level::Factory, ..Resetting::default() }
}

pub(crate) fn asked() -> Asked {
    Asked { by: "a test".into(), via: None }
}

pub(crate) fn wanted(description: &str) -> Wanted {
    Wanted { description: description.into(), ..Wanted::default() }
}

pub(crate) fn go_on(_: overlayd::layer::Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
