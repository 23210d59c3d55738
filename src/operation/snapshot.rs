//! Snapshots: making one, deleting one, what its record says.

use std::collections::BTreeMap;

use super::making::{Order, Purpose, Scene};
use super::{Asked, Planned, Site, is_volatile, live, open, retention};
use crate::error::{Error, Kind, Result};
use crate::layer::OnProgress;
use crate::plan::request::{self, Sealing};
use crate::plan::{Refusal, retain};
use crate::store::job::JobLock;
use crate::store::lock::StoreLock;
use crate::store::records::SnapshotRecord;
use crate::store::{Layout, OverlayView, write};
use crate::{exec, observe};

/// What a snapshot's record shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// For people; at most 128 bytes, no control characters.
    pub description: String,
    /// Free words.
    pub userdata: BTreeMap<String, String>,
}

impl Wanted {
    /// Refuses what no record may say: see the limits of [`TEXT_MAX`], [`PAIRS_MAX`] and [`KEY_MAX`].
    pub fn check(&self) -> Result<()> {
        text("the description", &self.description)?;
        if self.userdata.len() > PAIRS_MAX {
            let count = self.userdata.len();
            return invalid(format!("{count} pairs of userdata, at most {PAIRS_MAX}"));
        }
        for (key, value) in &self.userdata {
            if !is_key(key) {
                return invalid(format!(
                    "userdata key {key:?}: a letter or a digit, then letters, digits, '.', '_' or '-', all small, {KEY_MAX} \
                     in all"
                ));
            }
            text(&format!("userdata {key}"), value)?;
        }
        Ok(())
    }
}

/// Bytes in a description and in a value of userdata.
pub const TEXT_MAX: usize = 128;
/// Pairs of userdata.
pub const PAIRS_MAX: usize = 16;
/// Bytes in a key of userdata.
pub const KEY_MAX: usize = 32;

fn is_key(key: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = key.as_bytes();
    (1..=KEY_MAX).contains(&bytes.len())
        && word(bytes[0])
        && bytes.iter().all(|&b| word(b) || matches!(b, b'.' | b'_' | b'-'))
}

fn text(what: &str, text: &str) -> Result<()> {
    if text.len() > TEXT_MAX {
        return invalid(format!("{what} has {} bytes, at most {TEXT_MAX}", text.len()));
    }
    match text.chars().any(char::is_control) {
        true => invalid(format!("{what} contains control characters")),
        false => Ok(()),
    }
}

fn invalid(what: String) -> Result<()> {
    Err(Error::new(Kind::InvalidArgs, what))
}

/// A snapshot that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub id: u64,
    /// Names in it; 0 with 0 bytes if it was made in constant time and is too large to count.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Files shared with the last one.
    pub reused: u64,
    /// `subvolume`, `reflink` or `copy`.
    pub strategy: String,
    /// `atomic` or `per-file`.
    pub consistency: String,
    /// Files that changed each time they were copied.
    pub unstable: Vec<String>,
    /// Snapshots that retention removed.
    pub removed: Vec<u64>,
}

/// Makes a snapshot of what is live, now.
pub fn create(
    site: &Site,
    overlay: &str,
    wanted: &Wanted,
    asked: &Asked,
    on_progress: &mut OnProgress<'_>,
) -> Result<Made> {
    wanted.check()?;
    let layout = Layout::new(&site.store);
    let _job = JobLock::take(&layout, &asked.by, &format!("snapshot of {overlay}"))?;
    let scene = Scene::look(site, overlay)?;
    let order = Order { scene: &scene, live: scene.live()?, wanted, asked };
    let mut made = order.whole(Purpose::Snapshot, on_progress)?.publish()?;
    made.removed = retention::apply(site, &scene, made.id, on_progress)
        .map_err(|e| e.context(format_args!("snapshot {} was made, but older ones are too many", made.id)))?;
    Ok(made)
}

/// Asks for a snapshot at the next boot, before anything runs.
pub fn request(site: &Site, overlay: &str, wanted: &Wanted, commit: bool, asked: &Asked) -> Result<Planned> {
    wanted.check()?;
    if is_volatile(site, overlay)? {
        return Err(Refusal::new(
            Kind::Refused,
            format!("{overlay} is volatile: what is written is gone at the next boot"),
            "take the snapshot now, without --quiesced",
        )
        .into());
    }
    let layout = Layout::new(&site.store);
    let sealing =
        Sealing { description: wanted.description.clone(), userdata: wanted.userdata.clone(), commit };
    let _lock = StoreLock::exclusive(&layout)?;
    let view = open(&site.store)?;
    let planned = request::snapshot(&view, overlay, &sealing, asked, &observe::moment())?;
    if let Some(Ok(Some(live))) = view.overlays.get(overlay).map(|state| &state.current) {
        write::check_seal(&layout, overlay, *live)?;
    }
    exec::store::run(&layout, &planned.steps)?;
    Ok(planned)
}

