//! Goes through the table, cell by cell, and keeps the list in docs/reliability.md.
//! `OVERLAYD_BLESS=1 cargo test --test store` writes that list anew.

use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use overlayd::config::Mode;
use overlayd::operation::check::Checked;

use crate::damage::Damage;
use crate::rig::{Flavour, Rig};
use crate::table::{Boot, Check, Row, rows};

const BEGIN: &str = "<!-- the matrix of tests/store: begin -->\n";
const END: &str = "<!-- the matrix of tests/store: end -->\n";

#[test]
fn every_record_in_every_state() {
    let stores = [Flavour::Young, Flavour::Old, Flavour::Good, Flavour::Waiting]
        .map(|flavour| (flavour, Rig::new(flavour)));
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        let sound = &stores.iter().find(|(flavour, _)| *flavour == row.flavour).unwrap().1;
        for damage in &row.damages {
            let cell = format!("{:?} {} {}", row.flavour, row.path, damage.name());
            let went = catch_unwind(AssertUnwindSafe(|| try_cell(sound, row, *damage)));
            match went {
                Ok(complaints) => wrong.extend(complaints.into_iter().map(|what| format!("{cell}: {what}"))),
                Err(_) => wrong.push(format!("{cell}: panicked")),
            }
        }
    }
    let cells: usize = rows.iter().map(|row| row.damages.len()).sum();
    println!("{cells} cells, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    document(&rows, cells);
}

/// What is not as it should be.
fn try_cell(sound: &Rig, row: &Row, damage: Damage) -> Vec<String> {
    let rig = sound.copy();
    damage.inflict(&rig.path(row.path));
    let (tree, data) = (rig.tree(), rig.data());
    let mut wrong = Vec::new();
    wrong.extend(boot(&rig, row.boot).map(|what| format!("the boot: {what}")));
    if rig.tree() != tree {
        wrong.push("planning a boot changed the store".to_owned());
    }
    let found = rig.check();
    if rig.tree() != tree {
        wrong.push("looking changed the store".to_owned());
    }
    wrong.extend(named(&found, row).map(|what| format!("the check: {what}")));
    wrong.extend(carried_out(&rig.copy(), row.boot, &tree, &data));
    wrong.extend(repaired(&rig, row, &tree, &data).map(|what| format!("the repair: {what}")));
    wrong
}

fn boot(rig: &Rig, expected: Boot) -> Option<String> {
    let plan = rig.plan();
    let (problems, reason) = (plan.problems.join("; "), plan.reason.clone().unwrap_or_default());
    let mounted = (plan.mode == Mode::Persistent).then_some(plan.generation).flatten();
    let right = match expected {
        Boot::Ordinary => mounted == live(rig) && problems.is_empty(),
        Boot::Told(word) => mounted == live(rig) && problems.contains(word),
        Boot::Other(number, word) => mounted == Some(number) && problems.contains(word),
        Boot::Refused(word) => plan.mode == Mode::Volatile && reason.contains(word),
    };
    (!right).then(|| {
        format!("expected {expected:?}, not {mounted:?}, reason \"{reason}\", problems \"{problems}\"")
    })
}

/// What was live before anything was damaged.
fn live(rig: &Rig) -> Option<u64> {
    Some(if rig.path("overlays/root/generations/2").exists() { 2 } else { 1 })
}

fn named(found: &Checked, row: &Row) -> Option<String> {
    let about = |finding: &&overlayd::plan::check::Finding| {
        let at = finding.path.starts_with(row.path) || Path::new(row.path).starts_with(&finding.path);
        at || finding.what.contains(&called(row.path))
    };
    let findings: Vec<_> = found.remaining.iter().filter(about).collect();
    let right = match row.check {
        Check::Silent => found.remaining.is_empty(),
        Check::Noted => found.is_sound() && !findings.is_empty(),
        Check::Person | Check::Repaired => !found.is_sound() && !findings.is_empty(),
    };
    let explained = found
        .remaining
        .iter()
        .all(|f| !f.why.is_empty() && (f.is_mendable() || !f.advice.is_empty() || is_note(f)));
    (!right || !explained).then(|| format!("expected {:?}, not {:#?}", row.check, found.remaining))
}

