//! Exactly one complete line per file, whatever a crash left of a batch, and no line is ever withdrawn.

use std::path::Path;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::sim::{Fault, Op, SimFs};
use csv_ingestor::pipeline::manifest::{AppendProgress, Manifests};

const ROOT: &str = "/manifests";
const HOUR: &str = "/manifests/2026/01/02/03";
const FILE: &str = "/manifests/2026/01/02/03/manifest.jsonl";

fn line(id: u64) -> Vec<u8> {
    format!("{{\"path\":\"/staging/{id}.csv\",\"ingest_id\":{id}}}\n").into_bytes()
}

fn lines(ids: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
    ids.map(line).collect()
}

/// A machine whose manifest holds `content`, durably.
fn machine(content: &[u8]) -> SimFs {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all(HOUR).unwrap();
    fs.upstream().write(FILE, content).unwrap();
    fs.upstream().sync();
    fs
}

fn ensure(fs: &SimFs, wanted: &[Vec<u8>]) -> usize {
    Manifests::new(fs.clone()).ensure(Path::new(ROOT), Path::new(HOUR), wanted).unwrap()
}

fn content(fs: &SimFs) -> Vec<u8> {
    fs.upstream().read(FILE).unwrap()
}

/// A killed process leaves a prefix of its batch. Every prefix is completed in place: the lines that a reader has seen stay
/// where they were.
#[test]
fn every_prefix_of_a_batch_is_completed() {
    let (before, batch) = (lines(1..=2).concat(), lines(3..=5));
    let whole = [before.clone(), batch.concat()].concat();
    for length in before.len()..=whole.len() {
        let fs = machine(&whole[..length]);
        ensure(&fs, &batch);
        assert_eq!(content(&fs), whole, "cut at {length}");
        assert_eq!(fs.count(Op::SetLen), 0, "cut at {length}: nothing may be cut off");
        assert_eq!(ensure(&fs, &batch), 0, "recovering twice equals recovering once");
        assert_eq!(content(&fs), whole);
    }
}

/// A power cut may keep the new size and lose any sector, also in the middle: lost sectors read as zeros.
#[test]
fn lost_sectors_are_filled_in() {
    let (before, batch) = (lines(1..=40).concat(), lines(41..=120));
    let whole = [before.clone(), batch.concat()].concat();
    let sectors: Vec<usize> = (before.len().next_multiple_of(512)..whole.len()).step_by(512).collect();
    for (index, lost) in sectors.iter().enumerate() {
        let mut torn = whole.clone();
        for start in [*lost, sectors[(index * 3 + 1) % sectors.len()]] {
            let end = (start + 512).min(torn.len());
            torn[start..end].fill(0);
        }
        let fs = machine(&torn);
        ensure(&fs, &batch);
        assert!(content(&fs) == whole, "sector at {lost}");
    }
}

/// A torn line that this ingestor did not write belongs to another one, which will write it again; the lines before it stay.
#[test]
fn a_foreign_torn_line_is_cut_off() {
    let foreign = b"{\"path\":\"/elsewhere/x.csv\",\"inge";
    let fs = machine(&[lines(1..=2).concat(), foreign.to_vec()].concat());
    ensure(&fs, &lines(3..=3));
    assert_eq!(content(&fs), lines(1..=3).concat());

    let fs = machine(&[lines(1..=2).concat(), foreign.to_vec()].concat());
    let mut manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &line(3), &mut AppendProgress::default()).unwrap();
    assert_eq!(content(&fs), lines(1..=3).concat());
}

/// Why: an editor that saves a manifest without a newline at its end made the next append cut off the last line, of a file
/// that was ingested long ago. The beginning of an object is not an object, so a complete object is not a torn line.
#[test]
fn a_record_that_lacks_its_newline_alone_gets_it() {
    let mut saved = lines(1..=2).concat();
    saved.pop();
    let fs = machine(&saved);
    ensure(&fs, &lines(3..=3));
    assert_eq!(content(&fs), lines(1..=3).concat());

    let fs = machine(&saved);
    let mut manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &line(3), &mut AppendProgress::default()).unwrap();
    assert_eq!(content(&fs), lines(1..=3).concat());

    // The ingestor that wrote the line runs again, and finds it complete.
    let fs = machine(&saved);
    manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &line(3), &mut AppendProgress::default()).unwrap();
    assert_eq!(ensure(&fs, &lines(2..=2)), 0);
    assert_eq!(content(&fs), lines(1..=3).concat());
}

/// Lines that exist are not written again, wherever they are.
#[test]
fn lines_that_are_there_are_found() {
    let fs = machine(&lines(1..=9).concat());
    assert_eq!(ensure(&fs, &[line(2), line(9), line(10)]), 1);
    assert_eq!(content(&fs), lines(1..=10).concat());
}

