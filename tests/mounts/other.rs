//! Overlays that are not the root: mounted, switched at once, side by side, refused while somebody is in the way.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use overlayd::error::Kind;
use overlayd::handoff;
use overlayd::operation::snapshot::Wanted;
use overlayd::operation::switch::{self, ByHand, Remount};
use overlayd::operation::{self, Asked, Planned, Site, commit, restore, snapshot};
use overlayd::plan::request::Resetting;
use overlayd::store::records::Level;
use overlayd::store::{Layout, read};
use overlayd::sys::mountinfo;

use crate::rig::{Rig, run, s, text};

/// A booted machine with the overlays `data` and `logs` configured in the root overlay, and something in their bases.
fn machine(fstype: &str) -> Rig {
    let mut rig = Rig::new(fstype, 400);
    let tables: Vec<String> = ["data", "logs"]
        .iter()
        .map(|name| format!("[overlay.{name}]\ntarget = \"{}\"\n", rig.path(name).display()))
        .collect();
    rig.configure(&tables.concat());
    rig.boot();
    for name in ["data", "logs"] {
        fs::create_dir(rig.path(name)).unwrap();
        fs::write(rig.path(name).join("given"), name).unwrap();
    }
    rig
}

/// What `mount -t overlayd` and systemd run.
fn mount_other(rig: &Rig, name: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd-early"));
    command.args(["mount", name, s(&rig.path(name)), "-o", "rw"]).output().unwrap()
}

fn mounted(rig: &Rig, name: &str) -> PathBuf {
    let output = mount_other(rig, name);
    assert!(output.status.success(), "{}", text(&output));
    rig.path(name)
}

fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(32), "{}", text(output));
    assert!(text(output).contains(why), "{why}: {}", text(output));
}

fn generation(name: &str) -> Option<u64> {
    handoff::load(Path::new(handoff::BOOT_TOML))
        .unwrap()
        .unwrap()
        .overlay
        .get(name)
        .and_then(|o| o.generation)
}

fn mounts_and_persists(fstype: &str) {
    let rig = machine(fstype);
    let data = mounted(&rig, "data");
    assert_eq!(fs::read_to_string(data.join("given")).unwrap(), "data");
    fs::write(data.join("given"), "changed").unwrap();
    fs::write(data.join("new"), "new").unwrap();
    assert_eq!(fs::read_to_string("/run/overlayd/data/base/given").unwrap(), "data");
    assert!(fs::write("/run/overlayd/data/base/given", "x").is_err(), "the base's view is read-only");
    let mounts = mountinfo::read().unwrap();
    let store = mountinfo::at(&mounts, Path::new("/run/overlayd/store")).unwrap();
    assert!(store.options.split(',').any(|o| o == "ro"), "the store stays guarded: {}", store.options);
    assert_eq!(mountinfo::at(&mounts, &data).unwrap().source, "overlayd:data");
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().unwrap();
    let (root, other) = (&told.overlay["root"], &told.overlay["data"]);
    assert_eq!(other.generation, Some(1));
    assert_eq!(other.base, format!("{} at /data", root.base));
    assert_eq!(told.problems, Vec::<String>::new());

    let again = mount_other(&rig, "data");
    assert!(again.status.success() && text(&again).contains("already"), "{}", text(&again));
    run("umount", &[s(&data)]);
    assert_eq!(fs::read_to_string(data.join("given")).unwrap(), "data", "the directory below is as it was");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    mounted(&rig, "data");
    assert_eq!(fs::read_to_string(data.join("given")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "new");
    let view = mountinfo::read().unwrap();
    let views = view.iter().filter(|m| m.target == Path::new("/run/overlayd/data/base")).count();
    assert_eq!(views, 1, "the view of the base before is cleaned");
    assert_eq!(generation("data"), Some(1));
    assert_eq!(generation("root"), Some(1));
}

#[test]
fn mounts_and_persists_on_ext4() {
    mounts_and_persists("ext4");
}

#[test]
fn mounts_and_persists_on_xfs() {
    mounts_and_persists("xfs");
}

#[test]
fn mounts_and_persists_on_btrfs() {
    mounts_and_persists("btrfs");
}

#[test]
fn two_side_by_side_know_nothing_of_each_other() {
    let rig = machine("ext4");
    let (data, logs) = (mounted(&rig, "data"), mounted(&rig, "logs"));
    fs::write(data.join("x"), "data").unwrap();
    fs::write(logs.join("x"), "logs").unwrap();
    run("umount", &[s(&data)]);
    assert_eq!(fs::read_to_string(logs.join("x")).unwrap(), "logs");
    mounted(&rig, "data");
    assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "data");
    let view = read::load(&Layout::new("/run/overlayd/store")).unwrap();
    assert_eq!(view.overlays.keys().collect::<Vec<_>>(), ["data", "logs", "root"]);
}

