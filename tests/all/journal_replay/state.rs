//! The fold: which records may follow which. A refused record leaves the index unchanged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::ingest::{Ingest, Kept};
use csv_ingestor::journal::lifecycle::{FileState, StateCounts};
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Claimed, DuplicateAction, Hashed, Moved, Profile, Profiled, QuarantineCause, Quarantined,
    Record, Settings, SkippedDuplicate, Upload, Uploading,
};
use csv_ingestor::types::{IngestId, Lsn, Sha256, UnixMillis};

use super::util::{digest, discovered, hashed, identity, moved, settings};

/// The file under test, and one that was ingested before with its content.
const ID: Lsn = Lsn(10);
const ORIGINAL: Lsn = Lsn(2);

/// Everything that can be read from an index, so that two can be compared.
#[derive(Debug, PartialEq)]
struct Told {
    settings: Option<Arc<Settings>>,
    open: Vec<Ingest>,
    kept: Vec<Kept>,
    originals: Vec<Option<(IngestId, PathBuf)>>,
    remembered: u64,
    last_seq: u64,
    counts: StateCounts,
}

fn told(state: &Index) -> Told {
    let mut kept: Vec<Kept> = state.kept().copied().collect();
    kept.sort_by_key(|kept| kept.identity.key());
    let original = |sha256: Sha256| {
        state
            .original(&sha256.into())
            .unwrap()
            .map(|original| (original.ingest_id, original.warehouse_path.to_path_buf()))
    };
    Told {
        settings: state.settings().cloned(),
        open: state.open().cloned().collect(),
        kept,
        originals: (0..32).map(|seed| original(digest(seed))).collect(),
        remembered: state.remembered(),
        last_seq: state.last_seq(),
        counts: FileState::ALL.map(|file_state| state.count(file_state)),
    }
}

fn skipped(action: DuplicateAction) -> Record {
    Record::SkippedDuplicate(SkippedDuplicate {
        ingest_id: IngestId(ID.0),
        sha256: digest(ORIGINAL.0),
        duplicate_of: IngestId(ORIGINAL.0),
        action,
        target: (action == DuplicateAction::Move).then(|| "/duplicates/a".into()),
    })
}

fn abandoned() -> Record {
    Record::Abandoned(Abandoned { ingest_id: IngestId(ID.0), reason: AbandonReason::Vanished })
}

/// PROFILED of the file under test, with this content.
fn profiled(content: u64) -> Record {
    let profile = Profile { rows: Some(1), ..Profile::default() };
    Record::Profiled(Profiled { ingest_id: IngestId(ID.0), sha256: digest(content), profile })
}

fn quarantined() -> Record {
    Record::Quarantined(Quarantined {
        ingest_id: IngestId(ID.0),
        cause: QuarantineCause::Unreadable,
        line: None,
        detail: "permission denied".to_owned(),
        target: "/quarantine/b".into(),
    })
}

/// HASHED of the file under test, with the content that is already in the warehouse.
fn hashed_again() -> Record {
    Record::Hashed(Hashed {
        ingest_id: IngestId(ID.0),
        sha256: digest(ORIGINAL.0),
        warehouse_path: "/warehouse/b".into(),
        copy: None,
        verified_by: None,
    })
}

fn fold(records: impl IntoIterator<Item = (Lsn, Record)>) -> Index {
    let mut state = Index::default();
    for (lsn, record) in records {
        state.apply(lsn, &record).unwrap();
    }
    state
}

/// An index with one finished original, and the file under test after `records`.
fn state_after(records: &[Record]) -> Index {
    let id = Record::Manifested(IngestId(ORIGINAL.0));
    let original =
        [settings(), discovered(ORIGINAL.0, "/in/original"), hashed(ORIGINAL, "/warehouse/a"), moved(ORIGINAL), id];
    let original = (1..).map(Lsn).zip(original);
    let file = (ID.0..).map(Lsn).zip(records.iter().cloned());
    fold(original.chain(file))
}

/// The states of a file, and what the index knows in each.
#[test]
fn a_file_goes_its_way() {
    let mut state = state_after(&[discovered(ID.0, "/in/b")]);
    let ingest = state.ingest(IngestId(ID.0)).unwrap();
    assert_eq!((ingest.state, ingest.identity), (FileState::Discovered, identity(ID.0)));
    assert_eq!(ingest.source_path, Path::new("/in/b"));
    assert_eq!(state.remembered(), 1);

    state.apply(Lsn(11), &hashed(ID, "/warehouse/b")).unwrap();
    assert!(state.original(&digest(ID.0).into()).unwrap().is_none(), "content counts from MOVED on, not before");
    state.apply(Lsn(12), &hashed(ID, "/warehouse/b-2")).unwrap();
    state.apply(Lsn(13), &moved(ID)).unwrap();
    let original = state.original(&digest(ID.0).into()).unwrap().unwrap();
    assert_eq!((original.ingest_id, &*original.warehouse_path), (IngestId(ID.0), Path::new("/warehouse/b-2")));
    assert_eq!(state.open().count(), 1);

    state.apply(Lsn(14), &Record::Manifested(IngestId(ID.0))).unwrap();
    assert_eq!((state.open().count(), state.remembered()), (0, 2));
    assert_eq!(FileState::ALL.map(|file_state| state.count(file_state)), [0, 0, 0, 2, 0, 0, 0]);
}

