//! What tests ask a booted guest: is it healthy, what does status say, is the root the image's own.

use crate::harness::{Guest, Machine};
use serde_json::Value;

/// Kernel arguments of a boot that compares the merged root with its base before init could write.
pub(crate) const COMPARE: &[&str] = &["init=/usr/lib/overlayd-test/init", "overlayd-test=compare"];

/// Kernel arguments of a boot that says what it ended in, and goes off before init: seconds, not half a minute.
pub(crate) const VERDICT: &[&str] = &["init=/usr/lib/overlayd-test/init", "overlayd-test=verdict"];

/// Such a boot goes off long before it could be marked good: too many of them would not be what most tests are about.
const UNCOUNTED: &str = "overlayd.tries=0";

/// Whether the changes that `marks make` makes are in the root. Some of them only: a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    All,
    None,
}

/// Makes changes of every kind.
pub(crate) fn make_marks(guest: &mut Guest) {
    guest.succeed("/usr/lib/overlayd-test/marks make");
}

/// All of the changes are there, or none.
pub(crate) fn assert_marks(guest: &mut Guest, expected: Marks) {
    let found = guest.succeed("/usr/lib/overlayd-test/marks find");
    if found.trim() != expected.word() {
        guest.fail(&format!("marks: expected {}, found:\n{found}", expected.word()));
    }
}

impl Marks {
    /// As `marks find` prints it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Marks::All => "all",
            Marks::None => "none",
        }
    }
}

/// What a boot with [`VERDICT`] ended in.
#[derive(Debug)]
pub(crate) struct Verdict {
    table: toml::Table,
}

impl Verdict {
    /// Boots the machine, and waits until it is off again.
    pub(crate) fn of(machine: &mut Machine, words: &[&str]) -> Verdict {
        let console = machine.boot(&[VERDICT, &[UNCOUNTED], words].concat()).wait_off();
        let text: String = console.lines().filter_map(|line| line.trim_end().strip_prefix("verdict: ")).fold(
            String::new(),
            |text, line| {
                if matches!(line, "begin" | "end") { text } else { text + line + "\n" }
            },
        );
        let table = text.parse().unwrap_or_else(|error| panic!("not a verdict: {error}\n{text}\n{console}"));
        Verdict { table }
    }

    /// persistent, volatile, read-only, off: what the root is.
    pub(crate) fn mode(&self) -> &str {
        self.root()["mode"].as_str().unwrap_or_default()
    }

    /// Why it is not what was configured; empty if it is.
    pub(crate) fn reason(&self) -> &str {
        self.root().get("reason").and_then(toml::Value::as_str).unwrap_or_default()
    }

    /// The live generation; 0 if there is none.
    pub(crate) fn generation(&self) -> i64 {
        self.root().get("generation").and_then(toml::Value::as_integer).unwrap_or(0)
    }

    /// What is not as it should be, and did not change the mode.
    pub(crate) fn problems(&self) -> Vec<&str> {
        let all = self.table.get("problems").and_then(toml::Value::as_array);
        all.into_iter().flatten().filter_map(toml::Value::as_str).collect()
    }

    /// `all`, `none`, or which.
    pub(crate) fn marks(&self) -> &str {
        self.table["test"]["marks"].as_str().unwrap_or_default().trim()
    }

    /// Type and first option of the mount at `/`: `overlay rw`.
    pub(crate) fn mounted(&self) -> &str {
        self.table["test"]["root"].as_str().unwrap_or_default()
    }

    fn root(&self) -> &toml::Value {
        &self.table["overlay"]["root"]
    }
}

/// `overlayctl status --json`.
pub(crate) fn status(guest: &mut Guest) -> Value {
    let text = guest.succeed("overlayctl status --json");
    serde_json::from_str(&text)
        .unwrap_or_else(|error| guest.fail(&format!("status is not JSON: {error}\n{text}")))
}

/// The part of the status that is about `/`.
pub(crate) fn status_of_root(guest: &mut Guest) -> Value {
    let status = status(guest);
    root_of(guest, &status)
}

fn root_of(guest: &Guest, status: &Value) -> Value {
    let root = status["overlays"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "root"));
    root.cloned().unwrap_or_else(|| guest.fail(&format!("status has no overlay `root`: {status:#}")))
}

/// Nothing failed, nothing complains, and the root is what was asked for. Gives back its status.
pub(crate) fn assert_healthy(guest: &mut Guest, mode: &str) -> Value {
    assert_no_failed_units(guest);
    assert_no_errors(guest);
    let status = status(guest);
    if status["problems"].as_array().is_none_or(|problems| !problems.is_empty()) {
        guest.fail(&format!("status has problems: {status:#}"));
    }
    let root = root_of(guest, &status);
    if root["configured-mode"] != mode || root["mode"] != mode || !root["degraded"].is_null() {
        guest.fail(&format!("the root is not {mode}: {status:#}"));
    }
    let mounts = guest.succeed("findmnt --noheadings --output FSTYPE,OPTIONS /");
    if !mounts.trim().starts_with("overlay") || !mounts.contains(" rw,") {
        guest.fail(&format!("the root is not a writable overlay: {mounts}"));
    }
    root
}

/// A healthy system.
pub(crate) fn up(machine: &mut Machine) -> Guest {
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    assert_healthy(&mut guest, "persistent");
    guest
}

/// No unit failed.
pub(crate) fn assert_no_failed_units(guest: &mut Guest) {
    let failed = guest.succeed("systemctl --failed --plain --no-legend --no-pager");
    if !failed.trim().is_empty() {
        let logs = guest.run("journalctl -b --no-pager -p warning | tail -n 40").out;
        guest.fail(&format!("failed units:\n{failed}{logs}"));
    }
}

/// Nor did overlayd log an error.
fn assert_no_errors(guest: &mut Guest) {
    let errors = guest.run("journalctl -b --no-pager -p err | grep -i overlay").out;
    if !errors.trim().is_empty() {
        guest.fail(&format!("overlayd logged errors:\n{errors}"));
    }
}

/// A boot with [`COMPARE`] found nothing that tells the merged root from its base, down to the last byte.
pub(crate) fn assert_identical(guest: &mut Guest) {
    let report = guest.succeed("cat /run/overlayd-test/compare");
    let entries = report.split_whitespace().next().and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    if entries < 1000 || report.contains("base overlayfs") || !report.trim_end().ends_with("identical") {
        guest.fail(&format!("the merged root differs from its base:\n{report}"));
    }
}

/// What a reset left is deleted soon, though nobody asks for it.
pub(crate) fn assert_trash_goes(guest: &mut Guest) {
    guest.succeed(
        "for second in $(seq 120); do
            [ \"$(find /run/overlayd/store/overlays/root/trash -mindepth 1 | wc -l)\" = 0 ] && exit 0
            sleep 1
        done
        find /run/overlayd/store/overlays/root/trash -maxdepth 2; systemctl status overlayd.service; exit 1",
    );
}
