//! The host's end of the guest agent (tests/vm/guest/agent): one line a request, one line an answer.

use super::base64;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Name of the socket in the machine's directory.
pub(crate) const SOCKET: &str = "agent";

/// How a script in the guest ended.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The open port.
pub(crate) struct Agent {
    stream: BufReader<UnixStream>,
}

impl Agent {
    /// Connects to the socket that QEMU made in `dir`.
    pub(crate) fn connect(dir: &Path) -> Result<Agent> {
        Ok(Agent { stream: BufReader::new(connect(dir, SOCKET)?) })
    }

    /// Waits until the guest says hello.
    pub(crate) fn hello(&mut self, limit: Duration) -> Result<()> {
        while !self.line(limit)?.starts_with("hello ") {}
        Ok(())
    }

    /// Hands a script to the guest's bash.
    pub(crate) fn send(&mut self, script: &str) -> Result<()> {
        let line = format!("{}\n", base64::encode(script.as_bytes()));
        self.stream.get_mut().write_all(line.as_bytes())
    }

    /// Waits for the end of the script that was sent.
    pub(crate) fn receive(&mut self, limit: Duration) -> Result<Output> {
        let line = self.line(limit)?;
        parse(&line).ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("no answer: {line:?}")))
    }

    fn line(&mut self, limit: Duration) -> Result<String> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "the machine is gone")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Connects to a socket in `dir`; through a descriptor, since the path of a socket is limited to 107 bytes.
pub(super) fn connect(dir: &Path, name: &str) -> Result<UnixStream> {
    let dir = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn parse(line: &str) -> Option<Output> {
    let mut words = line.strip_prefix("done ")?.split(' ');
    let status = words.next()?.parse().ok()?;
    let mut stream = || match words.next()? {
        "-" => Some(String::new()),
        text => Some(String::from_utf8_lossy(&base64::decode(text)?).into_owned()),
    };
    Some(Output { status, out: stream()?, err: stream()? })
}
