//! What a copy must keep, one oddity at a time, on each filesystem.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use overlayd::error::Kind;
use overlayd::layer::{self, Options, Stack};
use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags};

use crate::manifest::{data_ranges, record};
use crate::rig::{Disk, run, s};

/// The filesystems that state is kept on.
pub(crate) const FILESYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// A stack of one.
pub(crate) fn alone(upper: &Path) -> Stack {
    Stack { layers: vec![upper.to_owned()], base: None }
}

pub(crate) fn set(path: &Path, name: &str, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
}

pub(crate) fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut value = vec![0; 65536];
    let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn date(path: &Path, atime: (i64, i64), mtime: (i64, i64)) {
    let spec = |(tv_sec, nanoseconds): (i64, i64)| Timespec { tv_sec, tv_nsec: nanoseconds as _ };
    let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn node(path: &Path, kind: FileType, major: u32, minor: u32) {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device)
        .unwrap_or_else(|e| panic!("{path:?} {major}:{minor}: {e}"));
}

pub(crate) fn whiteout(path: &Path) {
    node(path, FileType::CharacterDevice, 0, 0);
}

fn flag(path: &Path, flags: IFlags) {
    let file = fs::File::open(path).unwrap();
    let now = rustix::fs::ioctl_getflags(&file).unwrap();
    rustix::fs::ioctl_setflags(&file, now | flags).unwrap();
}

/// Copies a tree that is filled by `fill`, and compares all that there is.
fn survives(fill: impl Fn(&Path)) {
    for fstype in FILESYSTEMS {
        let disk = Disk::new(fstype, 512);
        let upper = disk.directory("upper");
        fill(&upper);
        let before = record(&upper);
        let (layer, built) = disk.build(&alone(&upper), &Options::default());
        before.assert_same(&record(&layer), fstype);
        before.assert_same(&record(&upper), "the upper is left alone");
        assert_eq!(built.entries as usize, before.0.len() - 1);
        assert!(built.unstable.is_empty());
    }
}

#[test]
fn times_before_1970_and_after_2038() {
    survives(|upper| {
        // XFS with bigtime and ext4 end in the 25th and 24th century.
        let times = [
            (-2_000_000_000, 1),
            (-1, 999_999_999),
            (0, 0),
            (2_200_000_000, 5),
            (9_000_000_000, 123_456_789),
        ];
        for (number, &time) in times.iter().enumerate() {
            let other = times[(number + 1) % times.len()];
            let name = |kind: &str| upper.join(format!("{kind}{number}"));
            fs::write(name("file"), "x").unwrap();
            fs::create_dir(name("dir")).unwrap();
            fs::write(name("dir").join("inside"), "x").unwrap();
            symlink("somewhere", name("symlink")).unwrap();
            node(&name("fifo"), FileType::Fifo, 0, 0);
            for kind in ["file", "dir", "symlink", "fifo"] {
                date(&name(kind), time, other);
            }
        }
        date(upper, (-5, 5), (5_000_000_000, 7));
    });
}

