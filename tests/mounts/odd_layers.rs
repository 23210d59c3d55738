//! Layers that are not as overlayd left them: marks that somebody forged, work directories of other mounts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use overlayd::config::Mode;
use overlayd::operation::{Asked, check};
use overlayd::plan::check::Grade;
use overlayd::store::Layout;

use crate::rig::{Rig, run, s, text};

/// A machine that booted once, and was shut down.
fn used(fstype: &str) -> Rig {
    let mut rig = Rig::new(fstype, 300);
    let private = rig.beside("base/var/private");
    fs::create_dir(&private).unwrap();
    fs::write(private.join("key"), "SECRET").unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    rig.configure("");
    rig.boot();
    fs::write(rig.path("etc/mine"), "mine").unwrap();
    rig.shutdown();
    rig
}

fn mark(path: &Path, name: &str, value: &str) {
    run("setfattr", &["-n", &format!("trusted.overlay.{name}"), "-v", value, s(path)]);
}

/// What an ordinary user sees.
fn as_nobody(command: &str) -> (bool, String) {
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", command])
        .output()
        .unwrap();
    (output.status.success(), text(&output))
}

/// A directory that says it is another one, and a file whose content lies elsewhere: followed, they would show anybody
/// what is not theirs to read.
fn forged(fstype: &str) {
    let rig = used(fstype);
    rig.offline(|layout| {
        let upper = layout.upper("root", 1);
        fs::create_dir(upper.join("etc/open")).unwrap();
        fs::set_permissions(upper.join("etc/open"), fs::Permissions::from_mode(0o755)).unwrap();
        mark(&upper.join("etc/open"), "redirect", "/var/private");
        fs::write(upper.join("etc/readable"), "").unwrap();
        fs::set_permissions(upper.join("etc/readable"), fs::Permissions::from_mode(0o644)).unwrap();
        mark(&upper.join("etc/readable"), "metacopy", "");
        mark(&upper.join("etc/readable"), "redirect", "/var/private/key");
    });
    let booted = rig.boot();
    assert_eq!(booted.overlay["root"].mode, Mode::Persistent);
    assert_eq!(fs::read_to_string(rig.path("etc/mine")).unwrap(), "mine");
    for command in ["ls", "cat"] {
        let at = if command == "ls" { "etc/open" } else { "etc/readable" };
        for reader in [as_nobody(&format!("{command} {}", s(&rig.path(at)))), {
            let output = Command::new(command).arg(rig.path(at)).output().unwrap();
            (output.status.success(), text(&output))
        }] {
            assert!(!reader.1.contains("SECRET") && !reader.1.contains("key"), "{command} {at}: {reader:?}");
        }
    }
    // Only now: once the kernel knows the directory by its own name, it would not show it by another in any case.
    assert!(fs::read_to_string(rig.path("var/private/key")).unwrap().contains("SECRET"));
}

#[test]
fn forged_marks_open_nothing_on_ext4() {
    forged("ext4");
}

#[test]
fn forged_marks_open_nothing_on_xfs() {
    forged("xfs");
}

#[test]
fn forged_marks_open_nothing_on_btrfs() {
    forged("btrfs");
}

fn boots_with(spoil: impl FnOnce(&Layout)) -> Vec<String> {
    let rig = used("ext4");
    rig.offline(spoil);
    let booted = rig.boot();
    assert_eq!(booted.overlay["root"].mode, Mode::Persistent, "{:?}", booted.overlay["root"].reason);
    assert_eq!(fs::read_to_string(rig.path("etc/mine")).unwrap(), "mine");
    fs::write(rig.path("etc/hostname"), "copied up").unwrap();
    fs::remove_dir_all(rig.path("var/lib")).unwrap();
    assert!(!rig.path("var/lib").exists());
    booted.problems
}

fn falls_back_with(spoil: impl FnOnce(&Layout), words: &[&str]) {
    let rig = used("ext4");
    rig.offline(spoil);
    let booted = rig.boot();
    let root = &booted.overlay["root"];
    assert_eq!(root.mode, Mode::Volatile);
    let reason = root.reason.clone().unwrap();
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    rig.shutdown();
    rig.offline(|layout| {
        assert!(layout.upper("root", 1).join("etc/mine").exists() || layout.generation("root", 1).exists());
    });
}

/// More than the kernel cleans.
#[test]
fn a_stale_work_directory_is_made_anew() {
    let told = boots_with(|layout| {
        fs::create_dir_all(layout.work("root", 1).join("work/#5a/deep/er")).unwrap();
    });
    assert!(told.iter().any(|problem| problem.contains("the work directory was made anew")), "{told:?}");
}

