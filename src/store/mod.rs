//! The store, format 1: records, pointer, lock, requests, trash. Reads are tolerant, writes are atomic.
//!
//! ```text
//! <state filesystem>/overlayd/          0700
//!   store.toml            format = 1, uuid, created, features = []
//!   lock                  flock; opened with O_CREAT, never renamed
//!   job                   flock of long work; holds who is at what
//!   tokens                what on the kernel command line, or in EFI variables, asked for a reset already
//!   reserve/              ballast: a file of blocks and a number of inodes (invariant 10)
//!   overlays/<name>/
//!     current             number of the live generation; replaced by rename
//!     health.toml         boots that did not come up, what was good and bad; outside of every upper
//!     request.toml        at most one pending request; removed last
//!     outcome.toml        how the last request ended
//!     generations/<n>/    generation.toml, fs/ (upperdir), work/ (workdir)
//!     baseline            number of the snapshot that a reset goes back to; missing: the bare image
//!     last-snapshot       highest number that a snapshot ever had
//!     snapshots/<id>/     snapshot.toml, fs/ (upper format), index (what the files were when they were copied)
//!     snapshots/<id>.new/ one that is being made, or that was cut short
//!     trash/              trees on their way out
//! ```
//!
//! Invariant: a record that does not parse is reported with file and line, and never repaired by deletion.

pub mod codec;
pub mod health_record;
#[cfg(feature = "host")]
pub mod inspect;
#[cfg(feature = "host")]
pub mod job;
pub mod layout;
pub mod lock;
#[cfg(feature = "host")]
pub mod mend;
pub mod read;
pub mod records;
pub mod reserve;
pub mod trash;
pub mod wipe_record;
pub mod write;

pub use layout::Layout;
pub use read::{OverlayView, StoreView};
