//! Arguments of methods, checked before anybody is asked whether the caller may: what can never be right is refused.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::errors::{BusError, BusResult};
use crate::operation::snapshot::Wanted;
use crate::plan::request::Resetting;

/// Paths in one call.
const PATHS: usize = 1000;
/// Patterns in one call.
const PATTERNS: usize = 200;
/// Bytes in the words that tell what asked.
const VIA_MAX: usize = 128;
/// Bytes in a path, as in the kernel.
const PATH_MAX: usize = 4096;

/// What a snapshot's record shall say.
pub(super) fn wanted(description: &str, userdata: BTreeMap<String, String>) -> BusResult<Wanted> {
    let wanted = Wanted { description: description.to_owned(), userdata };
    wanted.check()?;
    Ok(wanted)
}

/// The number of a snapshot.
pub(super) fn id(id: u64) -> BusResult<u64> {
    match id {
        0 => Err(BusError::invalid("0 is not the number of a snapshot (they count from 1)")),
        id => Ok(id),
    }
}

/// Absolute paths in the merged tree, without `..`.
pub(super) fn paths(paths: &[String]) -> BusResult<Vec<PathBuf>> {
    if paths.len() > PATHS {
        return Err(BusError::invalid(format!("{} paths, at most {PATHS} in one call", paths.len())));
    }
    paths.iter().map(|text| path(text)).collect()
}

/// Patterns of what a reset keeps.
pub(super) fn keep(patterns: &[String]) -> BusResult<Vec<String>> {
    if patterns.len() > PATTERNS {
        return Err(BusError::invalid(format!(
            "{} patterns, at most {PATTERNS} in one call",
            patterns.len()
        )));
    }
    if let Some(long) = patterns.iter().find(|pattern| pattern.len() >= PATH_MAX) {
        return Err(BusError::invalid(format!("a pattern has {} bytes, at most {PATH_MAX}", long.len())));
    }
    let wanted = Resetting { keep: patterns.to_vec(), ..Resetting::default() };
    wanted.check()?;
    Ok(wanted.keep)
}

/// What asked for a reset, for the record.
pub(super) fn via(text: &str) -> BusResult<String> {
    match text.len() <= VIA_MAX && !text.is_empty() && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(BusError::invalid(format!("what asks is told in 1 to {VIA_MAX} bytes of plain text"))),
    }
}

fn path(text: &str) -> BusResult<PathBuf> {
    let path = Path::new(text);
    let refuse = |why: &str| Err(BusError::invalid(format!("path {text:?} {why}")));
    if text.len() >= PATH_MAX {
        return refuse("is too long");
    }
    if !path.is_absolute() {
        return refuse("is not absolute");
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return refuse("contains \"..\"");
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_go_down_only() {
        let ok = |text: &str| paths(&[text.to_owned()]).map(|mut p| p.remove(0));
        assert_eq!(ok("/etc//foo/./bar/").unwrap(), Path::new("/etc/foo/bar"));
        for bad in ["", "etc", "./etc", "/etc/../root", "/..", &format!("/{}", "a".repeat(4096))] {
            assert!(ok(bad).is_err(), "{bad}");
        }
        assert!(paths(&vec!["/a".to_owned(); 1001]).is_err());
    }

    #[test]
    fn patterns_are_patterns_and_not_too_many() {
        let ok = |text: &str| keep(&[text.to_owned()]).is_ok();
        assert!(ok("/etc/machine-id") && ok("!/etc/**"));
        for bad in ["", "!", "etc/*", "!etc", "/etc/[a", &format!("/{}", "a".repeat(4096))] {
            assert!(!ok(bad), "{bad}");
        }
        assert!(keep(&vec!["/a".to_owned(); 201]).is_err());
    }

    #[test]
    fn what_asked_is_one_line() {
        assert_eq!(via("factory-reset.target").unwrap(), "factory-reset.target");
        assert!(via("").is_err() && via("a\nb").is_err() && via(&"x".repeat(129)).is_err());
    }

    #[test]
    fn snapshots_count_from_one() {
        assert!(id(0).is_err() && id(1).is_ok());
    }
}
