//! Manifests and their lines, as audit and rebuild read them: a second reader must accept the same lines with the same
//! values; and a line that an ingestor has written must be read back as the values that it was made from.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use csv_ingestor::fs::sim::{Fault, Op, SimFs};
use csv_ingestor::journal::hex;
use csv_ingestor::journal::record::{CsvFault, HeaderFault, Profile, Profiled};
use csv_ingestor::pipeline::manifest::read::{Lines, Text, parse};
use csv_ingestor::pipeline::manifest::{LINE_BYTES_MAX, line};
use csv_ingestor::types::{IngestId, Sha256, UnixMillis};
use csv_ingestor_fuzz::bounded::Bounded;
use csv_ingestor_fuzz::lines::{Said, made, read, split};
use csv_ingestor_fuzz::manifest::{FILE_BYTES_MAX, LONG_FILE_BYTES_MAX, content, expected, ingest_of};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

const HOUR: &str = "/manifests/2026/01/02/03";
const FILE: &str = "/manifests/2026/01/02/03/manifest.jsonl";
/// Bit of the mode: the manifest is the input itself, not made by steps.
const RAW: u8 = 0x80;
/// Bit of the mode: the manifest may be long.
const LONG: u8 = 0x40;
/// Bit of the mode: reads return short pieces.
const SHORT: u8 = 0x20;
/// The last instant that an ingestor writes: the end of the year 9999.
const INSTANT_END: u64 = 253_402_300_800_000;
/// Bytes of a kept header (all names together), and of the reason of a fault.
const NAME_BYTES_MAX: usize = 1024;

static EMPTY: LazyLock<SimFs> = LazyLock::new(|| {
    let fs = SimFs::new(1);
    fs.upstream().mkdir_all(HOUR).unwrap();
    fs
});

fuzz_target!(|input: &[u8]| {
    let [mode, rest @ ..] = input else { return };
    match mode % 4 {
        0 => assert_read(rest),
        1 => assert_read(&made(rest)),
        2 => file(*mode, rest),
        _ => written(rest),
    }
});

/// Both readers accept the line with the same values, or both refuse it.
fn assert_read(line: &[u8]) {
    let (found, seen) = (parse(line), read(line));
    let Ok(found) = found else {
        // The second reader does not decide about an instant in another form.
        assert!(
            seen.as_ref().is_none_or(|said| said.ingested_at.is_none()),
            "refused: {found:?}, but it says {seen:?}"
        );
        return;
    };
    let Some(seen) = seen else { panic!("it is no line, but taken for {found:?}") };
    let found = Said {
        path: found.source_path.into_os_string().into_vec(),
        name: found.name.map(|name| name.into_encoded_bytes()),
        sha256: found.sha256.hex(),
        device: found.device,
        inode: found.inode,
        size: found.size,
        mtime: found.mtime_sec,
        warehouse_path: found.warehouse_path.into_os_string().into_vec(),
        ingest_id: found.ingest_id.0,
        journal: found.journal.map(|journal| hex(&journal)),
        ingested_at: seen.ingested_at.and(Some(found.ingested_at.0)),
    };
    assert_eq!(found, seen);
}

/// Checks lines, numbers, offsets and ends of a whole manifest, however its bytes are read; and of one that is read
/// from some line on.
fn file(mode: u8, rest: &[u8]) {
    let [due, from, rest @ ..] = rest else { return };
    let bytes_max = if mode & LONG != 0 { LONG_FILE_BYTES_MAX } else { FILE_BYTES_MAX };
    let content = if mode & RAW != 0 { rest.to_vec() } else { content(rest, &expected(*due), bytes_max) };
    let fs = EMPTY.fork();
    fs.upstream().write(FILE, &content).unwrap();
    if mode & SHORT != 0 {
        fs.inject(Fault::short().only(&[Op::ReadAt]));
    }
    let all = split(&content);
    assert_lines(&fs, &all);
    if !all.is_empty() {
        assert_lines(&fs, &all[usize::from(*from) % all.len()..]);
    }
}

