//! What a wipe may touch, and what it writes.

use super::*;
use crate::config::{State, settings};
use std::collections::BTreeMap;

fn config() -> Config {
    settings::build(&BTreeMap::new(), &mut Vec::new())
}

fn with_state(change: impl FnOnce(&mut State)) -> Config {
    let mut config = config();
    change(&mut config.state);
    config
}

fn target(fstype: &str) -> Target {
    Target {
        node: "/dev/vdb".into(),
        size: 1 << 30,
        sector: 512,
        physical_sector: 4096,
        devices: 1,
        fstype: fstype.into(),
        uuid: "0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f".into(),
        label: "overlayd".into(),
        ..Target::default()
    }
}

fn request() -> RequestRecord {
    RequestRecord { id: "i".into(), store: "s".into(), level: Level::Wipe, ..RequestRecord::default() }
}

fn refused(config: &Config, request: &RequestRecord, target: &Target, words: &str) {
    let refusal = check(config, request, target).unwrap_err();
    assert!(refusal.reason.contains(words) && !refusal.remedy.is_empty(), "{refusal:?}");
}

#[test]
fn only_a_whole_device_of_its_own_is_wiped() {
    assert_eq!(check(&config(), &request(), &target("ext4")), Ok(()));
    let of = |change: &dyn Fn(&mut Target)| {
        let mut target = target("xfs");
        change(&mut target);
        target
    };
    let mapping = of(&|t| t.mapping = Some("LVM-x".into()));
    refused(&config(), &request(), &mapping, "mapping of the device mapper (LVM-x)");
    refused(&config(), &request(), &of(&|t| t.devices = 2), "spans 2 devices");
    refused(&config(), &request(), &of(&|t| t.sector = 8192), "sectors of 8192");
    let journal = of(&|t| t.elsewhere = Some(Part::Journal));
    refused(&config(), &request(), &journal, "the journal of the filesystem on /dev/vdb lies on another");
    let logdev = with_state(|s| s.options = "noatime,logdev=/dev/sdb".into());
    refused(&logdev, &request(), &target("xfs"), "logdev=/dev/sdb");
    let spaces = with_state(|s| s.path = "a b".into());
    refused(&spaces, &request(), &target("xfs"), "a b");
    assert_eq!(check(&spaces, &request(), &target("ext4")), Ok(()));
}

fn encrypted(fstype: &str) -> Target {
    let uuid = "0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f".into();
    let luks = Luks { name: "overlayd-state".into(), uuid, label: None, header: HEADER };
    Target { luks: Some(luks), findable: true, ..target(fstype) }
}

#[test]
fn an_encrypted_volume_is_wiped_only_where_a_new_one_can_be_made_and_found() {
    refused(&config(), &request(), &encrypted("ext4"), "no key is known");
    let keyed = with_state(|s| s.key_file = Some("/etc/overlayd/state.key".into()));
    assert_eq!(check(&keyed, &request(), &encrypted("ext4")), Ok(()));
    let lost = Target { findable: false, ..encrypted("ext4") };
    refused(&keyed, &request(), &lost, "would not be found");
    let mut odd = encrypted("ext4");
    odd.luks.as_mut().unwrap().name = "two words".into();
    refused(&keyed, &request(), &odd, "the name of the mapping");
}

#[test]
fn a_mark_that_was_forged_hands_no_option_and_no_path_to_a_program() {
    let record = |name: &str, uuid: &str| WipeRecord {
        size: 1 << 30,
        luks: Some(Luks { name: name.into(), uuid: uuid.into(), label: None, header: HEADER }),
        ..WipeRecord::default()
    };
    let uuid = "0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f";
    assert_eq!(check_resumed(&record("overlayd-state", uuid), &encrypted("ext4")), Ok(()));
    for name in ["--external-tokens-path=/tmp", "../sda", "", "control", "a b"] {
        let refusal = check_resumed(&record(name, uuid), &encrypted("ext4")).unwrap_err();
        assert!(refusal.reason.contains("names no volume: left alone"), "{name}: {refusal:?}");
    }
    for uuid in ["", "x", "--------------------------------help"] {
        assert!(check_resumed(&record("overlayd-state", uuid), &encrypted("ext4")).is_err(), "{uuid}");
    }
}

#[test]
fn a_volume_is_smaller_than_its_device_and_has_the_sectors_of_the_hardware() {
    let plain = Target { size: (1 << 30) + 512, ..target("ext4") };
    assert_eq!((plain.volume_size(), plain.volume_sector()), (1 << 30, 512));
    assert_eq!(
        (encrypted("xfs").volume_size(), encrypted("xfs").volume_sector()),
        ((1 << 30) - HEADER, 4096)
    );
    let odd = Target { size: (1 << 30) + 512, ..encrypted("xfs") };
    assert_eq!(odd.volume_sector(), 512);
    let old = Target { physical_sector: 512, ..encrypted("ext4") };
    assert_eq!(old.volume_sector(), 512);
}

#[test]
fn the_mark_of_a_volume_tells_what_is_to_be_made() {
    let sector = first_sector(&encrypted("ext4"), &Moment::default(), "b".into()).unwrap();
    let record = WipeRecord::parse(Path::new("x"), &sector.text).unwrap();
    assert_eq!((&*record.request, record.luks), ("", encrypted("ext4").luks));
}

