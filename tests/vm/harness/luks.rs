//! Encrypted state disks, made and judged from the host. That needs no device mapper: cryptsetup encrypts and decrypts an
//! image file in place.

use super::{Disk, host};
use std::process::Command;

/// Where the test images have the key file.
pub(crate) const KEY_FILE: &str = "/etc/overlayd/state.key";
/// Here.
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/guest/state.key");
/// A key that nobody guesses needs no stretching.
const CHEAP: &[&str] = &["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
/// Key slots and headers lie in front of the data.
const FRONT: u64 = 16 << 20;

impl Disk {
    /// Puts the filesystem that is there into a LUKS2 volume, and enlarges the disk by what that takes.
    pub(crate) fn encrypt(&self) {
        host("truncate", &["--size", &format!("+{}", 2 * FRONT), self.text()]);
        let reduce = format!("{}", 2 * FRONT);
        reencrypt(&["--encrypt", "--type", "luks2", "--reduce-device-size", &reduce, self.text()]);
    }

    /// What is in the volume, as a disk of its own beside it.
    pub(crate) fn decrypted(&self) -> Disk {
        let plain = self.copy(self.path().with_extension("plain"));
        let header = self.path().with_extension("header");
        let _ = std::fs::remove_file(&header);
        let header = header.to_str().expect("UTF-8");
        reencrypt(&["--decrypt", "--force-offline-reencrypt", "--header", header, plain.text()]);
        plain
    }

    /// Takes the key file's slot away from it, and gives it to another key.
    pub(crate) fn change_key(&self) {
        let other = concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE-MIT");
        let mut arguments = vec!["luksChangeKey", "--batch-mode", "--key-file", KEY];
        arguments.extend(CHEAP);
        arguments.extend([self.text(), other]);
        host("cryptsetup", &arguments);
    }

    /// Whether the key file opens it.
    pub(crate) fn opens(&self) -> bool {
        let arguments = ["open", "--test-passphrase", "--key-file", KEY, self.text()];
        let output = Command::new("cryptsetup").args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("failed to run cryptsetup: {error}"));
        // 1: there is no volume; 2: the key opens no slot.
        assert!(matches!(output.status.code(), Some(0..=2)), "{output:?}");
        output.status.success()
    }
}

fn reencrypt(arguments: &[&str]) {
    let cheap = if arguments.contains(&"--encrypt") { CHEAP } else { &[] };
    host("cryptsetup", &[&["reencrypt", "--batch-mode", "--key-file", KEY], cheap, arguments].concat());
}
