//! The handoff of early boot to everything else.
#![no_main]

use std::path::Path;

use overlayd::handoff::Handoff;
use overlayd::store::records;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let path = Path::new("boot.toml");
    if let Ok(handoff) = records::parse::<Handoff>(path, text) {
        let written = records::render(path, &handoff).expect("what was read can be written");
        assert_eq!(records::parse::<Handoff>(path, &written).expect("and read again"), handoff);
    }
});