#[test]
fn nothing_is_kept() {
    refused(
        &config(),
        &RequestRecord { keep: vec!["/etc/x".into()], ..request() },
        &target("ext4"),
        "keep nothing",
    );
    let mut keeping = config();
    let root = keeping.overlays.get_mut("root").unwrap();
    root.keep = crate::config::values::parse_patterns("/etc/machine-id").unwrap();
    refused(&keeping, &request(), &target("ext4"), "keep nothing");
    let dropping = RequestRecord { drop_kept: true, ..request() };
    assert_eq!(check(&keeping, &dropping, &target("ext4")), Ok(()));
}

#[test]
fn the_mark_names_the_device_and_the_request() {
    let sector = sector(&request(), vec!["t".into()], &target("xfs")).unwrap();
    assert_eq!((&*sector.fstype, &*sector.label), ("xfs", "overlayd"));
    let record = WipeRecord::parse(Path::new("x"), &sector.text).unwrap();
    assert_eq!((&*record.request, &*record.store, record.size), ("i", "s", 1 << 30));
    assert_eq!(check_resumed(&record, &target("xfs")), Ok(()));
    let other = Target { size: 2 << 30, ..target("xfs") };
    assert!(check_resumed(&record, &other).unwrap_err().reason.contains("left alone"));
    assert!(check_resumed(&record, &target("zfs")).unwrap_err().reason.contains("zfs"));
}

#[test]
fn tokens_that_could_fire_again_are_carried_along() {
    let used = [SYSTEMD_MARK, "old", "still-there", "efi=a", "efi=b", "last"].map(str::to_owned);
    let live = live_tokens(&used, "quiet overlayd.reset=still-there systemd.factory-reset");
    assert_eq!(live, [SYSTEMD_MARK, "still-there", "efi=b", "last"]);
    assert!(live_tokens(&[], "quiet").is_empty());
}

#[test]
fn a_mark_that_does_not_fit_is_refused() {
    let long = Target { label: "l".repeat(200), ..target("btrfs") };
    assert!(sector(&request(), Vec::new(), &long).unwrap_err().reason.contains("does not fit"));
}

#[test]
fn a_uuid_by_which_the_device_is_found_stays() {
    let by_uuid = DeviceSpec::Uuid("0B7E1C1E-8D1A-4A7E-9D5F-0A1B2C3D4E5F".into());
    assert_eq!(lasting_uuid(&by_uuid).as_deref(), Some("0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f"));
    assert_eq!(lasting_uuid(&DeviceSpec::Label("overlayd".into())), None);
}

#[test]
fn mkfs_is_told_label_and_uuid_and_not_to_discard() {
    let words = |fstype, uuid| {
        let [image, tree, prototype] = ["/r/image", "/r/tree", "/r/prototype"].map(Path::new);
        let target = target(fstype);
        mkfs_arguments(&Making { target: &target, uuid, image, tree, prototype }).join(" ")
    };
    let ext4 = "-q -F -E nodiscard,lazy_itable_init=1,lazy_journal_init=1 -d /r/tree";
    assert_eq!(words("ext4", None), format!("{ext4} -L overlayd /r/image"));
    assert_eq!(words("ext4", Some("u")), format!("{ext4} -U u -L overlayd /r/image"));
    let xfs = "-q -K -s size=4096 -p /r/prototype";
    assert_eq!(words("xfs", Some("u")), format!("{xfs} -m uuid=u -L overlayd /r/image"));
    let btrfs = "-q -K --rootdir /r/tree";
    assert_eq!(words("btrfs", Some("u")), format!("{btrfs} -U u -L overlayd /r/image"));
}

#[test]
fn sectors_of_the_device_are_heeded() {
    let large = Target { sector: 4096, ..target("ext4") };
    assert_eq!(xfs_sector(&large), 4096);
    assert_eq!(xfs_sector(&target("xfs")), 4096);
    assert_eq!(xfs_sector(&Target { physical_sector: 512, ..target("xfs") }), 512);
    assert_eq!(xfs_sector(&Target { physical_sector: 131_072, ..target("xfs") }), 4096);
    let words = mkfs_arguments(&Making {
        target: &encrypted("ext4"),
        uuid: None,
        image: Path::new("/dev/dm-0"),
        tree: Path::new("/r/tree"),
        prototype: Path::new("/r/prototype"),
    });
    assert!(words.join(" ").ends_with("-b 4096 -L overlayd /dev/dm-0"), "{words:?}");
}

#[test]
fn the_outcome_tells_who_asked_and_what_was_reached() {
    let record = WipeRecord { request: "i".into(), by: "jane".into(), at: 7, ..WipeRecord::default() };
    let outcome = outcome(&record, Erased::Discarded, None, &Moment::default());
    assert_eq!((&*outcome.request, &*outcome.requested_by, outcome.requested_at), ("i", "jane", 7));
    assert_eq!((&*outcome.result, outcome.level), ("done", Level::Wipe));
    assert_eq!(outcome.secure.as_deref(), Some("unknown"));
    assert_eq!(outcome.erasure.as_deref(), Some("complete"));
    assert_eq!((outcome.to_generation, outcome.from_generation), (1, None));
}
