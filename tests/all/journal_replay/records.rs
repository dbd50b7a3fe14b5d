//! Every record is encoded and decoded again, and no bytes make the decoders panic.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use csv_ingestor::journal::expired::{Cutoffs, Ranges};
use csv_ingestor::journal::format::{BLOCK_BYTES, EXPIRED_STEPS_MAX, HEADER_FAULTS_MAX, PATH_BYTES_MAX};
use csv_ingestor::journal::frame;
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Claimed, ClockJumped, Copy, CsvFault, Discovered, DuplicateAction, EmptyFiles, Group,
    Hashed, HeaderFault, Identity, KeptGone, KnownMember, LayoutRule, Moved, Profile, Profiled, QuarantineCause,
    Quarantined, RECORD_BYTES_MAX, Record, Relocated, Rules, SameBy, Settings, Sidecar, SkippedDuplicate, Upload,
    Uploading, Validation,
};
use csv_ingestor::journal::segment::SegmentHeader;
use csv_ingestor::limits::{LAKE_KEY_BYTES_MAX, LAKE_UPLOAD_ID_BYTES_MAX};
use csv_ingestor::types::{Algorithm, FileIdentity, FileTime, IngestId, Key, Lsn, Sha256, UnixMillis};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample;

/// Any bytes: names need not be UTF-8, and a path that is not absolute or has `//` in it must be decoded unchanged.
fn path() -> impl Strategy<Value = PathBuf> {
    prop_oneof![
        9 => vec(any::<u8>(), 0..60),
        1 => vec(any::<u8>(), PATH_BYTES_MAX - 1..=PATH_BYTES_MAX),
    ]
    .prop_map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

fn time() -> impl Strategy<Value = FileTime> {
    (any::<i64>(), any::<u32>()).prop_map(|(sec, nsec)| FileTime { sec, nsec })
}

fn identity() -> impl Strategy<Value = FileIdentity> {
    (any::<[u64; 3]>(), time(), time()).prop_map(|([device, inode, size], mtime, ctime)| FileIdentity {
        device,
        inode,
        size,
        mtime,
        ctime,
    })
}

fn id() -> impl Strategy<Value = IngestId> {
    any::<u64>().prop_map(IngestId)
}

fn action() -> impl Strategy<Value = DuplicateAction> {
    prop_oneof![Just(DuplicateAction::Keep), Just(DuplicateAction::Remove), Just(DuplicateAction::Move)]
}

fn reason() -> impl Strategy<Value = AbandonReason> {
    prop_oneof![
        Just(AbandonReason::Vanished),
        Just(AbandonReason::Changed),
        Just(AbandonReason::OpenForWriting),
        Just(AbandonReason::Failed),
        Just(AbandonReason::SettingsChanged),
        Just(AbandonReason::NeedsCopy),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![9 => "\\PC{0,40}", 1 => "[a-z]{1024}"]
}

fn profiled() -> impl Strategy<Value = Record> {
    let fault = (any::<u64>(), text()).prop_map(|(line, reason)| CsvFault { line, reason });
    // At most fifteen texts of the greatest length fit.
    let parts =
        (option::of(any::<u64>()), option::of(any::<u64>()), option::of(vec(text(), 0..=15)), option::of(fault));
    (id(), any::<[u8; 32]>(), parts, header_faults()).prop_map(|(ingest_id, sha256, parts, header_faults)| {
        let (rows, columns, header, fault) = parts;
        let profile = Profile { rows, columns, header, header_faults, fault };
        Record::Profiled(Profiled { ingest_id, sha256: Sha256(sha256), profile })
    })
}

fn header_faults() -> impl Strategy<Value = Vec<HeaderFault>> {
    let firsts = prop_oneof![1 => Just(std::collections::BTreeMap::new()),
                             1 => proptest::collection::btree_map(1_u16.., any::<u16>(), 0..=HEADER_FAULTS_MAX)];
    firsts.prop_map(|firsts| {
        let first = |column, first| (1..column).contains(&first).then_some(first);
        firsts.into_iter().map(|(column, it)| HeaderFault { column, first: first(column, it % column) }).collect()
    })
}

fn quarantined() -> impl Strategy<Value = Record> {
    use QuarantineCause::{ChecksumDiffers, Malformed, NoMatch, Unreadable};
    let cause = prop_oneof![Just(ChecksumDiffers), Just(Unreadable), Just(Malformed), Just(NoMatch)];
    (id(), cause, option::of(any::<u64>()), text(), path()).prop_map(|(ingest_id, cause, line, detail, target)| {
        Record::Quarantined(Quarantined { ingest_id, cause, line, detail, target })
    })
}

fn rules() -> impl Strategy<Value = Record> {
    let aside = (option::of(any::<u8>()), prop_oneof![Just(0), any::<u16>()]);
    let validation = (any::<(u8, bool)>(), option::of(1_u8..), aside).prop_map(
        |((delimiter, refuse), quote, (comment, skip_rows))| Validation {
            delimiter,
            quote,
            refuse,
            comment,
            skip_rows,
        },
    );
    (option::of(path()), option::of(validation), any::<bool>()).prop_map(
        |(quarantine, validation, require_checksum)| Record::Rules(Rules { quarantine, validation, require_checksum }),
    )
}

fn layout() -> impl Strategy<Value = Record> {
    let rule = (text(), option::of(text()));
    rule.prop_map(|(template, name_pattern)| Record::Layout(LayoutRule { template, name_pattern }))
}

fn cutoffs() -> impl Strategy<Value = Cutoffs> {
    prop_oneof![9 => proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..6),
                1 => proptest::collection::btree_map(any::<u64>(), any::<u64>(), EXPIRED_STEPS_MAX)]
    .prop_map(|steps| {
        Cutoffs::new(steps.into_iter().map(|(end, before)| (Lsn(end), UnixMillis(before))).collect()).unwrap()
    })
}

fn ranges() -> impl Strategy<Value = Record> {
    (cutoffs(), cutoffs(), any::<u64>())
        .prop_map(|(listed, found, old)| Record::ExpiredRanges(Ranges { listed, found, old_lsn: Lsn(old) }))
}

fn record() -> impl Strategy<Value = Record> {
    let settings = (path(), path(), path(), action(), option::of(path())).prop_map(
        |(input, warehouse, manifests, duplicates, duplicates_dir)| {
            Record::Settings(Settings { input, warehouse, manifests, duplicates, duplicates_dir })
        },
    );
    let sidecar = (identity(), path()).prop_map(|(identity, path)| Sidecar { identity, path });
    let discovered =
        (identity(), any::<u64>(), path(), option::of(sidecar)).prop_map(|(identity, at, source_path, sidecar)| {
            Record::Discovered(Discovered { identity, discovered_at: UnixMillis(at), source_path, sidecar })
        });
    let copy = (identity(), path()).prop_map(|(identity, path)| Copy { identity, path });
    let verified_by = option::of(sample::select(&Algorithm::ALL[..]));
    let hashed = (id(), any::<[u8; 32]>(), path(), option::of(copy), verified_by).prop_map(
        |(ingest_id, sha256, warehouse_path, copy, verified_by)| {
            Record::Hashed(Hashed { ingest_id, sha256: Sha256(sha256), warehouse_path, copy, verified_by })
        },
    );
    let skipped = (id(), any::<[u8; 32]>(), id(), action(), option::of(path())).prop_map(
        |(ingest_id, sha256, duplicate_of, action, target)| {
            let sha256 = Sha256(sha256);
            Record::SkippedDuplicate(SkippedDuplicate { ingest_id, sha256, duplicate_of, action, target })
        },
    );
    let abandoned = (id(), reason()).prop_map(|(ingest_id, reason)| Record::Abandoned(Abandoned { ingest_id, reason }));
    prop_oneof![
        settings,
        discovered,
        hashed,
        skipped,
        abandoned,
        (id(), option::of(identity()), option::of(1..=u64::MAX))
            .prop_map(|(ingest_id, published, seq)| Record::Moved(Moved { ingest_id, published, seq })),
        id().prop_map(Record::Manifested),
        id().prop_map(Record::DuplicateCleared),
        id().prop_map(Record::QuarantineDone),
        any::<u64>().prop_map(|at| Record::Expired(UnixMillis(at))),
        any::<[u8; 32]>().prop_map(|sha256| Record::Forgotten(Key(sha256))),
        any::<(u64, i64)>().prop_map(|(from, shift_ms)| Record::ClockJumped(ClockJumped { from: Lsn(from), shift_ms })),
        ranges(),
        any::<(u64, u64)>().prop_map(|(device, inode)| Record::KeptGone(KeptGone { device, inode })),
        (path(), path()).prop_map(|(old, new)| Record::Relocated(Relocated { old, new })),
        of_lake(),
        group(),
        any::<u64>().prop_map(|lsn| Record::GroupDone(Lsn(lsn))),
        profiled(),
        quarantined(),
        sample::select(vec![
            Record::Identity(Identity::default()),
            Record::Identity(Identity { same_by: SameBy::NameAndContent, empty: EmptyFiles::Keep }),
            Record::Identity(Identity { same_by: SameBy::Content, empty: EmptyFiles::Quarantine }),
        ]),
        rules(),
        layout(),
    ]
}

fn of_lake() -> impl Strategy<Value = Record> {
    let claimed = (id(), any::<u16>(), any::<u64>());
    let claimed = claimed.prop_map(|(ingest_id, shard, entry)| Record::Claimed(Claimed { ingest_id, shard, entry }));
    prop_oneof![any::<[u8; 16]>().prop_map(Record::Lake), claimed, uploading()]
}

fn uploading() -> impl Strategy<Value = Record> {
    let of_bytes = |most: usize| prop_oneof![9 => "[a-z/%=é]{1,20}", 1 => Just("k".repeat(most))];
    let parts = (id(), any::<(u32, u64)>(), of_bytes(LAKE_KEY_BYTES_MAX), of_bytes(LAKE_UPLOAD_ID_BYTES_MAX));
    parts.prop_map(|(ingest_id, (generation, since), key, id)| {
        let upload = Upload { generation, since: UnixMillis(since), key, id };
        Record::Uploading(Uploading { ingest_id, upload })
    })
}

fn group() -> impl Strategy<Value = Record> {
    let known = (path(), any::<[u8; 32]>(), id());
    let known = known.prop_map(|(name, sha256, of)| KnownMember { name, sha256: Sha256(sha256), of });
    let moving = proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..6);
    let parts = (path(), identity(), moving, vec(known, 0..4));
    parts.prop_map(|(path, identity, moving, known)| {
        let (moving, inodes) = moving.into_iter().map(|(id, inode)| (IngestId(id), inode)).unzip();
        Record::Group(Group { path, identity, moving, inodes, known })
    })
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

proptest! {
    /// Recovery decides from exactly the records that were written. Rust compares paths by component (`a//b` equals
    /// `a/b`), so the bytes are compared, too.
    #[test]
    fn records_go_there_and_back(records in vec(record(), 1..5)) {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let mut rest = &bytes[..];
        for record in &records {
            let (decoded, length) = Record::decode(rest).expect("a record");
            prop_assert_eq!(&decoded, record);
            prop_assert_eq!(&encoded(&decoded)[..], &rest[..length]);
            prop_assert!(length <= RECORD_BYTES_MAX);
            rest = &rest[length..];
        }
        prop_assert!(rest.is_empty());
    }

    /// A record that is cut off at any length is refused: no field is read past the end.
    #[test]
    fn a_record_cut_off_is_none(record in record(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&record);
        prop_assert_eq!(Record::decode(&bytes[..cut.index(bytes.len())]), None);
    }

    /// Recovery must be able to refuse any bytes, so no bytes may make it panic. And each accepted record has exactly one
    /// encoding.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), kind in 0_u8..22, salt in any::<u32>()) {
        let mut likely = bytes.clone();
        if likely.len() >= 4 {
            let length = (likely.len() - 4) as u16;
            likely[..2].copy_from_slice(&[kind, 0]);
            likely[2..4].copy_from_slice(&length.to_le_bytes());
        }
        for bytes in [&bytes, &likely] {
            if let Some((record, length)) = Record::decode(bytes) {
                prop_assert_eq!(&encoded(&record)[..], &bytes[..length]);
            }
            prop_assert!(frame::decode(bytes, salt).is_err());
            let mut block = bytes.clone();
            block.resize(BLOCK_BYTES, 0);
            prop_assert!(SegmentHeader::decode(&block).is_err());
        }
    }

    /// A changed byte results in another record or in none, but never in bytes that the encoder would not write.
    #[test]
    fn a_changed_byte_is_never_read_as_the_same(record in record(), at in any::<prop::sample::Index>(), xor in 1_u8..) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        if let Some((decoded, length)) = Record::decode(&bytes) {
            prop_assert_eq!(&encoded(&decoded)[..], &bytes[..length]);
        }
    }
}
