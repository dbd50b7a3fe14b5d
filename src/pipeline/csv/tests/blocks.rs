//! Text that is read in blocks: it means what it means byte by byte. Pieces that are shorter than a block are read byte
//! by byte.

use super::super::blocks::BLOCK_BYTES;
use super::*;

const NO_BLOCK: usize = BLOCK_BYTES - 1;

/// What is in a field, and what may come between two fields or records.
const FIELDS: [&str; 10] =
    ["", "1", "name", "ä𝄞", "\"a,b\"", "\"\"", "\"x\"\"y\"", "\"one\r\ntwo\n\"", "#", "a long field of text"];
const ODD: [&str; 12] = [",", "\n", "\r\n", "\r", "\"", "\"\"", "#", "\n#,\"\n", "\0", "\n\n", "\"x", "\r\n\r\n"];

fn same(content: &[u8], look: &Validation) {
    let read = |piece| profile_as(b"a.csv", look, content, piece);
    let expected = read(NO_BLOCK);
    for piece in [content.len(), BLOCK_BYTES, BLOCK_BYTES + 1, 1000] {
        assert_eq!(read(piece), expected, "{:?}, {look:?}, {piece}", String::from_utf8_lossy(content));
    }
}

/// Why: each byte that has a meaning may be a block's first or last one, and the records go on in the next block.
#[test]
fn the_place_in_a_block_makes_no_difference() {
    for columns in [1, 2, 3, 8, 9, 20] {
        for field in FIELDS {
            let record = vec![field; columns].join(",");
            let header = vec!["h"; columns].join(",");
            for (odd, end) in ODD.iter().chain(&["", "\u{e4}"]).zip(["\n", "\r\n"].into_iter().cycle()) {
                for before in 0..=BLOCK_BYTES {
                    let first = format!("{header}{end}{}{}{end}", "x".repeat(before), ",".repeat(columns - 1));
                    let content = format!("{first}{record}{end}{record}{odd}{end}{record}{end}").into_bytes();
                    assert_eq!(
                        profile(&content, content.len()),
                        profile(&content, NO_BLOCK),
                        "{columns} {field:?} {odd:?}"
                    );
                }
            }
        }
    }
}

/// Why: a record that has too many columns before a block begins has none that is the last one.
#[test]
fn a_record_with_too_many_columns_is_a_fault_wherever_it_ends() {
    for columns in 2..200 {
        let content = format!("a,b,c\n1,2,3\n{}\n1,2,3\n{}", ",".repeat(columns - 1), "1,2,3\n".repeat(40));
        let found = profile(content.as_bytes(), content.len());
        let reason = format!("it has {columns} columns, the first record 3");
        match columns {
            3 => assert_eq!(found.rows, Some(43)),
            _ => assert_eq!(found.fault.map(|fault| (fault.line, fault.reason)), Some((3, reason))),
        }
    }
}

/// Why: long records are read in another way, and may come after short ones, and short ones after them.
#[test]
fn long_and_short_records_take_turns() {
    let short = "1,2,3\n".repeat(3_000);
    let long = format!("1,{},3\n", "x".repeat(5_000)).repeat(40);
    let quoted = format!("1,\"{}\",3\n", "x\n".repeat(5_000)).repeat(20);
    let content = format!("a,b,c\n{}", [&short, &long, &short, &quoted, &short].map(String::as_str).concat());
    same(content.as_bytes(), &COMMAS);
    assert_eq!(profile(content.as_bytes(), content.len()).rows, Some(9_060));
    same(format!("{content}1,2\n").as_bytes(), &COMMAS);
}

proptest! {
    /// Why: what is read in blocks is counted in another way than what is read byte by byte.
    #[test]
    fn blocks_make_no_difference(
        columns in 1_usize..12,
        fields in prop::collection::vec(prop::sample::select(&FIELDS[..]), 1..400),
        ends in prop::collection::vec(prop::sample::select(&["\n", "\n", "\n", "\r\n"][..]), 1..9),
        odd in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&ODD[..])), 0..3),
        look in (prop::option::of(Just(b'#')), 0..3_u16, prop::option::weighted(0.8, Just(b'"'))),
    ) {
        let mut records: Vec<String> = fields
            .chunks(columns)
            .zip(ends.iter().cycle())
            .map(|(fields, end)| [&fields.join(","), &",".repeat(columns - fields.len()), *end].concat())
            .collect();
        for (at, odd) in odd {
            let record = at.get(&records).clone();
            let at = at.index(records.len());
            records[at] = format!("{odd}{record}");
        }
        let look = Validation { quote: look.2, ..aside(look.0, look.1) };
        same(records.concat().as_bytes(), &look);
    }
}
