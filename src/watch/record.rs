//! `watch.toml` beside the handoff: what was seen the last time. The status tells what it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::level::Level;
use crate::error::Result;
use crate::store::codec::{Fields, Record, maybe_text, tables, word};
use crate::store::records::{self, version};
use crate::sys::atomic;

/// The state filesystem, among the places whose space is watched. No overlay is called so.
pub(super) const STATE: &str = "(state)";

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// What is wrong with the state filesystem.
    pub trouble: Option<String>,
    /// Where space is not enough: the state filesystem, or the upper in RAM of an overlay.
    pub room: BTreeMap<String, Room>,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How much is left.
    pub level: Level,
}

impl Watched {
    /// The level of the upper of a volatile overlay.
    pub fn level(&self, name: &str) -> Level {
        self.room.get(name).map_or(Level::Enough, |room| room.level)
    }

    /// The level of the state filesystem.
    pub fn state(&self) -> Level {
        self.level(STATE)
    }

    /// Where space is not enough, in words for people.
    pub fn shortages(&self) -> impl Iterator<Item = String> {
        self.room.iter().map(|(name, room)| format!("space is {} on {}", room.level.word(), described(name)))
    }
}

/// What a name means, for people.
pub(super) fn described(name: &str) -> String {
    match name {
        STATE => "the state filesystem".to_owned(),
        overlay => format!("the layer of {overlay} in RAM"),
    }
}

/// The record that belongs to a handoff.
pub fn path(handoff: &Path) -> PathBuf {
    handoff.with_file_name("watch.toml")
}

/// Reads it; none if nothing was ever seen that has to be told, or if it can not be read.
pub fn load(handoff: &Path) -> Option<Watched> {
    let path = path(handoff);
    let text = atomic::read_optional(&path).ok().flatten()?;
    records::parse::<Stored>(&path, &text).ok().map(|stored| stored.watched)
}

/// Writes it, readable for everyone as the handoff is.
pub(super) fn save(handoff: &Path, watched: &Watched) -> Result<()> {
    let path = path(handoff);
    let stored = Stored { version: 1, watched: watched.clone() };
    atomic::write_public(&path, &records::render(&path, &stored)?)
}

#[derive(Clone, Debug, Default)]
struct Stored {
    version: u32,
    watched: Watched,
}

impl Record for Stored {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        maybe_text(io, "trouble", &mut self.watched.trouble)?;
        tables(io, "room", &mut self.watched.room)
    }
}

impl Record for Room {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        word(io, "level", &mut self.level, &[Level::Enough, Level::Low, Level::Critical], Level::word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = crate::sys::process::test_dir("watch");
        let handoff = dir.join("boot.toml");
        assert_eq!(load(&handoff), None);
        let mut watched = Watched { trouble: Some("gone".into()), ..Watched::default() };
        watched.room.insert(STATE.into(), Room { level: Level::Low });
        watched.room.insert("root".into(), Room { level: Level::Critical });
        save(&handoff, &watched).unwrap();
        let read = load(&handoff).unwrap();
        assert_eq!(read, watched);
        assert_eq!(
            (read.state(), read.level("root"), read.level("var")),
            (Level::Low, Level::Critical, Level::Enough)
        );
        let words: Vec<String> = read.shortages().collect();
        assert_eq!(
            words,
            ["space is low on the state filesystem", "space is critical on the layer of root in RAM"]
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
