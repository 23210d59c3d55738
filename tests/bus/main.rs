//! The real daemon on a private bus with the shipped policy. Needs root, dbus-daemon, polkitd and setpriv: a test
//! that misses one of them fails.

mod authority;
mod errors;
mod interface;
mod jobs;
mod life;
mod lost;
mod tool;
mod world;
