//! Random histories with compactions at any point.

use std::ffi::OsStr;
use std::sync::Arc;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::Journal;
use csv_ingestor::journal::expired::{Cutoffs, Ranges};
use csv_ingestor::journal::groups::OpenGroup;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Claimed, ClockJumped, Discovered, DuplicateAction, EmptyFiles, Group, Hashed, Identity,
    KeptGone, Moved, Profile, Profiled, QuarantineCause, Quarantined, Record, Relocated, Rules, SameBy,
    SkippedDuplicate, Upload, Uploading,
};
use csv_ingestor::journal::verify::{SpareVerdict, verify};
use csv_ingestor::types::{IngestId, Key, Lsn, UnixMillis};
use proptest::prelude::*;

use super::super::util::{append_all, identity, settings};
use super::{CONTENTS, Told, compact_now, content, dir, read_on};

/// Names in staging.
const NAMES: [&str; 4] = ["a", "b", "sub/a", "sub/b"];

/// Everything that can be read from an index: also what is known by name and content.
fn told(state: &Index) -> (Told, Option<Identity>, Vec<Option<IngestId>>) {
    let key = |(name, seed)| Key::by(SameBy::NameAndContent, OsStr::new(name), &content(seed));
    let named = NAMES.iter().flat_map(|name| (0..CONTENTS).map(move |seed| (*name, seed))).map(key);
    let named = named.map(|key| state.original(&key).unwrap().map(|original| original.ingest_id));
    (super::told(state), state.identity(), named.collect())
}

/// The time at which a history begins, and the duration of each step.
const BEGIN_MS: u64 = 1_800_000_000_000;
const STEP_MS: u64 = 3_600_000;

/// One step of a random history.
#[derive(Clone, Copy, Debug)]
enum Step {
    Settings(u8),
    Discover(u8),
    /// A kind of record, the unfinished file that it is about, and a content.
    File(u8, u8, u8),
    Expire(u16),
    /// The part of the LSNs, and of the time, up to which contents expire.
    ExpireRanges(u16, u16),
    Jump(u8),
    KeptGone(u8),
    Relocate(u8),
    Forget(u8),
    /// A group of so many of the next files begins, or one ends.
    Group(u8),
    Restart,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<u8>().prop_map(Step::Settings),
        8 => any::<u8>().prop_map(Step::Discover),
        24 => (0..11_u8, any::<u8>(), any::<u8>()).prop_map(|(kind, file, content)| Step::File(kind, file, content)),
        1 => any::<u16>().prop_map(Step::Expire),
        1 => any::<(u16, u16)>().prop_map(|(lsn, time)| Step::ExpireRanges(lsn, time)),
        1 => any::<u8>().prop_map(Step::Jump),
        2 => any::<u8>().prop_map(Step::KeptGone),
        1 => any::<u8>().prop_map(Step::Relocate),
        2 => any::<u8>().prop_map(Step::Forget),
        2 => any::<u8>().prop_map(Step::Group),
        1 => Just(Step::Restart),
        3 => Just(Step::Compact),
    ]
}

/// The record of a step, if there is a file for one.
fn record_of(step: Step, state: &Index, next_lsn: Lsn) -> Option<Record> {
    let open: Vec<IngestId> = state.open().map(|ingest| ingest.id).collect();
    Some(match step {
        Step::Settings(which) if which % 4 == 0 => Record::Rules(Rules {
            quarantine: (which % 8 == 0).then(|| format!("/quarantine/{which}").into()),
            validation: None,
            require_checksum: which % 16 == 0,
        }),
        Step::Settings(which) if which % 4 == 1 => Record::Identity(Identity {
            same_by: if which % 8 == 1 { SameBy::NameAndContent } else { SameBy::Content },
            empty: EmptyFiles::Ingest,
        }),
        Step::Settings(which) => match settings() {
            Record::Settings(known) => Record::Settings(csv_ingestor::journal::record::Settings {
                input: format!("/in{which}").into(),
                ..known
            }),
            other => other,
        },
        Step::Discover(inode) => Record::Discovered(Discovered {
            identity: identity(u64::from(inode % 16)),
            discovered_at: UnixMillis(next_lsn.0 * 10),
            source_path: format!("/in/{}", NAMES[usize::from(inode % 4)]).into(),
            sidecar: None,
        }),
        Step::File(kind, file, seed) => {
            record_of_file(kind, *open.get(usize::from(file) % open.len().max(1))?, seed, state)?
        }
        Step::Expire(part) => Record::Expired(UnixMillis(next_lsn.0 * 10 * u64::from(part) / u64::from(u16::MAX))),
        Step::ExpireRanges(lsn, time) => expired(next_lsn, lsn, time),
        Step::Jump(by) => Record::ClockJumped(ClockJumped {
            from: Lsn(next_lsn.0.saturating_sub(u64::from(by % 4))),
            shift_ms: i64::from(by) * 1_000,
        }),
        Step::KeptGone(inode) => Record::KeptGone(KeptGone { device: 1, inode: u64::from(inode % 16) }),
        Step::Relocate(which) => {
            let (old, new) =
                [("/warehouse", "/moved"), ("/moved", "/warehouse"), ("/in", "/elsewhere"), ("/quarantine", "/q")]
                    [usize::from(which % 4)];
            Record::Relocated(Relocated { old: old.into(), new: new.into() })
        }
        Step::Forget(seed) => {
            let (name, sha256) = (NAMES[usize::from(seed % 4)], content(u64::from(seed) % CONTENTS));
            let same_by = if seed < 128 { SameBy::Content } else { SameBy::NameAndContent };
            Record::Forgotten(Key::by(same_by, OsStr::new(name), &sha256))
        }
        Step::Group(count) if count % 2 == 0 => Record::Group(Group {
            path: "/in/close.group".into(),
            identity: identity(u64::from(count)),
            moving: (1..=u64::from(count % 8)).map(|number| IngestId(next_lsn.0 + number)).collect(),
            inodes: (1..=u64::from(count % 8)).map(|number| u64::from(count) * number % 16).collect(),
            known: Vec::new(),
        }),
        Step::Group(_) => {
            let is_closed = |group: &&Arc<OpenGroup>| group.group.moving.iter().all(|id| !open.contains(id));
            Record::GroupDone(state.groups().find(is_closed)?.lsn)
        }
        Step::Restart | Step::Compact => return None,
    })
}

