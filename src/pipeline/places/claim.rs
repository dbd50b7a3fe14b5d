//! Records which journal works with a staging directory: a claim beside the journal's marker in the manifests.
//!
//! Invariants:
//! - A journal claims one staging directory, and removes all other journals' claims on it. So a journal that was lost,
//!   exchanged for another, or came back after it was replaced, is distinguished from the current one.
//! - A directory is identified by its inode number and its creation time: the device number changes with every mount.
//!   Where the file system does not record that time, nothing is claimed. Hosts that were copied from one image have the
//!   same numbers, so the host's id counts too, where both have one.
//! - A claim that cannot be read counts as none.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{make_private_dir, private_dir, private_dirs};
use crate::fs::{self, FILE_MODE, Fs, Open};
use crate::journal::hex;
use crate::limits::CLAIMS_MAX;
use crate::types::FileTime;

/// The claim's name, in a journal's own directory in the manifests.
const CLAIM: &str = "staging";
/// Its name before it is complete.
const UNFINISHED: &str = "staging.tmp";
/// More than the longest claim.
const CLAIM_BYTES_MAX: usize = 256;
/// The file that identifies the host: machine-id(5).
const HOST: (&str, &str) = ("/etc", "machine-id");
/// Bytes that are read of it; it has 32 digits.
const HOST_BYTES_MAX: usize = 64;

/// The identity of a staging directory, independent of its mount.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StagingId {
    inode: u64,
    born: FileTime,
    host: Option<String>,
}

impl StagingId {
    /// None where nothing identifies it permanently.
    fn at<F: Fs>(fs: &F, input: &Path) -> Option<StagingId> {
        let stat = fs.open_dir(input).and_then(|dir| fs.stat_dir(&dir)).ok()?;
        let host = fs.open_dir(Path::new(HOST.0)).ok().and_then(|etc| read(fs, &etc, HOST.1, HOST_BYTES_MAX));
        let host = host.map(|text| text.trim().to_owned()).filter(|text| is_word(text));
        Some(StagingId { inode: stat.identity.inode, born: stat.born?, host })
    }

    fn is(&self, other: &StagingId) -> bool {
        let is_one_host = self.host.as_ref().zip(other.host.as_ref()).is_none_or(|(one, other)| one == other);
        self.inode == other.inode && self.born == other.born && is_one_host
    }

    fn text(&self) -> String {
        let FileTime { sec, nsec } = self.born;
        format!("{} {sec} {nsec} {}\n", self.inode, self.host.as_deref().unwrap_or("-"))
    }

    fn parse(text: &str) -> Option<StagingId> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let inode = words.next()?.parse().ok()?;
        let born = FileTime { sec: words.next()?.parse().ok()?, nsec: words.next()?.parse().ok()? };
        let host = words.next().filter(|host| is_word(host)).map(str::to_owned);
        Some(StagingId { inode, born, host })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn read<F: Fs>(fs: &F, dir: &F::Dir, name: &str, bytes_max: usize) -> Option<String> {
    let file = fs.open(dir, OsStr::new(name), Open::Read).ok()?;
    let mut text = vec![0; bytes_max];
    let length = fs::read_full_at(fs, &file, &mut text, 0).ok()?;
    text.truncate(length);
    String::from_utf8(text).ok()
}

fn claimed<F: Fs>(fs: &F, marker: &Path) -> Option<StagingId> {
    StagingId::parse(&read(fs, &fs.open_dir(marker).ok()?, CLAIM, CLAIM_BYTES_MAX)?)
}

/// The markers of other journals that claim the staging directory.
fn others<F: Fs>(fs: &F, manifests: &Path, store: Option<&[u8; 16]>, staging: &StagingId) -> Vec<PathBuf> {
    let own = store.map(|store| private_dir(manifests, store));
    let all = private_dirs(fs, manifests, CLAIMS_MAX).into_iter().filter(|marker| own.as_ref() != Some(marker));
    all.filter(|marker| claimed(fs, marker).is_some_and(|claimed| claimed.is(staging))).collect()
}

/// The marker of another journal that claims this staging directory; None if this journal's own claim is valid.
pub fn owner<F: Fs>(fs: &F, manifests: &Path, store: Option<&[u8; 16]>, input: &Path) -> Option<PathBuf> {
    let staging = StagingId::at(fs, input)?;
    let own = store.and_then(|store| claimed(fs, &private_dir(manifests, store)));
    if own.is_some_and(|own| own.is(&staging)) {
        return None;
    }
    others(fs, manifests, store, &staging).into_iter().next()
}

/// Claims the staging directory, durably, and removes all other claims on it.
///
/// # Errors
/// A file operation failed: another journal's claim may still exist.
pub fn take<F: Fs>(fs: &F, manifests: &Path, store: &[u8; 16], input: &Path) -> fs::Result<()> {
    let Some(staging) = StagingId::at(fs, input) else { return Ok(()) };
    let own = private_dir(manifests, store);
    if claimed(fs, &own).is_none_or(|claimed| claimed != staging) {
        write(fs, &make_private_dir(fs, manifests, store)?, &staging)?;
    }
    for marker in others(fs, manifests, Some(store), &staging) {
        let dir = fs.open_dir(&marker)?;
        fs.unlink(&dir, OsStr::new(CLAIM))?;
        fs.sync_dir(&dir)?;
        let (taken_from, input) = (marker.display(), input.display());
        tracing::warn!(event = "staging_taken_over", path = %input, marker = %taken_from, "another journal worked with it");
    }
    Ok(())
}

fn write<F: Fs>(fs: &F, dir: &F::Dir, staging: &StagingId) -> fs::Result<()> {
    let unlink = |name: &str| match fs.unlink(dir, OsStr::new(name)) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    };
    unlink(UNFINISHED)?;
    let file = fs.open(dir, OsStr::new(UNFINISHED), Open::Create { mode: FILE_MODE })?;
    fs::write_all_at(fs, &file, staging.text().as_bytes(), 0)?;
    fs.sync_all(&file)?;
    unlink(CLAIM)?;
    fs.rename(dir, &OsString::from(UNFINISHED), dir, OsStr::new(CLAIM))?;
    fs.sync_dir(dir)
}

/// The journal's UUID in a marker's path, for people.
pub fn journal_of(marker: &Path) -> String {
    marker.file_name().map_or_else(|| hex(&[0; 16]), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_what_was_written() {
        let born = FileTime { sec: -5, nsec: 999_999_999 };
        for host in [None, Some("0123456789abcdef0123456789abcdef".to_owned())] {
            let staging = StagingId { inode: u64::MAX, born, host };
            assert!(staging.text().len() <= CLAIM_BYTES_MAX);
            assert_eq!(StagingId::parse(&staging.text()), Some(staging));
        }
        for torn in ["", "1", "1 2 3 -", "1 2\n", "x 2 3 -\n"] {
            assert_eq!(StagingId::parse(torn), None, "{torn}");
        }
        let one = |inode, host: Option<&str>| StagingId { inode, born, host: host.map(str::to_owned) };
        assert!(one(1, None).is(&one(1, Some("a"))) && one(1, Some("a")).is(&one(1, Some("a"))));
        assert!(!one(1, Some("a")).is(&one(1, Some("b"))) && !one(1, None).is(&one(2, None)));
    }
}
