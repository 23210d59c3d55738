//! What is done while the power may go: everything that changes a store.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use overlayd::error::Kind;
use overlayd::handoff;
use overlayd::operation::snapshot::Wanted;
use overlayd::operation::{self, Asked, Site, commit, restore, snapshot};
use overlayd::plan::request::Resetting;
use overlayd::store::Layout;
use overlayd::store::records::Level;
use std::ops::ControlFlow;

use crate::judge::{Evidence, content, picture};
use crate::machine::Machine;

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
}

/// Does something again, and compares what comes of it with the new.
pub(crate) type Again = fn(&Layout, &Evidence) -> Result<(), String>;

/// One thing that is done.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Lines of the base's configuration.
    pub(crate) configuration: &'static str,
    /// What comes before, on a machine that is off before and after.
    pub(crate) prepare: fn(&Machine),
    /// What is recorded, from off to off.
    pub(crate) act: fn(&Machine, &mut dyn Watch),
    /// Doing it again on a store of which nothing is mounted.
    pub(crate) again: Again,
    /// Whether a half of it is allowed to be seen: a snapshot, and not yet the baseline.
    pub(crate) snapshot_first: bool,
}

const USUAL: Scenario = Scenario {
    name: "",
    configuration: "",
    prepare: |_| {},
    act: |_, _| {},
    again: |_, _| Ok(()),
    snapshot_first: false,
};

/// All of them.
pub(crate) const ALL: [Scenario; 12] = [
    Scenario { name: "first boot", act: first_boot, ..USUAL },
    Scenario { name: "snapshot", prepare: changed, act: create, again: create_again, ..USUAL },
    Scenario { name: "second snapshot", prepare: with_snapshot, act: create, again: create_again, ..USUAL },
    Scenario {
        name: "snapshot on a restored one",
        prepare: restored,
        act: create,
        again: create_again,
        ..USUAL
    },
    Scenario {
        name: "commit",
        prepare: with_snapshot,
        act: commit_all,
        again: commit_again,
        snapshot_first: true,
        ..USUAL
    },
    Scenario { name: "delete", prepare: with_snapshot, act: delete, again: delete_again, ..USUAL },
    Scenario { name: "restore", prepare: with_snapshot, act: restore_first, ..USUAL },
    Scenario { name: "undo", prepare: restored, act: undo, ..USUAL },
    Scenario { name: "reset", configuration: NO_UNDO, prepare: committed, act: reset, ..USUAL },
    Scenario { name: "factory reset", prepare: committed, act: factory, ..USUAL },
    Scenario { name: "quiesced snapshot", prepare: changed, act: seal, ..USUAL },
    Scenario { name: "quiesced commit", prepare: changed, act: seal_and_commit, ..USUAL },
];

/// Then a reset leaves something for the trash.
const NO_UNDO: &str = "[overlay.root.reset]\nundo = \"never\"\n";

pub(crate) fn changed(machine: &Machine) {
    machine.boot().unwrap();
    change(&machine.sysroot, "first");
    machine.shutdown();
}

/// With a snapshot of that, and something changed since.
pub(crate) fn with_snapshot(machine: &Machine) {
    changed(machine);
    machine.boot().unwrap();
    snapshot::create(&live(machine), "root", &wanted("first"), &asked(), &mut go_on).unwrap();
    change(&machine.sysroot, "second");
    machine.shutdown();
}

/// On that snapshot, with something changed since.
fn restored(machine: &Machine) {
    with_snapshot(machine);
    machine.boot().unwrap();
    restore::request(&live(machine), "root", 1, &asked()).unwrap();
    machine.shutdown();
    machine.boot().unwrap();
    change(&machine.sysroot, "third");
    machine.shutdown();
}

fn committed(machine: &Machine) {
    changed(machine);
    machine.boot().unwrap();
    commit::commit(&live(machine), "root", &wanted("first"), &[], &asked(), &mut go_on).unwrap();
    change(&machine.sysroot, "second");
    machine.shutdown();
}

/// A first boot that is cut short and the next one end in the same.
fn first_boot(machine: &Machine, watch: &mut dyn Watch) {
    watch.begin();
    machine.boot().unwrap();
    watch.lasts();
    watch.was(evidence(machine));
    watch.is_now(evidence(machine));
    machine.shutdown();
}

fn create(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.begin();
    snapshot::create(&live(machine), "root", &wanted("one"), &asked(), &mut go_on).unwrap();
    watch.lasts();
    watch.is_now(evidence(machine));
    machine.shutdown();
}

fn commit_all(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.begin();
    commit::commit(&live(machine), "root", &wanted("one"), &[], &asked(), &mut go_on).unwrap();
    watch.lasts();
    watch.is_now(evidence(machine));
    machine.shutdown();
}

fn delete(machine: &Machine, watch: &mut dyn Watch) {
    machine.boot().unwrap();
    watch.was(evidence(machine));
    watch.begin();
    let site = live(machine);
    snapshot::delete(&site, "root", 1, &asked()).unwrap();
    watch.lasts();
    watch.is_now(evidence(machine));
    operation::empty_trash(&site.store, &mut |_| ControlFlow::Continue(())).unwrap();
    machine.shutdown();
}

