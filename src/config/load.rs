//! Merging: files of the initramfs, files of the base, kernel command line → values, problems, [`Config`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::files::{self, File};
use super::fragment::{self, Entry, Origin};
use super::kept;
use super::keys::{self, KEYS, Key, Kind};
use super::settings::{self, Config};
use crate::cmdline;
use crate::error::Place;

/// Something wrong with the configuration. At boot it leads to the fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file and the line, or the kernel command line.
    pub place: Place,
    /// What is wrong, beginning with the key.
    pub message: String,
    /// The nearest known key.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; did you mean \"{hint}\"?"),
            None => Ok(()),
        }
    }
}

/// One line of `overlayctl config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Full key name.
    pub key: String,
    /// The value in force.
    pub value: String,
    /// Where it was set.
    pub source: String,
}

/// The configuration and the whole story of how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What is in force; where there are problems, made of what could be read.
    pub config: Config,
    /// Every key with its value and source.
    pub values: Vec<Shown>,
    /// Everything wrong.
    pub problems: Vec<Problem>,
    /// Not wrong, but not what one may think.
    pub warnings: Vec<String>,
}

/// The configuration of a system below `root` that would boot with the kernel arguments `cmdline`. On a machine
/// that runs on an overlay it is that of the base, and what lies in the writable layer is warned about.
pub fn load(root: &Path, cmdline: &str) -> Loaded {
    let base = root.join("run/overlayd/root/base");
    if !base.join("usr").exists() {
        let mut problems = Vec::new();
        let files = files::read_all(root, &mut problems);
        let lists = files::read_keep_lists(root, &mut problems);
        return merge(&files, &lists, cmdline, problems);
    }
    let mut problems = Vec::new();
    let own = files::read_all(&base, &mut problems);
    let lists = files::read_keep_lists(&base, &mut problems);
    let mut merged = files::read_all(root, &mut Vec::new());
    merged.extend(files::read_keep_lists(root, &mut Vec::new()));
    let warnings = not_read_at_boot(&[own.as_slice(), &lists].concat(), &merged);
    let mut loaded = merge(&own, &lists, cmdline, problems);
    loaded.warnings.extend(warnings);
    loaded
}

/// Policy belongs to the image: files that only the merged tree has, or has otherwise, have no effect at boot.
fn not_read_at_boot(base: &[File], merged: &[File]) -> Vec<String> {
    let ignored = merged.iter().filter(|file| !base.contains(file));
    let mut warnings: Vec<String> = ignored
        .map(|file| format!("{} lies in the writable layer and is not read at boot", file.name.display()))
        .collect();
    let hidden = base.iter().filter(|file| !merged.iter().any(|m| m.name == file.name));
    warnings.extend(hidden.map(|file| {
        format!(
            "{} is removed in the writable layer, but the image's is still read at boot",
            file.name.display()
        )
    }));
    warnings
}

/// The configuration at boot: what the initramfs carries, then the base's own files, then `cmdline`.
pub fn load_at_boot(initramfs: &Path, base: &Path, cmdline: &str) -> Loaded {
    let mut problems = Vec::new();
    let carried = files::read_all(initramfs, &mut Vec::new());
    let own = files::read_all(base, &mut problems);
    let lists = files::read_keep_lists(base, &mut problems);
    // An unchanged copy in the initramfs says nothing of its own, and a problem in it would be told twice.
    let mut all: Vec<File> = carried.into_iter().filter(|f| !own.iter().any(|o| o.name == f.name)).collect();
    all.extend(own);
    merge(&all, &lists, cmdline, problems)
}

fn merge(files: &[File], lists: &[File], cmdline: &str, mut problems: Vec<Problem>) -> Loaded {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut set = |list: Vec<Entry>| entries.extend(list.into_iter().map(|e| (e.key.clone(), e)));
    for file in files {
        set(fragment::parse(&file.name, &file.text, &mut problems));
    }
    let words = cmdline::parse(cmdline, &mut problems);
    set(words);
    let mut config = settings::build(&entries, &mut problems);
    let mut values = shown(&entries, &config);
    values.extend(kept::add(&mut config, lists, &mut problems));
    Loaded { values, config, problems, warnings: settings::warnings(&entries) }
}