/// A record of one file, if such a record is possible.
fn record_of_file(kind: u8, ingest_id: IngestId, seed: u8, state: &Index) -> Option<Record> {
    let sha256 = content(u64::from(seed) % CONTENTS);
    let keeps = seed.is_multiple_of(2);
    Some(match kind {
        0 => {
            let warehouse_path = format!("/warehouse/{seed}").into();
            Record::Hashed(Hashed { ingest_id, sha256, warehouse_path, copy: None, verified_by: None })
        }
        1 => {
            // Sometimes as earlier versions and lakes do, and sometimes with a number that is refused.
            let seq = [Some(1), Some(1), Some(1), Some(2), None][usize::from(seed) % 5].map(|by| state.last_seq() + by);
            Record::Moved(Moved { ingest_id, published: keeps.then(|| identity(u64::from(seed))), seq })
        }
        2 => Record::Manifested(ingest_id),
        3 => Record::SkippedDuplicate(SkippedDuplicate {
            ingest_id,
            sha256,
            duplicate_of: state.original(&state.ingest(ingest_id)?.key(&sha256)).unwrap()?.ingest_id,
            action: if keeps { DuplicateAction::Keep } else { DuplicateAction::Remove },
            target: None,
        }),
        4 => Record::DuplicateCleared(ingest_id),
        5 => Record::Profiled(Profiled { ingest_id, sha256, profile: Profile::default() }),
        6 => Record::Quarantined(Quarantined {
            ingest_id,
            cause: QuarantineCause::Unreadable,
            line: None,
            detail: String::new(),
            target: format!("/quarantine/{seed}").into(),
        }),
        7 => Record::QuarantineDone(ingest_id),
        8 => Record::Uploading(Uploading {
            ingest_id,
            upload: Upload { generation: 1, since: UnixMillis(2), key: format!("k/{seed}"), id: format!("u{seed}") },
        }),
        9 => Record::Claimed(Claimed { ingest_id, shard: 0, entry: u64::from(seed) }),
        _ => Record::Abandoned(Abandoned { ingest_id, reason: AbandonReason::Vanished }),
    })
}

fn expired(next_lsn: Lsn, lsn: u16, time: u16) -> Record {
    let part = |of: u64, part: u16| of * u64::from(part) / u64::from(u16::MAX);
    let end = part(next_lsn.0 + 3, lsn);
    // Each step of the history takes an hour.
    let before = UnixMillis(BEGIN_MS + part(next_lsn.0 * STEP_MS, time));
    let steps = [(Lsn(end / 2), UnixMillis(before.0 / 2)), (Lsn(end.max(1)), before)];
    let steps = steps.into_iter().filter(|(end, _)| end.0 > 0).collect::<Vec<_>>();
    let mut steps: Vec<_> = steps.into_iter().rev().collect();
    steps.dedup_by_key(|(end, _)| *end);
    steps.reverse();
    Record::ExpiredRanges(Ranges { listed: Cutoffs::new(steps).unwrap(), ..Ranges::default() })
}

