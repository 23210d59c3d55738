//! What kind of thing lies at a place, whose it is, and who may read it: layers are private (invariant 11).

use std::path::{Path, PathBuf};

use super::{Finding, Mend, mark};
use crate::store::inspect::{DIRECTORIES, FILES, Inspection};
use crate::sys::node::{Node, NodeKind};

const WHY: &str = "layers are private: others could read what they hold, or change it from below";

/// Owners, permissions and flags of everything that is the store's own. What lies in a layer is its users' affair.
pub(super) fn private(found: &Inspection) -> Vec<Finding> {
    let own = |path: &Path| !path.components().any(|part| part.as_os_str() == "fs");
    // What overlayfs makes in a work directory has modes of its own.
    let ours = |path: &Path| own(path) && !path.ends_with("work/work");
    let mut all = Vec::new();
    for (path, node) in found.places.iter().filter(|(path, _)| ours(path)) {
        all.extend(owner(found, path, node));
        all.extend(mode(path, node));
    }
    for path in found.fixed.iter().filter(|path| own(path)) {
        let why = "the kernel mounts an overlay on it read-only, or nothing in it can be renamed";
        let finding = Finding::fault(path, "immutable, or append-only", why);
        all.push(finding.mend(Mend::Unfix(path.clone())));
    }
    all.extend(found.marked.iter().map(|(path, attribute)| mark(path, attribute)));
    all
}

fn owner(found: &Inspection, path: &Path, node: &Node) -> Option<Finding> {
    let what = format!("belongs to user {}, not to user {}", node.uid, found.owner);
    (node.uid != found.owner)
        .then(|| Finding::fault(path, what, WHY).mend(Mend::Own(path.to_owned(), found.owner)))
}

fn mode(path: &Path, node: &Node) -> Option<Finding> {
    let wanted = match (node.kind, is_record(path)) {
        (NodeKind::Directory, false) if path != Path::new("reserve") => 0o700,
        (NodeKind::File, true) => 0o600,
        _ => return None,
    };
    let loose = node.mode & 0o7077 != 0 || node.mode & wanted != wanted;
    let what = format!("has permissions {:o}, not {wanted:o}", node.mode);
    loose.then(|| Finding::fault(path, what, WHY).mend(Mend::SetMode(path.to_owned(), wanted)))
}

/// Whether it is a file that `sys::atomic` writes.
fn is_record(path: &Path) -> bool {
    let names = ["store.toml", "tokens", "generation.toml", "snapshot.toml"];
    names.iter().chain(&FILES).any(|name| path.ends_with(name))
}

/// Directories of an overlay that are something else.
pub(super) fn directories(found: &Inspection, overlay: &Path) -> Vec<(PathBuf, NodeKind)> {
    let kind = |name: &&str| {
        let path = overlay.join(name);
        let kind = found.places.get(&path)?.kind;
        (kind != NodeKind::Directory).then_some((path, kind))
    };
    DIRECTORIES.iter().filter_map(kind).collect()
}