fn restore_first(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| drop(restore::request(site, "root", 1, &asked()).unwrap()));
}

fn undo(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| drop(restore::request_undo(site, "root", &asked()).unwrap()));
}

fn reset(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| {
        drop(operation::request_reset(site, "root", &Default::default(), &asked()).unwrap())
    });
}

/// With files of every kind kept.
fn factory(machine: &Machine, watch: &mut dyn Watch) {
    let keep = vec!["/var/lib/second".into(), "/etc/*".into(), "!/etc/second".into()];
    let wanted = Resetting { level: Level::Factory, keep, drop_kept: false };
    by_boot(machine, watch, |site| {
        drop(operation::request_reset(site, "root", &wanted, &asked()).unwrap());
    });
}

fn seal(machine: &Machine, watch: &mut dyn Watch) {
    by_boot(machine, watch, |site| {
        drop(snapshot::request(site, "root", &wanted("sealed"), false, &asked()).unwrap());
    });
}

fn seal_and_commit(machine: &Machine, watch: &mut dyn Watch) {
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
    let site = live(machine);
    operation::empty_trash(&site.store, &mut |_| ControlFlow::Continue(())).unwrap();
    machine.shutdown();
}

pub(crate) fn create_again(layout: &Layout, new: &Evidence) -> Result<(), String> {
    let made =
        snapshot::create(&Site::offline(layout.root()), "root", &wanted("again"), &asked(), &mut go_on)
            .map_err(|e| format!("again: {e}"))?;
    holds_what_the_last_one_does(layout, made.id, new)
}

pub(crate) fn commit_again(layout: &Layout, new: &Evidence) -> Result<(), String> {
    let site = Site::offline(layout.root());
    let id = match commit::commit(&site, "root", &wanted("again"), &[], &asked(), &mut go_on) {
        Ok(made) => made.id,
        Err(e) if e.kind() == Kind::NothingToDo => picture(layout)?.baseline.ok_or("nothing to commit?")?,
        Err(e) => return Err(format!("again: {e}")),
    };
    if picture(layout)?.baseline != Some(id) {
        return Err(format!("snapshot {id} was committed and is not the baseline"));
    }
    holds_what_the_last_one_does(layout, id, new)
}

pub(crate) fn delete_again(layout: &Layout, _: &Evidence) -> Result<(), String> {
    match snapshot::delete(&Site::offline(layout.root()), "root", 1, &asked()) {
        Err(e) if e.kind() != Kind::NoSuchSnapshot => Err(format!("again: {e}")),
        _ => Ok(()),
    }
}

fn holds_what_the_last_one_does(layout: &Layout, id: u64, new: &Evidence) -> Result<(), String> {
    let (_, expected) = new.picture.snapshots.last_key_value().unwrap();
    let found = content(&layout.snapshot_fs("root", id));
    match &found == expected {
        true => Ok(()),
        false => Err(format!("made again: {}", crate::manifest::differences(expected, &found))),
    }
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

pub(crate) fn asked() -> Asked {
    Asked { by: "a test".into(), via: None }
}

pub(crate) fn wanted(description: &str) -> Wanted {
    Wanted { description: description.into(), ..Wanted::default() }
}

pub(crate) fn go_on(_: overlayd::layer::Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Changes of every kind, below a directory of this name and beside it.
pub(crate) fn change(root: &Path, name: &str) {
    let own = root.join("var/lib").join(name);
    fs::create_dir_all(own.join("deep/er")).unwrap();
    for (n, length) in [0, 1, 511, 4096, 5000, 20_000].into_iter().enumerate() {
        let content: Vec<u8> = (0..length).map(|i| (i * (n + 7) + name.len()) as u8).collect();
        fs::write(own.join(format!("deep/file-{n}")), content).unwrap();
    }
    fs::write(root.join("etc/hostname"), format!("{name}\n")).unwrap();
    fs::write(root.join("etc").join(name), name).unwrap();
    symlink("../nowhere", own.join("link")).unwrap();
    fs::write(own.join("twice"), "two names").unwrap();
    fs::hard_link(own.join("twice"), own.join("deep/er/twice")).unwrap();
    mknod(&own.join("pipe"), SFlag::S_IFIFO, Mode::from_bits_retain(0o600), 0).unwrap();
    mknod(&own.join("null"), SFlag::S_IFCHR, Mode::from_bits_retain(0o666), makedev(1, 3)).unwrap();
    fs::write(own.join("tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(own.join("tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(own.join("tool"), "user.mine", name.as_bytes(), flags).unwrap();
    let sparse = fs::File::create(own.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 300_000).unwrap();
    // A whiteout, and a directory that hides the base's.
    let _ = fs::remove_file(root.join("var/lib/.hidden/odd\nname"));
    fs::remove_dir_all(root.join("etc/skel")).unwrap();
    fs::create_dir(root.join("etc/skel")).unwrap();
    fs::write(root.join("etc/skel").join(name), "only").unwrap();
}
