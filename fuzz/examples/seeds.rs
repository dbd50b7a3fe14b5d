//! Writes the seed corpora: `cargo run --example seeds` in `fuzz/`. Their names begin with `seed-`; inputs that the
//! fuzzer itself finds have other names and are not committed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use csv_ingestor::journal::format::FrameKind;
use csv_ingestor_fuzz::journal::{records, segments};
use csv_ingestor_fuzz::manifest;
use csv_ingestor_fuzz::snapshot::mutate::{KINDS, MENDED};
use csv_ingestor_fuzz::snapshot::{BASES, parts::Parts};
use flate2::{Compression, write::GzEncoder};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets = [
        ("frame", frame()),
        ("replay", replay()),
        ("snapshot", snapshot()),
        ("manifest", manifest()),
        ("lines", lines()),
        ("csv", csv()),
        ("gzip", gzip()),
        ("sidecar", sidecar()),
        ("group", group()),
        ("layout", layout()),
    ];
    for (target, seeds) in targets {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir)?;
        for (name, bytes) in seeds {
            fs::write(dir.join(format!("seed-{name}")), bytes)?;
        }
    }
    Ok(())
}

/// One seed for each feature of a file.
fn csv() -> Vec<Seed> {
    let files: [(&str, &[u8]); 12] = [
        ("plain", b"id,name\n1,Ada\n2,Bob\n"),
        ("crlf", b"id,name\r\n1,Ada\r\n"),
        ("quotes", b"id,\"na\"\"me\"\n1,\"A, \nB\"\n\"x\"y,2\n"),
        ("mark", b"\xef\xbb\xbfid\n\n1"),
        ("columns", b"a,b\n1,2,3\n"),
        ("open", b"a,b\n1,\"2\n"),
        ("utf-8", b"gr\xc3\xb6\xc3\x9fe\n\xf0\x9d\x84\x9e\n"),
        ("no-utf-8", b"a\n\xff\n"),
        ("nul", b"a,b\n1,\0\n"),
        ("cr", b"a,b\r1,2\r\n"),
        ("bare", b"a,b\n1,2\" x\n"),
        ("one", b"a\n\n\"\"\n\n"),
    ];
    let seed = |(name, content): (&str, &[u8])| (name.to_owned(), [&[3, 0], content].concat());
    let mut seeds: Vec<Seed> = files.into_iter().map(seed).collect();
    // In one piece, and long enough to be read in blocks.
    let mut blocks = [&b"\0\0id,name\n"[..], &b"12,Ada\n".repeat(15), &b"3,\"A, \nB\"\r\n".repeat(15)].concat();
    seeds.push(("blocks".to_owned(), blocks.clone()));
    blocks.extend_from_slice(b"4,Bob,5\n");
    seeds.push(("blocks-columns".to_owned(), blocks));
    seeds.push(("aside".to_owned(), b"\x03\x81sep=\"\na,,a\n#\"\r\n1,\"\n#\",3\n".to_vec()));
    seeds
}

/// Texts that are packed by the target, and files that are packed here.
fn gzip() -> Vec<Seed> {
    let text = b"id,name\n1,Ada\n2,Bob Bob Bob Bob Bob\n";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("it is written to memory");
    let member = encoder.finish().expect("it is written to memory");
    let named = [&b"\x1f\x8b\x08\x1c\0\0\0\0\0\x03\x02\0ab"[..], b"a.csv\0c\0", &member[10..]].concat();
    let files = [
        ("text", text.to_vec()),
        ("member", member.clone()),
        ("members", [&member[..], &member].concat()),
        ("zeros", [&member[..], &[0; 9]].concat()),
        ("named", named),
        ("cut", member[..20].to_vec()),
    ];
    files.map(|(name, content)| (name.to_owned(), [&[7, 6, 100], &content[..]].concat())).into()
}

/// One seed for each rule of a group file.
fn group() -> Vec<Seed> {
    let sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let files = [
        ("two", format!("{sum}  a.csv\n{sum} *b.csv\n")),
        ("crlf", format!("# close\r\n\r\n{}  ./a.csv\r\n", sum.to_uppercase())),
        ("escaped", format!("\\{sum}  a\\\\b\\n.csv\n")),
        ("cut", format!("{sum}  a.csv\n{sum}  b.cs")),
        ("twice", format!("{sum}  a.csv\n{sum}  a.csv\n")),
        ("above", format!("{sum}  ../a.csv\n{sum}  .group\n")),
    ];
    files.map(|(name, content)| (name.to_owned(), content.into_bytes())).into()
}

