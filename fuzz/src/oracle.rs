//! A second reader, written only from `journal-format.md`, in the simplest way: whole files in memory, no windows, no
//! code of the crate except the CRC. If the two disagree, one of them, or the text, is wrong.

use crate::journal::Segment;

const BLOCK: usize = 4096;
const REACH: usize = 1 << 20;

/// The result of reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Damaged: nothing is modified.
    Corrupt,
    /// Written in a newer format: nothing is modified.
    Newer,
    /// A journal.
    Journal {
        /// LSN and bytes of each record.
        records: Vec<(u64, Vec<u8>)>,
        /// How it ends.
        ending: Ending,
        /// Where its last segment ends.
        end: u64,
    },
}

/// How a journal ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// Without a clean stop.
    Killed,
    /// With a clean stop.
    Shutdown,
    /// The number of bytes from the end to the last byte that is not zero.
    Torn(u64),
}

struct Header {
    salt: u32,
    store: [u8; 16],
    number: u64,
    first_lsn: u64,
    predecessor: u64,
    predecessor_end: u64,
    predecessor_last_lsn: u64,
    predecessor_chain: u32,
    checksum: u32,
}

struct Frame {
    kind: u8,
    count: u64,
    first_lsn: u64,
    chain: u32,
    checksum: u32,
    payload: Vec<u8>,
}

const DATA: u8 = 1;
const SEAL: u8 = 3;
const SHUTDOWN: u8 = 4;

/// The number at an offset.
pub fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn header(segment: &Segment) -> Result<Header, Outcome> {
    let bytes = &segment.bytes;
    if bytes.len() < BLOCK || !bytes.starts_with(b"CSVI-WAL") {
        return Err(Outcome::Corrupt);
    }
    let checksum = number(bytes, 4092, 4) as u32;
    if crc32c::crc32c(&bytes[..4092]) != checksum {
        return Err(Outcome::Corrupt);
    }
    if number(bytes, 8, 2) != 1 || number(bytes, 16, 4) & !1023 != 0 {
        return Err(Outcome::Newer);
    }
    let header = Header {
        salt: number(bytes, 20, 4) as u32,
        store: bytes[24..40].try_into().unwrap(),
        number: number(bytes, 40, 8),
        first_lsn: number(bytes, 48, 8),
        predecessor: number(bytes, 72, 8),
        predecessor_end: number(bytes, 80, 8),
        predecessor_last_lsn: number(bytes, 88, 8),
        predecessor_chain: number(bytes, 96, 4) as u32,
        checksum,
    };
    let fits = header.first_lsn > 0 && header.first_lsn == segment.name && number(bytes, 56, 8) == bytes.len() as u64;
    if fits { Ok(header) } else { Err(Outcome::Corrupt) }
}

/// Rules 1 to 6. `Ok(None)`: no frame.
fn frame(bytes: &[u8], at: usize, salt: u32) -> Result<Option<Frame>, Outcome> {
    let Some(bytes) = bytes.get(at..) else { return Ok(None) };
    if bytes.len() < 64 || !bytes.starts_with(b"CSVF") {
        return Ok(None);
    }
    let mut covered = salt.to_le_bytes().to_vec();
    covered.extend_from_slice(&bytes[..60]);
    let checksum = number(bytes, 60, 4) as u32;
    if crc32c::crc32c(&covered) != checksum {
        return Ok(None);
    }
    if bytes[4] != 1 {
        return Err(Outcome::Newer);
    }
    let (kind, length, count) = (bytes[5], number(bytes, 8, 4) as usize, number(bytes, 12, 4));
    let shape = match kind {
        DATA => count > 0 && length > 0,
        2 | SHUTDOWN => count == 0 && length == 0,
        SEAL => count == 0 && length == 8,
        _ => false,
    };
    let reserved = bytes[6..8].iter().chain(&bytes[40..60]).any(|byte| *byte != 0);
    if !shape || reserved || length > 1_048_512 || 64 + length > bytes.len() {
        return Ok(None);
    }
    let payload = bytes[64..64 + length].to_vec();
    if u64::from(crc32c::crc32c(&payload)) != number(bytes, 36, 4) {
        return Ok(None);
    }
    let (first_lsn, chain) = (number(bytes, 16, 8), number(bytes, 32, 4) as u32);
    Ok(Some(Frame { kind, count, first_lsn, chain, checksum, payload }))
}

