//! `overlayctl store check`.

use super::args::{Arguments, CheckStore, StoreCommand};
use super::output::{Output, Paint, Tone};
use super::worker::Worker;
use crate::error::Result;
use crate::status::report::{Found, StoreReport};

/// Does what the command says.
pub(crate) fn store(arguments: &Arguments, command: &StoreCommand, output: &Output) -> Result<u8> {
    match command {
        StoreCommand::Check(check) => look_through(arguments, check, output),
    }
}

/// Tells what is wrong with the store, and repairs it if asked. 1 if something that matters is left.
fn look_through(arguments: &Arguments, check: &CheckStore, output: &Output) -> Result<u8> {
    let report = Worker::new(arguments, output)?.check_store(check.repair && !check.dry_run, check.layers)?;
    match output.is_json() {
        true => output.value(&report)?,
        false => output.text(&page(&report, output.paint()))?,
    }
    Ok(u8::from(!report.sound))
}

fn page(report: &StoreReport, paint: Paint) -> String {
    let findings: String = report.findings.iter().map(|found| paragraph(found, paint)).collect();
    let more = if report.complete { "" } else { "And more.\n" };
    format!("{findings}{more}{}\n", summary(report))
}

/// What, why, and what is done about it or can be.
fn paragraph(found: &Found, paint: Paint) -> String {
    let line = found.line.map_or_else(String::new, |line| format!(":{line}"));
    let (tone, word) = match (found.result.as_str(), found.grade.as_str()) {
        ("repaired", _) => (Tone::Good, "repaired"),
        (_, "note") => (Tone::Notice, "note"),
        _ => (Tone::Bad, "fault"),
    };
    let mut text =
        format!("{}{line}: {}: {}\n    {}\n", found.path, paint.tone(tone, word), found.what, found.why);
    if !found.repair.is_empty() {
        let word = if found.result == "repaired" { "done" } else { "--repair" };
        text += &format!("    {word}: {}\n", found.repair);
    }
    if !found.advice.is_empty() {
        text += &format!("    what helps: {}\n", found.advice);
    }
    text
}

fn summary(report: &StoreReport) -> String {
    let count = |number: u64, one: &str| match number {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    };
    let repaired = match report.repaired {
        0 => String::new(),
        n => format!("{} repaired. ", count(n, "thing")),
    };
    let left = match (report.faults, report.repairable) {
        (0, _) => "The store is sound.".to_owned(),
        (n, 0) => format!("{}: to be decided by a person.", count(n, "fault")),
        (n, r) if n == r => format!("{}, which --repair repairs.", count(n, "fault")),
        (n, r) => format!("{}, of which --repair repairs {r}.", count(n, "fault")),
    };
    repaired + &left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(result: &str, grade: &str) -> Found {
        Found {
            path: "overlays/root/current".into(),
            line: Some(1),
            grade: grade.into(),
            result: result.into(),
            what: "not the number of a generation".into(),
            why: "nobody knows".into(),
            repair: "make generation 1 of root the live one".into(),
            advice: String::new(),
        }
    }

    #[test]
    fn a_finding_says_what_why_and_what_now() {
        let report = StoreReport {
            faults: 1,
            repairable: 1,
            findings: vec![found("found", "fault")],
            complete: true,
            ..StoreReport::default()
        };
        let expected = "overlays/root/current:1: fault: not the number of a generation\n    nobody knows\n    \
                        --repair: make generation 1 of root the live one\n1 fault, which --repair repairs.\n";
        assert_eq!(page(&report, Paint(false)), expected);
    }

    #[test]
    fn the_last_line_tells_where_it_stands() {
        let told = |faults, repairable, repaired| {
            summary(&StoreReport { faults, repairable, repaired, ..StoreReport::default() })
        };
        assert_eq!(told(0, 0, 0), "The store is sound.");
        assert_eq!(told(0, 0, 2), "2 things repaired. The store is sound.");
        assert_eq!(told(3, 1, 0), "3 faults, of which --repair repairs 1.");
        assert_eq!(told(1, 0, 1), "1 thing repaired. 1 fault: to be decided by a person.");
    }
}
