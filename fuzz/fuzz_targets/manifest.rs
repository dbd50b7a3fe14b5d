//! A manifest as a crash or another program left it, on a simulated disk: recovery must leave every whole line, each
//! line that is due once, and nothing else; also if the recovery itself is cut off and started again.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use csv_ingestor::fs::sim::{Fault, Op, SimFs};
use csv_ingestor::pipeline::manifest::{AppendProgress, LINE_BYTES_MAX, Manifests};
use csv_ingestor_fuzz::bounded::Bounded;
use csv_ingestor_fuzz::manifest::{
    FILE_BYTES_MAX, LONG_FILE_BYTES_MAX, assert_lines_kept, assert_repaired, content, ended, expected, is_begun,
    line_of, lines, missing,
};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

const ROOT: &str = "/manifests";
const HOUR: &str = "/manifests/2026/01/02/03";
const FILE: &str = "/manifests/2026/01/02/03/manifest.jsonl";
/// Bit of the mode: the manifest is the input itself, not made by steps.
const RAW: u8 = 0x80;
/// Bit of the mode, except for interrupted repairs: the manifest may be long.
const LONG: u8 = 0x40;
/// The effects of a repair on the file, each at most once.
const EFFECTS: [Op; 3] = [Op::SetLen, Op::WriteAt, Op::SyncData];

static EMPTY: LazyLock<SimFs> = LazyLock::new(|| {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all(HOUR).unwrap();
    fs.upstream().sync();
    fs
});

fuzz_target!(|input: &[u8]| {
    let [mode, due, seed, rest @ ..] = input else { return };
    let due = expected(*due);
    let bytes_max = if mode & LONG != 0 && mode % 4 != 1 { LONG_FILE_BYTES_MAX } else { FILE_BYTES_MAX };
    let before = if mode & RAW == 0 { content(rest, &due, bytes_max) } else { rest.to_vec() };
    match mode % 4 {
        0 => append(&before, &due),
        1 => interrupted(&before, &due, mode / 4 % 32, *seed),
        2 if before.len() <= 4096 => line(&before),
        _ => ensure(&before, &due),
    }
});

/// A machine whose manifest durably has this content.
fn machine(content: &[u8]) -> SimFs {
    let fs = EMPTY.fork();
    fs.upstream().write(FILE, content).unwrap();
    fs.upstream().sync();
    fs
}

fn read(fs: &SimFs) -> Vec<u8> {
    fs.upstream().read(FILE).unwrap()
}

fn repair(fs: &SimFs, due: &[Vec<u8>]) -> csv_ingestor::fs::Result<usize> {
    Manifests::new(fs.clone()).ensure(Path::new(ROOT), Path::new(HOUR), due)
}

fn ensure(before: &[u8], due: &[Vec<u8>]) {
    let fs = machine(before);
    let whole = ended(before, due);
    assert_eq!(repair(&fs, due).unwrap(), missing(&whole, due).len());
    let after = read(&fs);
    assert_repaired(&whole, &after, due);
    if is_begun(before, due) {
        assert!(after.starts_with(before) && fs.count(Op::SetLen) == 0, "what a reader may have seen was taken back");
    }
    assert_eq!(repair(&fs, due).unwrap(), 0);
    assert!(read(&fs) == after, "repairing twice is not repairing once");
    fs.crash(0);
    assert!(read(&fs) == after, "it is not durable");
}

/// A power cut during the repair, or while lines are appended, and another repair.
fn interrupted(before: &[u8], due: &[Vec<u8>], operation: u8, seed: u8) {
    let fs = machine(before);
    let whole = ended(before, due);
    let fault = Fault::crash().only(&EFFECTS).nth(u64::from(operation / 2 % 3) + 1);
    fs.inject(if operation.is_multiple_of(2) { fault } else { fault.happened() });
    let cut_off = if operation < 16 {
        repair(&fs, due).is_err()
    } else {
        let batch = missing(&whole, due).into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut manifests = Manifests::new(fs.clone());
        manifests.append(Path::new(ROOT), Path::new(HOUR), &batch.concat(), &mut AppendProgress::default()).is_err()
    };
    fs.clear_faults();
    fs.crash(u64::from(seed));
    if !cut_off {
        assert_repaired(&whole, &read(&fs), due);
    }
    repair(&fs, due).unwrap();
    assert_lines_kept(&whole, &read(&fs), due);
}

/// An ingestor that continues appends its lines after the last whole line.
fn append(before: &[u8], batch: &[Vec<u8>]) {
    let fs = machine(before);
    let mut manifests = Manifests::new(fs.clone());
    manifests.append(Path::new(ROOT), Path::new(HOUR), &batch.concat(), &mut AppendProgress::default()).unwrap();
    fs.crash(0);
    assert!(read(&fs) == [lines(&ended(before, &[])).0.concat(), batch.concat()].concat());
}

/// Any name gives one line of bounded length, which is an object.
fn line(name: &[u8]) {
    let line = line_of(u64::MAX, name);
    assert!(line.len() <= LINE_BYTES_MAX && line.starts_with(b"{") && line.ends_with(b"}\n"));
    assert!(line[..line.len() - 1].iter().all(|byte| *byte >= b' '));
    assert!(std::str::from_utf8(&line).is_ok());
}
