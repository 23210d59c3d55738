//! A directory with what Debian's initramfs-tools puts into an initramfs for these programs, and nothing else:
//! busybox as shell, the programs with their libraries, and the scripts of the Debian packages, unpacked but not
//! installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::system::{output, run, s};

/// Where the programs stand that are measured.
pub(crate) const EARLY: &str = "/usr/bin/overlayd-early";
pub(crate) const BARE: &str = "/usr/bin/bare";
pub(crate) const TOOL: &str = "/usr/bin/overlayctl";
pub(crate) const STRACE: &str = "/usr/bin/strace";
pub(crate) const OVERLAYROOT: &str = "/scripts/init-bottom/overlayroot";

/// As in Debian's /etc/ld.so.conf.d; what is not there is not looked at.
const LIBRARY_DIRS: &str = "/lib/x86_64-linux-gnu\n/lib/aarch64-linux-gnu\n/lib/riscv64-linux-gnu\n";

/// The release binary of the static program, from `make build`.
pub(crate) fn early_binary() -> PathBuf {
    let path = std::env::var_os("OVERLAYD_EARLY").map(PathBuf::from);
    let path = path.expect("OVERLAYD_EARLY names the static program: run `make bench`");
    fs::canonicalize(&path).unwrap_or_else(|e| panic!("{}: {e}: run `make build`", path.display()))
}

/// Fills `root`, which is empty.
pub(crate) fn build(root: &Path) {
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/ld.so.conf"), LIBRARY_DIRS).unwrap();
    let dirs = ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc/overlayd", "conf/conf.d"];
    let points = ["dev", "proc", "sys", "run", "root", "tmp", "mnt", "media"];
    for dir in dirs.iter().chain(&points) {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link)).unwrap();
    }
    let packages = packages();
    add_program(root, &first_of(&packages, &["usr/bin/busybox", "bin/busybox"]), "/usr/bin/busybox");
    add_applets(root);
    for script in ["scripts/functions", "scripts/init-bottom/overlayroot"] {
        let to = root.join(script);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(packages.join("usr/share/initramfs-tools").join(script), to).unwrap();
    }
    add_program(root, &early_binary(), EARLY);
    add_program(root, Path::new(env!("CARGO_BIN_EXE_overlayctl")), TOOL);
    add_program(root, &bare_binary(), BARE);
    add_program(root, &installed("e2fsck"), "/usr/sbin/e2fsck");
    symlink("e2fsck", root.join("usr/sbin/fsck.ext4")).unwrap();
    add_program(root, &installed("strace"), STRACE);
    run("ldconfig", &["-r", s(root)]);
}

/// The packages that are compared with, unpacked; fetched once. Installing them would change this machine's initramfs.
fn packages() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-packages");
    let unpacked = dir.join("unpacked");
    if unpacked.exists() {
        return unpacked;
    }
    fs::create_dir_all(&dir).unwrap();
    let names = output("tests/packages", &["list", "peer"]);
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(names.split_whitespace());
    assert!(apt.current_dir(&dir).status().unwrap().success(), "the packages {names:?} cannot be fetched");
    let partial = dir.join("partial");
    let files = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    for deb in files.filter(|p| p.extension().is_some_and(|e| e == "deb")) {
        run("dpkg-deb", &["-x", s(&deb), s(&partial)]);
    }
    fs::rename(partial, &unpacked).unwrap();
    unpacked
}

/// The files that were fetched: names with versions.
pub(crate) fn package_versions() -> Vec<String> {
    let dir = packages().with_file_name("");
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut debs: Vec<String> = names.filter_map(|n| n.strip_suffix(".deb").map(str::to_owned)).collect();
    debs.sort();
    debs
}

/// As the hook zz-busybox does: a name for each applet that nothing else has taken.
fn add_applets(root: &Path) {
    let applets = output(s(&root.join("usr/bin/busybox")), &["--list-long"]);
    for path in applets.lines() {
        let path = root.join(if path.contains('/') { path.to_owned() } else { format!("bin/{path}") });
        if fs::symlink_metadata(&path).is_err() && path.parent().is_some_and(Path::exists) {
            fs::hard_link(root.join("usr/bin/busybox"), path).unwrap();
        }
    }
}

/// Compiles the floor.
fn bare_binary() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/bare.c");
    run("cc", &["-static", "-Os", "-s", "-o", s(&program), s(&source)]);
    program
}

/// A program and the shared libraries that it is linked with.
fn add_program(root: &Path, program: &Path, to: &str) {
    fs::copy(program, root.join(&to[1..])).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    // A static program has none; ldd then fails.
    let ldd = Command::new("ldd").arg(program).env_remove("LD_LIBRARY_PATH").output().unwrap();
    let text = String::from_utf8(ldd.stdout).unwrap();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let at = root.join(&library[1..]);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::copy(library, at).unwrap();
    }
}

fn installed(program: &str) -> PathBuf {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs.iter().map(|d| Path::new(d).join(program)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{program} is needed"))
}

fn first_of(root: &Path, paths: &[&str]) -> PathBuf {
    let found = paths.iter().map(|p| root.join(p)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("none of {paths:?} is in {}", root.display()))
}
