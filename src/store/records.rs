//! The records of the store as they stand on disk: TOML, `version` first. No I/O here.

use std::collections::BTreeMap;
use std::path::Path;

use super::codec::{self, Fields, Record, map, maybe_number, maybe_text, maybe_texts, small};
use crate::error::{Error, Kind, Result};

/// The store format this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;
/// The version of every record below.
pub const RECORD_VERSION: u32 = 1;

/// The strategy of a snapshot that was the upper itself, taken as a whole by a boot.
pub const SEALED: &str = "sealed";

/// `store.toml`: what makes a directory a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreRecord {
    /// The store format; see [`FORMAT`].
    pub format: u32,
    /// Random, made with the store; requests are bound to it.
    pub uuid: String,
    /// Unix time in seconds.
    pub created: u64,
    /// Incompatible extensions in use. An unknown one means: do not touch.
    pub features: Vec<String>,
}

/// `generation.toml`: one complete answer to "what is mounted".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationRecord {
    /// See [`RECORD_VERSION`].
    pub version: u32,
    /// Its number; also the directory's name.
    pub number: u64,
    /// Unix time in seconds; may be wrong on a board without a clock.
    pub created: u64,
    /// Identity of the base it was made on.
    pub base: String,
    /// Overlayfs options, the same for all its life (invariant 9).
    pub options: String,
    /// Id of the request that made it; none for the first one.
    pub request: Option<String>,
    /// The snapshot that it stands on; none: the bare base.
    pub snapshot: Option<u64>,
}

/// `snapshot.toml`: an immutable copy of everything above the base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// See [`RECORD_VERSION`].
    pub version: u32,
    /// Its number; also the directory's name.
    pub id: u64,
    /// Unix time in seconds; may be wrong on a board without a clock.
    pub created: u64,
    /// For people.
    pub description: String,
    /// Who asked, for people.
    pub created_by: String,
    /// Identity of the base it was made on.
    pub base: String,
    /// Overlayfs options of the upper it was made from (invariant 9).
    pub options: String,
    /// `subvolume`, `reflink`, `copy` or `sealed`.
    pub strategy: String,
    /// `atomic` or `per-file`.
    pub consistency: String,
    /// Everything below the top directory. A sealed snapshot was never walked, and says 0 here and in `bytes`: then
    /// both are unknown.
    pub entries: u64,
    /// Bytes in regular files, hard links counted once.
    pub bytes: u64,
    /// The generation it was taken from; none for a volatile upper.
    pub generation: Option<u64>,
    /// Not deleted by retention, nor by `delete` alone.
    pub protected: bool,
    /// Files that changed each time they were copied: as they are here, they may never have been. At most 100.
    pub unstable: Vec<String>,
    /// Free words of whoever made it.
    pub userdata: BTreeMap<String, String>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// A new generation with an empty upper, on the baseline.
    #[default]
    Reset,
    /// A new generation with an empty upper, on a chosen snapshot or on the bare image. Nothing is given up.
    Restore,
    /// Back to a generation that is retained: the one before, if a person asks.
    Undo,
    /// A snapshot made of the upper as a whole, and a new generation with an empty upper on it.
    Snapshot,
}

impl Action {
    /// The word used in records, on the bus and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Action::Reset => "reset",
            Action::Restore => "restore",
            Action::Undo => "undo",
            Action::Snapshot => "snapshot",
        }
    }
}

/// How far a reset goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// To the baseline; what was left is retained for an undo.
    #[default]
    Baseline,
    /// To the bare image: no snapshot, no baseline, no other generation stays.
    Factory,
    /// The state device is erased, and made anew.
    Wipe,
}

impl Level {
    /// Every level, the mildest first.
    pub const ALL: [Level; 3] = [Level::Baseline, Level::Factory, Level::Wipe];

    /// The word used in records, on the bus and in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Level::Baseline => "baseline",
            Level::Factory => "factory",
            Level::Wipe => "wipe",
        }
    }

    /// The level that `word` names.
    pub fn of(word: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.word() == word)
    }
}

