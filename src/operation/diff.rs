//! What differs between two states of an overlay: the base, a snapshot, a generation, what is live. Which layers each
//! of them is made of; how they are compared is `layer::diff`. Reads only, and takes no lock: a diff may last, and a
//! layer that is deleted meanwhile is noticed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Site, live, mounted, open, selection};
use crate::error::{Error, Kind, Result};
use crate::handoff::{self, BOOT_TOML, RUN_DIR};
use crate::layer::diff::{self as layers, Layer, Listener};
use crate::plan::execute;
use crate::store::records::GenerationRecord;
use crate::store::{Layout, OverlayView};

/// A state of an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The image alone.
    Base,
    /// The snapshot that a reset goes back to; without one, the image.
    Baseline,
    /// A snapshot over the base.
    Snapshot(u64),
    /// A generation that is in the store: live, retained or bad.
    Generation(u64),
    /// What is mounted, or would be by the next boot.
    Live,
}

impl Point {
    /// `base`, `baseline`, `snapshot:3`, `generation:7` or `live`.
    pub fn parse(word: &str) -> Result<Point> {
        let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
        let found = match word.split_once(':') {
            None => match word {
                "base" => Some(Point::Base),
                "baseline" => Some(Point::Baseline),
                "live" => Some(Point::Live),
                _ => None,
            },
            Some(("snapshot", id)) => number(id).map(Point::Snapshot),
            Some(("generation", id)) => number(id).map(Point::Generation),
            Some(_) => None,
        };
        found.ok_or_else(|| {
            Error::new(Kind::InvalidArgs, format!("{word:?} is no state of an overlay"))
                .remedy("use base, baseline, snapshot:ID, generation:NUMBER or live")
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Base => f.write_str("base"),
            Point::Baseline => f.write_str("baseline"),
            Point::Snapshot(id) => write!(f, "snapshot:{id}"),
            Point::Generation(number) => write!(f, "generation:{number}"),
            Point::Live => f.write_str("live"),
        }
    }
}

/// What is to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What was.
    pub from: Point,
    /// What is.
    pub to: Point,
    /// These alone, absolute in the system, with all that is below them; none: everything.
    pub paths: Vec<PathBuf>,
    /// The base; none: the one that is mounted.
    pub base: Option<PathBuf>,
}

/// Two states whose layers are open.
#[derive(Debug)]
pub struct Diff {
    from: Vec<Arc<Layer>>,
    to: Vec<Arc<Layer>>,
    paths: Vec<PathBuf>,
    /// Where the overlay is, or would be, mounted: what paths begin with.
    pub target: PathBuf,
    /// What is not as one may think.
    pub notes: Vec<String>,
}

/// The layers of a state, without the base.
struct Side {
    layers: Vec<PathBuf>,
    /// Identity of the base that it was made on, where that matters.
    made_on: Option<String>,
    name: String,
}

/// Opens what is to be compared.
pub fn prepare(site: &Site, overlay: &str, wanted: &Wanted) -> Result<Diff> {
    let view = open(&site.store)?;
    let state = live::state(site, &view, overlay)?;
    let side = |point| side(site, &state, overlay, point);
    let sides = [side(wanted.from)?, side(wanted.to)?];
    let (base, identity) = base(site, overlay, wanted.base.as_deref(), &sides)?;
    let base = Layer::base(&base)?;
    let stack = |side: &Side| -> Result<Vec<Arc<Layer>>> {
        let uppers = side.layers.iter().map(|path| Layer::upper(path));
        uppers.chain([Ok(Arc::clone(&base))]).collect()
    };
    let [from, to] = &sides;
    let diff = Diff {
        from: stack(from)?,
        to: stack(to)?,
        paths: selection::parse(site, overlay, &wanted.paths)?,
        target: selection::target(site, overlay)?,
        notes: sides.iter().filter_map(|side| other_base(side, &identity)).collect(),
    };
    for path in &diff.paths {
        if !layers::has(&diff.from, path)? && !layers::has(&diff.to, path)? {
            let text = format!("there is no {}, neither there nor here", diff.target.join(path).display());
            return Err(Error::new(Kind::InvalidArgs, text));
        }
    }
    Ok(diff)
}

impl Diff {
    /// Tells all that differs.
    pub fn run(&self, listener: &mut dyn Listener) -> Result<()> {
        let done = layers::diff(&self.from, &self.to, &self.paths, listener);
        match self.from.iter().chain(&self.to).find(|layer| !layer.is_there()) {
            // What was told of it is not true.
            Some(gone) => {
                let text = format!("{} was removed while it was compared", gone.path().display());
                Err(Error::new(Kind::Failed, text).remedy("compare again"))
            }
            None => done,
        }
    }
}

