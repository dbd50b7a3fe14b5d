//! A file's rows, columns and header, and the line of its first fault: the same as a second reader finds, however the
//! file is cut into pieces.

#![no_main]

use csv_ingestor::journal::record::Validation;
use csv_ingestor::pipeline::csv::Profiler;
use csv_ingestor_fuzz::csv::{Look, Seen, faults, read};
use libfuzzer_sys::fuzz_target;

/// Longer headers are left out.
const NAME_BYTES_MAX: usize = 1024;
const HEADER_BYTES_MAX: usize = 16 << 10;

fuzz_target!(|input: &[u8]| {
    let Some(([piece, aside], content)) = input.split_first_chunk::<2>() else { return };
    // The highest bit selects whether there are quotes; of the other byte, whether there are comments. 0 is one piece.
    let quote = (*piece < 0x80).then_some(b'"');
    let comment = (*aside >= 0x80).then_some(b'#');
    let look = Validation { quote, comment, skip_rows: u16::from(*aside % 4), ..Validation::default() };
    let mut profiler = Profiler::of(b"a.csv", &look, content.len() as u64).unwrap();
    let piece_bytes = match usize::from(*piece & 0x7f) {
        0 => content.len().max(1),
        bytes => bytes,
    };
    content.chunks(piece_bytes).for_each(|piece| profiler.feed(piece));
    let profile = profiler.finish();
    let seen = read(content, &Look { quote, comment, skip_rows: u64::from(look.skip_rows) });
    let fits = |header: &Vec<Vec<u8>>| {
        let bytes: usize = header.iter().map(|name| name.len() + 2).sum();
        bytes <= HEADER_BYTES_MAX && header.iter().all(|name| name.len() <= NAME_BYTES_MAX)
    };
    let told: Vec<_> = profile.header_faults.iter().map(|it| (it.column, it.first.unwrap_or(0))).collect();
    // Of a header that is not kept there may be some or none.
    if let Some(header) = seen.header.as_ref().filter(|header| fits(header)) {
        assert_eq!(told, faults(header));
    }
    let found = Seen {
        rows: profile.rows,
        columns: profile.columns,
        header: profile.header.map(|header| header.into_iter().map(String::into_bytes).collect()),
        fault: profile.fault.map(|fault| fault.line),
    };
    assert_eq!(found, Seen { header: seen.header.clone().filter(fits), ..seen });
});
