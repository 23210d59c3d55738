//! Snapshots: making one, deleting one, what its record says, and how many are kept.

use std::collections::BTreeMap;

use super::{Asked, Planned, Site};
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;

/// What a snapshot's record shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// For people; at most 128 bytes, no control characters.
    pub description: String,
    /// Free words.
    pub userdata: BTreeMap<String, String>,
}

impl Wanted {
    /// Refuses what no record may say: see the limits of [`TEXT_MAX`], [`PAIRS_MAX`] and [`KEY_MAX`].
    pub fn check(&self) -> Result<()> {
        text("the description", &self.description)?;
        if self.userdata.len() > PAIRS_MAX {
            let count = self.userdata.len();
            return invalid(format!("{count} pairs of userdata, at most {PAIRS_MAX}"));
        }
        for (key, value) in &self.userdata {
            if !is_key(key) {
                return invalid(format!(
                    "userdata key {key:?}: a letter or a digit, then letters, digits, '.', '_' or '-', all small, {KEY_MAX} \
                     in all"
                ));
            }
            text(&format!("userdata {key}"), value)?;
        }
        Ok(())
    }
}

/// Bytes in a description and in a value of userdata.
pub const TEXT_MAX: usize = 128;
/// Pairs of userdata.
pub const PAIRS_MAX: usize = 16;
/// Bytes in a key of userdata.
pub const KEY_MAX: usize = 32;

fn is_key(key: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = key.as_bytes();
    (1..=KEY_MAX).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&b| word(b) || matches!(b, b'.' | b'_' | b'-'))
}

fn text(what: &str, text: &str) -> Result<()> {
    if text.len() > TEXT_MAX {
        return invalid(format!("{what} has {} bytes, at most {TEXT_MAX}", text.len()));
    }
    match text.chars().any(char::is_control) {
        true => invalid(format!("{what} contains control characters")),
        false => Ok(()),
    }
}

fn invalid(what: String) -> Result<()> {
    Err(Error::new(Kind::InvalidArgs, what))
}

/// A snapshot that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub id: u64,
    /// Names in it.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Files shared with the last one.
    pub reused: u64,
    /// `subvolume`, `reflink` or `copy`.
    pub strategy: String,
    /// `atomic` or `per-file`.
    pub consistency: String,
    /// Files that changed each time they were copied.
    pub unstable: Vec<String>,
    /// Snapshots that retention removed.
    pub removed: Vec<u64>,
}

/// Makes a snapshot of what is live, now.
pub fn create(
    _site: &Site,
    _overlay: &str,
    _wanted: &Wanted,
    _asked: &Asked,
    _on_progress: &mut OnProgress<'_>,
) -> Result<Made> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Asks for a snapshot at the next boot, before anything runs.
pub fn request(
    _site: &Site,
    _overlay: &str,
    _wanted: &Wanted,
    _commit: bool,
    _asked: &Asked,
) -> Result<Planned> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Deletes a snapshot: into the trash.
pub fn delete(_site: &Site, _overlay: &str, _id: u64, _asked: &Asked) -> Result<()> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Protects a snapshot from retention and deletion, or does so no longer.
pub fn set_protected(_site: &Site, _overlay: &str, _id: u64, _protected: bool) -> Result<()> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

/// Changes what a snapshot's record says.
pub fn set_metadata(_site: &Site, _overlay: &str, _id: u64, _wanted: &Wanted) -> Result<()> {
    Err(Error::new(Kind::NotSupported, "under construction"))
}

#[cfg(test)]
mod wanted_tests {
    use super::*;

    fn check(description: &str, pairs: &[(&str, &str)]) -> Result<()> {
        let userdata = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Wanted { description: description.to_owned(), userdata }.check()
    }

    #[test]
    fn what_a_record_may_say() {
        assert!(check("", &[]).is_ok());
        assert!(check(&"ä".repeat(64), &[("a", ""), ("0.b_c-d", &"v".repeat(128))]).is_ok());
        for bad in [&"x".repeat(129), "a\nb", "\u{7f}", "\u{85}"] {
            assert_eq!(check(bad, &[]).unwrap_err().kind(), Kind::InvalidArgs, "{bad:?}");
        }
        for key in ["", "A", "-a", ".a", "a b", "ä", &"k".repeat(33)] {
            assert!(check("", &[(key, "v")]).is_err(), "{key:?}");
        }
        assert!(check("", &[("k", "a\tb")]).is_err());
        assert!(check("", &[("k", &"v".repeat(129))]).is_err());
        let keys: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|k| (k.as_str(), "v")).collect();
        assert!(check("", &pairs[..16]).is_ok() && check("", &pairs).is_err());
    }
}