fn side(site: &Site, state: &OverlayView, overlay: &str, point: Point) -> Result<Side> {
    let layout = Layout::new(&site.store);
    match point {
        Point::Base => Ok(Side::new("base", Vec::new(), None)),
        Point::Baseline => match state.baseline.clone()? {
            Some(id) => side(site, state, overlay, Point::Snapshot(id)),
            None => side(site, state, overlay, Point::Base),
        },
        Point::Snapshot(id) => {
            let record = execute::usable(state, id)?;
            let layers = vec![layout.snapshot_fs(overlay, id)];
            Ok(Side::new(format!("snapshot {id}"), layers, Some(record.base.clone())))
        }
        Point::Generation(number) => {
            let record = generation(state, overlay, number)?;
            let below = record.snapshot.map(|id| layout.snapshot_fs(overlay, id));
            let layers = [layout.upper(overlay, number)].into_iter().chain(below).collect();
            Ok(Side::new(format!("generation {number}"), layers, Some(record.base.clone())))
        }
        Point::Live => {
            let live = live::find(site, state, overlay)?;
            // What is mounted is shown over the base that it is mounted on, wherever it was made.
            let layers = live.stack(&layout, overlay).layers;
            Ok(Side::new("live", layers, site.handoff.is_none().then_some(live.base)))
        }
    }
}

impl Side {
    fn new(name: impl Into<String>, layers: Vec<PathBuf>, made_on: Option<String>) -> Side {
        Side { layers, made_on, name: name.into() }
    }
}

fn generation<'s>(state: &'s OverlayView, overlay: &str, number: u64) -> Result<&'s GenerationRecord> {
    match state.generations.get(&number) {
        Some(found) => found.record.as_ref().map_err(Clone::clone),
        None => {
            let known: Vec<String> = state.generations.keys().map(u64::to_string).collect();
            let text = format!("{overlay} has no generation {number}; there are {}", known.join(", "));
            Err(Error::new(Kind::InvalidArgs, text))
        }
    }
}

/// Where the base can be read, and its identity if it is known.
fn base(
    site: &Site,
    overlay: &str,
    given: Option<&Path>,
    sides: &[Side],
) -> Result<(PathBuf, Option<String>)> {
    if let Some(base) = given {
        return Ok((base.to_owned(), None));
    }
    let none = || Error::new(Kind::Refused, format!("the base of {overlay} is not at hand"));
    if let Some((_, mount)) = mounted(site, overlay)? {
        let run = site.handoff.as_deref().and_then(Path::parent).unwrap_or(Path::new(RUN_DIR));
        let base = run.join(overlay).join("base");
        return if base.is_dir() { Ok((base, Some(mount.base))) } else { Err(none()) };
    }
    // A store by itself: the running system's base will do if it is the right one.
    let running = handoff::load(Path::new(BOOT_TOML)).ok().flatten();
    let identity = running.and_then(|handoff| handoff.overlay.get(overlay).map(|found| found.base.clone()));
    let base = Path::new(RUN_DIR).join(overlay).join("base");
    let mut made_on = sides.iter().filter_map(|side| side.made_on.as_ref()).peekable();
    match identity {
        Some(identity) if base.is_dir() && made_on.peek().is_some() && made_on.all(|on| *on == identity) => {
            Ok((base, Some(identity)))
        }
        _ => Err(none().remedy("mount the image and name its directory with --base DIR")),
    }
}

fn other_base(side: &Side, identity: &Option<String>) -> Option<String> {
    let (made_on, identity) = side.made_on.as_ref().zip(identity.as_ref())?;
    (made_on != identity).then(|| {
        format!("{} was made on another base: {made_on}, not {identity}, over which it is shown", side.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_words() {
        let parse = |word| Point::parse(word).ok();
        assert_eq!(parse("base"), Some(Point::Base));
        assert_eq!(parse("baseline"), Some(Point::Baseline));
        assert_eq!(parse("live"), Some(Point::Live));
        assert_eq!(parse("snapshot:3"), Some(Point::Snapshot(3)));
        assert_eq!(parse("generation:12"), Some(Point::Generation(12)));
        for word in ["base", "baseline", "live", "snapshot:3", "generation:12"] {
            assert_eq!(Point::parse(word).unwrap().to_string(), word);
        }
        for bad in ["", "3", "snapshot", "snapshot:", "snapshot:0", "generation:x", "base:1", "Live"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
