//! What a reset keeps: all of it, with all that belongs to it, and nothing else; or the old system stays whole.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use overlayd::config::Mode;
use overlayd::error::Kind;
use overlayd::operation::{self, Site};
use overlayd::plan::request::Resetting;
use overlayd::store::records::{KEPT_MAX, Level};
use overlayd::store::write;

use crate::oracle::{Manifest, record};
use crate::reset::fill;
use crate::restore::{ask_seal, state};
use crate::rig::{Rig, manifest, run, s};
use crate::snapshots::asked;

/// What is kept below `/keep`, and what is not.
fn make_first(rig: &Rig) {
    for dir in ["keep/sub/deeper", "keep/not", "keep/gone", "keep/opaque", "other/place"] {
        fs::create_dir_all(rig.path(dir)).unwrap();
    }
    for file in
        ["keep/plain", "keep/not/x", "keep/gone/x", "keep/opaque/old", "other/place/x", "keep/changed"]
    {
        fs::write(rig.path(file), file).unwrap();
    }
    fs::write(rig.path("etc/machine-id"), "0123\n").unwrap();
    run("chattr", &["+i", s(&rig.path("keep/plain"))]);
}

/// The same names as later, above the first.
fn make_second(rig: &Rig) {
    let at = |name: &str| rig.path("keep").join(name);
    fs::remove_dir_all(at("gone")).unwrap();
    fs::remove_dir_all(at("opaque")).unwrap();
    fs::create_dir(at("opaque")).unwrap();
    fs::write(at("opaque/new"), "new").unwrap();
    fs::write(at("changed"), "changed").unwrap();
    attributes(rig);
    specials(rig);
    // What lies in the image's way, and what leads out of the tree.
    fs::remove_file(rig.path("etc/hostname")).unwrap();
    fs::create_dir(rig.path("etc/hostname")).unwrap();
    fs::write(rig.path("etc/hostname/x"), "x").unwrap();
    fs::remove_file(rig.path("etc/os-release")).unwrap();
    fs::remove_dir_all(rig.path("var/lib")).unwrap();
    symlink("/other", rig.path("var/lib")).unwrap();
    symlink("/other", rig.path("linked")).unwrap();
}

fn attributes(rig: &Rig) {
    let at = |name: &str| rig.path("keep").join(name);
    let mode = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    for name in ["setuid", "capable", "acl", "attributes", "one", "sparse", "sub/grows"] {
        fs::write(at(name), name).unwrap();
    }
    chown(at("setuid"), Some(12), Some(34)).unwrap();
    mode("setuid", 0o6755);
    run("setcap", &["cap_net_raw=ep", s(&at("capable"))]);
    run("setfacl", &["-m", "u:77:rwx,g:78:r", s(&at("acl"))]);
    run("setfacl", &["-d", "-m", "u:77:rwx", s(&at("sub"))]);
    for (name, value) in [("user.a", "1"), ("trusted.b", "two"), ("security.c", "three")] {
        run("setfattr", &["-n", name, "-v", value, s(&at("attributes"))]);
    }
    run("setfattr", &["-n", "user.d", "-v", "4", s(&at("sub/deeper"))]);
    fs::hard_link(at("one"), at("sub/two")).unwrap();
    fs::hard_link(at("one"), at("sub/deeper/three")).unwrap();
    let sparse = fs::File::options().write(true).open(at("sparse")).unwrap();
    sparse.write_all_at(b"end", 3 << 20).unwrap();
    sparse.set_len(5 << 20).unwrap();
    chown(at("sub"), Some(5), Some(6)).unwrap();
    mode("sub", 0o2751);
    mode("opaque", 0o000);
    run("touch", &["-d", "1999-12-31 23:59:59.123456789", s(&at("sub/two")), s(&at("sub/deeper"))]);
    run("chattr", &["+a", s(&at("sub/grows"))]);
    run("chattr", &["+i", s(&at("sub/deeper"))]);
}

