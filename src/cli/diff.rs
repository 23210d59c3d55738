//! `overlayctl diff`.

use std::time::{Duration, Instant};

use super::args::{Arguments, Diff};
use super::format::{bytes, count, name};
use super::output::{Output, Paint, Tone};
use super::restore::absolute;
use super::worker::Worker;
use crate::error::{Error, Kind, Result};
use crate::operation::diff::{Point, Wanted};
use crate::status::change::{End, Entry, Thing};

/// So much is printed at a time, and nothing is held back for longer while more is found.
const BUFFER: usize = 8 << 10;
const HELD: Duration = Duration::from_millis(100);

/// Tells what differs, as it is found.
pub(crate) fn diff(arguments: &Arguments, diff: &Diff, output: &Output) -> Result<u8> {
    if diff.base.is_some() && arguments.store.is_none() {
        let text = "--base is for a store by itself: a running system knows its base";
        return Err(Error::new(Kind::InvalidArgs, text).remedy("give --store, too, or leave --base out"));
    }
    let point = |word: &Option<String>, otherwise| word.as_deref().map_or(Ok(otherwise), Point::parse);
    let wanted = Wanted {
        from: point(&diff.from, Point::Base)?,
        to: point(&diff.to, Point::Live)?,
        paths: absolute(arguments, &diff.paths)?,
        base: diff.base.clone(),
    };
    let (mut page, mut printed) = (String::new(), Instant::now());
    let end = Worker::new(arguments, output)?.diff(&wanted, &mut |entry| {
        if diff.stat {
            return Ok(());
        }
        page += &match output.is_json() {
            true => json(entry)?,
            false => line(entry, output.paint()),
        };
        page.push('\n');
        if page.len() < BUFFER && printed.elapsed() < HELD {
            return Ok(());
        }
        printed = Instant::now();
        output.text(&std::mem::take(&mut page))
    });
    // What was found before something failed is told, too.
    output.text(&page)?;
    let end = end?;
    end.notes.iter().for_each(|note| output.note(&format!("overlayctl: {note}")));
    match diff.stat {
        true if output.is_json() => output.value(&end)?,
        true => output.text(&(total(&end) + "\n"))?,
        false => {}
    }
    Ok(0)
}

fn json(entry: &Entry) -> Result<String> {
    serde_json::to_string(entry).map_err(|e| Error::new(Kind::Failed, format!("failed to write JSON: {e}")))
}

/// `M file /etc/motd: content, 12 → 15 bytes; mode 0644 → 0600`
fn line(entry: &Entry, paint: Paint) -> String {
    let path = name(&entry.path_bytes());
    match (&entry.from, &entry.to) {
        (None, Some(to)) => format!("{} {}", paint.tone(Tone::Good, "+"), whole(to, &path)),
        (Some(from), None) => format!("{} {}", paint.tone(Tone::Bad, "-"), whole(from, &path)),
        (Some(from), Some(to)) if from.kind != to.kind => {
            format!("{} {path}: {} → {}", paint.tone(Tone::Notice, "T"), kind(from), kind(to))
        }
        (Some(from), Some(to)) => {
            let what = what(entry, from, to);
            format!("{} {} {path}: {what}", paint.tone(Tone::Notice, "M"), kind(to))
        }
        (None, None) => path,
    }
}

fn kind(thing: &Thing) -> String {
    thing.kind.replace('-', " ")
}

fn whole(thing: &Thing, path: &str) -> String {
    match thing.kind.as_str() {
        "file" => format!("file {path}, {} bytes", thing.size),
        "symlink" => format!("symlink {path} → {}", name(&thing.target_bytes())),
        _ => format!("{} {path}", kind(thing)),
    }
}

fn what(entry: &Entry, from: &Thing, to: &Thing) -> String {
    let changed = entry.what.iter().any(|word| word == "content");
    let words = entry.what.iter().filter_map(|word| match word.as_str() {
        "content" => Some(content(from, to)),
        "mode" => Some(format!("mode {} → {}", from.mode, to.mode)),
        "owner" => Some(format!("owner {} → {}", from.uid, to.uid)),
        "group" => Some(format!("group {} → {}", from.gid, to.gid)),
        "xattrs" => Some(format!("xattrs {}", name(entry.xattrs.join(", ").as_bytes()))),
        // Another content has another time.
        "mtime" if changed => None,
        word => Some(word.to_owned()),
    });
    words.collect::<Vec<_>>().join("; ")
}

fn content(from: &Thing, to: &Thing) -> String {
    match (from.kind.as_str(), &from.device, &to.device) {
        ("symlink", ..) => {
            format!("target {} → {}", name(&from.target_bytes()), name(&to.target_bytes()))
        }
        (_, Some(from), Some(to)) => format!("device {from} → {to}"),
        _ if from.size == to.size => format!("content, {} bytes", to.size),
        _ => format!("content, {} → {} bytes", from.size, to.size),
    }
}

fn total(end: &End) -> String {
    if end.added + end.removed + end.modified + end.retyped == 0 {
        return "Nothing differs.".to_owned();
    }
    let entries = count(end.added, "entry", "entries");
    format!(
        "{entries} added, {} removed, {} modified, {} of another type; {} in files now, {} before",
        end.removed,
        end.modified,
        end.retyped,
        bytes(end.bytes_added),
        bytes(end.bytes_removed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(kind: &str, size: u64) -> Option<Thing> {
        Some(Thing { kind: kind.into(), mode: "0644".into(), size, ..Thing::default() })
    }

    fn said(change: &str, path: &str, from: Option<Thing>, to: Option<Thing>, what: &[&str]) -> String {
        let what = what.iter().map(|word| (*word).to_owned()).collect();
        let entry = Entry { change: change.into(), path: path.into(), from, to, what, ..Entry::default() };
        line(&entry, Paint(false))
    }

    #[test]
    fn a_line_says_what_and_how() {
        assert_eq!(said("added", "/a", None, thing("file", 12), &[]), "+ file /a, 12 bytes");
        assert_eq!(said("removed", "/d", thing("directory", 0), None, &[]), "- directory /d");
        assert_eq!(
            said("type", "/t", thing("file", 1), thing("block-device", 0), &[]),
            "T /t: file → block device"
        );
        let to = thing("file", 15).map(|to| Thing { mode: "0600".into(), uid: 7, ..to });
        assert_eq!(
            said("modified", "/m", thing("file", 12), to, &["content", "mode", "owner", "mtime"]),
            "M file /m: content, 12 → 15 bytes; mode 0644 → 0600; owner 0 → 7"
        );
        assert_eq!(
            said("modified", "/m", thing("file", 1), thing("file", 1), &["mtime"]),
            "M file /m: mtime"
        );
        let link = |target: &str| thing("symlink", 0).map(|t| Thing { target: Some(target.into()), ..t });
        assert_eq!(
            said("modified", "/l", link("a"), link("b\n"), &["content"]),
            "M symlink /l: target a → b\\n"
        );
    }

    #[test]
    fn names_do_not_drive_the_terminal_and_can_be_read_back() {
        let line = said("added", "/\u{1b}[2J\n\\x", None, thing("pipe", 0), &[]);
        assert_eq!(line, "+ pipe /\\u{1b}[2J\\n\\\\x");
    }

    #[test]
    fn totals() {
        let end = End { added: 1, modified: 2, bytes_added: 2048, bytes_removed: 5, ..End::default() };
        assert_eq!(
            total(&end),
            "1 entry added, 0 removed, 2 modified, 0 of another type; 2K in files now, 5B before"
        );
        assert_eq!(total(&End::default()), "Nothing differs.");
    }
}
