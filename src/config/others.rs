//! What can be wrong with an overlay that is not the root. Pure.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::fragment::Entry;
use super::keys::{self, KEYS};
use super::load::Problem;
use super::settings::{Config, Mode, problem_with};
use crate::keep::Pattern;
use crate::store::records::Level;

/// Where overlayd keeps its own things: what is mounted over them, or below them, would be in its way.
const OWN: &str = "/run/overlayd";

/// Checks each overlay but the root: its target, its mode, and the keys that mean nothing for it.
pub(super) fn check(entries: &BTreeMap<String, Entry>, config: &Config, problems: &mut Vec<Problem>) {
    let mut targets: Vec<(&Path, &str)> = Vec::new();
    for (name, overlay) in config.overlays.iter().filter(|(name, _)| *name != "root") {
        let key = |last: &str| format!("overlay.{name}.{last}");
        let mut problem = |key: &str, text: &str| problems.push(problem_with(entries, key, text));
        let target = key("target");
        match entries.get(&target) {
            None => {
                // The line of whatever was set: there is none of the key that is missing.
                let first = entries.keys().find(|k| k.starts_with(&key(""))).cloned().unwrap_or_default();
                problem(&first, &format!("the overlay \"{name}\" needs a target"));
            }
            Some(entry) => {
                if let Some(why) = bad_target(&entry.value) {
                    problem(&target, &why);
                } else if let Some((_, other)) = targets.iter().find(|(known, _)| *known == overlay.target) {
                    problem(&target, &format!("the overlay \"{other}\" has the same target"));
                }
                targets.push((&overlay.target, name));
            }
        }
        let apart = |pattern: &&Pattern| !pattern.is_below(names(&overlay.target));
        if let Some(pattern) = overlay.keep.iter().find(apart) {
            let target = overlay.target.display();
            problem(&key("reset.keep"), &format!("\"{pattern}\" does not lie below {target}"));
        }
        if overlay.level == Level::Wipe {
            problem(
                &key("reset.level"),
                "\"wipe\" concerns the whole state device: only the overlay \"root\" has it",
            );
        }
        if overlay.mode != Mode::Persistent {
            let text = "an overlay other than \"root\" is \"persistent\" in this version";
            problem(&key("mode"), text);
        }
        if config.state.device.is_none() {
            problem(
                "state.device",
                &format!("empty, but the overlay \"{name}\" needs a store; name a device"),
            );
        }
        for root_only in KEYS.iter().filter(|k| keys::is_root_only(k)) {
            let full = root_only.name.replace('*', name);
            if entries.contains_key(&full) {
                problem(&full, "means something for the overlay \"root\" alone");
            }
        }
    }
}

/// The names that a path is made of, from the root.
pub fn names(path: &Path) -> impl Iterator<Item = &[u8]> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    })
}

fn bad_target(text: &str) -> Option<String> {
    let path = Path::new(text);
    let normal = path.components().skip(1).all(|c| matches!(c, Component::Normal(_)));
    // Components swallow `//`, `/./` and a slash at the end.
    let same = path.components().collect::<std::path::PathBuf>().as_os_str().len() == text.len();
    if !path.is_absolute() || !normal || !same {
        return Some(format!(
            "\"{text}\" is not an absolute path of plain names; write for example \"/srv/data\""
        ));
    }
    let own = Path::new(OWN);
    if path == Path::new("/") {
        return Some("\"/\" is the overlay \"root\"".to_owned());
    }
    (path.starts_with(own) || own.starts_with(path)).then(|| format!("{OWN} is overlayd's own"))
}

#[cfg(test)]
mod tests {
    use super::super::fragment::Origin;
    use super::super::settings::build;
    use super::*;
    use crate::error::Place;

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let entry = |(i, (k, v)): (usize, &(&str, &str))| {
            let place = Place { path: "f".into(), line: Some(i + 1) };
            let entry = Entry { key: k.to_string(), value: v.to_string(), origin: Origin::File(place) };
            (k.to_string(), entry)
        };
        let mut problems = Vec::new();
        build(&pairs.iter().enumerate().map(entry).collect(), &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_overlays_side_by_side_are_good() {
        let two = [
            ("overlay.a.target", "/srv/a"),
            ("overlay.b.target", "/srv/a/b"),
            ("overlay.b.mode", "persistent"),
        ];
        assert_eq!(problems(&two), Vec::<String>::new());
    }

    #[test]
    fn what_can_not_be_a_target_is_told_with_its_line() {
        let bad = [
            "",
            "/",
            "srv",
            "/srv/",
            "/srv//a",
            "/srv/../a",
            "/srv/.",
            "/run",
            "/run/overlayd",
            "/run/overlayd/store/x",
        ];
        for bad in bad {
            let found = problems(&[("overlay.a.target", bad)]);
            assert!(found.len() == 1 && found[0].starts_with("f:1: overlay.a.target: "), "{bad}: {found:?}");
        }
        let twice = problems(&[("overlay.a.target", "/srv"), ("overlay.b.target", "/srv")]);
        assert_eq!(twice, ["f:2: overlay.b.target: the overlay \"a\" has the same target"]);
        let none = problems(&[("overlay.a.mode", "persistent")]);
        assert_eq!(none, ["f:1: overlay.a.mode: the overlay \"a\" needs a target"]);
    }

    #[test]
    fn an_upper_needs_a_device() {
        let ram = [("state.device", ""), ("overlay.root.mode", "volatile"), ("overlay.a.target", "/srv")];
        assert!(problems(&ram)[0].starts_with("f:1: state.device: empty"), "{:?}", problems(&ram));
    }

    #[test]
    fn what_a_reset_keeps_lies_in_the_overlay() {
        let kept = |keep| problems(&[("overlay.a.target", "/srv"), ("overlay.a.reset.keep", keep)]);
        assert_eq!(kept("/srv/x\n!/srv/**/y"), Vec::<String>::new());
        assert_eq!(kept("/srv/x\n/etc"), ["f:2: overlay.a.reset.keep: \"/etc\" does not lie below /srv"]);
        let wipe = problems(&[("overlay.a.target", "/srv"), ("overlay.a.reset.level", "wipe")]);
        assert!(wipe[0].starts_with("f:2: overlay.a.reset.level: "), "{wipe:?}");
    }

    #[test]
    fn modes_and_keys_of_the_root_are_refused() {
        for (key, value) in [("mode", "volatile"), ("mode", "off"), ("size", "1G"), ("fallback", "fail")] {
            let key = format!("overlay.a.{key}");
            let found = problems(&[("overlay.a.target", "/srv"), (&key, value)]);
            assert!(found.len() == 1 && found[0].starts_with(&format!("f:2: {key}: ")), "{found:?}");
        }
    }
}
