//! Power cuts: an operation on a device that remembers; then every disk that a cut could have left, or some of them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Instant;

use overlayd::operation;
use std::ops::ControlFlow;

use crate::chance::{Chance, seed};
use crate::judge::{Evidence, Picture, leftovers, merged, picture, whole, whole_root};
use crate::machine::{Fs, Machine, clone};
use crate::recorder::Recorder;
use crate::scenarios::{ALL, Scenario, Watch};
use crate::states::{Maker, Pieces};
use crate::system::Loop;

/// In `make test`, over the three filesystems.
const SAMPLE: usize = 120;
/// So many bad ones are told in full.
const TOLD: usize = 5;

#[test]
fn power_cuts_on_ext4() {
    cut(Fs::Ext4);
}

#[test]
fn power_cuts_on_xfs() {
    cut(Fs::Xfs);
}

#[test]
fn power_cuts_on_btrfs() {
    cut(Fs::Btrfs);
}

/// A third of the states in this filesystem.
fn cut(fs: Fs) {
    let seed = seed();
    let wanted =
        std::env::var("OVERLAYD_CRASH_STATES").map_or(SAMPLE, |text| text.parse().unwrap()).div_ceil(3);
    let mut bad = Vec::new();
    let mut tried = 0;
    let only = std::env::var("OVERLAYD_CRASH_ONLY").ok();
    let chosen: Vec<&Scenario> =
        ALL.iter().filter(|s| only.as_ref().is_none_or(|name| s.name == name)).collect();
    for (n, scenario) in chosen.iter().enumerate() {
        // What one has too few states for, the next ones take over.
        let share = (wanted - tried.min(wanted)).div_ceil(chosen.len() - n);
        let start = Instant::now();
        let found = replay(fs, scenario, share, seed);
        eprintln!(
            "{} {}: {} states of {}, {} bad, {:.1} s (seed {seed})",
            fs.word(),
            scenario.name,
            found.tried,
            found.description,
            found.bad.len(),
            start.elapsed().as_secs_f32()
        );
        tried += found.tried;
        bad.extend(found.bad);
    }
    let told = bad.iter().take(TOLD).cloned().collect::<Vec<_>>().join("\n");
    assert!(bad.is_empty(), "{} of {tried} states are bad (OVERLAYD_CRASH_SEED={seed}):\n{told}", bad.len());
    assert!(tried >= wanted, "only {tried} states of {wanted}");
}

struct Found {
    tried: usize,
    description: String,
    bad: Vec<String>,
}

fn replay(fs: Fs, scenario: &Scenario, count: usize, seed: u64) -> Found {
    let machine = Machine::new(fs, scenario.configuration);
    let before = machine.disk("before");
    {
        let _device = Loop::attach(&before);
        (scenario.prepare)(&machine);
    }
    let recorded = machine.image("recorded");
    clone(&before, &recorded);
    let recorder = Recorder::start(&recorded);
    let notes = Notes { recorder: &recorder, began: 0, lasts: 0, old: None, new: None };
    let notes = RefCell::new(notes);
    (scenario.act)(&machine, &mut Watcher(&notes));
    let Notes { began, lasts, old, new, .. } = notes.into_inner();
    let (old, new) = (old.unwrap(), new.unwrap());
    let log = recorder.finish();
    let pieces = Pieces::new(&log);
    let mut chance = Chance::new(seed ^ scenario.name.len() as u64);
    let (first, durable) = (pieces.flushes_before(began), pieces.flushes_before(lasts));
    let states = pieces.states(first, count, &mut chance);
    let mut maker = Maker::new(&pieces, &before);
    let image = machine.image("state");
    let mut bad = Vec::new();
    for state in &states {
        maker.make(state, &image);
        let case =
            Case { machine: &machine, scenario, old: &old, new: &new, durable: state.flush >= durable };
        let judged = catch_unwind(AssertUnwindSafe(|| case.judge(&image)));
        let what = || format!("{} {}, {}", fs.word(), scenario.name, state.describe());
        match judged {
            Ok(Ok(())) => {}
            Ok(Err(why)) => bad.push(format!("{}: {why}", what())),
            Err(panic) => {
                eprintln!("{} (seed {seed})", what());
                resume_unwind(panic);
            }
        }
    }
    Found { tried: states.len(), description: pieces.describe(), bad }
}

/// One disk after a power cut.
struct Case<'a> {
    machine: &'a Machine,
    scenario: &'a Scenario,
    old: &'a Evidence,
    new: &'a Evidence,
    /// Whether the new had to last.
    durable: bool,
}

impl Case<'_> {
    fn judge(&self, image: &Path) -> Result<(), String> {
        let device = Loop::attach(image);
        let generation = self.boot(self.old_root(), false)?;
        let seen = self.machine.offline(&device, |layout| {
            let found = picture(layout)?;
            self.is_whole(&found)?;
            (self.scenario.again)(layout, self.new)?;
            operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(()))
                .map_err(|e| e.to_string())?;
            leftovers(layout)?;
            picture(layout)
        })??;
        let again = self.boot(self.old_root(), true)?;
        match again == generation {
            true => self.unchanged(&seen, &device),
            false => Err(format!("generation {generation:?} became {again:?}: a request fired again")),
        }
    }

    /// Boots, looks, goes off. Gives back the live generation.
    fn boot(&self, old: Option<&crate::manifest::Manifest>, again: bool) -> Result<Option<u64>, String> {
        let told = self.machine.boot();
        let found = told.as_ref().is_ok().then(|| merged(&self.machine.sysroot));
        self.machine.shutdown();
        let root = told?.overlay["root"].clone();
        if again && root.executed.is_some() {
            return Err(format!("it was executed twice: {root:?}"));
        }
        whole_root(&found.unwrap(), old, &self.new.merged)?;
        Ok(root.generation)
    }

    fn old_root(&self) -> Option<&crate::manifest::Manifest> {
        (!self.durable).then_some(&self.old.merged)
    }

    fn is_whole(&self, found: &Picture) -> Result<(), String> {
        let old = (!self.durable).then_some(&self.old.picture);
        let half = Picture { baseline: self.old.picture.baseline, ..self.new.picture.clone() };
        if old.is_some() && self.scenario.snapshot_first && *found == half {
            return Ok(());
        }
        whole(found, old, &self.new.picture)
    }

    /// A boot changes nothing.
    fn unchanged(&self, before: &Picture, device: &Loop) -> Result<(), String> {
        let found = self.machine.offline(device, picture)??;
        whole(&found, None, before).map_err(|e| format!("after another boot: {e}"))
    }
}

struct Notes<'a> {
    recorder: &'a Recorder,
    began: u64,
    lasts: u64,
    old: Option<Evidence>,
    new: Option<Evidence>,
}

struct Watcher<'a, 'b>(&'a RefCell<Notes<'b>>);

impl Watch for Watcher<'_, '_> {
    fn begin(&mut self) {
        let mut notes = self.0.borrow_mut();
        notes.began = notes.recorder.position();
    }

    fn was(&mut self, old: Evidence) {
        self.0.borrow_mut().old = Some(old);
    }

    fn lasts(&mut self) {
        let mut notes = self.0.borrow_mut();
        notes.lasts = notes.recorder.position();
    }

    fn is_now(&mut self, new: Evidence) {
        self.0.borrow_mut().new = Some(new);
    }
}
