//! Overlayfs's rules, one at a time, on layers made by hand. As root: whiteouts and marks take it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::error::Kind;
use crate::sys::xattr::Bearer;
use std::os::fd::AsFd;

/// Layers in a directory that goes away.
struct Layers(PathBuf);

impl Drop for Layers {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All differences, a line each.
#[derive(Default)]
struct Told(Vec<String>);

impl Listener for Told {
    fn change(&mut self, change: &Change) -> Result<()> {
        let sign = match (&change.from, &change.to) {
            (None, _) => "+",
            (_, None) => "-",
            (Some(a), Some(b)) if a.node.kind == b.node.kind => "M",
            _ => "T",
        };
        let mut line = format!("{sign} {}", String::from_utf8_lossy(&change.path));
        change.aspects.iter().for_each(|aspect| line += &format!(" {aspect:?}"));
        self.0.push(line);
        Ok(())
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Layers {
    fn new(name: &str) -> Layers {
        let dir = std::env::temp_dir().join(format!("overlayd-diff-{}-{name}", std::process::id()));
        for layer in ["base", "snapshot", "upper"] {
            fs::create_dir_all(dir.join(layer)).unwrap();
        }
        Layers(dir)
    }

    /// A file with the same time each time.
    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    fn whiteout(&self, path: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let name = CString::new(path.file_name().unwrap().as_encoded_bytes()).unwrap();
        node::create_whiteout(node::open_top(path.parent().unwrap()).unwrap(), &name).unwrap();
    }

    fn mark(&self, path: &str, name: &str, value: &[u8]) {
        let file = fs::File::open(self.0.join(path)).unwrap();
        Bearer::Open(file.as_fd()).set(&CString::new(name).unwrap(), value).unwrap();
    }

    fn stack(&self, names: &[&str]) -> Vec<Arc<Layer>> {
        let open = |name: &&str| match *name {
            "base" => Layer::base(&self.0.join(name)),
            _ => Layer::upper(&self.0.join(name)),
        };
        names.iter().map(|name| open(name).unwrap()).collect()
    }

    fn try_diff(&self, from: &[&str], to: &[&str], paths: &[&str]) -> Result<Vec<String>> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let mut told = Told::default();
        diff(&self.stack(from), &self.stack(to), &paths, &mut told)?;
        Ok(told.0)
    }

    fn diff(&self, from: &[&str], to: &[&str]) -> Vec<String> {
        self.try_diff(from, to, &[]).unwrap()
    }
}

const BASE: &[&str] = &["base"];
const UPPER: &[&str] = &["upper", "base"];
const BOTH: &[&str] = &["upper", "snapshot", "base"];

#[test]
fn what_the_upper_says_anew_is_no_change_as_root() {
    let layers = Layers::new("same");
    layers.file("base/etc/same", "same");
    layers.file("upper/etc/same", "same");
    layers.whiteout("upper/etc/never-there");
    layers.file("base/etc/old", "old");
    layers.whiteout("upper/etc/old");
    layers.file("base/etc/text", "one");
    layers.file("upper/etc/text", "two");
    layers.file("upper/etc/new", "new");
    assert_eq!(layers.diff(BASE, UPPER), ["+ etc/new", "- etc/old", "M etc/text Content"]);
    assert_eq!(layers.diff(UPPER, BASE), ["- etc/new", "+ etc/old", "M etc/text Content"]);
    assert_eq!(layers.diff(UPPER, UPPER), Vec::<String>::new());
}

#[test]
fn which_metadata_differs_is_told_and_a_touched_file_is_no_changed_one_as_root() {
    let layers = Layers::new("metadata");
    for name in ["touched", "mode", "owner", "xattr"] {
        layers.file(&format!("base/{name}"), "x");
        layers.file(&format!("upper/{name}"), "x");
    }
    let upper = layers.0.join("upper");
    fs::File::options()
        .write(true)
        .open(upper.join("touched"))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    fs::set_permissions(upper.join("mode"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(upper.join("owner"), Some(7), Some(8)).unwrap();
    layers.mark("upper/xattr", "trusted.mine", b"1");
    // Those of overlayfs's own are no part of what is shown.
    layers.mark("upper/mode", "trusted.overlay.origin", b"1");
    let expected =
        ["M mode Mode", "M owner Owner Group", "M touched Mtime", "M xattr Attributes"].map(str::to_owned);
    assert_eq!(layers.diff(BASE, UPPER), expected);
}

#[test]
fn an_opaque_directory_hides_what_is_below_and_a_layer_between_does_too_as_root() {
    let layers = Layers::new("opaque");
    layers.file("base/d/in-base", "x");
    layers.file("base/d/sub/in-base", "x");
    layers.file("snapshot/d/in-snapshot", "x");
    layers.file("upper/d/in-upper", "x");
    assert_eq!(layers.diff(BASE, BOTH), ["+ d/in-snapshot", "+ d/in-upper"]);
    layers.mark("snapshot/d", "trusted.overlay.opaque", b"y");
    let expected = ["- d/in-base", "+ d/in-snapshot", "+ d/in-upper", "- d/sub", "- d/sub/in-base"];
    assert_eq!(layers.diff(BASE, BOTH), expected);
    assert_eq!(layers.diff(&["snapshot", "base"], BOTH), ["+ d/in-upper"]);
    layers.mark("upper/d", "trusted.overlay.opaque", b"y");
    assert_eq!(layers.diff(&["snapshot", "base"], BOTH), ["- d/in-snapshot", "+ d/in-upper"]);
}

#[test]
fn what_is_no_directory_in_between_ends_the_merging_as_root() {
    let layers = Layers::new("between");
    layers.file("base/d/in-base", "x");
    layers.file("upper/d/in-upper", "x");
    layers.whiteout("snapshot/d");
    assert_eq!(layers.diff(BASE, BOTH), ["- d/in-base", "+ d/in-upper"]);
    assert_eq!(layers.diff(&["snapshot", "base"], BOTH), ["+ d", "+ d/in-upper"]);
}

#[test]
fn another_type_is_told_with_all_that_was_below_as_root() {
    let layers = Layers::new("type");
    layers.file("base/d/file", "x");
    layers.file("base/link", "x");
    layers.file("upper/d", "a file now");
    symlink("elsewhere", layers.0.join("upper/link")).unwrap();
    assert_eq!(layers.diff(BASE, UPPER), ["T d", "- d/file", "T link"]);
}

#[test]
fn whiteouts_as_attributes_count_where_the_directory_is_marked_as_root() {
    let layers = Layers::new("attributes");
    for name in ["a/x", "b/x"] {
        layers.file(&format!("base/{name}"), "x");
        layers.file(&format!("snapshot/{name}"), "");
        layers.mark(&format!("snapshot/{name}"), "trusted.overlay.whiteout", b"");
    }
    layers.mark("snapshot/a", "trusted.overlay.opaque", b"x");
    assert_eq!(layers.diff(BASE, &["snapshot", "base"]), ["- a/x", "M b/x Content"]);
}

#[test]
fn paths_come_in_the_order_of_their_bytes_as_root() {
    let layers = Layers::new("order");
    for name in ["a/b", "a/b!/c", "a/b.d", "a!", "a.b/c", "a-", "b", "A"] {
        let path = format!("upper/{name}");
        match layers.0.join(&path).exists() {
            true => {}
            false => layers.file(&if name == "a/b" { "upper/a/b/x".into() } else { path }, "x"),
        }
    }
    let told = layers.diff(BASE, UPPER);
    let mut sorted = told.clone();
    sorted.sort();
    assert_eq!(told, sorted);
    assert!(told.contains(&"+ a/b/x".to_owned()) && told.contains(&"+ a.b/c".to_owned()), "{told:?}");
}

#[test]
fn only_what_is_asked_for_is_looked_at_as_root() {
    let layers = Layers::new("paths");
    layers.file("upper/etc/a", "x");
    layers.file("upper/etc/b/c", "x");
    layers.file("upper/usr/d", "x");
    let asked = |paths: &[&str]| layers.try_diff(BASE, UPPER, paths).unwrap();
    assert_eq!(asked(&["etc/b", "usr/d"]), ["+ etc/b", "+ etc/b/c", "+ usr/d"]);
    assert_eq!(asked(&["etc/a"]), ["+ etc/a"]);
    assert_eq!(asked(&["etc/none", "nowhere/at/all"]), Vec::<String>::new());
    assert!(has(&layers.stack(UPPER), Path::new("etc/b/c")).unwrap());
    assert!(!has(&layers.stack(UPPER), Path::new("etc/a/c")).unwrap());
    assert!(!has(&layers.stack(BASE), Path::new("etc")).unwrap());
}

#[test]
fn a_layer_that_depends_on_another_is_refused_by_name_as_root() {
    for (path, mark) in [("upper/d", "trusted.overlay.redirect"), ("upper/f", "trusted.overlay.metacopy")] {
        let layers = Layers::new(&mark[16..]);
        layers.file("upper/d/x", "x");
        layers.file("upper/f", "x");
        layers.mark(path, mark, b"/elsewhere");
        let error = layers.try_diff(BASE, UPPER, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.message().contains(path) && error.message().ends_with(mark), "{error}");
    }
}

#[test]
fn depth_is_no_limit_as_root() {
    let layers = Layers::new("deep");
    let mut path = "upper".to_owned();
    (0..200).for_each(|_| path += "/deep");
    layers.file(&format!("{path}/x"), "x");
    layers.file(&format!("{path}.a/x"), "x");
    // Directories on the way that were closed meanwhile are opened again.
    layers.file("upper/z", "x");
    layers.file("upper/deep/z", "x");
    let told = layers.diff(BASE, UPPER);
    assert_eq!(told.len(), 205);
    assert!(told[202].ends_with("deep/x"), "{}", told[202]);
    assert_eq!(told[203..], ["+ deep/z", "+ z"]);
}
