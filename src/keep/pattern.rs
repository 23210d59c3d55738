//! Patterns of the keep-list. Pure. Names are bytes: nothing here asks for UTF-8 in them.
//!
//! | in a pattern | matches |
//! | --- | --- |
//! | `*` | any characters within a name, also none |
//! | `?` | one character of a name |
//! | `[a-z]`, `[!a-z]` | one character of a set, or out of it |
//! | `**` as a whole name | directories of any depth, also none; at the end: everything below |
//! | `\` | the next character as it is |
//! | `!` in front | what matches is not kept after all |
//!
//! The last pattern that matches a path, or a directory above it, decides.

use std::fmt;

/// One pattern, as it was written and as it is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    except: bool,
    parts: Vec<Part>,
}

/// What a pattern says of one component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// This name.
    Name(Vec<u8>),
    /// Names like this.
    Glob(Vec<u8>),
    /// Any number of components.
    Deep,
}

/// More components than this need no pattern: each is a bit.
const PARTS_MAX: usize = 62;

impl Pattern {
    /// Parses a pattern; the error is a clause for people.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let wrong = |what: &str| Err(format!("\"{}\" {what}", text.escape_debug()));
        if text.bytes().any(|b| b == 0 || b == b'\n') {
            return wrong("contains a line break or a zero byte");
        }
        let (except, path) = text.strip_prefix('!').map_or((false, text), |path| (true, path));
        let Some(below) = path.strip_prefix('/') else {
            return wrong("is not absolute; write for example \"/etc/ssh/ssh_host_*\"");
        };
        let below = below.strip_suffix('/').unwrap_or(below);
        let mut parts = Vec::new();
        for name in below.split('/') {
            match name {
                "" | "." | ".." => return wrong("is not a path of plain names"),
                "**" if parts.last() == Some(&Part::Deep) => {}
                "**" => parts.push(Part::Deep),
                name => match part(name.as_bytes()) {
                    Some(part) => parts.push(part),
                    None => return wrong("has a \"[\" without its \"]\", or ends with a backslash"),
                },
            }
        }
        if parts.len() > PARTS_MAX {
            return wrong("has too many components");
        }
        Ok(Pattern { text: text.to_owned(), except, parts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it excepts what it matches.
    pub fn is_exception(&self) -> bool {
        self.except
    }

    /// Whether everything that it can match lies at or below this path, given as names.
    pub fn is_below<'n>(&self, mut names: impl Iterator<Item = &'n [u8]>) -> bool {
        let mut parts = self.parts.iter();
        names.all(|name| matches!(parts.next(), Some(Part::Name(own)) if own == name))
    }

    fn done(&self) -> u64 {
        1 << self.parts.len()
    }

    /// Adds the places that are reached without a further name: `**` may stand for none, except at the end.
    fn settle(&self, mut places: u64) -> u64 {
        for (i, part) in self.parts.iter().enumerate() {
            if places & 1 << i != 0 && *part == Part::Deep && i + 1 < self.parts.len() {
                places |= 1 << (i + 1);
            }
        }
        places
    }

    fn step(&self, places: u64, name: &[u8]) -> u64 {
        // What is below a match is matched.
        let mut next = places & self.done();
        for (i, part) in self.parts.iter().enumerate().filter(|(i, _)| places & 1 << i != 0) {
            next |= match part {
                Part::Name(own) if own == name => 1 << (i + 1),
                Part::Glob(glob) if like(glob, name) => 1 << (i + 1),
                Part::Deep if i + 1 == self.parts.len() => self.done(),
                Part::Deep => 1 << i,
                _ => 0,
            };
        }
        self.settle(next)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A keep-list.
#[derive(Clone, Copy, Debug)]
pub struct Patterns<'p>(pub &'p [Pattern]);

/// How far each pattern of a list has matched on the way to a path.
#[derive(Clone, Debug)]
pub struct Reached(Vec<u64>);

impl<'p> Patterns<'p> {
    /// At the root of the tree.
    pub fn top(self) -> Reached {
        Reached(self.0.iter().map(|pattern| pattern.settle(1)).collect())
    }

    /// At an entry of the directory that `above` is.
    pub fn enter(self, above: &Reached, name: &[u8]) -> Reached {
        Reached(self.0.iter().zip(&above.0).map(|(pattern, places)| pattern.step(*places, name)).collect())
    }

    /// Whether what is here is kept.
    pub fn keeps(self, here: &Reached) -> bool {
        self.matching(here).last().is_some_and(|(_, pattern)| !pattern.except)
    }

    /// The patterns that match what is here, or a directory above it, with their numbers.
    pub fn matching<'r>(self, here: &'r Reached) -> impl Iterator<Item = (usize, &'p Pattern)> + 'r
    where
        'p: 'r,
    {
        let all = self.0.iter().zip(&here.0).enumerate();
        all.filter(|(_, (pattern, places))| **places & pattern.done() != 0)
            .map(|(number, (pattern, _))| (number, pattern))
    }

    /// What has to be looked at in the directory that is here.
    pub fn below(self, here: &Reached) -> Below<'p> {
        if self.keeps(here) {
            return Below::Everything;
        }
        let mut names = Vec::new();
        for (pattern, places) in self.0.iter().zip(&here.0).filter(|(pattern, _)| !pattern.except) {
            for (_, part) in pattern.parts.iter().enumerate().filter(|(i, _)| places & 1 << i != 0) {
                match part {
                    Part::Name(name) => names.push(name.as_slice()),
                    Part::Glob(_) | Part::Deep => return Below::Everything,
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Below::Names(names)
    }
}

/// What has to be looked at in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below<'p> {
    /// Each entry.
    Everything,
    /// Only what has one of these names.
    Names(Vec<&'p [u8]>),
}

/// A component that is a name, or like which names are; none if it is broken.
fn part(text: &[u8]) -> Option<Part> {
    let (mut name, mut rest, mut is_name) = (Vec::new(), text, true);
    while let Some((token, after)) = token(rest)? {
        match token {
            Token::One(_) => name.extend_from_slice(literal(&rest[..rest.len() - after.len()])),
            _ => is_name = false,
        }
        rest = after;
    }
    Some(if is_name { Part::Name(name) } else { Part::Glob(text.to_owned()) })
}

/// The bytes of one character as it is written, without the backslash.
fn literal(written: &[u8]) -> &[u8] {
    match written {
        [b'\\', rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}

/// One thing that a component is made of.
enum Token<'t> {
    /// `*`
    Any,
    /// `?`
    Each,
    /// This character.
    One(u32),
    /// A set: what is between the brackets, and whether it is what must not be.
    Set(&'t [u8], bool),
}

/// The first thing in `text`, and what follows; none at the end. The outer none: it is broken.
#[expect(clippy::option_option, reason = "the end, or a mistake")]
fn token(text: &[u8]) -> Option<Option<(Token<'_>, &[u8])>> {
    Some(Some(match text {
        [] => return Some(None),
        [b'*', rest @ ..] => (Token::Any, rest),
        [b'?', rest @ ..] => (Token::Each, rest),
        [b'\\'] => return None,
        [b'\\', rest @ ..] => {
            let (c, after) = character(rest);
            (Token::One(c), after)
        }
        [b'[', rest @ ..] => {
            let (not, set) = match rest {
                [b'!' | b'^', set @ ..] => (true, set),
                set => (false, set),
            };
            // A bracket that comes first stands for itself.
            let end = set.iter().skip(1).position(|&b| b == b']')? + 1;
            (Token::Set(&set[..end], not), &set[end + 1..])
        }
        _ => {
            let (c, after) = character(text);
            (Token::One(c), after)
        }
    }))
}

/// The first character: of UTF-8, or, where there is none, a byte, told apart from every character.
fn character(text: &[u8]) -> (u32, &[u8]) {
    const BYTES: u32 = 0x11_0000;
    for length in 1..=text.len().min(4) {
        if let Ok(c) = std::str::from_utf8(&text[..length]) {
            return (c.chars().next().map_or(0, u32::from), &text[length..]);
        }
    }
    (text.first().map_or(0, |b| BYTES + u32::from(*b)), text.get(1..).unwrap_or_default())
}

fn is_in(set: &[u8], c: u32) -> bool {
    let mut rest = set;
    while !rest.is_empty() {
        let (low, after) = character(rest);
        rest = after;
        let mut high = low;
        if let [b'-', end @ ..] = rest
            && !end.is_empty()
        {
            (high, rest) = character(end);
        }
        if (low..=high).contains(&c) {
            return true;
        }
    }
    false
}

/// Whether a name is like a component: with one place to go back to, that of the last `*`.
fn like(mut glob: &[u8], mut name: &[u8]) -> bool {
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        let next = token(glob).flatten();
        if let Some((Token::Any, rest)) = next {
            (glob, again) = (rest, Some((rest, name)));
            continue;
        }
        let (c, after) = character(name);
        let fits = match &next {
            None if name.is_empty() => return true,
            None => false,
            Some(_) if name.is_empty() => return false,
            Some((Token::One(own), _)) => *own == c,
            Some((Token::Set(set, not), _)) => is_in(set, c) != *not,
            Some((Token::Each | Token::Any, _)) => true,
        };
        match (next, again) {
            (Some((_, rest)), _) if fits => (glob, name) = (rest, after),
            (_, Some((star, at))) if !at.is_empty() => {
                let at = character(at).1;
                (glob, name, again) = (star, at, Some((star, at)));
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
