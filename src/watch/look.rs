//! What the state filesystem says of itself, without waking the device: its flags, what sysfs counts, and whether the store
//! can still be read, which the kernel answers from memory.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::record::STATE;
use crate::config::Mode;
use crate::error::{Error, Kind, Result};
use crate::handoff::{Handoff, HandoffState};
use crate::store::Layout;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::space::{self, Space};
use crate::sys::{lock, process};

/// A device that does not answer for so long hangs.
const LIMIT: Duration = Duration::from_secs(4);
/// Held by the child that tries the store.
const LOCK: &str = "watch.lock";

/// Where to look.
pub(super) struct Place<'a> {
    pub(super) handoff: &'a Handoff,
    pub(super) store: &'a Path,
    /// The program that tries the store.
    pub(super) program: &'a Path,
    /// Where its lock lies.
    pub(super) run: &'a Path,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// What is wrong with the state filesystem.
    pub(super) trouble: Option<String>,
    /// The space of it, and of each upper in RAM, by overlay.
    pub(super) spaces: Vec<(String, Space)>,
}

/// Looks. Never fails: what can not be seen is what is wrong.
pub(super) fn look(place: &Place<'_>) -> Look {
    let mut look = Look { trouble: None, spaces: in_memory(place) };
    let mounts = mountinfo::read().unwrap_or_default();
    let state = place.handoff.state.as_ref();
    // A fallback has no state filesystem; why, the handoff says. The store itself is not asked: it may hang.
    let mount = mountinfo::at(&mounts, place.store).filter(|_| state.is_some());
    let Some(mount) = mount else { return look };
    let tried = tried(place);
    if let Ok(space) = &tried {
        look.spaces.push((STATE.to_owned(), *space));
    }
    let device = state.map_or(mount.source.as_str(), |state| &state.device);
    let wrong = read_only(mount).or_else(|| gone(mount, state, Path::new("/sys"))).map(str::to_owned);
    let wrong = wrong.or_else(|| tried.err().map(|e| e.to_string()));
    let counted = errors(mount, state, Path::new("/sys"));
    look.trouble = match (wrong, counted) {
        (None, None) => None,
        (wrong, counted) => {
            let all: Vec<String> = wrong.into_iter().chain(counted).collect();
            Some(format!("the state filesystem on {device} {}", all.join(", and ")))
        }
    };
    look
}

fn in_memory(place: &Place<'_>) -> Vec<(String, Space)> {
    let volatile = place.handoff.overlay.iter().filter(|(_, overlay)| overlay.mode == Mode::Volatile);
    let seen = volatile.filter_map(|(name, _)| {
        Some((name.clone(), space::of(&place.run.join(name).join("volatile")).ok()?))
    });
    seen.collect()
}

/// ext4 is remounted read-only when it meets an error; since Linux 6.15 it says so by a word of its own.
fn read_only(mount: &Mount) -> Option<&'static str> {
    let has = |word: &str| mount.super_options.split(',').any(|option| option == word);
    if has("shutdown") {
        return Some("was shut down after an error");
    }
    (has("ro") || has("emergency_ro")).then_some("became read-only")
}

/// Whether the device went away: then sysfs does not have it any more.
fn gone(mount: &Mount, state: Option<&HandoffState>, sys: &Path) -> Option<&'static str> {
    let there = match mount.major {
        // btrfs has a number of its own.
        0 => state.is_none_or(|state| Path::new(&state.device).exists()),
        major => sys.join(format!("dev/block/{major}:{}", mount.minor)).exists(),
    };
    (!there).then_some("is on a device that is gone")
}

/// What the filesystem counted, which may not have made it read-only: ext4 until fsck, btrfs until `btrfs device stats -z`.
fn errors(mount: &Mount, state: Option<&HandoffState>, sys: &Path) -> Option<String> {
    let count = match mount.fstype.as_str() {
        "btrfs" => btrfs_errors(&sys.join("fs/btrfs").join(&state?.uuid).join("devinfo")),
        _ => {
            let node = fs::canonicalize(&mount.source).ok()?;
            let count = sys.join("fs").join(&mount.fstype).join(node.file_name()?).join("errors_count");
            fs::read_to_string(count).ok()?.trim().parse().ok()?
        }
    };
    (count > 0).then(|| format!("has met {count} errors"))
}

/// Lines of a name and a number, for each device.
fn btrfs_errors(devices: &Path) -> u64 {
    let texts = fs::read_dir(devices).into_iter().flatten().flatten();
    let texts = texts.filter_map(|device| fs::read_to_string(device.path().join("error_stats")).ok());
    texts
        .map(|text| text.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum::<u64>())
        .sum()
}