/// Every record in every state. Half of the pairs are impossible, and a journal with one of them is damaged: to continue
/// would move a file twice, or forget one.
#[test]
fn every_record_in_every_state() {
    let found = discovered(ID.0, "/in/b");
    let hash = hashed(ID, "/warehouse/b");
    let id = IngestId(ID.0);
    let states: [(&str, Vec<Record>); 11] = [
        ("unknown", vec![]),
        ("discovered", vec![found.clone()]),
        ("hashed", vec![found.clone(), hash.clone()]),
        ("moved", vec![found.clone(), hash.clone(), moved(ID)]),
        ("manifested", vec![found.clone(), hash.clone(), moved(ID), Record::Manifested(id)]),
        ("kept", vec![found.clone(), skipped(DuplicateAction::Keep)]),
        ("skipped", vec![found.clone(), skipped(DuplicateAction::Move)]),
        ("cleared", vec![found.clone(), skipped(DuplicateAction::Remove), Record::DuplicateCleared(id)]),
        ("in quarantine", vec![found.clone(), quarantined(), Record::QuarantineDone(id)]),
        ("on its way to quarantine", vec![found.clone(), quarantined()]),
        ("abandoned", vec![found, abandoned()]),
    ];
    let records: [(Record, &[&str]); 11] = [
        (hash, &["discovered", "hashed"]),
        (hashed_again(), &[]),
        (moved(ID), &["hashed"]),
        (Record::Manifested(id), &["moved"]),
        (skipped(DuplicateAction::Keep), &["discovered", "hashed", "skipped"]),
        (skipped(DuplicateAction::Remove), &["discovered", "hashed", "skipped"]),
        (Record::DuplicateCleared(id), &["skipped"]),
        (abandoned(), &["discovered", "hashed", "on its way to quarantine"]),
        (profiled(ID.0), &["discovered", "hashed"]),
        (quarantined(), &["discovered", "hashed", "on its way to quarantine"]),
        (Record::QuarantineDone(id), &["on its way to quarantine"]),
    ];
    for (name, before) in &states {
        for (record, allowed_in) in &records {
            let mut state = state_after(before);
            let untouched = told(&state);
            let outcome = state.apply(Lsn(20), record);
            assert_eq!(outcome.is_ok(), allowed_in.contains(name), "{record:?} when {name}: {outcome:?}");
            if outcome.is_err() {
                assert_eq!(told(&state), untouched, "{record:?} when {name}");
            }
        }
    }
}

/// The manifest line has the profile of the content that is listed: if a file changed before it was hashed again, its
/// earlier profile is dropped.
#[test]
fn a_profile_counts_for_the_content_that_was_looked_at() {
    let mut state = state_after(&[discovered(ID.0, "/in/b"), profiled(ID.0), hashed(ID, "/warehouse/b")]);
    assert_eq!(state.ingest(IngestId(ID.0)).unwrap().profile().unwrap().rows, Some(1));
    let mut other = hashed_again();
    if let Record::Hashed(hashed) = &mut other {
        hashed.sha256 = digest(77);
    }
    state.apply(Lsn(20), &other).unwrap();
    assert_eq!(state.ingest(IngestId(ID.0)).unwrap().profile(), None);
}

/// A content that an operator had forgotten may be ingested again, once; after that it stays known. Duplicates that stay in
/// staging are examined again: the operator wants one of them to be ingested.
#[test]
fn a_forgotten_content_may_come_again_once() {
    let mut state = state_after(&[discovered(ID.0, "/in/b"), skipped(DuplicateAction::Keep)]);
    state.apply(Lsn(20), &Record::Forgotten(digest(ORIGINAL.0).into())).unwrap();
    assert_eq!(state.original(&digest(ORIGINAL.0).into()).unwrap(), None);
    assert_eq!((state.kept().count(), state.kept_at(identity(ID.0).key())), (0, None));
    let again = |id: u64, kind: fn(IngestId) -> Record| kind(IngestId(id));
    let mut hashed = hashed_again();
    if let Record::Hashed(hashed) = &mut hashed {
        hashed.ingest_id = IngestId(30);
    }
    for (lsn, record) in [
        (30, discovered(30, "/in/b")),
        (31, hashed),
        (32, again(30, |ingest_id| Record::Moved(Moved { ingest_id, published: None, seq: None }))),
        (33, again(30, Record::Manifested)),
    ] {
        state.apply(Lsn(lsn), &record).unwrap();
    }
    assert_eq!(state.original(&digest(ORIGINAL.0).into()).unwrap().unwrap().ingest_id, IngestId(30));
}

