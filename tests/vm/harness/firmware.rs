//! UEFI for a machine: OVMF with variables of its own, and a disk with an EFI system partition.

use super::host;
use super::machine::drive;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's ovmf.
const OVMF: &str = "/usr/share/OVMF";

/// The firmware of one machine.
pub(super) struct Firmware {
    variables: PathBuf,
    pub(super) esp: Esp,
}

/// A disk with a GPT, and one partition on it.
pub(crate) struct Esp {
    path: PathBuf,
}

impl Firmware {
    pub(super) fn new(dir: &Path) -> Firmware {
        let variables = dir.join("variables.fd");
        host("cp", &[&format!("{OVMF}/OVMF_VARS_4M.fd"), text(&variables)]);
        Firmware { variables, esp: Esp::new(dir.join("esp.img")) }
    }

    pub(super) fn attach(&self, qemu: &mut Command) {
        qemu.args([
            "-drive",
            &format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"),
        ])
        .args(["-drive", &format!("if=pflash,format=raw,unit=1,file={}", self.variables.display())])
        .args(["-drive", &drive(&self.esp.path, "cache=writethrough")]);
    }
}

impl Esp {
    fn new(path: PathBuf) -> Esp {
        let image = text(&path);
        // Where sfdisk puts the first partition: 1 MiB, and 32 MiB long.
        let script = format!(
            "truncate -s 34M {image} && echo 'label: gpt\nsize=32M, type=uefi' | sfdisk -q {image} && \
             mkfs.vfat --offset 2048 {image} 32768"
        );
        host("sh", &["-c", &script]);
        Esp { path }
    }

    /// Puts a file at the top.
    pub(crate) fn put(&self, name: &str, content: &str) {
        let script = format!("printf '%s' '{content}' | mcopy -o -i {}@@1M - ::{name}", text(&self.path));
        host("sh", &["-c", &script]);
    }

    /// The names at the top.
    pub(crate) fn names(&self) -> String {
        host("mdir", &["-b", "-i", &format!("{}@@1M", text(&self.path))])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
