//! Real boots of a real Debian in QEMU: `make tests-vm`. Root, and the packages of tests/packages, are needed.

mod asked;
mod bad_days;
mod bus;
mod chance;
mod checks;
#[cfg(feature = "test-full")]
mod cuts;
#[cfg(feature = "test-full")]
mod ends;
mod harness;
mod health;
#[cfg(feature = "test-full")]
mod key;
mod luks;
#[cfg(feature = "test-full")]
mod luks_crypttab;
mod modes;
mod other;
mod power;
mod secrets;
mod snapshots;
mod soft;
mod triggers;
mod watch;
mod wipe;
#[macro_use]
mod row;

mod matrix;