/// Numbers are dense, whatever comes between: a consumer that sees a gap knows that lines are gone.
#[test]
fn lines_are_numbered_one_after_the_other() {
    let numbered =
        |id: Lsn, seq: u64| Record::Moved(Moved { ingest_id: IngestId(id.0), published: None, seq: Some(seq) });
    let mut state = state_after(&[]);
    for (file, refused, taken) in [(20, 2, 1), (30, 1, 2), (40, 4, 3), (50, 3, 4)] {
        let id = Lsn(file);
        state.apply(id, &discovered(file, "/in/x")).unwrap();
        state.apply(id.plus(1), &hashed(id, &format!("/warehouse/{file}"))).unwrap();
        let before = told(&state);
        assert!(state.apply(id.plus(2), &numbered(id, refused)).is_err());
        assert_eq!(told(&state), before);
        if file == 40 {
            // One of an earlier version, or of a lake, between them.
            state.apply(id.plus(2), &moved(id)).unwrap();
            assert_eq!((state.last_seq(), state.ingest(IngestId(file)).unwrap().order.seq), (2, None));
            state.apply(id.plus(3), &Record::Manifested(IngestId(file))).unwrap();
            state.apply(id.plus(4), &discovered(file + 4, "/in/x")).unwrap();
            state.apply(id.plus(5), &hashed(id.plus(4), "/warehouse/z")).unwrap();
            state.apply(id.plus(6), &numbered(id.plus(4), taken)).unwrap();
        } else {
            state.apply(id.plus(2), &numbered(id, taken)).unwrap();
            assert_eq!(state.ingest(IngestId(file)).unwrap().order.seq, Some(taken));
        }
        assert_eq!(state.last_seq(), taken);
    }
}

/// A file's directories are those of the settings when it was discovered: without settings, its paths are undefined.
#[test]
fn nothing_is_discovered_before_any_settings() {
    let mut state = Index::default();
    assert!(state.apply(Lsn(1), &discovered(1, "/in/a")).is_err());
    assert_eq!(told(&state), told(&Index::default()));
}

/// Two equal files in flight: only one may be moved, or one content would be in the warehouse twice.
#[test]
fn one_content_is_moved_once() {
    let mut second = hashed_again();
    if let Record::Hashed(hashed) = &mut second {
        hashed.sha256 = digest(20);
    }
    let mut state = state_after(&[discovered(ID.0, "/in/b"), second]);
    for (lsn, record) in [(20, discovered(20, "/in/c")), (21, hashed(Lsn(20), "/warehouse/c")), (22, moved(Lsn(20)))] {
        state.apply(Lsn(lsn), &record).unwrap();
    }
    let untouched = told(&state);
    assert!(state.apply(Lsn(23), &moved(ID)).is_err());
    assert_eq!(told(&state), untouched);
    // The second one can be abandoned.
    state.apply(Lsn(23), &abandoned()).unwrap();
    assert_eq!(state.open().count(), 1);
}

/// A file that is finished before it was moved releases its claim: the next equal one is ingested.
#[test]
fn an_abandoned_file_leaves_no_claim_on_its_content() {
    let mut state = state_after(&[discovered(ID.0, "/in/b"), hashed(ID, "/warehouse/b"), abandoned()]);
    assert!(state.original(&digest(ID.0).into()).unwrap().is_none());
    state.apply(Lsn(30), &discovered(30, "/in/b")).unwrap();
    let mut again = hashed_again();
    if let Record::Hashed(hashed) = &mut again {
        (hashed.ingest_id, hashed.sha256) = (IngestId(30), digest(ID.0));
    }
    state.apply(Lsn(31), &again).unwrap();
    state.apply(Lsn(32), &moved(Lsn(30))).unwrap();
    assert_eq!(state.original(&digest(ID.0).into()).unwrap().unwrap().ingest_id, IngestId(30));
}

