//! Patterns against paths, odd bytes among them.

use super::*;

fn parsed(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

fn reached(patterns: Patterns<'_>, path: &[u8]) -> Reached {
    let names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
    names.fold(patterns.top(), |at, name| patterns.enter(&at, name))
}

fn keeps(patterns: &[&str], path: impl AsRef<[u8]>) -> bool {
    let list = parsed(patterns);
    Patterns(&list).keeps(&reached(Patterns(&list), path.as_ref()))
}

#[test]
fn names_and_what_is_below_them() {
    assert!(keeps(&["/etc/machine-id"], "/etc/machine-id"));
    assert!(keeps(&["/etc/ssh"], "/etc/ssh/a/b"));
    assert!(keeps(&["/etc/ssh/"], "/etc/ssh"));
    for other in ["/etc", "/etc/machine-id2", "/etc/machine-i", "/machine-id", "/x/etc/machine-id"] {
        assert!(!keeps(&["/etc/machine-id"], other), "{other}");
    }
}

#[test]
fn globs_stay_within_a_name() {
    assert!(keeps(&["/etc/ssh/ssh_host_*"], "/etc/ssh/ssh_host_rsa_key.pub"));
    assert!(keeps(&["/etc/ssh/ssh_host_*"], "/etc/ssh/ssh_host_"));
    assert!(!keeps(&["/etc/*"], "/etc"));
    assert!(keeps(&["/etc/*"], "/etc/.hidden"), "dot-files are names");
    assert!(!keeps(&["/*/key"], "/a/b/key"));
    assert!(keeps(&["/a*b*c"], "/aXbYbZc") && !keeps(&["/a*b*c"], "/aXbYbZ"));
    assert!(keeps(&["/a**c"], "/abc") && !keeps(&["/a**c"], "/ab/c"));
    assert!(keeps(&["/k?"], "/k1") && !keeps(&["/k?"], "/k") && !keeps(&["/k?"], "/k12"));
    assert!(keeps(&["/k[0-9a]"], "/k5") && keeps(&["/k[0-9a]"], "/ka") && !keeps(&["/k[0-9a]"], "/kb"));
    assert!(keeps(&["/k[!0-9]"], "/kb") && !keeps(&["/k[!0-9]"], "/k7") && !keeps(&["/k[!0-9]"], "/k"));
    assert!(keeps(&["/[]]"], "/]") && keeps(&["/[a-]"], "/-") && keeps(&["/x[*]"], "/x*"));
    assert!(keeps(&["/a\\*"], "/a*") && !keeps(&["/a\\*"], "/ab"));
}

#[test]
fn two_stars_are_any_depth() {
    for path in ["/etc/x.conf", "/etc/a/x.conf", "/etc/a/b/c/x.conf", "/etc/x.conf/below"] {
        assert!(keeps(&["/etc/**/x.conf"], path), "{path}");
    }
    assert!(!keeps(&["/etc/**/x.conf"], "/etc/a/y.conf"));
    assert!(!keeps(&["/etc/**"], "/etc") && keeps(&["/etc/**"], "/etc/a/b"));
    assert!(keeps(&["/**/**/k*"], "/key") && keeps(&["/**"], "/anything/at/all"));
    assert!(keeps(&["/a/**/b/**/c"], "/a/x/b/c") && !keeps(&["/a/**/b/**/c"], "/a/x/c"));
}

#[test]
fn the_last_that_matches_decides() {
    let list = ["/etc/**", "!/etc/ssh", "/etc/ssh/ssh_host_*", "!/**/*_rsa_*"];
    for (path, kept) in [
        ("/etc/hostname", true),
        ("/etc/ssh", false),
        ("/etc/ssh/sshd_config", false),
        ("/etc/ssh/ssh_host_ed25519_key", true),
        ("/etc/ssh/ssh_host_rsa_key", false),
        ("/var/x", false),
    ] {
        assert_eq!(keeps(&list, path), kept, "{path}");
    }
    assert!(keeps(&["!/etc/ssh", "/etc"], "/etc/ssh/a"));
    assert!(!keeps(&["!/etc/ssh"], "/etc/ssh"));
}

#[test]
fn names_are_bytes() {
    assert!(keeps(&["/d/*"], b"/d/\xff\xfe"));
    assert!(keeps(&["/d/?"], b"/d/\xff") && !keeps(&["/d/?"], b"/d/\xff\xfe"));
    assert!(keeps(&["/d/?"], "/d/ü") && keeps(&["/d/[ä-ü]"], "/d/ö"));
    assert!(!keeps(&["/d/[ä-ü]"], b"/d/\xc3"), "half a character is none");
    assert!(keeps(&["/d/a?b"], b"/d/a\nb") && keeps(&["/d/[!x]*"], b"/d/\xc3\xb6\xff"));
    assert!(keeps(&["/d/ü"], "/d/ü") && !keeps(&["/d/ü"], b"/d/\xc3"));
    let long = vec![b'a'; 255];
    assert!(!keeps(&["/a*a*a*a*a*a*a*a*a*a*a*b"], [b"/".as_slice(), &long].concat()), "in time");
}

#[test]
fn what_is_no_pattern_is_told() {
    for bad in
        ["", "etc", "!etc", "/", "!", "!/", "/etc/../x", "/./x", "/a//b", "/a\nb", "/a\0b", "/[a", "/a\\"]
    {
        assert!(Pattern::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Pattern::parse(&"/x".repeat(62)).is_ok());
    assert!(Pattern::parse(&"/x".repeat(63)).is_err());
    let error = Pattern::parse("etc\t").unwrap_err();
    assert!(error.starts_with("\"etc\\t\" is not absolute"), "{error}");
}

#[test]
fn only_what_can_match_is_looked_at() {
    let list = parsed(&["/etc/ssh/ssh_host_*", "/etc/machine-id", "/var/**/key", "!/usr/**"]);
    let all = Patterns(&list);
    let below = |path: &str| all.below(&reached(all, path.as_bytes()));
    assert_eq!(below("/"), Below::Names(vec![b"etc", b"var"]));
    assert_eq!(below("/etc"), Below::Names(vec![b"machine-id", b"ssh"]));
    assert_eq!(below("/etc/ssh"), Below::Everything);
    assert_eq!(below("/usr"), Below::Names(vec![]));
    assert_eq!(below("/var/a/b"), Below::Everything);
    assert_eq!(below("/etc/machine-id"), Below::Everything, "all below what is kept is");
}

#[test]
fn a_pattern_knows_where_it_leads() {
    let is_below = |text: &str, path: &str| {
        let pattern = Pattern::parse(text).unwrap();
        pattern.is_below(path.split('/').filter(|n| !n.is_empty()).map(str::as_bytes))
    };
    assert!(is_below("/srv/data/x*", "/srv/data") && is_below("/srv/data", "/srv/data"));
    assert!(is_below("!/srv/data/x", "/srv/data") && is_below("/etc", "/"));
    assert!(!is_below("/srv/*/x", "/srv/data") && !is_below("/srv", "/srv/data"));
}