#[test]
fn mount_8_and_fstab_find_it() {
    let rig = machine("ext4");
    let early = rig.beside("early");
    fs::create_dir(&early).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", s(&early)]);
    for dir in ["upper", "work"] {
        fs::create_dir(early.join(dir)).unwrap();
    }
    // mount(8) looks for its helpers in /sbin alone.
    symlink(env!("CARGO_BIN_EXE_overlayd-early"), early.join("upper/mount.overlayd")).unwrap();
    let sbin = fs::canonicalize("/sbin").unwrap();
    let layers = format!("lowerdir={0},upperdir={1}/upper,workdir={1}/work", s(&sbin), s(&early));
    run("mount", &["-t", "overlay", "-o", &layers, "overlay", s(&sbin)]);
    let data = rig.path("data");
    run(
        "mount",
        &["-t", "overlayd", "-o", "nosuid,noatime,nofail,x-systemd.device-timeout=1", "data", s(&data)],
    );
    let options = mountinfo::at(&mountinfo::read().unwrap(), &data).unwrap().options.clone();
    assert!(options.contains("nosuid") && options.contains("noatime"), "{options}");
    run("umount", &[s(&data)]);
    let fstab = rig.beside("fstab");
    fs::write(
        &fstab,
        format!("data {} overlayd defaults 0 0\nlogs {} overlayd ro 0 0\n", s(&data), s(&rig.path("logs"))),
    )
    .unwrap();
    run("mount", &["-a", "-T", s(&fstab)]);
    fs::write(data.join("x"), "x").unwrap();
    assert!(fs::write(rig.path("logs/x"), "x").is_err(), "ro means ro");
    run("umount", &[s(&sbin)]);
}

#[test]
fn what_is_not_configured_or_elsewhere_is_refused() {
    let rig = machine("ext4");
    refused(&mount_other(&rig, "other"), "no overlay \"other\" is configured");
    refused(&mount_other(&rig, "root"), "no overlay \"root\"");
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_overlayd-early"))
        .args(["mount", "data", s(&rig.path("logs"))])
        .output()
        .unwrap();
    refused(&elsewhere, "belongs on");
    fs::create_dir(rig.path("data/below")).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", s(&rig.path("data/below"))]);
    refused(&mount_other(&rig, "data"), "is mounted in the directory");
    run("umount", &[s(&rig.path("data/below"))]);
    assert_eq!(generation("data"), None);
    let view = read::load(&Layout::new("/run/overlayd/store")).unwrap();
    assert!(!view.overlays.contains_key("data"), "a refusal makes nothing");
    mounted(&rig, "data");
}

#[test]
fn layers_that_somebody_still_writes_to_are_not_mounted_again() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let held = fs::File::create(data.join("held")).unwrap();
    run("umount", &["-l", s(&data)]);
    refused(&mount_other(&rig, "data"), "in use by another mount");
    drop(held);
    // Another test's thread may be between fork and exec, and hold our descriptors for that instant.
    for _ in 0..50 {
        if mount_other(&rig, "data").status.success() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    mounted(&rig, "data");
    assert!(data.join("held").exists());
    let work = Path::new("/run/overlayd/store/overlays/data/generations/1/work");
    let left: Vec<_> = fs::read_dir(work).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["work"], "the trial leaves nothing");
}

