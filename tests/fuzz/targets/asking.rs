//! What asks for a reset without a person: a file, used tokens, EFI variables; and the mark of a wipe.
#![no_main]

use std::path::Path;

use overlayd::plan::efi::{self, System};
use overlayd::plan::trigger;
use overlayd::store::wipe_record::WipeRecord;
use overlayd::sys::wipe_sector::WipeSector;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = trigger::file(data);
    let _ = WipeSector::decode(data);
    if let Some(text) = efi::text(data) {
        let _ = (efi::request(&text, &System::default(), "boot"), trigger::boolean(&text));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (efi::request(text, &System::default(), "boot"), trigger::boolean(text));
    if let Ok(marks) = trigger::marks(text) {
        assert!(marks.iter().all(|mark| !mark.is_empty()), "an empty mark");
    }
    if let Some(fitting) = WipeRecord::parse(Path::new("mark"), text).ok().and_then(|record| record.fitting()) {
        WipeRecord::parse(Path::new("mark"), &fitting).expect("what fits is read again");
    }
});
