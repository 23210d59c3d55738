//! The checked configuration that plans are made from. Merged entries go in; nothing is read here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fragment::{Entry, Origin};
use super::keys;
use super::load::Problem;
use super::others;
use super::values::{self, Inodes, Size};
use crate::error::Place;
use crate::keep::Pattern;
use crate::store::records::Level;
use crate::sys::block::DeviceSpec;

/// The overlay that is `/`.
const ROOT: &str = "root";

/// Everything that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the store is.
    pub state: State,
    /// Overlays by name; `root` is always there.
    pub overlays: BTreeMap<String, Overlay>,
}

impl Config {
    /// The root overlay.
    pub fn root(&self) -> &Overlay {
        &self.overlays[ROOT]
    }
}

/// `[state]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The device; none keeps everything in RAM.
    pub device: Option<DeviceSpec>,
    /// Whether somebody set it: a default that is not there is nothing to wait for, nor to complain about, where a
    /// state device is not needed.
    pub device_set: bool,
    /// Directory of the store on its filesystem.
    pub path: PathBuf,
    /// Expected filesystem type; none takes what is there.
    pub fstype: Option<String>,
    /// Mount options besides those that overlayd decides.
    pub options: String,
    /// How long to wait for the device.
    pub timeout: Duration,
    /// When to check the filesystem.
    pub fsck: Fsck,
    /// How long a check may take.
    pub fsck_timeout: Duration,
    /// When to make a filesystem.
    pub format: Format,
    /// The key of the encrypted volume that the filesystem lies in, in the initramfs or in the base.
    pub key_file: Option<PathBuf>,
}

/// `[overlay.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Mount point in the booted system.
    pub target: PathBuf,
    /// What to mount.
    pub mode: Mode,
    /// Cap of a volatile upper.
    pub size: Size,
    /// Cap of the files in it.
    pub inodes: Inodes,
    /// What to mount when the mode can not be had.
    pub fallback: Fallback,
    /// What to do with a generation that was made on another base.
    pub base_changed: BaseChanged,
    /// How long the generation that a reset or a restore left can be gone back to.
    pub undo: Undo,
    /// How far a reset goes that was asked for by something that can not say how far.
    pub level: Level,
    /// Whether a file on the ESP can ask for a reset.
    pub esp: bool,
    /// What a reset keeps, by full path in the booted system. In their order, those of `keep.d` first.
    pub keep: Vec<Pattern>,
    /// After so many boots of a generation that did not complete the next one goes back; 0: none is counted.
    pub tries: u64,
    /// How many snapshots are kept.
    pub snapshots: Retention,
}

/// `[overlay.NAME.snapshots]`: which snapshots retention removes, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many unprotected ones are kept; 0: all.
    pub limit: u64,
    /// The part of the state filesystem that a snapshot leaves free, in percent.
    pub min_free: u8,
}

/// How long the generation that was left is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Not at all.
    Never,
    /// Until it is left again, or space is needed.
    Always,
    /// So long.
    For(Duration),
}

/// What an overlay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The upper lies in the store and survives.
    #[default]
    Persistent,
    /// The upper lies in RAM.
    Volatile,
    /// The base alone, without an upper.
    ReadOnly,
    /// Nothing is done.
    Off,
}

impl Mode {
    /// The word in the configuration, in records and on the bus.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Persistent => "persistent",
            Mode::Volatile => "volatile",
            Mode::ReadOnly => "read-only",
            Mode::Off => "off",
        }
    }
}

/// What to do when the configured mode can not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// An upper in RAM.
    Volatile,
    /// The base alone.
    ReadOnly,
    /// The boot fails.
    Fail,
}

/// What a boot does on another base than the one that the live generation was made on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseChanged {
    /// It is mounted as it is, and the status says so.
    #[default]
    Keep,
    /// A generation of this base is mounted: the one there was, or a new one. The other waits for its base.
    SetAside,
    /// As after `overlayctl reset`.
    Reset,
    /// It is not mounted: the fallback is.
    Refuse,
}

/// When to check the state filesystem before it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsck {
    /// With the filesystem's own checker in its automatic mode, if it has one.
    Auto,
    /// Not at all.
    Never,
    /// Fully, at every boot.
    Force,
}

/// When to make a filesystem on the state device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Never.
    Never,
    /// If the device is blank (invariant 6).
    IfBlank,
}

/// Builds the configuration. Entries are valid one by one already; impossible combinations go to `problems`.
pub fn build(entries: &BTreeMap<String, Entry>, problems: &mut Vec<Problem>) -> Config {
    let get = |key: &str| value(entries, key);
    let word = |key: &str| get(key).to_owned();
    let duration = |key: &str| values::parse_duration(get(key)).unwrap_or_default();
    let state = State {
        device: DeviceSpec::parse(get("state.device")).ok(),
        device_set: entries.contains_key("state.device"),
        path: PathBuf::from(word("state.path")),
        fstype: Some(word("state.fstype")).filter(|t| t != "auto"),
        options: word("state.options"),
        timeout: duration("state.timeout"),
        fsck: match get("state.fsck") {
            "never" => Fsck::Never,
            "force" => Fsck::Force,
            _ => Fsck::Auto,
        },
        fsck_timeout: duration("state.fsck-timeout"),
        format: if get("state.format") == "if-blank" { Format::IfBlank } else { Format::Never },
        key_file: Some(PathBuf::from(word("state.key-file"))).filter(|p| !p.as_os_str().is_empty()),
    };
    let named = entries.keys().filter_map(|key| Some(key.strip_prefix("overlay.")?.split_once('.')?.0));
    let mut overlays: BTreeMap<String, Overlay> = BTreeMap::new();
    for name in named.chain([ROOT]) {
        // Not `collect`, which sorts first: four kilobytes of early boot.
        overlays.insert(name.to_owned(), overlay(entries, name));
    }
    let config = Config { state, overlays };
    check_combinations(entries, &config.state, config.root(), problems);
    others::check(entries, &config, problems);
    config
}

