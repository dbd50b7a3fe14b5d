//! Journals of lakes as programs have left them: one without the kind 28, and one with it. The form of the files is that of
//! tests/fixtures/README.md. They are never changed: whatever wrote them may be in use.
//!
//! - `claimed`: a file that is listed, a duplicate of it, and a host that was killed when it had claimed a third one.
//! - `uploading`: a host that was killed twice in the upload of one file, once compacted in between.

use std::path::Path;

use csv_ingestor::engine;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::lifecycle::FileState;
use csv_ingestor::journal::verify::verify;

use crate::fixtures::{records, tree};
use crate::harness::{bare, err, has, json_lines, out};
use crate::second_reader::second_reader;

const FROZEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all/journal_format/frozen");

/// Unpacks a journal, and checks that all readers find in it what they always have.
fn read(name: &str) -> Index {
    let text = |ending: &str| std::fs::read_to_string(format!("{FROZEN}/{name}.{ending}"));
    let top = tempfile::tempdir().unwrap();
    tree::unpack(&text("txt").unwrap(), top.path());
    assert_eq!(tree::pack(top.path()), text("txt").unwrap());
    let state = top.path().join("state");
    let found = records::of(&state);
    if std::env::var_os("FREEZE_JOURNAL").is_some() {
        std::fs::write(format!("{FROZEN}/{name}.jsonl"), &found).unwrap();
    }
    assert_eq!(json_lines(&found), json_lines(&text("jsonl").unwrap()));
    assert!(verify(&RealFs::default(), &state).unwrap().is_some());
    if has("python3") {
        agree(&state);
    }
    engine::read_state(&RealFs::default(), &state).unwrap()
}

fn agree(state: &Path) {
    let second = second_reader(state);
    assert!(second.status.success(), "{}", err(&second));
    let first = bare(&["journal", "inspect", "--json", "--state-path"]).arg(state).output().unwrap();
    assert_eq!(json_lines(&out(&second)), json_lines(&out(&first)));
}

#[test]
fn a_journal_without_uploads_is_read_as_ever() {
    let index = read("claimed");
    let claimed: Vec<_> = index.open().map(|ingest| (ingest.state, ingest.claimed)).collect();
    assert_eq!(claimed, [(FileState::Hashed, Some((0, 1)))]);
    assert!(index.lake().is_some());
}

#[test]
fn a_journal_with_an_upload_is_read_as_ever() {
    let index = read("uploading");
    let open: Vec<_> = index.open().collect();
    let [ingest] = &open[..] else { panic!("{open:?}") };
    let upload = ingest.target.as_ref().unwrap().upload.as_ref().unwrap();
    assert_eq!((ingest.state, upload.generation, upload.since), (FileState::Hashed, 0, ingest.discovered_at));
    assert!(upload.key.starts_with("ingest_date=") && upload.id.len() == 32, "{upload:?}");
}
