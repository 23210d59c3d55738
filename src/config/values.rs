//! Values of configuration keys: time spans, sizes, words. Pure parsing from `&str`.

use std::path::{Component, Path};
use std::time::Duration;

use super::keys::{Kind, nearest};
use super::settings::Undo;
use crate::keep::Pattern;
use crate::sys::block::DeviceSpec;

/// A cap for a volatile upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Of the machine's RAM, 1 to 100.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl Size {
    /// In bytes, on a machine with `ram` bytes of memory.
    pub fn bytes(self, ram: u64) -> u64 {
        match self {
            Size::Percent(p) => ram / 100 * u64::from(p),
            Size::Bytes(b) => b,
        }
    }
}

/// A cap for the files of a volatile upper. Never none: to tmpfs, 0 means that there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// Of one for each 4 KiB of its size, 1 to 100: the ratio the kernel takes for a whole tmpfs.
    Percent(u8),
    /// So many.
    Count(u64),
}

/// Fewer do not even carry an overlay with its work directory and what is changed by every boot.
const FEWEST_INODES: u64 = 64;
const BYTES_PER_INODE: u64 = 4096;

impl Inodes {
    /// How many, for an upper of so many bytes.
    pub fn of(self, bytes: u64) -> u64 {
        match self {
            Inodes::Percent(p) => (bytes / BYTES_PER_INODE * u64::from(p) / 100).max(FEWEST_INODES),
            Inodes::Count(n) => n,
        }
    }
}

/// Whether `text` is a value of `kind`; the error says what would be.
pub fn check(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Text => Ok(()),
        Kind::Choice(words) => check_choice(words, text),
        Kind::Duration => parse_duration(text).map(drop),
        Kind::Size => parse_size(text).map(drop),
        Kind::Inodes => parse_inodes(text).map(drop),
        Kind::Device if text.is_empty() => Ok(()),
        Kind::Device => DeviceSpec::parse(text).map(drop),
        Kind::RelativePath => check_relative(text),
        Kind::AbsolutePath if text.is_empty() => Ok(()),
        Kind::AbsolutePath => check_absolute(text),
        Kind::MountOptions => check_mount_options(text),
        Kind::Undo => parse_undo(text).map(drop),
        Kind::Number => {
            text.parse::<u64>().map(drop).map_err(|_| format!("\"{text}\" is not a number from 0 on"))
        }
        Kind::Percent => parse_percent(text).map(drop),
        Kind::Flag => check_choice(&["true", "false"], text),
        Kind::Patterns => parse_patterns(text).map(drop),
    }
}

/// Parses `1min 30s`, `500ms`, `10` (seconds), `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad =
        || format!("\"{text}\" is not a time span; write for example \"10s\", \"500ms\" or \"1min 30s\"");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = unit_ms(&rest[..letters]).ok_or_else(bad)?;
        total += Duration::from_millis(number.checked_mul(unit).ok_or_else(bad)?);
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

/// Parses `never`, `always`, `7d`.
pub fn parse_undo(text: &str) -> Result<Undo, String> {
    match text {
        "never" => Ok(Undo::Never),
        "always" => Ok(Undo::Always),
        _ => parse_duration(text)
            .map(Undo::For)
            .map_err(|_| format!("\"{text}\" is not \"never\", \"always\" or a time span such as \"7d\"")),
    }
}

/// Parses patterns of paths, one a line.
pub fn parse_patterns(text: &str) -> Result<Vec<Pattern>, String> {
    text.lines().map(Pattern::parse).collect()
}

/// Parses `0%` to `100%`.
pub fn parse_percent(text: &str) -> Result<u8, String> {
    let percent = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
    percent
        .filter(|p| *p <= 100)
        .ok_or_else(|| format!("\"{text}\" is not a percentage from \"0%\" to \"100%\""))
}

/// Parses `50%`, `512M`, `1G`, `4096`.
pub fn parse_size(text: &str) -> Result<Size, String> {
    let bad = || format!("\"{text}\" is not a size; write for example \"50%\", \"512M\" or \"2G\"");
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.parse() {
            Ok(p @ 1..=100) => Ok(Size::Percent(p)),
            _ => Err(bad()),
        };
    }
    scaled(text.trim_end_matches("iB").trim_end_matches('B'))
        .filter(|bytes| *bytes >= 1 << 16)
        .map(Size::Bytes)
        .ok_or_else(bad)
}

/// Parses `100%`, `100000`, `100k`.
pub fn parse_inodes(text: &str) -> Result<Inodes, String> {
    let inodes = match text.ends_with('%') {
        true => parse_percent(text).ok().filter(|p| *p > 0).map(Inodes::Percent),
        // The kernel takes no more than it can count in units of 1 KiB.
        false => scaled(text).filter(|n| (FEWEST_INODES..1 << 54).contains(n)).map(Inodes::Count),
    };
    inodes.ok_or_else(|| {
        format!("\"{text}\" is not a number of inodes from {FEWEST_INODES} on; write for example \"100%\", \"100000\" or \"100k\"")
    })
}

