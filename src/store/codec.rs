//! Records as TOML text, both ways by one list of fields. serde would do, but the code that it derives for each record
//! takes a tenth of the size that early boot has.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result, line_of};

/// Something that stands in a file of its own, or in a table of one.
pub trait Record: Clone + Default {
    /// Shows each field to `io`, which reads it or writes it.
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()>;
}

/// What is done with each field.
pub trait Fields {
    /// A text, or another word that is written as one; required.
    fn text(&mut self, key: &str, value: &mut String) -> Result<()>;
    /// A number; required.
    fn number(&mut self, key: &str, value: &mut u64) -> Result<()>;
    /// Missing if false.
    fn flag(&mut self, key: &str, value: &mut bool) -> Result<()>;
    /// Required.
    fn texts(&mut self, key: &str, value: &mut Vec<String>) -> Result<()>;
    /// Whether there is a value for `key`; `has` says so of what is written.
    fn has(&mut self, key: &str, has: bool) -> bool;
    /// The names in the table `key`; `names` are those of what is written.
    fn names(&mut self, key: &str, names: Vec<String>) -> Result<Vec<String>>;
    /// Goes through the table `key`.
    fn table(&mut self, key: &str, inner: &mut dyn FnMut(&mut dyn Fields) -> Result<()>) -> Result<()>;
    /// The error for a value that means nothing.
    fn wrong(&self, key: &str, what: String) -> Error;
}

/// A number that fits 32 bits; required.
pub fn small(io: &mut dyn Fields, key: &str, value: &mut u32) -> Result<()> {
    let mut number = u64::from(*value);
    io.number(key, &mut number)?;
    *value = u32::try_from(number).map_err(|_| io.wrong(key, format!("{number} is too large")))?;
    Ok(())
}

/// A text that may be missing.
pub fn maybe_text(io: &mut dyn Fields, key: &str, value: &mut Option<String>) -> Result<()> {
    if io.has(key, value.is_some()) {
        io.text(key, value.get_or_insert_default())?;
    }
    Ok(())
}

/// Texts; missing if there is none.
pub fn maybe_texts(io: &mut dyn Fields, key: &str, value: &mut Vec<String>) -> Result<()> {
    if io.has(key, !value.is_empty()) {
        io.texts(key, value)?;
    }
    Ok(())
}

/// A number that may be missing.
pub fn maybe_number(io: &mut dyn Fields, key: &str, value: &mut Option<u64>) -> Result<()> {
    if io.has(key, value.is_some()) {
        io.number(key, value.get_or_insert_default())?;
    }
    Ok(())
}

/// One of a few words; required.
pub fn word<T: Copy>(
    io: &mut dyn Fields,
    key: &str,
    value: &mut T,
    all: &[T],
    word: fn(T) -> &'static str,
) -> Result<()> {
    let mut text = word(*value).to_owned();
    io.text(key, &mut text)?;
    match all.iter().find(|v| word(**v) == text) {
        Some(found) => *value = *found,
        None => return Err(io.wrong(key, format!("\"{text}\" is not known to this overlayd"))),
    }
    Ok(())
}

/// A table of texts; missing if empty.
pub fn map(io: &mut dyn Fields, key: &str, value: &mut BTreeMap<String, String>) -> Result<()> {
    let names = io.names(key, value.keys().cloned().collect())?;
    if names.is_empty() {
        return Ok(());
    }
    io.table(key, &mut |io| {
        names.iter().try_for_each(|name| io.text(name, value.entry(name.clone()).or_default()))
    })
}

/// A table that may be missing.
pub fn maybe_table<T: Record>(io: &mut dyn Fields, key: &str, value: &mut Option<T>) -> Result<()> {
    if io.has(key, value.is_some()) {
        let inner = value.get_or_insert_default();
        io.table(key, &mut |io| inner.fields(io))?;
    }
    Ok(())
}

/// A table of tables; missing if empty.
pub fn tables<T: Record>(io: &mut dyn Fields, key: &str, value: &mut BTreeMap<String, T>) -> Result<()> {
    let names = io.names(key, value.keys().cloned().collect())?;
    if names.is_empty() {
        return Ok(());
    }
    io.table(key, &mut |io| {
        names.iter().try_for_each(|name| {
            let inner = value.entry(name.clone()).or_default();
            io.table(name, &mut |io| inner.fields(io))
        })
    })
}

