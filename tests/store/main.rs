//! Every record of the store in every state that it must not have: what the boot plans, what `store check` says, and
//! what a repair makes of it. Real files, the real readers; no root, no mounts.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can not go on fails, and the count is for people"
)]

mod damage;
mod documents;
mod matrix;
mod rig;
mod table;
