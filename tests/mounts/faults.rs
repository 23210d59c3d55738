//! The state device in trouble at boot: late, of the wrong kind, damaged in each of its parts. The boot ends in time, in the
//! fallback or repaired, says why, and the device is used again once it is well.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use overlayd::config::Mode;

use crate::bad_days::falls_back;
use crate::faulty::Faulty;
use crate::rig::{Rig, run, s, text};

/// A store on this filesystem with `/etc/precious` in it, and the machine off.
pub(crate) fn with_data(fstype: &str) -> Rig {
    let rig = Rig::new(fstype, if fstype == "ext4" { 64 } else { 320 });
    rig.boot();
    fs::write(rig.path("etc/precious"), "data").unwrap();
    rig.shutdown();
    rig
}

/// Boots, and expects the layer with its data.
pub(crate) fn is_used(rig: &Rig) -> Vec<String> {
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None), "{handoff:?}");
    assert_eq!(fs::read_to_string(rig.path("etc/precious")).unwrap(), "data");
    handoff.problems
}

/// What a program says of the device: the number behind `key`.
pub(crate) fn number(program: &str, arguments: &[&str], key: &str) -> u64 {
    let said = text(&run(program, arguments));
    let line =
        said.lines().find_map(|l| l.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key}: {said}"));
    let digits = line.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap()
}

/// Overwrites a part of the device; gives back what was there.
pub(crate) fn overwrite(rig: &Rig, at: u64, with: &[u8]) -> Vec<u8> {
    let file = fs::OpenOptions::new().read(true).write(true).open(&rig.device).unwrap();
    let mut before = vec![0; with.len()];
    file.read_exact_at(&mut before, at).unwrap();
    file.write_all_at(with, at).unwrap();
    file.sync_all().unwrap();
    before
}

/// Overwrites a part, boots into the fallback because of `words`, mends the part, and boots with the data.
fn with_damage(rig: &Rig, at: u64, with: &[u8], words: &[&str]) {
    let before = overwrite(rig, at, with);
    falls_back(rig, words);
    rig.shutdown();
    overwrite(rig, at, &before);
    is_used(rig);
}

/// The same, and in the fallback not a byte of the device is written.
fn falls_back_until_mended(rig: &Rig, at: u64, with: &[u8], words: &[&str]) {
    let sound = overwrite(rig, at, with);
    let damaged = run("sha256sum", &[&rig.device]).stdout;
    falls_back(rig, words);
    rig.shutdown();
    assert_eq!(run("sha256sum", &[&rig.device]).stdout, damaged, "the damaged device was written to");
    overwrite(rig, at, &sound);
    with_damage(rig, at, with, words);
}

/// Where block `of` (as debugfs's bmap has it) of the state filesystem lies, in bytes.
pub(crate) fn ext4_block(rig: &Rig, of: &str) -> u64 {
    let size = number("dumpe2fs", &["-h", &rig.device], "Block size:");
    let said = run("debugfs", &["-R", &format!("bmap {of}"), &rig.device]);
    size * String::from_utf8(said.stdout).unwrap().trim().parse::<u64>().unwrap()
}

#[test]
fn a_late_device_is_waited_for() {
    let mut rig = Rig::without_filesystem(64);
    let label = format!("late{}", std::process::id() % 1_000_000);
    let image = rig.beside("late.img");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.ext4", &["-q", "-F", "-L", &label, s(&image)]);
    rig.configure_whole(&format!("[state]\ndevice = \"LABEL={label}\"\ntimeout = \"60s\"\n"));
    let comes = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(5));
        text(&run("losetup", &["-f", "--show", s(&image)])).trim().to_owned()
    });
    let handoff = rig.boot();
    rig.adopt(comes.join().unwrap());
    assert_eq!(handoff.overlay["root"].mode, Mode::Persistent, "{handoff:?}");
    assert!((4000..30_000).contains(&handoff.waited_ms), "{handoff:?}");
}

