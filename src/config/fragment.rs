//! One configuration file: text → entries and problems, each with its line. Pure.

use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS};
use super::load::Problem;
use super::values;
use crate::error::{Place, line_of};
use crate::keep::Pattern;
use crate::store::layout::is_overlay_name;

/// One value that somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Full key name.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file and a line.
    File(Place),
    /// A word of the kernel command line.
    Cmdline(String),
    /// Nobody set it.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::File(place) => place.fmt(f),
            Origin::Cmdline(word) => write!(f, "kernel command line: {word}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Reads `text`; what is wrong goes to `problems`, what is right is returned. `name` is only for messages.
pub fn parse(name: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { name, text, problems, broken: Vec::new(), entries: Vec::new() };
    for error in errors {
        let line = error.span().map(|s| line_of(text, s.start));
        reader.broken.extend(line);
        reader.problem_at(line, "", error.message().trim(), None);
    }
    let known = reader.problems.len();
    reader.table("", table.get_ref());
    // By line. They are few, and a sort of the library would be four kilobytes of early boot.
    for at in known..reader.problems.len() {
        let line = reader.problems[at].place.line;
        let before = reader.problems[known..at].iter().take_while(|p| p.place.line <= line).count();
        reader.problems[known + before..=at].rotate_right(1);
    }
    reader.entries
}

struct Reader<'a> {
    name: &'a Path,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    /// Lines with a syntax error: what the parser made of their values says nothing.
    broken: Vec<usize>,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = line_of(self.text, name.span().start);
            if self.broken.contains(&line) {
                continue;
            }
            let key = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            match value.get_ref() {
                DeValue::Table(inner) if keys::is_section(&key) => self.section(&key, line, inner),
                _ => self.value(&key, line, value),
            }
        }
    }

    fn section(&mut self, key: &str, line: usize, inner: &DeTable<'_>) {
        match key.strip_prefix("overlay.").filter(|rest| !rest.contains('.')) {
            Some(name) if !is_overlay_name(name) => {
                let text = "an overlay's name is up to 32 of a-z, 0-9 and -, and does not begin with -";
                self.problem_at(Some(line), key, text, None);
            }
            Some(_) if inner.is_empty() && key != "overlay.root" => {
                self.problem_at(Some(line), key, "an overlay needs a target", None);
            }
            _ => self.table(key, inner),
        }
    }

    fn value(&mut self, key: &str, line: usize, value: &Spanned<DeValue<'_>>) {
        let Some(known) = keys::find(key) else {
            let hint = nearest_key(key);
            return self.problem_at(Some(line), key, "unknown key", hint);
        };
        let (text, wanted) = match known.kind {
            keys::Kind::Number => (value.get_ref().as_integer().and_then(decimal), "a number"),
            keys::Kind::Flag => (value.get_ref().as_bool().map(|flag| flag.to_string()), "true or false"),
            keys::Kind::Patterns => return self.patterns(key, line, value),
            _ => (value.get_ref().as_str().map(str::to_owned), "a string"),
        };
        let Some(text) = text else {
            let text = format!("expected {wanted}, found {}", article(value.get_ref().type_str()));
            return self.problem_at(Some(line), key, &text, None);
        };
        match values::check(known.kind, &text) {
            Ok(()) => {
                let place = Place { path: self.name.to_owned(), line: Some(line) };
                self.entries.push(Entry { key: key.to_owned(), value: text, origin: Origin::File(place) });
            }
            Err(why) => self.problem_at(Some(line), key, &why, None),
        }
    }

    /// Each string that is a pattern; what is wrong with another is told with its own line.
    fn patterns(&mut self, key: &str, line: usize, value: &Spanned<DeValue<'_>>) {
        let Some(array) = value.get_ref().as_array() else {
            let found = article(value.get_ref().type_str());
            return self.problem_at(
                Some(line),
                key,
                &format!("expected an array of strings, found {found}"),
                None,
            );
        };
        let mut texts = Vec::new();
        for item in array {
            let line = line_of(self.text, item.span().start);
            let checked = match item.get_ref().as_str() {
                Some(text) => Pattern::parse(text).map(|_| texts.push(text)),
                None => Err(format!("expected a string, found {}", article(item.get_ref().type_str()))),
            };
            checked.unwrap_or_else(|why| self.problem_at(Some(line), key, &why, None));
        }
        let place = Place { path: self.name.to_owned(), line: Some(line) };
        self.entries.push(Entry {
            key: key.to_owned(),
            value: texts.join("\n"),
            origin: Origin::File(place),
        });
    }

    fn problem_at(&mut self, line: Option<usize>, key: &str, message: &str, hint: Option<String>) {
        let message = if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") };
        self.problems.push(Problem { place: Place { path: self.name.to_owned(), line }, message, hint });
    }
}

/// TOML also writes numbers as `0x10`.
fn decimal(number: &toml::de::DeInteger<'_>) -> Option<String> {
    match number.radix() {
        10 => Some(number.as_str().to_owned()),
        radix => u64::from_str_radix(number.as_str(), radix).ok().map(|n| n.to_string()),
    }
}

fn article(type_name: &str) -> String {
    let an = type_name.starts_with(['a', 'e', 'i', 'o']);
    format!("{} {type_name}", if an { "an" } else { "a" })
}

