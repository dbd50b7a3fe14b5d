//! Reads a group file: lines as `sha256sum` writes them. A bag's has the same lines, but for how it escapes names.
//!
//! ```text
//! 06bf5c5a6bb108c7d25502b37ebf56d904f7438f0d36d45edf4cf126c9e4a715  orders.csv
//! ```
//!
//! Invariants:
//! - Whatever is accepted names only files in the group file's own directory, or of a bag below `data` in it, each once.
//! - A file that may be cut off is refused: its last line must have its end.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::name::{BAG_DATA, is_bag_manifest, is_group_file};
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

/// The members that a group file names. `group` is its path in staging: its members are in the same directory, or below
/// `data` in it.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn parse(group: &OsStr, content: &[u8]) -> Result<Vec<Member>, String> {
    let Some(content) = content.strip_suffix(b"\n") else {
        return Err("it is empty, or its last line has no end: it may be cut off".to_owned());
    };
    let is_bag = is_bag_manifest(group);
    let dir = Path::new(group).parent().unwrap_or(Path::new(""));
    let (mut members, mut names) = (Vec::new(), HashSet::new());
    let mut names_bytes = 0;
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let member = if is_bag { payload(dir, line) } else { member(dir, line) };
        let member = member.map_err(|why| format!("line {number}: {why}"))?;
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

/// A bag's line has any number of spaces or tabs before the path, and of all bytes only `%`, CR and LF are escaped.
fn payload(dir: &Path, line: &[u8]) -> Result<Member, String> {
    let (sum, rest) = line.split_at_checked(SUM_BYTES).ok_or(FORM)?;
    let sha256 = Sha256::from_hex(sum).ok_or(FORM)?;
    let path = rest.trim_ascii_start();
    if path.len() == rest.len() {
        return Err(FORM.to_owned());
    }
    let path = decoded(path.strip_prefix(b"*").unwrap_or(path));
    let name = below_data(&path)?;
    Ok(Member { staged: Arc::from(dir.join(&name).into_os_string()), name, sha256 })
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = match after.get(..2).filter(|_| *byte == b'%') {
            Some(b"25") => Some(b'%'),
            Some(b"0A" | b"0a") => Some(b'\n'),
            Some(b"0D" | b"0d") => Some(b'\r'),
            _ => None,
        };
        plain.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    plain
}

/// The path, if it is that of a file below `data`, and no group file.
fn below_data(name: &[u8]) -> Result<PathBuf, String> {
    let path = PathBuf::from(OsString::from_vec(name.strip_prefix(b"./").unwrap_or(name).to_vec()));
    let parts: Vec<Component<'_>> = path.components().collect();
    let is_plain = parts.iter().all(|part| matches!(part, Component::Normal(_)))
        && parts.iter().collect::<PathBuf>().as_os_str() == path.as_os_str();
    if !is_plain || parts.len() < 2 || parts[0].as_os_str() != BAG_DATA || name.contains(&0) {
        return Err(format!("{} is not the path of a file below {BAG_DATA}", path.display()));
    }
    no_group(path)
}

fn no_group(path: PathBuf) -> Result<PathBuf, String> {
    match is_group_file(path.as_os_str()) {
        true => Err(format!("{} is a group file itself", path.display())),
        false => Ok(path),
    }
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
    no_group(path)
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

    #[test]
    fn a_bags_manifest_names_files_below_data() {
        let read = |line: &str| parse(OsStr::new("in/bag/manifest-sha256.txt"), format!("{line}\n").as_bytes());
        for (line, staged) in [
            (format!("{SUM}  data/a.csv"), "in/bag/data/a.csv"),
            (format!("{SUM} *data/b/c.csv"), "in/bag/data/b/c.csv"),
            (format!("{SUM}\tdata/100%25%0A%0d%41.csv"), "in/bag/data/100%\n\r%41.csv"),
        ] {
            assert_eq!(&*read(&line).unwrap()[0].staged, OsStr::new(staged), "{line:?}");
        }
        let twice = format!("{SUM}  data/a.csv\n{SUM}  ./data/a.csv");
        for line in
            ["a.csv", "data", "data/", "data//a.csv", "data/./a.csv", "data/../a.csv", "/data/a.csv", "../data/a.csv"]
                .map(|path| format!("{SUM}  {path}"))
                .into_iter()
                .chain([format!("{SUM}data/a.csv"), format!("{SUM}  data/x.group"), twice])
        {
            assert!(read(&line).is_err(), "{line:?}");
        }
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
