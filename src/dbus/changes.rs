//! `ListChanges`: a pipe, and the thread that writes to it what differs, a JSON object a line. Nobody has to read: the
//! thread ends when the reader goes away, takes nothing for too long, or the daemon stops.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::authority::READ_CHANGES;
use super::core::Core;
use super::errors::{self, BusError, BusResult};
use super::request::Call;
use super::{arguments, flags};
use crate::error::{Error, Kind, Result};
use crate::operation::diff::{self, Diff, Point, Wanted};
use crate::status::change::{self, End, Entry, Line, Sink};
use crate::sys::pipe;

/// At one time.
const STREAMS: usize = 8;
/// A reader that takes nothing for so long gets no more.
const PATIENCE: Duration = Duration::from_secs(600);
/// So long a stop of the daemon may wait for a thread that waits for its reader.
const PACE: Duration = Duration::from_millis(200);
/// So much is written at a time, and what is found is not held back for longer.
const BUFFER: usize = 32 << 10;
const HELD: Duration = Duration::from_millis(500);

/// What is asked for, parsed; empty words stand for the base, and for what is live.
pub(super) fn wanted(from: &str, to: &str, paths: &[String], flags: u64) -> BusResult<Wanted> {
    flags::none(flags)?;
    let point = |word: &str, otherwise| if word.is_empty() { Ok(otherwise) } else { Point::parse(word) };
    let (from, to) = (point(from, Point::Base)?, point(to, Point::Live)?);
    Ok(Wanted { from, to, paths: arguments::paths(paths)?, base: None })
}

/// Authorises, opens what is compared, and returns the end of a pipe on which the rest comes.
pub(super) async fn list(call: Call<'_>, overlay: &str, wanted: Wanted) -> BusResult<zbus::OwnedFd> {
    let _call = call.core.enter();
    let [from, to] = [wanted.from, wanted.to].map(|point| point.to_string());
    let paths = wanted.paths.len().to_string();
    let about = [("overlay", overlay.to_owned()), ("from", from), ("to", to), ("paths", paths)];
    call.authorised(&[READ_CHANGES], &about).await?;
    call.core.status().await;
    let (site, overlay) = (call.core.site()?, overlay.to_owned());
    let running = Running::begin(call.core)?;
    let diff = zruntime::unblock(move || diff::prepare(&site, &overlay, &wanted)).await?;
    let (reader, writer) = pipe::new().map_err(|e| Error::io("make", "a pipe", e))?;
    let stream = Stream { running, to: writer.into(), pending: Vec::new(), flushed: Instant::now() };
    let work = move || stream.run(&diff);
    std::thread::Builder::new()
        .name("changes".to_owned())
        .spawn(work)
        .map_err(|e| Error::io("start", "a thread", e))?;
    Ok(OwnedFd::from(reader).into())
}

/// One of a few; the daemon does not exit for idleness before it is over.
struct Running(Arc<Core>);

impl Running {
    fn begin(core: &Arc<Core>) -> BusResult<Running> {
        match core.begin_stream(STREAMS) {
            true => Ok(Running(core.clone())),
            false => Err(BusError::new(
                errors::LIMITS,
                format!("{STREAMS} diffs are being read already (try again when one has ended)"),
            )),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end_stream();
    }
}

/// The end that is written to.
struct Stream {
    running: Running,
    to: File,
    pending: Vec<u8>,
    flushed: Instant,
}

impl Stream {
    fn run(mut self, diff: &Diff) {
        let end = change::tell(diff, &mut self).unwrap_or_else(|error| {
            let error = BusError::from(error);
            let (name, message) = (error.name().to_owned(), error.message().to_owned());
            End { result: "failed".to_owned(), error: name, message, ..End::default() }
        });
        // Whoever does not read the end knows that it is missing.
        let _ = self.line(&Line::End(end)).and_then(|()| self.flush());
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        serde_json::to_writer(&mut self.pending, line)
            .map_err(|e| Error::new(Kind::Failed, format!("failed to write JSON: {e}")))?;
        self.pending.push(b'\n');
        if self.pending.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let mut told = Instant::now();
        let mut at = 0;
        while at < self.pending.len() {
            match self.to.write(&self.pending[at..]) {
                Ok(count) => (at, told) = (at + count, Instant::now()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && told.elapsed() < PATIENCE => {
                    if !pipe::wait(&self.to, PACE) || self.running.0.is_closing() {
                        return Err(nobody());
                    }
                }
                Err(_) => return Err(nobody()),
            }
        }
        self.pending.clear();
        self.flushed = Instant::now();
        Ok(())
    }
}

impl Sink for Stream {
    fn entry(&mut self, entry: Entry) -> Result<()> {
        self.line(&Line::Entry(Box::new(entry)))
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        let waits = !self.pending.is_empty() && self.flushed.elapsed() >= HELD;
        let is_over = self.running.0.is_closing() || !pipe::wait(&self.to, Duration::ZERO);
        match is_over || (waits && self.flush().is_err()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn nobody() -> Error {
    Error::new(Kind::Canceled, "nobody reads any more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_words_and_empty_ones_stand_for_something() {
        let asked = wanted("", "", &["/etc//x".to_owned()], 0).unwrap();
        assert_eq!((asked.from, asked.to), (Point::Base, Point::Live));
        assert_eq!(asked.paths, [std::path::Path::new("/etc/x")]);
        assert_eq!(wanted("snapshot:3", "base", &[], 0).unwrap().from, Point::Snapshot(3));
        assert!(wanted("x", "", &[], 0).is_err() && wanted("", "", &[], 1).is_err());
        assert!(wanted("", "", &["etc".to_owned()], 0).is_err());
    }
}
