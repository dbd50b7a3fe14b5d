//! Repairs of journals that are made for one question each.

use std::path::Path;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::repair::{Repaired, repair};
use csv_ingestor::journal::state::State;
use csv_ingestor::journal::{self, names};
use csv_ingestor::types::{IngestId, Lsn, Sha256, UnixMillis};

use super::generations::{Generations, Part, Role, STATE, contents, machine, put, read};
use super::harm::{Harm, How};
use super::util::{Forge, digest, discovered, hashed, moved, settings};

const COPY: &str = "/copy";

fn repaired(fs: &SimFs) -> (Repaired, State) {
    let repaired = repair(fs, Path::new(STATE), Path::new(COPY)).unwrap().expect("something is wrong");
    let (_, state) = read(fs).unwrap();
    (repaired, state)
}

fn journal() -> Generations {
    Generations::new(7, FrameKind::Idle).without_older()
}

/// The number of a file, and of its part.
fn part(journal: &Generations, role: Role, wanted: Part) -> (usize, usize, How) {
    let index = journal.files.iter().position(|file| file.role == role).unwrap();
    let part = journal.files[index].parts.iter().position(|(_, part)| *part == wanted).unwrap();
    (index, part, How::Zeroed)
}

/// A segment with a header that is zeroed, and a sealed one before it.
fn segments(before: &[&[Record]], frames: &[&[Record]]) -> (SimFs, Forge) {
    let fs = machine(&[]);
    let mut first = Forge::new(64 << 10);
    before.iter().for_each(|records| first.push(FrameKind::Data, records));
    let mut last = first.successor();
    first.push(FrameKind::Seal, &[]);
    frames.iter().for_each(|records| last.push(FrameKind::Data, records));
    put(&fs, &names::segment(first.header.first_lsn), &first.bytes);
    put(&fs, &names::segment(last.header.first_lsn), &last.bytes);
    (fs, last)
}

/// Why: with its header, a segment loses its salt, and each frame names the one that makes it right. A single frame that is
/// damaged itself vouches for itself: its records must not turn up under other LSNs, which are other files' ids.
#[test]
fn a_damaged_frame_does_not_vouch_for_itself() {
    let records = [discovered(4, "/in/a"), hashed(Lsn(4), "/warehouse/a")];
    for frames in [&[&records[..]][..], &[&[settings()], &records]] {
        let (fs, last) = segments(&[&[settings(), settings(), settings()]], frames);
        let path = Path::new(STATE).join(names::segment(last.header.first_lsn));
        fs.upstream().write(&path, &[&[0; 4096], &last.bytes[4096..]].concat()).unwrap();
        fs.upstream().sync();
        let id = last.place.next_lsn.0 - 2;
        let damaged = if frames.len() == 1 { 1..2 } else { 1..3 };
        for bit in damaged.flat_map(|block: usize| block * 4096 * 8..(block * 4096 + 64) * 8) {
            let fs = fs.fork();
            fs.upstream().write_at(&path, (bit / 8) as u64, &[last.bytes[bit / 8] ^ 1 << (bit % 8)]).unwrap();
            let (_, state) = repaired(&fs);
            // As `hashed` has it, unless its id was predicted wrongly.
            assert!(state.open().all(|file| file.id == IngestId(id)), "bit {bit}: {:?}", state.open().next());
        }
    }
}

/// Why: as above, for the one block of rows of a small snapshot: a row that is damaged is another content, and another
/// place in the warehouse.
#[test]
fn a_damaged_block_does_not_vouch_for_itself() {
    let journal = journal();
    let spare = journal.only(Role::SpareSnapshot);
    let rows: Vec<_> = spare.parts.iter().filter(|(_, part)| *part == Part::Rows).cloned().collect();
    let (spare_index, ..) = part(&journal, Role::SpareSnapshot, Part::Header);
    let (newest, ..) = part(&journal, Role::Newest, Part::Header);
    for bit in (0..2_000).step_by(37) {
        let fs = journal.machine();
        // All blocks but the first are zeroed, and of that a bit is flipped.
        let mut hits = vec![part(&journal, Role::SpareSnapshot, Part::Header), (spare_index, 1, How::Bit(80 + bit))];
        hits.extend((2..=rows.len()).map(|part| (spare_index, part, How::Zeroed)));
        Harm { hits, gone: vec![newest], ..Harm::default() }.apply(&fs, &journal.files);
        let (repaired, _) = repaired(&fs);
        let mut reader = repaired.snapshot.rows();
        while let Some(row) = reader.next_row().unwrap() {
            let known = journal.contents.contains(&row.sha256);
            assert!(known && !row.source_path.starts_with("(lost)"), "bit {bit}: {row:?}");
        }
    }
    assert!(journal::exists(&journal.machine(), Path::new(STATE)).unwrap());
}

/// Why: a segment that was cut has a header still, and in it the salt: there is nothing to guess.
#[test]
fn of_a_segment_that_was_cut_the_header_is_used() {
    let (fs, last) = segments(&[&[settings()]], &[&[discovered(2, "/in/a")], &[discovered(3, "/in/b")]]);
    let path = Path::new(STATE).join(names::segment(last.header.first_lsn));
    let mut bytes = last.bytes[..3 * 4096].to_vec();
    bytes[4096 + 24] ^= 1;
    fs.upstream().write(&path, &bytes).unwrap();
    let (repaired, state) = repaired(&fs);
    assert_eq!(state.open().map(|file| file.id.0).collect::<Vec<_>>(), [3]);
    assert_eq!(repaired.salvage.lost[0].from, Lsn(2));
}