/// Has a child try the store. One that hangs in the kernel can not be ended: no other is started beside it.
fn tried(place: &Place<'_>) -> Result<Space> {
    let hangs = || Error::new(Kind::Failed, "does not answer");
    let lock = place.run.join(LOCK);
    if lock::attempt(&lock)?.is_none() {
        return Err(hangs());
    }
    let arguments = ["--try-store", &*place.store.to_string_lossy(), &*lock.to_string_lossy()];
    let exit = process::run(place.program, &arguments, LIMIT).map_err(|_| hangs())?;
    let cannot = || Error::new(Kind::Failed, format!("can not be read: {}", exit.output.trim()));
    let numbers: Option<Vec<u64>> = exit.output.split_whitespace().map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[bytes_total, bytes_free, inodes_total, inodes_free]) if exit.code == Some(0) => {
            Ok(Space { bytes_total, bytes_free, inodes_total, inodes_free })
        }
        _ => Err(cannot()),
    }
}

/// What the child does: reads a file that is in memory, as nobody but a filesystem that is shut down refuses, and asks for
/// the space. It holds `lock` meanwhile. Four numbers, for [`tried`].
pub fn try_store(store: &Path, lock: &Path) -> Result<String> {
    let _held = lock::attempt(lock)?;
    let path = Layout::new(store).record();
    let fail = |e: std::io::Error| Error::io("read", &path, e);
    fs::metadata(store).map_err(|e| Error::io("look at", store, e))?;
    // Reading must not change the time of access, which would be a write.
    let open = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOATIME).open(&path);
    match open {
        // A store that is damaged is the status's business.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        file => drop(file.and_then(|mut file| file.read(&mut [0; 64])).map_err(fail)?),
    }
    let space = space::of(store)?;
    Ok(format!("{} {} {} {}\n", space.bytes_total, space.bytes_free, space.inodes_total, space.inodes_free))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(line: &str) -> Mount {
        mountinfo::parse(line.as_bytes()).remove(0)
    }

    #[test]
    fn the_flags_of_the_superblock_tell() {
        let with = |options: &str| read_only(&mount(&format!("1 1 7:0 / /s ro - ext4 /dev/loop0 {options}")));
        assert_eq!(with("rw,errors=remount-ro"), None);
        assert_eq!(with("ro,errors=remount-ro"), Some("became read-only"));
        assert_eq!(with("rw,emergency_ro"), Some("became read-only"));
        assert_eq!(with("rw,shutdown"), Some("was shut down after an error"));
    }

    #[test]
    fn a_device_that_sysfs_does_not_have_is_gone() {
        let sys = crate::sys::process::test_dir("gone");
        fs::create_dir_all(sys.join("dev/block/7:0")).unwrap();
        let on = |number: &str| mount(&format!("1 1 {number} / /s ro - xfs /dev/x rw"));
        assert_eq!(gone(&on("7:0"), None, &sys), None);
        assert_eq!(gone(&on("7:1"), None, &sys), Some("is on a device that is gone"));
        let state = |device: &str| HandoffState { device: device.into(), ..HandoffState::default() };
        assert_eq!(gone(&on("0:50"), Some(&state("/dev/null")), &sys), None);
        assert!(gone(&on("0:50"), Some(&state("/dev/nothing-there")), &sys).is_some());
        fs::remove_dir_all(sys).unwrap();
    }

    #[test]
    fn errors_that_were_counted_tell() {
        let sys = crate::sys::process::test_dir("errors");
        let (ext4, btrfs) = (sys.join("fs/ext4/null"), sys.join("fs/btrfs/u/devinfo/1"));
        fs::create_dir_all(&ext4).unwrap();
        fs::create_dir_all(&btrfs).unwrap();
        let state = HandoffState { uuid: "u".into(), ..HandoffState::default() };
        let of = |fstype: &str| {
            errors(&mount(&format!("1 1 7:0 / /s ro - {fstype} /dev/null rw")), Some(&state), &sys)
        };
        fs::write(ext4.join("errors_count"), "0\n").unwrap();
        fs::write(btrfs.join("error_stats"), "write_errs 0\nread_errs 0\n").unwrap();
        assert_eq!([of("ext4"), of("btrfs"), of("xfs")], [None, None, None]);
        fs::write(ext4.join("errors_count"), "3\n").unwrap();
        fs::write(btrfs.join("error_stats"), "write_errs 2\nread_errs 5\n").unwrap();
        assert_eq!(of("ext4").as_deref(), Some("has met 3 errors"));
        assert_eq!(of("btrfs").as_deref(), Some("has met 7 errors"));
        fs::remove_dir_all(sys).unwrap();
    }
}
