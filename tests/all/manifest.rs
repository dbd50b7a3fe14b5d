//! Exactly one whole line per file, whatever a crash left of a batch, and no line ever taken back.

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

/// A process that is killed leaves a prefix of its batch. Every prefix is completed in place: what a reader has seen
/// of it stays where it was.
#[test]
fn every_prefix_of_a_batch_is_completed() {
    let (before, batch) = (lines(1..=2).concat(), lines(3..=5));
    let whole = [before.clone(), batch.concat()].concat();
    for length in before.len()..=whole.len() {
        let fs = machine(&whole[..length]);
        ensure(&fs, &batch);
        assert_eq!(content(&fs), whole, "cut at {length}");
        assert_eq!(fs.count(Op::SetLen), 0, "cut at {length}: nothing was to be taken back");
        assert_eq!(ensure(&fs, &batch), 0, "recovering twice equals recovering once");
        assert_eq!(content(&fs), whole);
    }
}

/// A power cut may keep the new size and lose any sector: they read as zeros, in the middle too.
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

/// A torn line that is not ours is another ingestor's, which will write it anew; the lines before it stay.
#[test]
fn a_foreign_torn_line_is_cut_off() {
    let foreign = b"{\"path\":\"/elsewhere/x.csv\",\"inge";
    let fs = machine(&[lines(1..=2).concat(), foreign.to_vec()].concat());
    ensure(&fs, &lines(3..=3));
    assert_eq!(content(&fs), lines(1..=3).concat());

    let fs = machine(&[lines(1..=2).concat(), foreign.to_vec()].concat());
    let mut manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &[line(3)], &mut AppendProgress::default()).unwrap();
    assert_eq!(content(&fs), lines(1..=3).concat());
}

/// Why: an editor that saves a manifest without a newline at its end made the next append cut the last line off, of a file
/// that was ingested long ago. A beginning of an object is no object, so what is one is no torn line.
#[test]
fn a_record_that_lacks_its_newline_alone_gets_it() {
    let mut saved = lines(1..=2).concat();
    saved.pop();
    let fs = machine(&saved);
    ensure(&fs, &lines(3..=3));
    assert_eq!(content(&fs), lines(1..=3).concat());

    let fs = machine(&saved);
    let mut manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &[line(3)], &mut AppendProgress::default()).unwrap();
    assert_eq!(content(&fs), lines(1..=3).concat());

    // Its owner comes back, and finds it whole.
    let fs = machine(&saved);
    manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &[line(3)], &mut AppendProgress::default()).unwrap();
    assert_eq!(ensure(&fs, &lines(2..=2)), 0);
    assert_eq!(content(&fs), lines(1..=3).concat());
}

/// What stands there already is not written again, wherever it stands.
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
        manifests.append(Path::new(ROOT), Path::new(HOUR), &lines(1..=3), &mut AppendProgress::default()).unwrap();
        ensure(&fs, &lines(3..=4));
        fs.crash(seed);
        assert_eq!(content(&fs), lines(1..=4).concat(), "seed {seed}");
    }
}

/// A full disk in the middle of a batch: the call goes on where it stopped, and no line is doubled or torn.
#[test]
fn a_full_disk_interrupts_a_batch() {
    let batch = lines(1..=50);
    let fs = machine(b"");
    let mut manifests = Manifests::new(fs.clone());
    let mut progress = AppendProgress::default();
    fs.inject(Fault::short().only(&[Op::WriteAt]).nth(1));
    fs.inject(Fault::errno(libc::ENOSPC).only(&[Op::WriteAt]).nth(2));
    let mut append = || manifests.append(Path::new(ROOT), Path::new(HOUR), &batch, &mut progress);
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
        "the lock was given up"
    );
}

/// The manifest was replaced while a batch waited for room in it: it went on in the new file where it had stopped in the old
/// one, behind 4,096 zeros and with half a line. The new one may have lines of the batch already, if it was made of the old.
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
            let mut append = || manifests.append(Path::new(ROOT), Path::new(HOUR), &batch, &mut progress);
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