/// Skips the fields of a record's payload, one per letter: `p`ath, `a`ction, `r`eason, `i`dentity, `n`umber of 8 bytes, one above 0 (`+`),
/// `s`ha, a number of `2` or `4` bytes, a `L`ake's id, the `K`ey of an object in it, the id of an `U`pload, `c`ause, `t`ext, `h`eader, its `f`aults, va`l`idation, `v`erified by, a 1 or nothing (`z`), id`e`ntity, steps (`k`), a group's
/// `m`embers and those that `w`ere there, `(` optional
/// fields `)`.
fn fields<'a>(mut rest: &'a [u8], grammar: &str) -> Option<&'a [u8]> {
    let mut skipping = false;
    for letter in grammar.chars() {
        if skipping && letter != ')' {
            continue;
        }
        let length = match letter {
            'p' => {
                let length = number(rest.get(..2)?, 0, 2) as usize;
                (length <= 4096).then_some(length + 2)?
            }
            'a' => (1..=3).contains(rest.first()?).then_some(1)?,
            'r' => (1..=8).contains(rest.first()?).then_some(1)?,
            'l' => match rest.get(..2)? {
                [_, more @ ..=15] => look(rest, *more)?,
                _ => return None,
            },
            'f' => faults(rest)?,
            'v' => (1..=5).contains(rest.first()?).then_some(1)?,
            'z' => (rest.is_empty() || *rest == [1]).then_some(rest.len())?,
            'c' => (1..=5).contains(rest.first()?).then_some(1)?,
            'e' => (1..=2).contains(rest.first()?).then_some(1)?,
            't' => text(rest)?,
            'h' => {
                let mut length = 2;
                for _ in 0..number(rest.get(..2)?, 0, 2) {
                    length += text(rest.get(length..)?)?;
                }
                (length - 2 <= 16_384).then_some(length)?
            }
            'k' => steps(rest)?,
            'm' => members(rest)?,
            'w' => known(rest)?,
            'i' => 48,
            'n' => 8,
            '+' => Some(8).filter(|length| rest.get(..*length).is_some_and(|number| number != [0; 8]))?,
            '2' => 2,
            '4' => 4,
            'K' => text(rest).filter(|length| (3..=702).contains(length))?,
            'U' => text(rest).filter(|length| *length > 2)?,
            'L' => 16,
            's' => 32,
            '(' => {
                skipping = *rest.first()? == 0;
                (*rest.first()? <= 1).then_some(1)?
            }
            _ => {
                skipping = false;
                0
            }
        };
        rest = rest.get(length..)?;
    }
    Some(rest)
}

/// The length of the steps at the beginning of these bytes: ends, which ascend, and instants.
fn steps(bytes: &[u8]) -> Option<usize> {
    let count = number(bytes.get(..2)?, 0, 2) as usize;
    let steps = bytes.get(2..2 + 16 * count)?;
    let ends: Vec<u64> = steps.chunks(16).map(|step| number(step, 0, 8)).collect();
    let ascend = ends.windows(2).all(|pair| pair[0] < pair[1]);
    (ascend && count <= 1024).then_some(2 + 16 * count)
}

/// The length of ids, which ascend, each with an inode.
fn members(bytes: &[u8]) -> Option<usize> {
    let count = number(bytes.get(..2)?, 0, 2) as usize;
    let ids: Vec<u64> = bytes.get(2..2 + 16 * count)?.chunks(16).map(|id| number(id, 0, 8)).collect();
    ids.windows(2).all(|pair| pair[0] < pair[1]).then_some(2 + 16 * count)
}

/// The length of members, each with its name, a hash and an id.
fn known(bytes: &[u8]) -> Option<usize> {
    let mut length = 2;
    for _ in 0..number(bytes.get(..2)?, 0, 2) {
        let name = number(bytes.get(length..length + 2)?, 0, 2) as usize;
        length += 2 + name + 40;
        (name <= 4096 && length <= bytes.len()).then_some(())?;
    }
    Some(length)
}