/// Deletes a snapshot: into the trash, whose emptying is another job; without a daemon it is emptied at once.
pub fn delete(site: &Site, overlay: &str, id: u64, asked: &Asked) -> Result<()> {
    let layout = Layout::new(&site.store);
    // A copy that is made meanwhile may take its files over.
    let _job = JobLock::take(&layout, &asked.by, &format!("deletion of snapshot {id} of {overlay}"))?;
    let scene = Scene::look(site, overlay)?;
    {
        let _lock = StoreLock::exclusive(&layout)?;
        let view = open(&site.store)?;
        let state = live::state(site, &view, overlay)?;
        removable(&state, scene.mounted_snapshot(), id)?;
        write::discard_snapshot(&layout, overlay, &id.to_string())?;
    }
    retention::sweep(site)
}

/// Whether snapshot `id` may go, or why it must not.
fn removable(state: &OverlayView, mounted: Option<u64>, id: u64) -> Result<()> {
    let found = find(state, id)?;
    if let Some(why) = retain::in_use(state, mounted, id) {
        return Err(Error::new(Kind::SnapshotProtected, format!("snapshot {id} is not deleted: {why}")));
    }
    match found {
        Ok(record) if record.protected => {
            Err(Error::new(Kind::SnapshotProtected, format!("snapshot {id} is protected"))
                .remedy(format!("`overlayctl snapshot protect --off {id}` lifts that")))
        }
        // A damaged one is deleted when somebody says so; nothing else ever deletes it.
        _ => Ok(()),
    }
}

/// Protects a snapshot from retention and deletion, or does so no longer.
pub fn set_protected(site: &Site, overlay: &str, id: u64, protected: bool) -> Result<()> {
    change(site, overlay, id, |record| record.protected = protected)
}

/// Changes what a snapshot's record says.
pub fn set_metadata(site: &Site, overlay: &str, id: u64, wanted: &Wanted) -> Result<()> {
    wanted.check()?;
    change(site, overlay, id, |record| {
        record.description.clone_from(&wanted.description);
        record.userdata.clone_from(&wanted.userdata);
    })
}

fn change(site: &Site, overlay: &str, id: u64, edit: impl FnOnce(&mut SnapshotRecord)) -> Result<()> {
    let layout = Layout::new(&site.store);
    let _lock = StoreLock::exclusive(&layout)?;
    let view = open(&site.store)?;
    let state = live::state(site, &view, overlay)?;
    let before = find(&state, id)?.clone()?;
    let mut record = before.clone();
    edit(&mut record);
    if record == before {
        return Ok(());
    }
    write::write_snapshot_record(&layout, overlay, &record)
}

/// The record of snapshot `id`, sound or damaged, or `NoSuchSnapshot`.
pub(super) fn find(state: &OverlayView, id: u64) -> Result<&Result<SnapshotRecord>> {
    state.snapshots.get(&id).ok_or_else(|| {
        Error::new(Kind::NoSuchSnapshot, format!("there is no snapshot {id}"))
            .remedy("`overlayctl snapshot list` names those there are")
    })
}

#[cfg(test)]
mod wanted_tests {
    use super::*;

    fn check(description: &str, pairs: &[(&str, &str)]) -> Result<()> {
        let userdata = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Wanted { description: description.to_owned(), userdata }.check()
    }

    #[test]
    fn what_a_record_may_say() {
        assert!(check("", &[]).is_ok());
        assert!(check(&"ä".repeat(64), &[("a", ""), ("0.b_c-d", &"v".repeat(128))]).is_ok());
        for bad in [&"x".repeat(129), "a\nb", "\u{7f}", "\u{85}"] {
            assert_eq!(check(bad, &[]).unwrap_err().kind(), Kind::InvalidArgs, "{bad:?}");
        }
        for key in ["", "A", "-a", ".a", "a b", "ä", &"k".repeat(33)] {
            assert!(check("", &[(key, "v")]).is_err(), "{key:?}");
        }
        assert!(check("", &[("k", "a\tb")]).is_err());
        assert!(check("", &[("k", &"v".repeat(129))]).is_err());
        let keys: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|k| (k.as_str(), "v")).collect();
        assert!(check("", &pairs[..16]).is_ok() && check("", &pairs).is_err());
    }
}
