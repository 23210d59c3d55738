//! The rules of merging, one at a time: made by hand, so that forms that this kernel does not write are there too.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use overlayd::layer::{Options, Stack};

use crate::manifest::record;
use crate::oddities::{FILESYSTEMS, get, set, whiteout};
use crate::rig::{Disk, Overlay};

const OPAQUE: &str = "trusted.overlay.opaque";

/// An upper U on a snapshot S on a base, and what becomes of the first two.
struct Merge {
    disk: Disk,
    base: PathBuf,
    lower: PathBuf,
    upper: PathBuf,
}

impl Merge {
    fn new(fstype: &str) -> Merge {
        let disk = Disk::new(fstype, 512);
        let [base, lower, upper] = ["base", "lower", "upper"].map(|name| disk.directory(name));
        Merge { disk, base, lower, upper }
    }

    /// Merges, and compares with what the kernel shows of the stack.
    fn build(&self) -> PathBuf {
        let before = record(&Overlay::read_only(&self.disk, &[&self.upper, &self.lower, &self.base]).root);
        let layers = vec![self.upper.clone(), self.lower.clone()];
        let mut layer = PathBuf::new();
        for base in [None, Some(self.base.clone())] {
            layer = self.disk.build(&Stack { layers: layers.clone(), base }, &Options::default()).0;
            let overlay = Overlay::read_only(&self.disk, &[&layer, &self.base]);
            before.assert_same(&record(&overlay.root), "merged");
        }
        layer
    }
}

fn file(dir: &Path, name: &str) {
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    fs::write(dir.join(name), format!("{} in {}", name, dir.display())).unwrap();
}

fn dir(dir: &Path, name: &str) {
    fs::create_dir_all(dir.join(name)).unwrap();
}