fn specials(rig: &Rig) {
    let at = |name: &str| rig.path("keep").join(name);
    symlink("/etc/shadow", at("out")).unwrap();
    symlink("no/where", at("dangling")).unwrap();
    lchown(at("dangling"), Some(9), Some(8)).unwrap();
    run("mkfifo", &["-m", "0620", s(&at("fifo"))]);
    run("mknod", &["-m", "0640", s(&at("null")), "c", "1", "3"]);
    run("mknod", &[s(&at("block")), "b", "7", "200"]);
    drop(UnixListener::bind(at("socket")).unwrap());
    let odd = [b"new\nline".to_vec(), b"\xff\xfe".to_vec(), b"-".to_vec(), b" ".to_vec(), vec![b'l'; 255]];
    for name in odd.into_iter().chain([b".hidden".to_vec(), b"*".to_vec(), b"\xc3".to_vec()]) {
        fs::write(rig.path("keep").join(OsString::from_vec(name)), "odd").unwrap();
    }
}

const KEEP: &str =
    "[overlay.root.reset]\nkeep = [\"/keep\", \"!/keep/not\", \"/linked/**\", \"/etc/os-release\"]\n";

/// Whether the test's own rule says that a path is kept. Directories on the way are kept too, but bare of the rest.
fn is_kept(path: &OsStr) -> bool {
    let path = Path::new(path).strip_prefix(".").unwrap();
    let below = |dir: &str| path.starts_with(dir);
    (below("keep") && !below("keep/not"))
        || below("etc/machine-id")
        || below("etc/hostname")
        || ["", "etc"].iter().any(|dir| path == Path::new(dir))
}

/// The image's entries, but for those that are kept as they were.
fn expected(bare: &Manifest, old: &Manifest) -> Manifest {
    let image = bare.0.iter().filter(|(path, _)| !is_kept(path));
    let kept = old.0.iter().filter(|(path, _)| is_kept(path));
    Manifest(image.chain(kept).map(|(path, facts)| (path.clone(), facts.clone())).collect::<BTreeMap<_, _>>())
}

fn keeps(fstype: &str, level: Level) {
    let mut rig = Rig::new(fstype, 400);
    let lists = rig.beside("base/usr/lib/overlayd/keep.d");
    fs::create_dir_all(&lists).unwrap();
    fs::write(lists.join("10-id.conf"), "# of the system\n/etc/machine-id\n").unwrap();
    rig.configure(KEEP);
    let bare = look(&rig);
    rig.boot();
    make_first(&rig);
    rig.shutdown();
    ask_seal(&rig, false);
    rig.boot();
    make_second(&rig);
    let old = look(&rig);
    let preview = previewed(level);
    rig.shutdown();
    rig.request(level, &["/etc/host*"]);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.generation, root.snapshot), (Mode::Persistent, Some(3), None));
    assert_eq!(handoff.problems, Vec::<String>::new());
    expected(&bare, &old).assert_same(&look(&rig), fstype);
    works_on(&rig);
    rig.shutdown();
    rig.offline(|layout| {
        let outcome = state(layout).outcome.unwrap().unwrap();
        assert_eq!((outcome.result.as_str(), outcome.level), ("done", level));
        assert_eq!((outcome.kept.clone(), outcome.kept_count), (preview.0, Some(preview.1)), "as was said");
        assert!(outcome.kept.iter().any(|path| path == "/keep/\\xff\\xfe"), "{:?}", outcome.kept);
        assert_eq!(outcome.unmatched, ["/linked/**", "/etc/os-release"]);
    });
    rig.boot();
    assert!(rig.path("keep/changed").exists());
}

/// All that there is, looked at without a trace. But for the access time of the top, which each mount looks at.
pub(crate) fn look(rig: &Rig) -> Manifest {
    run("mount", &["-o", "remount,bind,noatime", s(&rig.sysroot)]);
    let mut all = record(&rig.sysroot);
    let top = all.0.get_mut(OsStr::new(".")).unwrap();
    let (before, after) = (top.find(" atime ").unwrap(), top.find(" flags ").unwrap());
    top.replace_range(before..after, "");
    all
}

