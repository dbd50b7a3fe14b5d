//! A group file: a second reader reads the same from it; what is accepted names only files beside it (a bag's
//! manifest: below `data`), each once; written
//! again as `sha256sum` does, it means the same; and cut off within a line, it is refused.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use csv_ingestor::pipeline::group::parse;
use csv_ingestor_fuzz::groups::{read, read_bag, written};
use libfuzzer_sys::fuzz_target;

fn parsed(group: &str, content: &[u8]) -> Option<Vec<(Vec<u8>, String)>> {
    let members = parse(OsStr::new(group), content).ok()?;
    let of = |member: &csv_ingestor::pipeline::group::Member| {
        let name = member.name.as_os_str().as_bytes();
        assert_eq!(member.staged.as_bytes(), [b"sub/", name].concat());
        (name.to_vec(), member.sha256.hex())
    };
    Some(members.iter().map(of).collect())
}

fuzz_target!(|input: &[u8]| {
    assert_eq!(parsed("sub/manifest-sha256.txt", input), read_bag(input));
    let parsed = |content: &[u8]| parsed("sub/close.group", content);
    let found = parsed(input);
    assert_eq!(found, read(input));
    let Some(members) = found else { return };
    for (name, _) in &members {
        assert!(!name.is_empty() && !name.contains(&b'/') && name != b".." && name != b".");
    }
    let again: Vec<u8> = members.iter().flat_map(|(name, sum)| written(name, sum)).collect();
    assert_eq!(parsed(&again).as_ref(), Some(&members));
    for cut in 1..again.len() {
        let is_whole = again[cut - 1] == b'\n';
        assert!(is_whole || parsed(&again[..cut]).is_none(), "{cut}");
    }
});
