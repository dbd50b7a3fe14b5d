//! Finds a path's location on its file system, independent of mounts. After `mount --bind`, or a second mount, one
//! directory has several paths without any link.
//!
//! Source: proc_pid_mountinfo(5).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The mounts that this process sees.
const MOUNTS: &str = "/proc/self/mountinfo";

/// One line of the file.
struct Mount<'a> {
    device: &'a [u8],
    /// The directory of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
}

/// True if `inner` is inside `outer`, or the same directory, according to the mounts of this process; false if they
/// cannot be read. Both paths must be absolute and without links.
pub fn is_inside(inner: &Path, outer: &Path) -> bool {
    std::fs::read(MOUNTS).is_ok_and(|mounts| is_inside_by(&mounts, inner, outer))
}

fn is_inside_by(mounts: &[u8], inner: &Path, outer: &Path) -> bool {
    match (place(mounts, inner), place(mounts, outer)) {
        (Some((inner_device, inner)), Some((outer_device, outer))) => {
            inner_device == outer_device && inner.starts_with(outer)
        }
        _ => false,
    }
}

/// The device of a path, and the path on it.
fn place<'a>(mounts: &'a [u8], path: &Path) -> Option<(&'a [u8], PathBuf)> {
    let above = mounts.split(|byte| *byte == b'\n').filter_map(parse).filter(|mount| path.starts_with(&mount.point));
    // Of several mounts at the same point the last one hides the others.
    let mount = above.max_by_key(|mount| mount.point.as_os_str().len())?;
    let below = path.strip_prefix(&mount.point).ok()?;
    Some((mount.device, mount.root.join(below)))
}

fn parse(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mount { device, root: unescape(root).into(), point: unescape(point).into() })
}

/// Decodes octal escapes: a space, for example, is `\040`.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..3).and_then(|digits| u8::from_str_radix(OsStr::from_bytes(digits).to_str()?, 8).ok());
        match code.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        40 27 254:0 /lake/warehouse/in /staging rw - ext4 /dev/vda rw\n\
        41 27 254:16 / /mnt/b\\040c rw - xfs /dev/vdb rw\n\
        42 27 254:16 /deep /again rw - xfs /dev/vdb rw\n\
        43 27 254:32 / /again rw - xfs /dev/vdc rw\n";

    #[track_caller]
    fn check(inner: &str, outer: &str, expected: bool) {
        assert_eq!(is_inside_by(TEXT.as_bytes(), Path::new(inner), Path::new(outer)), expected);
    }

    /// Why: a directory inside the warehouse, mounted elsewhere, was accepted as staging directory.
    #[test]
    fn what_is_mounted_twice_is_one_place() {
        check("/staging", "/lake/warehouse", true);
        check("/staging/more", "/lake/warehouse/in", true);
        check("/lake/warehouse/in/x", "/staging", true);
        check("/staging", "/lake/warehouse/input", false);
        check("/lake/warehouse", "/staging", false);
        check("/mnt/b c/deep", "/mnt/b c", true);
        check("/mnt/b c/deep", "/", false);
        // Hidden by a later mount.
        check("/again", "/mnt/b c", false);
    }

    #[test]
    fn odd_lines_are_no_mounts() {
        assert!(!is_inside_by(b"", Path::new("/a"), Path::new("/")));
        assert!(!is_inside_by(b"1 2\n\n1 2 3:4 /", Path::new("/a"), Path::new("/")));
        assert_eq!(unescape(b"a\\040b\\134c\\9\\04"), "a b\\c\\9\\04");
    }
}