/// `request.toml`: something to be done at the next boot, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRecord {
    /// See [`RECORD_VERSION`].
    pub version: u32,
    /// Random; the generation made for it carries the same, so that it fires once.
    pub id: String,
    /// UUID of the store it is meant for.
    pub store: String,
    /// What to do.
    pub action: Action,
    /// Who asked, for people: `root (uid 0) via org.overlayd1`.
    pub requested_by: String,
    /// Unix time in seconds.
    pub requested_at: u64,
    /// Kernel boot id of the boot in which it was asked.
    pub boot: String,
    /// The generation that was live when it was asked.
    pub from: Option<u64>,
    /// `restore`: the snapshot to stand on; none: the bare image. `snapshot`: the number it gets.
    pub snapshot: Option<u64>,
    /// `undo`: the generation to go back to.
    pub generation: Option<u64>,
    /// `snapshot`: what its record shall say.
    pub description: Option<String>,
    /// `snapshot`: whether it becomes the baseline.
    pub commit: bool,
    /// `snapshot`: what its record shall say.
    pub userdata: BTreeMap<String, String>,
    /// How it was asked, in one or a few words for people: `overlayctl`, `the kernel command line`; none: not known.
    pub via: Option<String>,
    /// Why, where no person asked.
    pub reason: Option<String>,
    /// `reset`: how far.
    pub level: Level,
    /// `reset`: patterns of what is kept, besides what the configuration says.
    pub keep: Vec<String>,
    /// `reset`: what the configuration says is kept is not.
    pub drop_kept: bool,
}

/// `outcome.toml`: how the last executed request ended. It survives the reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// See [`RECORD_VERSION`].
    pub version: u32,
    /// The request that was executed.
    pub request: String,
    /// What was done.
    pub action: Action,
    /// Who had asked.
    pub requested_by: String,
    /// Unix time in seconds of the request.
    pub requested_at: u64,
    /// Unix time in seconds of the execution; may be wrong on a board without a clock.
    pub executed_at: u64,
    /// Kernel boot id of the boot that executed it.
    pub boot: String,
    /// `done`, or `failed`: then it was given up, and why stands in `message`.
    pub result: String,
    /// Why it failed.
    pub message: Option<String>,
    /// The snapshot that the new generation stands on.
    pub snapshot: Option<u64>,
    /// The generation that was left, if there was one.
    pub from_generation: Option<u64>,
    /// The generation that was made, or gone back to; of a failed request: the one that stayed.
    pub to_generation: u64,
    /// Of a snapshot, or a failed request: the generation that an undo still goes back to.
    pub undo_generation: Option<u64>,
    /// Since when that one is retained, Unix time in seconds.
    pub undo_since: Option<u64>,
    /// How it was asked; see [`RequestRecord::via`].
    pub via: Option<String>,
    /// Why it was asked for, where no person did.
    pub reason: Option<String>,
    /// Of a reset: how far it went.
    pub level: Level,
    /// Of a reset: what was kept, as paths from the root; at most [`KEPT_MAX`] of them.
    pub kept: Vec<String>,
    /// How many were kept in all.
    pub kept_count: Option<u64>,
    /// Of a reset: patterns of the keep-list that matched nothing.
    pub unmatched: Vec<String>,
    /// Of a reset to the bare image: `erasing` while what was given up is being deleted, then `complete`.
    pub erasure: Option<String>,
    /// Of the same: whether what was given up can not be had back by any means: `yes`, `no` or `unknown`.
    pub secure: Option<String>,
    /// Why.
    pub secure_why: Option<String>,
}

/// [`OutcomeRecord::erasure`] while something of what was given up is left.
pub const ERASING: &str = "erasing";
/// [`OutcomeRecord::erasure`] once nothing is.
pub const COMPLETE: &str = "complete";

/// So many kept paths are named in an outcome.
pub const KEPT_MAX: usize = 100;

impl Record for StoreRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        small(io, "format", &mut self.format)?;
        io.text("uuid", &mut self.uuid)?;
        io.number("created", &mut self.created)?;
        io.texts("features", &mut self.features)
    }
}

impl Record for GenerationRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        io.number("number", &mut self.number)?;
        io.number("created", &mut self.created)?;
        io.text("base", &mut self.base)?;
        io.text("options", &mut self.options)?;
        maybe_text(io, "request", &mut self.request)?;
        maybe_number(io, "snapshot", &mut self.snapshot)
    }
}

impl Record for SnapshotRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        io.number("id", &mut self.id)?;
        io.number("created", &mut self.created)?;
        io.text("description", &mut self.description)?;
        io.text("created-by", &mut self.created_by)?;
        io.text("base", &mut self.base)?;
        io.text("options", &mut self.options)?;
        io.text("strategy", &mut self.strategy)?;
        io.text("consistency", &mut self.consistency)?;
        io.number("entries", &mut self.entries)?;
        io.number("bytes", &mut self.bytes)?;
        maybe_number(io, "generation", &mut self.generation)?;
        io.flag("protected", &mut self.protected)?;
        maybe_texts(io, "unstable", &mut self.unstable)?;
        map(io, "userdata", &mut self.userdata)
    }
}