/// On a machine whose root is no overlay of ours.
#[test]
fn a_machine_without_an_overlay_root_gets_its_store_at_the_first_mount() {
    let mut rig = Rig::new("ext4", 64);
    let data = rig.beside("data");
    fs::create_dir(&data).unwrap();
    rig.configure(&format!("[overlay.data]\ntarget = \"{}\"\n[overlay.root]\nmode = \"off\"\n", s(&data)));
    // What the machine's own root would show.
    fs::create_dir_all("/run/overlayd/root/base").unwrap();
    run("mount", &["--bind", s(&rig.sysroot), "/run/overlayd/root/base"]);
    let output = Command::new(env!("CARGO_BIN_EXE_overlayd-early")).args(["mount", "data"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    fs::write(data.join("x"), "x").unwrap();
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().unwrap();
    assert_eq!(told.state.unwrap().fstype, "ext4");
    assert!(mountinfo::at(&mountinfo::read().unwrap(), Path::new("/run/overlayd/state")).is_none());
    assert!(fs::write("/run/overlayd/store/x", "").is_err());
    run("umount", &[s(&data)]);
    assert!(!data.join("x").exists());
}

/// The running machine as its daemon sees it: with a writable view of the store.
struct Daemon {
    site: Site,
    by: ByHand,
}

impl Daemon {
    fn of(rig: &Rig) -> Daemon {
        let own = rig.beside("own");
        fs::create_dir(&own).unwrap();
        run("mount", &[&rig.device, s(&own)]);
        let site =
            Site { store: own.join("overlayd"), handoff: Some(handoff::BOOT_TOML.into()), root: "/".into() };
        let command = vec![env!("CARGO_BIN_EXE_overlayd-early").to_owned(), "mount".to_owned()];
        Daemon { site, by: ByHand { command } }
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.site.store)
    }

    fn switch(&self, ask: &dyn Fn() -> overlayd::Result<Planned>) -> overlayd::Result<Planned> {
        self.switch_by(&self.by, ask)
    }

    fn switch_by(
        &self,
        by: &dyn Remount,
        ask: &dyn Fn() -> overlayd::Result<Planned>,
    ) -> overlayd::Result<Planned> {
        switch::at_once(&self.site, "data", &asked(), by, ask)
    }

    fn reset(&self) -> overlayd::Result<Planned> {
        self.switch(&|| self.ask_reset())
    }

    fn ask_reset(&self) -> overlayd::Result<Planned> {
        operation::request_reset(&self.site, "data", &Default::default(), &asked())
    }

    fn undo(&self) -> overlayd::Result<Planned> {
        self.switch(&|| restore::request_undo(&self.site, "data", &asked()))
    }

    fn restore(&self, id: u64) -> overlayd::Result<Planned> {
        self.switch(&|| restore::request(&self.site, "data", id, &asked()))
    }

    fn snapshot(&self) -> u64 {
        let wanted = Wanted::default();
        snapshot::create(&self.site, "data", &wanted, &asked(), &mut |_| ControlFlow::Continue(()))
            .unwrap()
            .id
    }

    fn current(&self) -> Option<u64> {
        read::load(&self.layout()).unwrap().overlays["data"].current.clone().unwrap()
    }

    fn is_pending(&self) -> bool {
        self.layout().request("data").exists()
    }
}

fn asked() -> Asked {
    Asked { by: "a test".into(), via: None }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn changes_at_once(fstype: &str) {
    let rig = machine(fstype);
    let data = mounted(&rig, "data");
    let logs = mounted(&rig, "logs");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "first").unwrap();
    fs::write(logs.join("mine"), "logs").unwrap();
    fs::remove_file(data.join("given")).unwrap();

    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given"], "the base alone, at once");
    assert_eq!(generation("data"), Some(2));
    assert!(!daemon.is_pending());
    fs::write(data.join("second"), "x").unwrap();

    daemon.undo().unwrap();
    assert_eq!(names(&data), ["mine"]);
    assert_eq!(generation("data"), Some(1));
    daemon.undo().unwrap();
    assert_eq!(names(&data), ["given", "second"], "and forward again");

    fs::write(data.join("snapped"), "kept").unwrap();
    fs::remove_file(data.join("second")).unwrap();
    assert_eq!(daemon.snapshot(), 1);
    fs::remove_file(data.join("given")).unwrap();
    daemon.restore(1).unwrap();
    assert_eq!(names(&data), ["given", "snapped"]);
    fs::write(data.join("snapped"), "changed").unwrap();
    let told = handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().unwrap();
    assert_eq!((told.overlay["data"].snapshot, told.overlay["data"].generation), (Some(1), Some(3)));
    daemon.restore(1).unwrap();
    assert_eq!(fs::read_to_string(data.join("snapped")).unwrap(), "kept");
    let gone = daemon.restore(7).unwrap_err();
    assert_eq!(gone.kind(), Kind::NoSuchSnapshot);
    assert_eq!(names(&data), ["given", "snapped"]);

    let outcome = read::load(&daemon.layout()).unwrap().overlays["data"].outcome.clone().unwrap().unwrap();
    assert_eq!(
        (outcome.action.word(), outcome.result.as_str(), outcome.requested_by.as_str()),
        ("restore", "done", "a test")
    );
    assert_eq!(fs::read_to_string(logs.join("mine")).unwrap(), "logs", "the other one saw nothing of it");
    run("umount", &[s(&data)]);
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given", "snapped"]);
}

/// What it keeps is named by its place in the booted system; the others are left alone.
#[test]
fn a_factory_reset_of_it_concerns_it_alone() {
    let mut rig = machine("ext4");
    rig.shutdown();
    let table = |name: &str| format!("[overlay.{name}]\ntarget = \"{}\"\n", s(&rig.path(name)));
    let keep = format!("[overlay.data.reset]\nkeep = [\"{}/kept*\"]\n", s(&rig.path("data")));
    let tables = [table("data"), table("logs"), keep].concat();
    rig.configure(&tables);
    rig.boot();
    let (data, logs) = (mounted(&rig, "data"), mounted(&rig, "logs"));
    let daemon = Daemon::of(&rig);
    for name in ["kept-1", "kept-2", "also", "lost"] {
        fs::write(data.join(name), name).unwrap();
        fs::write(logs.join(name), name).unwrap();
    }
    fs::remove_file(data.join("given")).unwrap();
    daemon.snapshot();
    let also = s(&data.join("also")).to_owned();
    let wanted = Resetting { level: Level::Factory, keep: vec![also, "/etc".into()], drop_kept: false };
    daemon.switch(&|| operation::request_reset(&daemon.site, "data", &wanted, &asked())).unwrap();
    assert_eq!(names(&data), ["also", "given", "kept-1", "kept-2"]);
    let view = read::load(&daemon.layout()).unwrap();
    let state = &view.overlays["data"];
    let outcome = state.outcome.clone().unwrap().unwrap();
    assert_eq!((outcome.kept_count, outcome.kept.len()), (Some(3), 3));
    assert!(outcome.kept.contains(&s(&data.join("kept-2")).to_owned()), "{:?}", outcome.kept);
    assert_eq!(
        (outcome.unmatched.as_slice(), outcome.erasure.as_deref()),
        (["/etc".into()].as_slice(), Some("erasing"))
    );
    assert!(state.snapshots.is_empty() && state.generations.len() == 1 && !daemon.is_pending());
    assert!(daemon.undo().unwrap_err().to_string().contains("bare image"));
    assert_eq!(names(&logs).len(), 5, "the other one is as it was");
    assert_eq!(view.overlays["root"].generations.len(), 1);

    let wanted = Resetting { level: Level::Factory, keep: Vec::new(), drop_kept: true };
    run("umount", &[s(&data)]);
    daemon.switch(&|| operation::request_reset(&daemon.site, "data", &wanted, &asked())).unwrap();
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given"], "not mounted, and nothing kept");
}

/// Snapshot, commit and single paths work on any overlay as on the root.
#[test]
fn commits_seals_and_restores_single_paths() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    let mut go_on = |_| ControlFlow::Continue(());
    fs::write(data.join("mine"), "committed").unwrap();
    let made = commit::commit(&daemon.site, "data", &Wanted::default(), &[], &asked(), &mut go_on).unwrap();
    fs::write(data.join("mine"), "later").unwrap();
    let path = [data.join("mine")];
    let from = restore::From::Snapshot(made.id);
    restore::paths(&daemon.site, "data", from, &path, false, &asked(), &mut go_on).unwrap();
    assert_eq!(fs::read_to_string(data.join("mine")).unwrap(), "committed");
    fs::write(data.join("mine"), "later").unwrap();
    fs::write(data.join("new"), "x").unwrap();
    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given", "mine"]);
    assert_eq!(
        fs::read_to_string(data.join("mine")).unwrap(),
        "committed",
        "a reset goes back to the commit"
    );

    let logs = mounted(&rig, "logs");
    fs::write(logs.join("sealed"), "x").unwrap();
    let seal = || snapshot::request(&daemon.site, "logs", &Wanted::default(), false, &asked());
    switch::at_once(&daemon.site, "logs", &asked(), &daemon.by, &seal).unwrap();
    assert_eq!(names(&logs), ["given", "sealed"]);
    let view = read::load(&daemon.layout()).unwrap();
    assert_eq!(view.overlays["logs"].snapshots[&1].as_ref().unwrap().strategy, "sealed");
}

