//! Random trees and random edits of them: what people and packages do to a root filesystem, and worse.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps, XattrFlags};

/// A small pseudo-random generator (splitmix64): the same seed gives the same case.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 to `end`, which is left out.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// Few names, so that edits meet each other; some of them odd.
fn name(random: &mut Random) -> OsString {
    const NAMES: [&[u8]; 12] = [
        b"a",
        b"b",
        b"c",
        b"d",
        b"e",
        b"etc",
        b"x y",
        b"new\nline",
        b"col:on,comma",
        b"back\\slash",
        b"\xff\xfe",
        b"-",
    ];
    if random.one_in(40) {
        return OsString::from_vec(vec![b'L'; 255]);
    }
    OsString::from_vec(random.pick(&NAMES).to_vec())
}

/// Everything in a tree, the top included.
fn all(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while at < found.len() {
        if fs::symlink_metadata(&found[at]).unwrap().is_dir() {
            let mut inside: Vec<PathBuf> =
                fs::read_dir(&found[at]).unwrap().map(|entry| entry.unwrap().path()).collect();
            // The order of readdir is not the same each time.
            inside.sort();
            found.extend(inside);
        }
        at += 1;
    }
    found
}

fn any(root: &Path, random: &mut Random) -> PathBuf {
    random.pick(&all(root)).clone()
}

fn some(root: &Path, random: &mut Random, wanted: impl Fn(&fs::FileType) -> bool) -> Option<PathBuf> {
    let found: Vec<PathBuf> =
        all(root).into_iter().filter(|p| wanted(&fs::symlink_metadata(p).unwrap().file_type())).collect();
    (!found.is_empty()).then(|| random.pick(&found).clone())
}

fn new_path(root: &Path, random: &mut Random) -> PathBuf {
    some(root, random, fs::FileType::is_dir).unwrap().join(name(random))
}

/// Makes `count` edits. What the filesystem refuses, it refuses: that is part of the game.
pub(crate) fn edit(root: &Path, random: &mut Random, count: u64) {
    for _ in 0..count {
        let _ = one(root, random);
    }
}

fn one(root: &Path, random: &mut Random) -> io::Result<()> {
    match random.below(22) {
        0..=3 => make(&new_path(root, random), random),
        4 | 5 => fs::create_dir(new_path(root, random)),
        6 => fs::create_dir_all(new_path(root, random).join(name(random)).join(name(random))),
        7 | 8 => remove(root, random),
        9 | 10 => change(root, random),
        11 | 12 => describe(&any(root, random), random),
        13 => fs::rename(any(root, random), new_path(root, random)),
        14 | 15 => {
            let Some(file) = some(root, random, |t| !t.is_dir()) else { return Ok(()) };
            fs::hard_link(file, new_path(root, random))
        }
        16 => attribute(&any(root, random), random),
        17 => replace(root, random),
        18 => special(&new_path(root, random), random),
        19 => date(&any(root, random), random),
        20 => make(&new_path(root, random), random),
        _ => flag(&any(root, random), random),
    }
}

/// A file or a symlink.
fn make(path: &Path, random: &mut Random) -> io::Result<()> {
    if random.one_in(5) {
        return symlink(OsString::from_vec(vec![b't'; 1 + random.below(90) as usize]), path);
    }
    let file = fs::File::create_new(path)?;
    match random.below(6) {
        0 => Ok(()),
        // Sparse: data somewhere, perhaps a hole at the end.
        1 => {
            file.set_len(random.below(400_000))?;
            file.write_at(b"island", random.below(300_000))?;
            Ok(())
        }
        2 => file.write_all_at(&vec![random.next() as u8; random.below(100_000) as usize], 0),
        _ => file.write_all_at(format!("{:x}", random.next()).as_bytes(), 0),
    }
}