fn xwhiteout(dir: &Path, name: &str) {
    fs::write(dir.join(name), "").unwrap();
    set(&dir.join(name), "trusted.overlay.whiteout", b"");
    set(dir.join(name).parent().unwrap(), OPAQUE, b"x");
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

#[test]
fn a_whiteout_stays_only_over_something_in_the_base() {
    for fstype in FILESYSTEMS {
        let merge = Merge::new(fstype);
        file(&merge.base, "etc/in-base");
        file(&merge.lower, "etc/in-base");
        file(&merge.lower, "etc/in-lower");
        file(&merge.lower, "new/in-lower");
        dir(&merge.upper, "etc");
        dir(&merge.upper, "new");
        for name in ["etc/in-base", "etc/in-lower", "new/in-lower"] {
            whiteout(&merge.upper.join(name));
        }
        let layer = merge.build();
        assert!(is_whiteout(&layer.join("etc/in-base")));
        for gone in ["etc/in-lower", "new/in-lower"] {
            assert!(fs::symlink_metadata(layer.join(gone)).is_err(), "{gone}");
        }
    }
}

#[test]
fn a_directory_over_what_is_none_hides_the_base() {
    for fstype in FILESYSTEMS {
        let merge = Merge::new(fstype);
        for name in ["over-whiteout", "over-file"] {
            file(&merge.base, &format!("{name}/hidden"));
            file(&merge.upper, &format!("{name}/shown"));
        }
        whiteout(&merge.lower.join("over-whiteout"));
        file(&merge.lower, "over-file");
        let layer = merge.build();
        for name in ["over-whiteout", "over-file"] {
            assert_eq!(get(&layer.join(name), OPAQUE).unwrap(), b"y", "{name}");
        }
    }
}

#[test]
fn opaque_directories() {
    for fstype in FILESYSTEMS {
        let merge = Merge::new(fstype);
        for name in ["upper-opaque", "lower-opaque", "neither"] {
            file(&merge.base, &format!("{name}/base"));
            file(&merge.lower, &format!("{name}/lower"));
            file(&merge.upper, &format!("{name}/upper"));
        }
        set(&merge.upper.join("upper-opaque"), OPAQUE, b"y");
        set(&merge.lower.join("lower-opaque"), OPAQUE, b"y");
        // Below an opaque directory a whiteout hides nothing of the base.
        file(&merge.base, "lower-opaque/both");
        file(&merge.lower, "lower-opaque/both");
        whiteout(&merge.upper.join("lower-opaque/both"));
        let layer = merge.build();
        assert_eq!(get(&layer.join("upper-opaque"), OPAQUE).unwrap(), b"y");
        assert_eq!(get(&layer.join("lower-opaque"), OPAQUE).unwrap(), b"y");
        assert_eq!(get(&layer.join("neither"), OPAQUE), None);
        assert!(!layer.join("upper-opaque/lower").exists());
        assert!(layer.join("lower-opaque/lower").exists() && layer.join("neither/lower").exists());
        assert!(!is_whiteout(&layer.join("lower-opaque/both")));
    }
}

#[test]
fn whiteouts_in_the_form_of_attributes() {
    for fstype in FILESYSTEMS {
        let merge = Merge::new(fstype);
        for name in ["dir/one", "dir/two", "dir/three", "dir/stays"] {
            file(&merge.base, name);
        }
        file(&merge.base, "empty-but-there");
        dir(&merge.lower, "dir");
        xwhiteout(&merge.lower, "dir/one");
        xwhiteout(&merge.lower, "dir/base-has-it-not");
        dir(&merge.upper, "dir");
        whiteout(&merge.upper.join("dir/two"));
        // The upper brings back what the snapshot hid.
        xwhiteout(&merge.lower, "dir/three");
        file(&merge.upper, "dir/three");
        fs::write(merge.upper.join("empty-but-there"), "").unwrap();
        let layer = merge.build();
        assert_eq!(get(&layer.join("dir"), OPAQUE).unwrap(), b"x");
        assert_eq!(get(&layer.join("dir/one"), "trusted.overlay.whiteout").unwrap(), b"");
        assert_eq!(fs::metadata(layer.join("dir/one")).unwrap().len(), 0);
        assert!(is_whiteout(&layer.join("dir/two")));
        assert!(fs::symlink_metadata(layer.join("dir/base-has-it-not")).is_err());
    }
}

#[test]
fn merged_directories_take_the_upper_description() {
    let merge = Merge::new("ext4");
    file(&merge.lower, "dir/lower");
    file(&merge.upper, "dir/upper");
    set(&merge.lower.join("dir"), "user.from", b"lower");
    set(&merge.lower.join("dir"), "user.only-lower", b"");
    set(&merge.upper.join("dir"), "user.from", b"upper");
    std::os::unix::fs::chown(merge.upper.join("dir"), Some(7), Some(8)).unwrap();
    let layer = merge.build();
    assert_eq!(get(&layer.join("dir"), "user.from").unwrap(), b"upper");
    assert_eq!(get(&layer.join("dir"), "user.only-lower"), None);
    assert_eq!(fs::metadata(layer.join("dir")).unwrap().uid(), 7);
}

#[test]
fn hard_links_that_the_upper_broke() {
    for fstype in FILESYSTEMS {
        let merge = Merge::new(fstype);
        file(&merge.lower, "a");
        for name in ["b", "c"] {
            fs::hard_link(merge.lower.join("a"), merge.lower.join(name)).unwrap();
        }
        // Copied up and linked once more; the others stay below.
        file(&merge.upper, "b");
        fs::hard_link(merge.upper.join("b"), merge.upper.join("d")).unwrap();
        let layer = merge.build();
        let inode = |name| fs::metadata(layer.join(name)).unwrap().ino();
        assert_eq!(inode("a"), inode("c"));
        assert_eq!(inode("b"), inode("d"));
        assert_ne!(inode("a"), inode("b"));
    }
}

#[test]
fn what_the_snapshot_holds_is_shared() {
    for fstype in ["ext4", "xfs"] {
        let merge = Merge::new(fstype);
        file(&merge.lower, "dir/lower");
        file(&merge.lower, "dir/origin");
        set(&merge.lower.join("dir/origin"), "trusted.overlay.origin", b"");
        file(&merge.upper, "dir/upper");
        let layer = merge.build();
        let inode = |dir: &Path, name| fs::metadata(dir.join(name)).unwrap().ino();
        assert_eq!(inode(&layer, "dir/lower"), inode(&merge.lower, "dir/lower"));
        assert_ne!(inode(&layer, "dir/upper"), inode(&merge.upper, "dir/upper"));
        // Not with a mark that must not travel.
        assert_ne!(inode(&layer, "dir/origin"), inode(&merge.lower, "dir/origin"));
        assert_eq!(get(&layer.join("dir/origin"), "trusted.overlay.origin"), None);
    }
}

#[test]
fn excluded_subtrees_are_left_out() {
    let merge = Merge::new("ext4");
    for name in ["keep/one", "drop/two", "keep/drop/three", "keep/four"] {
        file(&merge.lower, name);
        file(&merge.upper, name);
    }
    let options = Options {
        exclude: ["drop", "/keep/drop/", "./keep/four", "keep/no-such"].map(PathBuf::from).to_vec(),
        ..Options::default()
    };
    let stack = Stack { layers: vec![merge.upper.clone(), merge.lower.clone()], base: None };
    let (layer, built) = merge.disk.build(&stack, &options);
    let names: Vec<_> = record(&layer).0.into_keys().collect();
    assert_eq!(names, [".", "./keep", "./keep/one"]);
    assert_eq!(built.entries, 2);
}
