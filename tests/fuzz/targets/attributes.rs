//! Lists of extended attributes as a walk of a layer takes them apart: what makes a layer depend on another never passes.
#![no_main]

use overlayd::layer::fuzzed::{is_refused, names, travels};

libfuzzer_sys::fuzz_target!(|list: &[u8]| {
    for name in names(list) {
        let bytes = name.to_bytes();
        let depends = bytes == b"trusted.overlay.redirect" || bytes == b"trusted.overlay.metacopy";
        assert_eq!(is_refused(name), depends);
        assert!(bytes.starts_with(b"trusted.overlay.") || travels(name));
    }
});