/// A number, and what it is multiplied with: 1024 for `k`, and so on, as tmpfs has it.
fn scaled(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "" | "s" | "sec" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

fn check_choice(words: &[&str], text: &str) -> Result<(), String> {
    if words.contains(&text) {
        return Ok(());
    }
    let hint =
        nearest(text, words.iter().copied()).map(|w| format!("; did you mean \"{w}\"?")).unwrap_or_default();
    Err(format!("\"{text}\" is not one of {}{hint}", words.join(", ")))
}

fn check_relative(text: &str) -> Result<(), String> {
    let plain = Path::new(text).components().all(|c| matches!(c, Component::Normal(_)));
    if plain && !text.is_empty() {
        return Ok(());
    }
    Err(format!("\"{text}\" is not a relative path of plain names; write for example \"overlayd\""))
}

fn check_absolute(text: &str) -> Result<(), String> {
    match text.strip_prefix('/').map(check_relative) {
        Some(Ok(())) => Ok(()),
        _ => Err(format!("\"{text}\" is not an absolute path of plain names")),
    }
}

/// What an administrator must not set here, because invariants 6 and 11 decide it.
fn check_mount_options(text: &str) -> Result<(), String> {
    const OURS: &[&str] =
        &["ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "symfollow", "nosymfollow"];
    match text.split(',').find(|o| OURS.contains(o)) {
        Some(option) => Err(format!("\"{option}\" is decided by overlayd and can not be set here")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("1min 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("7").unwrap(), Duration::from_secs(7));
        for bad in ["", "s", "10 parsecs", "-1s", "99999999999999999999d", "1.5s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("50%").unwrap(), Size::Percent(50));
        assert_eq!(parse_size("512M").unwrap(), Size::Bytes(512 << 20));
        assert_eq!(parse_size("1GiB").unwrap(), Size::Bytes(1 << 30));
        for bad in ["", "0%", "101%", "-1", "5X", "12", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn inodes_are_never_without_a_limit() {
        assert_eq!(parse_inodes("100%").unwrap().of(256 << 20), 65536);
        assert_eq!(parse_inodes("25%").unwrap().of(256 << 20), 16384);
        assert_eq!(parse_inodes("1%").unwrap().of(0), 64);
        assert_eq!(parse_inodes("100k").unwrap().of(0), 100 << 10);
        assert_eq!(parse_inodes("1m").unwrap(), Inodes::Count(1 << 20));
        for bad in
            ["", "0", "0%", "0k", "63", "101%", "-1", "many", "1.5k", "5X", "20000T", "99999999999999999999"]
        {
            assert!(parse_inodes(bad).unwrap_err().contains("number of inodes"), "{bad}");
        }
    }

    #[test]
    fn retention() {
        assert_eq!(parse_undo("never").unwrap(), Undo::Never);
        assert_eq!(parse_undo("7d").unwrap(), Undo::For(Duration::from_secs(7 * 86_400)));
        assert!(parse_undo("ever").unwrap_err().contains("\"never\", \"always\""));
        assert_eq!(parse_percent("0%").unwrap(), 0);
        for bad in ["", "%", "101%", "-1%", "10"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
        assert!(check(Kind::Number, "0").is_ok());
        for bad in ["-1", "1.5", "ten"] {
            assert!(check(Kind::Number, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        assert_eq!(parse_patterns("").unwrap(), []);
        assert_eq!(parse_patterns("/etc/machine-id\n!/etc/x").unwrap().len(), 2);
        assert!(check(Kind::Patterns, "/etc\nvar").unwrap_err().starts_with("\"var\" is not absolute"));
    }

    #[test]
    fn relative_paths_stay_below() {
        assert!(check(Kind::RelativePath, "a/b").is_ok());
        for bad in ["", "/a", "../a", "a/../b", "./a"] {
            assert!(check(Kind::RelativePath, bad).is_err(), "{bad}");
        }
        assert!(check(Kind::AbsolutePath, "/etc/key").is_ok() && check(Kind::AbsolutePath, "").is_ok());
        for bad in ["etc/key", "/", "/etc/../key", "//key"] {
            assert!(check(Kind::AbsolutePath, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_word_names_the_nearest() {
        let error = check(Kind::Choice(&["volatile", "off"]), "volatil").unwrap_err();
        assert!(error.ends_with("did you mean \"volatile\"?"), "{error}");
    }

    #[test]
    fn guarded_mount_options_are_refused() {
        assert!(check(Kind::MountOptions, "noatime,errors=remount-ro").is_ok());
        assert!(check(Kind::MountOptions, "noatime,suid").is_err());
    }
}
