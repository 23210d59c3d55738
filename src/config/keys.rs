//! The table of every configuration key: name, type, default, meaning. Add a key here and in `settings`.

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A time span: `10s`, `500ms`, `1min 30s`.
    Duration,
    /// A size: `50%` of the RAM, `512M`, bytes.
    Size,
    /// A number of inodes: `100%` of what its size suggests, `100000`, `100k`.
    Inodes,
    /// `LABEL=`, `UUID=`, `PARTLABEL=`, `PARTUUID=`, an absolute path, or empty.
    Device,
    /// A relative path of plain components.
    RelativePath,
    /// An absolute path of plain components, or empty.
    AbsolutePath,
    /// Comma-separated mount options.
    MountOptions,
    /// `never`, `always`, or a time span.
    Undo,
    /// A whole number, written without quotes.
    Number,
    /// `0%` to `100%`.
    Percent,
    /// `true` or `false`, written without quotes.
    Flag,
    /// Patterns of paths, written as an array of strings; as text, one a line.
    Patterns,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Full name: `state.device`; `overlay.*.mode` for every overlay.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Default, as it would be written.
    pub default: &'static str,
    /// Kernel argument `overlayd.<word>=` that sets it for the root overlay; empty for none.
    pub word: &'static str,
}

const MODES: &[&str] = &["persistent", "volatile", "read-only", "off"];
const FALLBACKS: &[&str] = &["volatile", "read-only", "fail"];
const BASE_CHANGED: &[&str] = &["keep", "set-aside", "reset", "refuse", "merge"];
const LEVELS: &[&str] = &["baseline", "factory", "wipe"];
/// Filesystems that the store is tested on.
pub const STATE_FSTYPES: &[&str] = &["auto", "ext4", "xfs", "btrfs"];

/// Every key, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key("state.device", Kind::Device, "LABEL=overlayd", "device"),
    key("state.path", Kind::RelativePath, "overlayd", "path"),
    key("state.fstype", Kind::Choice(STATE_FSTYPES), "auto", "fstype"),
    key("state.options", Kind::MountOptions, "noatime", "options"),
    key("state.timeout", Kind::Duration, "10s", "timeout"),
    key("state.fsck", Kind::Choice(&["auto", "never", "force"]), "auto", "fsck"),
    key("state.fsck-timeout", Kind::Duration, "90s", "fsck-timeout"),
    key("state.format", Kind::Choice(&["never", "if-blank"]), "never", "format"),
    key("state.key-file", Kind::AbsolutePath, "", "key-file"),
    key("overlay.*.target", Kind::Text, "/", ""),
    key("overlay.*.mode", Kind::Choice(MODES), "persistent", "mode"),
    key("overlay.*.size", Kind::Size, "50%", "size"),
    key("overlay.*.inodes", Kind::Inodes, "100%", "inodes"),
    key("overlay.*.fallback", Kind::Choice(FALLBACKS), "volatile", "fallback"),
    key("overlay.*.base-changed", Kind::Choice(BASE_CHANGED), "keep", "base-changed"),
    key("overlay.*.reset.undo", Kind::Undo, "7d", ""),
    key("overlay.*.reset.level", Kind::Choice(LEVELS), "factory", ""),
    key("overlay.*.reset.esp", Kind::Flag, "true", ""),
    key("overlay.*.reset.keep", Kind::Patterns, "", ""),
    key("overlay.*.health.tries", Kind::Number, "3", "tries"),
    key("overlay.*.snapshots.limit", Kind::Number, "10", ""),
    key("overlay.*.snapshots.min-free", Kind::Percent, "10%", ""),
];

/// Keys that have a meaning for the overlay `root` alone.
const ROOT_ONLY: &[&str] = &[
    "overlay.*.size",
    "overlay.*.inodes",
    "overlay.*.fallback",
    "overlay.*.reset.esp",
    "overlay.*.health.tries",
];

const fn key(name: &'static str, kind: Kind, default: &'static str, word: &'static str) -> Key {
    Key { name, kind, default, word }
}

/// The entry for a full key name such as `overlay.root.mode`.
pub fn find(name: &str) -> Option<&'static Key> {
    let generic = generic_name(name);
    KEYS.iter().find(|k| k.name == generic)
}

/// Whether `name` is a table that keys can be in: `state`, `overlay`, `overlay.data`.
pub fn is_section(name: &str) -> bool {
    let generic = format!("{}.", generic_name(name));
    KEYS.iter().any(|k| k.name.starts_with(&generic))
}

/// Whether the key means something for the overlay `root` alone.
pub fn is_root_only(key: &Key) -> bool {
    ROOT_ONLY.contains(&key.name)
}

/// The key that `overlayd.<word>=` on the kernel command line sets, as a full name.
pub fn by_word(word: &str) -> Option<String> {
    let key = KEYS.iter().find(|k| !k.word.is_empty() && k.word == word)?;
    Some(key.name.replace('*', "root"))
}

/// The known name nearest to `name` among `candidates`, if it is near enough to be a typo.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(2);
    candidates
        .map(|c| (distance(name, c), c))
        .filter(|&(d, _)| d <= limit)
        .min_by_key(|&(d, _)| d)
        .map(|p| p.1)
}

/// `overlay.root.mode` → `overlay.*.mode`.
fn generic_name(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if parts.len() >= 2 && parts[0] == "overlay" {
        parts[1] = "*";
    }
    parts.join(".")
}

/// Levenshtein distance by one row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_name_is_a_wildcard() {
        assert_eq!(find("overlay.root.mode").unwrap().default, "persistent");
        assert!(find("overlay.mode").is_none());
        assert!(is_section("overlay") && is_section("overlay.data") && is_section("state"));
        assert!(!is_section("overlay.data.mode") && !is_section("stat"));
        assert!(find("state.mode").is_none());
    }

    #[test]
    fn a_typo_finds_its_neighbour_and_nonsense_finds_nothing() {
        let names = || KEYS.iter().map(|k| k.name);
        assert_eq!(nearest("state.devise", names()), Some("state.device"));
        assert_eq!(nearest("completely-else", ["mode", "size"].into_iter()), None);
    }

    #[test]
    fn every_default_is_valid() {
        for key in KEYS {
            assert!(super::super::values::check(key.kind, key.default).is_ok(), "{}", key.name);
        }
    }
}
