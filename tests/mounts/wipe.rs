//! The wipe: the state device is erased and made anew. What was on it is found nowhere on it, whatever happens meanwhile;
//! what may not be wiped stays as it was.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use overlayd::config::Mode;
use overlayd::handoff::Handoff;
use overlayd::operation::{self, Asked, Site};
use overlayd::plan::request::Resetting;
use overlayd::store::records::{Level, OutcomeRecord};
use overlayd::store::wipe_record::WipeRecord;
use overlayd::store::{Layout, read};
use overlayd::sys::block;
use overlayd::sys::wipe_sector::WipeSector;

use crate::rig::{Rig, manifest, run, s, text};

/// What must be found nowhere afterwards: in files, in names, in what was deleted before.
const SECRET: &str = "overlayd-test-secret-7c2fd0a1";

/// A machine that lived, off: with secrets in its store. Returns the store's UUID.
pub(crate) fn live(rig: &Rig) -> String {
    rig.boot();
    let secrets = format!("{SECRET}\n").repeat(5000);
    fs::write(rig.path("etc/secret"), &secrets).unwrap();
    fs::write(rig.path(&format!("etc/{SECRET}")), "short").unwrap();
    fs::write(rig.path("etc/deleted"), &secrets).unwrap();
    run("sync", &[]);
    fs::remove_file(rig.path("etc/deleted")).unwrap();
    rig.shutdown();
    assert!(holds_secret(rig), "the search works");
    rig.offline(|layout| read::load(layout).unwrap().record.uuid)
}

/// Asks for a wipe; returns the request's id.
pub(crate) fn ask(rig: &Rig) -> String {
    rig.offline(|layout| {
        let asked = Asked { by: "a test".into(), via: Some("a button".into()) };
        let wanted = Resetting { level: Level::Wipe, drop_kept: true, ..Resetting::default() };
        operation::request_reset(&Site::offline(layout.root()), "root", &wanted, &asked).unwrap();
        request(layout).unwrap()
    })
}

pub(crate) fn request(layout: &Layout) -> Option<String> {
    let view = read::load(layout).unwrap();
    view.overlays["root"].request.clone().map(|request| request.unwrap().id)
}

pub(crate) fn outcome(layout: &Layout) -> OutcomeRecord {
    read::outcome(layout, "root").expect("there is no outcome")
}

/// Whether the raw device has the secret anywhere: the file behind it is what the medium is of a disk.
fn holds_secret(rig: &Rig) -> bool {
    let file = block::property(Path::new(&rig.device), "loop/backing_file").unwrap();
    let output = Command::new("grep").args(["-c", "-a", "-F", SECRET, &file]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
    output.status.success()
}

/// Where the secret is, as bytes from the beginning of the device: whoever looks for the cause begins there.
fn places(rig: &Rig) -> String {
    let file = block::property(Path::new(&rig.device), "loop/backing_file").unwrap();
    let output =
        Command::new("grep").args(["-a", "-b", "-o", "-m", "9", "-F", SECRET, &file]).output().unwrap();
    text(&output).replace('\n', " ")
}

/// The device is new, and says how that came.
pub(crate) fn assert_wiped(rig: &Rig, handoff: &Handoff, bare: &str, old: &str, id: &str, what: &str) {
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None), "{what}");
    assert_eq!(root.generation, Some(1), "{what}");
    assert_eq!(manifest(&rig.sysroot), bare, "{what}");
    fs::write(rig.path("etc/new"), "x").unwrap();
    rig.shutdown();
    assert!(!holds_secret(rig), "the secret is on the raw device, at {}: {what}", places(rig));
    rig.offline(|layout| {
        let view = read::load(layout).unwrap();
        assert_ne!(view.record.uuid, old, "{what}");
        assert!(view.reserve, "a reset on a full disk needs it: {what}");
        assert_eq!(request(layout), None, "{what}");
        let outcome = outcome(layout);
        assert_eq!((&*outcome.request, &*outcome.result), (id, "done"), "{what}");
    });
}

