//! How far consumers are behind.
//!
//! Invariant: it only reads positions, and one that cannot be read hides no other.

use std::path::Path;

use super::consumer::Consumer;
use super::cursor::Stream;
use super::position::{Position, Positions, default_dir};
use crate::fs::Fs;
use crate::types::UnixMillis;

/// The lines of one journal.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The journal.
    pub stream: Stream,
    /// The number of its newest line that is durable; None if that is not known.
    pub newest: Option<u64>,
}

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

/// All consumers that keep their positions beside the manifests, by name. `listed_at` looks up when a line was listed.
/// Nothing if there are none, or the directory cannot be read.
pub fn lags<F: Fs>(
    fs: &F,
    manifests: &Path,
    listed: Listed,
    listed_at: &mut dyn FnMut(u64) -> Option<UnixMillis>,
) -> Vec<Lag> {
    let positions = Positions::open(fs, &default_dir(manifests)).ok().flatten();
    let Some((positions, consumers)) = positions.and_then(|it| it.consumers().ok().map(|found| (it, found))) else {
        return Vec::new();
    };
    let mut lags = Vec::new();
    for consumer in consumers {
        let position = match positions.read(&consumer) {
            // It was removed after it was listed.
            Ok(None) => continue,
            Ok(Some(position)) => Ok(position),
            Err(error) => Err(error.to_string()),
        };
        let passed = position.as_ref().ok().map(|position| position.cursor.passed(&listed.stream));
        let lines = passed.zip(listed.newest).map(|(passed, newest)| newest.saturating_sub(passed));
        let oldest = passed.filter(|_| lines.is_some_and(|lines| lines > 0)).and_then(|passed| listed_at(passed + 1));
        lags.push(Lag { consumer, position, lines, oldest });
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::position::Role;
    use crate::fs::sim::SimFs;

    #[test]
    fn lines_are_those_that_are_not_acknowledged() {
        let fs = SimFs::new(1);
        let (manifests, stream) = (Path::new("/mf"), Stream::of_journal([3; 16]));
        fs.upstream().mkdir_all("/mf/.csv-ingestor").unwrap();
        let all = |newest| lags(&fs, manifests, Listed { stream, newest }, &mut |line| Some(UnixMillis(line * 1000)));
        assert!(all(Some(7)).is_empty());
        let positions = Positions::create(&fs, manifests, &default_dir(manifests)).unwrap();
        let other = Stream::of_journal([4; 16]);
        for (name, cursor) in [("a", format!("{stream}:5")), ("b", format!("{stream}:7")), ("c", format!("{other}:9"))]
        {
            let consumer: Consumer = name.parse().unwrap();
            let held = positions.hold(&consumer, Role::Store).unwrap();
            positions.store(&held, &consumer, &cursor.parse().unwrap()).unwrap();
        }
        fs.upstream().write("/mf/.csv-ingestor/consumers/torn.json", b"{").unwrap();
        let told = |newest| -> Vec<(String, Option<u64>, Option<u64>)> {
            let told = |lag: Lag| (lag.consumer.to_string(), lag.lines, lag.oldest.map(|at| at.0));
            all(newest).into_iter().map(told).collect()
        };
        let of = |name: &str, lines, oldest| (name.to_owned(), lines, oldest);
        let expected = [
            of("a", Some(2), Some(6000)),
            of("b", Some(0), None),
            of("c", Some(7), Some(1000)),
            of("torn", None, None),
        ];
        assert_eq!(told(Some(7)), expected);
        assert!(told(None).iter().all(|(_, lines, oldest)| lines.is_none() && oldest.is_none()));
        // A journal that was rebuilt may know less than a consumer.
        assert_eq!(told(Some(6))[1], of("b", Some(0), None));
    }
}