/// Why: a snapshot keeps the newest record of each kind, and what a later one has ended must not come before it. A file is
/// hashed again after a start, and after CLAIMED if an operator had the lake forget its content.
#[test]
fn a_file_on_its_way_into_a_lake_survives_a_compaction_after_any_of_its_records() {
    let id = IngestId(2);
    let file = |kind, seed| record_of_file(kind, id, seed, &Index::default()).unwrap();
    let (hashed, uploading, claimed) = (0, 8, 9);
    let kinds = [hashed, uploading, uploading, hashed, uploading, claimed, hashed, uploading, claimed, hashed];
    let found = Discovered {
        identity: identity(1),
        discovered_at: UnixMillis(BEGIN_MS),
        source_path: "/in/a".into(),
        sidecar: None,
    };
    let mut records = vec![settings(), Record::Discovered(found)];
    records.extend(kinds.into_iter().enumerate().map(|(number, kind)| file(kind, 8 * number as u8)));
    for end in 3..=records.len() {
        let (fs, mut reference) = (SimFs::new(3), Index::default());
        let (mut journal, _) = Journal::open(&fs, dir(), &mut Index::default()).unwrap();
        append_all(&mut journal, &records[..end]);
        for (lsn, record) in (1..).zip(&records[..end]) {
            reference.apply_at(Lsn(lsn), fs.now(), record).unwrap();
        }
        journal.seal().unwrap();
        compact_now(&fs, dir(), &journal).unwrap();
        assert_eq!(told(&read_on(&fs, dir())), told(&reference), "after {:?}", records[end - 1]);
    }
}

/// Why: a number that is given again makes a consumer take a new line for one that it has.
#[test]
fn lines_are_numbered_on_behind_a_compaction() {
    let (fs, mut reference) = (SimFs::new(3), Index::default());
    let (mut journal, _) = Journal::open(&fs, dir(), &mut Index::default()).unwrap();
    append_all(&mut journal, &[settings()]);
    reference.apply_at(Lsn(1), fs.now(), &settings()).unwrap();
    for seq in 1..=9 {
        let id = IngestId(journal.next_lsn().0);
        let found = Discovered {
            identity: identity(seq),
            discovered_at: UnixMillis(BEGIN_MS),
            source_path: format!("/in/{seq}").into(),
            sidecar: None,
        };
        let hashed = record_of_file(0, id, seq as u8, &reference).unwrap();
        let moved = Record::Moved(Moved { ingest_id: id, published: None, seq: Some(seq) });
        let mut records = vec![Record::Discovered(found), hashed, moved];
        // Some files wait for their lines while the journal is compacted.
        records.extend((!seq.is_multiple_of(4)).then_some(Record::Manifested(id)));
        for record in &records {
            reference.apply_at(journal.next_lsn(), fs.now(), record).unwrap();
            append_all(&mut journal, std::slice::from_ref(record));
        }
        if seq.is_multiple_of(3) {
            journal.seal().unwrap();
            compact_now(&fs, dir(), &journal).unwrap();
            let read = read_on(&fs, dir());
            assert_eq!((read.last_seq(), told(&read)), (seq, told(&reference)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The main property: however often a journal is compacted on the way, its state is the same as without compactions.
    /// So is the index in the memory of the running process, which adopts each snapshot.
    #[test]
    fn any_history_adds_up_to_the_same_with_compactions_and_without(steps in proptest::collection::vec(step(), 1..160)) {
        let fs = SimFs::new(3);
        fs.set_clock(UnixMillis(BEGIN_MS));
        fs.set_tick(std::time::Duration::ZERO);
        let mut reference = Index::default();
        let mut running = Index::default();
        let (mut journal, _) = Journal::open(&fs, dir(), &mut running).unwrap();
        for step in [Step::Settings(1)].into_iter().chain(steps) {
            fs.advance(std::time::Duration::from_millis(STEP_MS));
            match step {
                Step::Restart => {
                    drop(journal);
                    fs.kill();
                    running = Index::default();
                    (journal, _) = Journal::open(&fs, dir(), &mut running).unwrap();
                }
                Step::Compact => {
                    journal.seal().unwrap();
                    if let Some(compacted) = compact_now(&fs, dir(), &journal) {
                        running.adopt(compacted.snapshot);
                    }
                    prop_assert_eq!(told(&read_on(&fs, dir())), told(&reference));
                    let verified = verify(&fs, dir()).unwrap().unwrap();
                    prop_assert!(!matches!(verified.spare, Some(SpareVerdict::Damaged(_))));
                }
                step => {
                    let lsn = journal.next_lsn();
                    let Some(record) = record_of(step, &reference, lsn) else { continue };
                    // The time that the frame will have: the clock advances by less than a millisecond until then.
                    let at = fs.now();
                    let expected = reference.apply_at(lsn, at, &record).is_ok();
                    prop_assert_eq!(running.apply_at(lsn, at, &record).is_ok(), expected, "{:?}", record);
                    if expected {
                        append_all(&mut journal, &[record]);
                    }
                }
            }
            prop_assert_eq!(told(&running), told(&reference));
        }
    }
}