/// The nearest known key, in the spelling of the section it was looked for in.
pub fn nearest_key(key: &str) -> Option<String> {
    let overlay = key.strip_prefix("overlay.").and_then(|rest| rest.split_once('.')).map_or("root", |o| o.0);
    let names: Vec<String> = KEYS.iter().map(|k| k.name.replace('*', overlay)).collect();
    keys::nearest(key, names.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Entry>, Vec<String>) {
        let mut problems = Vec::new();
        let entries = parse(Path::new("x.toml"), text, &mut problems);
        (entries, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn values_carry_their_line() {
        let (entries, problems) =
            read("[state]\ndevice = \"LABEL=a\"\n\n[overlay.root]\nmode = \"volatile\"\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(entries[0].key, "overlay.root.mode");
        assert_eq!(entries[0].origin.to_string(), "x.toml:5");
        assert_eq!(entries[1].origin.to_string(), "x.toml:2");
    }

    #[test]
    fn a_typo_gives_file_line_key_and_the_nearest() {
        let (_, problems) = read("[state]\n\ndevise = \"LABEL=a\"\n");
        assert_eq!(problems, ["x.toml:3: state.devise: unknown key; did you mean \"state.device\"?"]);
    }

    #[test]
    fn a_wrong_type_is_named() {
        let (_, problems) = read("[overlay.root]\nmode = true\n");
        assert_eq!(problems, ["x.toml:2: overlay.root.mode: expected a string, found a boolean"]);
    }

    #[test]
    fn a_syntax_error_keeps_what_can_be_read() {
        let (entries, problems) = read("[overlay.root]\nfallback = \"read-only\"\nmode = \n");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("x.toml:3: "), "{problems:?}");
        assert_eq!(entries[0].key, "overlay.root.fallback");
    }

    #[test]
    fn tables_below_an_overlay() {
        let (entries, problems) =
            read("[overlay.root.reset]\nundo = \"always\"\n\n[overlay.root.snapshots]\nlimit = 3\n");
        assert!(problems.is_empty(), "{problems:?}");
        let pairs: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        assert!(pairs.contains(&("overlay.root.snapshots.limit", "3")), "{pairs:?}");
        assert!(pairs.contains(&("overlay.root.reset.undo", "always")), "{pairs:?}");
        let (_, problems) = read("[overlay.root.snapshots]\nlimt = 3\n");
        assert_eq!(
            problems,
            [
                "x.toml:2: overlay.root.snapshots.limt: unknown key; did you mean \"overlay.root.snapshots.limit\"?"
            ]
        );
        let (_, problems) = read("[overlay.root.snapshots]\nlimit = \"3\"\nmin-free = 10\n");
        assert_eq!(
            problems,
            [
                "x.toml:2: overlay.root.snapshots.limit: expected a number, found a string",
                "x.toml:3: overlay.root.snapshots.min-free: expected a string, found an integer",
            ]
        );
        assert_eq!(read("[overlay.root.snapshots]\nlimit = -1\n").1.len(), 1);
        assert_eq!(read("[overlay.root.rest]\nundo = \"never\"\n").1.len(), 1);
    }

    #[test]
    fn a_flag_is_true_or_false() {
        let (entries, problems) = read("[overlay.root.reset]\nesp = false\n");
        assert_eq!((entries[0].value.as_str(), problems.len()), ("false", 0));
        let (_, problems) = read("[overlay.root.reset]\nesp = \"no\"\n");
        assert_eq!(problems, ["x.toml:2: overlay.root.reset.esp: expected true or false, found a string"]);
    }

    #[test]
    fn patterns_are_an_array() {
        let (entries, problems) =
            read("[overlay.root.reset]\nlevel = \"wipe\"\nkeep = [\n  \"/etc/machine-id\",\n  \"!/x\",\n]\n");
        assert!(problems.is_empty(), "{problems:?}");
        let keep = entries.iter().find(|e| e.key == "overlay.root.reset.keep").unwrap();
        assert_eq!(
            (keep.value.as_str(), keep.origin.to_string().as_str()),
            ("/etc/machine-id\n!/x", "x.toml:3")
        );
        let (entries, problems) = read("[overlay.root.reset]\nkeep = [\n  \"/a\",\n  \"b\",\n  3,\n]\n");
        assert_eq!(entries[0].value, "/a");
        assert!(
            problems[0].starts_with("x.toml:4: overlay.root.reset.keep: \"b\" is not absolute"),
            "{problems:?}"
        );
        assert_eq!(problems[1], "x.toml:5: overlay.root.reset.keep: expected a string, found an integer");
        let (_, problems) = read("[overlay.root.reset]\nkeep = \"/a\"\nlevel = \"all\"\n");
        assert_eq!(
            problems,
            [
                "x.toml:2: overlay.root.reset.keep: expected an array of strings, found a string",
                "x.toml:3: overlay.root.reset.level: \"all\" is not one of baseline, factory, wipe",
            ]
        );
    }

    #[test]
    fn unknown_sections_and_overlays_are_problems() {
        assert_eq!(read("[stat]\ndevice = \"LABEL=a\"\n").1.len(), 1);
        assert_eq!(read("[overlay.Etc]\nmode = \"off\"\n").1.len(), 1);
        assert_eq!(read("[overlay.etc]\n").1, ["x.toml:1: overlay.etc: an overlay needs a target"]);
    }

    #[test]
    fn any_overlay_has_keys_and_its_typos_are_told_in_its_own_name() {
        let (entries, problems) = read("[overlay.data]\ntarget = \"/srv\"\nmod = \"off\"\n");
        assert_eq!(entries[0].key, "overlay.data.target");
        assert_eq!(
            problems,
            ["x.toml:3: overlay.data.mod: unknown key; did you mean \"overlay.data.mode\"?"]
        );
    }
}
