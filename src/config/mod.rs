//! Configuration: files → entries with their place → one merged list → checked [`Config`].
//!
//! A fragment is a flat list of `(key, value, place)`, checked against one table of keys ([`keys`]); that one
//! table drives parsing, the nearest-key hint, merging and `overlayctl config show`.

pub mod files;
pub mod fragment;
mod kept;
pub mod keys;
pub mod load;
mod others;
pub mod settings;
pub mod values;

pub use load::{Loaded, Problem, Shown, load};
pub use others::names as names_of;
pub use settings::{BaseChanged, Config, Fallback, Format, Fsck, Mode, Overlay, Retention, State, Undo};
pub use values::Size;
