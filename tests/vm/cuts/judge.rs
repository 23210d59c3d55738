//! Asks a boot after a cut what became of everything.

use super::ledger::{Files, Found};
use crate::checks::assert_healthy;
use crate::harness::Guest;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where snapshots are, for root.
const SNAPSHOTS: &str = "/run/overlayd/store/overlays/root/snapshots";

/// It is up, persistent and healthy, with a sound store, and nothing waits or is half done. Gives back the root's status.
pub(super) fn judge(guest: &mut Guest) -> Value {
    guest.wait_until_up();
    let root = assert_healthy(guest, "persistent");
    if !root["pending"].is_null() || root["health"]["state"] != "good" {
        guest.fail(&format!("a request waits, or the boot was not marked good: {root:#}"));
    }
    guest.succeed(&format!(
        "overlayctl store check && [ -z \"$(find {SNAPSHOTS} -maxdepth 1 -name '*.new')\" ]"
    ));
    root
}

/// The files of the ledger, wherever they are.
pub(super) fn find(guest: &mut Guest) -> Found {
    let live = files(&guest.run("cd /var; grep -rH '' ledger kept").out);
    let text = guest.run(&format!("cd {SNAPSHOTS}; grep -rH '' */fs/var/ledger */fs/var/kept")).out;
    let mut snapshots: BTreeMap<u64, Files> = BTreeMap::new();
    for (path, content) in files(&text) {
        let (id, path) = path.split_once("/fs/var/").unwrap_or_else(|| guest.fail(&format!("odd: {path}")));
        let id = id.parse().unwrap_or_else(|_| guest.fail(&format!("no number: {id}")));
        snapshots.entry(id).or_default().insert(path.to_owned(), content);
    }
    Found { live, snapshots }
}

/// Lines of `PATH:CONTENT`.
fn files(text: &str) -> Files {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, content)| (path.into(), content.into()))
        .collect()
}
