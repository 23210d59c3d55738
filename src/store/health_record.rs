//! `health.toml`: how often the live generation was booted without coming up, and what was good and bad before it.

use std::collections::BTreeMap;

use super::codec::{self, Fields, Record, map, maybe_number, maybe_text};
use super::records::version;
use crate::error::Result;

/// How far going back has got since a generation last came up well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Nothing was gone back to.
    #[default]
    Start,
    /// The last good generation.
    Good,
    /// A new generation on the baseline.
    Baseline,
    /// A new generation on the bare image: there is nothing below it.
    Bare,
}

impl Rung {
    /// Every rung, from the top.
    pub const ALL: [Rung; 4] = [Rung::Start, Rung::Good, Rung::Baseline, Rung::Bare];

    /// The word in records and in the status.
    pub fn word(self) -> &'static str {
        match self {
            Rung::Start => "start",
            Rung::Good => "good",
            Rung::Baseline => "baseline",
            Rung::Bare => "bare",
        }
    }
}

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRecord {
    /// See [`RECORD_VERSION`](super::records::RECORD_VERSION).
    pub version: u32,
    /// The generation that is counted.
    pub generation: u64,
    /// So many boots of it began since it was last marked good.
    pub boots: u64,
    /// The generation that was marked good last.
    pub good: Option<u64>,
    /// How far going back has got.
    pub rung: Rung,
    /// Who wrote this last, for people.
    pub by: Option<String>,
    /// When, Unix time in seconds; may be wrong on a board without a clock.
    pub at: Option<u64>,
    /// Kernel boot id of the boot in which it was written.
    pub boot: Option<String>,
    /// Generations that did not come up, or were marked bad, by number, and why. They are kept until space is needed, or
    /// somebody marks the live one good and says that these are not needed any more.
    pub bad: BTreeMap<String, String>,
}

impl HealthRecord {
    /// Why generation `number` is bad; none if it is not.
    pub fn badness(&self, number: u64) -> Option<&str> {
        let mut bad = self.bad.iter().filter(|(bad, _)| bad.parse() == Ok(number));
        bad.next().map(|(_, why)| why.as_str())
    }

    /// Records why a generation is bad.
    pub fn set_bad(&mut self, number: u64, why: &str) {
        // As the records' own maps are filled: one piece of code less.
        *self.bad.entry(number.to_string()).or_default() = why.to_owned();
    }

    /// The numbers of the bad ones.
    pub fn bad_ones(&self) -> impl Iterator<Item = u64> {
        self.bad.keys().filter_map(|number| number.parse().ok())
    }
}

impl Record for HealthRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        io.number("generation", &mut self.generation)?;
        io.number("boots", &mut self.boots)?;
        maybe_number(io, "good", &mut self.good)?;
        if io.has("rung", self.rung != Rung::Start) {
            codec::word(io, "rung", &mut self.rung, &Rung::ALL, Rung::word)?;
        }
        maybe_text(io, "by", &mut self.by)?;
        maybe_number(io, "at", &mut self.at)?;
        maybe_text(io, "boot", &mut self.boot)?;
        map(io, "bad", &mut self.bad)
    }
}
