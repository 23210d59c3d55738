//! Power cuts: an operation on a device that remembers; then every disk that a cut could have left, or some of them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use overlayd::handoff::HandoffOverlay;
use overlayd::operation;
use overlayd::store::Layout;
use std::ops::ControlFlow;

use crate::chance::{Chance, seed};
use crate::judge::{Evidence, Picture, leftovers, merged, picture, whole, whole_entries, whole_root};
use crate::machine::{Fs, Machine, clone};
use crate::manifest::Manifest;
use crate::recorder::Recorder;
use crate::scenarios::{ALL, After, Scenario, Watch};
use crate::states::{Maker, Pieces};
use crate::system::Loop;

/// In `make test`, over the three filesystems.
const SAMPLE: usize = 120;
/// Of the scenarios of the sample a filesystem has every third; which ones, the seed says.
const TURNS: usize = 3;
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
    let asked = std::env::var("OVERLAYD_CRASH_STATES").ok().map(|text| text.parse().unwrap());
    let wanted = asked.unwrap_or(SAMPLE).div_ceil(3);
    let mut bad = Vec::new();
    let mut tried = 0;
    let chosen = chosen(fs, seed, asked.is_none());
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

/// All scenarios, or the one that was asked for; of a sample those whose turn it is on this filesystem.
fn chosen(fs: Fs, seed: u64, sample: bool) -> Vec<&'static Scenario> {
    if let Ok(name) = std::env::var("OVERLAYD_CRASH_ONLY") {
        return ALL.iter().filter(|scenario| scenario.name == name).collect();
    }
    let turn = (usize::try_from(seed % 3).unwrap() + fs as usize) % TURNS;
    let is_its_turn = |n: usize| !sample || n % TURNS == turn;
    ALL.iter().enumerate().filter(|(n, _)| is_its_turn(*n)).map(|(_, scenario)| scenario).collect()
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
    let [old, new] = [old, new].map(|evidence| {
        let mut evidence = evidence.unwrap();
        (scenario.leave_out)(&mut evidence.picture);
        evidence
    });
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
        let generation = self.first_boot()?;
        let seen = self.machine.offline(&device.node, |layout| {
            let after = After { layout, old: self.old(), new: self.new };
            if self.scenario.mends {
                (self.scenario.again)(&after)?;
            }
            self.is_whole(&self.picture(layout)?)?;
            if !self.scenario.mends {
                (self.scenario.again)(&after)?;
            }
            operation::empty_trash(layout.root(), &mut |_| ControlFlow::Continue(()))
                .map_err(|e| e.to_string())?;
            leftovers(layout)?;
            self.picture(layout)
        })??;
        let again = self.boot(|found, root| {
            let old = self.old().filter(|_| !self.scenario.mends);
            match (&root.executed, self.scenario.by_entry) {
                (Some(_), _) => Err(format!("it was executed twice: {root:?}")),
                (None, None) => whole_root(found, old.map(|old| &old.merged), &self.new.merged),
                (None, Some(_)) => whole_entries(found, None, &self.new.merged),
            }
        })?;
        match generation.is_none_or(|generation| generation == again) {
            true => self.unchanged(&seen, &device),
            false => Err(format!("generation {generation:?} became {again:?}: a request fired again")),
        }
    }

    /// None if what was to be mended kept the machine from coming up.
    fn first_boot(&self) -> Result<Option<u64>, String> {
        let (old, new) = (self.old().map(|old| &old.merged), &self.new.merged);
        let booted = self.boot(|found, _| match self.scenario.by_entry {
            None => whole_root(found, old, new),
            Some(again) => {
                whole_entries(found, old, new)?;
                again(self.machine)?;
                whole_entries(&merged(&self.machine.sysroot), None, new)
            }
        });
        match booted {
            Err(_) if self.scenario.mends && !self.durable => Ok(None),
            booted => booted.map(Some),
        }
    }

    /// Boots, looks, goes off. Gives back the live generation.
    fn boot(
        &self,
        look: impl FnOnce(&Manifest, &HandoffOverlay) -> Result<(), String>,
    ) -> Result<u64, String> {
        let told = self.machine.boot();
        let looked = told.and_then(|told| {
            let root = &told.overlay["root"];
            look(&merged(&self.machine.sysroot), root)?;
            root.generation.ok_or_else(|| format!("there is no upper: {root:?}"))
        });
        self.machine.shutdown();
        looked
    }

    fn old(&self) -> Option<&Evidence> {
        (!self.durable).then_some(self.old)
    }

    fn picture(&self, layout: &Layout) -> Result<Picture, String> {
        let mut found = picture(layout)?;
        (self.scenario.leave_out)(&mut found);
        Ok(found)
    }

    fn is_whole(&self, found: &Picture) -> Result<(), String> {
        let (old, new) = (self.old().map(|old| &old.picture), &self.new.picture);
        match old.and_then(|old| (self.scenario.half)(old, new)) {
            Some(half) if half == *found => Ok(()),
            _ => whole(found, old.filter(|_| !self.scenario.mends), new),
        }
    }

    /// A boot changes nothing.
    fn unchanged(&self, before: &Picture, device: &Loop) -> Result<(), String> {
        let found = self.machine.offline(&device.node, |layout| self.picture(layout))??;
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

    fn device(&self) -> PathBuf {
        self.0.borrow().recorder.node()
    }
}