#[test]
fn a_device_that_returns_is_used_again() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let mut rig = with_data(fstype);
        rig.unplug();
        falls_back(&rig, &["no device LABEL=", "300ms"]);
        rig.shutdown();
        rig.plug();
        assert_eq!(is_used(&rig), Vec::<String>::new(), "{fstype}");
    }
}

#[test]
fn a_device_with_something_else_on_it_is_left_alone() {
    for (have, want, words) in [
        ("xfs", "ext4", "holds xfs, not ext4"),
        ("btrfs", "ext4", "holds btrfs, not ext4"),
        ("ext4", "xfs", "holds ext4, not xfs"),
        ("vfat", "auto", "holds vfat"),
    ] {
        let mut rig = Rig::without_filesystem(320);
        rig.mkfs(have);
        let device = rig.device.clone();
        rig.configure_whole(&format!(
            "[state]\ndevice = \"{device}\"\nfstype = \"{want}\"\ntimeout = \"300ms\"\n"
        ));
        let before = run("sha256sum", &[&device]).stdout;
        falls_back(&rig, &[words]);
        assert_eq!(run("sha256sum", &[&device]).stdout, before, "{have}");
    }
}

#[test]
fn a_read_only_device_is_left_alone() {
    for fstype in ["xfs", "btrfs"] {
        let rig = with_data(fstype);
        run("blockdev", &["--setro", &rig.device]);
        let told =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| falls_back(&rig, &["is read-only"])));
        run("blockdev", &["--setrw", &rig.device]);
        assert!(told.is_ok(), "{fstype}");
        rig.shutdown();
        is_used(&rig);
    }
}

#[test]
fn a_damaged_superblock() {
    let xfs = with_data("xfs");
    // One byte, which only the checksum tells.
    falls_back_until_mended(&xfs, 100, &[0xff], &["xfs filesystem on"]);
    xfs.shutdown();
    falls_back_until_mended(&xfs, 0, &[0; 512], &["no device LABEL="]);
    drop(xfs);
    let btrfs = with_data("btrfs");
    falls_back_until_mended(&btrfs, 0x10100, &[0xff], &["btrfs filesystem on"]);
    btrfs.shutdown();
    falls_back_until_mended(&btrfs, 0x10000, &[0; 4096], &["no device LABEL="]);
}

#[test]
fn a_damaged_inode_table() {
    let mut ext4 = with_data("ext4");
    ext4.configure("fsck = \"never\"");
    let size = number("dumpe2fs", &["-h", &ext4.device], "Block size:");
    let table = size * number("dumpe2fs", &[&ext4.device], "Inode table at");
    // The kernel itself notes in superblock and journal that it met an error.
    with_damage(&ext4, table, &[0; 8192], &["ext4 filesystem on"]);
    ext4.shutdown();
    ext4.configure("fsck = \"auto\"");
    overwrite(&ext4, table, &[0; 8192]);
    falls_back(&ext4, &["by itself", "e2fsck"]);
    drop(ext4);
    let xfs = with_data("xfs");
    let root = number("xfs_db", &["-r", "-c", "sb 0", "-c", "p rootino", &xfs.device], "rootino =");
    let convert = format!("convert inode {root} daddr");
    let said = text(&run("xfs_db", &["-r", "-c", &convert, &xfs.device]));
    let sector: u64 = said.split(['(', ')']).nth(1).unwrap().parse().unwrap();
    with_damage(&xfs, sector * 512, &[0; 32768], &["xfs filesystem on"]);
}

