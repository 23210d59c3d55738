//! What a reset keeps: patterns of the keep-list, what they choose of the layers above the base, and copying that.
//!
//! One walk ([`walk`]) says what is chosen: to a preview, to the plan, and to the boot that copies it.

pub mod copy;
pub mod pattern;
pub mod select;
mod walk;

pub use pattern::{Pattern, Patterns};
pub use select::{Selection, Source};
pub use walk::{Found, Visitor};