/// Reads a record; the error names file and line. What it has besides the fields is passed over.
pub fn parse<T: Record>(path: &Path, text: &str) -> Result<T> {
    let table = DeTable::parse(text)
        .map_err(|e| Error::damaged(path, e.span().map(|s| line_of(text, s.start)), e.message().trim()))?;
    let mut record = T::default();
    record.fields(&mut Reader { path, text, line: 1, table: table.get_ref() })?;
    Ok(record)
}

/// Writes a record, in the order of its fields.
pub fn render<T: Record>(record: &T) -> Result<String> {
    let mut writer = Writer::default();
    record.clone().fields(&mut writer)?;
    Ok(writer.text)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where the table begins.
    line: usize,
    table: &'a DeTable<'a>,
}

impl Reader<'_> {
    fn take<T>(&self, key: &str, wanted: &str, read: impl Fn(&DeValue<'_>) -> Option<T>) -> Result<T> {
        let Some(value) = self.table.get(key) else {
            return Err(Error::damaged(self.path, Some(self.line), format_args!("\"{key}\" is missing")));
        };
        let found = value.get_ref();
        read(found).ok_or_else(|| self.wrong(key, format!("expected {wanted}, found {}", found.type_str())))
    }

    fn line_of(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.line, |value| line_of(self.text, value.span().start))
    }
}

impl Fields for Reader<'_> {
    fn text(&mut self, key: &str, value: &mut String) -> Result<()> {
        *value = self.take(key, "a string", |v| v.as_str().map(str::to_owned))?;
        Ok(())
    }

    fn number(&mut self, key: &str, value: &mut u64) -> Result<()> {
        *value = self.take(key, "a number from 0 on", |v| {
            let number = v.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })?;
        Ok(())
    }

    fn flag(&mut self, key: &str, value: &mut bool) -> Result<()> {
        if self.has(key, false) {
            *value = self.take(key, "true or false", |v| v.as_bool())?;
        }
        Ok(())
    }

    fn texts(&mut self, key: &str, value: &mut Vec<String>) -> Result<()> {
        *value = self.take(key, "an array of strings", |v| {
            v.as_array()?.iter().map(|t| t.get_ref().as_str().map(str::to_owned)).collect()
        })?;
        Ok(())
    }

    fn has(&mut self, key: &str, _has: bool) -> bool {
        self.table.contains_key(key)
    }

    fn names(&mut self, key: &str, _names: Vec<String>) -> Result<Vec<String>> {
        if !self.has(key, false) {
            return Ok(Vec::new());
        }
        self.take(key, "a table", |v| Some(v.as_table()?.keys().map(|k| k.get_ref().to_string()).collect()))
    }

    fn table(&mut self, key: &str, inner: &mut dyn FnMut(&mut dyn Fields) -> Result<()>) -> Result<()> {
        let line = self.line_of(key);
        match self.table.get(key).and_then(|value| value.get_ref().as_table()) {
            Some(table) => inner(&mut Reader { table, line, ..*self }),
            None => Err(self.wrong(key, "expected a table".to_owned())),
        }
    }

    fn wrong(&self, key: &str, what: String) -> Error {
        Error::damaged(self.path, Some(self.line_of(key)), format_args!("{key}: {what}"))
    }
}

/// Tables come last, as TOML wants it: the list of fields has them so.
#[derive(Default)]
struct Writer {
    text: String,
    /// The table that is written, with its dots.
    table: String,
    /// Whether the table's own line is still to be written.
    announce: bool,
}

impl Writer {
    fn line(&mut self, key: &str, value: &str) {
        if std::mem::take(&mut self.announce) {
            // A String takes everything that is written to it.
            let _ = write!(self.text, "\n[{}]\n", self.table);
        }
        let _ = writeln!(self.text, "{} = {value}", quoted_key(key));
    }
}

impl Fields for Writer {
    fn text(&mut self, key: &str, value: &mut String) -> Result<()> {
        self.line(key, &quoted(value));
        Ok(())
    }

    fn number(&mut self, key: &str, value: &mut u64) -> Result<()> {
        self.line(key, &value.to_string());
        Ok(())
    }

    fn flag(&mut self, key: &str, value: &mut bool) -> Result<()> {
        if *value {
            self.line(key, "true");
        }
        Ok(())
    }

