//! The statement of a sidecar: the same in every encoding, and never empty if a sum is alone on a line.

#![no_main]

use std::ffi::OsStr;

use csv_ingestor::pipeline::sidecar::{SIDECAR_BYTES_MAX, Statement, statement};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "a.csv";
const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fuzz_target!(|input: &[u8]| {
    let name = OsStr::new(NAME);
    let said = statement(input, name);
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.contains(['\0', '\u{feff}']) || input.len() > SIDECAR_BYTES_MAX / 4 {
        return;
    }
    let units = || [0xfeff].into_iter().chain(text.encode_utf16());
    let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
    let marked = ["\u{feff}".as_bytes(), input].concat();
    for encoded in [little, big, marked] {
        assert_eq!(statement(&encoded, name), said, "{text:?}");
    }
    let with_sum = statement(format!("{text}\n\n{SUM}\n").as_bytes(), name);
    assert!(matches!(with_sum, Statement::Demands(_) | Statement::Odd(_)), "{text:?}: {with_sum:?}");
});
