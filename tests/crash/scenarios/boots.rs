//! What a boot does: of its own accord, because somebody asked for it before, or because something in the machine asks.

use std::fs;

use overlayd::operation::health::{self, Mark};
use overlayd::operation::{self, Site, restore, snapshot};
use overlayd::plan::request::Resetting;
use overlayd::store::read;
use overlayd::store::records::Level;

use super::prepare::change;
use super::{After, Watch, asked, empty_trash, evidence, live, wanted};
use crate::machine::Machine;

/// A first boot that is cut short and the next one end in the same.
pub(super) fn first_boot(machine: &Machine, watch: &mut dyn Watch) {
    always_new(machine, watch);
}

/// A boot after which, and after any cut of which, the next one brings the new.
fn always_new(machine: &Machine, watch: &mut dyn Watch) {
    watch.begin();
    watch.lasts();
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.is_now(evidence(machine));
    empty_trash(&live(machine));
    machine.shutdown();
}

/// One more of a generation that nobody marks good.
pub(super) fn counted(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    machine.shutdown();
    watch.begin();
    machine.boot().unwrap();
    watch.lasts();
    watch.is_now(evidence(machine));
    machine.shutdown();
}

/// The boot after the cut is the next one; and the count is never lost.
pub(super) fn counts_on(after: &After<'_>) -> Result<(), String> {
    let found = crate::judge::boots(after.layout)?;
    let may_be = |evidence: &crate::judge::Evidence| evidence.boots + 1 == found;
    match may_be(after.new) || after.old.is_some_and(may_be) {
        true => Ok(()),
        false => Err(format!("{found} boots: {:?}, {}", after.old.map(|old| old.boots), after.new.boots)),
    }
}

/// The boot finds too many before it.
pub(super) fn go_back(machine: &Machine, watch: &mut dyn Watch) {
    always_new(machine, watch);
}

pub(super) fn mark_bad(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| {
        let bad = Mark::Bad { reason: "it is slow".into() };
        drop(health::mark(site, &bad, &asked()).unwrap());
    });
}

pub(super) fn restore_first(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| drop(restore::request(site, "root", 1, &asked()).unwrap()));
}

pub(super) fn undo(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| drop(restore::request_undo(site, "root", &asked()).unwrap()));
}

pub(super) fn reset(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, ask_for_a_reset);
}

fn ask_for_a_reset(site: &Site) {
    drop(operation::request_reset(site, "root", &Default::default(), &asked()).unwrap());
}

/// With files of every kind kept.
pub(super) fn factory(machine: &Machine, watch: &mut dyn Watch) {
    let keep = vec!["/var/lib/second".into(), "/etc/*".into(), "!/etc/second".into()];
    let wanted = Resetting { level: Level::Factory, keep, drop_kept: false };
    by_boot(machine, watch, |site| {
        drop(operation::request_reset(site, "root", &wanted, &asked()).unwrap());
    });
}

pub(super) fn seal(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| {
        drop(snapshot::request(site, "root", &wanted("sealed"), false, &asked()).unwrap());
    });
}

pub(super) fn seal_and_commit(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| {
        drop(snapshot::request(site, "root", &wanted("sealed"), true, &asked()).unwrap());
    });
}

/// Asks, and lets the next boot do it.
fn by_boot(machine: &Machine, watch: &mut dyn Watch, ask: impl FnOnce(&Site)) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.begin();
    ask(&live(machine));
    watch.lasts();
    machine.shutdown();
    machine.boot().unwrap();
    watch.is_now(evidence(machine));
    empty_trash(&live(machine));
    machine.shutdown();
}

/// Asks, and what a soft-reboot would go on with is made while the system runs.
pub(super) fn reset_by_soft_reboot(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.begin();
    ask_for_a_reset(&live(machine));
    watch.lasts();
    machine.early(&["nextroot"]).unwrap();
    machine.shutdown();
    machine.boot().unwrap();
    watch.is_now(evidence(machine));
    empty_trash(&live(machine));
    machine.shutdown();
}

/// The machine is given its second base, for good.
pub(super) fn boot_the_other_base(machine: &Machine, watch: &mut dyn Watch) {
    machine.change_base(1);
    always_new(machine, watch);
}

/// The machine is given its second base for one boot; whatever that came to, then the first one is back.
pub(super) fn boot_the_other_base_once(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.is_now(evidence(machine));
    machine.shutdown();
    machine.change_base(1);
    watch.begin();
    watch.lasts();
    machine.boot().unwrap();
    change(&machine.sysroot, "other");
    machine.shutdown();
    machine.change_base(0);
}

/// A file on the state filesystem asks.
pub(super) fn asked_by_a_file(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    machine.shutdown();
    watch.begin();
    let written = machine.offline(&watch.device(), |layout| {
        let file = fs::File::create(layout.root().with_file_name(ASKING)).unwrap();
        file.sync_all().unwrap();
        fs::File::open(layout.root().parent().unwrap()).unwrap().sync_all().unwrap();
    });
    written.unwrap();
    watch.lasts();
    machine.boot().unwrap();
    watch.is_now(evidence(machine));
    empty_trash(&live(machine));
    machine.shutdown();
}

const ASKING: &str = "overlayd-reset";

pub(super) fn nothing_asks(after: &After<'_>) -> Result<(), String> {
    match after.layout.root().with_file_name(ASKING).exists() {
        true => Err("the file is still there".to_owned()),
        false => Ok(()),
    }
}

/// A word on the kernel command line asks, and stays there.
pub(super) fn asked_by_a_word(machine: &Machine, watch: &mut dyn Watch) {
    machine.set_words("quiet overlayd.reset=once");
    always_new(machine, watch);
}

pub(super) fn the_word_is_remembered(after: &After<'_>) -> Result<(), String> {
    let marks = fs::read_to_string(after.layout.tokens()).map_err(|e| format!("tokens: {e}"))?;
    let outcome = read::outcome(after.layout, "root").ok_or("there is no outcome")?;
    match marks.contains("once") && outcome.requested_by == "overlayd.reset=once" {
        true => Ok(()),
        false => Err(format!("{marks:?}, {outcome:?}")),
    }
}
