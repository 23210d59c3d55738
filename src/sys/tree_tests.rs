//! Tests of `sys::tree`, on real images. Those named `_as_root` need root.

use super::*;
use nix::sys::stat::{mkdirat, mknodat};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

/// A directory that goes away, whatever a test left in it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("overlayd-tree-{}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("tree")).unwrap();
        Dir(dir)
    }

    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    fn remove(&self) -> Result<Removed> {
        remove(&self.tree(), &mut |_| ControlFlow::Continue(()))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(&self.0).status();
        let _ = Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

fn run(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().unwrap().success()
}

/// A chain of `depth` directories below `top`, with a file in each.
fn dig(top: &Path, depth: usize) {
    let mut fd = open(top, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&fd, "directory", Mode::S_IRWXU).unwrap();
        mknodat(&fd, "file", SFlag::S_IFREG, Mode::S_IRWXU, 0).unwrap();
        fd = openat(&fd, "directory", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn removes_every_kind_of_entry_and_no_link_target() {
    let dir = Dir::new("kinds");
    let tree = dir.tree();
    fs::create_dir_all(dir.0.join("kept/inner")).unwrap();
    symlink(dir.0.join("kept"), tree.join("link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    nix::unistd::mkfifo(&tree.join("fifo"), Mode::S_IRWXU).unwrap();
    fs::hard_link("/proc/self/nothing", tree.join("x")).unwrap_err();
    for name in ["a\nb", " ", "-rf", "*", "ä", "...", ".hidden"] {
        fs::create_dir_all(tree.join("sub").join(name)).unwrap();
        fs::write(tree.join(name), "x").unwrap();
    }
    fs::write(tree.join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    fs::write(tree.join("n".repeat(255)), "x").unwrap();
    let before = usage(&tree, Duration::from_secs(10)).unwrap();
    assert_eq!(dir.remove().unwrap(), Removed::All(before.entries + 1));
    assert!(!tree.exists() && dir.0.join("kept/inner").exists());
    assert_eq!(dir.remove().unwrap(), Removed::All(0));
}

#[test]
fn removes_what_is_no_directory() {
    let dir = Dir::new("file");
    for name in ["file", "link"] {
        let path = dir.0.join(name);
        if name == "file" {
            fs::write(&path, "x").unwrap()
        } else {
            symlink(dir.tree(), &path).unwrap()
        }
        assert_eq!(remove(&path, &mut |_| ControlFlow::Break(())).unwrap(), Removed::All(1));
    }
    assert!(dir.tree().exists());
    assert_eq!(remove(Path::new("/none/x"), &mut |_| ControlFlow::Break(())).unwrap(), Removed::All(0));
    assert_eq!(
        remove(Path::new("/"), &mut |_| ControlFlow::Break(())).unwrap_err().kind(),
        Kind::InvalidArgs
    );
}

#[test]
fn any_depth_is_removed() {
    let dir = Dir::new("deep");
    dig(&dir.tree(), 5000);
    let before = usage(&dir.tree(), Duration::from_secs(60)).unwrap();
    assert_eq!((before.entries, before.complete), (10_000, true));
    assert_eq!(dir.remove().unwrap(), Removed::All(10_001));
}

#[test]
fn more_subdirectories_than_are_remembered_are_removed() {
    let dir = Dir::new("wide");
    for i in 0..2 * BATCH + 10 {
        fs::create_dir(dir.tree().join(i.to_string())).unwrap();
    }
    assert_eq!(dir.remove().unwrap(), Removed::All(2 * BATCH as u64 + 11));
}

#[test]
fn stops_when_told_and_goes_on_when_called_again() {
    let dir = Dir::new("stop");
    for i in 0..1000 {
        let sub = dir.tree().join((i % 7).to_string());
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(i.to_string()), "").unwrap();
    }
    let mut removed = 0;
    let mut calls = 0;
    loop {
        match remove(&dir.tree(), &mut |_| ControlFlow::Break(())).unwrap() {
            Removed::Stopped(n) => removed += n,
            Removed::All(n) => break removed += n,
        }
        calls += 1;
    }
    assert_eq!((removed, calls), (1008, 3));
}

#[test]
fn flags_are_cleared_but_not_on_a_file_with_another_name_as_root() {
    let dir = Dir::new("flags");
    let tree = dir.tree();
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/file"), "x").unwrap();
    fs::write(dir.0.join("outside"), "x").unwrap();
    fs::hard_link(dir.0.join("outside"), tree.join("a/inside")).unwrap();
    let t = tree.display();
    assert!(run(&format!("chattr +i {t}/a/inside {t}/a/b && chattr +a {t}/a/file {t}/a && chattr +i {t}")));
    assert_eq!(dir.remove().unwrap(), Removed::All(5));
    let outside = fs::File::open(dir.0.join("outside")).unwrap();
    assert!(ioctl_getflags(&outside).unwrap().contains(IFlags::IMMUTABLE));
}

#[test]
fn a_mount_is_never_crossed_as_root() {
    crate::sys::mount::private_namespace().unwrap();
    let dir = Dir::new("mount");
    let kept = dir.0.join("kept");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    for mount in [format!("mount --bind {}", kept.display()), "mount -t tmpfs tmpfs".to_owned()] {
        let at = dir.tree().join("sub/at");
        fs::create_dir_all(&at).unwrap();
        assert!(run(&format!("{mount} {at} && touch {at}/y", at = at.display())));
        for path in [&dir.tree(), &at] {
            let error = remove(path, &mut |_| ControlFlow::Continue(())).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            assert!(error.message().contains(at.to_str().unwrap()), "{error}");
        }
        assert!(at.join("y").exists());
        assert_eq!(usage(&dir.tree(), Duration::from_secs(10)).unwrap().entries, 2);
        assert!(run(&format!("umount {}", at.display())));
        assert!(kept.join("file").exists());
        assert!(matches!(dir.remove().unwrap(), Removed::All(_)));
        fs::create_dir(dir.tree()).unwrap();
    }
}

#[test]
fn works_on_a_full_filesystem_as_root() {
    crate::sys::mount::private_namespace().unwrap();
    let dir = Dir::new("full");
    let (image, mount) = (dir.0.join("image"), dir.0.join("m"));
    fs::create_dir(&mount).unwrap();
    assert!(run(&format!(
        "truncate -s 8M {i} && mkfs.ext4 -q -N 64 {i} && mount -o loop {i} {m} && mkdir -p {m}/t/a/b/c && touch {m}/t/zero && \
         for n in $(seq 100); do touch {m}/t/a/$n || break; done 2>/dev/null; cat /dev/zero > {m}/t/zero 2>/dev/null; true",
        i = image.display(),
        m = mount.display(),
    )));
    let tree = mount.join("t");
    let space = nix::sys::statvfs::statvfs(&tree).unwrap();
    assert_eq!((space.blocks_available(), space.files_free()), (0, 0));
    assert!(matches!(remove(&tree, &mut |_| ControlFlow::Continue(())).unwrap(), Removed::All(_)));
    assert!(run(&format!("umount {}", mount.display())));
}

#[test]
fn usage_is_that_of_du_with_hard_links_counted_once() {
    let dir = Dir::new("usage");
    let tree = dir.tree();
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/file"), vec![1; 100_000]).unwrap();
    fs::hard_link(tree.join("a/file"), tree.join("a/b/file")).unwrap();
    fs::File::create(tree.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    symlink("x", tree.join("link")).unwrap();
    let found = usage(&tree, Duration::from_secs(10)).unwrap();
    let du = Command::new("du").args(["-s", "-B1"]).arg(&tree).output().unwrap().stdout;
    let du: u64 = String::from_utf8(du).unwrap().split('\t').next().unwrap().parse().unwrap();
    assert_eq!(found, Usage { bytes: du, entries: 6, complete: true });
    assert!(found.bytes < 300_000 && fs::metadata(tree.join("sparse")).unwrap().size() == 1 << 30);
}

#[test]
fn usage_ends_in_time() {
    let dir = Dir::new("time");
    dig(&dir.tree(), 300);
    let found = usage(&dir.tree(), Duration::ZERO).unwrap();
    assert!(!found.complete && found.entries <= REPORT_EVERY, "{found:?}");
}