/// What a dry run on the running system says: the paths, and how many.
fn previewed(level: Level) -> (Vec<String>, u64) {
    let site = Site {
        store: "/run/overlayd/store".into(),
        handoff: Some("/run/overlayd/boot.toml".into()),
        root: "/run/overlayd/root/base".into(),
    };
    let wanted = Resetting { level, keep: vec!["/etc/host*".into()], drop_kept: false };
    let preview = operation::preview_reset(&site, "root", &wanted, &asked()).unwrap();
    let kept = preview.kept.unwrap();
    assert_eq!(kept.unmatched, ["/linked/**", "/etc/os-release"]);
    assert!(kept.total.paths.len() <= KEPT_MAX);
    (kept.total.paths, kept.total.count)
}

/// What was kept can be changed like anything else.
fn works_on(rig: &Rig) {
    run("chattr", &["-i", s(&rig.path("keep/plain")), s(&rig.path("keep/sub/deeper"))]);
    run("chattr", &["-a", s(&rig.path("keep/sub/grows"))]);
    fs::write(rig.path("keep/plain"), "changed").unwrap();
    fs::write(rig.path("keep/sub/deeper/new"), "x").unwrap();
    fs::write(rig.path("etc/machine-id"), "another\n").unwrap();
    fs::remove_dir_all(rig.path("keep/sub")).unwrap();
}

#[test]
fn a_reset_keeps_on_ext4() {
    keeps("ext4", Level::Baseline);
}

#[test]
fn a_factory_reset_keeps_on_ext4() {
    keeps("ext4", Level::Factory);
}

#[test]
fn a_factory_reset_keeps_on_xfs() {
    keeps("xfs", Level::Factory);
}

#[test]
fn a_factory_reset_keeps_on_btrfs() {
    keeps("btrfs", Level::Factory);
}

