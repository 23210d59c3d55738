//! What a disk may hold after a power cut: everything up to a flush, and of what was written after it any part in any
//! order. Which states there are, and making them.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::Path;

use crate::chance::Chance;
use crate::machine::clone;
use crate::writelog::{Event, WriteLog};

/// Disks write this much at once or not at all. Smaller sectors exist; the filesystems' own superblocks of 4096 bytes
/// count on more.
const SECTOR: u64 = 4096;

/// One disk after one power cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    /// The flush up to which everything is there; 0: none.
    pub(crate) flush: usize,
    /// Of what came after it: which events, and how many bytes of each.
    later: Vec<(usize, u64)>,
}

impl State {
    /// For messages.
    pub(crate) fn describe(&self) -> String {
        format!("flush {} and {:?}", self.flush, self.later)
    }
}

/// The log, cut into pieces at its flushes.
pub(crate) struct Pieces<'a> {
    log: &'a WriteLog,
    /// Events of each piece; a flush ends all but the last.
    pieces: Vec<Vec<usize>>,
    /// Where in the log each piece ends.
    ends: Vec<u64>,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(log: &'a WriteLog) -> Pieces<'a> {
        let (mut pieces, mut ends) = (vec![Vec::new()], Vec::new());
        for (index, (at, event)) in log.events.iter().enumerate() {
            match event {
                // A flush of nothing makes no new state.
                Event::Flush if pieces.last().is_some_and(Vec::is_empty) => {}
                Event::Flush => {
                    pieces.push(Vec::new());
                    ends.push(*at);
                }
                _ => pieces.last_mut().unwrap().push(index),
            }
        }
        ends.push(u64::MAX);
        Pieces { log, pieces, ends }
    }

    /// The number of flushes before this place of the log: a state with as many holds all that was made to last by then.
    pub(crate) fn flushes_before(&self, position: u64) -> usize {
        self.ends.iter().filter(|end| **end < position).count()
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        let writes: usize = self.pieces.iter().map(Vec::len).sum();
        format!("{writes} writes and {} flushes", self.pieces.len() - 1)
    }

    /// At most `count` states from flush `first` on, in the order of their flushes: each flush as far as there is room,
    /// the rest by chance.
    pub(crate) fn states(&self, first: usize, count: usize, chance: &mut Chance) -> Vec<State> {
        let all: Vec<State> =
            (first..self.pieces.len()).map(|flush| State { flush, later: Vec::new() }).collect();
        let mut states = BTreeSet::new();
        // Of a small number a half, so that others have their chance.
        let plain = if all.len() > count { count / 2 } else { all.len() };
        for n in 0..plain {
            states.insert(all[n * all.len() / plain].clone());
        }
        for _ in 0..count * 20 {
            if states.len() >= count {
                break;
            }
            states.insert(self.chosen(first, chance));
        }
        states.into_iter().collect()
    }

    /// Some of the events of one piece: any of them, the first few, all but one, or one torn.
    fn chosen(&self, first: usize, chance: &mut Chance) -> State {
        let flush = first + chance.below(self.pieces.len() - first);
        let piece = &self.pieces[flush];
        let mut later: Vec<(usize, u64)> = piece.iter().map(|event| (*event, u64::MAX)).collect();
        if later.is_empty() {
            return State { flush, later };
        }
        let one = chance.below(later.len());
        match chance.below(4) {
            0 => later.retain(|_| chance.below(2) == 0),
            1 => later.truncate(one),
            2 => drop(later.remove(one)),
            _ => {
                if let Event::Write { length, .. } = self.log.events[piece[one]].1
                    && length > SECTOR
                {
                    let sectors = usize::try_from(length / SECTOR).unwrap();
                    later[one].1 = u64::try_from(chance.below(sectors)).unwrap() * SECTOR;
                }
                later.retain(|(event, _)| *event == piece[one] || chance.below(2) == 0);
            }
        }
        State { flush, later }
    }
}

/// Makes states of one log, each from the one before.
pub(crate) struct Maker<'a> {
    pieces: &'a Pieces<'a>,
    /// The disk up to a flush.
    prefix: File,
    prefix_path: std::path::PathBuf,
    done: usize,
}

impl<'a> Maker<'a> {
    /// Begins with the image as it was before the log.
    pub(crate) fn new(pieces: &'a Pieces<'a>, before: &Path) -> Maker<'a> {
        let prefix_path = before.with_extension("prefix");
        clone(before, &prefix_path);
        let prefix = OpenOptions::new().write(true).open(&prefix_path).unwrap();
        Maker { pieces, prefix, prefix_path, done: 0 }
    }

    /// Makes a state in a new file; they must come in the order of their flushes.
    pub(crate) fn make(&mut self, state: &State, image: &Path) {
        while self.done < state.flush {
            for event in &self.pieces.pieces[self.done] {
                self.pieces.log.apply(&self.pieces.log.events[*event].1, u64::MAX, &self.prefix);
            }
            self.done += 1;
        }
        clone(&self.prefix_path, image);
        let file = OpenOptions::new().write(true).open(image).unwrap();
        for (event, bytes) in &state.later {
            self.pieces.log.apply(&self.pieces.log.events[*event].1, *bytes, &file);
        }
    }
}
