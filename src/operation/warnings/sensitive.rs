//! Which files are a matter of trust, and what about them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::listing;
use crate::sys::content;
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::xattr::{Bearer, Reader};

/// Setuid and setgid.
const RAISING: u32 = 0o6000;
const CAPABILITY: &CStr = c"security.capability";
/// shadow(5), gshadow(5).
const PASSWORDS: [&str; 2] = ["etc/shadow", "etc/gshadow"];
/// The defaults of AuthorizedKeysFile, sshd_config(5).
const KEYS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
/// Whom programs and the package manager trust.
const TRUSTED: [&str; 5] = [
    "etc/ssl/certs",
    "usr/local/share/ca-certificates",
    "etc/apt/trusted.gpg.d",
    "etc/apt/keyrings",
    "usr/share/keyrings",
];
/// No such file is nearly as long, in bytes.
const TEXT_MAX: u64 = 1 << 20;
const BUFFER: usize = 64 << 10;

/// Whether a file of a layer can be worth a word. What can not be looked at can.
pub(super) fn may_matter(layer: &OwnedFd, path: &[u8]) -> bool {
    let file = Path::new(OsStr::from_bytes(path));
    is_password(file)
        || is_key(file)
        || is_trusted(file)
        || find(layer, path)
            .and_then(|place| place.map_or(Ok(None), |place| raising(&place)))
            .map_or(true, |r| r.is_some())
}

fn is_password(file: &Path) -> bool {
    PASSWORDS.iter().any(|p| file == Path::new(p))
}

fn is_key(file: &Path) -> bool {
    KEYS.iter().any(|keys| file.ends_with(keys))
}

fn is_trusted(file: &Path) -> bool {
    TRUSTED.iter().any(|dir| file.starts_with(dir))
}

/// The tree as it is, and as it would be.
pub(super) struct Views {
    pub(super) now: OwnedFd,
    pub(super) then: OwnedFd,
}

/// A name in an open directory.
struct Place {
    dir: OwnedFd,
    name: CString,
    node: Node,
}

impl Views {
    /// What will be at a path.
    pub(super) fn look_then(&self, path: &[u8]) -> Option<Node> {
        find(&self.then, path).ok().flatten().map(|place| place.node)
    }

    /// What there is to say of a path.
    pub(super) fn check(&self, path: &[u8]) -> io::Result<Vec<String>> {
        let Some(then) = find(&self.then, path)? else { return Ok(Vec::new()) };
        let now = find(&self.now, path)?;
        let file = Path::new(OsStr::from_bytes(path));
        let shown = listing::shown(file);
        let mut found = Vec::new();
        if let Some(what) = raising(&then)?
            && !self.is_same(&then, now.as_ref())?
        {
            found.push(format!("{what} {shown} comes back"));
        }
        if is_password(file) {
            let users = changed_hashes(&text(&then)?, &now.as_ref().map_or(Ok(String::new()), text)?);
            found.extend(users.into_iter().map(|user| format!("{shown}: {user} gets the password of then")));
        }
        if is_key(file) {
            let count = new_keys(&text(&then)?, &now.as_ref().map_or(Ok(String::new()), text)?);
            let keys = if count == 1 { "key that is" } else { "keys that are" };
            found.extend(
                (count > 0).then(|| format!("{shown}: {count} {keys} not there now may log in again")),
            );
        }
        if is_trusted(file) && then.node.kind != NodeKind::Directory && !self.is_same(&then, now.as_ref())? {
            let what = if now.is_some() { "changes back" } else { "comes back" };
            found.push(format!("trusted key or certificate {shown} {what}"));
        }
        Ok(found)
    }

