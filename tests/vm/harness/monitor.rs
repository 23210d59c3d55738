//! QEMU's monitor: what a person does at the machine itself.

use super::agent::connect;
use super::machine::MONITOR;
use std::io::{Read, Result, Write};
use std::path::Path;
use std::time::Duration;

/// What the monitor says when it is ready for the next command.
const PROMPT: &str = "(qemu) ";

/// Gives one command, in the words of qemu's monitor, to the machine in `dir`.
pub(super) fn command(dir: &Path, words: &str) -> Result<()> {
    let mut stream = connect(dir, MONITOR)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(format!("{words}\n").as_bytes())?;
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while said.matches(PROMPT).count() < 2 {
        let length = stream.read(&mut buffer)?;
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if length == 0 {
            break;
        }
    }
    Ok(())
}
