//! Who uses a mounted filesystem: what would keep it from being unmounted, in words for people. Best effort: what may
//! not be looked at, and what only the kernel knows, is missing. Which file it is is left out: everybody may read how a
//! job ended.
//!
//! A file of an overlay may show another device number than the overlay itself, so it is the mount that is compared:
//! statx(2) tells it for every descriptor, directory and mapping (Linux 5.8), and numbers of mounts are the same in
//! every mount namespace.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::mountinfo::{self, Mount};
use crate::error::{Error, Result};

/// The mount namespace of this thread.
pub const HERE: &str = "/proc/thread-self";
/// The mount namespace of the service manager.
pub const HOST: &str = "/proc/1";

/// Everything that is in the way of unmounting `target` in the mount namespace of the process `whose` ([`HERE`],
/// [`HOST`]): `bash[123] (working directory)`.
pub fn in_the_way(target: &Path, whose: &str) -> Result<Vec<String>> {
    let path = Path::new(whose).join("mountinfo");
    let mounts = mountinfo::parse(&fs::read(&path).map_err(|e| Error::io("read", path, e))?);
    let Some(top) = mountinfo::at(&mounts, target) else { return Ok(Vec::new()) };
    let mut found = other_mounts(&mounts, top);
    found.extend(kernel_users(target));
    let processes = processes();
    let copies = copies(&processes, top, Path::new(whose));
    let taken_along = taken_along(top, &copies);
    for (task, theirs) in &copies {
        if theirs.iter().any(|copy| !taken_along.contains(&copy.id)) {
            found.push(format!("{} (keeps it in a mount namespace of its own)", described(task)));
        }
    }
    let ids = of_same_filesystem(&mounts, top)
        .chain(copies.iter().flat_map(|(_, theirs)| theirs))
        .map(|m| m.id)
        .collect();
    let holds = |process: &PathBuf| Some(format!("{} ({})", described(process), held(process, &ids)?));
    found.extend(processes.iter().filter_map(holds));
    Ok(found)
}

/// Mounts of the same filesystem in other mount namespaces, each with a thread that is in it.
fn copies(processes: &[PathBuf], top: &Mount, whose: &Path) -> Vec<(PathBuf, Vec<Mount>)> {
    let mut seen = BTreeSet::from([namespace(whose)]);
    let mut copies = Vec::new();
    for task in processes.iter().flat_map(|process| tasks(process)) {
        if !seen.insert(namespace(&task)) {
            continue;
        }
        let theirs = mountinfo::parse(&fs::read(task.join("mountinfo")).unwrap_or_default());
        copies.push((task, of_same_filesystem(&theirs, top).cloned().collect()));
    }
    copies
}

/// The copies that go when `top` is unmounted: its peers, what receives from them, and so on.
fn taken_along(top: &Mount, copies: &[(PathBuf, Vec<Mount>)]) -> BTreeSet<u64> {
    let group =
        |m: &Mount, tag: &str| m.tags.split(' ').find_map(|t| t.strip_prefix(tag)?.parse::<u64>().ok());
    let mut groups: BTreeSet<u64> = group(top, "shared:").into_iter().collect();
    let mut along = BTreeSet::new();
    loop {
        let before = along.len();
        for copy in copies.iter().flat_map(|(_, theirs)| theirs) {
            let (peers, master) = (group(copy, "shared:"), group(copy, "master:"));
            if [peers, master].iter().flatten().any(|g| groups.contains(g)) {
                along.insert(copy.id);
                groups.extend(peers);
            }
        }
        if along.len() == before {
            return along;
        }
    }
}

fn of_same_filesystem<'a>(mounts: &'a [Mount], top: &'a Mount) -> impl Iterator<Item = &'a Mount> {
    mounts.iter().filter(|m| (m.major, m.minor) == (top.major, top.minor))
}

/// What is mounted below, and where else the same filesystem is mounted.
fn other_mounts(mounts: &[Mount], top: &Mount) -> Vec<String> {
    let below = mountinfo::below(mounts, &top.target);
    let elsewhere = of_same_filesystem(mounts, top).filter(|m| !m.target.starts_with(&top.target));
    let paths = below.into_iter().chain(elsewhere.map(|m| m.target.clone()));
    paths.map(|path| format!("the mount at {}", path.display())).collect()
}