fn shown(entries: &BTreeMap<String, Entry>, config: &Config) -> Vec<Shown> {
    let one = |key: &Key, overlay: &str| {
        let name = key.name.replace('*', overlay);
        let (value, origin) = match entries.get(&name) {
            Some(entry) => (entry.value.clone(), entry.origin.clone()),
            None => (key.default.to_owned(), Origin::Default),
        };
        let value = if key.kind == Kind::Patterns { kept::array(value.lines()) } else { value };
        Shown { key: name, value, source: origin.to_string() }
    };
    let mut values: Vec<Shown> = KEYS.iter().map(|key| one(key, "root")).collect();
    for name in config.overlays.keys().filter(|name| *name != "root") {
        let theirs = KEYS.iter().filter(|k| k.name.starts_with("overlay.*.") && !keys::is_root_only(k));
        values.extend(theirs.map(|key| one(key, name)));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.into(), text: text.into() }
    }

    #[test]
    fn files_of_the_writable_layer_are_warned_about() {
        let base = [file("/a", "x"), file("/b", "x"), file("/gone", "x")];
        let merged = [file("/a", "x"), file("/b", "y"), file("/new", "x")];
        let warnings = not_read_at_boot(&base, &merged);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(
            warnings[0].starts_with("/b ")
                && warnings[1].starts_with("/new ")
                && warnings[2].starts_with("/gone ")
        );
    }

    #[test]
    fn later_files_win_key_by_key_and_the_command_line_wins_over_all() {
        let files = [
            file("/a", "[state]\ndevice = \"LABEL=a\"\ntimeout = \"1s\"\n"),
            file("/b", "[state]\ndevice = \"LABEL=b\"\n"),
        ];
        let loaded = merge(&files, &[], "quiet overlayd.timeout=3s", Vec::new());
        let value = |key: &str| loaded.values.iter().find(|s| s.key == key).unwrap().clone();
        assert_eq!(value("state.device").value, "LABEL=b");
        assert_eq!(value("state.device").source, "/b:2");
        assert_eq!(value("state.timeout").value, "3s");
        assert_eq!(value("state.timeout").source, "kernel command line: overlayd.timeout=3s");
        assert_eq!(value("state.fsck").source, "default");
    }

    #[test]
    fn keep_lists_belong_to_the_overlay_that_they_lie_in() {
        let files =
            [file("/a", "[overlay.data]\ntarget = \"/srv/data\"\n\n[overlay.root.reset]\nkeep = [\"/k\"]\n")];
        let lists = [
            file("/l/10-a.conf", "# ours\n\n/etc/machine-id\n/srv/data/x*  \n"),
            file("/l/20-b.conf", "!/etc/ssh\netc\n/srv\n"),
            file("/l/30-masked.conf", ""),
        ];
        let loaded = merge(&files, &lists, "", Vec::new());
        let texts = |name: &str| -> Vec<String> {
            loaded.config.overlays[name].keep.iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("root"), ["/etc/machine-id", "!/etc/ssh", "/srv", "/k"]);
        assert_eq!(texts("data"), ["/srv/data/x*"]);
        assert_eq!(loaded.problems.len(), 1);
        assert!(loaded.problems[0].to_string().starts_with("/l/20-b.conf:2: \"etc\" is not absolute"));
        let shown = |key: &str| loaded.values.iter().find(|s| s.key == key).unwrap().clone();
        assert_eq!(shown("overlay.root.reset.keep").value, "[\"/k\"]");
        assert_eq!(shown("overlay.data.reset.keep").value, "[]");
        let list = shown("keep.d/10-a.conf");
        assert_eq!(
            (list.value.as_str(), list.source.as_str()),
            ("[\"/etc/machine-id\", \"/srv/data/x*\"]", "/l/10-a.conf")
        );
    }

    #[test]
    fn what_is_not_there_yet_is_warned_about_with_its_place() {
        let files = [file("/a", "[overlay.root]\nbase-changed = \"merge\"\n")];
        let loaded = merge(&files, &[], "", Vec::new());
        assert_eq!(loaded.problems, []);
        assert!(
            loaded.warnings[0].starts_with("/a:2: overlay.root.base-changed: \"merge\""),
            "{:?}",
            loaded.warnings
        );
        assert!(merge(&[], &[], "overlayd.base-changed=set-aside", Vec::new()).warnings.is_empty());
    }

    #[test]
    fn every_overlay_is_shown_with_the_keys_it_can_have() {
        let files = [file("/a", "[overlay.data]\ntarget = \"/srv/data\"\n")];
        let loaded = merge(&files, &[], "", Vec::new());
        assert_eq!(loaded.problems, []);
        let value = |key: &str| loaded.values.iter().find(|s| s.key == key).map(|s| s.value.as_str());
        assert_eq!(value("overlay.data.target"), Some("/srv/data"));
        assert_eq!(value("overlay.data.mode"), Some("persistent"));
        assert_eq!(value("overlay.data.fallback"), None);
        assert_eq!(value("overlay.root.target"), Some("/"));
    }
}