/// A duplicate that stays in staging is remembered by its inode until that inode is discovered again.
#[test]
fn a_kept_duplicate_is_remembered_until_it_is_discovered_anew() {
    let mut state = state_after(&[discovered(ID.0, "/in/b"), skipped(DuplicateAction::Keep)]);
    let kept: Vec<Kept> = state.kept().copied().collect();
    assert_eq!(
        kept,
        [Kept { identity: identity(ID.0), sha256: digest(ORIGINAL.0), key: digest(ORIGINAL.0).into(), sidecar: None }]
    );
    assert_eq!(state.kept_at(identity(ID.0).key()), Some(&kept[0]));
    assert_eq!(state.open().count(), 0);
    state.apply(Lsn(20), &discovered(ID.0, "/in/b")).unwrap();
    assert_eq!(state.kept().count(), 0);
}

/// Where the parts of a content are holds until the next record of the file, and never beside a claim.
#[test]
fn an_upload_holds_until_the_next_record_of_its_file() {
    let uploading = |id: &str| {
        let upload = Upload { generation: 1, since: UnixMillis(2), key: "k".to_owned(), id: id.to_owned() };
        Record::Uploading(Uploading { ingest_id: IngestId(ID.0), upload })
    };
    let upload = |state: &Index| {
        let target = state.ingest(IngestId(ID.0)).and_then(|ingest| ingest.target.clone());
        target.and_then(|target| target.upload).map(|upload| upload.id)
    };
    let claimed = Record::Claimed(Claimed { ingest_id: IngestId(ID.0), shard: 3, entry: 7 });
    let mut state = Index::default();
    state.apply(Lsn(1), &settings()).unwrap();
    let refused = |state: &mut Index, when: &str| {
        let before = told(state);
        assert!(state.apply(Lsn(99), &uploading("x")).is_err(), "{when}");
        assert_eq!(told(state), before, "{when}");
    };
    refused(&mut state, "of no file");
    state.apply(ID, &discovered(ID.0, "/in/a")).unwrap();
    refused(&mut state, "before HASHED");
    state.apply(Lsn(11), &hashed(ID, "/warehouse/a")).unwrap();
    for id in ["a", "b"] {
        state.apply(Lsn(12), &uploading(id)).unwrap();
        assert_eq!(upload(&state).as_deref(), Some(id), "the last one holds");
    }
    let hashed_again = hashed(ID, "/warehouse/b");
    state.apply(Lsn(13), &hashed_again).unwrap();
    assert_eq!(upload(&state), None, "hashed again");
    state.apply(Lsn(14), &uploading("c")).unwrap();
    state.apply(Lsn(15), &claimed).unwrap();
    assert_eq!(upload(&state), None, "claimed");
    refused(&mut state, "after CLAIMED");
    // The content was forgotten: the file is hashed and uploaded again.
    state.apply(Lsn(16), &hashed_again).unwrap();
    assert_eq!(state.ingest(IngestId(ID.0)).unwrap().claimed, None);
    state.apply(Lsn(17), &uploading("d")).unwrap();
    let mut given_up = state.clone();
    given_up
        .apply(Lsn(18), &Record::Abandoned(Abandoned { ingest_id: IngestId(ID.0), reason: AbandonReason::Vanished }))
        .unwrap();
    refused(&mut given_up, "after ABANDONED");
    state.apply(Lsn(18), &moved(ID)).unwrap();
    assert_eq!(upload(&state), None, "moved");
    refused(&mut state, "after MOVED");
}

/// What an entry of a lake claims is never given up: any host may finish the entry.
#[test]
fn a_file_that_is_claimed_is_not_given_up() {
    let id = IngestId(ID.0);
    let claimed = Record::Claimed(Claimed { ingest_id: id, shard: 3, entry: 7 });
    let mut state = Index::default();
    state.apply(Lsn(1), &settings()).unwrap();
    state.apply(ID, &discovered(ID.0, "/in/a")).unwrap();
    assert!(state.apply(Lsn(11), &claimed).is_err(), "CLAIMED without HASHED");
    state.apply(Lsn(11), &hashed(ID, "/warehouse/a")).unwrap();
    state.apply(Lsn(12), &claimed).unwrap();
    let given_up = [
        Record::Abandoned(Abandoned { ingest_id: id, reason: AbandonReason::Changed }),
        skipped(DuplicateAction::Keep),
        Record::Quarantined(Quarantined {
            ingest_id: id,
            cause: QuarantineCause::Malformed,
            line: None,
            detail: String::new(),
            target: "/quarantine/a".into(),
        }),
    ];
    for record in given_up {
        let before = told(&state);
        assert!(state.apply(Lsn(13), &record).is_err(), "{record:?}");
        assert_eq!(told(&state), before);
    }
    assert_eq!(state.ingest(id).unwrap().claimed, Some((3, 7)));
    state.apply(Lsn(13), &moved(ID)).unwrap();
}