#[test]
fn a_damaged_root_tree_in_both_copies() {
    let rig = with_data("btrfs");
    let root = number("btrfs", &["inspect-internal", "dump-super", &rig.device], "root\t");
    let map = text(&run("btrfs-map-logical", &["-l", &root.to_string(), &rig.device]));
    let places: Vec<u64> = map
        .lines()
        .map(|l| l.split_once("physical ").unwrap().1.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(places.len(), 2, "{map}");
    // With one copy the filesystem is used, so it is only mended in one.
    overwrite(&rig, places[0], &[0; 16384]);
    falls_back_until_mended(&rig, places[1], &[0; 16384], &["btrfs filesystem on"]);
}

#[test]
fn a_damaged_journal_is_made_anew_or_the_boot_falls_back() {
    let ext4 = with_data("ext4");
    let journal = ext4_block(&ext4, "<8> 0");
    overwrite(&ext4, journal, &[0; 1024]);
    let problems = is_used(&ext4);
    assert!(problems.iter().any(|p| p.contains("repaired")), "{problems:?}");
    drop(ext4);
    let xfs = with_data("xfs");
    let start = number("xfs_db", &["-r", "-c", "sb 0", "-c", "p logstart", &xfs.device], "logstart =");
    let said = text(&run("xfs_db", &["-r", "-c", &format!("convert fsblock {start} daddr"), &xfs.device]));
    let sector: u64 = said.split(['(', ')']).nth(1).unwrap().parse().unwrap();
    let garbage: Vec<u8> = (0..4u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    falls_back_until_mended(&xfs, sector * 512, &garbage, &["xfs filesystem on"]);
}

#[test]
fn without_fsck_a_damaged_journal_is_left_alone() {
    let mut rig = with_data("ext4");
    rig.configure("fsck = \"never\"");
    let journal = ext4_block(&rig, "<8> 0");
    falls_back_until_mended(&rig, journal, &[0; 1024], &["ext4 filesystem on"]);
}

#[test]
fn fsck_is_run_as_configured() {
    for (fsck, repairs) in [("auto", false), ("never", false), ("force", true)] {
        let mut rig = with_data("ext4");
        rig.configure(&format!("fsck = \"{fsck}\""));
        // Wrong, and marked as clean: only a whole check finds it.
        run("debugfs", &["-w", "-R", "set_super_value free_inodes_count 7", &rig.device]);
        let problems = is_used(&rig);
        assert_eq!(problems.iter().any(|p| p.contains("repaired")), repairs, "{fsck}: {problems:?}");
    }
    // Not marked as clean: `auto` checks.
    let mut rig = with_data("ext4");
    run("debugfs", &["-w", "-R", "set_super_value free_inodes_count 7", &rig.device]);
    run("debugfs", &["-w", "-R", "set_super_value state 0", &rig.device]);
    rig.configure("fsck = \"never\"");
    assert!(!is_used(&rig).iter().any(|p| p.contains("repaired")));
    rig.shutdown();
    run("debugfs", &["-w", "-R", "set_super_value state 0", &rig.device]);
    rig.configure("fsck = \"auto\"");
    assert!(is_used(&rig).iter().any(|p| p.contains("repaired")));
}

/// A device that refuses `what`, read or write: the fallback in time, which names the device if it `is_named`, and used again
/// when it does not.
fn refuses(what: &str, is_named: bool) {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let mut rig = with_data(fstype);
        let faulty = Faulty::start(&rig.beside("state.img"), &rig.beside("faulty.img"), Some(what));
        let on = |device: &str| format!("[state]\ndevice = \"{device}\"\ntimeout = \"1s\"\n");
        rig.configure_whole(&on(&faulty.device));
        let started = Instant::now();
        let named: &[&str] = if is_named { &[&faulty.device] } else { &[] };
        falls_back(&rig, named);
        assert!(started.elapsed() < Duration::from_secs(20), "{fstype}: {:?}", started.elapsed());
        rig.shutdown();
        drop(faulty);
        let sound = on(&rig.device);
        rig.configure_whole(&sound);
        is_used(&rig);
    }
}

#[test]
fn a_device_that_can_not_be_read() {
    refuses("read", true);
}

#[test]
fn a_device_that_can_not_be_written_to() {
    refuses("write", false);
}