fn wipes(fstype: &str) {
    let rig = Rig::new(fstype, 400);
    let bare = manifest(&rig.sysroot);
    let before = block::probe(Path::new(&rig.device)).unwrap().unwrap();
    let old = live(&rig);
    let id = ask(&rig);
    let handoff = rig.boot();
    assert_eq!(handoff.problems, Vec::<String>::new());
    assert_eq!(handoff.overlay["root"].executed.as_ref(), Some(&id));
    assert!(Path::new("/run/overlayd/cleanup-wanted").exists(), "the report is wanted");
    assert_wiped(&rig, &handoff, &bare, &old, &id, fstype);
    let after = block::probe(Path::new(&rig.device)).unwrap().unwrap();
    assert_eq!((after.fstype, &after.label), (before.fstype, &before.label));
    assert_ne!(after.uuid, before.uuid);
    let check: &[&str] = match fstype {
        "ext4" => &["e2fsck", "-f", "-n"],
        "xfs" => &["xfs_repair", "-n"],
        _ => &["btrfs", "check"],
    };
    run(check[0], &[&check[1..], &[&*rig.device]].concat());
    rig.offline(|layout| {
        let outcome = outcome(layout);
        assert_eq!((outcome.level, &*outcome.requested_by), (Level::Wipe, "a test"));
        assert_eq!(outcome.via.as_deref(), Some("a button"));
        assert_eq!(outcome.erasure.as_deref(), Some("complete"));
        // A loop device discards, and promises nothing.
        assert_eq!(outcome.secure.as_deref(), Some("unknown"));
        assert!(outcome.secure_why.unwrap().contains("BLKDISCARD"));
    });
    let again = rig.boot();
    assert_eq!(again.overlay["root"].executed, None, "it fires once");
    assert!(rig.path("etc/new").exists());
}

#[test]
fn wipes_ext4() {
    wipes("ext4");
}

#[test]
fn wipes_xfs() {
    wipes("xfs");
}

#[test]
fn wipes_btrfs() {
    wipes("btrfs");
}

fn keeps_the_uuid(fstype: &str) {
    let mut rig = Rig::new(fstype, 400);
    let uuid = block::probe(Path::new(&rig.device)).unwrap().unwrap().uuid;
    rig.configure_whole(&format!("[state]\ndevice = \"UUID={uuid}\"\n"));
    let bare = manifest(&rig.sysroot);
    let old = live(&rig);
    let id = ask(&rig);
    let handoff = rig.boot();
    assert_wiped(&rig, &handoff, &bare, &old, &id, fstype);
    assert_eq!(block::probe(Path::new(&rig.device)).unwrap().unwrap().uuid, uuid);
    rig.boot();
    assert!(rig.path("etc/new").exists());
}

#[test]
fn a_device_that_is_found_by_its_uuid_keeps_it_on_ext4() {
    keeps_the_uuid("ext4");
}

#[test]
fn a_device_that_is_found_by_its_uuid_keeps_it_on_xfs() {
    keeps_the_uuid("xfs");
}

#[test]
fn a_device_that_is_found_by_its_uuid_keeps_it_on_btrfs() {
    keeps_the_uuid("btrfs");
}

#[test]
fn a_device_that_can_not_discard_is_overwritten_and_says_so() {
    let mut rig = Rig::without_filesystem(1);
    // No hole can be made in a file on ramfs.
    let memory = rig.beside("memory");
    fs::create_dir(&memory).unwrap();
    run("mount", &["-t", "ramfs", "ramfs", s(&memory)]);
    let device = Detached::attach(&memory.join("image"), 64);
    rig.device = device.0.clone();
    rig.mkfs("ext4");
    rig.configure("");
    let bare = manifest(&rig.sysroot);
    let old = live(&rig);
    let id = ask(&rig);
    let handoff = rig.boot();
    assert_wiped(&rig, &handoff, &bare, &old, &id, "overwritten");
    let rotational = block::property(Path::new(&rig.device), "queue/rotational").unwrap() == "1";
    rig.offline(|layout| {
        let outcome = outcome(layout);
        assert_eq!(outcome.secure.as_deref(), Some(if rotational { "unknown" } else { "no" }));
        assert!(outcome.secure_why.unwrap().contains("overwritten with zeros"));
    });
}