    fn is_same(&self, then: &Place, now: Option<&Place>) -> io::Result<bool> {
        let Some(now) = now else { return Ok(false) };
        let looks = |n: &Node| (n.kind, n.mode, n.uid, n.gid);
        if looks(&then.node) != looks(&now.node) || capability(then)? != capability(now)? {
            return Ok(false);
        }
        match then.node.kind {
            NodeKind::File if then.node.size != now.node.size => Ok(false),
            NodeKind::File => {
                let (a, b) = (then.open()?, now.open()?);
                content::same(a, b, now.node.size, &mut vec![0; BUFFER], &mut || ControlFlow::Continue(()))
            }
            NodeKind::Symlink => {
                Ok(node::read_link(&then.dir, &then.name)? == node::read_link(&now.dir, &now.name)?)
            }
            _ => Ok(true),
        }
    }
}

impl Place {
    fn open(&self) -> io::Result<OwnedFd> {
        node::open_file(&self.dir, &self.name)
    }
}

fn find(top: &OwnedFd, path: &[u8]) -> io::Result<Option<Place>> {
    let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    let name = CString::new(name)?;
    let looked = node::open_below(top, parent).and_then(|dir| {
        let node = node::look(&dir, &name)?;
        Ok(Place { dir, name, node })
    });
    match looked {
        Ok(place) => Ok(Some(place)),
        Err(e) if node::is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What raises somebody's rights by running it.
fn raising(place: &Place) -> io::Result<Option<&'static str>> {
    if place.node.kind != NodeKind::File {
        return Ok(None);
    }
    Ok(match place.node.mode & RAISING {
        0 => capability(place)?.map(|_| "file with capabilities"),
        0o2000 => Some("setgid file"),
        _ => Some("setuid file"),
    })
}

fn capability(place: &Place) -> io::Result<Option<Vec<u8>>> {
    if place.node.kind != NodeKind::File {
        return Ok(None);
    }
    let mut reader = Reader::default();
    let found = reader.get(Bearer::Named(place.dir.as_fd(), &place.name), CAPABILITY)?;
    Ok(found.map(<[u8]>::to_vec))
}

fn text(place: &Place) -> io::Result<String> {
    if place.node.kind != NodeKind::File {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    File::from(place.open()?).take(TEXT_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names whose password would be another one, and one that lets somebody in.
fn changed_hashes(then: &str, now: &str) -> Vec<String> {
    let now: BTreeMap<&str, &str> = now.lines().filter_map(hash).collect();
    let admits = |hash: &str| !hash.starts_with(['!', '*']);
    let changed =
        then.lines().filter_map(hash).filter(|(name, hash)| now.get(name) != Some(hash) && admits(hash));
    changed.map(|(name, _)| name.escape_debug().to_string()).collect()
}

fn hash(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(':');
    Some((fields.next()?, fields.next()?))
}

/// How many keys there are that are not there now. Options and comments do not make another key.
fn new_keys(then: &str, now: &str) -> usize {
    let now: BTreeSet<&str> = now.lines().filter_map(key).collect();
    then.lines().filter_map(key).collect::<BTreeSet<&str>>().difference(&now).count()
}

/// The key itself, in base64: every kind of key begins with the length of its name, and so with these letters.
fn key(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    line.split_whitespace().find(|word| word.starts_with("AAAA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_would_be_others() {
        let now = "root:$6$new:1::\nanna:$6$same:1::\nbert:!:1::\ncarl:$6$c:1::\n";
        let then = "root:$6$old:1::\nanna:$6$same:1::\nbert:$6$b:1::\ncarl:!$6$c:1::\ndora::1::\neve:*:1::\n";
        assert_eq!(changed_hashes(then, now), ["root", "bert", "dora"]);
    }

    #[test]
    fn keys_that_are_not_there_now() {
        let now = "# AAAAcomment\nssh-ed25519 AAAAone me@here\n";
        let then = "command=\"x y\" ssh-ed25519 AAAAone other\nssh-rsa AAAAtwo\n# ssh-rsa AAAAthree\n";
        assert_eq!(new_keys(then, now), 1);
        assert_eq!(new_keys(now, then), 0);
    }
}