#[test]
fn changes_at_once_on_ext4() {
    changes_at_once("ext4");
}

#[test]
fn changes_at_once_on_xfs() {
    changes_at_once("xfs");
}

#[test]
fn changes_at_once_on_btrfs() {
    changes_at_once("btrfs");
}

#[test]
fn processes_in_the_way_are_named_and_nothing_is_changed() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let mut sitting = Command::new("sleep").arg("60").current_dir(&data).spawn().unwrap();
    let mut reading = Command::new("tail").arg("-f").arg(data.join("mine")).spawn().unwrap();
    let named = |why: &overlayd::Error, what: &str| {
        assert_eq!(why.kind(), Kind::OverlayBusy);
        assert!(why.message().contains(what), "{what}: {why}");
    };
    let tail = format!("tail[{}] (open file)", reading.id());
    let both = (0..100).map(|_| daemon.reset().unwrap_err()).find(|why| why.message().contains(&tail));
    let both = both.expect("tail is never named");
    named(&both, &format!("sleep[{}] (working directory)", sitting.id()));
    assert!(!daemon.is_pending(), "the request is taken back");
    assert_eq!((daemon.current(), generation("data")), (Some(1), Some(1)));
    assert!(data.join("mine").exists());
    reading.kill().unwrap();
    reading.wait().unwrap();
    named(&daemon.undo().unwrap_err(), "sleep[");
    sitting.kill().unwrap();
    sitting.wait().unwrap();

    fs::create_dir(data.join("below")).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", s(&data.join("below"))]);
    named(&daemon.reset().unwrap_err(), &format!("the mount at {}", s(&data.join("below"))));
    run("umount", &[s(&data.join("below"))]);
    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given"]);
}

