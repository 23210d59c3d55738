//! Restoring single paths through the mounted overlay, and what a restore says beforehand.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use overlayd::error::{Error, Kind};
use overlayd::operation::restore::{self, From, Restored};
use overlayd::operation::snapshot::{self, Wanted};

use crate::rig::{Rig, manifest, run, s};
use crate::snapshots::{asked, live, on};

fn create(rig: &Rig) -> u64 {
    snapshot::create(&live(rig), "root", &Wanted::default(), &asked(), &mut on).unwrap().id
}

fn paths(rig: &Rig, from: From, names: &[&str], dry_run: bool) -> Result<Restored, Error> {
    let names: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    restore::paths(&live(rig), "root", from, &names, dry_run, &asked(), &mut on)
}

fn warnings(rig: &Rig, id: u64) -> Vec<String> {
    restore::preview(&live(rig), "root", id, &asked()).unwrap().warnings
}

fn read(rig: &Rig, name: &str) -> String {
    fs::read_to_string(rig.path(name)).unwrap()
}

#[test]
fn a_file_comes_back_with_all_that_belongs_to_it() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/app.conf"), "good").unwrap();
    fs::set_permissions(rig.path("etc/app.conf"), fs::Permissions::from_mode(0o4711)).unwrap();
    run("setfattr", &["-n", "user.note", "-v", "x", s(&rig.path("etc/app.conf"))]);
    run("setfacl", &["-m", "u:7:r", s(&rig.path("etc/app.conf"))]);
    run("truncate", &["-s", "3M", s(&rig.path("etc/holes"))]);
    fs::remove_file(rig.path("etc/hostname")).unwrap();
    let before = manifest(&rig.sysroot);
    let acl = run("getfacl", &["-p", s(&rig.path("etc/app.conf"))]).stdout;
    let id = create(&rig);

    fs::write(rig.path("etc/app.conf"), "bad").unwrap();
    fs::remove_file(rig.path("etc/holes")).unwrap();
    fs::write(rig.path("etc/hostname"), "unwanted").unwrap();
    let names = ["/etc/app.conf", "/etc/holes", "/etc/hostname"];
    let told = paths(&rig, From::Snapshot(id), &names, true).unwrap();
    assert_eq!(read(&rig, "etc/app.conf"), "bad", "a dry run changes nothing");
    let done = paths(&rig, From::Snapshot(id), &names, false).unwrap();
    assert_eq!(told.lines, done.lines);
    let lines = ["file /etc/app.conf, 4 bytes", "file /etc/holes, 3145728 bytes", "removed /etc/hostname"];
    assert_eq!((done.lines.as_slice(), done.complete), (lines.map(String::from).as_slice(), true));
    assert!(!rig.path("etc/hostname").exists());
    let etc = |manifest: &str| {
        manifest.lines().filter(|l| !l.starts_with('d')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(etc(&manifest(&rig.sysroot)), etc(&before));
    assert_eq!(run("getfacl", &["-p", s(&rig.path("etc/app.conf"))]).stdout, acl);
    assert_eq!(fs::metadata(rig.path("etc/holes")).unwrap().blocks(), 0, "a hole stays a hole");
    let note = run("getfattr", &["--only-values", "-n", "user.note", s(&rig.path("etc/app.conf"))]);
    assert_eq!(note.stdout, b"x");
    assert_eq!(paths(&rig, From::Snapshot(id), &names[..2], false).unwrap().lines, Vec::<String>::new());
}

#[test]
fn a_directory_comes_back_whole() {
    let rig = Rig::new("xfs", 400);
    rig.boot();
    let dir = rig.path("srv/app");
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("a/b/one"), "1").unwrap();
    fs::hard_link(dir.join("a/b/one"), dir.join("also")).unwrap();
    symlink("a/b", dir.join("link")).unwrap();
    fs::write(dir.join("file"), "file").unwrap();
    fs::create_dir(dir.join("dir")).unwrap();
    fs::write(dir.join("dir/in"), "in").unwrap();
    run("mkfifo", &[s(&dir.join("pipe"))]);
    fs::write(dir.join("fixed"), "fixed").unwrap();
    fs::create_dir(dir.join("closed")).unwrap();
    fs::write(dir.join("closed/in"), "in").unwrap();
    run("chattr", &["+i", s(&dir.join("fixed")), s(&dir.join("closed"))]);
    let before = manifest(&dir);
    let id = create(&rig);

    run("chattr", &["-i", s(&dir.join("fixed")), s(&dir.join("closed"))]);
    fs::write(dir.join("closed/more"), "more").unwrap();
    run("chattr", &["+i", s(&dir.join("closed"))]);
    fs::write(dir.join("fixed"), "other").unwrap();
    run("chattr", &["+i", s(&dir.join("fixed"))]);
    fs::remove_dir_all(dir.join("a")).unwrap();
    fs::write(dir.join("also"), "no longer").unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    symlink("/etc", dir.join("link")).unwrap();
    fs::remove_file(dir.join("file")).unwrap();
    fs::create_dir_all(dir.join("file/now/a/directory")).unwrap();
    fs::remove_dir_all(dir.join("dir")).unwrap();
    fs::write(dir.join("dir"), "now a file").unwrap();
    fs::write(dir.join("more"), "more").unwrap();
    fs::create_dir(dir.join("extra")).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    paths(&rig, From::Snapshot(id), &["/srv/app"], false).unwrap();
    assert_eq!(manifest(&dir), before);
    let inodes = ["a/b/one", "also"].map(|name| fs::metadata(dir.join(name)).unwrap().ino());
    assert_eq!(inodes[0], inodes[1], "one file with two names");
    assert!(fs::write(dir.join("fixed"), "x").is_err(), "it is immutable again");
    assert!(fs::write(dir.join("closed/more"), "x").is_err(), "and so is this");
    assert!(paths(&rig, From::Snapshot(id), &["/srv/app"], false).unwrap().lines.is_empty());
    run("chattr", &["-i", s(&dir.join("fixed")), s(&dir.join("closed"))]);

    // A missing way to the path is made again.
    fs::remove_dir_all(rig.path("srv")).unwrap();
    paths(&rig, From::Snapshot(id), &["/srv/app/a/b/one"], false).unwrap();
    assert_eq!(read(&rig, "srv/app/a/b/one"), "1");
    assert!(!dir.join("also").exists());
}

