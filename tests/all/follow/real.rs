//! Lines that the real program has written.

use std::time::{Duration, Instant};

use csv_ingestor::follow::dir::Dir;
use csv_ingestor::follow::wake::Notified;
use csv_ingestor::follow::{Cursor, Source as _};
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::from_hex;
use csv_ingestor::pipeline::manifest::numbers::{Finder, journals};
use serde_json::Value;

use crate::harness::{Place, csv};

fn follow(place: &Place, cursor: Cursor) -> Dir<RealFs> {
    Dir::open(&RealFs::default(), &place.manifests, cursor, Box::new(Notified::default())).unwrap()
}

fn lines(dir: &mut Dir<RealFs>) -> Vec<Value> {
    let mut lines = Vec::new();
    while dir
        .read(100, &mut |line| {
            lines.push(serde_json::from_slice(line.text).unwrap());
            Ok(())
        })
        .unwrap()
        > 0
    {}
    lines
}

fn stage(place: &Place, seeds: std::ops::Range<u64>) {
    seeds.for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
}

/// The number of the last line in the index.
fn indexed(place: &Place) -> u64 {
    let fs = RealFs::default();
    let [journal] = journals(&fs, &place.manifests).unwrap()[..] else { return 0 };
    Finder::open(&fs, &place.manifests, &journal).behind(0).unwrap().map_or(0, |(last, _)| last)
}

#[test]
fn each_line_comes_once_and_in_order() {
    let place = Place::new();
    stage(&place, 0..5);
    place.once_ok(&[]);
    let mut dir = follow(&place, Cursor::default());
    let first = lines(&mut dir);
    assert_eq!(first, place.manifest_lines());
    assert_eq!(first.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let begun = Instant::now();
    stage(&place, 5..8);
    place.once_ok(&[]);
    let more = lines(&mut dir);
    assert_eq!(more.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [6, 7, 8]);
    // What was written since the last wait has ended it.
    dir.wait(Duration::from_secs(3600));
    assert!(begun.elapsed() < Duration::from_secs(600));
    let cursor: Cursor = dir.cursor().to_string().parse().unwrap();
    assert_eq!(lines(&mut follow(&place, cursor)), [] as [Value; 0]);
    assert_eq!(indexed(&place), 8);
    assert_eq!(place.check_consistent(), 8);
}

/// A power cut may take the index, since it is not synced.
#[test]
fn a_start_mends_the_index() {
    let place = Place::new();
    for (round, damage) in ["none", "gone", "torn", "foreign"].into_iter().enumerate() {
        let begin = round as u64 * 10;
        stage(&place, begin..begin + 3);
        place.once_ok(&[]);
        let journal = place.manifest_lines()[0]["journal"].as_str().unwrap().to_owned();
        assert!(from_hex(&journal).is_some());
        let dir = place.manifests.join(".csv-ingestor/lines").join(&journal);
        let file = dir.join(format!("{:020}.idx", 1));
        match damage {
            "gone" => std::fs::remove_dir_all(&dir).unwrap(),
            "torn" => std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(50).unwrap(),
            "foreign" => std::fs::write(&file, vec![b'x'; 4096]).unwrap(),
            _ => {}
        }
        place.once_ok(&[]);
        assert_eq!(indexed(&place), (round as u64 + 1) * 3, "{damage}");
        let mut dir = follow(&place, Cursor::default());
        assert_eq!(lines(&mut dir).len(), (round + 1) * 3, "{damage}");
    }
}

/// Where the ingestor may not write the index, lines are written and found all the same.
#[test]
fn an_index_that_cannot_be_written_costs_time_only() {
    let place = Place::new();
    std::fs::create_dir_all(place.manifests.join(".csv-ingestor")).unwrap();
    std::fs::write(place.manifests.join(".csv-ingestor/lines"), "in the way").unwrap();
    stage(&place, 0..3);
    let output = place.once_ok(&[]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(log.matches("line_index_failed").count(), 1, "{log}");
    assert_eq!(lines(&mut follow(&place, Cursor::default())).len(), 3);
    assert_eq!(place.check_consistent(), 3);
}