/// The length of how files are parsed: these bits say what follows.
fn look(bytes: &[u8], more: u8) -> Option<usize> {
    let quote = usize::from(more & 2 != 0);
    let skip = 2 + quote + usize::from(more & 4 != 0);
    if quote > 0 && *bytes.get(2)? == b'"' || more & 8 != 0 && number(bytes.get(skip..skip + 2)?, 0, 2) == 0 {
        return None;
    }
    Some(skip + if more & 8 != 0 { 2 } else { 0 })
}

/// The length of the faults of a header: columns, which ascend, and for each an earlier one or 0.
fn faults(bytes: &[u8]) -> Option<usize> {
    let count = usize::from(*bytes.first()?);
    let faults = bytes.get(1..1 + 4 * count)?;
    let pairs: Vec<(u64, u64)> = faults.chunks(4).map(|it| (number(it, 0, 2), number(it, 2, 2))).collect();
    let is_right =
        pairs.windows(2).all(|two| two[0].0 < two[1].0) && pairs.iter().all(|(column, first)| first < column);
    ((1..=32).contains(&count) && is_right).then_some(1 + 4 * count)
}

/// The length of the text at the beginning of these bytes.
fn text(bytes: &[u8]) -> Option<usize> {
    let length = number(bytes.get(..2)?, 0, 2) as usize;
    let text = std::str::from_utf8(bytes.get(2..2 + length)?).ok()?;
    (text.len() <= 1024).then_some(length + 2)
}

/// The record at the beginning of these bytes.
pub(crate) fn record(bytes: &[u8]) -> Option<&[u8]> {
    let record = bytes.get(..4 + number(bytes.get(..4)?, 2, 2) as usize)?;
    let grammar = match record[0] {
        1 => "pppa(p)",
        2 => "inp(ip)",
        3 => "nsp(ip)",
        4 | 5 | 7 | 9 | 12 => "n",
        6 => "nsna(p)",
        8 => "nr",
        10 => "ns(n)(n)(h)(nt)",
        11 => "nc(n)tp",
        13 => "s",
        14 => "(p)(l)z",
        15 => "ni",
        16 => "nsp(ip)v",
        17 | 19 => "nn",
        18 => "kkn",
        20 => "pp",
        21 => "ns(n)(n)(h)(nt)f",
        23 => "pimw",
        25 => "n",
        22 => "ea",
        24 => "t(t)",
        26 => "L",
        27 => "n2n",
        28 => "n4nKU",
        29 => "n+(i)",
        _ => return None,
    };
    (record[1] == 0 && fields(&record[4..], grammar)?.is_empty()).then_some(record)
}

/// Reads the records of a payload, which must be exactly `count`; those before an invalid one are also added.
fn split(frame: &Frame, records: &mut Vec<(u64, Vec<u8>)>) -> Option<()> {
    let mut payload = &frame.payload[..];
    for index in 0..frame.count {
        let record = record(payload)?;
        records.push((frame.first_lsn.saturating_add(index), record.to_vec()));
        payload = &payload[record.len()..];
    }
    payload.is_empty().then_some(())
}

/// The position of a reader in a segment.
struct Walk {
    at: usize,
    next_lsn: u64,
    chain: u32,
    last_kind: u8,
}

impl Walk {
    fn start(header: &Header) -> Walk {
        Walk { at: BLOCK, next_lsn: header.first_lsn, chain: header.checksum, last_kind: 0 }
    }

    /// Reads a frame by rule 7, and its records; false if there is none.
    fn step(&mut self, bytes: &[u8], salt: u32, records: &mut Vec<(u64, Vec<u8>)>) -> Result<bool, Outcome> {
        let Some(frame) = frame(bytes, self.at, salt)?.filter(|frame| self.is_next(frame)) else { return Ok(false) };
        if frame.kind == DATA {
            split(&frame, records).ok_or(Outcome::Corrupt)?;
        }
        self.at += (64 + frame.payload.len()).next_multiple_of(BLOCK);
        self.next_lsn = frame.first_lsn.saturating_add(frame.count);
        (self.chain, self.last_kind) = (frame.checksum, frame.kind);
        Ok(true)
    }

    fn is_next(&self, frame: &Frame) -> bool {
        frame.first_lsn == self.next_lsn && frame.chain == self.chain
    }
}

