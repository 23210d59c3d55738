//! The three ways of giving layers to the kernel lead to the same overlay.

use std::fs;

use overlayd::sys::mount;
use overlayd::sys::overlay::{self, Flavour, OPTIONS, Overlay};
use overlayd::sys::probe::{self, Verdict};

/// Names that need escaping in one string, and none in the others.
const ODD: [&str; 2] = ["a:b,c\\d", "plain"];

fn mounts(flavour: Flavour) {
    mount::private_namespace().unwrap();
    let dir = std::env::temp_dir().join(format!("overlayd-flavour-{flavour:?}-{}", std::process::id()));
    for name in ODD {
        for layer in ["upper", "work", "lower", "target"] {
            fs::create_dir_all(dir.join(name).join(layer)).unwrap();
        }
    }
    let tmpfs = crate::rig::run("mount", &["-t", "tmpfs", "tmpfs", dir.join(ODD[0]).to_str().unwrap()]);
    assert!(tmpfs.status.success());
    let odd = dir.join(ODD[0]);
    for layer in ["upper", "work", "lower"] {
        fs::create_dir_all(odd.join(layer)).unwrap();
    }
    fs::write(odd.join("lower/from-odd"), "1").unwrap();
    fs::write(dir.join("plain/lower/from-plain"), "2").unwrap();
    let wanted = Overlay {
        name: "test".into(),
        lowers: vec![odd.join("lower"), dir.join("plain/lower")],
        upper: odd.join("upper"),
        work: odd.join("work"),
        options: OPTIONS.into(),
    };
    let target = dir.join("plain/target");
    let mounted = overlay::mount_as(&wanted, flavour, &dir.join("scratch")).unwrap();
    assert_eq!(probe::merged(&mounted).unwrap(), Verdict::Writable);
    mount::attach(&mounted, &target).unwrap();
    assert!(target.join("from-odd").exists() && target.join("from-plain").exists());
    fs::write(target.join("new"), "3").unwrap();
    assert_eq!(fs::read_to_string(odd.join("upper/new")).unwrap(), "3");
    drop(mounted);
    mount::detach(&target).unwrap();
    mount::detach(&odd).unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn by_descriptors() {
    mounts(Flavour::Descriptors);
}

#[test]
fn by_paths() {
    mounts(Flavour::Paths);
}

#[test]
fn by_one_string() {
    mounts(Flavour::OneString);
}