/// A template, a pattern and a path.
fn layout() -> Vec<Seed> {
    let two = "source={source}/event_date={day:%Y%m%d}\n^(?<source>[^_]*)_(?<day>\\d{8})\n";
    let seeds = [
        ("default", "ingest_date={ingest_date}\n\na.csv".to_owned()),
        ("hours", "ingest_date={ingest_date}/hour={ingest_hour}\n\na.csv".to_owned()),
        ("groups", format!("{two}crm_20260102.csv")),
        ("escaped", format!("{two}a=b:c%_20260102.csv")),
        ("subdir", "{subdir}/{ingest_date}\n\nx/y=1/a.csv".to_owned()),
        ("in-a-key", "x={subdir}\n\nx/y/a.csv".to_owned()),
        ("year", "{year}\n^(?<year>\\d{4})\n2026.csv".to_owned()),
        ("below", "{subdir}\n\nm/f/a.csv".to_owned()),
        ("up", "{subdir}\n\nx/../../a.csv".to_owned()),
        ("null", "x={x}\n^(?<x>.*)$\n__HIVE_DEFAULT_PARTITION__".to_owned()),
        ("pattern", "{a}-{b}\n(?i:(?<a>[a-z]{2,3})|(?<b>\\w+))?x*\nABx".to_owned()),
    ];
    seeds.map(|(name, text)| (name.to_owned(), text.into_bytes())).into()
}

/// One seed for each format.
fn sidecar() -> Vec<Seed> {
    let sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let forms = [
        ("line", format!("{sum}  a.csv\n{sum} *b.csv\n")),
        ("tagged", format!("SHA256 (a.csv) = {sum}\nMD5(b.csv)= {}\n", &sum[..32])),
        ("certutil", format!("SHA256 hash of a.csv:\r\n{sum}\r\nCertUtil: done.\r\n")),
        ("groups", "d4 1d 8c d9 8f 00 b2 04 e9 80 09 98 ec f8 42 7e\n".to_owned()),
        ("json", format!("{{\"files\": [{{\"name\": \"a.csv\", \"sha256\": \"{sum}\"}}]}}")),
        ("list", format!("\nAlgorithm : SHA256\nHash      : {sum}\nPath      : C:\\a.csv\n\n")),
        ("odd", sum[..63].to_owned()),
        ("text", "done, 17 rows\n".to_owned()),
    ];
    forms.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()
}

type Seed = (String, Vec<u8>);

/// Each kind of record, a frame, and a header.
fn frame() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for (index, record) in records(1).into_iter().enumerate() {
        let mut bytes = vec![0];
        record.encode(&mut bytes);
        seeds.push((format!("record-{index}"), bytes));
    }
    let segment = &segments(FrameKind::Idle)[1];
    for (name, mode, at, length) in [("frame", 1, 2 * 4096, 600), ("header", 3, 0, 104), ("seal", 1, 3 * 4096, 72)] {
        let mut bytes = vec![mode];
        bytes.extend_from_slice(&segment.bytes[at..at + length]);
        seeds.push((name.to_owned(), bytes));
    }
    seeds
}

/// Bodies, and one seed for each kind of damage: a mode, then steps of eight bytes (`src/mutate.rs`).
fn replay() -> Vec<Seed> {
    let first = &segments(FrameKind::Data)[0];
    let body = |mode: u8, length: usize| {
        let mut bytes = vec![mode];
        bytes.extend_from_slice(&first.bytes[4096..4096 + length]);
        bytes
    };
    let mut seeds: Vec<Seed> = vec![("body".to_owned(), body(1, 4096 + 300)), ("mended".to_owned(), body(2, 700))];
    for mode in [0, 3, 4, 5, 6] {
        seeds.push((format!("intact-{mode}"), vec![mode]));
        for kind in 0..13 {
            let step = [kind, mode, 2, 0, 3, 0, 70, 1];
            let mend_header = [11, mode, 0, 0, 0, 0, kind, 0];
            let mend_frame = [12, mode, 2, 0, 0, 0, kind, 0];
            let bytes = [&[mode][..], &step, &mend_header, &mend_frame].concat();
            seeds.push((format!("step-{mode}-{kind}"), bytes));
        }
    }
    seeds
}

