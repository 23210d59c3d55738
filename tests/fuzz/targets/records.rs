//! Every record of the store: what is read is written as something that reads the same.
#![no_main]

use std::fmt::Debug;
use std::path::Path;

use overlayd::store::codec::Record;
use overlayd::store::health_record::HealthRecord;
use overlayd::store::records::{
    self, GenerationRecord, OutcomeRecord, RequestRecord, SnapshotRecord, StoreRecord,
};
use overlayd::store::wipe_record::WipeRecord;

fn survives<T: Record + PartialEq + Debug>(text: &str) {
    let path = Path::new("record.toml");
    match records::parse::<T>(path, text) {
        Ok(record) => {
            let written = records::render(path, &record).expect("what was read can be written");
            assert_eq!(records::parse::<T>(path, &written).expect("and read again"), record);
        }
        Err(error) => assert!(error.message().starts_with("record.toml:"), "{error}"),
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    survives::<StoreRecord>(text);
    survives::<GenerationRecord>(text);
    survives::<SnapshotRecord>(text);
    survives::<RequestRecord>(text);
    survives::<OutcomeRecord>(text);
    survives::<HealthRecord>(text);
    survives::<WipeRecord>(text);
});