    fn texts(&mut self, key: &str, value: &mut Vec<String>) -> Result<()> {
        let texts: Vec<String> = value.iter().map(|text| quoted(text)).collect();
        self.line(key, &format!("[{}]", texts.join(", ")));
        Ok(())
    }

    fn has(&mut self, _key: &str, has: bool) -> bool {
        has
    }

    fn names(&mut self, _key: &str, names: Vec<String>) -> Result<Vec<String>> {
        Ok(names)
    }

    fn table(&mut self, key: &str, inner: &mut dyn FnMut(&mut dyn Fields) -> Result<()>) -> Result<()> {
        let above = self.table.clone();
        let dot = if above.is_empty() { "" } else { "." };
        self.table = format!("{above}{dot}{}", quoted_key(key));
        self.announce = true;
        inner(self)?;
        self.announce = false;
        self.table = above;
        Ok(())
    }

    fn wrong(&self, key: &str, what: String) -> Error {
        Error::new(crate::error::Kind::Failed, format!("failed to write {key}: {what}"))
    }
}

fn quoted_key(key: &str) -> String {
    let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare && !key.is_empty() { key.to_owned() } else { quoted(key) }
}

/// A basic string of TOML.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Inner(u64);

    impl Record for Inner {
        fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
            io.number("n", &mut self.0)
        }
    }

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Outer {
        text: String,
        yes: bool,
        list: Vec<String>,
        none: Option<u64>,
        words: BTreeMap<String, String>,
        inner: Option<Inner>,
        many: BTreeMap<String, Inner>,
    }

    impl Record for Outer {
        fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
            io.text("text", &mut self.text)?;
            io.flag("yes", &mut self.yes)?;
            maybe_texts(io, "list", &mut self.list)?;
            maybe_number(io, "none", &mut self.none)?;
            map(io, "words", &mut self.words)?;
            maybe_table(io, "inner", &mut self.inner)?;
            tables(io, "many", &mut self.many)
        }
    }

    fn outer() -> Outer {
        Outer {
            text: "a \"b\" \\ \n\t\u{7f}\u{85} ü 'x'".into(),
            yes: true,
            list: vec!["1".into(), "two\n".into()],
            none: None,
            words: [("a.b c".into(), "d".into()), ("".into(), "empty".into())].into(),
            inner: Some(Inner(u64::MAX >> 1)),
            many: [("one".into(), Inner(1)), ("t.wo".into(), Inner(2))].into(),
        }
    }

    #[test]
    fn everything_survives_the_round_trip() {
        let text = render(&outer()).unwrap();
        assert_eq!(parse::<Outer>(Path::new("f"), &text).unwrap(), outer(), "{text}");
        let empty = Outer::default();
        assert_eq!(parse::<Outer>(Path::new("f"), &render(&empty).unwrap()).unwrap(), empty);
    }

    /// toml's own reader is the judge of what is TOML.
    #[test]
    fn what_is_written_is_toml() {
        let value: toml::Table = toml::from_str(&render(&outer()).unwrap()).unwrap();
        assert_eq!(value["text"].as_str(), Some(outer().text.as_str()));
        assert_eq!(value["words"]["a.b c"].as_str(), Some("d"));
        assert_eq!(value["many"]["t.wo"]["n"].as_integer(), Some(2));
        assert_eq!(value["inner"]["n"].as_integer(), Some(i64::MAX));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text: &str| parse::<Outer>(Path::new("f"), text).unwrap_err().to_string();
        assert_eq!(wrong(""), "f:1: \"text\" is missing");
        assert_eq!(wrong("text = \"\"\nyes = 1\n"), "f:2: yes: expected true or false, found integer");
        assert_eq!(wrong("text = 5\n"), "f:1: text: expected a string, found integer");
        assert_eq!(wrong("text = \"\"\n\n[many.x]\nm = 1\n"), "f:3: \"n\" is missing");
        assert_eq!(
            wrong("text = \"\"\n[inner]\nn = -1\n"),
            "f:3: n: expected a number from 0 on, found integer"
        );
        assert_eq!(
            wrong("text = \"\"\nlist = [1]\n"),
            "f:2: list: expected an array of strings, found array"
        );
    }

    #[test]
    fn what_it_does_not_know_is_passed_over() {
        let read = parse::<Outer>(Path::new("f"), "text = \"\"\nnew = 1\n[other]\nx = 1\n").unwrap();
        assert_eq!(read, Outer::default());
    }
}
