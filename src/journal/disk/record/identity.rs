//! By what two files are one and the same (`--identity`), and what happens to empty ones (`--empty`).
//!
//! Invariants:
//! - A file's key is a function of its records: of the rule in force when it was found, of its path and that of the staging
//!   directory then, and of its content. No later change of the rule, and no move of a directory, changes it.
//! - The key by content is the SHA-256 itself, so that journals without an IDENTITY record need no other rule.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha2::Digest as _;

use crate::types::{Key, Sha256};

/// The first bytes of what is hashed for a key by name and content.
const DOMAIN: &[u8] = b"csv-ingestor name+content\n";

/// By what two files are one and the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[repr(u8)]
pub enum SameBy {
    /// By their content.
    #[default]
    #[serde(rename = "content")]
    Content = 1,
    /// By their content and their name: their path below the staging directory.
    #[serde(rename = "name+content")]
    NameAndContent = 2,
}

impl SameBy {
    /// All of them.
    pub(super) const ALL: [SameBy; 2] = [SameBy::Content, SameBy::NameAndContent];

    /// The spelling of the option and of the log.
    pub fn text(self) -> &'static str {
        match self {
            SameBy::Content => "content",
            SameBy::NameAndContent => "name+content",
        }
    }
}

/// What happens to complete files of 0 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum EmptyFiles {
    /// They are ingested.
    #[default]
    Ingest = 1,
    /// They stay in staging.
    Keep = 2,
    /// They are moved to the quarantine.
    Quarantine = 3,
}

impl EmptyFiles {
    /// All of them.
    pub(super) const ALL: [EmptyFiles; 3] = [EmptyFiles::Ingest, EmptyFiles::Keep, EmptyFiles::Quarantine];

    /// The spelling of the option and of the log.
    pub fn text(self) -> &'static str {
        match self {
            EmptyFiles::Ingest => "ingest",
            EmptyFiles::Keep => "keep",
            EmptyFiles::Quarantine => "quarantine",
        }
    }
}

/// Both, as a run was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// By what two files are one and the same.
    pub same_by: SameBy,
    /// What happens to empty files.
    pub empty: EmptyFiles,
}

/// How the key of one file is made: fixed when it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRule {
    same_by: SameBy,
    /// The length of its name, which is the end of its path: a move of directories changes only what is before it.
    name_bytes: u16,
}

impl KeyRule {
    /// The rule for a file that is found at `source_path`, in the staging directory `input`.
    pub fn new(same_by: SameBy, input: &Path, source_path: &Path) -> KeyRule {
        match same_by {
            SameBy::Content => KeyRule::default(),
            SameBy::NameAndContent => KeyRule { same_by, name_bytes: name_in(input, source_path).len() as u16 },
        }
    }

    /// The rule for a file whose path in staging is lost: its name in the warehouse stands in.
    pub fn without_source(same_by: SameBy) -> KeyRule {
        KeyRule { same_by, name_bytes: 0 }
    }

    /// The name that is part of the file's identity; None if its content alone is.
    pub fn name(self, source_path: &Path) -> Option<&OsStr> {
        let bytes = source_path.as_os_str().as_bytes();
        let from = bytes.len().saturating_sub(usize::from(self.name_bytes));
        (self.same_by == SameBy::NameAndContent).then(|| OsStr::from_bytes(&bytes[from..]))
    }

    /// The key of a file with this path and content.
    pub fn key(self, source_path: &Path, sha256: &Sha256) -> Key {
        Key::of(self.name(source_path), sha256)
    }
}

impl Key {
    /// The key of a content, under this name if the name counts.
    pub fn of(name: Option<&OsStr>, sha256: &Sha256) -> Key {
        let Some(name) = name else { return Key(sha256.0) };
        let mut digest = sha2::Sha256::new();
        digest.update(DOMAIN);
        digest.update(sha256.0);
        digest.update(name.as_bytes());
        Key(digest.finalize().into())
    }

    /// The key of a file that is found now.
    pub fn by(same_by: SameBy, name: &OsStr, sha256: &Sha256) -> Key {
        Key::of(Some(name).filter(|_| same_by == SameBy::NameAndContent), sha256)
    }
}

/// A file's path below the staging directory; its last part, if it is not below it.
fn name_in<'a>(input: &Path, source_path: &'a Path) -> &'a [u8] {
    let (path, input) = (source_path.as_os_str().as_bytes(), input.as_os_str().as_bytes());
    let below = path.strip_prefix(input).and_then(|rest| rest.strip_prefix(b"/"));
    below.unwrap_or_else(|| path.rsplit(|byte| *byte == b'/').next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_path_below_staging() {
        let name = |input: &str, path: &str| {
            let rule = KeyRule::new(SameBy::NameAndContent, Path::new(input), Path::new(path));
            rule.name(Path::new(path)).map(|name| name.to_str().unwrap().to_owned())
        };
        assert_eq!(name("/in", "/in/a.csv").as_deref(), Some("a.csv"));
        assert_eq!(name("/in", "/in/sub/a.csv").as_deref(), Some("sub/a.csv"));
        assert_eq!(name("/in", "/input/a.csv").as_deref(), Some("a.csv"));
        let moved = KeyRule::new(SameBy::NameAndContent, Path::new("/in"), Path::new("/in/sub/a.csv"));
        assert_eq!(moved.name(Path::new("/elsewhere/in/sub/a.csv")), Some(OsStr::new("sub/a.csv")));
        assert_eq!(KeyRule::new(SameBy::Content, Path::new("/in"), Path::new("/in/a")).name(Path::new("/in/a")), None);
    }

    #[test]
    fn keys_differ_by_name_and_by_content() {
        let of = |name: &str, byte| Key::by(SameBy::NameAndContent, OsStr::new(name), &Sha256([byte; 32]));
        assert_eq!(of("a", 1), of("a", 1));
        assert!(of("a", 1) != of("b", 1) && of("a", 1) != of("a", 2));
        assert_eq!(Key::by(SameBy::Content, OsStr::new("a"), &Sha256([7; 32])), Key([7; 32]));
    }
}
