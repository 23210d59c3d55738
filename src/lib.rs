//! overlayd: a writable layer over a read-only root image, for its whole life.
//!
//! Data flows one way:
//!
//! ```text
//! config + cmdline ─┐
//! facts (observed) ─┼─► plan (pure) ─► steps ─► exec (syscalls) ─► store on disk ─► status ─► D-Bus / CLI
//! store (read)     ─┘
//! ```
//!
//! Which file to open:
//!
//! | to change | open |
//! | --- | --- |
//! | a configuration key | [`config::keys`] |
//! | a word of the kernel command line | [`cmdline`] |
//! | what happens at boot | [`plan::boot`] (what), [`exec`] (how), [`early`] (when) |
//! | what can be asked for at the next boot | [`plan::request`], and how it is done [`plan::execute`] |
//! | what is kept, and what is garbage | [`plan::retain`] |
//! | a file of the store | [`store::records`], [`store::layout`] |
//! | how layers are copied and merged | [`layer`] |
//! | how an overlay is mounted | [`sys::overlay`] |
//! | what `status` says | [`status`] |
//! | what is noticed while the system runs | `watch` |
//! | what is told at login | [`motd`] |
//! | a D-Bus method | `dbus` |
//! | a command | `cli` |

#[cfg(feature = "host")]
pub mod cli;
pub mod cmdline;
pub mod config;
#[cfg(feature = "host")]
pub mod dbus;
pub mod early;
pub mod error;
pub mod exec;
pub mod handoff;
pub mod keep;
pub mod layer;
pub mod logging;
pub mod motd;
pub mod observe;
pub mod operation;
pub mod plan;
#[cfg(feature = "host")]
pub mod status;
pub mod store;
pub mod sys;
#[cfg(feature = "host")]
pub mod watch;

pub use error::{Error, Result};
