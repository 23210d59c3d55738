//! Which paths a diff is about. Pure.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Paths below the top, none below another; none: everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter(Vec<Vec<u8>>);

/// What is looked at in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Every name.
    All,
    /// These, sorted, because they lead to what is wanted or are it.
    Names(Vec<CString>),
}

impl Filter {
    pub(super) fn new(paths: &[PathBuf]) -> Filter {
        Filter(paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect())
    }

    /// Whether a path is wanted itself.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| rest(path, wanted).is_some())
    }

    /// What is looked at in the directory `path`.
    pub(super) fn below(&self, path: &[u8]) -> Wanted {
        if self.covers(path) {
            return Wanted::All;
        }
        let next = self.0.iter().filter_map(|wanted| rest(wanted, path)).map(|rest| {
            let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            CString::new(&rest[..end]).unwrap_or_default()
        });
        let mut names: Vec<CString> = next.collect();
        names.sort();
        names.dedup();
        Wanted::Names(names)
    }
}

/// What follows on `above` in `path`, if it is that or lies below it.
fn rest<'p>(path: &'p [u8], above: &[u8]) -> Option<&'p [u8]> {
    if above.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(above)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_a_path_is_entered_and_what_lies_below_is_wanted() {
        let filter = Filter::new(&["etc/ssh".into(), "etc/hosts".into(), "usr".into()]);
        let names =
            |names: &[&str]| Wanted::Names(names.iter().map(|name| CString::new(*name).unwrap()).collect());
        assert_eq!(filter.below(b""), names(&["etc", "usr"]));
        assert_eq!(filter.below(b"etc"), names(&["hosts", "ssh"]));
        assert_eq!(filter.below(b"etc/ssh"), Wanted::All);
        assert_eq!(filter.below(b"etc/ssh/more"), Wanted::All);
        assert!(filter.covers(b"etc/ssh/key") && filter.covers(b"usr"));
        assert!(!filter.covers(b"etc") && !filter.covers(b"etc/sshd") && !filter.covers(b""));
        assert_eq!(Filter::default().below(b"anything"), Wanted::All);
    }
}
