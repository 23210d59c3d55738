//! The bus: `org.overlayd1`. Interfaces, authority, error names, and the client that `overlayctl` uses.
//!
//! Every method is: parse → authorise → one operation → map the error. Nothing here mounts or deletes. All of the
//! crate's async code is in this directory; it runs on one thread ([`zbus::block_on`]), and whatever may block
//! ([`work`]) runs on a thread of its own and reports to the [main loop](daemon).

mod announce;
mod arguments;
mod authority;
mod boot_report;
mod caller;
mod changes;
pub mod client;
mod core;
pub mod daemon;
pub mod errors;
pub mod event;
mod flags;
mod job;
mod jobs;
mod known;
mod log_control;
mod manager;
mod mount_unit;
mod notify;
mod overlay;
mod paths;
mod reboot;
mod request;
mod snapshot;
mod task;
mod wait;
mod work;

/// The name on the system bus.
pub const NAME: &str = "org.overlayd1";
/// The root object, with the Manager and the ObjectManager.
pub const ROOT: &str = "/org/overlayd1";
/// Interface of the root object.
pub const MANAGER: &str = "org.overlayd1.Manager";
/// Interface of an overlay.
pub const OVERLAY: &str = "org.overlayd1.Overlay";
/// Interface of a snapshot.
pub const SNAPSHOT: &str = "org.overlayd1.Snapshot";
/// Interface of a job.
pub const JOB: &str = "org.overlayd1.Job";

pub use core::Places;
