//! Which configuration files there are below a root, in which order. The only reader of them.
//!
//! As with systemd: the main files first (`/usr/lib`, then `/etc`), then the drop-ins of both directories
//! sorted by name together; a drop-in in `/etc` replaces the one of the same name in `/usr/lib`, and one
//! that is empty or links to `/dev/null` masks it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::load::Problem;
use crate::error::Place;
use crate::sys::inroot;

/// Directories below the root, weakest first.
pub const DIRECTORIES: [&str; 2] = ["usr/lib/overlayd", "etc/overlayd"];

/// One file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The path as seen from inside the root: `/etc/overlayd/overlayd.toml`.
    pub name: PathBuf,
    /// Its content.
    pub text: String,
}

/// All files below `root`, weakest first. Symbolic links resolve inside `root`. What can not be read is a problem.
pub fn read_all(root: &Path, problems: &mut Vec<Problem>) -> Vec<File> {
    paths(root).into_iter().filter_map(|path| read_one(root, path, problems)).collect()
}

/// The lists of what a reset keeps, `keep.d/*.conf`, below `root`: found and masked as drop-ins are.
pub fn read_keep_lists(root: &Path, problems: &mut Vec<Problem>) -> Vec<File> {
    dropins(root, "keep.d", "conf").into_iter().filter_map(|path| read_one(root, path, problems)).collect()
}

fn paths(root: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = DIRECTORIES.iter().map(|d| Path::new(d).join("overlayd.toml")).collect();
    paths.extend(dropins(root, "overlayd.toml.d", "toml"));
    paths
}

fn dropins(root: &Path, directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut dropins: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for above in DIRECTORIES {
        let directory = Path::new(above).join(directory);
        for name in inroot::list(root, &directory).unwrap_or_default() {
            if Path::new(&name).extension().is_some_and(|e| e == extension) {
                dropins.insert(name.clone(), directory.join(name));
            }
        }
    }
    dropins.into_values().collect()
}

fn read_one(root: &Path, path: PathBuf, problems: &mut Vec<Problem>) -> Option<File> {
    let name = Path::new("/").join(&path);
    match inroot::read(root, &path) {
        Ok(text) => text.map(|text| File { name, text }),
        Err(why) => {
            problems.push(Problem { place: Place { path: name, line: None }, message: why, hint: None });
            None
        }
    }
}
