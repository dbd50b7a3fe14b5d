//! The last lines of the newest manifests, which the index should have.
//!
//! Invariant: a manifest is read again if its size, a time or the file itself differs from what it was before the last read,
//! and only then. Lines are only ever appended, so a new one changes the size, whatever the resolution of the times is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use crate::follow::cursor::Stream;
use crate::follow::error::Error;
use crate::fs::Fs;
use crate::limits::FOLLOW_READ_BYTES;
use crate::pipeline::manifest::hours::newest;
use crate::pipeline::manifest::number_of;
use crate::types::FileIdentity;

/// The newest manifests whose ends are compared with the index.
const NEWEST: usize = 3;

/// By stream, the number of its last line.
pub(super) type Last = HashMap<Stream, u64>;

/// See the module.
pub(super) struct Ends {
    known: Vec<End>,
}

/// The end of one manifest.
struct End {
    path: PathBuf,
    /// As it was before it was read.
    identity: FileIdentity,
    last: Last,
}

impl Ends {
    /// Nothing is read yet.
    pub(super) fn new() -> Ends {
        Ends { known: Vec::new() }
    }

    /// The last lines at the ends of the newest manifests. One that cannot be opened is left out.
    ///
    /// # Errors
    /// A manifest cannot be read.
    pub(super) fn look<F: Fs>(&mut self, fs: &F, root: &Path) -> Result<Last, Error> {
        let mut before = std::mem::take(&mut self.known);
        let mut all = Last::new();
        for path in newest(fs, root, None, NEWEST) {
            // It is opened even if nothing has changed: a network file system asks its server then, and not for each `stat`.
            let Ok(manifest) = Manifest::open(fs, &path) else { continue };
            let identity = manifest.identity()?;
            let is_same = |end: &End| end.path == path && end.identity == identity;
            let last = match before.iter().position(is_same) {
                Some(place) => before.swap_remove(place).last,
                None => read(manifest, identity.size)?,
            };
            for (stream, number) in &last {
                let known = all.entry(*stream).or_default();
                *known = (*known).max(*number);
            }
            self.known.push(End { path, identity, last });
        }
        Ok(all)
    }
}

fn read<F: Fs>(mut manifest: Manifest<F>, size: u64) -> Result<Last, Error> {
    let mut last = Last::new();
    manifest.seek(size.saturating_sub(FOLLOW_READ_BYTES as u64));
    while let Some(line) = manifest.next_line()? {
        if let Some((journal, number)) = number_of(line) {
            let end = last.entry(Stream::of_journal(journal)).or_default();
            *end = number.max(*end);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fs::sim::{Op, SimFs};

    const MANIFEST: &str = "/mf/2026/01/31/09/manifest.jsonl";

    fn line(number: u64) -> String {
        format!("{{\"path\":\"/in/{number}\",\"journal\":\"{}\",\"seq\":{number}}}\n", "01".repeat(16))
    }

    /// The last line that it finds, and how often it reads for that.
    fn look(ends: &mut Ends, fs: &SimFs) -> (u64, u64) {
        let before = fs.count(Op::ReadAt);
        let last = ends.look(fs, Path::new("/mf")).unwrap();
        (last.get(&Stream::of_journal([1; 16])).copied().unwrap_or(0), fs.count(Op::ReadAt) - before)
    }

    /// Why: each idle follower read up to 768 KiB every two seconds. But a change that it takes for none is a line that comes
    /// only when the index does: never, if that cannot be written.
    #[test]
    fn what_has_not_changed_is_not_read_and_no_change_is_missed() {
        let fs = SimFs::new(1);
        // All that follows happens within one tick of the clock.
        fs.set_granularity(Duration::from_secs(3600));
        fs.upstream().mkdir_all("/mf/2026/01/31/09").unwrap();
        let mut ends = Ends::new();
        assert_eq!(look(&mut ends, &fs), (0, 0));
        fs.upstream().write(MANIFEST, line(1).as_bytes()).unwrap();
        assert!(matches!(look(&mut ends, &fs), (1, 1..)));
        assert_eq!(look(&mut ends, &fs), (1, 0));
        // A line, half of one, and its other half.
        let next = line(3);
        for (text, last) in [(&*line(2), 2), (&next[..9], 2), (&next[9..], 3)] {
            fs.upstream().append(MANIFEST, text.as_bytes()).unwrap();
            let (found, reads) = look(&mut ends, &fs);
            assert!(found == last && reads > 0, "{text}: {found}, {reads} reads");
            assert_eq!(look(&mut ends, &fs), (last, 0));
        }
        // Another file of the same size and time takes its place.
        let other = [line(1), line(2), line(9)].concat();
        fs.upstream().write("/mf/other", other.as_bytes()).unwrap();
        fs.upstream().replace("/mf/other", MANIFEST).unwrap();
        assert!(matches!(look(&mut ends, &fs), (9, 1..)));
        // The same file and the same size, a tick later.
        fs.advance(Duration::from_secs(3600));
        fs.upstream().write_at(MANIFEST, other.len() as u64 - 3, b"8").unwrap();
        assert!(matches!(look(&mut ends, &fs), (8, 1..)));
        assert_eq!(look(&mut ends, &fs), (8, 0));
        // Older ones are forgotten when newer ones come, and an hour that was removed has no end.
        for hour in 10..14 {
            let path = format!("/mf/2026/01/31/{hour}");
            fs.upstream().mkdir_all(&path).unwrap();
            fs.upstream().write(format!("{path}/manifest.jsonl"), line(hour).as_bytes()).unwrap();
        }
        assert!(matches!(look(&mut ends, &fs), (13, 1..)));
        assert_eq!((look(&mut ends, &fs), ends.known.len()), ((13, 0), NEWEST));
        fs.upstream().remove("/mf/2026/01/31/13/manifest.jsonl").unwrap();
        assert!(matches!(look(&mut ends, &fs), (12, _)));
    }
}
