//! What the last snapshot holds is shared: inode numbers prove it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlayd::layer::{Built, Options, Previous};

use crate::manifest::record;
use crate::oddities::alone;
use crate::rig::{Disk, index_of};

struct Series {
    disk: Disk,
    upper: PathBuf,
    options: Options,
}

impl Series {
    fn new(fstype: &str) -> Series {
        let disk = Disk::new(fstype, 512);
        let upper = disk.directory("upper");
        for dir in ["etc", "var/lib"] {
            fs::create_dir_all(upper.join(dir)).unwrap();
        }
        for number in 0..50 {
            fs::write(upper.join(format!("etc/file-{number}")), format!("content {number}")).unwrap();
        }
        std::os::unix::fs::symlink("elsewhere", upper.join("var/symlink")).unwrap();
        fs::hard_link(upper.join("etc/file-0"), upper.join("var/lib/link")).unwrap();
        let options = Options { source: "generation-1".into(), ..Options::default() };
        Series { disk, upper, options }
    }

    fn snapshot(&mut self) -> (PathBuf, Built) {
        // Older than the copy by more than the tick of the clock.
        std::thread::sleep(Duration::from_millis(30));
        let (layer, built) = self.disk.build(&alone(&self.upper), &self.options);
        self.options.previous = Some(Previous { files: layer.clone(), index: index_of(&layer) });
        record(&self.upper).assert_same(&record(&layer), "a copy");
        (layer, built)
    }
}

type Change = fn(&Path);

fn inode(dir: &Path, name: &str) -> u64 {
    fs::symlink_metadata(dir.join(name)).unwrap().ino()
}

#[test]
fn what_is_unchanged_is_linked() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let mut series = Series::new(fstype);
        let (one, built) = series.snapshot();
        assert_eq!((built.entries, built.reused, built.changed), (55, 0, true));
        fs::write(series.upper.join("etc/file-7"), "changed").unwrap();
        fs::write(series.upper.join("etc/new"), "new").unwrap();
        fs::remove_file(series.upper.join("etc/file-8")).unwrap();
        fs::rename(series.upper.join("etc/file-9"), series.upper.join("etc/renamed")).unwrap();
        let (two, built) = series.snapshot();
        // 50 files and a symlink, but for those four; the second name of file-0 is a link to the first.
        assert_eq!((built.entries, built.reused, built.changed), (55, 48, true), "{fstype}");
        for (name, shared) in
            [("etc/file-0", true), ("var/lib/link", true), ("var/symlink", true), ("etc/file-7", false)]
        {
            assert_eq!(inode(&one, name) == inode(&two, name), shared, "{fstype} {name}");
            assert_ne!(inode(&series.upper, name), inode(&two, name), "never with the upper");
        }
        assert_eq!(fs::read(one.join("etc/file-7")).unwrap(), b"content 7");
        assert_eq!(fs::read(two.join("etc/file-7")).unwrap(), b"changed");
    }
}

#[test]
fn nothing_changed_is_told() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let mut series = Series::new(fstype);
        series.snapshot();
        let (_, built) = series.snapshot();
        assert!(!built.changed, "{fstype}");
        // Each of these alone is a change.
        let change: [(&str, Change); 6] = [
            ("content", |upper| fs::write(upper.join("etc/file-1"), "other").unwrap()),
            ("owner", |upper| std::os::unix::fs::chown(upper.join("etc"), Some(5), None).unwrap()),
            ("attribute", |upper| crate::oddities::set(&upper.join("etc/file-2"), "user.x", b"")),
            ("missing", |upper| fs::remove_file(upper.join("etc/file-3")).unwrap()),
            ("new", |upper| fs::create_dir(upper.join("var/lib/new")).unwrap()),
            ("the top", |upper| crate::oddities::set(upper, "user.x", b"")),
        ];
        for (what, change) in change {
            change(&series.upper);
            assert!(series.snapshot().1.changed, "{fstype}: {what}");
            assert!(!series.snapshot().1.changed, "{fstype}: after {what}");
        }
        series.options.exclude = vec!["etc/file-5".into()];
        let (_, built) = series.disk.build(&alone(&series.upper), &series.options);
        assert!(built.changed, "{fstype}: excluded");
    }
}

