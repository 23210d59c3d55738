//! System calls: the only home of `unsafe`, nix and rustix. No policy here.

pub mod atomic;
pub mod block;
pub mod btrfs;
pub mod content;
pub mod discard;
pub mod efi;
pub mod elsewhere;
pub mod gpt;
pub mod inroot;
pub mod lock;
pub mod mount;
pub mod mountinfo;
pub mod node;
pub mod order;
pub mod overlay;
#[cfg(feature = "host")]
pub mod pipe;
pub mod probe;
pub mod process;
pub mod rootdir;
pub mod signal;
pub mod space;
pub mod superblock;
pub mod tree;
#[cfg(feature = "host")]
pub mod trim;
pub mod user;
#[cfg(feature = "host")]
pub mod users;
pub mod view;
pub mod wipe_sector;
pub mod xattr;

pub use mount::make_store_writable as remount_store_writable;
