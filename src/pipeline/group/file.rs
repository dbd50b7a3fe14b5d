//! Reads a group file: lines as `sha256sum` writes them.
//!
//! ```text
//! 06bf5c5a6bb108c7d25502b37ebf56d904f7438f0d36d45edf4cf126c9e4a715  orders.csv
//! ```
//!
//! Invariants:
//! - Whatever is accepted names only files in the group file's own directory, each once.
//! - A file that may be cut off is refused: its last line must have its end.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::name::is_group_file;
use crate::limits::{GROUP_MEMBERS_MAX, GROUP_NAMES_BYTES_MAX};
use crate::types::Sha256;

/// A file that a group names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as the group file has it, without a leading `./`.
    pub name: PathBuf,
    /// Its name in staging.
    pub staged: Arc<OsStr>,
    /// The SHA-256 that it must have.
    pub sha256: Sha256,
}

/// The hex digits of a SHA-256.
const SUM_BYTES: usize = 64;

/// The members that a group file names. `group` is its name in staging: its members are in the same directory.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn parse(group: &OsStr, content: &[u8]) -> Result<Vec<Member>, String> {
    let Some(content) = content.strip_suffix(b"\n") else {
        return Err("it is empty, or its last line has no end: it may be cut off".to_owned());
    };
    let dir = Path::new(group).parent().unwrap_or(Path::new(""));
    let (mut members, mut names) = (Vec::new(), HashSet::new());
    let mut names_bytes = 0;
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let member = member(dir, line).map_err(|why| format!("line {number}: {why}"))?;
        names_bytes += member.name.as_os_str().len();
        if !names.insert(member.staged.clone()) {
            return Err(format!("line {number}: {} is named twice", member.name.display()));
        }
        if members.len() == GROUP_MEMBERS_MAX || names_bytes > GROUP_NAMES_BYTES_MAX {
            return Err(format!(
                "it names too many files: at most {GROUP_MEMBERS_MAX}, with names of {GROUP_NAMES_BYTES_MAX} bytes in all"
            ));
        }
        members.push(member);
    }
    if members.is_empty() {
        return Err("it names no file".to_owned());
    }
    Ok(members)
}

fn member(dir: &Path, line: &[u8]) -> Result<Member, String> {
    // sha256sum escapes a name that has a backslash or a line break in it, and puts a backslash before the sum.
    let (is_escaped, line) = line.strip_prefix(b"\\").map_or((false, line), |rest| (true, rest));
    let (sum, rest) = line.split_at_checked(SUM_BYTES).ok_or(FORM)?;
    let sha256 = Sha256::from_hex(sum).ok_or(FORM)?;
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *")).ok_or(FORM)?;
    let name = if is_escaped { unescaped(name).ok_or("its escaped name is not valid")? } else { name.to_vec() };
    let name = plain(&name)?;
    Ok(Member { staged: Arc::from(dir.join(&name).into_os_string()), name, sha256 })
}

const FORM: &str = "it is not 64 hex digits, two spaces and a name, as sha256sum writes it";

fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match (byte, byte == &b'\\') {
            (byte, false) => *byte,
            (_, true) => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
        });
    }
    Some(plain)
}

/// The name, if it is that of a file in the same directory, and no group file.
fn plain(name: &[u8]) -> Result<PathBuf, String> {
    let path = PathBuf::from(OsString::from_vec(name.strip_prefix(b"./").unwrap_or(name).to_vec()));
    let is_one =
        matches!(path.components().collect::<Vec<_>>()[..], [Component::Normal(one)] if one == path.as_os_str());
    if !is_one || name.contains(&0) {
        return Err(format!("{} is not the name of a file in the same directory", path.display()));
    }
    if is_group_file(path.as_os_str()) {
        return Err(format!("{} is a group file itself", path.display()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "06bf5c5a6bb108c7d25502b37ebf56d904f7438f0d36d45edf4cf126c9e4a715";

    fn names(content: &str) -> Result<Vec<String>, String> {
        let members = parse(OsStr::new("close.group"), content.as_bytes())?;
        Ok(members.iter().map(|member| member.staged.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn what_sha256sum_writes_is_read() {
        let upper = SUM.to_uppercase();
        let content =
            format!("{SUM}  a.csv\n{upper} *b c.csv\r\n# a comment\n\n{SUM}  ./d.csv\n\\{SUM}  e\\\\f\\n.csv\n");
        assert_eq!(names(&content).unwrap(), ["a.csv", "b c.csv", "d.csv", "e\\f\n.csv"]);
        let below = parse(OsStr::new("sub/close.group"), format!("{SUM}  a.csv\n").as_bytes()).unwrap();
        assert_eq!((&*below[0].staged, &*below[0].name), (OsStr::new("sub/a.csv"), Path::new("a.csv")));
    }

    /// Why: a group that is smaller than its upstream meant it would be ingested in part.
    #[test]
    fn what_may_be_cut_off_is_refused() {
        for cut in ["", &format!("{SUM}  a.csv"), &format!("{SUM}  a.csv\n{SUM}  b.cs")] {
            assert!(names(cut).unwrap_err().contains("cut off"), "{cut:?}");
        }
        assert!(names("# nothing\n").unwrap_err().contains("names no file"));
    }

    #[test]
    fn what_is_not_meant_is_refused_with_its_line() {
        for (line, why) in [
            ("a.csv".to_owned(), "sha256sum"),
            (format!("{}  a.csv", &SUM[1..]), "sha256sum"),
            (format!("{SUM} a.csv"), "sha256sum"),
            (format!("{SUM}  "), "same directory"),
            (format!("{SUM}  .."), "same directory"),
            (format!("{SUM}  /etc/passwd"), "same directory"),
            (format!("{SUM}  sub/a.csv"), "same directory"),
            (format!("{SUM}  sub/"), "same directory"),
            (format!("{SUM}  ../a.csv"), "same directory"),
            (format!("{SUM}  a\0.csv"), "same directory"),
            (format!("{SUM}  other.group"), "group file itself"),
            (format!("{SUM}  ok.csv"), "named twice"),
            (format!("\\{SUM}  a\\x.csv"), "escaped"),
        ] {
            let error = names(&format!("{SUM}  ok.csv\n{line}\n")).unwrap_err();
            assert!(error.contains(why) && error.starts_with("line 2"), "{line:?}: {error}");
        }
    }

    #[test]
    fn a_group_of_too_many_is_refused_as_a_whole() {
        let lines =
            |count: usize, name: &str| (0..count).map(|number| format!("{SUM}  {number}{name}\n")).collect::<String>();
        assert_eq!(names(&lines(GROUP_MEMBERS_MAX, "")).unwrap().len(), GROUP_MEMBERS_MAX);
        assert!(names(&lines(GROUP_MEMBERS_MAX + 1, "")).unwrap_err().contains("too many"));
        assert!(names(&lines(80, &"x".repeat(220))).unwrap_err().contains("too many"));
    }
}
