//! How far a long piece of work is, on standard error: a bar on a terminal, now and then a line elsewhere, nothing with
//! `--json`. It also notices Ctrl-C, which stops the work.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::format::bytes;
use super::output::Output;
use crate::dbus::client::JobProgress;
use crate::layer::Progress;
use crate::operation::erase::Stage;
use crate::sys::signal::{self, Caught};

/// What is over before this is not worth a bar.
const QUIET: Duration = Duration::from_secs(1);
/// A bar is not drawn more often.
const FRAME: Duration = Duration::from_millis(200);
/// Where nobody looks at a bar, a line is not written more often.
const LINE: Duration = Duration::from_secs(10);
/// Width if the terminal does not tell its own.
const WIDTH: usize = 80;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bar,
    Lines,
    Nothing,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Point {
    stage: String,
    entries: u64,
    total_entries: u64,
    bytes: u64,
    total_bytes: u64,
    percent: Option<u64>,
}

/// Draws; made when the work begins, done when it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    style: Style,
    started: Instant,
    told: Option<Instant>,
    stopping: bool,
    _caught: Caught,
}

impl Meter {
    /// From here on Ctrl-C stops the work, not the process.
    pub(crate) fn start(output: &Output) -> crate::Result<Meter> {
        let caught = Caught::start()?;
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let style = match (output.is_json(), io::stderr().is_terminal() && !dumb) {
            (true, _) => Style::Nothing,
            (false, true) => Style::Bar,
            (false, false) => Style::Lines,
        };
        Ok(Meter { style, started: Instant::now(), told: None, stopping: false, _caught: caught })
    }

    /// A copy of layers is this far.
    pub(crate) fn layer(&mut self, stage: &str, at: Progress) -> ControlFlow<()> {
        let Progress { entries, bytes, total_entries, total_bytes } = at;
        let stage = stage.to_owned();
        self.show(&Point { stage, entries, total_entries, bytes, total_bytes, percent: None })
    }

    /// A job of the daemon is this far.
    pub(crate) fn job(&mut self, at: &JobProgress) -> ControlFlow<()> {
        self.show(&Point {
            stage: at.stage.clone(),
            entries: at.entries,
            total_entries: at.total_entries,
            bytes: at.bytes,
            total_bytes: at.total_bytes,
            percent: Some(at.percent.into()),
        })
    }

    /// What was given up is deleted this far.
    pub(crate) fn cleanup(&mut self, at: Stage) -> ControlFlow<()> {
        let (stage, entries) = match at {
            Stage::Deleting(at) => ("deleting", at.entries),
            Stage::Trimming => ("trimming", 0),
        };
        self.show(&Point { stage: stage.to_owned(), entries, ..Point::default() })
    }

    fn show(&mut self, point: &Point) -> ControlFlow<()> {
        if signal::caught().is_some() {
            self.stop();
            return ControlFlow::Break(());
        }
        let (elapsed, now) = (self.started.elapsed(), Instant::now());
        let pace = if self.style == Style::Bar { FRAME } else { LINE };
        let first = if self.style == Style::Bar { QUIET } else { LINE };
        if elapsed < first || self.told.is_some_and(|told| now - told < pace) {
            return ControlFlow::Continue(());
        }
        self.told = Some(now);
        match self.style {
            Style::Bar => self.write(&format!("\r{}\x1b[K", bar(point, elapsed, width()))),
            Style::Lines => self.write(&format!("{}\n", words(point, elapsed))),
            Style::Nothing => {}
        }
        ControlFlow::Continue(())
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) || self.style == Style::Nothing {
            return;
        }
        self.clear();
        self.write("Stopping; a second Ctrl-C does not wait for it.\n");
    }

    fn clear(&mut self) {
        if self.style == Style::Bar && self.told.take().is_some() {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Whoever closed standard error does not want to know.
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.clear();
    }
}

fn width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH, |(width, _)| width.0.into())
}

