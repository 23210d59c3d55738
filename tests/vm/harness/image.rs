//! Which Debian, which initramfs, which root: names, and the images that tests/vm/image builds of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// A Debian suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Suite {
    /// Debian 12: systemd 252, kernel 6.1.
    Bookworm,
    /// Debian 13: systemd 257, kernel 6.12.
    Trixie,
    /// Debian testing: systemd 262, kernel 7.2.
    Forky,
}

/// Who makes the initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initramfs {
    /// A script in init-bottom; no systemd.
    InitramfsTools,
    /// systemd in the initrd.
    Dracut,
}

/// What an image has for an encrypted state device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encryption {
    /// Nothing.
    None,
    /// cryptsetup and a key file in the initramfs: overlayd opens it.
    Key,
    /// A line in crypttab: it is open before overlayd looks for it.
    #[cfg_attr(not(feature = "test-full"), expect(dead_code, reason = "the long run alone boots it"))]
    Crypttab,
}

/// The filesystem of the read-only root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootFs {
    /// Without a line for `/` in its fstab.
    Squashfs,
    /// With one.
    Erofs,
}

impl Suite {
    /// As in sources.list.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
            Suite::Forky => "forky",
        }
    }

    /// The directory of the suite's images, built if need be, while machines with other images run.
    pub(crate) fn images(self, encryption: Encryption, initramfs: Initramfs) -> PathBuf {
        static BUILT: LazyLock<Mutex<HashMap<String, Arc<OnceLock<PathBuf>>>>> =
            LazyLock::new(Mutex::default);
        let variant = match encryption {
            Encryption::None => "",
            Encryption::Key => initramfs.key_variant(),
            Encryption::Crypttab => "crypttab",
        };
        let name = format!("{} {variant}", self.word());
        let mut all = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let built = Arc::clone(all.entry(name).or_default());
        drop(all);
        built.get_or_init(|| build(self, variant)).clone()
    }
}

impl Initramfs {
    /// The file, without its directory.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Initramfs::InitramfsTools => "initramfs-tools.img",
            Initramfs::Dracut => "dracut.img",
        }
    }

    /// As tests/vm/image calls the image that has it with a key file.
    fn key_variant(self) -> &'static str {
        match self {
            Initramfs::InitramfsTools => "key-initramfs-tools",
            Initramfs::Dracut => "key-dracut",
        }
    }
}

impl RootFs {
    /// As mount(8) calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            RootFs::Squashfs => "squashfs",
            RootFs::Erofs => "erofs",
        }
    }
}

/// Where everything of the virtual machines lies.
pub(crate) fn vm_dir() -> PathBuf {
    match std::env::var_os("OVERLAYD_VM_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm"),
    }
}

fn build(suite: Suite, variant: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/image");
    let output = Command::new(&script)
        .args([suite.word(), variant])
        .env("OVERLAYD_VM_DIR", vm_dir())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("failed to run {}: {error}", script.display()));
    assert!(output.status.success(), "{} {} {variant}: {}", script.display(), suite.word(), output.status);
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