impl Record for RequestRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        io.text("id", &mut self.id)?;
        io.text("store", &mut self.store)?;
        action(io, &mut self.action)?;
        io.text("requested-by", &mut self.requested_by)?;
        io.number("requested-at", &mut self.requested_at)?;
        io.text("boot", &mut self.boot)?;
        maybe_number(io, "from", &mut self.from)?;
        maybe_number(io, "snapshot", &mut self.snapshot)?;
        maybe_number(io, "generation", &mut self.generation)?;
        maybe_text(io, "description", &mut self.description)?;
        io.flag("commit", &mut self.commit)?;
        maybe_text(io, "via", &mut self.via)?;
        maybe_text(io, "reason", &mut self.reason)?;
        level(io, &mut self.level)?;
        maybe_texts(io, "keep", &mut self.keep)?;
        io.flag("drop-kept", &mut self.drop_kept)?;
        map(io, "userdata", &mut self.userdata)
    }
}

impl Record for OutcomeRecord {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        io.text("request", &mut self.request)?;
        action(io, &mut self.action)?;
        io.text("requested-by", &mut self.requested_by)?;
        io.number("requested-at", &mut self.requested_at)?;
        io.number("executed-at", &mut self.executed_at)?;
        io.text("boot", &mut self.boot)?;
        io.text("result", &mut self.result)?;
        maybe_text(io, "message", &mut self.message)?;
        maybe_number(io, "snapshot", &mut self.snapshot)?;
        maybe_number(io, "from-generation", &mut self.from_generation)?;
        io.number("to-generation", &mut self.to_generation)?;
        maybe_number(io, "undo-generation", &mut self.undo_generation)?;
        maybe_number(io, "undo-since", &mut self.undo_since)?;
        maybe_text(io, "via", &mut self.via)?;
        maybe_text(io, "reason", &mut self.reason)?;
        level(io, &mut self.level)?;
        maybe_texts(io, "kept", &mut self.kept)?;
        maybe_number(io, "kept-count", &mut self.kept_count)?;
        maybe_texts(io, "unmatched", &mut self.unmatched)?;
        maybe_text(io, "erasure", &mut self.erasure)?;
        maybe_text(io, "secure", &mut self.secure)?;
        maybe_text(io, "secure-why", &mut self.secure_why)
    }
}

fn action(io: &mut dyn Fields, value: &mut Action) -> Result<()> {
    let all = [Action::Reset, Action::Restore, Action::Undo, Action::Snapshot];
    codec::word(io, "action", value, &all, Action::word)
}

/// Missing for the mildest.
fn level(io: &mut dyn Fields, value: &mut Level) -> Result<()> {
    match io.has("level", *value != Level::Baseline) {
        true => codec::word(io, "level", value, &Level::ALL, Level::word),
        false => Ok(()),
    }
}

/// The first field of a record: one from the future is refused before its unknown content is looked at.
pub fn version(io: &mut dyn Fields, value: &mut u32) -> Result<()> {
    small(io, "version", value)?;
    match *value {
        RECORD_VERSION => Ok(()),
        v => {
            Err(io
                .wrong("version", format!("{v} is not known to this overlayd, which reads {RECORD_VERSION}")))
        }
    }
}

/// Parses a record; the error names file and line.
pub fn parse<T: Record>(path: &Path, text: &str) -> Result<T> {
    codec::parse(path, text)
}

/// Renders a record. The field order is the declaration order, so the version comes first.
pub fn render<T: Record>(path: &Path, record: &T) -> Result<String> {
    codec::render(record)
        .map_err(|e: Error| e.with_kind(Kind::Failed).context(format!("failed to render {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation() -> GenerationRecord {
        GenerationRecord {
            version: 1,
            number: 3,
            created: 12,
            base: "squashfs:1".into(),
            options: "index=off".into(),
            request: None,
            snapshot: None,
        }
    }

    #[test]
    fn a_record_survives_the_round_trip_with_its_version_first() {
        let path = Path::new("generation.toml");
        let text = render(path, &generation()).unwrap();
        assert!(text.starts_with("version = 1\n"), "{text}");
        assert_eq!(parse::<GenerationRecord>(path, &text).unwrap(), generation());
    }

    #[test]
    fn garbage_is_named_with_file_and_line() {
        let error = parse::<GenerationRecord>(Path::new("/s/generation.toml"), "version = 1\nnumber = x\n");
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("/s/generation.toml:2: "), "{text}");
    }

    #[test]
    fn a_record_from_the_future_is_refused_by_its_version() {
        let error = parse::<GenerationRecord>(Path::new("g"), "version = 9\nother = true\n").unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::StoreDamaged);
        assert!(error.to_string().contains("version: 9 is not known"), "{error}");
    }

    #[test]
    fn an_empty_record_is_damage() {
        assert!(parse::<GenerationRecord>(Path::new("g"), "").is_err());
    }
}
