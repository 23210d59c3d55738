//! Tests of `sys::block`, on real images. Those named `_as_root` need root.

use super::*;
use std::process::Command;

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A sysfs that shows only this test's loop devices, with their images; root only.
struct Machine {
    dir: PathBuf,
    paths: Paths,
    loops: Vec<PathBuf>,
}

impl Machine {
    fn new(name: &str) -> Machine {
        let dir = std::env::temp_dir().join(format!("overlayd-block-{}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("sys/class/block")).unwrap();
        std::os::unix::fs::symlink("/sys/dev", dir.join("sys/dev")).unwrap();
        let paths = Paths { sys: dir.join("sys"), dev: "/dev".into() };
        Machine { dir, paths, loops: Vec::new() }
    }

    /// Attaches an image made by `command` (`$I` is its path), and shows it with its partitions.
    fn attach(&mut self, size: u64, command: &str, options: &str) -> PathBuf {
        let image = self.dir.join(format!("image{}", self.loops.len()));
        File::create(&image).unwrap().set_len(size).unwrap();
        run(&format!("I={}; {command}", image.display()));
        let node = PathBuf::from(run(&format!("losetup -f --show {options} {}", image.display())));
        self.loops.push(node.clone());
        // For kernels without partition tables; through BLKPG, so that the kernel knows no names.
        let _ = Command::new("partx").arg("-u").arg(&node).output();
        let name = node.file_name().unwrap().to_str().unwrap();
        self.show(name);
        for entry in fs::read_dir(format!("/sys/class/block/{name}")).unwrap().flatten() {
            if entry.path().join("partition").exists() {
                self.show(entry.file_name().to_str().unwrap());
            }
        }
        node
    }

    fn show(&self, name: &str) {
        let link = self.paths.sys.join("class/block").join(name);
        std::os::unix::fs::symlink(fs::canonicalize(format!("/sys/class/block/{name}")).unwrap(), link)
            .unwrap();
    }

    fn find(&self, spec: &str) -> Search {
        find(&DeviceSpec::parse(spec).unwrap(), &self.paths).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for node in &self.loops {
            let _ = Command::new("losetup").arg("-d").arg(node).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

const UUID: &str = "0b0a0908-0706-4504-8302-01000001020f";

#[test]
fn specs_are_parsed_and_printed() {
    for (text, spec) in [
        ("LABEL=a b", DeviceSpec::Label("a b".into())),
        ("UUID=AB-1", DeviceSpec::Uuid("AB-1".into())),
        ("PARTLABEL=x=y", DeviceSpec::PartLabel("x=y".into())),
        ("PARTUUID=1-2", DeviceSpec::PartUuid("1-2".into())),
        ("/dev/sda1", DeviceSpec::Path("/dev/sda1".into())),
    ] {
        assert_eq!(DeviceSpec::parse(text).unwrap(), spec);
        assert_eq!(spec.to_string(), text);
    }
    assert_eq!(DeviceSpec::parse("LABEL=\"a b\"").unwrap(), DeviceSpec::Label("a b".into()));
    assert_eq!(DeviceSpec::parse("\"LABEL=a b\"").unwrap(), DeviceSpec::Label("a b".into()));
    for bad in ["", "LABEL=", "LABEL=\"\"", "label=x", "ID=x", "sda1", "/dev/", "/etc/x", "LABEL"] {
        assert!(DeviceSpec::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn several_devices_are_one_answer_only_within_a_btrfs() {
    let device = |name: &str, fstype, uuid: &str| {
        let sb = Superblock { fstype, uuid: uuid.into(), label: "x".into(), digest: String::new() };
        (PathBuf::from(name), Some(sb))
    };
    let (a, b) = (PathBuf::from("a"), PathBuf::from("b"));
    assert_eq!(decide(vec![]), Search::Missing);
    let btrfs =
        |other: &str| decide(vec![device("a", FsType::Btrfs, "1"), device("b", FsType::Btrfs, other)]);
    assert_eq!(btrfs("1"), Search::Found(a.clone()));
    assert_eq!(btrfs("2"), Search::Ambiguous(vec![a.clone(), b.clone()]));
    let clones = decide(vec![device("a", FsType::Ext4, "1"), device("b", FsType::Ext4, "1")]);
    assert_eq!(clones, Search::Ambiguous(vec![a, b]));
}

#[test]
fn finds_filesystems_by_label_and_uuid_as_root() {
    let mut machine = Machine::new("fs");
    assert_eq!(machine.find("LABEL=one"), Search::Missing);
    let one = machine.attach(8 << 20, &format!("mkfs.ext4 -q -L one -U {UUID} $I"), "");
    let two = machine.attach(8 << 20, "mkfs.ext4 -q -L two $I", "-r");
    machine.attach(8 << 20, "mkswap -q -L one $I", "");
    machine.attach(8 << 20, "true", "");
    assert_eq!(machine.find("LABEL=one"), Search::Found(one.clone()));
    assert_eq!(machine.find(&format!("UUID={}", UUID.to_uppercase())), Search::Found(one.clone()));
    assert_eq!(machine.find(&format!("/dev/disk/by-uuid/{UUID}")), Search::Found(one.clone()));
    assert_eq!(machine.find(one.to_str().unwrap()), Search::Found(one.clone()));
    assert_eq!(machine.find("LABEL=onetwo"), Search::Missing);
    assert_eq!(machine.find("/dev/null"), Search::Missing);
    assert_eq!(
        (is_read_only(&one), is_read_only(&two), is_read_only(Path::new("/dev/null"))),
        (false, true, false)
    );
    let clone = machine.attach(8 << 20, "mkfs.xfs -q -L one $I 2>/dev/null || mkfs.ext2 -q -L one $I", "");
    let Search::Ambiguous(mut nodes) = machine.find("LABEL=one") else { panic!("not ambiguous") };
    nodes.sort();
    let mut expected = vec![one, clone];
    expected.sort();
    assert_eq!(nodes, expected);
}

#[test]
fn finds_partitions_in_both_sector_sizes_as_root() {
    for options in ["-P -b 512", "-P -b 4096"] {
        let mut machine = Machine::new("gpt");
        let disk = machine.attach(16 << 20, "true", options);
        let script =
            format!("label: gpt\nsize=4MiB, name=state\nsize=4MiB, name=\"Zustand ä\", uuid={UUID}\n");
        run(&format!(
            "printf '{script}' | sfdisk -q --no-reread --no-tell-kernel {d}; partx -u {d}",
            d = disk.display()
        ));
        let part = |n: u32| PathBuf::from(format!("{}p{n}", disk.display()));
        machine.show(part(1).file_name().unwrap().to_str().unwrap());
        machine.show(part(2).file_name().unwrap().to_str().unwrap());
        run(&format!("mkfs.ext4 -q -L state {}", part(1).display()));
        assert_eq!(machine.find("PARTLABEL=state"), Search::Found(part(1)));
        assert_eq!(machine.find("PARTLABEL=Zustand ä"), Search::Found(part(2)));
        assert_eq!(machine.find(&format!("PARTUUID={}", UUID.to_uppercase())), Search::Found(part(2)));
        assert_eq!(machine.find("LABEL=state"), Search::Found(part(1)));
        assert_eq!(machine.find("PARTLABEL=none"), Search::Missing);
        // A superblock from before the disk was partitioned.
        let mut stale = vec![0; 4096];
        stale[0x40..0x48].copy_from_slice(b"_BHRfS_M");
        stale[0x12b..0x12f].copy_from_slice(b"disk");
        File::options().write(true).open(&disk).unwrap().write_all_at(&stale, 0x10000).unwrap();
        assert_eq!(probe(&disk).unwrap().unwrap().label, "disk");
        assert_eq!(machine.find("LABEL=disk"), Search::Missing);
    }
}

#[test]
fn what_the_kernel_tells_of_a_partition_is_believed() {
    let paths = Paths { sys: "/none".into(), dev: "/none".into() };
    let device = |uevent: &str, partition| Device {
        dir: "/none".into(),
        node: "/none".into(),
        uevent: uevent.into(),
        partition,
        stamp: String::new(),
    };
    let told = device("DEVNAME=sda1\nPARTN=1\nPARTNAME=state\nPARTUUID=ab-01\n", Some(1));
    let mut prober = Prober::new(&paths);
    assert!(prober.has_part_label(&told, "state") && prober.has_part_uuid(&told, "AB-01"));
    assert!(!prober.has_part_label(&told, "stat") && !prober.has_part_uuid(&told, "ab-02"));
    let disk = device("DEVNAME=sda\nPARTNAME=state\n", None);
    assert!(!prober.has_part_label(&disk, "state"));
}

#[test]
fn a_device_that_is_in_use_or_cannot_be_opened_is_passed_over_as_root() {
    let mut machine = Machine::new("taken");
    let node = machine.attach(8 << 20, "mkfs.ext4 -q -L one $I", "");
    let class = machine.paths.sys.join("class/block");
    // No driver has this major number (it is "local/experimental"): opening it fails.
    run(&format!("mknod {}/aa b 254 999999", machine.dir.display()));
    run(&format!("cp -a {} {}/", node.display(), machine.dir.display()));
    fs::create_dir_all(class.join("aa")).unwrap();
    fs::write(class.join("aa/size"), "16384\n").unwrap();
    fs::write(class.join("aa/uevent"), "MAJOR=254\nMINOR=999999\nDEVNAME=aa\n").unwrap();
    machine.paths.dev = machine.dir.clone();
    let found = machine.dir.join(node.file_name().unwrap());
    assert_eq!(machine.find("LABEL=one"), Search::Found(found));

    let shown = class.join(node.file_name().unwrap());
    let real = fs::canonicalize(&shown).unwrap();
    fs::remove_file(&shown).unwrap();
    fs::create_dir_all(shown.join("holders/dm-0")).unwrap();
    for name in ["size", "uevent"] {
        fs::write(shown.join(name), fs::read(real.join(name)).unwrap()).unwrap();
    }
    assert_eq!(machine.find("LABEL=one"), Search::Missing);
    fs::remove_dir(shown.join("holders/dm-0")).unwrap();
    fs::create_dir(shown.join("dm")).unwrap();
    fs::write(shown.join("dm/suspended"), "1\n").unwrap();
    assert_eq!(machine.find("LABEL=one"), Search::Missing);
}

#[test]
fn finds_dos_partitions_by_their_kernel_made_uuid_as_root() {
    let mut machine = Machine::new("dos");
    let make = "printf 'label: dos\nlabel-id: 0x00abcdef\nsize=4MiB\nsize=4MiB\n' | sfdisk -q $I";
    let disk = machine.attach(16 << 20, make, "-P");
    let second = PathBuf::from(format!("{}p2", disk.display()));
    assert_eq!(machine.find("PARTUUID=00ABCDEF-02"), Search::Found(second.clone()));
    let numbers = fs::metadata(&second).unwrap().rdev();
    assert_eq!(node_of_dev(major(numbers), minor(numbers), &machine.paths), Some(second));
    assert_eq!(node_of_dev(4095, 1, &machine.paths), None);
}

#[test]
fn a_device_without_a_node_is_missing_as_root() {
    let mut machine = Machine::new("nonode");
    machine.attach(8 << 20, "mkfs.ext4 -q -L one $I", "");
    machine.paths.dev = machine.dir.clone();
    assert_eq!(machine.find("LABEL=one"), Search::Missing);
    let error = find(&DeviceSpec::Label("x".into()), &Paths { sys: "/none".into(), dev: "/dev".into() });
    assert_eq!(error.unwrap_err().message(), "failed to list /none/class/block: no such file or directory");
}

#[test]
fn a_device_of_another_size_is_read_again_as_root() {
    let mut machine = Machine::new("changed");
    let node = machine.attach(8 << 20, "mkfs.ext4 -q -L one $I", "");
    let paths = machine.paths.clone();
    let mut prober = Prober::new(&paths);
    let spec = DeviceSpec::Label("one".into());
    assert_eq!(prober.find(&spec).unwrap(), Search::Found(node.clone()));
    let image = machine.dir.join("image0");
    let (n, i) = (node.display(), image.display());
    run(&format!("truncate -s 9M {i} && losetup -c {n} && mkfs.ext4 -q -F -L two {n}"));
    assert_eq!(prober.find(&spec).unwrap(), Search::Missing);
}

#[test]
fn waits_for_a_device_to_come_and_for_no_longer_than_told_as_root() {
    let mut machine = Machine::new("wait");
    let spec = DeviceSpec::Label("late".into());
    let waited = wait_for(&spec, &machine.paths, Duration::from_millis(50)).unwrap();
    assert_eq!(waited.search, Search::Missing);
    assert!(waited.waited >= Duration::from_millis(50) && waited.waited < Duration::from_millis(500));
    let paths = machine.paths.clone();
    let waiter = std::thread::spawn(move || wait_for(&spec, &paths, Duration::from_secs(20)).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    let node = machine.attach(8 << 20, "mkfs.ext4 -q -L late $I", "");
    assert_eq!(waiter.join().unwrap().search, Search::Found(node));
}

#[test]
fn probes_an_image_and_says_which_file_failed() {
    let error = probe(Path::new("/none")).unwrap_err();
    assert_eq!(error.message(), "failed to open /none: no such file or directory");
    let error = probe(Path::new("/")).unwrap_err();
    assert!(error.message().starts_with("failed to read the superblock of /:"), "{error}");
}
