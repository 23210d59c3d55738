//! Commit: a snapshot that becomes the baseline.

use std::path::PathBuf;

use super::making::{self, Purpose, Scene};
use super::snapshot::{Made, Wanted};
use super::{Asked, Site, draft, listing, retention, selection};
use crate::error::Result;
use crate::layer::OnProgress;
use crate::store::Layout;
use crate::store::job::JobLock;

/// What a commit would hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Names.
    pub entries: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// A line for each entry, as far as there is room: `file /etc/hostname, 12 bytes`, `removed /etc/motd`.
    pub lines: Vec<String>,
    /// Whether `lines` has all of them.
    pub complete: bool,
}

/// Makes a snapshot of what is live and lets the baseline point at it. With `paths` (absolute in the merged tree), of
/// these only, on top of the present baseline.
pub fn commit(
    site: &Site,
    overlay: &str,
    wanted: &Wanted,
    paths: &[PathBuf],
    asked: &Asked,
    on_progress: &mut OnProgress<'_>,
) -> Result<Made> {
    wanted.check()?;
    let paths = selection::parse(site, overlay, paths)?;
    let layout = Layout::new(&site.store);
    let _job = JobLock::take(&layout, &asked.by, &format!("commit of {overlay}"))?;
    let scene = Scene::look(site, overlay)?;
    let order = making::Order { scene: &scene, live: scene.live()?, wanted, asked };
    let whole = match paths.is_empty() {
        true => order.whole(Purpose::Commit, on_progress)?,
        false => selection::make(&order, &paths, on_progress)?,
    };
    let mut made = whole.publish()?;
    draft::make_baseline(&layout, overlay, made.id)?;
    made.removed = retention::apply(site, &scene, made.id, on_progress)
        .map_err(|e| e.context(format_args!("snapshot {} was made, but older ones are too many", made.id)))?;
    Ok(made)
}

/// What [`commit`] would hold; with `paths`, of these. Changes nothing.
pub fn preview(
    site: &Site,
    overlay: &str,
    paths: &[PathBuf],
    on_progress: &mut OnProgress<'_>,
) -> Result<Preview> {
    let paths = selection::parse(site, overlay, paths)?;
    let scene = Scene::look(site, overlay)?;
    listing::of_commit(&scene, &paths, on_progress)
}
