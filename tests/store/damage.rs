//! The ways in which a record, or a directory, is not what it should be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::rig::write_private;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Missing,
    /// So much of it is left, in parts of a hundred; never all of it.
    Cut(usize),
    Empty,
    Garbage,
    /// Bytes that are no text.
    Binary,
    /// As long as it was, as a filesystem leaves it that had not written it yet.
    Zeros,
    /// A block of zeros, though it was shorter.
    Block,
    /// Longer than any record.
    Huge,
    Directory,
    File,
    /// Reading it must not wait for somebody who writes.
    Pipe,
    /// It leads nowhere.
    Symlink,
    /// What the version says is from a later overlayd.
    Future,
    /// These words in place of those.
    Says(&'static str, &'static str),
}

/// What can happen to any file.
pub(crate) const OF_A_FILE: [Damage; 14] = [
    Damage::Missing,
    Damage::Cut(5),
    Damage::Cut(35),
    Damage::Cut(65),
    Damage::Cut(95),
    Damage::Empty,
    Damage::Garbage,
    Damage::Binary,
    Damage::Zeros,
    Damage::Block,
    Damage::Huge,
    Damage::Directory,
    Damage::Pipe,
    Damage::Symlink,
];
/// What can happen to any directory.
pub(crate) const OF_A_DIRECTORY: [Damage; 4] = [Damage::Missing, Damage::File, Damage::Pipe, Damage::Symlink];

impl Damage {
    /// How it is called in a list.
    pub(crate) fn name(self) -> String {
        match self {
            Damage::Missing => "missing".into(),
            Damage::Cut(part) => format!("cut at {part} %"),
            Damage::Empty => "empty".into(),
            Damage::Garbage => "garbage".into(),
            Damage::Binary => "not text".into(),
            Damage::Zeros => "zeros".into(),
            Damage::Block => "a block of zeros".into(),
            Damage::Huge => "2 MiB long".into(),
            Damage::Directory => "a directory".into(),
            Damage::File => "a file".into(),
            Damage::Pipe => "a pipe".into(),
            Damage::Symlink => "a dangling symlink".into(),
            Damage::Future => "of a later version".into(),
            Damage::Says(_, said) => format!("says `{}`", said.trim_end()),
        }
    }

    /// Does it to what lies at `path`.
    pub(crate) fn inflict(self, path: &Path) {
        let content = if path.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        // Out of the store, as if it was lost: what it holds is not to be counted as data that is still there.
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
        match self {
            Damage::Missing => {}
            Damage::Cut(part) => {
                let length = (content.len() * part / 100).clamp(1, content.len() - 1);
                write_private(path, &content[..length]);
            }
            Damage::Empty | Damage::File => write_private(path, ""),
            Damage::Garbage => write_private(path, "garbage, and = more of it\n"),
            Damage::Binary => write_private(path, [0x80, 0xff, b'\n', 0xfe]),
            Damage::Zeros => write_private(path, vec![0; content.len()]),
            Damage::Block => write_private(path, vec![0; 4096]),
            Damage::Huge => write_private(path, vec![b'1'; 2 << 20]),
            Damage::Directory => fs::create_dir(path).unwrap(),
            Damage::Pipe => {
                nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
            }
            Damage::Symlink => symlink("nowhere", path).unwrap(),
            Damage::Future => {
                let text = String::from_utf8(content).unwrap();
                let (_, rest) = text.split_once('\n').unwrap();
                let key = if path.ends_with("store.toml") { "format" } else { "version" };
                write_private(path, format!("{key} = 2\n{rest}new = \"thing\"\n"));
            }
            Damage::Says(words, said) => {
                let text = String::from_utf8(content).unwrap();
                assert!(text.contains(words), "{words} is not in {}: {text}", path.display());
                write_private(path, text.replace(words, said));
            }
        }
    }
}
