//! `overlayd-early`: what runs without a bus, a daemon or udev. Each task is a short linear program.

pub mod args;
pub mod boot;
pub mod factory_reset;
pub mod mount;
pub mod nextroot;
mod other_base;
pub mod shutdown;
pub mod state;
pub mod triggers;
pub mod wipe;