#[test]
fn attributes_of_every_namespace() {
    survives(|upper| {
        fs::write(upper.join("file"), "x").unwrap();
        fs::create_dir(upper.join("dir")).unwrap();
        symlink("nowhere", upper.join("symlink")).unwrap();
        node(&upper.join("null"), FileType::CharacterDevice, 1, 3);
        for path in [upper.to_owned(), upper.join("file"), upper.join("dir")] {
            set(&path, "user.mine", b"\0binary\xff");
            set(&path, "user.empty", b"");
            set(&path, "user.overlay.origin", b"somebody else's");
            set(&path, "system.posix_acl_access", ACL);
        }
        for path in [upper.join("file"), upper.join("dir"), upper.join("symlink"), upper.join("null")] {
            set(&path, "trusted.mine", b"t");
            set(&path, "security.mine", &[3; 2000]);
        }
        set(&upper.join("dir"), "system.posix_acl_default", ACL);
        // What is made in it must not inherit.
        fs::create_dir(upper.join("dir/inside")).unwrap();
        let many = upper.join("many");
        fs::write(&many, "").unwrap();
        for number in 0..60 {
            set(&many, &format!("user.a-name-that-is-rather-long-{number:03}"), b"v");
        }
        let ping = upper.join("ping");
        fs::write(&ping, "program").unwrap();
        chown(&ping, Some(1000), Some(50)).unwrap();
        set(&ping, "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    });
}

const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x07\0\xff\xff\xff\xff\
    \x02\0\x04\0\xe8\x03\0\0\
    \x04\0\x05\0\xff\xff\xff\xff\
    \x10\0\x07\0\xff\xff\xff\xff\
    \x20\0\x04\0\xff\xff\xff\xff";

#[test]
fn owners_and_modes() {
    survives(|upper| {
        for mode in [0o000, 0o444, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777] {
            for owner in [0, 1000] {
                let file = upper.join(format!("file-{mode:o}-{owner}"));
                fs::write(&file, "x").unwrap();
                let dir = upper.join(format!("dir-{mode:o}-{owner}"));
                fs::create_dir(&dir).unwrap();
                for path in [file, dir] {
                    chown(&path, Some(owner), Some(owner / 2)).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
        // In a setgid directory new files get its group.
        let shared = upper.join("shared");
        fs::create_dir(&shared).unwrap();
        chown(&shared, Some(0), Some(777)).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
        fs::write(shared.join("inherits"), "x").unwrap();
        fs::write(shared.join("does-not"), "x").unwrap();
        chown(shared.join("does-not"), Some(0), Some(0)).unwrap();
        fs::create_dir(shared.join("inside")).unwrap();
        symlink("nowhere", shared.join("symlink")).unwrap();
        lchown(shared.join("symlink"), Some(5), Some(6)).unwrap();
        chown(upper, Some(3), Some(4)).unwrap();
        fs::set_permissions(upper, fs::Permissions::from_mode(0o1751)).unwrap();
    });
}

#[test]
fn names_and_kinds() {
    survives(|upper| {
        let odd: [&[u8]; 9] =
            [b"a,b", b"a:b", b"a\\b", b"new\nline", b" ", b"\xff\xfe\x80", b"-rf", b"*", b"..."];
        for name in odd.into_iter().chain([&[b'L'; 255][..]]) {
            let dir = upper.join(OsStr::from_bytes(name));
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
            symlink(OsString::from_vec(vec![b'/'; 1 + name.len() * 3]), dir.join("symlink")).unwrap();
        }
        node(&upper.join("null"), FileType::CharacterDevice, 1, 3);
        node(&upper.join("loop"), FileType::BlockDevice, 7, 1000);
        node(&upper.join("large"), FileType::BlockDevice, 259, 70_000);
        node(&upper.join("fifo"), FileType::Fifo, 0, 0);
        node(&upper.join("socket"), FileType::Socket, 0, 0);
        fs::write(upper.join("empty"), "").unwrap();
        fs::create_dir(upper.join("empty-dir")).unwrap();
        fs::write(upper.join("large-file"), vec![9; 3_000_001]).unwrap();
    });
}

#[test]
fn hard_links_across_directories() {
    survives(|upper| {
        for dir in ["a", "b", "b/c"] {
            fs::create_dir(upper.join(dir)).unwrap();
        }
        for kind in ["file", "symlink", "fifo", "null"] {
            let first = upper.join("a").join(kind);
            match kind {
                "file" => fs::write(&first, "linked").unwrap(),
                "symlink" => symlink("linked", &first).unwrap(),
                "fifo" => node(&first, FileType::Fifo, 0, 0),
                _ => node(&first, FileType::CharacterDevice, 1, 3),
            }
            for other in ["", "a/other-", "b/", "b/c/"] {
                fs::hard_link(&first, upper.join(format!("{other}{kind}"))).unwrap();
            }
        }
        for number in 0..500 {
            let path = upper.join(format!("pair-{number}"));
            fs::write(&path, number.to_string()).unwrap();
            fs::hard_link(&path, upper.join(format!("b/c/pair-{number}"))).unwrap();
        }
        flag(&upper.join("pair-7"), IFlags::IMMUTABLE);
    });
}

#[test]
fn inode_flags() {
    survives(|upper| {
        fs::create_dir(upper.join("dir")).unwrap();
        for (name, flags) in [
            ("nodump", IFlags::NODUMP),
            ("noatime", IFlags::NOATIME),
            ("immutable", IFlags::IMMUTABLE),
            ("append", IFlags::APPEND | IFlags::NODUMP),
        ] {
            let (file, dir) = (upper.join("dir").join(name), upper.join(name));
            fs::write(&file, "x").unwrap();
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("inside"), "x").unwrap();
            flag(&file, flags);
            flag(&dir, flags);
        }
    });
}

#[test]
fn holes() {
    for fstype in FILESYSTEMS {
        let disk = Disk::new(fstype, 512);
        let upper = disk.directory("upper");
        let files: [(&str, u64, &[u64]); 4] = [
            ("start", 5 << 20, &[4 << 20]),
            ("end", 9 << 20, &[0]),
            ("all", 3 << 20, &[]),
            ("many", 1 << 20, &[65536, 300_000, 800_000]),
        ];
        for (name, length, islands) in files {
            let file = fs::File::create(upper.join(name)).unwrap();
            file.set_len(length).unwrap();
            for &at in islands {
                file.write_all_at(b"island", at).unwrap();
            }
        }
        run("sync", &["-f", s(&disk.root)]);
        let (layer, _) = disk.build(&alone(&upper), &Options::default());
        run("sync", &["-f", s(&disk.root)]);
        for (name, length, islands) in files {
            let (from, to) = (upper.join(name), layer.join(name));
            assert_eq!(data_ranges(&from).len(), islands.len(), "{fstype} {name}");
            assert_eq!(data_ranges(&from), data_ranges(&to), "{fstype} {name}");
            assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap(), "{fstype} {name}");
            assert_eq!(fs::metadata(&to).unwrap().len(), length);
        }
    }
}

/// A way down of more than twice PATH_MAX.
const DEPTH: u32 = 120;
const STEP: &str = "a-name-that-makes-the-path-a-long-one-and-then-some-more-of-it-to-get-there-sooner";

fn down(mut dir: OwnedFd, make: bool) -> OwnedFd {
    for _ in 0..DEPTH {
        if make {
            rustix::fs::mkdirat(&dir, STEP, Mode::from_raw_mode(0o755)).unwrap();
        }
        dir = rustix::fs::openat(&dir, STEP, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    dir
}

#[test]
fn paths_deeper_than_path_max() {
    for fstype in FILESYSTEMS {
        let disk = Disk::new(fstype, 512);
        let upper = disk.directory("upper");
        let bottom = down(fs::File::open(&upper).unwrap().into(), true);
        let flags = OFlags::CREATE | OFlags::RDWR;
        let file = rustix::fs::openat(&bottom, "file", flags, Mode::from_raw_mode(0o640)).unwrap();
        rustix::io::write(&file, b"at the bottom").unwrap();
        rustix::fs::linkat(&bottom, "file", &bottom, "link", AtFlags::empty()).unwrap();
        rustix::fs::linkat(&bottom, "file", CWD, upper.join("top"), AtFlags::empty()).unwrap();
        let (layer, built) = disk.build(&alone(&upper), &Options::default());
        assert_eq!(built.entries, u64::from(DEPTH) + 3);
        let bottom = down(fs::File::open(&layer).unwrap().into(), false);
        let copy = rustix::fs::openat(&bottom, "link", OFlags::RDONLY, Mode::empty()).unwrap();
        let mut text = [0; 20];
        assert_eq!(rustix::io::read(&copy, &mut text).unwrap(), 13);
        assert_eq!(&text[..13], b"at the bottom");
        let inode = rustix::fs::fstat(&copy).unwrap().st_ino;
        assert_eq!(fs::metadata(layer.join("top")).unwrap().ino(), inode);
    }
}

#[test]
fn what_is_overlayfs_own_stays_behind() {
    let disk = Disk::new("ext4", 64);
    let upper = disk.directory("upper");
    fs::create_dir(upper.join("dir")).unwrap();
    fs::write(upper.join("dir/file"), "x").unwrap();
    let private = ["origin", "impure", "nlink", "uuid", "upper", "verity", "unheard-of"];
    let kept = ["trusted.overlay.overlay.opaque", "trusted.overlay.protattr", "user.overlay.origin"];
    for path in [upper.join("dir"), upper.join("dir/file")] {
        private.iter().for_each(|name| set(&path, &format!("trusted.overlay.{name}"), b"y"));
        kept.iter().for_each(|name| set(&path, name, b"a"));
    }
    let (layer, _) = disk.build(&alone(&upper), &Options::default());
    for path in [layer.join("dir"), layer.join("dir/file")] {
        for name in private {
            assert_eq!(get(&path, &format!("trusted.overlay.{name}")), None, "{name}");
        }
        for name in kept {
            assert_eq!(get(&path, name).as_deref(), Some(&b"a"[..]), "{name}");
        }
        // What overlayfs showed of the upper's attribute, a lower must bear itself.
        let flags = rustix::fs::ioctl_getflags(fs::File::open(&path).unwrap()).unwrap();
        assert!(flags.contains(IFlags::APPEND));
    }
}

#[test]
fn a_layer_that_needs_another_is_refused() {
    for (name, on) in [("redirect", "odd/dir"), ("metacopy", "odd/file")] {
        let disk = Disk::new("ext4", 64);
        let upper = disk.directory("upper");
        fs::create_dir_all(upper.join("odd/dir")).unwrap();
        fs::write(upper.join("odd/file"), "").unwrap();
        set(&upper.join(on), &format!("trusted.overlay.{name}"), b"/elsewhere");
        let built = layer::build(&alone(&upper), &disk.fresh("layer"), &Options::default(), &mut |_| {
            std::ops::ControlFlow::Continue(())
        });
        let error = built.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.message().contains(on) && error.message().contains(name), "{error}");
    }
}
