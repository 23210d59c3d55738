//! Writing to standard output and error: whole texts, colour only for people, a closed pipe is no error.

use std::cell::Cell;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// Where a command's words go.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
    broken: Cell<bool>,
}

/// How a word stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Not as configured.
    Bad,
    /// Something waits.
    Notice,
}

/// Puts colour on words, or does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// `text` in `tone`.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "0;1;32",
            Tone::Bad => "0;1;31",
            Tone::Notice => "0;1;33",
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Output {
    /// Colour on a terminal that is not a dumb one, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = wanted && !dumb && io::stdout().is_terminal();
        Output { json, colour, broken: Cell::new(false) }
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Colours, or not.
    pub(crate) fn paint(&self) -> Paint {
        Paint(self.colour)
    }

    /// Prints a text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
            self.broken.set(error.kind() == ErrorKind::BrokenPipe);
            Error::io("write to", "standard output", error)
        })
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(value)
            .map_err(|e| Error::new(Kind::Failed, format!("failed to write JSON: {e}")))?;
        self.text(&(json + "\n"))
    }

    /// Tells something on standard error, so that what is printed stays clean.
    pub(crate) fn note(&self, text: &str) {
        // Whoever closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Tells an error, and what helps.
    pub(crate) fn complain(&self, error: &Error) {
        self.note(&format!("overlayctl: {}", error.message()));
        if let Some(remedy) = error.remedy_text() {
            self.note(&format!("  what helps: {remedy}"));
        }
    }
}
