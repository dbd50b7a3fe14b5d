//! Manifests as ingestors write them, with an index, on a simulated machine.

use std::path::{Path, PathBuf};

use csv_ingestor::follow::dir::Dir;
use csv_ingestor::follow::wake::Wake;
use csv_ingestor::follow::{Cursor, Error, Source as _, Stream};

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::pipeline::manifest::hour_dir;
use csv_ingestor::pipeline::manifest::numbers::{Entry, Numbers};
use csv_ingestor::types::UnixMillis;

pub const ROOT: &str = "/manifests";
pub const ONE: [u8; 16] = [1; 16];
pub const OTHER: [u8; 16] = [2; 16];

/// Nothing wakes it.
pub struct Never;

impl Wake for Never {
    fn watch(&mut self, _: &Path) {}

    fn wait(&mut self, _: std::time::Duration) {}
}

pub struct Manifests {
    pub fs: SimFs,
    numbers: Numbers<SimFs>,
}

pub fn line(journal: [u8; 16], seq: u64, more: &str) -> String {
    let journal = csv_ingestor::journal::hex(&journal);
    format!(
        r#"{{"path":"/staging/{seq}.csv","ingest_id":{seq},"journal":"{journal}","seq":{seq},"ingested_at":"x"{more}}}"#
    )
}

pub fn hour(hour: u32) -> PathBuf {
    hour_dir(Path::new(ROOT), UnixMillis(u64::from(hour) * 3_600_000)).join("manifest.jsonl")
}

impl Manifests {
    pub fn new() -> Manifests {
        let fs = SimFs::new(1);
        fs.upstream().mkdir_all(ROOT).unwrap();
        Manifests { numbers: Numbers::new(fs.clone()), fs }
    }

    /// Appends text to an hour's manifest. Returns where it begins.
    pub fn append(&self, at: u32, text: &str) -> u64 {
        let (path, mut upstream) = (hour(at), self.fs.upstream());
        upstream.mkdir_all(path.parent().unwrap()).unwrap();
        let mut bytes = upstream.read(&path).unwrap_or_default();
        let begin = bytes.len() as u64;
        bytes.extend_from_slice(text.as_bytes());
        upstream.write(&path, &bytes).unwrap();
        begin
    }

    /// Writes lines that are not in the index.
    pub fn write(&self, at: u32, journal: [u8; 16], numbers: std::ops::RangeInclusive<u64>) -> u64 {
        let text: Vec<String> = numbers.map(|seq| line(journal, seq, "") + "\n").collect();
        self.append(at, &text.concat())
    }

    /// Writes lines, and their entry in the index.
    pub fn add(&mut self, at: u32, journal: [u8; 16], numbers: std::ops::RangeInclusive<u64>) {
        let offset = self.write(at, journal, numbers.clone());
        self.index(at, journal, numbers, offset);
    }

    pub fn index(&mut self, at: u32, journal: [u8; 16], numbers: std::ops::RangeInclusive<u64>, offset: u64) {
        let (first, lines) = (*numbers.start(), (numbers.end() - numbers.start() + 1) as u32);
        let entry = Entry { first, lines, hour: at, offset, written_at: 7 };
        assert!(self.numbers.add(Path::new(ROOT), &journal, &entry).is_none());
    }

    pub fn follow(&self, cursor: &str) -> Dir<SimFs> {
        Dir::open(&self.fs, Path::new(ROOT), cursor.parse().unwrap(), Box::new(Never)).unwrap()
    }
}

/// The numbers that come now, in batches of `most`.
pub fn batch(dir: &mut Dir<SimFs>, most: usize) -> Result<Vec<(u8, u64)>, Error> {
    let mut found = Vec::new();
    let count = dir.read(most, &mut |line| {
        let text: serde_json::Value = serde_json::from_slice(line.text).unwrap();
        assert_eq!(text["seq"], line.number);
        found.push((line.stream.id[0], line.number));
        Ok(())
    })?;
    assert_eq!(count, found.len());
    Ok(found)
}

/// All numbers that are there.
pub fn all(dir: &mut Dir<SimFs>) -> Result<Vec<(u8, u64)>, Error> {
    let mut found = Vec::new();
    loop {
        let more = batch(dir, 3)?;
        if more.is_empty() {
            return Ok(found);
        }
        found.extend(more);
    }
}

pub fn of_one(numbers: std::ops::RangeInclusive<u64>) -> Vec<(u8, u64)> {
    numbers.map(|number| (1, number)).collect()
}

pub fn cursor_of(numbers: &[([u8; 16], u64)]) -> Cursor {
    let mut cursor = Cursor::default();
    numbers.iter().for_each(|(journal, number)| cursor.pass(Stream::of_journal(*journal), *number));
    cursor
}

/// So much time passes for the follower.
pub fn pass(fs: &SimFs, seconds: u64) {
    fs.upstream().advance(std::time::Duration::from_secs(seconds));
}