fn assert_lines(fs: &SimFs, expected: &[(u64, &[u8], bool)]) {
    let begin = expected.first().map_or(0, |(offset, ..)| *offset);
    let mut lines = Lines::open(fs, Path::new(FILE), begin).unwrap();
    let mut lines_end = begin;
    for ((offset, text, is_whole), number) in expected.iter().zip(1..) {
        let line = lines.next_line().unwrap().expect("a line is missing");
        assert_eq!((line.offset, line.number), (*offset, number));
        match line.text {
            Text::Whole(found) => assert!(*is_whole && found == *text && found.len() <= LINE_BYTES_MAX),
            Text::Unfinished(found) => assert!(!is_whole && found == *text && found.len() <= LINE_BYTES_MAX),
            Text::TooLong => assert!(text.len() > LINE_BYTES_MAX),
        }
        if *is_whole {
            lines_end = offset + text.len() as u64 + 1;
            assert_read(text);
        }
        assert!(*is_whole || line.parse().is_err(), "what has no end is no line");
    }
    assert!(lines.next_line().unwrap().is_none(), "a line too many");
    assert_eq!(lines.lines_end(), lines_end);
}

/// Any file that an ingestor can have ingested.
fn written(rest: &[u8]) {
    let Some((numbers, rest)) = rest.split_first_chunk::<49>() else { return };
    let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().unwrap());
    let flags = numbers[48];
    // Names of the file in staging and in the warehouse, and of columns: any bytes except those that no name can have.
    let mut names = rest.split(|byte| *byte == 0 || *byte == b'/').filter(|name| !name.is_empty());
    let mut name = || names.next().filter(|name| *name != b"." && *name != b"..").unwrap_or(b"a.csv");
    let path =
        |dir: &[u8], name: &[u8]| PathBuf::from(OsString::from_vec([dir, &name[..name.len().min(255)]].concat()));
    let mut ingest = ingest_of(number(0), path(b"/in/", name()));
    let sha256 = Sha256(std::array::from_fn(|index| numbers[index % 48]));
    ingest.identity.device = number(8);
    ingest.identity.inode = number(16);
    ingest.identity.size = number(24);
    ingest.identity.mtime.sec = number(32) as i64;
    ingest.discovered_at = UnixMillis(number(40) % INSTANT_END);
    let target = ingest.target.as_mut().unwrap();
    target.sha256 = sha256;
    target.warehouse_path = path(b"/warehouse/ingest_date=2026-01-02/", name());
    if flags & 1 != 0 {
        let column = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES_MAX)]).into_owned();
        let fault = CsvFault { line: number(24), reason: column(name()) };
        let profile = Profile {
            rows: (flags & 2 != 0).then(|| number(8)),
            columns: (flags & 4 != 0).then(|| number(16)),
            header: (flags & 8 != 0).then(|| names.take(16).map(column).collect()),
            fault: (flags & 16 != 0).then_some(fault),
            header_faults: (1..=flags % 4)
                .map(|it| HeaderFault { column: it.into(), first: (it > 1).then_some(1) })
                .collect(),
        };
        ingest.profiled = Some(Box::new(Profiled { ingest_id: IngestId(number(0)), sha256, profile }));
    }
    let mut written = Vec::new();
    let journal = (flags & 32 != 0).then_some([flags; 16]);
    line(journal.map(|it| hex(&it)).as_deref(), &ingest, &mut written);
    let text = written.strip_suffix(b"\n").expect("a line has its end");
    assert!(text.len() <= LINE_BYTES_MAX && text.iter().all(|byte| *byte >= b' '));
    assert_read(text);
    let listed = parse(text).unwrap();
    let (identity, target) = (ingest.identity, ingest.target.as_ref().unwrap());
    assert_eq!(listed.source_path.as_os_str().as_bytes(), ingest.source_path.as_os_str().as_bytes());
    assert_eq!(listed.warehouse_path.as_os_str().as_bytes(), target.warehouse_path.as_os_str().as_bytes());
    assert_eq!((listed.sha256, listed.size, listed.mtime_sec), (sha256, identity.size, identity.mtime.sec));
    assert_eq!((listed.device, listed.inode), (identity.device, identity.inode));
    assert_eq!((listed.ingest_id, listed.journal), (ingest.id, journal));
    assert_eq!(listed.ingested_at, ingest.discovered_at);
}
