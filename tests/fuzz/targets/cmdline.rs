//! The kernel command line, as the configuration and as the triggers read it.
#![no_main]

use overlayd::cmdline;
use overlayd::plan::trigger;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let words = cmdline::words(text);
    assert!(words.iter().all(|word| !word.is_empty()), "an empty word");
    let _ = cmdline::last_value(text, "roothash");
    let _ = cmdline::parse(text, &mut Vec::new());
    let _ = trigger::command_line(text);
});
