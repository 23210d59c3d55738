//! Every test that docs/reliability.md names is there: a row whose test was renamed, or never written, promises nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// `module::name` or `name`, in which `…` and `*` stand for anything.
fn named(document: &str) -> Vec<&str> {
    let quoted = document.split('`').skip(1).step_by(2);
    let is_test = |text: &&str| {
        let name = text.rsplit("::").next().unwrap_or_default();
        let sentence = name.matches('_').count() > 1 && !text.contains(['=', '/', ' ', '.']);
        text.contains("::") || sentence
    };
    quoted.filter(is_test).collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => sources(&entry, found),
            false if entry.extension().is_some_and(|e| e == "rs") => found.push(entry),
            false => {}
        }
    }
}

/// Whether `file` is the module, or a part of it.
fn is_of(file: &Path, module: &str) -> bool {
    file.iter().any(|part| Path::new(part).file_stem().is_some_and(|stem| stem == module))
}

fn matches(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split(['…', '*']);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        (rest, open) = (&rest[at + part.len()..], part.is_empty());
    }
    open || rest.is_empty()
}

#[test]
fn what_the_document_names_is_there() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(project.join("docs/reliability.md")).unwrap();
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|dir| sources(&project.join(dir), &mut files));
    let texts: Vec<(PathBuf, String)> =
        files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect();
    let is_there = |test: &str| {
        let mut parts = test.rsplit("::");
        let name = parts.next().unwrap_or_default();
        let module = parts.find(|module| *module != "tests");
        let of_it = texts.iter().filter(|(file, _)| module.is_none_or(|module| is_of(file, module)));
        let mut words = of_it.flat_map(|(_, text)| text.split(|c: char| !c.is_alphanumeric() && c != '_'));
        words.any(|word| matches(word, name))
    };
    let named = named(&document);
    assert!(named.len() > 80, "only {} are seen", named.len());
    let missing: Vec<&&str> = named.iter().filter(|test| !is_there(test)).collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}

#[test]
fn patterns_stand_for_what_they_say() {
    assert!(matches("a_b_c", "a_b_c") && matches("a_b_c", "a_…") && matches("a_b_c", "*_c"));
    assert!(!matches("a_b_c", "a_b") && !matches("a_b_c", "b…") && !matches("a_b_cd", "*_c"));
}