#[test]
fn the_images_version_comes_back() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/hostname"), "mine").unwrap();
    fs::remove_dir_all(rig.path("var/lib")).unwrap();
    paths(&rig, From::Base, &["/etc/hostname", "/var/lib"], false).unwrap();
    assert_eq!(read(&rig, "etc/hostname"), "image\n");
    assert_eq!(read(&rig, "var/lib/.hidden/odd\nname"), "x");
    fs::write(rig.path("etc/mine"), "x").unwrap();
    paths(&rig, From::Base, &["/etc/mine"], false).unwrap();
    assert!(!rig.path("etc/mine").exists(), "the image has none");
}

#[test]
fn what_is_mounted_below_is_left_alone() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::create_dir_all(rig.path("srv/data/sub")).unwrap();
    fs::write(rig.path("srv/file"), "1").unwrap();
    let id = create(&rig);
    run("mount", &["-t", "tmpfs", "tmpfs", s(&rig.path("srv/data"))]);
    fs::write(rig.path("srv/data/precious"), "x").unwrap();
    fs::write(rig.path("srv/file"), "2").unwrap();
    for name in ["/srv/data", "/srv/data/precious"] {
        let error = paths(&rig, From::Snapshot(id), &[name], false).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(error.message().contains("/srv/data"), "{error}");
    }
    let done = paths(&rig, From::Snapshot(id), &["/srv"], false).unwrap();
    assert!(done.lines.iter().any(|l| l.starts_with("kept /srv/data")), "{:?}", done.lines);
    assert_eq!((read(&rig, "srv/file").as_str(), read(&rig, "srv/data/precious").as_str()), ("1", "x"));
    // The image has no /srv at all; what is mounted in it stays mounted.
    let done = paths(&rig, From::Base, &["/srv"], false).unwrap();
    assert!(done.lines.iter().any(|l| l.starts_with("kept /srv")), "{:?}", done.lines);
    assert_eq!(read(&rig, "srv/data/precious"), "x");
}

