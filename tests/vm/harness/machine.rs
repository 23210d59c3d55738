//! A machine that is off: its image, its disk, its directory. Booting it gives a [`Guest`].

use super::clock::Clock;
use super::firmware::{Esp, Firmware};
use super::guest::Guest;
use super::image::vm_dir;
use super::{Disk, Encryption, Initramfs, RootFs, StateFs, Suite, agent};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the socket of QEMU's monitor in the machine's directory.
pub(super) const MONITOR: &str = "monitor";

/// How the state disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateDrive {
    Writable,
    ReadOnly,
    Missing,
}

/// One appliance.
pub(crate) struct Machine {
    images: PathBuf,
    dir: PathBuf,
    initramfs: Initramfs,
    root: RootFs,
    pub(crate) disk: Disk,
    pub(crate) drive: StateDrive,
    /// Words of every boot's kernel command line.
    pub(crate) words: Vec<String>,
    firmware: Option<Firmware>,
    boots: u32,
    clock: Clock,
}

impl Machine {
    /// A new appliance with an empty, formatted state disk. The name becomes its directory below
    /// target/vm/run, which holds the serial console of every boot; tests that pass leave none behind.
    pub(crate) fn new(
        name: &str,
        suite: Suite,
        initramfs: Initramfs,
        root: RootFs,
        state: StateFs,
    ) -> Machine {
        let dir = vm_dir().join("run").join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)
                .unwrap_or_else(|error| panic!("failed to empty {}: {error}", dir.display()));
        }
        std::fs::create_dir_all(&dir)
            .unwrap_or_else(|error| panic!("failed to create {}: {error}", dir.display()));
        let disk = Disk::new(dir.join("state.img"), state);
        Machine {
            images: suite.images(Encryption::None, initramfs),
            dir,
            initramfs,
            root,
            disk,
            drive: StateDrive::Writable,
            words: Vec::new(),
            firmware: None,
            boots: 0,
            clock: Clock::new(),
        }
    }

    /// The usual appliance of a test that is not about flavours: Debian 13, squashfs, ext4.
    pub(crate) fn usual(name: &str) -> Machine {
        Machine::new(name, Suite::Trixie, Initramfs::InitramfsTools, RootFs::Squashfs, StateFs::Ext4)
    }

    /// Gives it another image of Debian 13, for an encrypted state disk; the disk stays what it is.
    pub(crate) fn use_encryption(&mut self, encryption: Encryption) {
        self.images = Suite::Trixie.images(encryption, self.initramfs);
    }

    /// Gives it UEFI instead of a BIOS, and a disk with an EFI system partition.
    pub(crate) fn use_uefi(&mut self) {
        self.firmware = Some(Firmware::new(&self.dir));
    }

    /// Its EFI system partition.
    pub(crate) fn esp(&self) -> &Esp {
        &self.firmware.as_ref().expect("a machine with UEFI").esp
    }

    /// A file of its image.
    #[cfg(feature = "test-full")]
    #[allow(dead_code, reason = "the rows of full.rs need none")]
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.images.join(name)
    }

    /// Switches it on, with further words on the kernel command line.
    pub(crate) fn boot(&mut self, words: &[&str]) -> Guest {
        self.boots += 1;
        let serial = self.dir.join(format!("serial-{}.log", self.boots));
        for socket in [agent::SOCKET, MONITOR] {
            let _ = std::fs::remove_file(self.dir.join(socket));
        }
        let mut qemu = self.qemu(words, &serial);
        let child = qemu.spawn().unwrap_or_else(|error| panic!("failed to run qemu: {error}"));
        Guest::attach(child, &self.dir, serial, self.clock.boot())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// TCG with any other model panics the guest at random (QEMU 7.2). A reboot ends QEMU: so the disk can be
    /// judged from outside between two boots. setpriv: the machine dies with the test.
    fn qemu(&self, words: &[&str], serial: &Path) -> Command {
        let root = self.root.word();
        let words = [self.words.join(" "), words.join(" ")].join(" ");
        let mut qemu = Command::new("setpriv");
        qemu.current_dir(&self.dir)
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-no-user-config", "-nodefaults"])
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max,-cx16",
                "-smp",
                "1",
                "-m",
                "512",
                "-display",
                "none",
                "-no-reboot",
            ])
            .arg("-kernel")
            .arg(self.images.join("vmlinuz"))
            .arg("-initrd")
            .arg(self.images.join(self.initramfs.file()))
            .args(["-append", &format!("root=/dev/vda rootfstype={root} ro {CONSOLE} {LEAN} {words}")])
            .args(["-drive", &drive(&self.images.join(format!("root.{root}")), "readonly=on")])
            .args(["-chardev", &format!("socket,id=agent,path={},server=on,wait=off", agent::SOCKET)])
            .args(["-chardev", &format!("socket,id=monitor,path={MONITOR},server=on,wait=off")])
            .args(["-mon", "chardev=monitor"])
            .args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent"])
            .args(["-device", "virtio-rng-pci", "-serial", &format!("file:{}", serial.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        match self.drive {
            StateDrive::Writable => qemu.args(["-drive", &drive(self.disk.path(), "cache=writethrough")]),
            StateDrive::ReadOnly => qemu.args(["-drive", &drive(self.disk.path(), "readonly=on")]),
            StateDrive::Missing => &mut qemu,
        };
        if let Some(firmware) = &self.firmware {
            firmware.attach(&mut qemu);
        }
        qemu
    }
}

/// A panic ends the machine (with -no-reboot). No login on the console: nobody sits there.
const CONSOLE: &str = "console=ttyS0 audit=0 panic=-1 systemd.getty_auto=no";

/// What takes an emulated machine long, and is nothing that overlayd could notice: the kernel's tests of its ciphers,
/// detours around a processor's faults, more udev workers than processors, drivers of what is not used. And a test of the
/// timer, which panics where the host is busy.
const LEAN: &str = "no_timer_check cryptomgr.notests mitigations=off udev.children_max=2 \
    module_blacklist=kvm_amd,kvm,ata_piix,ata_generic,serio_raw,drm,nfnetlink,ip_tables,crct10dif_pclmul,crc32_pclmul,\
    sha512_ssse3,sha256_ssse3,sha1_ssse3";

pub(super) fn drive(path: &Path, options: &str) -> String {
    format!("file={},format=raw,if=virtio,{options}", path.display())
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.clock.tell(&self.dir.file_name().unwrap_or_default().to_string_lossy());
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
