//! Names of users, for records and messages.

use nix::unistd::{Uid, User};

/// The login name of `uid`, if it has one.
pub fn name_of(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|u| u.name)
}

/// `root (uid 0)`, or `uid 4711`.
pub fn describe(uid: u32) -> String {
    match name_of(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The real user of this process.
pub fn own_uid() -> u32 {
    nix::unistd::getuid().as_raw()
}