#[test]
fn an_index_that_does_not_fit_is_not_used() {
    let mut series = Series::new("ext4");
    let (one, _) = series.snapshot();
    let fitting = series.options.clone();
    let index = fs::read(index_of(&one)).unwrap();
    let reused = |series: &Series, options: &Options| {
        let (layer, built) = series.disk.build(&alone(&series.upper), options);
        record(&series.upper).assert_same(&record(&layer), "a copy");
        built.reused
    };
    assert_eq!(reused(&series, &fitting), 51);
    let other = Options { source: "generation-2".into(), ..fitting.clone() };
    assert_eq!(reused(&series, &other), 0);
    fs::write(index_of(&one), &index[..index.len() - 1]).unwrap();
    assert_eq!(reused(&series, &fitting), 0);
    fs::remove_file(index_of(&one)).unwrap();
    assert_eq!(reused(&series, &fitting), 0);
    // The snapshot itself is gone in part.
    fs::write(index_of(&one), &index).unwrap();
    fs::remove_file(one.join("etc/file-11")).unwrap();
    fs::remove_file(one.join("var/symlink")).unwrap();
    assert_eq!(reused(&series, &fitting), 49);
}

#[test]
fn a_file_that_changed_when_the_copy_started_is_copied_again() {
    let mut series = Series::new("ext4");
    series.snapshot();
    // The index says that this copy started before the file's last change: as if it had been written in that instant.
    let index = series.options.previous.clone().unwrap().index;
    let (_, built) = series.snapshot();
    assert_eq!(built.reused, 51);
    let bytes = fs::read(&index).unwrap();
    assert!(bytes.starts_with(b"overlayd index 1"));
    fs::write(series.upper.join("etc/racy"), "first").unwrap();
    let (layer, _) = series.disk.build(&alone(&series.upper), &series.options);
    // Written just before: its change time is no older than the start.
    series.options.previous = Some(Previous { files: layer.clone(), index: index_of(&layer) });
    let changed_at = fs::metadata(series.upper.join("etc/racy")).unwrap();
    let started = i64::from_le_bytes(fs::read(index_of(&layer)).unwrap()[16..24].try_into().unwrap());
    let nanoseconds = u32::from_le_bytes(fs::read(index_of(&layer)).unwrap()[24..28].try_into().unwrap());
    let settled = (changed_at.ctime(), changed_at.ctime_nsec()) < (started, nanoseconds.into());
    let (again, _) = series.disk.build(&alone(&series.upper), &series.options);
    assert_eq!(inode(&again, "etc/racy") == inode(&layer, "etc/racy"), settled);
}

#[test]
fn files_in_memory_are_compared_as_their_times_do_not_tell() {
    let memory = Disk::new("tmpfs", 64);
    let disk = Disk::new("ext4", 128);
    fs::write(memory.root.join("file"), vec![3; 300_000]).unwrap();
    fs::write(memory.root.join("other"), "other").unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let mut options = Options { source: "volatile".into(), ..Options::default() };
    let (one, _) = disk.build(&alone(&memory.root), &options);
    options.previous = Some(Previous { files: one.clone(), index: index_of(&one) });
    let (two, built) = disk.build(&alone(&memory.root), &options);
    assert_eq!((built.reused, built.changed), (2, false));
    assert_eq!(inode(&one, "file"), inode(&two, "file"));
    // As a write through a mapping would: the copy is no longer what the file holds, and no time tells.
    fs::write(one.join("other"), "OTHER").unwrap();
    let (three, built) = disk.build(&alone(&memory.root), &options);
    assert_eq!(built.reused, 1);
    assert!(built.changed);
    assert_eq!(fs::read(three.join("other")).unwrap(), b"other");
}

#[test]
fn a_file_with_too_many_names_is_copied() {
    let disk = Disk::new("ext4", 256);
    let upper = disk.directory("upper");
    fs::create_dir(upper.join("dir")).unwrap();
    fs::write(upper.join("dir/0"), "often").unwrap();
    let many = 33_000;
    for number in 1..many {
        fs::hard_link(upper.join("dir/0"), upper.join(format!("dir/{number}"))).unwrap();
    }
    let mut options = Options { source: "s".into(), ..Options::default() };
    std::thread::sleep(Duration::from_millis(30));
    for _ in 0..2 {
        let (layer, built) = disk.build(&alone(&upper), &options);
        assert_eq!((built.entries, built.reused), (many + 1, 0));
        assert_eq!(fs::metadata(layer.join("dir/0")).unwrap().nlink(), many);
        options.previous = Some(Previous { files: layer.clone(), index: index_of(&layer) });
    }
}
