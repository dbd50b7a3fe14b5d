//! Names that are never data, and the reasons why something in staging is ignored.
//!
//! Invariant: the result depends on the name alone, not on the file it belongs to nor on other names.

use crate::fs::FileKind;
use crate::metrics::labels::IgnoredReason;

/// Suffixes of files that are still being written, in any case.
const TEMPORARY_SUFFIXES: [&[u8]; 18] = [
    b".tmp",
    b".part",
    b".swp",
    // WinSCP, rclone and Internet Explorer, browsers, Hadoop.
    b".filepart",
    b".partial",
    b".crdownload",
    b".download",
    b".opdownload",
    b"._copying_",
    // aria2's state, DownThemAll, Free Download Manager, gsutil, Spring Integration, and suffixes in plain words.
    b".aria2",
    b".dtapart",
    b".fdmdownload",
    b"_.gstmp",
    b".writing",
    b".inprogress",
    b".incomplete",
    b".uploading",
    b".downloading",
];

/// Suffixes of files that editors, desktops and file servers put beside a file, in any case: backups, locks, attributes.
const COMPANION_SUFFIXES: [&[u8]; 7] = [
    b"~",
    b"___jb_tmp___",
    b"___jb_old___",
    b".camellock",
    // Alternate data streams of NTFS, as files.
    b":zone.identifier",
    b"@synoeastream",
    b"@synoresource",
];

/// Whole names of files that desktops put into a directory, in any case.
const DESKTOP_NAMES: [&[u8]; 6] =
    [b"thumbs.db", b"thumbs.db:encryptable", b"ehthumbs.db", b"ehthumbs_vista.db", b"desktop.ini", b"icon\r"];

/// Why something in staging is ignored, and always will be under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A directory.
    Directory,
    /// A directory deeper than `--max-depth`.
    TooDeep,
    /// A directory on another mount.
    OtherMount,
    /// A directory whose files would have paths that are too long to be recorded.
    PathTooLong,
    /// One of the ingestor's own directories, or a directory in it, by another path.
    Own,
    /// A directory that cannot be read.
    Unreadable,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Special,
    /// The name begins with a dot.
    Hidden,
    /// The name of an unfinished transfer.
    Temporary,
    /// A file that a desktop or an editor leaves.
    NotData,
    /// The sidecar of a data file.
    Sidecar,
    /// The sidecar of a name that is itself ignored.
    SidecarOfIgnored,
    /// `--include` does not match.
    NotIncluded {
        /// It would match in another case.
        but_for_case: bool,
    },
    /// `--exclude` matches.
    Excluded,
}

impl Ignored {
    /// The reason for anything but a regular file, whatever its name.
    pub fn of_kind(kind: FileKind) -> Option<Ignored> {
        match kind {
            FileKind::Regular => None,
            FileKind::Directory => Some(Ignored::Directory),
            FileKind::Symlink => Some(Ignored::Link),
            FileKind::Special => Some(Ignored::Special),
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Ignored::Directory => "directory; not entered",
            Ignored::TooDeep => "directory; not entered: deeper than --max-depth",
            Ignored::OtherMount => "directory; not entered: it is on another mount, see --cross-mounts",
            Ignored::PathTooLong => "directory; not entered: its path is too long",
            Ignored::Own => "directory of an ingestor's own; never entered",
            Ignored::Unreadable => "directory; it cannot be read",
            Ignored::Link => "symbolic link; never followed",
            Ignored::Special => "pipe, socket or device; only regular files are taken",
            Ignored::Hidden => "hidden; names that begin with a dot are ignored always",
            Ignored::Temporary => "temporary name; taken once it has its final one",
            Ignored::NotData => "left by a desktop or an editor; no data by its name",
            Ignored::Sidecar => "sidecar",
            Ignored::SidecarOfIgnored => "sidecar of a name that is ignored",
            Ignored::NotIncluded { but_for_case: false } => "does not match --include",
            Ignored::NotIncluded { but_for_case: true } => "does not match --include; only the case differs",
            Ignored::Excluded => "matches --exclude",
        }
    }

    /// The label under which it is counted. None for a sidecar that is used: its data file is counted.
    pub fn reason(self) -> Option<IgnoredReason> {
        Some(match self {
            Ignored::Directory
            | Ignored::TooDeep
            | Ignored::OtherMount
            | Ignored::PathTooLong
            | Ignored::Own
            | Ignored::Unreadable => IgnoredReason::Directory,
            Ignored::Link => IgnoredReason::Link,
            Ignored::Special => IgnoredReason::Special,
            Ignored::Hidden => IgnoredReason::Hidden,
            Ignored::Temporary => IgnoredReason::Temporary,
            Ignored::NotData => IgnoredReason::NotData,
            Ignored::Sidecar => return None,
            Ignored::SidecarOfIgnored => IgnoredReason::Sidecar,
            Ignored::NotIncluded { .. } => IgnoredReason::NotIncluded,
            Ignored::Excluded => IgnoredReason::Excluded,
        })
    }
}