#[test]
fn a_symlink_leads_nowhere() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::create_dir(rig.path("srv")).unwrap();
    fs::write(rig.path("srv/f"), "1").unwrap();
    let id = create(&rig);
    fs::remove_dir_all(rig.path("srv")).unwrap();
    fs::create_dir(rig.path("elsewhere")).unwrap();
    symlink("/elsewhere", rig.path("srv")).unwrap();
    let error = paths(&rig, From::Snapshot(id), &["/srv/f"], false).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert_eq!(fs::read_dir(rig.path("elsewhere")).unwrap().count(), 0);
    for bad in ["srv/f", "/srv/../f", "/"] {
        assert_eq!(paths(&rig, From::Snapshot(id), &[bad], false).unwrap_err().kind(), Kind::InvalidArgs);
    }
    assert_eq!(paths(&rig, From::Snapshot(id), &["/no"], false).unwrap_err().kind(), Kind::InvalidArgs);
    assert_eq!(paths(&rig, From::Snapshot(9), &["/srv"], false).unwrap_err().kind(), Kind::NoSuchSnapshot);
}

/// As the daemon's sandbox has it: everything is read-only but what is for it.
#[test]
fn a_read_only_view_does_not_stop_it() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("etc/hostname"), "mine").unwrap();
    let site = live(&rig);
    run("mount", &["-o", "remount,bind,ro", s(&rig.sysroot)]);
    assert!(fs::write(rig.path("etc/hostname"), "x").is_err());
    let names = [PathBuf::from("/etc/hostname")];
    restore::paths(&site, "root", From::Base, &names, false, &asked(), &mut on).unwrap();
    assert_eq!(read(&rig, "etc/hostname"), "image\n");
    assert!(fs::write(rig.path("etc/hostname"), "x").is_err(), "the view stays as it was");
}

