//! Which records there are, what can happen to each, and what is to come of it.

use crate::damage::{Damage, OF_A_DIRECTORY, OF_A_FILE};
use crate::rig::Flavour;

/// What the boot makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    /// The live generation, as ever, and nothing to tell.
    Ordinary,
    /// The live generation, and a problem with this word in it.
    Told(&'static str),
    /// The declared fallback, because of something with this word in it.
    Refused(&'static str),
    /// The generation of this number, and a problem with this word in it.
    Other(u64, &'static str),
}

/// What `store check` makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing can be seen.
    Silent,
    /// Named; nothing suffers by it.
    Noted,
    /// Named; a person has to decide.
    Person,
    /// Named, and repaired.
    Repaired,
}

/// Some damages of one place, with what comes of them.
pub(crate) struct Row {
    pub(crate) flavour: Flavour,
    pub(crate) path: &'static str,
    pub(crate) damages: Vec<Damage>,
    pub(crate) boot: Boot,
    pub(crate) check: Check,
}

fn row(flavour: Flavour, path: &'static str, damages: &[Damage], boot: Boot, check: Check) -> Row {
    Row { flavour, path, damages: damages.to_vec(), boot, check }
}

/// Everything that can happen to a file, but for being missing.
fn spoilt(but: &[Damage]) -> Vec<Damage> {
    OF_A_FILE.into_iter().filter(|d| *d != Damage::Missing && !but.contains(d)).collect()
}

/// The whole matrix.
pub(crate) fn rows() -> Vec<Row> {
    [of_the_store(), pointers(), requests(), outcomes(), generations(), snapshots(), directories()]
        .into_iter()
        .flatten()
        .collect()
}

use Boot::{Ordinary, Other, Refused, Told};
use Check::{Noted, Person, Repaired, Silent};
use Damage::{Cut, Directory, Empty, File, Future, Missing, Pipe, Says, Symlink};
use Flavour::{Good, Old, Waiting, Young};

fn of_the_store() -> Vec<Row> {
    let feature = Says("features = []", "features = [\"new\"]");
    vec![
        row(Old, "store.toml", &[&OF_A_FILE[..], &[Future, feature]].concat(), Refused("store.toml"), Person),
        // Early boot reads it where something asks; `mounts::triggers` is about that.
        row(Old, "tokens", &[Missing, Empty, Cut(35), Cut(65), Cut(95)], Ordinary, Silent),
        row(Old, "tokens", &spoilt(&[Empty, Cut(5), Cut(35), Cut(65), Cut(95)]), Ordinary, Person),
        row(Old, "lock", &[Missing], Ordinary, Silent),
        row(Old, "lock", &[Directory, Pipe, Symlink], Ordinary, Repaired),
        row(Old, "reserve", &OF_A_DIRECTORY, Ordinary, Repaired),
        row(Old, "reserve/whole", &[Missing], Ordinary, Repaired),
        row(Old, "reserve/request", &[Missing], Ordinary, Repaired),
        row(Old, "reserve/blocks", &[Missing], Ordinary, Repaired),
        row(Old, "reserve/spare", &[Missing], Ordinary, Repaired),
        row(Old, "reserve/inodes", &[Missing], Ordinary, Repaired),
    ]
}

const CURRENT: &str = "overlays/root/current";
const BASELINE: &str = "overlays/root/baseline";
const LAST: &str = "overlays/root/last-snapshot";

fn pointers() -> Vec<Row> {
    let numbers = [
        Says("2\n", "0\n"),
        Says("2\n", "-2\n"),
        Says("2\n", "2"),
        Says("2\n", "2 \n"),
        Says("2\n", "2\n2\n"),
        Says("2\n", "18446744073709551615\n"),
        Says("2\n", "18446744073709551616\n"),
    ];
    let damaged = [&spoilt(&[])[..], &numbers].concat();
    vec![
        row(Old, CURRENT, &[&[Missing][..], &damaged].concat(), Refused("current"), Person),
        row(Old, CURRENT, &[Says("2\n", "7\n")], Refused("generation 7"), Person),
        row(Old, CURRENT, &[Says("2\n", "1\n")], Other(1, "generation 2 is not given up"), Noted),
        row(Young, CURRENT, &[&[Missing][..], &spoilt(&[])].concat(), Refused("current"), Repaired),
        row(Young, CURRENT, &[Says("1\n", "7\n")], Refused("generation 7"), Person),
        row(Old, BASELINE, &[Missing], Ordinary, Silent),
        row(Old, BASELINE, &spoilt(&[]), Ordinary, Person),
        row(Old, BASELINE, &[Says("1\n", "9\n"), Says("1\n", "18446744073709551615\n")], Ordinary, Person),
        row(Old, LAST, &OF_A_FILE, Ordinary, Repaired),
        row(Old, LAST, &[Says("2\n", "1\n"), Says("2\n", "18446744073709551615\n")], Ordinary, Repaired),
    ]
}

const REQUEST: &str = "overlays/root/request.toml";

fn requests() -> Vec<Row> {
    let restore = |id| Says("action = \"reset\"", id);
    let nonsense = [
        Says("action = \"reset\"", "action = \"dance\""),
        Says("action = \"reset\"", "action = 5"),
        Says("id = \"request-2\"", "id = []"),
    ];
    vec![
        row(Waiting, REQUEST, &[Missing], Ordinary, Silent),
        row(Waiting, REQUEST, &spoilt(&[]), Told("request.toml"), Repaired),
        row(Waiting, REQUEST, &nonsense, Told("request.toml"), Repaired),
        row(Waiting, REQUEST, &[Future], Told("request.toml"), Person),
        row(Waiting, REQUEST, &[Says("store-a", "store-b")], Told("for store store-b"), Repaired),
        row(
            Waiting,
            REQUEST,
            &[restore("action = \"restore\"\nsnapshot = 9")],
            Told("no snapshot 9"),
            Person,
        ),
        row(Waiting, REQUEST, &[restore("action = \"undo\"\ngeneration = 9")], Told("generation 9"), Person),
    ]
}

const OUTCOME: &str = "overlays/root/outcome.toml";
const HEALTH: &str = "overlays/root/health.toml";

fn outcomes() -> Vec<Row> {
    vec![
        row(Old, OUTCOME, &[Missing], Told("outcome.toml"), Person),
        row(Old, OUTCOME, &[&spoilt(&[])[..], &[Future]].concat(), Told("outcome.toml"), Person),
        row(Good, OUTCOME, &[Missing], Ordinary, Silent),
        row(Good, OUTCOME, &spoilt(&[]), Told("outcome.toml"), Repaired),
        row(Good, OUTCOME, &[Future], Told("outcome.toml"), Person),
        row(Old, OUTCOME, &[Says("to-generation = 2", "to-generation = 88")], Ordinary, Noted),
        row(
            Old,
            OUTCOME,
            &[Says("to-generation = 2", "to-generation = 9223372036854775807")],
            Ordinary,
            Noted,
        ),
        row(Old, HEALTH, &[Missing], Ordinary, Silent),
        row(
            Old,
            HEALTH,
            &[Says("boots = 1", "boots = 1\ngood = 77"), Says("generation = 2", "generation = 77")],
            Ordinary,
            Silent,
        ),
        row(Old, HEALTH, &spoilt(&[]), Told("health.toml"), Repaired),
        row(Old, HEALTH, &[Future], Told("health.toml"), Person),
    ]
}

const LIVE: &str = "overlays/root/generations/2/generation.toml";
const LEFT: &str = "overlays/root/generations/1/generation.toml";

fn generations() -> Vec<Row> {
    let file = [&OF_A_FILE[..], &[Future]].concat();
    let options = Says("index=off", "index=on");
    vec![
        row(Old, LIVE, &file, Refused("generations/2/generation.toml"), Person),
        row(Old, LIVE, &[Says("number = 2", "number = 1")], Refused("generations/2/generation.toml"), Person),
        row(Old, LIVE, &[Says("snapshot = 1", "snapshot = 9")], Refused("stands on snapshot 9"), Person),
        row(Old, LIVE, &[options], Refused("generation 2 has the mount option \"index=on\""), Person),
        row(Old, LEFT, &file, Ordinary, Person),
        row(
            Old,
            LEFT,
            &[Says("number = 1", "number = 2"), Says("number = 1", "number = 5"), options],
            Ordinary,
            Person,
        ),
        row(Young, LEFT, &file, Refused("generations/1/generation.toml"), Person),
    ]
}

fn snapshots() -> Vec<Row> {
    let (used, spare) =
        ("overlays/root/snapshots/1/snapshot.toml", "overlays/root/snapshots/2/snapshot.toml");
    let file = [&OF_A_FILE[..], &[Future]].concat();
    let index = "overlays/root/snapshots/2/index";
    vec![
        row(Old, used, &file, Refused("snapshots/1/snapshot.toml"), Person),
        row(Old, used, &[Says("id = 1", "id = 2")], Refused("snapshots/1/snapshot.toml"), Person),
        row(Old, spare, &file, Ordinary, Person),
        row(Old, spare, &[Says("id = 2", "id = 1"), Says("id = 2", "id = 3")], Ordinary, Person),
        row(Old, index, &[Missing], Ordinary, Silent),
        row(Old, index, &spoilt(&[]), Ordinary, Noted),
    ]
}

fn directories() -> Vec<Row> {
    let work = "overlays/root/generations/2/work";
    let files = "overlays/root/generations/2/fs";
    let (below, spare) = ("overlays/root/snapshots/1/fs", "overlays/root/snapshots/2/fs");
    let thing = [File, Pipe];
    vec![
        row(Old, "overlays", &OF_A_DIRECTORY, Refused("overlays: missing, or not a directory"), Person),
        row(Old, "overlays/root/generations", &[Missing], Refused("generation 2"), Person),
        row(Old, "overlays/root/generations", &thing, Refused("generations"), Person),
        row(Old, "overlays/root/generations/2", &OF_A_DIRECTORY, Refused("generation"), Person),
        row(Old, "overlays/root/snapshots", &[Missing, Symlink], Refused("snapshot 1"), Person),
        row(Old, "overlays/root/snapshots", &thing, Refused("snapshots"), Person),
        row(Old, "overlays/root/snapshots/1", &OF_A_DIRECTORY, Refused("snapshot"), Person),
        row(Old, "overlays/root/trash", &[Missing], Ordinary, Silent),
        row(Old, "overlays/root/trash", &thing, Ordinary, Repaired),
        row(Old, "overlays/root/trash", &[Symlink], Ordinary, Person),
        row(Old, work, &OF_A_DIRECTORY, Refused("generations/2/work"), Repaired),
        row(Old, files, &OF_A_DIRECTORY, Refused("generations/2/fs"), Person),
        row(Old, below, &OF_A_DIRECTORY, Refused("snapshots/1/fs"), Person),
        row(Old, spare, &OF_A_DIRECTORY, Ordinary, Person),
    ]
}