#[test]
fn a_full_disk_is_wiped() {
    let rig = Rig::new("ext4", 64);
    let bare = manifest(&rig.sysroot);
    let old = live(&rig);
    rig.boot();
    crate::reset::fill(&rig, "ext4");
    rig.shutdown();
    let id = ask(&rig);
    let handoff = rig.boot();
    assert_wiped(&rig, &handoff, &bare, &old, &id, "full");
}

/// Its baseline and its snapshots go, and everything else.
#[test]
fn the_store_of_a_volatile_root_is_wiped() {
    let mut rig = Rig::new("ext4", 64);
    let old = live(&rig);
    rig.configure("[overlay.root]\nmode = \"volatile\"\n");
    let bare = manifest(&rig.sysroot);
    let id = ask(&rig);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone()), (Mode::Volatile, None));
    assert_eq!((root.executed.as_ref(), handoff.problems.len()), (Some(&id), 0), "{:?}", handoff.problems);
    assert_eq!(manifest(&rig.sysroot), bare);
    rig.shutdown();
    assert!(!holds_secret(&rig));
    rig.offline(|layout| {
        assert_ne!(read::load(layout).unwrap().record.uuid, old);
        assert_eq!(outcome(layout).request, id);
        assert_eq!(request(layout), None);
    });
}

/// What asked already must not ask again because the store that knew is gone.
#[test]
fn the_last_token_is_remembered() {
    let rig = Rig::new("ext4", 64);
    live(&rig);
    rig.offline(|layout| fs::write(layout.tokens(), "first\nlast\n").unwrap());
    ask(&rig);
    rig.boot();
    rig.shutdown();
    rig.offline(|layout| assert_eq!(fs::read_to_string(layout.tokens()).unwrap(), "last\n"));
}

/// Boots with a wipe that is refused: the old system is whole, the request is gone, and the outcome says why.
fn refuses(rig: &Rig, words: &[&str]) {
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone(), root.generation), (Mode::Persistent, None, Some(1)));
    assert_eq!(fs::read_to_string(rig.path("etc/secret")).unwrap().lines().count(), 5000);
    let told = handoff.problems.join("\n");
    rig.shutdown();
    rig.offline(|layout| {
        assert_eq!(request(layout), None);
        let outcome = outcome(layout);
        let message = outcome.message.unwrap();
        assert_eq!((&*outcome.result, outcome.level), ("failed", Level::Wipe), "{message}");
        for word in words {
            assert!(message.contains(word) && told.contains(word), "\"{word}\" is not in: {message}; {told}");
        }
    });
    assert_eq!(rig.boot().problems, Vec::<String>::new());
}

#[test]
fn a_request_for_another_store_wipes_nothing() {
    let rig = Rig::new("ext4", 64);
    let old = live(&rig);
    ask(&rig);
    rig.offline(|layout| {
        let text = fs::read_to_string(layout.request("root")).unwrap();
        fs::write(layout.request("root"), text.replace(&old, "00000000-0000-4000-8000-000000000000"))
            .unwrap();
    });
    let handoff = rig.boot();
    assert!(handoff.problems.join("\n").contains("not for this one"), "{:?}", handoff.problems);
    assert!(rig.path("etc/secret").exists());
    rig.shutdown();
    assert_eq!(rig.offline(|layout| read::load(layout).unwrap().record.uuid), old);
}

#[test]
fn a_device_that_is_mounted_elsewhere_is_not_wiped() {
    let mut rig = Rig::new("ext4", 64);
    // It would notice, too.
    rig.configure("fsck = \"never\"");
    live(&rig);
    ask(&rig);
    let elsewhere = rig.beside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    run("mount", &[&rig.device, s(&elsewhere)]);
    refuses(&rig, &["busy", &rig.device]);
}

#[test]
fn without_mkfs_nothing_is_wiped() {
    let rig = Rig::new("ext4", 64);
    live(&rig);
    ask(&rig);
    let program = overlayd::sys::process::find_program("mkfs.ext4").unwrap();
    run("mount", &["--bind", "/bin/false", s(&fs::canonicalize(program).unwrap())]);
    refuses(&rig, &["mkfs.ext4 failed"]);
}