/// The directories, the file and its content are durable when `append` and `ensure` return.
#[test]
fn what_is_written_survives_a_power_cut() {
    for seed in 0..20 {
        let fs = SimFs::new(seed);
        fs.upstream().mkdir_all(ROOT).unwrap();
        fs.upstream().sync();
        let mut manifests = Manifests::new(fs.clone());
        manifests
            .append(Path::new(ROOT), Path::new(HOUR), &lines(1..=3).concat(), &mut AppendProgress::default())
            .unwrap();
        ensure(&fs, &lines(3..=4));
        fs.crash(seed);
        assert_eq!(content(&fs), lines(1..=4).concat(), "seed {seed}");
    }
}

/// A full disk in the middle of a batch: the next call continues where the last one stopped, and no line is doubled or torn.
#[test]
fn a_full_disk_interrupts_a_batch() {
    let batch = lines(1..=50);
    let fs = machine(b"");
    let mut manifests = Manifests::new(fs.clone());
    let mut progress = AppendProgress::default();
    fs.inject(Fault::short().only(&[Op::WriteAt]).nth(1));
    fs.inject(Fault::errno(libc::ENOSPC).only(&[Op::WriteAt]).nth(2));
    let mut append = || manifests.append(Path::new(ROOT), Path::new(HOUR), &batch.concat(), &mut progress);
    let mut failures = 0;
    while let Err(error) = append() {
        assert!(error.is_no_space(), "{error}");
        failures += 1;
    }
    assert_eq!(failures, 1);
    assert_eq!(content(&fs), batch.concat());
    assert!(
        fs.try_lock_file(
            &fs.open(&fs.open_dir(Path::new(HOUR)).unwrap(), "manifest.jsonl".as_ref(), csv_ingestor::fs::Open::Write)
                .unwrap()
        )
        .unwrap(),
        "the lock was released"
    );
}

/// Why: the manifest was replaced while a batch waited for room in it, and the batch continued in the new file at the offset
/// where it had stopped in the old one, after 4,096 zeros and with half a line. The new file may have lines of the batch
/// already, if it was made from the old one.
#[test]
fn a_manifest_that_is_replaced_while_the_disk_is_full_gets_each_line_once() {
    let batch = lines(1..=50);
    let all = batch.concat();
    for of_the_old in [0, 1, 700, 4_096] {
        for before in [Vec::new(), b"{\"path\":\"/elsewhere/x.csv\"}\n".to_vec()] {
            let fs = machine(b"");
            let mut manifests = Manifests::new(fs.clone());
            let mut progress = AppendProgress::default();
            fs.set_capacity(ROOT, Some(6 * 4096)).unwrap();
            let mut append = || manifests.append(Path::new(ROOT), Path::new(HOUR), &batch.concat(), &mut progress);
            assert!(append().unwrap_err().is_no_space());
            let written = content(&fs);
            assert!(written.len() < all.len());
            fs.set_capacity(ROOT, None).unwrap();
            let beside = [before.clone(), written[..of_the_old.min(written.len())].to_vec()].concat();
            fs.upstream().write("/manifests/new.jsonl", &beside).unwrap();
            fs.upstream().replace("/manifests/new.jsonl", FILE).unwrap();
            append().unwrap();
            assert_eq!(content(&fs), [before, all.clone()].concat(), "{of_the_old} bytes of the old one");
        }
    }
}

/// Text that another program wrote between the lines, or that a power cut left of another ingestor's line, must not cost the
/// lines after it: they may be durable and MANIFESTED, and would not be written again.
#[test]
fn whole_lines_behind_a_bad_one_stay() {
    for bad in [&b"# a note\n"[..], b"\n", b"{\"path\":\"\0\0\0\0\"}\n", b"\0\0\0\0\n"] {
        let before = [line(1), bad.to_vec(), line(2), line(3)].concat();
        let fs = machine(&before);
        assert_eq!(ensure(&fs, &lines(3..=4)), 1);
        assert_eq!(content(&fs), [before.clone(), line(4)].concat());
        // A batch of this ingestor after it is still completed in place.
        let torn = [&before[..], &line(4)[..10]].concat();
        let fs = machine(&torn);
        ensure(&fs, &lines(4..=5));
        assert_eq!(content(&fs), [before.clone(), lines(4..=5).concat()].concat());
        // A bad line that is the last complete one is kept, too.
        let fs = machine(&[line(1), bad.to_vec()].concat());
        ensure(&fs, &lines(2..=2));
        assert!(content(&fs).starts_with(&line(1)) && content(&fs).ends_with(&line(2)));
    }
}