fn overlay(entries: &BTreeMap<String, Entry>, name: &str) -> Overlay {
    let get = |key: &str| value(entries, &format!("overlay.{name}.{key}"));
    Overlay {
        target: PathBuf::from(get("target")),
        mode: mode_of(get("mode")),
        size: values::parse_size(get("size")).unwrap_or(Size::Percent(50)),
        inodes: values::parse_inodes(get("inodes")).unwrap_or(Inodes::Percent(100)),
        fallback: match get("fallback") {
            "read-only" => Fallback::ReadOnly,
            "fail" => Fallback::Fail,
            _ => Fallback::Volatile,
        },
        base_changed: match get("base-changed") {
            "set-aside" => BaseChanged::SetAside,
            "reset" => BaseChanged::Reset,
            "refuse" => BaseChanged::Refuse,
            _ => BaseChanged::Keep,
        },
        undo: values::parse_undo(get("reset.undo")).unwrap_or(Undo::Always),
        level: Level::of(get("reset.level")).unwrap_or(Level::Factory),
        esp: get("reset.esp") == "true",
        keep: values::parse_patterns(get("reset.keep")).unwrap_or_default(),
        tries: get("health.tries").parse().unwrap_or_default(),
        snapshots: Retention {
            limit: get("snapshots.limit").parse().unwrap_or_default(),
            min_free: values::parse_percent(get("snapshots.min-free")).unwrap_or_default(),
        },
    }
}

/// What is possible, but not what one may think.
pub(super) fn warnings(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let merged = entries.values().filter(|e| e.key.ends_with(".base-changed") && e.value == "merge");
    let text = |e: &Entry| {
        let text = "\"merge\" comes in a later version; until then it does what \"keep\" does";
        format!("{}: {}: {text}", e.origin, e.key)
    };
    merged.map(text).collect()
}

/// A problem with `key`, at the place where it was set.
pub(super) fn problem_with(entries: &BTreeMap<String, Entry>, key: &str, message: &str) -> Problem {
    let place = match entries.get(key).map(|e| &e.origin) {
        Some(Origin::File(place)) => place.clone(),
        Some(Origin::Cmdline(_)) => Place { path: "kernel command line".into(), line: None },
        _ => Place { path: "configuration".into(), line: None },
    };
    Problem { place, message: format!("{key}: {message}"), hint: None }
}

fn check_combinations(
    entries: &BTreeMap<String, Entry>,
    state: &State,
    root: &Overlay,
    problems: &mut Vec<Problem>,
) {
    let mut problem = |key: &str, message: &str| problems.push(problem_with(entries, key, message));
    if root.target != Path::new("/") {
        problem("overlay.root.target", "the overlay \"root\" is always mounted on \"/\"");
    }
    if root.mode == Mode::Persistent && state.device.is_none() {
        let text = "empty, but overlay.root.mode is \"persistent\"; name a device, or choose \"volatile\"";
        problem("state.device", text);
    }
    if state.format == Format::IfBlank && state.fstype.is_none() {
        problem("state.format", "\"if-blank\" needs state.fstype to say which filesystem to make");
    }
    if state.format == Format::IfBlank
        && matches!(state.device, Some(DeviceSpec::Label(_) | DeviceSpec::Uuid(_)))
    {
        let text = "a blank device has no LABEL or UUID; name it by PARTLABEL, PARTUUID or path";
        problem("state.format", text);
    }
}

fn mode_of(word: &str) -> Mode {
    match word {
        "volatile" => Mode::Volatile,
        "read-only" => Mode::ReadOnly,
        "off" => Mode::Off,
        _ => Mode::Persistent,
    }
}

fn value<'a>(entries: &'a BTreeMap<String, Entry>, key: &str) -> &'a str {
    match entries.get(key) {
        Some(entry) => &entry.value,
        None => keys::find(key).map_or("", |k| k.default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let entries = pairs
            .iter()
            .map(|(k, v)| {
                let place = Place { path: "f".into(), line: Some(1) };
                (
                    k.to_string(),
                    Entry { key: k.to_string(), value: v.to_string(), origin: Origin::File(place) },
                )
            })
            .collect();
        let mut problems = Vec::new();
        build(&entries, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_possible() {
        assert!(problems(&[]).is_empty());
    }

    #[test]
    fn impossible_combinations_are_named_with_their_place() {
        let none = problems(&[("state.device", "")]);
        assert!(none[0].starts_with("f:1: state.device: empty"), "{none:?}");
        assert!(problems(&[("state.device", ""), ("overlay.root.mode", "volatile")]).is_empty());
        let blank = problems(&[("state.format", "if-blank"), ("state.device", "/dev/sdx1")]);
        assert_eq!(blank.len(), 1, "{blank:?}");
        let label = problems(&[("state.format", "if-blank"), ("state.fstype", "ext4")]);
        assert_eq!(label.len(), 1, "{label:?}");
    }
}
