//! Finds lines by their numbers without the index: reads manifests, the newest first.
//!
//! Invariant: it only reads. A manifest that cannot be read hides its own lines, and no others.

use std::ops::Range;
use std::path::Path;

use super::{Entry, HOUR_MS};
use crate::fs::{self, Fs};
use crate::pipeline::manifest::hours::newest;
use crate::pipeline::manifest::number::number_of;
use crate::pipeline::manifest::read::{Lines, Text};
use crate::types::UnixMillis;

/// Where the lines with these numbers are, in ascending order: those behind `wanted.start`, up to `wanted.end`. Reads the
/// newest hours, so many at most, and no more than it has to.
///
/// # Errors
/// A manifest cannot be read.
pub fn search<F: Fs>(
    fs: &F,
    root: &Path,
    journal: &[u8; 16],
    (wanted, hours_max): (Range<u64>, usize),
) -> fs::Result<Vec<Entry>> {
    let (mut found, mut missing): (Vec<Entry>, u64) = (Vec::new(), wanted.end - wanted.start);
    for manifest in newest(fs, root, None, hours_max) {
        if missing == 0 {
            break;
        }
        let Ok(mut lines) = Lines::open(fs, &manifest, 0) else { continue };
        let Some(hour) = hour_of(root, &manifest) else { continue };
        let mut last: Option<Entry> = None;
        while let Some(line) = lines.next_line()? {
            let Text::Whole(text) = line.text else { continue };
            let Some((_, seq)) = number_of(text).filter(|(of, _)| of == journal) else { continue };
            if seq <= wanted.start || seq > wanted.end {
                continue;
            }
            missing = missing.saturating_sub(1);
            match &mut last {
                Some(last) if last.last() + 1 == seq && last.lines < u32::MAX => last.lines += 1,
                _ => {
                    found.extend(last.take());
                    last = Some(Entry { first: seq, lines: 1, hour, offset: line.offset, written_at: hour_s(hour) });
                }
            }
        }
        found.extend(last);
    }
    found.sort_unstable_by_key(|entry| entry.first);
    Ok(found)
}

/// When the hour began: lines that are found were written then or later.
fn hour_s(hour: u32) -> u32 {
    u32::try_from(u64::from(hour) * (HOUR_MS / 1000)).unwrap_or(u32::MAX)
}

/// The hour of a manifest: hours since the epoch.
fn hour_of(root: &Path, manifest: &Path) -> Option<u32> {
    let parts: Vec<&str> = manifest.strip_prefix(root).ok()?.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let [year, month, day, hour, _] = parts[..] else { return None };
    let at = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:00:00Z")).ok()?;
    u32::try_from(UnixMillis::from_system_time(at).hour()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_of_a_manifest_is_in_its_path() {
        let hour = hour_of(Path::new("/m"), Path::new("/m/2025/11/18/09/manifest.jsonl")).unwrap();
        let entry = Entry { first: 1, lines: 1, hour, offset: 0, written_at: 0 };
        assert_eq!(entry.manifest(Path::new("/m")), Path::new("/m/2025/11/18/09/manifest.jsonl"));
        assert_eq!(hour_of(Path::new("/m"), Path::new("/m/2025/11/manifest.jsonl")), None);
    }
}