/// Somebody comes between the look and the unmount.
struct Race<'a>(&'a ByHand);

impl Remount for Race<'_> {
    fn remount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        let held = fs::File::open(target.join("mine")).unwrap();
        let done = self.0.remount(overlay, target);
        drop(held);
        done
    }

    fn mount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        self.0.mount(overlay, target)
    }
}

/// The mount of what was asked for fails, after the pointer has moved.
struct Broken<'a>(&'a ByHand, &'a Layout);

impl Remount for Broken<'_> {
    fn remount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        // The trial of the new generation's layers has no place.
        let (early, probe) = (&self.0.command[0], format!("/run/overlayd/{overlay}/probe"));
        let script = format!(
            "umount {0} && mount -o bind {probe} {probe} && mount -o remount,bind,ro {probe} || exit 99; \
             {early} mount {overlay} {0}; code=$?; umount {probe}; exit $code",
            s(target)
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let moved = fs::read_to_string(self.1.current(overlay)).unwrap();
        assert_eq!((output.status.code(), moved.as_str()), (Some(32), "2\n"), "{}", text(&output));
        assert!(self.1.request(overlay).exists());
        match output.status.success() {
            true => Ok(()),
            false => Err(overlayd::Error::new(Kind::Failed, text(&output))),
        }
    }

    fn mount(&self, overlay: &str, target: &Path) -> overlayd::Result<()> {
        self.0.mount(overlay, target)
    }
}

#[test]
fn a_race_is_lost_without_harm() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let why = daemon.switch_by(&Race(&daemon.by), &|| daemon.ask_reset()).unwrap_err();
    assert_eq!(why.kind(), Kind::OverlayBusy);
    assert!(why.message().contains("busy"), "{why}");
    assert!(!daemon.is_pending());
    assert!(data.join("mine").exists());
    daemon.reset().unwrap();
}

