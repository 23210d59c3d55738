//! The one error type: what failed, on which path, why, and what the administrator can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is; the D-Bus error names follow from it (`dbus::errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A system call or a program failed.
    Failed,
    /// A configuration that cannot be used.
    BadConfig,
    /// No overlay of that name.
    NoSuchOverlay,
    /// No snapshot of that number.
    NoSuchSnapshot,
    /// No job of that number.
    NoSuchJob,
    /// Another operation works on the store.
    JobInProgress,
    /// A request waits for the next boot already, and it is a different one.
    RebootPending,
    /// There is nothing to cancel.
    NoPendingAction,
    /// What was asked for is so already.
    NothingToDo,
    /// Somebody stopped it.
    Canceled,
    /// Processes use the overlay; the message names them.
    OverlayBusy,
    /// The snapshot was made on another base.
    BaseMismatch,
    /// The snapshot is protected, the baseline, or in use.
    SnapshotProtected,
    /// The snapshot's record or its files are damaged.
    SnapshotIncomplete,
    /// The store is not there: no state device, or another overlay mode.
    StoreUnavailable,
    /// A record of the store does not parse, or does not fit the rest.
    StoreDamaged,
    /// Blocks or inodes do not suffice.
    InsufficientSpace,
    /// An argument that can never be right.
    InvalidArgs,
    /// This kernel, system or version cannot do it.
    NotSupported,
    /// The caller may not.
    AccessDenied,
    /// Possible, but against a rule: the message says which.
    Refused,
}

impl Kind {
    /// Whether what was asked for was declined, and nothing is broken or short.
    pub fn is_refusal(self) -> bool {
        !matches!(
            self,
            Kind::Failed
                | Kind::BadConfig
                | Kind::StoreUnavailable
                | Kind::StoreDamaged
                | Kind::SnapshotIncomplete
                | Kind::InsufficientSpace
        )
    }
}

/// An error with its whole story in `Display`; `source()` is always empty.
#[derive(Clone)]
pub struct Error(Box<Story>);

/// Boxed: an error is rare, and a small one keeps every function that may fail small.
#[derive(Clone, Debug)]
struct Story {
    kind: Kind,
    message: String,
    remedy: Option<String>,
    errno: Option<i32>,
}

impl Error {
    /// An error of `kind`. `message` is a lower-case clause that names the object.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Story { kind, message: message.into(), remedy: None, errno: None }))
    }

    /// A failed system call: `failed to {verb} {path}: {cause}`.
    pub fn io(verb: &str, path: impl AsRef<Path>, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let mut error = Error::new(
            kind_of_errno(cause.raw_os_error()),
            format!("failed to {verb} {}: {}", path.as_ref().display(), describe(&cause)),
        );
        error.0.errno = cause.raw_os_error();
        error
    }

    /// A record or a configuration file that does not parse, with its line (1-based) where it is known.
    pub fn damaged(path: impl AsRef<Path>, line: Option<usize>, what: impl fmt::Display) -> Self {
        let place = Place { path: path.as_ref().to_owned(), line };
        Error::new(Kind::StoreDamaged, format!("{place}: {what}"))
    }

    /// Adds what the administrator can do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Puts what was being done in front of the message: `{doing}: {message}`.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// Puts `more` behind the message as it is.
    pub fn append(mut self, more: &str) -> Self {
        self.0.message.push_str(more);
        self
    }

    /// Puts what else is known in brackets behind the message.
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.0.message = format!("{} ({detail})", self.0.message);
        self
    }

    /// The same error under another kind.
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message without the remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the administrator can do, if anything is known.
    pub fn remedy_text(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// The system call's errno, if one is behind it.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<crate::plan::Refusal> for Error {
    fn from(refusal: crate::plan::Refusal) -> Self {
        let error = Error::new(refusal.kind, refusal.reason);
        if refusal.remedy.is_empty() { error } else { error.remedy(refusal.remedy) }
    }
}

/// A file, and the line in it where that is known: `path` or `path:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// The line (from 1) on which byte `offset` of `text` lies.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&b| b == b'\n').count() + 1
}

fn kind_of_errno(errno: Option<i32>) -> Kind {
    match errno {
        Some(e) if e == nix::Error::ENOSPC as i32 || e == nix::Error::EDQUOT as i32 => {
            Kind::InsufficientSpace
        }
        _ => Kind::Failed,
    }
}

/// The errno's text in lower case, without Rust's ` (os error N)`.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::Error::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_names_verb_path_and_cause() {
        let error = Error::io("open", "/x/y", io::Error::from_raw_os_error(nix::Error::ENOENT as i32));
        assert_eq!(error.to_string(), "failed to open /x/y: no such file or directory");
        assert_eq!(error.kind(), Kind::Failed);
    }

    #[test]
    fn no_space_is_its_own_kind() {
        let error = Error::io("write", "/x", nix::Error::ENOSPC);
        assert_eq!(error.kind(), Kind::InsufficientSpace);
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 2), 2);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