#[test]
fn what_a_cut_left_in_the_work_directory_does_no_harm() {
    let told = boots_with(|layout| {
        let work = layout.work("root", 1).join("work");
        fs::create_dir_all(work.join("#5a")).unwrap();
        fs::write(work.join("#5b"), "half copied").unwrap();
        run("mknod", &[s(&work.join("#5c")), "c", "0", "0"]);
    });
    assert_eq!(told, [""; 0]);
}

#[test]
fn the_index_of_another_mount_does_no_harm() {
    boots_with(|layout| {
        let index = layout.work("root", 1).join("index");
        fs::create_dir_all(&index).unwrap();
        mark(&index, "origin", "0x00fb21000000");
        fs::write(index.join("00fb210000"), "").unwrap();
    });
}

#[test]
fn the_owner_of_a_work_directory_does_not_matter() {
    boots_with(|layout| {
        let work = layout.work("root", 1);
        fs::set_permissions(&work, fs::Permissions::from_mode(0o777)).unwrap();
        run("chown", &["-R", "1000:1000", s(&work)]);
    });
}

/// A mount with the option `volatile` leaves this, and the kernel refuses the layers from then on.
#[test]
fn the_layers_of_a_volatile_mount_that_was_not_unmounted_are_refused() {
    falls_back_with(
        |layout| fs::create_dir_all(layout.work("root", 1).join("work/incompat/volatile")).unwrap(),
        &["volatile"],
    );
}

#[test]
fn an_upper_that_leads_elsewhere_is_refused() {
    falls_back_with(
        |layout| {
            let upper = layout.upper("root", 1);
            fs::rename(&upper, upper.with_file_name("moved")).unwrap();
            symlink("/etc", &upper).unwrap();
        },
        &["generations/1/fs"],
    );
    assert!(!Path::new("/etc/mine").exists());
}

#[test]
fn a_work_directory_that_leads_elsewhere_is_refused() {
    falls_back_with(
        |layout| {
            let work = layout.work("root", 1);
            fs::rename(&work, work.with_file_name("moved")).unwrap();
            symlink("moved", &work).unwrap();
        },
        &["generations/1/work"],
    );
}

/// In an upper and a snapshot, on files and directories, where nobody looks; and not what only resembles them.
fn found(fstype: &str) {
    let rig = used(fstype);
    let id = rig.copy_to_snapshot();
    let look = || {
        rig.offline(|layout| {
            let more = &mut || std::ops::ControlFlow::Continue(());
            check::layers(layout.root(), &Asked::default(), more).unwrap()
        })
    };
    assert_eq!(look(), [], "what overlayfs itself leaves is none");
    let before = rig.offline(|layout| {
        let (upper, snapshot) = (layout.upper("root", 1), layout.snapshot_fs("root", id));
        let deep = upper.join("etc/a\nb/".to_owned() + &"d/".repeat(40));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        mark(&deep.join("file"), "metacopy", "");
        fs::write(snapshot.join("etc/key"), "").unwrap();
        mark(&snapshot.join("etc/key"), "redirect", "/var/private/key");
        mark(&upper.join("etc"), "redirect", "/var/private");
        // What an overlay on top of this one wrote through it.
        mark(&upper.join("etc/mine"), "overlay.redirect", "/x");
        for n in 0..150 {
            fs::write(snapshot.join(format!("etc/{n}")), "").unwrap();
            mark(&snapshot.join(format!("etc/{n}")), "metacopy", "");
        }
        crate::rig::manifest(layout.root())
    });
    let all = look();
    let of = |part: &str| all.iter().filter(|f| s(&f.path).contains(part)).collect::<Vec<_>>();
    assert!(all.iter().all(|f| f.grade == Grade::Fault && !f.is_mendable() && !f.advice.is_empty()));
    let upper = of("generations/1/fs");
    assert_eq!(upper.len(), 2, "{upper:?}");
    assert!(s(&upper[0].path).ends_with("fs/etc") && upper[0].what.contains("trusted.overlay.redirect"));
    assert!(s(&upper[1].path).ends_with("/d/d/file") && upper[1].what.contains("trusted.overlay.metacopy"));
    let snapshot = of(&format!("snapshots/{id}/fs"));
    assert_eq!(snapshot.len(), 101, "a hundred are named, and the rest is counted");
    assert_eq!(snapshot[100].what, "bears 51 more such marks");
    assert_eq!(rig.offline(|layout| crate::rig::manifest(layout.root())), before, "looking changes nothing");
}

#[test]
fn forged_marks_are_found_on_ext4() {
    found("ext4");
}

#[test]
fn forged_marks_are_found_on_xfs() {
    found("xfs");
}

#[test]
fn forged_marks_are_found_on_btrfs() {
    found("btrfs");
}