/// Each undamaged journal, a file and pieces of the smallest ones, and one seed for each kind of damage: a mode, the
/// number of the journal, then steps of eight bytes (`src/snapshot/mutate.rs`).
fn snapshot() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = (0..BASES.len() as u8).map(|base| (format!("intact-{base}"), vec![3, base])).collect();
    seeds.push(("raw".to_owned(), [&[0, 3][..], &BASES[3].bytes[..176]].concat()));
    seeds.push(("overlaid".to_owned(), [&[1 | MENDED, 2, 0, 0x10][..], &BASES[2].bytes[4096..4396]].concat()));
    let Parts { rows, directories, survivors, .. } = Parts::of(&BASES[2].bytes);
    let mut pieces = vec![2, 2];
    for piece in [&directories, &survivors].into_iter().chain(&rows) {
        pieces.extend_from_slice(&(piece.len() as u16).to_le_bytes());
        pieces.extend_from_slice(piece);
    }
    seeds.push(("pieces".to_owned(), pieces));
    for kind in 0..KINDS {
        let step = [kind, 1, 0, 40, 0, 1, 1, 0];
        let another = [kind, 4, 0, 1, 0, 7, 9, 0];
        seeds.push((format!("step-{kind}"), [&[3 | MENDED, kind % 3][..], &step, &another].concat()));
    }
    seeds
}

/// Each kind of step after a line, in each mode: a mode, the lines that are due, a power cut's seed, then steps of four
/// bytes (`src/manifest.rs`).
fn manifest() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for kind in 0..manifest::KINDS {
        for (name, mode) in [("repair", 3), ("interrupted", 1 | (kind % 8) << 2)] {
            let steps = [[0, 0, 0, 0], [kind, 4, 200, 0], [3, 0, 100, 1]].concat();
            seeds.push((format!("{name}-{kind}"), [&[mode, 0b0001_1000, kind][..], &steps].concat()));
        }
    }
    seeds.push(("append".to_owned(), vec![0, 6, 0, 0, 1, 0, 0, 2, 2, 60, 0]));
    seeds.push(("name".to_owned(), b"\x82\0\0/in/\xff\n.csv".to_vec()));
    seeds.push(("raw".to_owned(), b"\x83\x01\0{\"a\":1}\n{\"path".to_vec()));
    seeds
}

/// Unchanged lines, and lines with each member changed in each way; manifests, read whole and in pieces; and files
/// whose lines are to be written (`src/lines.rs`).
fn lines() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for (index, line) in manifest::POOL.iter().enumerate() {
        seeds.push((format!("line-{index}"), [&[0], &line[..line.len() - 1]].concat()));
    }
    for key in 0..12 {
        for (kind, payload) in [
            (0, &b"[{\"a\":[null,1.5e3,\"\\u0041\"]}]"[..]),
            (2, b"a/..\n"),
            (3, b"\xff\x07"),
            (5, b"in/\xff"),
            (7, b""),
        ] {
            let seed = [&[1, key, kind, key % 3, payload.len() as u8][..], payload].concat();
            seeds.push((format!("member-{key}-{kind}"), seed));
        }
    }
    seeds.push(("instant".to_owned(), vec![1, 10, 6, 2, 5, 64, 4, 5, 29, 200]));
    for kind in 0..manifest::KINDS {
        for (name, mode) in [("file", 2), ("pieces", 0x62)] {
            let steps = [[0, 0, 0, 0], [kind, 4, 200, 0], [3, 0, 100, 1]].concat();
            seeds.push((format!("{name}-{kind}"), [&[mode, 0b0001_1000, kind][..], &steps].concat()));
        }
    }
    // Longer than any line: as the last one, and with others after it.
    for (name, behind) in [("long", &[][..]), ("long-inside", &[5, 1, 0, 0, 0, 1, 0, 0])] {
        seeds.push((name.to_owned(), [&[0x62, 0, 1][..], &[10, 0x70, 0xff, 0xff], behind].concat()));
    }
    seeds.push(("raw".to_owned(), b"\x82\x01\x00{\"a\":1}\n\n{\"path".to_vec()));
    for flags in [0, 0x1f] {
        let numbers: Vec<u8> = (1..=48).collect();
        seeds.push((
            format!("written-{flags}"),
            [&[3], &numbers[..], &[flags], b"a\xff.csv/b.csv/why/id/na\"me"].concat(),
        ));
    }
    seeds
}
