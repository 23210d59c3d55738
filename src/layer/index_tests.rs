use std::fs;
use std::path::PathBuf;

use super::*;

const START: Moment = Moment { seconds: 1_000_000, nanoseconds: 500 };

fn at(seconds: i64, nanoseconds: u32) -> Moment {
    Moment { seconds, nanoseconds }
}

fn thing(ino: u64, ctime: Moment) -> Thing {
    Thing { layer: 0, ino, size: 7, mtime: at(-5, 999_999_999), ctime }
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("overlayd-index-{}-{name}", std::process::id()))
}

/// Two directories with three entries.
fn written(name: &str) -> Vec<u8> {
    let path = scratch(name);
    let writer = Writer::create(&path, "generation-1", START).unwrap();
    let old = at(999_999, 3);
    let entries = [(&b"a"[..], thing(u64::MAX, old)), (b"\xff\n", thing(3, old))];
    writer.add(b"", thing(1, old), entries.into_iter()).unwrap();
    writer.add(b"etc", thing(2, old), [(&b"new"[..], thing(9, START))].into_iter()).unwrap();
    writer.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    bytes
}

#[test]
fn what_was_written_is_read() {
    let index = Index::parse(written("read"), "generation-1").unwrap();
    assert_eq!(index.things(), 5);
    let old = at(999_999, 3);
    let top = index.directory(b"").unwrap();
    assert!(top.is_same(&thing(1, old)));
    assert!(!top.is_same(&thing(2, old)));
    assert_eq!(top.entries.len(), 2);
    assert_eq!(top.entries[0], (&b"a"[..], thing(u64::MAX, old)));
    assert!(index.directory(b"etc").unwrap().is_same(&thing(2, old)));
    assert!(index.directory(b"usr").is_none());
}

#[test]
fn entries_are_found_by_inode_and_name_and_must_be_the_same() {
    let path = scratch("entries");
    let writer = Writer::create(&path, "s", START).unwrap();
    let old = at(10, 1);
    let entries = [(&b"a"[..], thing(4, old)), (b"b", thing(4, old)), (b"c", thing(8, old))];
    writer.add(b"", thing(1, old), entries.into_iter()).unwrap();
    writer.finish().unwrap();
    let index = Index::load(&path, "s").unwrap();
    fs::remove_file(path).unwrap();
    let top = index.directory(b"").unwrap();
    for (name, ino) in [(b"a", 4), (b"b", 4), (b"c", 8)] {
        assert!(top.has(name, &thing(ino, old)));
    }
    assert!(!top.has(b"c", &thing(4, old)));
    assert!(!top.has(b"a", &thing(4, at(10, 2))));
    assert!(!top.has(b"a", &Thing { size: 8, ..thing(4, old) }));
    assert!(!top.has(b"a", &Thing { mtime: old, ..thing(4, old) }));
    assert!(!top.has(b"a", &Thing { layer: 1, ..thing(4, old) }));
}

#[test]
fn a_time_that_a_later_change_could_have_is_not_trusted() {
    let index = Index::parse(written("racy"), "generation-1").unwrap();
    let etc = index.directory(b"etc").unwrap();
    assert!(!etc.has(b"new", &thing(9, START)));
    assert!(is_settled(at(999_999, 999_999_999), START));
    assert!(is_settled(at(1_000_000, 499), START));
    assert!(!is_settled(START, START));
    // Whole seconds may be all that the filesystem keeps.
    assert!(!is_settled(at(1_000_000, 0), START));
    assert!(is_settled(at(999_999, 0), START));
    // A clock that was set back.
    assert!(!is_settled(at(2_000_000, 0), START));
}

#[test]
fn lower_layers_never_change() {
    let remembered = Remembered { start: START, itself: Thing::default(), entries: Vec::new() };
    let old = Thing { layer: 1, ..thing(4, at(10, 1)) };
    assert!(remembered.is_trusted(&old, &Thing { ctime: at(20, 2), ..old }));
    assert!(!remembered.is_trusted(&old, &Thing { ino: 5, ..old }));
    assert!(!remembered.is_trusted(&Thing { ctime: Moment::default(), ..old }, &old));
}

#[test]
fn an_index_about_something_else_is_none() {
    let bytes = written("else");
    assert!(Index::parse(bytes.clone(), "generation-1").is_some());
    assert!(Index::parse(bytes.clone(), "generation-2").is_none());
    assert!(Index::parse(bytes, "generation-").is_none());
    assert!(Index::load(&scratch("nowhere"), "generation-1").is_none());
}

#[test]
fn an_index_that_is_cut_short_or_damaged_is_none() {
    let bytes = written("damaged");
    for length in 0..bytes.len() {
        assert!(Index::parse(bytes[..length].to_vec(), "generation-1").is_none(), "{length}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Index::parse(damaged, "generation-1").is_none(), "{at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Index::parse(longer, "generation-1").is_none());
}
