//! Patterns of a keep-list, and what they match: a line for the pattern, the rest for the path.
#![no_main]

use overlayd::keep::{Pattern, Patterns};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (line, path) = data.split_at(data.iter().position(|&b| b == b'\n').unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(line) else { return };
    let Ok(pattern) = Pattern::parse(text) else { return };
    assert_eq!(pattern.text(), text);
    let names = || path.split(|&b| b == b'/').filter(|name| !name.is_empty()).take(64);
    let _ = pattern.is_below(names());
    let all = [pattern];
    let patterns = Patterns(&all);
    let mut here = patterns.top();
    for name in names() {
        here = patterns.enter(&here, name);
        let _ = (patterns.keeps(&here), patterns.below(&here));
        let _ = patterns.matching(&here).count();
    }
});
