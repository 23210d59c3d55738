//! A configuration fragment: whatever it says, mistakes are told, not died of.
#![no_main]

use std::path::Path;

use overlayd::config::fragment;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut problems = Vec::new();
    let entries = fragment::parse(Path::new("fragment.toml"), text, &mut problems);
    let lines = text.lines().count() + 1;
    let told = problems.iter().filter_map(|problem| problem.place.line);
    assert!(told.max().unwrap_or(0) <= lines, "a line that is not there");
    drop(entries);
});
