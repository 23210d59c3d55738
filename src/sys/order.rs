//! Sorting of paths. One copy of the library's sort for all of them: each is four kilobytes of early boot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The paths by their bytes, each once: what lies in a directory comes after it.
pub fn sorted<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    let mut bytes: Vec<&[u8]> = paths.map(|path| path.as_os_str().as_bytes()).collect();
    bytes.sort_unstable();
    bytes.dedup();
    bytes.into_iter().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_directory_comes_after_it() {
        let paths = ["/a/b/c", "/a-b", "/a/b", "/a", "/a/b"].map(Path::new);
        let sorted = sorted(paths.into_iter());
        assert_eq!(sorted, ["/a", "/a-b", "/a/b", "/a/b/c"].map(PathBuf::from));
    }
}