/// The share that is done, in per cent; none as long as nobody knows of what.
fn share(point: &Point) -> Option<u64> {
    let of = |part: u64, whole: u64| (whole > 0).then(|| super::format::percent(part, whole).min(100));
    // Small files take their time, too: what is further behind counts.
    let parts = [of(point.entries, point.total_entries), of(point.bytes, point.total_bytes)];
    parts.into_iter().flatten().min().or(point.percent)
}

/// `copying  45%  [=========>          ]  12034 of 26740 entries, 120M of 300M, 45M/s, 4s left`, at most `width` wide.
fn bar(point: &Point, elapsed: Duration, width: usize) -> String {
    let text = words(point, elapsed);
    let Some(percent) = share(point) else { return cut(&text, width) };
    // The cursor stays on the line.
    let room = width.saturating_sub(text.chars().count() + 5).min(32);
    if room < 8 {
        return cut(&text, width);
    }
    let done = room * usize::try_from(percent).unwrap_or(100) / 100;
    let arrow = if done == room { "" } else { ">" };
    let bar = format!("{}{arrow}{}", "=".repeat(done), " ".repeat(room - done - arrow.len()));
    format!("[{bar}] {text}")
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.saturating_sub(1)).collect()
}

/// The same without a bar.
fn words(point: &Point, elapsed: Duration) -> String {
    let of = |total: String, known: bool| if known { format!(" of {total}") } else { String::new() };
    let stage = if point.stage.is_empty() { "working" } else { &point.stage };
    let percent = share(point);
    let mut text = percent.map_or_else(|| stage.to_owned(), |percent| format!("{percent:3}% {stage}"));
    if point.entries > 0 || point.total_entries > 0 {
        let total = of(point.total_entries.to_string(), point.total_entries > 0);
        text += &format!(", {}{total} entries", point.entries);
    }
    if point.bytes > 0 || point.total_bytes > 0 {
        let total = of(bytes(point.total_bytes), point.total_bytes > 0);
        text += &format!(", {}{total}", bytes(point.bytes));
    }
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    if point.bytes > 0 {
        text += &format!(", {}/s", bytes(point.bytes.saturating_mul(1000) / millis));
    }
    match percent {
        // What is left takes as long a part as what is done; too early to tell is not told.
        Some(percent @ 1..100) => text + &format!(", {} left", left(millis, percent)),
        _ => text,
    }
}

fn left(millis: u64, percent: u64) -> String {
    let seconds = (millis * (100 - percent) / percent).div_ceil(1000);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}min {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half() -> Point {
        Point {
            stage: "copying".into(),
            entries: 12_034,
            total_entries: 24_068,
            bytes: 160 << 20,
            total_bytes: 300 << 20,
            percent: None,
        }
    }

    #[test]
    fn a_bar_tells_entries_bytes_rate_and_what_is_left() {
        let line = bar(&half(), Duration::from_secs(4), 120);
        let expected = "[================>               ]  50% copying, 12034 of 24068 entries, 160M of 300M, 40M/s, 4s left";
        assert_eq!(line, expected);
    }

    #[test]
    fn it_never_wraps() {
        for width in [0, 1, 20, 60, 79, 80, 81, 200] {
            let line = bar(&half(), Duration::from_secs(4), width);
            assert!(line.chars().count() < width.max(1), "{width}: {line}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let deleting = Point { stage: "deleting".into(), entries: 7, ..Point::default() };
        assert_eq!(bar(&deleting, Duration::from_secs(2), 80), "deleting, 7 entries");
        let waiting = Point { stage: String::new(), percent: Some(0), ..Point::default() };
        assert_eq!(words(&waiting, Duration::from_secs(2)), "  0% working");
        let empty_files = Point { total_bytes: 0, bytes: 0, ..half() };
        assert_eq!(
            words(&empty_files, Duration::from_secs(2)),
            " 50% copying, 12034 of 24068 entries, 2s left"
        );
    }

    #[test]
    fn what_is_left_is_told_in_words() {
        assert_eq!(left(1000, 50), "1s");
        assert_eq!(left(100_000, 50), "1min 40s");
        assert_eq!(left(7_500_000, 50), "2h 5min");
    }
}
