//! At every operation of a rebuild, power is cut or the operation fails: afterwards there is no journal, or a whole one;
//! never one that remembers only some contents. A second rebuild has the same result.

use std::path::Path;

use csv_ingestor::fs::sim::{Fault, SimFs};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::rebuild::Rebuild;
use csv_ingestor::journal::snapshot::Row;
use csv_ingestor::journal::verify::verify;
use csv_ingestor::journal::{self, Damage, Error, Journal};
use csv_ingestor::types::{IngestId, Lsn, Sha256, UnixMillis};

use crate::crash::sweeps::is_thorough;

const STATE: &str = "/disk/state";
const ROWS: u64 = 150;

/// What a power cut keeps is drawn so often.
fn seeds() -> u64 {
    if is_thorough() { 4 } else { 1 }
}

fn sha256(n: u64) -> Sha256 {
    let mut digest = [n as u8; 32];
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Sha256(digest)
}

fn row(n: u64) -> Row {
    Row {
        key: sha256(n).into(),
        sha256: sha256(n),
        ingest_id: IngestId(n * 5),
        lsn: Lsn(n * 5 + 3),
        device: 1,
        inode: n,
        size: n,
        mtime_sec: 0,
        discovered_at: UnixMillis(1_000 + n),
        manifested_at: UnixMillis(1_000 + n),
        source_path: format!("/in/{n}.csv").into(),
        warehouse_path: format!("/wh/ingest_date=1970-01-01/{n}.csv").into(),
        published: None,
    }
}

fn rebuild(fs: &SimFs) -> Result<Lsn, Error> {
    let mut rebuild = Rebuild::begin(fs, Path::new(STATE))?;
    (1..=ROWS).for_each(|n| rebuild.push(&row(n)));
    rebuild.finish().map(|snapshot| snapshot.header().lsn)
}

/// The state directory is missing, is empty, has a LOCK that names a journal, or has the files of a rebuild that was
/// interrupted between its two files.
fn machines() -> Vec<(&'static str, SimFs)> {
    let bare = SimFs::new(5);
    bare.upstream().mkdir_all("/disk").unwrap();
    bare.upstream().sync();
    let empty = bare.fork();
    empty.upstream().mkdir(STATE).unwrap();
    empty.upstream().sync();
    let locked = empty.fork();
    let lock = format!("{:>10}\n{}\n", 77, "ab".repeat(16));
    locked.upstream().write(format!("{STATE}/LOCK"), lock.as_bytes()).unwrap();
    locked.upstream().sync();
    let half = locked.fork();
    rebuild(&half).unwrap();
    for name in half.upstream().list(STATE).unwrap() {
        if name.to_str().unwrap().starts_with("snap-") {
            half.upstream().remove(Path::new(STATE).join(name)).unwrap();
        }
    }
    half.upstream().sync();
    vec![("absent", bare), ("empty", empty), ("lock", locked), ("half", half)]
}

/// True if there is the whole journal, false if there is none; any other result fails the test.
fn is_whole(fs: &SimFs, what: &str) -> bool {
    match verify(fs, Path::new(STATE)) {
        Ok(None) => false,
        Ok(Some(verified)) => {
            let snapshot = verified.replayed.snapshot.unwrap_or_else(|| panic!("{what}: an empty journal"));
            assert_eq!(snapshot.header().rows, ROWS, "{what}");
            let mut state = Index::default();
            journal::read(fs, Path::new(STATE), &mut state).unwrap();
            for n in 1..=ROWS {
                let original =
                    state.original(&sha256(n).into()).unwrap().unwrap_or_else(|| panic!("{what}: {n} is lost"));
                assert_eq!(original.ingest_id, IngestId(n * 5), "{what}");
            }
            true
        }
        Err(Error::Corrupt(damage)) => {
            let is_none = matches!(damage.damage, Damage::MissingSnapshot(_) | Damage::JournalMissing(_));
            assert!(is_none, "{what}: {damage}");
            // No ingestor starts on it.
            let opened = Journal::open(&fs.fork(), Path::new(STATE), &mut Index::default());
            assert!(matches!(opened, Err(Error::Corrupt(_))), "{what}: a start took it for a new one");
            false
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

fn again(fs: &SimFs, what: &str) {
    if is_whole(fs, what) {
        let refused = rebuild(fs);
        assert!(matches!(refused, Err(Error::Exists(_))), "{what}: {:?}", refused.map(|lsn| lsn.0));
    } else {
        rebuild(fs).unwrap_or_else(|error| panic!("{what}: the second one: {error}"));
        assert!(is_whole(fs, what), "{what}: the second one");
    }
    let (journal, _) = Journal::open(fs, Path::new(STATE), &mut Index::default()).unwrap();
    assert!(journal.next_lsn().0 > ROWS * 5 + 3, "{what}");
    drop(journal);
}

#[test]
fn a_rebuild_that_is_cut_off_anywhere_is_nothing_or_whole() {
    let (mut states, mut whole) = (0, 0);
    for (name, machine) in machines() {
        let before = machine.operations();
        let through = machine.fork();
        rebuild(&through).unwrap();
        assert!(is_whole(&through, name));
        assert!(machine.clone().operations() == before);
        for operation in before + 1..=through.operations() {
            let fs = machine.fork();
            fs.inject(Fault::crash().at(operation));
            let _ = rebuild(&fs);
            for seed in 0..seeds() {
                let cut = fs.fork();
                cut.clear_faults();
                cut.crash(seed);
                let what = format!("{name}, operation {operation}, seed {seed}");
                whole += u64::from(is_whole(&cut, &what));
                again(&cut, &what);
                states += 1;
            }
        }
    }
    eprintln!("{states} crash states of rebuilds, {whole} of them whole");
    assert!(states > 500 && whole > 10, "{states}, {whole}");
}

#[test]
fn a_rebuild_of_which_any_operation_fails_is_nothing_or_whole() {
    for (name, machine) in machines() {
        let before = machine.operations();
        let through = machine.fork();
        rebuild(&through).unwrap();
        for errno in [libc::EIO, libc::ENOSPC] {
            for operation in before + 1..=through.operations() {
                let fs = machine.fork();
                fs.inject(Fault::errno(errno).at(operation));
                let result = rebuild(&fs);
                fs.clear_faults();
                let what = format!("{name}, operation {operation}, errno {errno}");
                assert!(result.is_err() || is_whole(&fs, &what), "{what}: it reported success");
                // Power is cut as well: unsynced writes may be lost.
                for seed in 0..seeds() {
                    let cut = fs.fork();
                    cut.crash(seed);
                    again(&cut, &what);
                }
                again(&fs, &what);
            }
        }
    }
}
