//! What comes before: machines that were lived in, with a snapshot, a baseline, a generation that was left.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use overlayd::operation::health::{self, Mark};
use overlayd::operation::{self, commit, restore, snapshot};

use super::{asked, go_on, live, wanted};
use crate::machine::Machine;

pub(crate) fn changed(machine: &Machine) {
    lived_in(machine, "first");
}

/// A boot in which something is changed.
fn lived_in(machine: &Machine, name: &str) {
    machine.boot().unwrap();
    change(&machine.sysroot, name);
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

/// With a second one, and something changed since.
pub(super) fn with_two_snapshots(machine: &Machine) {
    with_snapshot(machine);
    machine.boot().unwrap();
    snapshot::create(&live(machine), "root", &wanted("second"), &asked(), &mut go_on).unwrap();
    change(&machine.sysroot, "third");
    machine.shutdown();
}

/// On that snapshot, with something changed since.
pub(super) fn restored(machine: &Machine) {
    with_snapshot(machine);
    machine.boot().unwrap();
    restore::request(&live(machine), "root", 1, &asked()).unwrap();
    machine.shutdown();
    lived_in(machine, "third");
}

pub(super) fn committed(machine: &Machine) {
    changed(machine);
    machine.boot().unwrap();
    commit::commit(&live(machine), "root", &wanted("first"), &[], &asked(), &mut go_on).unwrap();
    change(&machine.sysroot, "second");
    machine.shutdown();
}

/// Reset to the bare image: what that gave up lies in the trash.
pub(super) fn erasing(machine: &Machine) {
    committed(machine);
    machine.boot().unwrap();
    operation::request_reset(&live(machine), "root", &super::to_the_image(), &asked()).unwrap();
    machine.shutdown();
    lived_in(machine, "third");
}

/// Generation 1 came up well, and generation 2 has been booted once.
pub(super) fn good_and_another(machine: &Machine) {
    changed(machine);
    machine.boot().unwrap();
    health::mark(&live(machine), &Mark::Good { forget: false }, &asked()).unwrap();
    operation::request_reset(&live(machine), "root", &Default::default(), &asked()).unwrap();
    machine.shutdown();
    lived_in(machine, "second");
}

/// The same, and generation 2 did not come up in four boots.
pub(super) fn ill(machine: &Machine) {
    good_and_another(machine);
    for _ in 0..3 {
        machine.boot().unwrap();
        machine.shutdown();
    }
}

/// The same, and the machine went back to generation 1.
pub(super) fn went_back(machine: &Machine) {
    good_and_another(machine);
    machine.boot().unwrap();
    health::mark(&live(machine), &Mark::Bad { reason: "it is slow".into() }, &asked()).unwrap();
    machine.shutdown();
    lived_in(machine, "third");
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
