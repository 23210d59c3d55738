//! What a reset keeps: patterns of the keep-list, and what they choose of the layers above the base.

pub mod pattern;

pub use pattern::{Pattern, Patterns};
