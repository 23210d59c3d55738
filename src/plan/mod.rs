//! Decisions: configuration, facts and the store go in, steps or a refusal come out. Pure: no I/O here, ever.

pub mod boot;
#[cfg(feature = "host")]
pub mod check;
pub mod efi;
pub mod erasure;
pub mod execute;
pub mod health;
pub mod lost;
pub mod mount;
pub mod nextroot;
pub mod other_base;
mod persistent;
pub mod request;
pub mod retain;
pub mod state;
pub mod steps;
pub mod sweep;
pub mod trigger;
pub mod wipe;

use crate::error::Kind;

pub use steps::Step;

/// Why something is not done, and what the administrator can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the error's name on the bus.
    pub kind: Kind,
    /// A lower-case clause.
    pub reason: String,
    /// What helps; empty if nothing does.
    pub remedy: String,
}

impl Refusal {
    /// A refusal with a reason and a remedy.
    pub fn new(kind: Kind, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Refusal { kind, reason: reason.into(), remedy: remedy.into() }
    }
}
