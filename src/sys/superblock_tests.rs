//! Tests of `sys::superblock`, on real images. Those named `_as_root` need root.

use super::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A sparse image file that goes away.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, size: u64) -> Image {
        let path = std::env::temp_dir().join(format!("overlayd-sb-{}-{name}", std::process::id()));
        File::create(&path).unwrap().set_len(size).unwrap();
        Image(path)
    }

    /// Made by `command`, whose last argument is the image.
    fn made(name: &str, size: u64, command: &str) -> Image {
        let image = Image::new(name, size);
        run(&format!("{command} {}", image.0.display()));
        image
    }

    fn open(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }

    fn size(&self) -> u64 {
        self.open().metadata().unwrap().len()
    }

    fn identify(&self) -> Option<Superblock> {
        let file = self.open();
        identify(&mut |at, buf| file.read_exact_at(buf, at), self.size()).unwrap()
    }

    fn is_blank(&self) -> bool {
        is_blank(&self.open(), self.size()).unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn blkid(image: &Path, tag: &str) -> String {
    let args = ["-p", "-o", "value", "-s", tag];
    let output = Command::new("blkid").args(args).arg(image).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
}

/// Compares with blkid, checks the type, and that it is not blank.
fn check(name: &str, size: u64, command: &str, fstype: FsType) -> Superblock {
    let image = Image::made(name, size, command);
    let found = image.identify().unwrap_or_else(|| panic!("{command}: nothing found"));
    assert_eq!(found.fstype, fstype, "{command}");
    assert_eq!(found.fstype.name(), blkid(&image.0, "TYPE"), "{command}");
    assert_eq!(found.uuid, blkid(&image.0, "UUID"), "{command}");
    assert_eq!(found.label, blkid(&image.0, "LABEL"), "{command}");
    assert!(!image.is_blank(), "{command}");
    found
}

#[test]
fn agrees_with_blkid_about_ext() {
    check("ext2", 8 * MIB, "mkfs.ext2 -q -L 'a b'", FsType::Ext2);
    check("ext2s", 64 * KIB, "mkfs.ext2 -q -N 16", FsType::Ext2);
    check("ext3", 8 * MIB, "mkfs.ext3 -q -L 16-bytes-long-xy", FsType::Ext3);
    check("ext4", 8 * MIB, "mkfs.ext4 -q -L Zustandä", FsType::Ext4);
    check("ext4k", 64 * MIB, "mkfs.ext4 -q -b 4096 -O ^metadata_csum", FsType::Ext4);
    check("ext4n", 8 * MIB, "mkfs.ext4 -q -O ^has_journal", FsType::Ext4);
}

#[test]
fn agrees_with_blkid_about_xfs_btrfs_f2fs() {
    check("xfs", 320 * MIB, "mkfs.xfs -q -L twelve-chars", FsType::Xfs);
    check("btrfs", 128 * MIB, "mkfs.btrfs -q -L 'a label of btrfs'", FsType::Btrfs);
    check("f2fs", 64 * MIB, "mkfs.f2fs -q -l Zuständig", FsType::F2fs);
}

#[test]
fn agrees_with_blkid_about_fat() {
    check("fat12", 2 * MIB, "mkfs.vfat -F 12 -n OVERLAY", FsType::Vfat);
    check("fat16", 32 * MIB, "mkfs.vfat -F 16 -n 'A B'", FsType::Vfat);
    check("fat32", 64 * MIB, "mkfs.vfat -F 32 -n ELEVEN-CHAR", FsType::Vfat);
    check("fatnone", 64 * MIB, "mkfs.vfat -F 32", FsType::Vfat);
}

#[test]
fn agrees_with_blkid_about_swap_and_luks() {
    check("swap", MIB, "mkswap -q -L swapped", FsType::Swap);
    check("swap64k", MIB, "mkswap -q -p 65536 2>/dev/null", FsType::Swap);
    let luks = "echo x | cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000";
    check("luks2", 20 * MIB, &format!("{luks} --type luks2 --label state"), FsType::Luks);
    check("luks1", 20 * MIB, &format!("{luks} --type luks1"), FsType::Luks);
}

#[test]
fn agrees_with_blkid_about_images_and_tells_two_builds_apart() {
    let make = |name: &str, time: u32| {
        let image = Image::new(name, 0);
        let path = image.0.display();
        run(&format!("mksquashfs /etc/hostname {path} -quiet -no-progress -noappend -mkfs-time {time}"));
        image
    };
    let (one, same, other) = (make("sq1", 1), make("sq2", 1), make("sq3", 2));
    let found = one.identify().unwrap();
    assert_eq!((found.fstype.name(), found.label.as_str()), (blkid(&one.0, "TYPE").as_str(), ""));
    assert_eq!(found.digest, same.identify().unwrap().digest);
    assert_ne!(found.digest, other.identify().unwrap().digest);

    let erofs = Image::new("erofs", 0);
    let uuid = "0b0a0908-0706-0504-0302-010000010203";
    run(&format!("mkfs.erofs --quiet -U {uuid} {} /etc/apt", erofs.0.display()));
    let found = erofs.identify().unwrap();
    assert_eq!((found.fstype.name(), found.uuid.as_str()), (blkid(&erofs.0, "TYPE").as_str(), uuid));
    assert!(found.digest.starts_with(uuid));
}

#[test]
fn a_raid_member_is_not_the_filesystem_on_it() {
    for at in [MIB * 8 - 8 * KIB, MIB * 8 - 64 * KIB] {
        let image = Image::made("md", 8 * MIB, "mkfs.ext4 -q");
        image.open().write_all_at(&RAID_MAGIC, at).unwrap();
        assert_eq!(image.identify().unwrap().fstype, FsType::RaidMember);
    }
}

#[test]
fn nothing_is_found_in_zeros_in_noise_or_in_a_few_bytes() {
    assert_eq!(Image::new("zeros", MIB).identify(), None);
    assert_eq!(Image::new("none", 0).identify(), None);
    let noise = Image::new("noise", 100);
    noise.open().write_all_at(&[0xff; 100], 0).unwrap();
    assert_eq!(noise.identify(), None);
    let wild = Image::new("wild", MIB);
    wild.open().write_all_at(&vec![0xff; 0x11000], 0).unwrap();
    assert_eq!(wild.identify(), None);
}

#[test]
fn a_fat_that_points_beyond_the_end_has_no_label() {
    let image = Image::made("fatwild", 64 * MIB, "mkfs.vfat -F 32 -n LABEL");
    image.open().write_all_at(&0x0fff_ffef_u32.to_le_bytes(), 0x2c).unwrap();
    assert_eq!(image.identify().unwrap().label, "");
}

#[test]
fn zeros_are_blank_at_any_size_and_nothing_is_not() {
    for size in [1, 512, 4 * MIB + 1, 100 * MIB + 512] {
        assert!(Image::new("blank", size).is_blank(), "{size}");
    }
    assert!(!Image::new("empty", 0).is_blank());
    let start = std::time::Instant::now();
    assert!(Image::new("large", 16 * GIB).is_blank());
    println!("16 GiB: {:?}", start.elapsed());
}

#[test]
fn a_single_byte_at_the_ends_or_in_any_sample_is_not_blank() {
    let size = 300 * MIB + 512;
    for at in [0, 4 * MIB, size - 1, size - 4 * MIB, 64 * MIB, 128 * MIB, 8 * MIB + KIB + 4, size / 64 * 33] {
        let image = Image::new("byte", size);
        image.open().write_all_at(&[1], at).unwrap();
        assert!(!image.is_blank(), "{at}");
    }
}

#[test]
fn a_filesystem_without_its_first_and_last_mebibytes_is_not_blank() {
    for command in [
        "mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 -b 1024",
        "mkfs.ext2 -q -b 4096",
        "mkfs.xfs -q -K",
        "mkfs.btrfs -q -K",
    ] {
        let image = Image::made("beheaded", 1024 * MIB, command);
        let zeros = vec![0; 5 * MIB as usize];
        image.open().write_all_at(&zeros, 0).unwrap();
        image.open().write_all_at(&zeros, 1019 * MIB).unwrap();
        assert_eq!(image.identify(), None);
        assert!(!image.is_blank(), "{command}");
    }
}