/// If an operator moves the current hour's manifest away, the ingestor must not write into the moved one.
#[test]
fn a_manifest_that_was_moved_away_is_begun_anew() {
    let fs = machine(b"");
    let mut manifests = Manifests::new(fs.clone());
    let mut append = |id| manifests.append(Path::new(ROOT), Path::new(HOUR), &line(id), &mut AppendProgress::default());
    append(1).unwrap();
    fs.upstream().rename(FILE, "/manifests/old.jsonl").unwrap();
    append(2).unwrap();
    assert_eq!(content(&fs), line(2));
    assert_eq!(fs.upstream().read("/manifests/old.jsonl").unwrap(), line(1));
}

/// Why: a torn tail may be longer than any line of this ingestor: a large batch of another one, whose size reached the disk
/// but whose bytes did not. It was taken for a complete line, and the new line was appended directly after it: on one line
/// with the junk, so no reader could find it, and every later recovery believed it written.
#[test]
fn a_torn_tail_longer_than_a_line_is_cut_off() {
    let wanted = lines(7..=7);
    for (before, junk) in [(Vec::new(), vec![0; 131_080]), (line(1), vec![b'x'; 400_000]), (line(1), vec![0; 131_072])]
    {
        let fs = machine(&[before.clone(), junk].concat());
        ensure(&fs, &wanted);
        assert_eq!(content(&fs), [before, wanted[0].clone()].concat());
        assert_eq!(ensure(&fs, &wanted), 0);
    }
    // Another program's object is a line like others, however long it is: a line begun after it is completed, not cut off.
    let long = format!("{{\"n\":\"{}\"}}\n", "x".repeat(400_000)).into_bytes();
    for cut in [0, 1, 20] {
        let fs = machine(&[long.clone(), wanted[0][..cut].to_vec()].concat());
        ensure(&fs, &wanted);
        assert_eq!((content(&fs), fs.count(Op::SetLen)), ([long.clone(), wanted[0].clone()].concat(), 0));
    }
    // With a newline the junk is another program's line, and stays.
    let junk = [vec![b'x'; 400_000], b"\n".to_vec()].concat();
    let fs = machine(&junk);
    ensure(&fs, &wanted);
    assert_eq!(content(&fs), [junk, wanted[0].clone()].concat());
}

/// Another program's torn line is cut off, and a new one written in its place. If the power fails then, a sector of each
/// could make up a line that no program wrote, unless the cut is durable first.
#[test]
fn a_power_cut_never_makes_up_a_line_of_two() {
    let torn = format!("{{\"path\":\"/other/{}", "4".repeat(1_500)).into_bytes();
    let ours = format!("{{\"path\":\"/staging/{}\",\"ingest_id\":7}}\n", "7".repeat(1_490)).into_bytes();
    let appended = |fs: &SimFs| {
        let mut manifests = Manifests::new(fs.clone());
        drop(manifests.append(Path::new(ROOT), Path::new(HOUR), &ours, &mut AppendProgress::default()));
    };
    let ensured = |fs: &SimFs| {
        drop(Manifests::new(fs.clone()).ensure(Path::new(ROOT), Path::new(HOUR), std::slice::from_ref(&ours)));
    };
    for (name, write) in [("append", &appended as &dyn Fn(&SimFs)), ("ensure", &ensured)] {
        for seed in 0..300 {
            let fs = machine(&torn);
            fs.inject(Fault::crash().only(&[Op::SyncData]).nth(2 - seed % 2));
            write(&fs);
            fs.clear_faults();
            fs.crash(seed);
            ensure(&fs, std::slice::from_ref(&ours));
            assert!(content(&fs) == ours, "{name}, seed {seed}: {}", String::from_utf8_lossy(&content(&fs)));
        }
    }
}

/// Why: the newline that a record lacks was written and not synced before the lines after it. A power cut that kept a sector
/// of these lines and lost the newline's made the record a line with zeros, which no reader can use; and no recovery writes
/// it again, since its file was ingested long ago.
#[test]
fn a_power_cut_never_joins_a_record_that_gets_its_newline_to_the_next_line() {
    let saved = format!("{{\"path\":\"/staging/{}\",\"ingest_id\":4}}", "4".repeat(700)).into_bytes();
    let ours = format!("{{\"path\":\"/staging/{}\",\"ingest_id\":7}}\n", "7".repeat(1_490)).into_bytes();
    for seed in 0..300 {
        let fs = machine(&saved);
        fs.inject(Fault::crash().only(&[Op::SyncData]).nth(2 - seed % 2));
        let mut manifests = Manifests::new(fs.clone());
        let batch = std::slice::from_ref(&ours);
        drop(manifests.append(Path::new(ROOT), Path::new(HOUR), &batch.concat(), &mut AppendProgress::default()));
        fs.clear_faults();
        fs.crash(seed);
        ensure(&fs, batch);
        let expected = [&saved[..], b"\n", &ours].concat();
        assert!(content(&fs) == expected, "seed {seed}: {}", String::from_utf8_lossy(&content(&fs)));
    }
}
