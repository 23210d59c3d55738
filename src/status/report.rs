//! What a check of the store tells, for the bus and `--json` alike. Documented in overlayctl(1); fields are only ever added.

use serde::{Deserialize, Serialize};

use crate::operation::check::Checked;
use crate::plan::check::{Finding, Grade};

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct StoreReport {
    /// Whether no fault is left.
    pub sound: bool,
    /// Faults that are left.
    pub faults: u64,
    /// Of these, how many a repair does something about.
    pub repairable: u64,
    /// Things worth a look by which nothing suffers.
    pub notes: u64,
    /// What was repaired.
    pub repaired: u64,
    /// Each of them.
    pub findings: Vec<Found>,
    /// Whether these are all.
    pub complete: bool,
}

/// One finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Found {
    /// Where, relative to the store; `.` is the store itself.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// `fault` or `note`.
    pub grade: String,
    /// `found`, or `repaired`.
    pub result: String,
    /// What is wrong.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What a repair does, or did; empty: a person has to decide.
    pub repair: String,
    /// What a person can do.
    pub advice: String,
}

impl Found {
    fn new(finding: &Finding, result: &str) -> Found {
        let steps: Vec<String> = finding.mends.iter().map(ToString::to_string).collect();
        let path = finding.path.to_string_lossy().into_owned();
        Found {
            path: if path.is_empty() { ".".to_owned() } else { path },
            line: finding.line,
            grade: finding.grade.word().to_owned(),
            result: result.to_owned(),
            what: finding.what.clone(),
            why: finding.why.clone(),
            repair: steps.join(", "),
            advice: finding.advice.clone(),
        }
    }

    /// Whether it is left, and matters.
    pub fn is_fault(&self) -> bool {
        self.result == "found" && self.grade == "fault"
    }
}

impl StoreReport {
    /// From what an operation did.
    pub fn new(checked: &Checked) -> StoreReport {
        let repaired = checked.repaired.iter().map(|finding| Found::new(finding, "repaired"));
        let remaining = checked.remaining.iter().map(|finding| {
            let failure =
                checked.failures.iter().find_map(|(path, why)| (*path == finding.path).then_some(why));
            let advice = failure.map(|why| format!("the repair failed: {why}"));
            let found = Found::new(finding, "found");
            Found { advice: advice.unwrap_or(found.advice), ..found }
        });
        let count = |wanted: &dyn Fn(&Finding) -> bool| {
            u64::try_from(checked.remaining.iter().filter(|finding| wanted(finding)).count())
                .unwrap_or(u64::MAX)
        };
        StoreReport {
            sound: checked.is_sound(),
            faults: count(&|finding| finding.grade == Grade::Fault),
            repairable: count(&|finding| finding.grade == Grade::Fault && finding.is_mendable()),
            notes: count(&|finding| finding.grade == Grade::Note),
            repaired: u64::try_from(checked.repaired.len()).unwrap_or(u64::MAX),
            findings: repaired.chain(remaining).collect(),
            complete: true,
        }
    }
}
