//! Questions before something is lost.

use std::io::{self, BufRead, IsTerminal};

use super::output::Output;
use crate::error::{Error, Kind, Result};
use crate::sys::signal;

/// Tells `about` and asks `question`; anything but yes is a refusal.
pub(crate) fn confirm(output: &Output, about: &str, question: &str) -> Result<()> {
    let answer = answer(output, about, &format!("{question} [y/N]"))?;
    agreed(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Tells `about` and asks for `word` to be typed, which no hasty hand does.
pub(crate) fn word(output: &Output, about: &str, word: &str) -> Result<()> {
    let answer = answer(output, about, &format!("If that is what you want, type the word \"{word}\":"))?;
    agreed(answer == word)
}

fn agreed(agreed: bool) -> Result<()> {
    match agreed {
        true => Ok(()),
        false => Err(Error::new(Kind::Refused, "not confirmed, nothing was changed")),
    }
}

/// What is typed.
fn answer(output: &Output, about: &str, question: &str) -> Result<String> {
    if signal::caught().is_some() {
        return Err(Error::new(Kind::Canceled, "stopped, nothing was changed"));
    }
    output.note(about);
    if !io::stdin().is_terminal() {
        return Err(Error::new(Kind::Refused, "nobody can be asked: standard input is no terminal")
            .remedy("add --yes if that is what you want"));
    }
    output.note(question);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|e| Error::io("read", "standard input", e))?;
    Ok(answer.trim().to_owned())
}