/// Why a name is never data, whatever the options; None if it may be.
pub fn ignored_always(name: &[u8]) -> Option<Ignored> {
    if name.starts_with(b".") {
        Some(Ignored::Hidden)
    } else if ends_as_temporary(name) {
        Some(Ignored::Temporary)
    } else if is_of_a_desktop_or_editor(name) {
        Some(Ignored::NotData)
    } else {
        None
    }
}

/// True for a suffix of unfinished files.
pub fn ends_as_temporary(name: &[u8]) -> bool {
    TEMPORARY_SUFFIXES.iter().any(|suffix| ends_with(name, suffix))
}

/// Thumbnails, folder settings, backups, owner files and autosaved states.
fn is_of_a_desktop_or_editor(name: &[u8]) -> bool {
    DESKTOP_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
        || COMPANION_SUFFIXES.iter().any(|suffix| ends_with(name, suffix))
        // Owner files of Office, and `#a.csv#` as Emacs autosaves it.
        || name.starts_with(b"~$")
        || matches!(name, [b'#', _, .., b'#'])
        || is_of_word(name)
}

/// Word's temporary files: `~WRL0001.tmp` and the like, with any extension.
fn is_of_word(name: &[u8]) -> bool {
    match name {
        [b'~', w, r, kind, digits @ ..] if w.eq_ignore_ascii_case(&b'w') && r.eq_ignore_ascii_case(&b'r') => {
            let (digits, rest) = digits.split_at(digits.len().min(4));
            kind.is_ascii_alphabetic()
                && digits.len() == 4
                && digits.iter().all(u8::is_ascii_digit)
                && (rest.is_empty() || rest.starts_with(b"."))
        }
        _ => false,
    }
}

/// There must be a stem: a name that is only a suffix is not about another file.
fn ends_with(name: &[u8], suffix: &[u8]) -> bool {
    let stem = name.len().checked_sub(suffix.len()).filter(|stem| *stem > 0);
    stem.is_some_and(|stem| name[stem..].eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &str) -> Option<Ignored> {
        ignored_always(name.as_bytes())
    }

    /// Why: what a broken transfer leaves looks like a file to which no process writes any more, and so like a complete
    /// one.
    #[test]
    fn unfinished_transfers_are_no_data_whatever_the_case() {
        let names = "a.csv.tmp a.TMP up.csv.PART a.Part a.swp report.csv.filepart report.csv.FilePart \
            orders.csv.1a2b3c4d.partial big.csv.crdownload a.csv.download dl.csv.opdownload x.csv.aria2 y.csv._COPYING_ \
            y.csv._copying_ a.csv.inprogress a.csv.InProgress a.csv_.gstmp a.csv.writing a.csv.incomplete";
        for name in names.split_whitespace() {
            assert_eq!(judge(name), Some(Ignored::Temporary), "{name}");
        }
    }

    /// Why: a folder that people open in Explorer, Finder, Office or an editor gets files that no upstream has sent.
    #[test]
    fn what_desktops_and_editors_leave_is_no_data() {
        let names = "Thumbs.db thumbs.DB ehthumbs.db desktop.ini Desktop.ini ~$book.xlsx ~$a.csv a.csv~ a.csv.~1~ #a.csv# \
            ~WRL0001.csv ~wrd0000.doc orders.csv:Zone.Identifier a.csv@SynoEAStream a.csv.camelLock";
        for name in names.split_whitespace() {
            assert_eq!(judge(name), Some(Ignored::NotData), "{name}");
        }
        for name in [".DS_Store", "._a.csv", ".~lock.a.csv#", ".a.csv.swp"] {
            assert_eq!(judge(name), Some(Ignored::Hidden), "{name}");
        }
    }

    /// Why: a name that only resembles these is data, and would never be ingested.
    #[test]
    fn names_that_only_remind_of_these_are_data() {
        let names = "a.csv tmp part partial.csv download.csv counterpart a.partial.csv ~a.csv ~WR.csv ~WRL1.csv #1.csv # ## \
            thumbs.db.csv my-desktop.ini.csv $a.csv _a.csv a:b.csv a.csv.ok ~ a_COPYING_ a.temp a.bak a.old";
        for name in names.split_whitespace() {
            assert_eq!(judge(name), None, "{name}");
        }
    }
}
