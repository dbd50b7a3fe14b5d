//! Names in the warehouse and names that we give in staging.
//!
//! Invariants: every name fits [`NAME_BYTES_MAX`]; a name is a function of the staged name and the content (or the
//! ingest id), so recovery finds the same one again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::types::{IngestId, Sha256};

/// The longest name that Linux's file systems take.
pub const NAME_BYTES_MAX: usize = 255;

/// How many hex digits of the hash a name carries, in the order in which they are tried: none at first.
const HASH_DIGITS: [usize; 5] = [0, 8, 16, 32, 64];

/// How many it carries beside the ingest id.
const ID_HASH_DIGITS: usize = 8;

/// So many choices are counted to find out which one a name was; a name further on is looked for from the first with the id.
const CHOICES_COUNTED_MAX: usize = 1024;

/// Endings that compress what the extension before them says.
const COMPRESSIONS: [&[u8]; 6] = [b"gz", b"bz2", b"xz", b"zst", b"lz4", b"br"];

/// The name that a file gets in the warehouse when the first `taken` choices belong to others: with more and more of its
/// hash in it, then with its ingest id, then with that and a number. There is always one more.
pub fn warehouse_name(staged: &OsStr, sha256: &Sha256, id: IngestId, taken: usize) -> OsString {
    if taken == 0 {
        // Most get this one: for them no hash is written out.
        return staged.to_owned();
    }
    let hash = sha256.hex();
    let suffix = match (HASH_DIGITS.get(taken), taken - taken.min(HASH_DIGITS.len())) {
        (Some(digits), _) => hash[..*digits].to_owned(),
        (None, 0) => format!("{}-{id}", &hash[..ID_HASH_DIGITS]),
        (None, number) => format!("{}-{id}-{number}", &hash[..ID_HASH_DIGITS]),
    };
    suffixed_name(staged, &suffix, NAME_BYTES_MAX)
}

/// How many choices come before `name`, and `name` itself: where to go on when it turns out to be taken.
pub fn choices_up_to(staged: &OsStr, sha256: &Sha256, id: IngestId, name: &OsStr) -> usize {
    let chosen = |taken: &usize| warehouse_name(staged, sha256, id, *taken) == name;
    (0..CHOICES_COUNTED_MAX).find(chosen).map_or(HASH_DIGITS.len(), |taken| taken + 1)
}

/// The name under which a file goes back to staging when its own is taken again there.
pub fn returned_name(staged: &OsStr, id: IngestId, attempt: &str) -> OsString {
    suffixed_name(staged, &format!("returned-{id}-{attempt}"), NAME_BYTES_MAX)
}

/// How the names begin that [`aside_name`] gives.
pub const ASIDE_PREFIX: &[u8] = b".csv-ingestor-";

/// Hidden names in staging under which a file stands for the moment between being taken away and being removed.
pub fn aside_name(store: &[u8; 16], id: IngestId, what: &str) -> OsString {
    OsString::from(format!(".csv-ingestor-{:032x}-{id}-{what}", u128::from_be_bytes(*store)))
}

/// True for each name that [`aside_name`] gives for `what`, whatever the id.
pub fn is_aside(name: &OsStr, store: &[u8; 16], what: &str) -> bool {
    let prefix = format!(".csv-ingestor-{:032x}-", u128::from_be_bytes(*store));
    let id = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(what)?.strip_suffix('-'));
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `STEM-SUFFIX.EXT`; the stem is cut where the name would have more bytes than `bytes_max`.
pub fn suffixed_name(name: &OsStr, suffix: &str, bytes_max: usize) -> OsString {
    let bytes = name.as_bytes();
    let (mut stem, mut extension) = bytes.split_at(extension_start(bytes));
    // An "extension" that leaves no room for the suffix is none.
    if extension.len() + suffix.len() + 2 > bytes_max {
        (stem, extension) = (bytes, b"");
    }
    let room = bytes_max - extension.len() - suffix.len() - 1;
    let mut result = cut(stem, room).to_vec();
    result.push(b'-');
    result.extend_from_slice(suffix.as_bytes());
    result.extend_from_slice(extension);
    OsString::from_vec(result)
}

/// The first `room` bytes, without half a UTF-8 character at the end.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    match std::str::from_utf8(stem) {
        Ok(text) => &stem[..text.floor_char_boundary(room)],
        Err(_) => &stem[..room],
    }
}

/// Where the extension begins, its dot included: `.csv`, and `.csv.gz` as one. A leading dot begins none.
fn extension_start(name: &[u8]) -> usize {
    let last_dot = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let Some(dot) = last_dot(name) else { return name.len() };
    if !COMPRESSIONS.iter().any(|ending| name[dot + 1..].eq_ignore_ascii_case(ending)) {
        return dot;
    }
    last_dot(&name[..dot]).unwrap_or(dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second_choice(name: &str) -> String {
        let sha256 = Sha256([0xab; 32]);
        warehouse_name(OsStr::new(name), &sha256, IngestId(12), 1).into_string().unwrap()
    }

    #[test]
    fn hash_digits_stand_before_the_extension() {
        assert_eq!(second_choice("foo.csv"), "foo-abababab.csv");
        assert_eq!(second_choice("foo.csv.gz"), "foo-abababab.csv.gz");
        assert_eq!(second_choice("foo.gz"), "foo-abababab.gz");
        assert_eq!(second_choice("foo"), "foo-abababab");
        assert_eq!(second_choice("a.b.csv"), "a.b-abababab.csv");
        assert_eq!(second_choice("foo."), "foo-abababab.");
    }

    #[test]
    fn the_first_choice_is_the_name_itself_and_there_is_always_one_more() {
        let (name, sha256, id) = (OsStr::new("foo.csv"), Sha256([0xab; 32]), IngestId(12));
        assert_eq!(warehouse_name(name, &sha256, id, 0), name);
        assert_eq!(warehouse_name(name, &sha256, id, 4).len(), "foo-.csv".len() + 64);
        assert_eq!(warehouse_name(name, &sha256, id, 5), "foo-abababab-12.csv");
        assert_eq!(warehouse_name(name, &sha256, id, 6), "foo-abababab-12-1.csv");
        for taken in 0..50 {
            let choice = warehouse_name(name, &sha256, id, taken);
            assert_eq!(choices_up_to(name, &sha256, id, &choice), taken + 1);
        }
    }

    /// A cut in the middle of a character would make a name that is not UTF-8 out of one that is.
    #[test]
    fn long_names_are_cut_to_fit_at_a_character() {
        for length in 240..=255 {
            let name = format!("{}.csv", "x".repeat(length - 4));
            for taken in 0..8 {
                let choice = warehouse_name(OsStr::new(&name), &Sha256([7; 32]), IngestId(u64::MAX), taken);
                assert!(choice.len() <= NAME_BYTES_MAX && choice.as_bytes().ends_with(b".csv"), "{choice:?}");
            }
        }
        let umlauts = format!("{}.csv", "ä".repeat(125));
        assert!(second_choice(&umlauts).len() <= NAME_BYTES_MAX);
        let no_room_for_the_extension = format!("x.{}", "y".repeat(250));
        assert!(second_choice(&no_room_for_the_extension).len() <= NAME_BYTES_MAX);
    }
}
