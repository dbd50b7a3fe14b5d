//! How far consumers are behind.
//!
//! Invariant: it only reads positions, and one that cannot be read hides no other.

use std::path::Path;

use super::consumer::Consumer;
use super::cursor::Stream;
use super::position::{Position, Positions, default_dir};
use crate::fs::Fs;
use crate::pipeline::manifest::numbers::Finder;
use crate::types::UnixMillis;

/// A consumer, and how far it is behind the lines of a journal.
#[derive(Debug)]
pub struct Lag {
    /// Who.
    pub consumer: Consumer,
    /// How far it has come; or why that is not known.
    pub position: Result<Position, String>,
    /// Lines that it has not acknowledged; None if that is not known.
    pub lines: Option<u64>,
    /// When the oldest of these was listed; None if there is none, or that is not known.
    pub oldest: Option<UnixMillis>,
}

/// All consumers that keep their positions beside the manifests, by name, and how far they are behind the lines of a journal
/// that the index has. Nothing if there are none, or the directory cannot be read.
pub fn lags<F: Fs>(fs: &F, manifests: &Path, journal: &[u8; 16]) -> Vec<Lag> {
    let positions = Positions::open(fs, &default_dir(manifests)).ok().flatten();
    let Some((positions, consumers)) = positions.and_then(|it| it.consumers().ok().map(|found| (it, found))) else {
        return Vec::new();
    };
    let stream = Stream::of_journal(*journal);
    let mut index = Finder::open(fs, manifests, journal);
    // What is newer than the index knows is not counted yet.
    let is_known = index.behind(0).ok().flatten().is_some();
    let mut lags = Vec::new();
    for consumer in consumers {
        let position = match positions.read(&consumer) {
            // It was removed after it was listed.
            Ok(None) => continue,
            Ok(Some(position)) => Ok(position),
            Err(error) => Err(error.to_string()),
        };
        let passed = position.as_ref().ok().map(|position| position.cursor.passed(&stream)).filter(|_| is_known);
        let behind = passed.and_then(|passed| index.behind(passed).ok().flatten().map(|behind| (passed, behind)));
        let (lines, oldest) = match behind {
            Some((passed, (last, written_at))) => {
                (Some(last.saturating_sub(passed)), Some(UnixMillis(u64::from(written_at) * 1000)))
            }
            None => (passed.map(|_| 0), None),
        };
        lags.push(Lag { consumer, position, lines, oldest });
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::position::Role;
    use crate::fs::sim::SimFs;
    use crate::pipeline::manifest::numbers::{Entry, Numbers};

    #[test]
    fn lines_are_those_that_are_not_acknowledged() {
        let fs = SimFs::new(1);
        let (manifests, journal) = (Path::new("/mf"), [3; 16]);
        let (stream, other) = (Stream::of_journal(journal), Stream::of_journal([4; 16]));
        fs.upstream().mkdir_all("/mf").unwrap();
        assert!(lags(&fs, manifests, &journal).is_empty());
        let positions = Positions::create(&fs, manifests, &default_dir(manifests)).unwrap();
        for (name, cursor) in [("a", format!("{stream}:5")), ("b", format!("{stream}:7")), ("c", format!("{other}:9"))]
        {
            let consumer: Consumer = name.parse().unwrap();
            let held = positions.hold(&consumer, Role::Store).unwrap();
            positions.store(&held, &consumer, &cursor.parse().unwrap()).unwrap();
        }
        fs.upstream().write("/mf/.csv-ingestor/consumers/torn.json", b"{").unwrap();
        let told = || -> Vec<(String, Option<u64>, Option<u64>)> {
            let told = |lag: Lag| (lag.consumer.to_string(), lag.lines, lag.oldest.map(|at| at.0));
            lags(&fs, manifests, &journal).into_iter().map(told).collect()
        };
        let of = |name: &str, lines, oldest| (name.to_owned(), lines, oldest);
        assert!(told().iter().all(|(_, lines, oldest)| lines.is_none() && oldest.is_none()), "without an index");
        let mut index = Numbers::new(fs.clone());
        for (first, lines, written_at) in [(1, 3, 100), (4, 3, 200), (7, 1, 300)] {
            let entry = Entry { first, lines, hour: 1, offset: 0, written_at };
            assert!(index.add(manifests, &journal, &entry).is_none());
        }
        let expected = [
            of("a", Some(2), Some(200_000)),
            of("b", Some(0), None),
            of("c", Some(7), Some(100_000)),
            of("torn", None, None),
        ];
        assert_eq!(told(), expected);
    }
}
