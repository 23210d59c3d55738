//! Steps become system calls, in order. It never reads configuration and decides nothing.

pub mod disk;
pub mod host;
pub mod luks;
pub mod mounts;
pub mod store;
pub mod wipe;
