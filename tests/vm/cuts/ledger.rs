//! The host's own account of what must be on the disk: every file that the guest said was durable, by the generation or the
//! snapshot that holds it.

use super::expected::{Expected, Sure};
use super::operation::snapshots;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Paths below /var, and what is in them.
pub(super) type Files = BTreeMap<String, String>;

/// What was found.
pub(super) struct Found {
    /// In the root.
    pub(super) live: Files,
    /// In each snapshot.
    pub(super) snapshots: BTreeMap<u64, Files>,
}

/// What must be there.
#[derive(Default)]
pub(super) struct Ledger {
    /// The generation that is live; none before the first boot.
    live: Option<u64>,
    generations: BTreeMap<u64, Files>,
    snapshots: BTreeMap<u64, Files>,
    baseline: Option<u64>,
    /// The highest number of a snapshot so far.
    last: u64,
    /// Files that were being written when the power went: there or not.
    perhaps: BTreeSet<String>,
}

impl Ledger {
    /// A file of the live generation is being written.
    pub(super) fn begin(&mut self, path: &str) {
        self.perhaps.insert(path.to_owned());
    }

    /// The guest said that it is durable.
    pub(super) fn is_durable(&mut self, path: &str, content: &str) {
        self.perhaps.remove(path);
        let live = self.live.unwrap_or_default();
        self.generations.entry(live).or_default().insert(path.to_owned(), content.to_owned());
    }

    /// Compares what a boot found with what may be there after `expected`, and takes that for what is.
    pub(super) fn settle(&mut self, root: &Value, found: &Found, expected: &Expected) -> Result<(), String> {
        let now = root["generation"].as_u64().ok_or("there is no generation")?;
        let before = self.live.unwrap_or(now);
        let moved = now != before;
        let new = self.settle_snapshots(root, before, expected, moved)?;
        if moved {
            self.settle_move(root, before, now, expected)?;
        } else if expected.moves == Sure::Yes {
            return Err(format!("generation {now} is still live, although the answer was that it goes"));
        }
        self.live = Some(now);
        self.settle_baseline(root, new, expected, moved)?;
        let live = self.generations.entry(now).or_default().clone();
        self.compare("the root", &live, &found.live)?;
        for (id, files) in &self.snapshots {
            let none = Files::new();
            self.compare(&format!("snapshot {id}"), files, found.snapshots.get(id).unwrap_or(&none))?;
        }
        Ok(())
    }

    /// Which snapshots there are. Gives back the new one.
    fn settle_snapshots(
        &mut self,
        root: &Value,
        before: u64,
        expected: &Expected,
        moved: bool,
    ) -> Result<Option<u64>, String> {
        let there: BTreeSet<u64> = snapshots(root).filter_map(|one| one["id"].as_u64()).collect();
        if let Some(bad) = snapshots(root).find(|one| one["state"] != "complete") {
            return Err(format!("a snapshot is not complete: {bad:#}"));
        }
        let new: Vec<u64> = there.iter().filter(|id| !self.snapshots.contains_key(id)).copied().collect();
        match (expected.adds, &new[..]) {
            (Sure::No | Sure::Perhaps, []) => {}
            (Sure::Perhaps | Sure::Yes, [id]) if *id > self.last => {}
            _ => return Err(format!("new snapshots {new:?}, the last was {}", self.last)),
        }
        for id in self.snapshots.keys().copied().collect::<Vec<u64>>() {
            let goes = match expected.removes {
                _ if expected.total && moved => Sure::Yes,
                Some((gone, sure)) if gone == id => sure,
                _ => Sure::No,
            };
            match (goes, there.contains(&id)) {
                (Sure::No, false) => return Err(format!("snapshot {id} is gone")),
                (Sure::Yes, true) => return Err(format!("snapshot {id} is still there")),
                (_, true) => {}
                (_, false) => drop(self.snapshots.remove(&id)),
            }
        }
        let files = self.generations.get(&before).cloned().unwrap_or_default();
        if let Some(id) = new.first() {
            self.snapshots.insert(*id, files);
            self.last = *id;
        }
        Ok(new.first().copied())
    }

    /// Another generation is live: by the one request that there was, and with what that one must hold.
    fn settle_move(
        &mut self,
        root: &Value,
        before: u64,
        now: u64,
        expected: &Expected,
    ) -> Result<(), String> {
        let last = &root["last"];
        if expected.moves == Sure::No {
            return Err(format!("generation {now} is live in place of {before}: {last:#}"));
        }
        let known = self.generations.get(&now);
        let highest = self.generations.keys().max().copied().unwrap_or(0);
        if expected.to.is_some_and(|to| to != now) || (known.is_none() && now <= highest) {
            return Err(format!("generation {now} is live in place of {before}: {last:#}"));
        }
        let told = (&last["result"], &last["from-generation"], &last["to-generation"]);
        let by = if expected.action.is_empty() {
            last["via"] == "health"
        } else {
            last["action"] == expected.action
        };
        if told != (&"done".into(), &before.into(), &now.into()) || !by {
            return Err(format!("the outcome does not tell how {before} became {now}: {last:#}"));
        }
        let below = root["snapshot"].as_u64();
        let mut files = match (known, below) {
            (Some(files), _) => files.clone(),
            (None, None) => Files::new(),
            (None, Some(id)) => self.snapshots.get(&id).ok_or(format!("it stands on snapshot {id}"))?.clone(),
        };
        if expected.keeps {
            let left = self.generations.get(&before).cloned().unwrap_or_default();
            files.extend(left.into_iter().filter(|(path, _)| path.starts_with("kept/")));
        }
        if expected.total {
            // Numbers are not used again.
            self.generations.values_mut().for_each(Files::clear);
        }
        self.generations.insert(now, files);
        Ok(())
    }

    fn settle_baseline(
        &mut self,
        root: &Value,
        new: Option<u64>,
        expected: &Expected,
        moved: bool,
    ) -> Result<(), String> {
        let now = root["baseline"].as_u64();
        let old = if expected.total && moved { None } else { self.baseline };
        let fine = match expected.adds {
            Sure::Yes if expected.commits => now == new,
            Sure::Perhaps if expected.commits => now == old || (new.is_some() && now == new),
            _ => now == old,
        };
        self.baseline = now;
        fine.then_some(()).ok_or(format!("the baseline is {now:?}; it was {old:?}, and {new:?} is new"))
    }

    /// Every file that must be there, as it was, and no other.
    fn compare(&self, place: &str, must: &Files, found: &Files) -> Result<(), String> {
        let is_sure = |path: &&String| !self.perhaps.contains(*path);
        for path in must.keys().filter(is_sure) {
            if found.get(path) != must.get(path) {
                return Err(format!(
                    "{place}: {path} is {:?}, and was {:?}",
                    found.get(path),
                    must.get(path)
                ));
            }
        }
        match found.keys().filter(is_sure).find(|path| !must.contains_key(*path)) {
            Some(path) => Err(format!("{place}: {path} is of another state")),
            None => Ok(()),
        }
    }
}