/// Reads the segments, which are in the order of their names. Also returns every record before the position where it
/// stopped.
pub fn read(segments: &[Segment]) -> (Outcome, Vec<(u64, Vec<u8>)>) {
    let mut records = Vec::new();
    let outcome = match try_read(segments, &mut records) {
        Ok((ending, end)) => Outcome::Journal { records: records.clone(), ending, end },
        Err(refusal) => refusal,
    };
    (outcome, records)
}

fn try_read(segments: &[Segment], records: &mut Vec<(u64, Vec<u8>)>) -> Result<(Ending, u64), Outcome> {
    let mut headers = segments.iter().map(header);
    let mut header = headers.next().ok_or(Outcome::Corrupt)??;
    if header.predecessor != 0 {
        return Err(Outcome::Corrupt);
    }
    for segment in segments {
        let mut walk = Walk::start(&header);
        match headers.next() {
            Some(next) => {
                let next = next?;
                followed(&segment.bytes, &header, &next, &mut walk, records)?;
                header = next;
            }
            None => return Ok((last(&segment.bytes, &header, &mut walk, records)?, walk.at as u64)),
        }
    }
    Err(Outcome::Corrupt)
}

fn followed(
    bytes: &[u8],
    header: &Header,
    next: &Header,
    walk: &mut Walk,
    records: &mut Vec<(u64, Vec<u8>)>,
) -> Result<(), Outcome> {
    let first_lsn = next.predecessor_last_lsn.max(next.predecessor).saturating_add(1);
    let neighbours = next.store == header.store
        && Some(next.number) == header.number.checked_add(1)
        && next.predecessor == header.first_lsn
        && next.first_lsn == first_lsn;
    if !neighbours {
        return Err(Outcome::Corrupt);
    }
    while (walk.at as u64) < next.predecessor_end {
        if !walk.step(bytes, header.salt, records)? {
            return Err(Outcome::Corrupt);
        }
    }
    let ends_there = walk.at as u64 == next.predecessor_end
        && walk.next_lsn - 1 == next.predecessor_last_lsn
        && walk.chain == next.predecessor_chain;
    let only_the_seal = match frame(bytes, walk.at, header.salt)? {
        None => true,
        Some(frame) => frame.kind == SEAL && frame.payload == next.first_lsn.to_le_bytes() && walk.is_next(&frame),
    };
    if ends_there && only_the_seal { Ok(()) } else { Err(Outcome::Corrupt) }
}

/// The number of bytes up to the last that is not zero; None if all are zero. By blocks: the fuzzer counts every
/// comparison.
fn nonzero_length(bytes: &[u8]) -> Option<usize> {
    let blocks = bytes.chunks(BLOCK).enumerate();
    let (index, block) = blocks.rev().find(|(_, block)| **block != [0; BLOCK][..block.len()])?;
    block.iter().rposition(|byte| *byte != 0).map(|position| index * BLOCK + position + 1)
}

fn last(bytes: &[u8], header: &Header, walk: &mut Walk, records: &mut Vec<(u64, Vec<u8>)>) -> Result<Ending, Outcome> {
    loop {
        let seal_follows = || -> Result<bool, Outcome> {
            Ok(frame(bytes, walk.at, header.salt)?.is_some_and(|frame| frame.kind == SEAL && walk.is_next(&frame)))
        };
        if walk.last_kind == SEAL || walk.last_kind == SHUTDOWN && !seal_follows()? {
            break;
        }
        if !walk.step(bytes, header.salt, records)? {
            break;
        }
    }
    let mut frame_beyond = false;
    for at in (walk.at..bytes.len()).step_by(BLOCK) {
        frame_beyond |= frame(bytes, at, header.salt)?.is_some_and(|frame| frame.first_lsn >= walk.next_lsn);
    }
    let nonzero = nonzero_length(bytes.get(walk.at..).unwrap_or(&[]));
    match (walk.last_kind, nonzero) {
        (SEAL, _) => Err(Outcome::Corrupt),
        (SHUTDOWN, None) => Ok(Ending::Shutdown),
        (_, None) => Ok(Ending::Killed),
        (SHUTDOWN, _) => Err(Outcome::Corrupt),
        _ if frame_beyond => Err(Outcome::Corrupt),
        (_, Some(length)) if length > REACH => Err(Outcome::Corrupt),
        (_, Some(length)) => Ok(Ending::Torn(length as u64)),
    }
}
