//! Extended attributes, of what is open and of names in directories.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fsetxattr, lgetxattr, llistxattr, lremovexattr, lsetxattr,
};
use rustix::io::Errno;

/// Whose attributes.
#[derive(Clone, Copy, Debug)]
pub enum Bearer<'a> {
    /// Of what is open for reading or writing.
    Open(BorrowedFd<'a>),
    /// Of a name in a directory: of the symlink itself, if it is one. Needs /proc.
    Named(BorrowedFd<'a>, &'a CStr),
}

impl Bearer<'_> {
    /// The way through /proc: before Linux 6.13 no call takes a directory and a name.
    fn path(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<CString> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        Ok(CString::new(path)?)
    }

    fn list_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(match *self {
            Bearer::Open(file) => flistxattr(file, buffer)?,
            Bearer::Named(dir, name) => llistxattr(Self::path(dir, name)?, buffer)?,
        })
    }

    fn get_into(&self, attribute: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(match *self {
            Bearer::Open(file) => fgetxattr(file, attribute, buffer)?,
            Bearer::Named(dir, name) => lgetxattr(Self::path(dir, name)?, attribute, buffer)?,
        })
    }

    /// Sets an attribute, whether it is there or not.
    pub fn set(&self, attribute: &CStr, value: &[u8]) -> io::Result<()> {
        match *self {
            Bearer::Open(file) => fsetxattr(file, attribute, value, XattrFlags::empty())?,
            Bearer::Named(dir, name) => {
                lsetxattr(Self::path(dir, name)?, attribute, value, XattrFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Removes an attribute; one that is not there is no error.
    pub fn remove(&self, attribute: &CStr) -> io::Result<()> {
        let result = match *self {
            Bearer::Open(file) => rustix::fs::fremovexattr(file, attribute),
            Bearer::Named(dir, name) => lremovexattr(Self::path(dir, name)?, attribute),
        };
        match result {
            Err(Errno::NODATA) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// Reads attributes into buffers that are used again.
#[derive(Debug)]
pub struct Reader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { names: vec![0; 1024], value: vec![0; 1024] }
    }
}

/// The kernel's bound for a list of names and for a value: XATTR_LIST_MAX, XATTR_SIZE_MAX.
const MAX: usize = 65536;

impl Reader {
    /// The names of all attributes, one after the other, each ended by a zero byte; empty where the filesystem has no
    /// attributes.
    pub fn list(&mut self, bearer: Bearer<'_>) -> io::Result<&[u8]> {
        match grow(&mut self.names, |buffer| bearer.list_into(buffer)) {
            Ok(length) => Ok(&self.names[..length]),
            Err(e) if is(&e, Errno::OPNOTSUPP) => Ok(&[]),
            Err(e) => Err(e),
        }
    }

    /// One attribute's value; none if it is not there.
    pub fn get(&mut self, bearer: Bearer<'_>, attribute: &CStr) -> io::Result<Option<&[u8]>> {
        match grow(&mut self.value, |buffer| bearer.get_into(attribute, buffer)) {
            Ok(length) => Ok(Some(&self.value[..length])),
            Err(e) if is(&e, Errno::NODATA) || is(&e, Errno::OPNOTSUPP) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All that are shown, with their values.
    pub fn all(&mut self, bearer: Bearer<'_>) -> io::Result<BTreeMap<CString, Vec<u8>>> {
        let names: Vec<CString> = names(self.list(bearer)?).map(CStr::to_owned).collect();
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(value) = self.get(bearer, &name)? {
                let value = value.to_vec();
                found.insert(name, value);
            }
        }
        Ok(found)
    }
}

/// The names in a list as the kernel gives it.
pub fn names(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|&b| b == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok())
}

/// Tries with a larger buffer where this one is too small.
fn grow(buffer: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read(buffer) {
            Err(e) if is(&e, Errno::RANGE) && buffer.len() < MAX => {
                let length = (buffer.len() * 4).min(MAX);
                buffer.resize(length, 0);
            }
            result => return result,
        }
    }
}

/// Whether an attribute could not be set because the filesystem has none of this kind.
pub fn is_unsupported(error: &io::Error) -> bool {
    is(error, Errno::OPNOTSUPP)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split() {
        let all: Vec<&CStr> = names(b"user.a\0trusted.b\0").collect();
        assert_eq!(all, [c"user.a", c"trusted.b"]);
        assert_eq!(names(b"").count(), 0);
    }
}