#[test]
fn a_cancelled_restore_leaves_whole_files() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::create_dir(rig.path("srv")).unwrap();
    for i in 0..50 {
        fs::write(rig.path(&format!("srv/{i}")), format!("old {i}")).unwrap();
    }
    let id = create(&rig);
    for i in 0..50 {
        fs::write(rig.path(&format!("srv/{i}")), "new").unwrap();
    }
    let mut calls = 0;
    let error = restore::paths(
        &live(&rig),
        "root",
        From::Snapshot(id),
        &["/srv".into()],
        false,
        &asked(),
        &mut |p| {
            calls += 1;
            if p.entries > 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Canceled, "{error}");
    let names: Vec<String> = fs::read_dir(rig.path("srv"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 50, "{names:?}");
    for name in names {
        let text = read(&rig, &format!("srv/{name}"));
        assert!(text == "new" || text == format!("old {name}"), "{name}: {text}");
    }
}

const SSH: &str = "root/.ssh/authorized_keys";

#[test]
fn a_preview_names_what_was_taken_away_for_a_reason() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::create_dir_all(rig.path("root/.ssh")).unwrap();
    fs::create_dir_all(rig.path("usr/bin")).unwrap();
    fs::create_dir_all(rig.path("etc/ssl/certs")).unwrap();
    fs::write(rig.path("usr/bin/raise"), "#!").unwrap();
    fs::set_permissions(rig.path("usr/bin/raise"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(rig.path("usr/bin/ping"), "#!").unwrap();
    run("setcap", &["cap_net_raw+ep", s(&rig.path("usr/bin/ping"))]);
    fs::write(rig.path("etc/shadow"), "root:$6$old$secret:1::\nanna:$6$same:1::\n").unwrap();
    fs::write(rig.path(SSH), "ssh-ed25519 AAAAone a\nssh-ed25519 AAAAtwo b\n").unwrap();
    fs::write(rig.path("etc/ssl/certs/ca.pem"), "ca").unwrap();
    fs::write(rig.path("etc/harmless"), "1").unwrap();
    let id = create(&rig);
    assert_eq!(warnings(&rig, id), Vec::<String>::new(), "nothing changed yet");

    fs::set_permissions(rig.path("usr/bin/raise"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(rig.path("usr/bin/ping")).unwrap();
    fs::write(rig.path("etc/shadow"), "root:$6$new$hidden:2::\nanna:$6$same:1::\n").unwrap();
    fs::write(rig.path(SSH), "ssh-ed25519 AAAAtwo b\n").unwrap();
    fs::remove_dir_all(rig.path("etc/ssl")).unwrap();
    fs::write(rig.path("etc/harmless"), "2").unwrap();
    let found = warnings(&rig, id);
    assert_eq!(
        found,
        [
            "/etc/shadow: root gets the password of then",
            "/root/.ssh/authorized_keys: 1 key that is not there now may log in again",
            "file with capabilities /usr/bin/ping comes back",
            "setuid file /usr/bin/raise comes back",
            "trusted key or certificate /etc/ssl/certs/ca.pem comes back",
        ]
    );
    assert!(!found.iter().any(|w| w.contains("secret") || w.contains("$6$")), "no hash is told: {found:?}");
    let site = overlayd::operation::Site::offline(std::path::Path::new("/run/overlayd/store"));
    let offline = restore::preview(&site, "root", id, &asked()).unwrap().warnings;
    assert!(offline[0].contains("not mounted"), "{offline:?}");
}

/// What the image itself has counts as well, where a layer hides it now.
#[test]
fn a_preview_looks_below_what_is_removed() {
    let mut rig = Rig::new("ext4", 200);
    let raise = rig.beside("base/usr/lib/deep/raise");
    fs::create_dir_all(raise.parent().unwrap()).unwrap();
    fs::write(&raise, "#!").unwrap();
    fs::set_permissions(&raise, fs::Permissions::from_mode(0o6755)).unwrap();
    rig.configure("");
    rig.boot();
    fs::write(rig.path("etc/x"), "x").unwrap();
    let id = create(&rig);
    fs::remove_dir_all(rig.path("usr/lib")).unwrap();
    assert_eq!(warnings(&rig, id), ["setuid file /usr/lib/deep/raise comes back"]);
    fs::create_dir(rig.path("usr/lib")).unwrap();
    assert_eq!(
        warnings(&rig, id),
        ["setuid file /usr/lib/deep/raise comes back"],
        "an opaque directory hides it"
    );
}

/// As a job of the daemon has it: a small stack, whatever somebody made.
#[test]
fn a_tree_that_is_deeper_than_any_path_fits_in_a_small_stack() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::create_dir(rig.path("srv")).unwrap();
    let deep = "mkdir -p $(printf 'd/%.0s' $(seq 300)); d=$(printf '%0200d/' $(seq 18)); \
                for i in 1 2; do mkdir -p $d && cd -P $d; done; echo x > deepest";
    let shell = |script: &str| {
        let output =
            std::process::Command::new("sh").args(["-c", script]).current_dir(rig.path("srv")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", crate::rig::text(&output));
    };
    shell(deep);
    let site = live(&rig);
    let id = create(&rig);
    shell("rm -rf *");
    std::thread::scope(|scope| {
        let job = std::thread::Builder::new().stack_size(512 << 10);
        job.spawn_scoped(scope, || {
            let warnings = restore::preview(&site, "root", id, &asked()).unwrap().warnings;
            assert_eq!(warnings, Vec::<String>::new());
            let from = From::Snapshot(id);
            let done =
                restore::paths(&site, "root", from, &["/srv".into()], false, &asked(), &mut on).unwrap();
            assert_eq!((done.entries, done.complete), (300 + 2 * 18 + 2, true));
            let preview = overlayd::operation::commit::preview(&site, "root", &[], &mut on).unwrap();
            assert_eq!((preview.lines.len(), preview.complete), (300 + 17 + 1, false));
        })
        .unwrap();
    });
    shell(&deep.replace("mkdir -p $d && ", "").replace("echo x >", "cat"));
}
