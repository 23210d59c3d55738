//! The lists `keep.d/*.conf` of what a reset keeps: one pattern a line, `#` for remarks. Pure.

use super::files::File;
use super::load::{Problem, Shown};
use super::others;
use super::settings::Config;
use crate::error::Place;
use crate::keep::Pattern;
use crate::store::codec::quoted;

/// Gives each overlay the patterns that lie in it, before its own; returns what is shown of the lists.
pub(super) fn add(config: &mut Config, lists: &[File], problems: &mut Vec<Problem>) -> Vec<Shown> {
    let mut values = Vec::new();
    let mut all = Vec::new();
    for list in lists {
        let patterns = parse(list, problems);
        let name = list.name.file_name().unwrap_or_default().to_string_lossy();
        if !patterns.is_empty() {
            let value = array(patterns.iter().map(Pattern::text));
            let source = list.name.display().to_string();
            values.push(Shown { key: format!("keep.d/{name}"), value, source });
        }
        all.extend(patterns);
    }
    for pattern in all.into_iter().rev() {
        let owner = owner(config, &pattern);
        if let Some(overlay) = config.overlays.get_mut(&owner) {
            overlay.keep.insert(0, pattern);
        }
    }
    values
}

/// The patterns as an array of TOML.
pub(super) fn array<'t>(patterns: impl Iterator<Item = &'t str>) -> String {
    format!("[{}]", patterns.map(quoted).collect::<Vec<_>>().join(", "))
}

fn parse(list: &File, problems: &mut Vec<Problem>) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for (number, line) in list.text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match Pattern::parse(line) {
            Ok(pattern) => patterns.push(pattern),
            Err(message) => {
                let place = Place { path: list.name.clone(), line: Some(number + 1) };
                problems.push(Problem { place, message, hint: None });
            }
        }
    }
    patterns
}

/// The overlay in which all lies that the pattern can match: the one that is mounted deepest.
fn owner(config: &Config, pattern: &Pattern) -> String {
    let holds = config.overlays.iter().filter(|(_, o)| pattern.is_below(others::names(&o.target)));
    let deepest = holds.max_by_key(|(_, overlay)| others::names(&overlay.target).count());
    deepest.map_or_else(|| "root".to_owned(), |(name, _)| name.clone())
}