/// What a finding says of something that is named elsewhere: `generation 2`, `the last request`.
fn called(path: &str) -> String {
    let mut names = path.rsplit('/');
    match (names.next().unwrap_or_default(), names.next().unwrap_or_default()) {
        (number, "generations") => format!("generation {number},"),
        (id, "snapshots") => format!("snapshot {id},"),
        ("outcome.toml", _) => "the last request led to".to_owned(),
        _ => path.to_owned(),
    }
}

fn is_note(finding: &overlayd::plan::check::Finding) -> bool {
    finding.grade == overlayd::plan::check::Grade::Note
}

/// A boot that does what it planned gives up nothing that could be data.
fn carried_out(rig: &Rig, expected: Boot, tree: &[String], data: &[String]) -> Option<String> {
    let failed = rig.carry_out(&rig.plan());
    if matches!(expected, Boot::Refused(_)) && rig.tree() != tree {
        return Some("a boot that refuses changed the store".to_owned());
    }
    match rig.data() == data {
        true => failed.map(|why| format!("a step of the boot failed: {why}")),
        false => Some(format!("the boot gave up data: {data:?} was there, {:?} is", rig.data())),
    }
}

fn repaired(rig: &Rig, row: &Row, tree: &[String], data: &[String]) -> Option<String> {
    let checked = rig.repair();
    if rig.data() != data {
        return Some(format!("data are gone: {data:?} was there, {:?} is", rig.data()));
    }
    let sound = checked.is_sound();
    match row.check {
        Check::Repaired if !sound => return Some(format!("it is not sound: {checked:#?}")),
        Check::Person if sound => return Some(format!("it was repaired: {checked:#?}")),
        Check::Silent | Check::Noted if rig.tree() != tree => return Some("it changed something".to_owned()),
        _ => {}
    }
    // What the check calls sound, the boot takes; what was decided is not undone by it.
    let plan = rig.plan();
    let ordinary = plan.mode == Mode::Persistent && plan.problems.is_empty();
    if row.check == Check::Repaired && !ordinary {
        return Some(format!("the boot is not ordinary: {:?} {:?}", plan.reason, plan.problems));
    }
    let again = rig.repair();
    (!again.repaired.is_empty()).then(|| format!("it never ends: {:?}", again.repaired))
}

/// The list in the documents is the one that was tried.
fn document(rows: &[Row], cells: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the place of the matrix");
    let (old, tail) = rest.split_once(END).expect("the end of the matrix");
    let new = listed(rows, cells);
    if std::env::var_os("OVERLAYD_BLESS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{new}{END}{tail}")).unwrap();
    } else {
        assert_eq!(old, new, "{} is not up to date: see the head of tests/store/matrix.rs", path.display());
    }
}

fn listed(rows: &[Row], cells: usize) -> String {
    let mut text = format!(
        "{cells} cells.\n\n| store | place | state | the boot | `store check` |\n| --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let store = match row.flavour {
            Flavour::Young => "young",
            Flavour::Old => "old",
            Flavour::Good => "good",
            Flavour::Waiting => "waiting",
        };
        let boot = match row.boot {
            Boot::Ordinary => "as ever".to_owned(),
            Boot::Told(_) => "live generation, and says why".to_owned(),
            Boot::Refused(_) => "fallback, and says why".to_owned(),
            Boot::Other(number, _) => format!("generation {number}, and says what it keeps"),
        };
        let check = match row.check {
            Check::Silent => "nothing to see",
            Check::Noted => "a note",
            Check::Person => "a fault; a person decides",
            Check::Repaired => "a fault; repaired",
        };
        let damages: Vec<String> =
            row.damages.iter().map(|damage| damage.name().replace('\n', " ")).collect();
        writeln!(text, "| {store} | {} | {} | {boot} | {check} |", row.path, damages.join(", ")).unwrap();
    }
    text
}
