//! An upper as they grow on real machines, the same one each time: mostly small files, some large ones, symlinks, hard
//! links, whiteouts, extended attributes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

/// Directories have as many entries.
const IN_A_DIRECTORY: usize = 25;

/// Makes `entries` entries below `top`, which exists.
pub(crate) fn fill(top: &Path, entries: usize) {
    let mut numbers = Numbers(1);
    let mut dir = top.to_owned();
    let mut last = None;
    for n in 0..entries {
        if n % IN_A_DIRECTORY == 0 {
            // A few levels: usr/lib of a package rather than one heap.
            let number = n / IN_A_DIRECTORY;
            dir = top
                .join(format!("a{}", number % 7))
                .join(format!("b{}", number % 61))
                .join(format!("d{number}"));
            fs::create_dir_all(&dir).unwrap();
            continue;
        }
        let path = dir.join(format!("some-name-{n}"));
        match (numbers.below(100), &last) {
            (0..5, _) => symlink(format!("../some-name-{}", n / 2), &path).unwrap(),
            (5..7, _) => mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).unwrap(),
            (7, Some(last)) => fs::hard_link(last, &path).unwrap(),
            _ => {
                file(&path, &mut numbers, 0);
                last = Some(path);
            }
        }
    }
}

/// Writes every hundredth file anew.
pub(crate) fn change(top: &Path) {
    let mut numbers = Numbers(2);
    for (n, path) in files(top).into_iter().enumerate() {
        if n % 100 == 7 {
            file(&path, &mut numbers, 1);
        }
    }
}

/// Looks at every entry and reads every file; gives back how many entries there are.
pub(crate) fn warm(top: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(top).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.metadata().unwrap().file_type();
        count += 1;
        if kind.is_dir() {
            count += warm(&entry.path());
        } else if kind.is_file() {
            fs::read(entry.path()).unwrap();
        }
    }
    count
}

/// Regular files, in an order of their own.
fn files(top: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(top).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    let mut all = Vec::new();
    for path in entries {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            all.extend(files(&path));
        } else if kind.is_file() {
            all.push(path);
        }
    }
    all
}

/// A file of 0 to 16 KiB, most below 4; one of 200 has up to 256 KiB.
fn file(path: &Path, numbers: &mut Numbers, salt: u8) {
    let length = match numbers.below(200) {
        0 => numbers.below(256 << 10),
        1..10 => 0,
        10..110 => numbers.below(2 << 10),
        110..170 => numbers.below(4 << 10),
        _ => numbers.below(16 << 10),
    };
    let seed = numbers.below(251);
    let content: Vec<u8> = (0..length).map(|i| ((i * seed) >> 3) as u8 ^ salt).collect();
    fs::write(path, content).unwrap();
    match numbers.below(50) {
        0 => fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap(),
        1 => rustix::fs::setxattr(path, "user.from", b"the bench", rustix::fs::XattrFlags::empty()).unwrap(),
        _ => {}
    }
}

/// SplitMix64: the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }
}