/// Files that the kernel itself keeps open.
fn kernel_users(target: &Path) -> Vec<String> {
    let below = |path: &str| Path::new(path).starts_with(target);
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swaps = swaps.lines().filter_map(|line| line.split_whitespace().next());
    let mut found: Vec<String> =
        swaps.filter(|path| below(path)).map(|p| format!("swap space in {p}")).collect();
    for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if below(backing.trim_end()) {
            let device = device.file_name().to_string_lossy().into_owned();
            found.push(format!("the loop device {device} on {}", backing.trim_end()));
        }
    }
    found
}

/// What one process holds, the first thing found.
fn held(process: &Path, ids: &BTreeSet<u64>) -> Option<String> {
    let hit = |path: PathBuf, what: &str| {
        let stat = statx(CWD, &path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok()?;
        let known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 && ids.contains(&stat.stx_mnt_id);
        known.then(|| what.to_owned())
    };
    let directories = tasks(process).into_iter().find_map(|task| {
        hit(task.join("cwd"), "working directory").or_else(|| hit(task.join("root"), "root directory"))
    });
    directories
        .or_else(|| hit(process.join("exe"), "runs a program"))
        .or_else(|| entries(&process.join("fd")).into_iter().find_map(|fd| hit(fd, "open file")))
        .or_else(|| entries(&process.join("map_files")).into_iter().find_map(|map| hit(map, "mapped file")))
}

fn processes() -> Vec<PathBuf> {
    let is_process = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
    };
    entries(Path::new("/proc")).into_iter().filter(is_process).collect()
}

/// Threads may have directories and a mount namespace of their own.
fn tasks(process: &Path) -> Vec<PathBuf> {
    entries(&process.join("task"))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn namespace(task: &Path) -> u64 {
    fs::metadata(task.join("ns/mnt")).map_or(0, |m| m.ino())
}

fn described(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    format!("{}[{}]", name.trim_end(), process.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount;
    use std::process::{Command, Stdio};

    #[test]
    fn copies_that_receive_the_unmount_go_with_it_and_others_stay() {
        let mounts = mountinfo::parse(
            b"1 0 0:9 / /d rw shared:5 - tmpfs t rw\n2 0 0:9 / /d rw master:7 - tmpfs t rw\n\
              3 0 0:9 / /d rw shared:7 master:5 - tmpfs t rw\n4 0 0:9 / /d rw - tmpfs t rw\n\
              5 0 0:9 / /d rw shared:8 - tmpfs t rw\n6 0 0:9 / /d rw shared:5 - tmpfs t rw\n",
        );
        let copies = [(PathBuf::new(), mounts[1..].to_vec())];
        assert_eq!(taken_along(&mounts[0], &copies), BTreeSet::from([2, 3, 6]));
        assert_eq!(taken_along(&mounts[3], &copies), BTreeSet::new());
    }

    #[test]
    fn whoever_holds_it_is_named_with_what_as_root() {
        let dir = crate::sys::process::test_dir("users");
        mount::private_namespace().unwrap();
        let context = mount::FsContext::new("tmpfs", "tmpfs").unwrap();
        mount::attach(context.mount(rustix::mount::MountAttrFlags::empty()).unwrap(), &dir).unwrap();
        assert_eq!(in_the_way(&dir, HERE).unwrap(), Vec::<String>::new());

        let file = dir.join("file");
        fs::write(&file, "x").unwrap();
        let mut child =
            Command::new("sleep").arg("60").current_dir(&dir).stdin(Stdio::null()).spawn().unwrap();
        let open = fs::File::open(&file).unwrap();
        let found = in_the_way(&dir, HERE).unwrap();
        let cwd = format!("sleep[{}] (working directory)", child.id());
        assert!(found.contains(&cwd), "{found:?}");
        let me = format!("[{}] (open file)", std::process::id());
        assert!(found.iter().any(|f| f.ends_with(&me)), "{found:?}");
        drop(open);
        child.kill().unwrap();
        child.wait().unwrap();
        // Another test's thread may be between fork and exec, and hold our descriptors for that instant.
        let pause = || std::thread::sleep(std::time::Duration::from_millis(20));
        assert!((0..100).any(|_| in_the_way(&dir, HERE).unwrap().is_empty() || {
            pause();
            false
        }));

        let mut apart =
            Command::new("unshare").args(["-m", "--propagation", "private", "sleep", "60"]).spawn().unwrap();
        let name = format!("[{}] (keeps it in a mount namespace of its own)", apart.id());
        let named = (0..100).any(|_| {
            pause();
            in_the_way(&dir, HERE).unwrap().iter().any(|f| f.ends_with(&name))
        });
        apart.kill().unwrap();
        apart.wait().unwrap();
        assert!(named);
        mount::detach(&dir).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
