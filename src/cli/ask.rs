//! Questions before something is lost.

use std::io::{self, BufRead, IsTerminal};

use super::output::Output;
use crate::error::{Error, Kind, Result};
use crate::sys::signal;

/// Tells `about` and asks `question`; anything but yes is a refusal.
pub(crate) fn confirm(output: &Output, about: &str, question: &str) -> Result<()> {
    if signal::caught().is_some() {
        return Err(Error::new(Kind::Canceled, "stopped, nothing was changed"));
    }
    output.note(about);
    if !io::stdin().is_terminal() {
        return Err(Error::new(Kind::Refused, "nobody can be asked: standard input is no terminal")
            .remedy("add --yes if that is what you want"));
    }
    output.note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|e| Error::io("read", "standard input", e))?;
    match matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        true => Ok(()),
        false => Err(Error::new(Kind::Refused, "not confirmed, nothing was changed")),
    }
}
