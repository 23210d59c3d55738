//! What stands on a device while it is wiped: who asked, when and how, so that the store that is made then can tell; and
//! what the device is, so that no other one is wiped for it. TOML in the sector of `sys::wipe_sector`. No I/O here.

use std::path::Path;

use super::codec::{Fields, Record, maybe_table, maybe_text, maybe_texts};
use super::records;
use crate::error::Result;
use crate::sys::wipe_sector::TEXT_MAX;

/// The record. Its keys are short: there is little room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WipeRecord {
    /// Id of the request.
    pub request: String,
    /// UUID of the store that is wiped.
    pub store: String,
    /// Size of the device in bytes.
    pub size: u64,
    /// When it was asked, Unix time in seconds.
    pub at: u64,
    /// Boot id at that time.
    pub boot: String,
    /// Who asked; cut if it is long.
    pub by: String,
    /// How it was asked; cut if it is long.
    pub via: Option<String>,
    /// The encrypted volume that is on the device.
    pub luks: Option<Luks>,
    /// Those of the store's used tokens that could fire again: a token must not do so because its trace was wiped.
    pub tokens: Vec<String>,
}

/// A LUKS2 volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Luks {
    /// Name of its mapping, below /dev/mapper.
    pub name: String,
    /// Its UUID, by which others may find it: it stays.
    pub uuid: String,
    /// Its label, likewise.
    pub label: Option<String>,
    /// How long its header with the key slots is, in bytes.
    pub header: u64,
}

impl Record for Luks {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        io.text("name", &mut self.name)?;
        io.text("uuid", &mut self.uuid)?;
        maybe_text(io, "label", &mut self.label)?;
        io.number("header", &mut self.header)
    }
}

/// So many bytes of who asked, and of how, are kept: as many as there is room for.
const WORDS: [usize; 4] = [96, 64, 48, 24];

impl Record for WipeRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        io.text("request", &mut self.request)?;
        io.text("store", &mut self.store)?;
        io.number("size", &mut self.size)?;
        io.number("at", &mut self.at)?;
        io.text("boot", &mut self.boot)?;
        io.text("by", &mut self.by)?;
        maybe_text(io, "via", &mut self.via)?;
        maybe_texts(io, "tokens", &mut self.tokens)?;
        maybe_table(io, "luks", &mut self.luks)
    }
}

impl WipeRecord {
    /// Parses it; `device` is for messages.
    pub fn parse(device: &Path, text: &str) -> Result<WipeRecord> {
        records::parse(device, text)
    }

    /// The text; who asked, and how, are cut to some words if need be. None: the rest alone is too long.
    pub fn fitting(&self) -> Option<String> {
        WORDS.into_iter().find_map(|longest| {
            let (by, via) = (words(&self.by, longest), self.via.as_deref().map(|via| words(via, longest)));
            let text =
                records::render(Path::new("wipe record"), &WipeRecord { by, via, ..self.clone() }).ok()?;
            (text.len() <= TEXT_MAX).then_some(text)
        })
    }
}

fn words(text: &str, longest: usize) -> String {
    let end = (0..=longest.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or_default();
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> WipeRecord {
        WipeRecord {
            request: "0123456789abcdef0123456789abcdef".into(),
            store: "0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f".into(),
            size: u64::MAX / 2,
            at: u64::MAX / 2,
            boot: "6a1c5b1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f".into(),
            by: "uid 1000 (jane)".into(),
            via: Some("dbus".into()),
            luks: None,
            tokens: vec!["monday".into()],
        }
    }

    fn luks() -> Luks {
        Luks {
            name: "overlayd-state".into(),
            uuid: "7a7c1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f".into(),
            label: Some("state".into()),
            header: 16 << 20,
        }
    }

    #[test]
    fn it_survives_the_round_trip() {
        let text = record().fitting().unwrap();
        assert_eq!(WipeRecord::parse(Path::new("x"), &text).unwrap(), record());
        let encrypted = WipeRecord { luks: Some(luks()), ..record() };
        let text = encrypted.fitting().unwrap();
        assert_eq!(WipeRecord::parse(Path::new("x"), &text).unwrap().luks, encrypted.luks);
    }

    #[test]
    fn long_words_are_cut() {
        let long = WipeRecord { by: "ü".repeat(500), via: Some("v".repeat(500)), ..record() };
        let text = long.fitting().unwrap();
        assert!(text.len() <= TEXT_MAX);
        let read = WipeRecord::parse(Path::new("x"), &text).unwrap();
        assert!(read.by.len() >= 24 && read.by.chars().all(|c| c == 'ü'), "{}", read.by);
        assert_eq!((read.request, read.tokens), (long.request, long.tokens));
    }

    #[test]
    fn tokens_that_do_not_fit_are_no_record() {
        let tokens = vec!["t".repeat(64), "u".repeat(64)];
        assert!(WipeRecord { tokens, by: "b".repeat(99), ..record() }.fitting().is_some());
        assert_eq!(WipeRecord { tokens: vec!["t".repeat(400)], ..record() }.fitting(), None);
    }
}