/// What somebody else wrote between the lines, or what a power cut left of another ingestor's line, must not cost the
/// lines behind it: they may be durable and MANIFESTED, and nobody would write them again.
#[test]
fn whole_lines_behind_a_bad_one_stay() {
    for bad in [&b"# a note\n"[..], b"\n", b"{\"path\":\"\0\0\0\0\"}\n", b"\0\0\0\0\n"] {
        let before = [line(1), bad.to_vec(), line(2), line(3)].concat();
        let fs = machine(&before);
        assert_eq!(ensure(&fs, &lines(3..=4)), 1);
        assert_eq!(content(&fs), [before.clone(), line(4)].concat());
        // A batch of ours behind it is completed in place all the same.
        let torn = [&before[..], &line(4)[..10]].concat();
        let fs = machine(&torn);
        ensure(&fs, &lines(4..=5));
        assert_eq!(content(&fs), [before.clone(), lines(4..=5).concat()].concat());
        // And a bad line that is the last whole one is kept, too.
        let fs = machine(&[line(1), bad.to_vec()].concat());
        ensure(&fs, &lines(2..=2));
        assert!(content(&fs).starts_with(&line(1)) && content(&fs).ends_with(&line(2)));
    }
}

/// An operator who moves the current hour's manifest away must not make us write into the moved one.
#[test]
fn a_manifest_that_was_moved_away_is_begun_anew() {
    let fs = machine(b"");
    let mut manifests = Manifests::new(fs.clone());
    let mut append =
        |id| manifests.append(Path::new(ROOT), Path::new(HOUR), &[line(id)], &mut AppendProgress::default());
    append(1).unwrap();
    fs.upstream().rename(FILE, "/manifests/old.jsonl").unwrap();
    append(2).unwrap();
    assert_eq!(content(&fs), line(2));
    assert_eq!(fs.upstream().read("/manifests/old.jsonl").unwrap(), line(1));
}

/// A torn tail may be longer than any line of ours: a large batch of another ingestor, whose size reached the disk and
/// whose bytes did not. It was passed over as if it had its end, and our line was put behind it: on a line with the junk, so
/// that no reader could find it, and every later recovery took it for written.
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
    // Somebody's object, however long it is, is a line like others: what of ours is begun behind it is completed, not
    // taken back.
    let long = format!("{{\"n\":\"{}\"}}\n", "x".repeat(400_000)).into_bytes();
    for cut in [0, 1, 20] {
        let fs = machine(&[long.clone(), wanted[0][..cut].to_vec()].concat());
        ensure(&fs, &wanted);
        assert_eq!((content(&fs), fs.count(Op::SetLen)), ([long.clone(), wanted[0].clone()].concat(), 0));
    }
    // With its end it is somebody's line, and stays.
    let junk = [vec![b'x'; 400_000], b"\n".to_vec()].concat();
    let fs = machine(&junk);
    ensure(&fs, &wanted);
    assert_eq!(content(&fs), [junk, wanted[0].clone()].concat());
}

/// Somebody's torn line is cut off and ours written in its place. If the power goes then, a sector of the torn line and a
/// sector of ours could make up a line that nobody wrote, unless the cut is durable first.
#[test]
fn a_power_cut_never_makes_up_a_line_of_two() {
    let torn = format!("{{\"path\":\"/other/{}", "4".repeat(1_500)).into_bytes();
    let ours = format!("{{\"path\":\"/staging/{}\",\"ingest_id\":7}}\n", "7".repeat(1_490)).into_bytes();
    let appended = |fs: &SimFs| {
        let mut manifests = Manifests::new(fs.clone());
        drop(manifests.append(
            Path::new(ROOT),
            Path::new(HOUR),
            std::slice::from_ref(&ours),
            &mut AppendProgress::default(),
        ));
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
