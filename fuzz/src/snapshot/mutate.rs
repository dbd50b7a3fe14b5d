//! Interprets a fuzzer's bytes as damage to a snapshot. Some steps change its pieces, before it is assembled with
//! correct checksums; others change the file, and some of them correct checksums.

use super::parts::{PAGE, Parts, extent, mend, mend_block, mend_header, mend_lists};
use super::{BASES, Base};
use crate::oracle::number;

/// Bytes of one step.
const STEP_BYTES: usize = 8;
/// Length of the longest file.
const FILE_BYTES_MAX: usize = 64 * PAGE;
/// Number of kinds of steps that change the pieces.
const KINDS_OF_PIECES: u8 = 12;
/// Number of kinds of steps.
pub const KINDS: u8 = 26;
/// Bit of the mode: finally all checksums are corrected.
pub const MENDED: u8 = 0x40;

/// A snapshot in a journal.
pub struct Case {
    /// The journal.
    pub base: &'static Base,
    /// The LSN in the snapshot's name.
    pub name: u64,
    /// The snapshot.
    pub bytes: Vec<u8>,
}

/// The case that these bytes describe: a mode, the number of the journal, and the rest.
pub fn snapshot(input: &[u8]) -> Case {
    let (mode, base, rest) = match input {
        [mode, base, rest @ ..] => (*mode, &BASES[usize::from(*base) % BASES.len()], rest),
        _ => (3, &BASES[0], &[][..]),
    };
    let mut case = Case { base, name: base.lsn, bytes: Vec::new() };
    match mode & 7 {
        0 => case.bytes = rest.to_vec(),
        1 => case.bytes = overlaid(base, rest),
        2 => case.bytes = of_pieces(base, rest).assemble(),
        _ => mutated(&mut case, rest),
    }
    case.bytes.truncate(FILE_BYTES_MAX);
    if mode & MENDED != 0 {
        mend(&mut case.bytes);
    }
    case
}

/// A valid snapshot, partly overwritten with the bytes.
fn overlaid(base: &Base, bytes: &[u8]) -> Vec<u8> {
    let mut file = base.bytes.clone();
    if let [low, high, bytes @ ..] = bytes {
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        file.iter_mut().skip(at).zip(bytes).for_each(|(byte, over)| *byte = *over);
    }
    file
}

/// The bytes as pieces: each is a length in two bytes and that many bytes; directories, survivors, rows.
fn of_pieces(base: &Base, mut bytes: &[u8]) -> Parts {
    let mut pieces = Vec::new();
    while let [low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        pieces.push(piece.to_vec());
        bytes = behind;
    }
    let mut pieces = pieces.into_iter();
    let mut parts = Parts::of(&base.bytes);
    parts.directories = pieces.next().unwrap_or_default();
    parts.survivors = pieces.next().unwrap_or_default();
    parts.rows = pieces.collect();
    parts
}

struct Step {
    kind: u8,
    from: usize,
    to: usize,
    low: u8,
    high: u8,
}

fn mutated(case: &mut Case, steps: &[u8]) {
    let steps: Vec<Step> = steps
        .chunks_exact(STEP_BYTES)
        .map(|step| Step {
            kind: step[0] % KINDS,
            from: usize::from(u16::from_le_bytes([step[1], step[2]])),
            to: usize::from(u16::from_le_bytes([step[3], step[4]])),
            low: step[5],
            high: step[6],
        })
        .collect();
    let (pieces, file): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.kind < KINDS_OF_PIECES);
    case.bytes = case.base.bytes.clone();
    if !pieces.is_empty() {
        let mut parts = Parts::of(&case.bytes);
        pieces.into_iter().for_each(|step| change_pieces(&mut parts, step));
        case.bytes = parts.assemble();
    }
    file.into_iter().for_each(|step| change_file(case, step));
}

fn change_pieces(parts: &mut Parts, step: &Step) {
    let count = parts.rows.len();
    let (from, to) = (step.from % count.max(1), step.to % count.max(1));
    let row = parts.rows.get_mut(from);
    match (step.kind, row) {
        (0, Some(_)) => drop(parts.rows.remove(from)),
        (1, Some(row)) if count < 256 => {
            let copy = row.clone();
            parts.rows.insert(to, copy);
        }
        (2, Some(_)) => parts.rows.swap(from, to),
        (3, Some(row)) => put(row, step.to, |byte| byte ^ step.high),
        (4, Some(row)) => insert(row, step.to, step.high),
        (5, Some(row)) => row.truncate(step.to),
        (6, _) => put(&mut parts.directories, step.to, |byte| byte ^ step.high),
        (7, _) => put(&mut parts.survivors, step.to, |byte| byte ^ step.high),
        (8, _) => parts.survivors.truncate(step.to),
        (9, _) => {
            // An EXPIRED record of any LSN and instant.
            parts.survivors.extend_from_slice(&(step.from as u64).to_le_bytes());
            parts.survivors.extend_from_slice(&[0; 8]);
            parts.survivors.extend_from_slice(&[9, 0, 8, 0, step.low, step.high, 0, 0, 0, 0, 0, 0]);
        }
        (10, _) => parts.bucket_bits = u32::from(step.low % 12),
        (11, _) => {
            let length = step.from % 5000;
            parts.directories.extend_from_slice(&(length as u16).to_le_bytes());
            parts.directories.resize(parts.directories.len() + length, step.low);
        }
        _ => {}
    }
}

