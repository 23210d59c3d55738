//! The kernel command line, parsed from `&str`. Nothing is read here.

use crate::config::fragment::{Entry, Origin};
use crate::config::keys::{self, KEYS};
use crate::config::load::Problem;
use crate::config::values;
use crate::error::Place;

/// Prefix of every word that is ours.
const PREFIX: &str = "overlayd.";
/// Those that set nothing.
const RESET: &str = "reset";
const SKIP: &str = "skip";

/// The words of the kernel command line: separated by white space, double quotes protect it (kernel `next_arg`).
pub fn words(cmdline: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in cmdline.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

/// The value of the last word `name=value`.
pub fn last_value(cmdline: &str, name: &str) -> Option<String> {
    words(cmdline).iter().rev().find_map(|w| w.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Configuration set by `overlayd.*=` words; what is wrong goes to `problems`. Words after `--` are init's.
pub fn parse(cmdline: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for word in words(cmdline).into_iter().take_while(|w| w != "--") {
        // What asks for a reset, or for a boot without the upper, is no setting: `plan::trigger`.
        let sets = |s: &&str| ![RESET, SKIP].contains(&s.split('=').next().unwrap_or_default());
        let setting = word.strip_prefix(PREFIX).filter(sets);
        if let Some(setting) = setting {
            match entry(setting, &word) {
                Ok(entry) => entries.push(entry),
                Err(problem) => problems.push(*problem),
            }
        }
    }
    entries
}

fn entry(setting: &str, word: &str) -> Result<Entry, Box<Problem>> {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    let problem = |message: String, hint: Option<String>| {
        let place = Place { path: "kernel command line".into(), line: None };
        Box::new(Problem { place, message, hint })
    };
    let Some(key) = keys::by_word(name) else {
        let hint =
            keys::nearest(name, KEYS.iter().map(|k| k.word).filter(|w| !w.is_empty()).chain([RESET, SKIP]));
        return Err(problem(format!("{word}: unknown word"), hint.map(|h| format!("{PREFIX}{h}="))));
    };
    let kind = keys::find(&key).map(|k| k.kind).unwrap_or(keys::Kind::Text);
    values::check(kind, value).map_err(|why| problem(format!("{word}: {why}"), None))?;
    Ok(Entry { key, value: value.to_owned(), origin: Origin::Cmdline(word.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cmdline: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut problems = Vec::new();
        let entries = parse(cmdline, &mut problems);
        let pairs = entries.into_iter().map(|e| (e.key, e.value)).collect();
        (pairs, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn our_words_set_keys_and_others_are_left_alone() {
        let (pairs, problems) = read("root=/dev/vda ro overlayd.mode=volatile overlayd.device=LABEL=x quiet");
        assert!(problems.is_empty());
        assert_eq!(pairs[0], ("overlay.root.mode".into(), "volatile".into()));
        assert_eq!(pairs[1], ("state.device".into(), "LABEL=x".into()));
    }

    #[test]
    fn a_typo_is_a_problem_with_the_nearest_word() {
        let (_, problems) = read("overlayd.mod=off");
        assert_eq!(
            problems,
            ["kernel command line: overlayd.mod=off: unknown word; did you mean \"overlayd.mode=\"?"]
        );
        assert_eq!(read("overlayd.mode=of").1.len(), 1);
        assert_eq!(read("overlayd.mode").1.len(), 1);
    }

    #[test]
    fn quotes_protect_spaces_and_init_has_its_own_words() {
        let (pairs, problems) = read("overlayd.timeout=\"1min 30s\" -- overlayd.mode=nonsense");
        assert!(problems.is_empty());
        assert_eq!(pairs, [("state.timeout".to_owned(), "1min 30s".to_owned())]);
    }

    #[test]
    fn what_asks_for_a_reset_is_no_setting() {
        assert_eq!(read("overlayd.reset=1 overlayd.reset overlayd.skip overlayd.skip=no"), (vec![], vec![]));
        let (_, problems) = read("overlayd.rest=1");
        assert!(problems[0].ends_with("did you mean \"overlayd.reset=\"?"), "{problems:?}");
    }

    #[test]
    fn the_last_value_wins() {
        assert_eq!(last_value("a=1 b=2 a=3", "a").as_deref(), Some("3"));
        assert_eq!(last_value("ab=1", "a"), None);
    }
}