/// What the baseline has where a parent was is hidden by it; what it hides of the image stays hidden.
#[test]
fn what_is_kept_lies_over_whatever_the_baseline_has_there() {
    let rig = Rig::new("ext4", 100);
    rig.boot();
    for dir in ["a/sub", "b/sub"] {
        fs::create_dir_all(rig.path(dir)).unwrap();
        fs::write(rig.path(dir).join("kept"), dir).unwrap();
    }
    fs::create_dir(rig.path("var/lib/.hidden/kept")).unwrap();
    let kept = rig.path("var/lib/.hidden/kept/x");
    fs::write(&kept, "x").unwrap();
    let live = record(&rig.sysroot.join("a"));
    rig.shutdown();
    let id = rig.copy_to_snapshot();
    rig.offline(|layout| {
        let fs = layout.snapshot_fs("root", id);
        run("sh", &["-c", "cd $0 && rm -r a b var && echo x >a && ln -s /etc b && mkdir -p var/lib && mknod var/lib/.hidden c 0 0", s(&fs)]);
        write::point_baseline(layout, "root", Some(id)).unwrap();
    });
    rig.request(Level::Baseline, &["/a/sub/kept", "/b", "/var/lib/.hidden/kept"]);
    let handoff = rig.boot();
    assert_eq!(handoff.overlay["root"].snapshot, Some(id), "{handoff:?}");
    live.0.keys().for_each(|path| assert!(rig.path("a").join(path).exists(), "{path:?}"));
    assert!(fs::symlink_metadata(rig.path("b")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(rig.path("b/sub/kept")).unwrap(), "b/sub");
    assert!(!rig.path("etc/sub").exists(), "nothing went through the link");
    let names: Vec<_> =
        fs::read_dir(rig.path("var/lib/.hidden")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["kept"], "the image's own stays deleted, as in the baseline");
    assert_eq!(fs::read_to_string(kept).unwrap(), "x");
}

/// Deeper than any path that a system call takes.
#[test]
fn what_lies_deep_is_kept() {
    let rig = Rig::new("ext4", 100);
    rig.boot();
    let script = "mkdir deep && cd -P deep && i=0; while [ $i -lt 60 ]; do d=$i$(printf '%0200d' 0); mkdir $d && cd -P $d; \
                  i=$((i+1)); done; echo deep > end";
    run("sh", &["-c", &format!("cd {} && {script}", s(&rig.sysroot))]);
    let count = || run("sh", &["-c", &format!("cd {} && find deep | wc -lc", s(&rig.sysroot))]).stdout;
    let before = count();
    rig.shutdown();
    rig.request(Level::Factory, &["/deep/**/end"]);
    rig.boot();
    assert_eq!(count(), before);
}

/// Names are constant, however many files lie beside.
#[test]
fn only_what_the_patterns_name_is_looked_at() {
    let rig = Rig::new("ext4", 100);
    rig.boot();
    fs::write(rig.path("etc/machine-id"), "x").unwrap();
    fs::create_dir(rig.path("secret")).unwrap();
    rig.shutdown();
    rig.request(Level::Factory, &["/etc/machine-id"]);
    let output = std::process::Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=openat,openat2", "-o", s(&rig.beside("trace"))])
        .arg(rig.early().get_program())
        .args(rig.early().get_args())
        .output()
        .expect("strace is needed");
    assert!(output.status.success());
    let trace = fs::read_to_string(rig.beside("trace")).unwrap();
    assert!(trace.contains("\"etc\""), "the pattern's own directory is opened");
    assert!(!trace.contains("secret"), "no other is");
    assert_eq!(fs::read_to_string(rig.path("etc/machine-id")).unwrap(), "x");
}

/// The whole disk is one file that shall be kept: there is no room for a copy, and where blocks can be shared none is
/// needed.
fn keeps_what_fills_the_disk(fstype: &str, mib: u64) {
    let rig = Rig::new(fstype, mib);
    rig.boot();
    fill(&rig, fstype);
    let before = manifest(&rig.sysroot);
    rig.shutdown();
    rig.request(Level::Factory, &["/etc/hostname"]);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!((root.mode, root.reason.clone()), (Mode::Persistent, None), "{handoff:?}");
    assert_eq!(root.generation, Some(if fstype == "ext4" { 1 } else { 2 }), "{handoff:?}");
    if fstype == "ext4" {
        assert_eq!(manifest(&rig.sysroot), before, "the old system is whole");
        assert!(
            handoff.problems.iter().any(|p| p.contains("the factory reset was not possible")),
            "{handoff:?}"
        );
        rig.shutdown();
        rig.offline(|layout| {
            let state = state(layout);
            let outcome = state.outcome.clone().unwrap().unwrap();
            assert_eq!((outcome.result.as_str(), outcome.erasure), ("failed", None));
            let message = outcome.message.unwrap();
            assert!(message.to_lowercase().contains("no space left"), "{message}");
            assert!(state.request.is_none(), "it is given up");
        });
        rig.request(Level::Factory, &[]);
        rig.boot();
        assert_eq!(fs::read_to_string(rig.path("etc/hostname")).unwrap(), "image\n");
        return;
    }
    assert!(fs::metadata(rig.path("etc/hostname")).unwrap().len() > 1 << 20);
    fs::write(rig.path("etc/works"), "again").unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_does_not_fit_on_a_full_ext4_leaves_the_old_system_whole() {
    keeps_what_fills_the_disk("ext4", 100);
}

#[test]
fn a_full_xfs_keeps_what_fills_it() {
    keeps_what_fills_the_disk("xfs", 320);
}

#[test]
fn a_full_btrfs_keeps_what_fills_it() {
    keeps_what_fills_the_disk("btrfs", 130);
}

#[test]
fn what_can_not_be_kept_is_refused_when_it_is_asked_for() {
    let rig = Rig::new("ext4", 64);
    rig.boot();
    rig.shutdown();
    rig.offline(|layout| {
        let site = Site::offline(layout.root());
        let refused = |level, keep: &str| {
            let wanted = Resetting { level, keep: vec![keep.into()], drop_kept: true };
            operation::request_reset(&site, "root", &wanted, &asked()).unwrap_err().kind()
        };
        assert_eq!(refused(Level::Factory, "etc"), Kind::InvalidArgs);
        assert_eq!(refused(Level::Wipe, "/etc"), Kind::Refused);
        assert!(state(layout).request.is_none());
    });
}

#[test]
fn bytes_that_are_no_text_are_told() {
    let shown = overlayd::keep::select::shown_in(Path::new("/srv"), OsStr::new("a\n").as_bytes());
    assert_eq!(shown, "/srv/a\n");
}