fn change_file(case: &mut Case, step: &Step) {
    let bytes = &mut case.bytes;
    let pages = (bytes.len() / PAGE).max(1);
    let (from, to) = (step.from % pages, step.to % pages);
    let in_page = step.to % PAGE;
    match step.kind {
        // A byte at the beginning of a page, where the fields are; or anywhere.
        12 => put(bytes, from * PAGE + usize::from(step.low), |byte| byte ^ step.high),
        13 => put(bytes, from * PAGE + usize::from(step.low), |_| step.high),
        14 => put(bytes, from * PAGE + in_page, |byte| byte ^ step.high),
        15 => fill(bytes, from, step.low),
        16 => copy(bytes, from, to),
        17 => bytes.truncate(step.from * 64 + usize::from(step.low)),
        18 => bytes.resize((bytes.len() + step.from % 8192).min(FILE_BYTES_MAX), step.low),
        19 => change_field(bytes, step),
        20 => change_list(bytes, step),
        21 => mend_block(bytes, step.from),
        22 if bytes.len() >= PAGE => mend_lists(bytes),
        23 if bytes.len() >= PAGE => mend_header(bytes),
        24 => case.name = case.name.wrapping_add_signed(i64::from(step.low as i8)).max(1),
        25 if bytes.len() >= PAGE => {
            if !step.low.is_multiple_of(2) {
                insert_page(bytes, from.max(1), step.high);
            }
            let length = bytes.len() as u64;
            bytes[48..56].copy_from_slice(&length.to_le_bytes());
        }
        _ => {}
    }
}

/// Changes one of the header's numbers.
fn change_field(bytes: &mut [u8], step: &Step) {
    let at = 40 + 4 * (step.from % 62);
    let size = if step.to.is_multiple_of(2) { 8 } else { 4 };
    if bytes.len() < PAGE {
        return;
    }
    let value = number(bytes, at, size);
    let changed = match step.low % 8 {
        0 => 0,
        1 => u64::from(step.high),
        2 => u64::MAX,
        3 => u64::from(u32::MAX),
        4 => u64::MAX - 4095,
        5 => value.wrapping_add_signed(i64::from(step.high as i8)),
        6 => value.wrapping_add_signed(i64::from(step.high as i8) * PAGE as i64),
        _ => value ^ 1 << (step.high % 64),
    };
    bytes[at..at + size].copy_from_slice(&changed.to_le_bytes()[..size]);
}

/// Changes a number in one of the lists.
fn change_list(bytes: &mut [u8], step: &Step) {
    if bytes.len() < PAGE {
        return;
    }
    let (offset, length) = extent(bytes, step.from % 5);
    let entry = step.to % (length as usize / 4).max(1);
    let Some(at) = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(4 * entry)) else { return };
    let Some(field) = bytes.get_mut(at..at.saturating_add(4)) else { return };
    let value = number(field, 0, 4) as u32;
    let changed = match step.low % 4 {
        0 => u32::from(step.high),
        1 => u32::MAX,
        2 => value.wrapping_add_signed(i32::from(step.high as i8)),
        _ => value ^ 1 << (step.high % 32),
    };
    field.copy_from_slice(&changed.to_le_bytes());
}

/// The lists after the page are moved.
fn insert_page(bytes: &mut Vec<u8>, page: usize, value: u8) {
    let at = (page * PAGE).min(bytes.len());
    for list in 0..5 {
        let offset = extent(bytes, list).0;
        if offset >= at as u64 {
            let moved = offset.saturating_add(PAGE as u64);
            bytes[168 + 24 * list..176 + 24 * list].copy_from_slice(&moved.to_le_bytes());
        }
    }
    bytes.splice(at..at, [value; PAGE]);
}

fn put(bytes: &mut [u8], at: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, value: u8) {
    bytes.insert(at.min(bytes.len()), value);
}

fn fill(bytes: &mut [u8], page: usize, value: u8) {
    if let Some(page) = bytes.get_mut(page * PAGE..(page + 1) * PAGE) {
        page.fill(value);
    }
}

fn copy(bytes: &mut [u8], from: usize, to: usize) {
    if bytes.len() >= (from.max(to) + 1) * PAGE {
        bytes.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
    }
}
