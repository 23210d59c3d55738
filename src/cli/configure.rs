//! `overlayctl config show` and `check`.

use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::page::columns;
use crate::config::{self, Loaded};
use crate::error::Result;

#[derive(Serialize)]
struct Value<'a> {
    key: &'a str,
    value: &'a str,
    source: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem {
    file: String,
    line: Option<usize>,
    message: String,
    did_you_mean: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    problems: Vec<Problem>,
    warnings: &'a [String],
}

/// Prints each value with its source; what is wrong goes to standard error.
pub(crate) fn show(root: &Path, output: &Output) -> Result<u8> {
    let loaded = load(root);
    if output.is_json() {
        let value = |s: &config::Shown| (s.key.clone(), s.value.clone(), s.source.clone());
        let values: Vec<_> = loaded.values.iter().map(value).collect();
        output.value(
            &values.iter().map(|(key, value, source)| Value { key, value, source }).collect::<Vec<_>>(),
        )?;
    } else {
        let head = ["KEY", "VALUE", "SOURCE"].map(str::to_owned);
        let rows = loaded.values.iter().map(|s| [s.key.clone(), quoted(&s.value), s.source.clone()]);
        output.text(&columns(std::iter::once(head).chain(rows).collect()))?;
    }
    for line in complaints(&loaded) {
        output.note(&line);
    }
    Ok(0)
}

/// Finds what is wrong. 1 if something is.
pub(crate) fn check(root: &Path, output: &Output) -> Result<u8> {
    let loaded = load(root);
    if output.is_json() {
        let problems = loaded.problems.iter().map(problem).collect();
        output.value(&Report { problems, warnings: &loaded.warnings })?;
    } else {
        for line in complaints(&loaded) {
            output.note(&line);
        }
        if loaded.problems.is_empty() {
            output.text("The configuration is good.\n")?;
        }
    }
    Ok(u8::from(!loaded.problems.is_empty()))
}

/// The configuration below `root`, with the kernel command line that is there: none in an image's tree.
fn load(root: &Path) -> Loaded {
    let cmdline = std::fs::read_to_string(root.join("proc/cmdline")).unwrap_or_default();
    config::load(root, cmdline.trim())
}

fn complaints(loaded: &Loaded) -> Vec<String> {
    let problems = loaded.problems.iter().map(ToString::to_string);
    problems.chain(loaded.warnings.iter().map(|w| format!("warning: {w}"))).collect()
}

fn problem(problem: &config::Problem) -> Problem {
    Problem {
        file: problem.place.path.display().to_string(),
        line: problem.place.line,
        message: problem.message.clone(),
        did_you_mean: problem.hint.clone(),
    }
}

fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() }
}
