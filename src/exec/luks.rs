//! LUKS2 volumes, by cryptsetup(8).

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::State;
use crate::error::{Error, Kind, Result};
use crate::plan::wipe::{HEADER, Target};
use crate::store::wipe_record::Luks;
use crate::sys::process;

/// Name of the mapping that overlayd opens, below /dev/mapper.
pub const NAME: &str = "overlayd-state";
/// Name of the mapping through which a new volume is filled.
pub const FILLING: &str = "overlayd-new";

/// Where the key slots begin: before them lie the header and its copy, each of 16 KiB, as cryptsetup(8) makes them.
pub const KEY_SLOTS: u64 = 32 << 10;

/// A key slot of somebody's passphrase may take a slow machine half a minute.
const LIMIT: Duration = Duration::from_secs(120);
/// So many random bytes nobody guesses: such a key needs no stretching, which would cost each boot seconds.
const KEY_MIN: u64 = 32;

/// The key file that the configuration names: in the initramfs, or in the base.
pub fn key(state: &State, sysroot: &Path) -> Result<PathBuf> {
    let unavailable = |what: String| Error::new(Kind::StoreUnavailable, what);
    let Some(wanted) = &state.key_file else {
        return Err(unavailable("state.key-file is not set".to_owned()));
    };
    let in_base = sysroot.join(wanted.strip_prefix("/").unwrap_or(wanted));
    let Some(key) = [wanted, &in_base].into_iter().find(|path| path.is_file()) else {
        return Err(unavailable(format!("there is no key file {}", wanted.display()))
            .remedy("put it into the base image: overlayd finds it there before it is booted"));
    };
    let metadata = fs::metadata(key).map_err(|e| Error::io("look at", key, e))?;
    if metadata.len() < KEY_MIN {
        return Err(unavailable(format!("the key file {} is shorter than {KEY_MIN} bytes", key.display()))
            .remedy("make one of random bytes: head -c 64 /dev/urandom"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unavailable(format!("the key file {} is open to others than root", key.display()))
            .remedy(format!("chmod 600 {} in the image", wanted.display())));
    }
    Ok(key.clone())
}

/// A volume that there is not yet, and that overlayd will open.
pub fn new_volume() -> Result<Luks> {
    let uuid = process::random_uuid()?;
    Ok(Luks { name: NAME.to_owned(), uuid, label: None, header: HEADER })
}

/// Opens the volume on `device` as the mapping `name`, with its header on the device or in a file. Returns the mapping's
/// node.
pub fn open(device: &Path, key: &Path, name: &str, header: Option<&Path>) -> Result<PathBuf> {
    let mut words = vec!["open", "--type", "luks2", "--allow-discards"];
    let [device_text, key_text] = [device, key].map(Path::to_string_lossy);
    let header = header.map(Path::to_string_lossy);
    if let Some(header) = &header {
        words.extend(["--header", header]);
    }
    words.extend(["--key-file", &key_text, "--", &device_text, name]);
    cryptsetup(&words).map_err(|e| e.context(format!("failed to open the LUKS volume {device_text}")))?;
    let node = Path::new("/dev/mapper").join(name);
    fs::canonicalize(&node).map_err(|e| Error::io("find", &node, e))
}

/// Closes a mapping.
pub fn close(name: &str) -> Result<()> {
    cryptsetup(&["close", "--", name]).map_err(|e| e.context(format!("failed to close the mapping {name}")))
}

/// Makes the header of a new volume for `target` in the file `header`. `disk` is a file that stands for the device,
/// which is busy; nothing of it is left.
pub fn make_header(header: &Path, disk: &Path, target: &Target, luks: &Luks, key: &Path) -> Result<()> {
    File::create(disk).and_then(|file| file.set_len(target.size)).map_err(|e| Error::io("make", disk, e))?;
    let offset = (HEADER / 512).to_string();
    let sector = target.volume_sector().to_string();
    let [header, disk_text, key] = [header, disk, key].map(Path::to_string_lossy);
    let mut words = vec!["luksFormat", "--type", "luks2", "--header", &header, "--offset", &offset];
    words.extend(["--sector-size", &sector, "--uuid", &luks.uuid, "--key-file", &key]);
    words.extend(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
    if let Some(label) = &luks.label {
        words.extend(["--label", label]);
    }
    words.extend(["--", &disk_text]);
    cryptsetup(&words).map_err(|e| e.context("failed to make the header of a LUKS volume"))?;
    fs::remove_file(disk).map_err(|e| Error::io("remove", disk, e))
}

/// Without udev, which may be gone, or not know the mapping: then libdevmapper would wait for it for ever.
fn cryptsetup(words: &[&str]) -> Result<()> {
    let program = process::find_program("cryptsetup").ok_or_else(|| {
        Error::new(Kind::StoreUnavailable, "cryptsetup is not installed here")
            .remedy("the initramfs hook takes it along if it is installed when the initramfs is made")
    })?;
    let words = [&["--batch-mode", "--disable-locks"], words].concat();
    let exit = process::run_with(&program, &words, &[("DM_DISABLE_UDEV", "1")], LIMIT)?;
    match exit.code {
        Some(0) => Ok(()),
        _ => Err(Error::new(Kind::StoreUnavailable, exit.output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;
    use crate::sys::superblock::FsType;
    use crate::sys::{block, process::test_dir};
    use std::collections::BTreeMap;
    use std::os::unix::fs::FileExt;

    fn state(key: &str) -> State {
        let config = settings::build(&BTreeMap::new(), &mut Vec::new());
        State { key_file: Some(key.into()), ..config.state }
    }

    fn write_key(path: &Path, length: usize, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![7; length]).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_found_in_the_base_and_must_be_long_and_private() {
        let dir = test_dir("key");
        let base = dir.join("base");
        let found = || key(&state("/overlayd-test/state.key"), &base);
        assert!(found().unwrap_err().to_string().contains("there is no key file /overlayd-test/state.key"));
        let file = base.join("overlayd-test/state.key");
        write_key(&file, 31, 0o600);
        assert!(found().unwrap_err().to_string().contains("shorter than 32 bytes"));
        write_key(&file, 32, 0o640);
        assert!(found().unwrap_err().to_string().contains("open to others"));
        write_key(&file, 32, 0o600);
        assert_eq!(found().unwrap(), file);
        // What lies in the initramfs comes first.
        let own = dir.join("own/state.key");
        write_key(&own, 32, 0o600);
        assert_eq!(key(&state(own.to_str().unwrap()), &base).unwrap(), own);
        fs::remove_dir_all(dir).unwrap();
    }

    /// Without a device mapper, as far as it goes: cryptsetup takes the header, on the device, for what it is.
    #[test]
    fn a_header_that_is_written_to_the_device_is_a_volume_and_the_key_opens_it() {
        let dir = test_dir("luks");
        let [key, other, header, disk, device] =
            ["key", "other", "header", "disk", "device"].map(|name| dir.join(name));
        fs::write(&key, [7; 64]).unwrap();
        fs::write(&other, [8; 64]).unwrap();
        let luks = Luks {
            name: "x".into(),
            uuid: "0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f".into(),
            label: Some("state".into()),
            header: HEADER,
        };
        let target = Target { size: 64 << 20, sector: 512, physical_sector: 4096, ..Target::default() };
        let target = Target { luks: Some(luks.clone()), ..target };
        make_header(&header, &disk, &target, &luks, &key).unwrap();
        assert!(!disk.exists());
        let bytes = fs::read(&header).unwrap();
        assert_eq!(bytes.len() as u64, HEADER);
        let file = File::options().read(true).write(true).create_new(true).open(&device).unwrap();
        file.set_len(target.size).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let found = block::probe(&device).unwrap().unwrap();
        assert_eq!((found.fstype, &*found.uuid, &*found.label), (FsType::Luks, &*luks.uuid, "state"));
        let tried = |key: &Path| {
            let [device, key] = [&device, key].map(|p| p.to_str().unwrap());
            cryptsetup(&["open", "--test-passphrase", "--type", "luks2", "--key-file", key, device])
        };
        tried(&key).unwrap();
        let wrong = tried(&other).unwrap_err();
        assert!(wrong.to_string().contains("No key available"), "{wrong}");
        fs::remove_dir_all(dir).unwrap();
    }
}