#[test]
fn what_can_not_be_mounted_gives_way_to_what_was() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let layout = daemon.layout();
    let why = daemon.switch_by(&Broken(&daemon.by, &layout), &|| daemon.ask_reset()).unwrap_err();
    assert!(why.message().contains("could not be mounted again as asked"), "{why}");
    assert!(why.message().ends_with("; it is mounted as it was"), "{why}");
    assert_eq!((daemon.current(), generation("data")), (Some(1), Some(1)));
    assert!(data.join("mine").exists() && !daemon.is_pending());
    let outcome = read::load(&layout).unwrap().overlays["data"].outcome.clone().unwrap().unwrap();
    assert_eq!(outcome.result, "failed");
    daemon.reset().unwrap();
    assert_eq!(names(&data), ["given"]);
}

#[test]
fn one_that_is_not_mounted_changes_without_being_mounted() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    fs::write(data.join("mine"), "x").unwrap();
    let held = fs::File::open(data.join("mine")).unwrap();
    run("umount", &["-l", s(&data)]);
    assert_eq!(daemon.reset().unwrap_err().kind(), Kind::OverlayBusy, "unmounted lazily is not unmounted");
    assert_eq!((daemon.current(), daemon.is_pending()), (Some(1), false));
    drop(held);
    daemon.reset().unwrap();
    assert_eq!((daemon.current(), daemon.is_pending()), (Some(2), false));
    assert!(mountinfo::at(&mountinfo::read().unwrap(), &data).is_none());
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given"]);
    run("umount", &[s(&data)]);
    daemon.undo().unwrap();
    mounted(&rig, "data");
    assert_eq!(names(&data), ["given", "mine"]);
}

/// The kill comes at every system call of the mount that executes the request, the first one right after the unmount.
#[test]
fn a_kill_between_unmount_and_mount_converges() {
    let rig = machine("ext4");
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    let mut done = false;
    for call in (1..).step_by(7) {
        fs::write(data.join("mine"), "x").unwrap();
        daemon.ask_reset().unwrap();
        run("umount", &[s(&data)]);
        let inject = format!("inject=all:signal=KILL:when={call}");
        let killed = Command::new("strace")
            .args([
                "-f",
                "-o",
                "/dev/null",
                "-e",
                &inject,
                env!("CARGO_BIN_EXE_overlayd-early"),
                "mount",
                "data",
            ])
            .output()
            .expect("strace is needed");
        done = killed.status.success();
        if mountinfo::at(&mountinfo::read().unwrap(), &data).is_none() {
            mounted(&rig, "data");
        }
        assert_eq!(names(&data), ["given"], "killed at call {call}");
        assert!(!daemon.is_pending(), "killed at call {call}");
        let mounts = mountinfo::read().unwrap();
        let ours = mounts.iter().filter(|m| m.source == "overlayd:data").count();
        assert_eq!(ours, 1, "killed at call {call}: {mounts:#?}");
        if done {
            break;
        }
    }
    assert!(done, "no run came to its end");
}

/// As on a machine that systemd runs, with services in mount namespaces that follow the host's.
#[test]
fn namespaces_that_follow_the_host_see_the_same_and_are_not_in_the_way() {
    let rig = machine("ext4");
    run("mount", &["--make-rshared", "/"]);
    let mut service =
        Command::new("unshare").args(["-m", "--propagation", "slave", "sleep", "60"]).spawn().unwrap();
    let comm = format!("/proc/{}/comm", service.id());
    assert!((0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        fs::read_to_string(&comm).unwrap() == "sleep\n"
    }));
    let theirs = || mountinfo::parse(&fs::read(format!("/proc/{}/mountinfo", service.id())).unwrap());
    let data = mounted(&rig, "data");
    let daemon = Daemon::of(&rig);
    for _ in 0..2 {
        for mounts in [theirs(), mountinfo::read().unwrap()] {
            assert_eq!(mountinfo::at(&mounts, &data).unwrap().source, "overlayd:data");
            assert_eq!(mounts.iter().filter(|m| m.source == "overlayd:data").count(), 1, "{mounts:#?}");
            let base: Vec<_> =
                mounts.iter().filter(|m| m.target == Path::new("/run/overlayd/data/base")).collect();
            assert!(base.len() == 1 && base[0].options.starts_with("ro,"), "{base:?}");
        }
        fs::write(data.join("mine"), "x").unwrap();
        daemon.reset().unwrap();
        assert_eq!(names(&data), ["given"]);
    }
    service.kill().unwrap();
    service.wait().unwrap();
    run("mount", &["--make-rprivate", "/"]);
}