#[test]
fn a_keep_list_can_not_be_kept_and_nothing_is_wiped() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("[overlay.root.reset]\nkeep = [\"/etc/machine-id\"]\n");
    live(&rig);
    ask(&rig);
    rig.offline(|layout| {
        let text = fs::read_to_string(layout.request("root")).unwrap();
        fs::write(layout.request("root"), text.replace("drop-kept = true\n", "")).unwrap();
    });
    refuses(&rig, &["keep", "--factory"]);
}

#[test]
fn a_refusal_on_a_full_disk_is_told_nevertheless() {
    let mut rig = Rig::new("ext4", 64);
    rig.configure("fsck = \"never\"");
    live(&rig);
    rig.boot();
    crate::reset::fill(&rig, "ext4");
    rig.shutdown();
    ask(&rig);
    let elsewhere = rig.beside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    run("mount", &[&rig.device, s(&elsewhere)]);
    let handoff = rig.boot();
    assert!(rig.path("etc/secret").exists());
    rig.shutdown();
    rig.offline(|layout| {
        assert_eq!(request(layout), None, "{:?}", handoff.problems);
        let message = outcome(layout).message.unwrap();
        assert!(message.contains("busy"), "{message}");
    });
}

#[test]
fn a_btrfs_of_two_devices_is_not_wiped() {
    let mut rig = Rig::without_filesystem(128);
    let second = Detached::attach(&rig.beside("second.img"), 128);
    run("mkfs.btrfs", &["-q", "-f", "-L", "two", &rig.device, &second.0]);
    rig.configure_whole(&format!("[state]\ndevice = \"{}\"\n", rig.device));
    run("btrfs", &["device", "scan", &second.0]);
    live(&rig);
    ask(&rig);
    refuses(&rig, &["spans 2 devices"]);
}

/// Neither the configuration nor the mount options name the journal's device.
#[test]
fn an_ext4_with_its_journal_elsewhere_is_not_wiped() {
    let mut rig = Rig::without_filesystem(64);
    let journal = Detached::attach(&rig.beside("journal.img"), 16);
    run("mkfs.ext4", &["-q", "-F", "-O", "journal_dev", "-b", "4096", &journal.0]);
    let device = format!("device={}", journal.0);
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-J", &device, &rig.device]);
    rig.configure_whole(&format!("[state]\ndevice = \"{}\"\n", rig.device));
    live(&rig);
    ask(&rig);
    refuses(&rig, &["the journal of the filesystem", "lies on another device", "--factory"]);
}

/// The rig takes its last loop device for the base's: this one it must not know.
pub(crate) struct Detached(pub(crate) String);

impl Detached {
    pub(crate) fn attach(image: &Path, mib: u64) -> Detached {
        fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
        let output = run("losetup", &["-f", "--show", s(image)]);
        Detached(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).output();
    }
}

fn mark(size: u64) -> [u8; 512] {
    let record = WipeRecord { request: "r".into(), store: "s".into(), size, ..WipeRecord::default() };
    let [fstype, uuid, label] = ["ext4", "u", "l"].map(str::to_owned);
    WipeSector { fstype, uuid, label, text: record.fitting().unwrap() }.encode().unwrap()
}

fn write_front(device: &str, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(device).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn the_mark_of_another_device_is_left_alone() {
    let mut rig = Rig::without_filesystem(64);
    rig.configure_whole(&format!("[state]\ndevice = \"{}\"\n", rig.device));
    write_front(&rig.device, &mark(65 << 20));
    let before = run("sha256sum", &[&rig.device]).stdout;
    let root = rig.boot().overlay["root"].clone();
    let reason = root.reason.unwrap();
    assert_eq!(root.mode, Mode::Volatile, "{reason}");
    assert!(reason.contains("is of a device of 68157440 bytes") && reason.contains("left alone"), "{reason}");
    assert_eq!(run("sha256sum", &[&rig.device]).stdout, before, "not a byte of it is written");
}

#[test]
fn a_damaged_mark_is_none() {
    let rig = Rig::new("ext4", 64);
    live(&rig);
    let mut broken = mark(64 << 20);
    broken[200] ^= 1;
    write_front(&rig.device, &broken);
    let root = rig.boot().overlay["root"].clone();
    assert_eq!((root.mode, root.executed), (Mode::Persistent, None));
    assert!(rig.path("etc/secret").exists());
}