fn remove(root: &Path, random: &mut Random) -> io::Result<()> {
    let path = any(root, random);
    if path == root {
        return Ok(());
    }
    if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Another content for a file that is there.
fn change(root: &Path, random: &mut Random) -> io::Result<()> {
    let Some(path) = some(root, random, fs::FileType::is_file) else { return Ok(()) };
    let file = fs::File::options().write(true).open(path)?;
    match random.below(4) {
        0 => file.set_len(random.below(10_000)),
        1 => file.write_all_at(&vec![7; random.below(9_000) as usize], random.below(20_000)),
        _ => file.write_all_at(b"changed", 0),
    }
}

/// A directory for a file, a file for a directory, a directory for itself.
fn replace(root: &Path, random: &mut Random) -> io::Result<()> {
    let path = any(root, random);
    if path == root {
        return Ok(());
    }
    let was_dir = fs::symlink_metadata(&path)?.is_dir();
    if was_dir {
        fs::remove_dir_all(&path)?
    } else {
        fs::remove_file(&path)?
    }
    if was_dir == random.one_in(3) {
        fs::create_dir(&path)?;
        make(&path.join(name(random)), random)
    } else {
        make(&path, random)
    }
}

/// Owner and mode.
fn describe(path: &Path, random: &mut Random) -> io::Result<()> {
    if random.one_in(2) {
        let id = |n: u64| Some(n as u32);
        std::os::unix::fs::lchown(path, id(random.below(3) * 1000), id(random.below(3) * 50))?;
    }
    if fs::symlink_metadata(path)?.is_symlink() {
        return Ok(());
    }
    let modes = [0o755, 0o644, 0o600, 0o4755, 0o2755, 0o1777, 0o6711, 0o000, 0o7777, 0o2644];
    fs::set_permissions(path, fs::Permissions::from_mode(*random.pick(&modes)))
}

fn attribute(path: &Path, random: &mut Random) -> io::Result<()> {
    let value: Vec<u8> = (0..random.below(60)).map(|_| random.next() as u8).collect();
    let (name, value): (&str, &[u8]) = match random.below(6) {
        0 => ("user.mine", &value),
        1 => ("trusted.mine", &value),
        2 => ("security.mine", &value),
        // cap_net_bind_service=ep
        3 => ("security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        // u::rwx,u:1000:r--,g::r-x,m::rwx,o::r--
        4 => ("system.posix_acl_access", ACL),
        _ => ("system.posix_acl_default", ACL),
    };
    let path = CString::new(path.as_os_str().as_bytes())?;
    if random.one_in(5) {
        return Ok(rustix::fs::lremovexattr(&path, name)?);
    }
    Ok(rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty())?)
}

const ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x07\0\xff\xff\xff\xff\
    \x02\0\x04\0\xe8\x03\0\0\
    \x04\0\x05\0\xff\xff\xff\xff\
    \x10\0\x07\0\xff\xff\xff\xff\
    \x20\0\x04\0\xff\xff\xff\xff";

fn special(path: &Path, random: &mut Random) -> io::Result<()> {
    let (kind, device) = match random.below(4) {
        0 => (FileType::Fifo, 0),
        1 => (FileType::Socket, 0),
        2 => (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        _ => (FileType::BlockDevice, rustix::fs::makedev(7, 300)),
    };
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device)?)
}

fn date(path: &Path, random: &mut Random) -> io::Result<()> {
    // Before 1970, after 2038, with nanoseconds.
    let seconds = [-1_000_000_000, -1, 0, 1_500_000_000, 2_200_000_000, 7_000_000_000];
    let mut time = || Timespec { tv_sec: *random.pick(&seconds), tv_nsec: random.below(1_000_000_000) as _ };
    let times = Timestamps { last_access: time(), last_modification: time() };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// `chattr`, through the overlay. Immutable stays off directories: nothing could happen in them any more.
fn flag(path: &Path, random: &mut Random) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Ok(());
    }
    let file = fs::File::open(path)?;
    let choices = [IFlags::NODUMP, IFlags::NOATIME, IFlags::IMMUTABLE, IFlags::APPEND];
    let wanted = *random.pick(&choices[..if kind.is_dir() { 2 } else { 4 }]);
    let now = rustix::fs::ioctl_getflags(&file)?;
    Ok(rustix::fs::ioctl_setflags(&file, now ^ wanted)?)
}
