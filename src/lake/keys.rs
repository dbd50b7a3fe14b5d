//! The names of all objects of a lake.
//!
//! Invariants:
//! - Every key consists of `[A-Za-z0-9._=%/-]`, so that no store, URL or reader takes it for something else.
//! - A data object's key holds 128 bits of its content's SHA-256 and its generation: two contents never want one key.
//! - What belongs to the lake itself is below [`OWN`], and no data object is.
//! - A key is chosen before the claim, and stands in the entry: nobody computes it again.

use crate::limits::{LAKE_EXTENSION_BYTES_MAX, LAKE_KEY_BYTES_MAX, LAKE_NAME_BYTES_MAX};
use crate::types::Sha256;

/// The directory of the lake's own objects, in the warehouse.
pub const OWN: &str = ".csv-ingestor/";
/// The description of the lake.
pub const LAKE: &str = ".csv-ingestor/lake.json";
/// All packs.
pub const PACKS: &str = ".csv-ingestor/pack/";
/// The digits of a content's SHA-256 in its key.
const SHA256_DIGITS: usize = 32;

/// The slot of an entry.
pub fn slot(shard: u16, number: u64) -> String {
    format!("{OWN}log/{shard}/{number:020}")
}

/// Where all checkpoints of a shard are.
pub fn checkpoints(shard: u16) -> String {
    format!("{OWN}checkpoint/{shard}/")
}

/// The checkpoint of all entries below `number`.
pub fn checkpoint(shard: u16, number: u64) -> String {
    format!("{}{number:020}", checkpoints(shard))
}

/// A piece of a checkpoint, from 0; the first has the checkpoint's own key.
pub fn checkpoint_piece(shard: u16, number: u64, piece: usize) -> String {
    match piece {
        0 => checkpoint(shard, number),
        _ => format!("{}-{piece}", checkpoint(shard, number)),
    }
}

/// The number of a checkpoint with this key.
pub fn checkpoint_number(shard: u16, key: &str) -> Option<u64> {
    let number = key.strip_prefix(&checkpoints(shard))?.parse().ok()?;
    (checkpoint(shard, number) == key).then_some(number)
}

/// The mark with which an operator skips an entry that is malformed.
pub fn skip(shard: u16, number: u64) -> String {
    format!("{OWN}skip/{shard}/{number:020}")
}

/// Where all packs of a shard are.
pub fn packs(shard: u16) -> String {
    format!("{PACKS}{shard}/")
}

/// A pack for an entry of this shard whose number is `since` or a little higher: `random` makes its key its own, and the
/// checksum proves its bytes.
pub fn pack(shard: u16, since: u64, random: &[u8; 16], sha256: &Sha256) -> String {
    let random = u128::from_be_bytes(*random);
    format!("{PACKS}{shard}/{since:020}-{random:032x}-{}", sha256.digits().as_str())
}

/// The shard and the number with which a pack of this key was made; None if it is no key of a pack.
pub fn pack_place(key: &str) -> Option<(u16, u64)> {
    let parsed = key.strip_prefix(PACKS)?.split_once('/')?;
    let (shard, (number, rest)) = (parsed.0.parse().ok()?, parsed.1.split_once('-')?);
    let (random, digits) = rest.split_once('-')?;
    let is_lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_right = random.len() == 32 && digits.len() == 64 && is_lower_hex(random) && is_lower_hex(digits);
    let number = number.parse().ok().filter(|_| is_right)?;
    let is_canonical = key.starts_with(&format!("{}{number:020}-", packs(shard)));
    is_canonical.then_some((shard, number))
}

/// The manifest object of the lines of one hour in an entry, below the manifests.
pub fn manifest(hour: &[String; 4], shard: u16, number: u64) -> String {
    format!("{}/{shard}-{number:020}.jsonl", hour.join("/"))
}

/// A data object's key, below the warehouse: `partition/name-<32 hex digits>[.gN].ext`, with the file's name escaped and
/// cut off where it is too long. The partition must be one that [`is_partition`] accepts.
pub fn data(partition: &str, name: &[u8], content: &Sha256, generation: u32) -> String {
    let dot = name.iter().skip(1).position(|byte| *byte == b'.').map_or(name.len(), |at| at + 1);
    let mut extension = escaped(&name[dot..], usize::MAX, false);
    let mut stem = &name[..dot];
    if extension.len() > LAKE_EXTENSION_BYTES_MAX {
        (extension, stem) = (String::new(), name);
    }
    // Otherwise a file `a.g1` would get the key that the next generation of a file `a` gets.
    if is_generation(&extension) {
        extension.replace_range(..1, "%2E");
    }
    let tail = format!("{}{extension}", mark(content, generation));
    format!("{partition}/{}{tail}", escaped(stem, LAKE_NAME_BYTES_MAX - tail.len(), true))
}

/// The part of a data object's key that no other content and no other generation has.
fn mark(content: &Sha256, generation: u32) -> String {
    let generation = if generation == 0 { String::new() } else { format!(".g{generation}") };
    format!("-{}{generation}", &content.digits().as_str()[..SHA256_DIGITS])
}

/// True if the text begins as a generation does.
fn is_generation(text: &str) -> bool {
    text.strip_prefix(".g").is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// True for a key that a data object of this content and generation may have, and no other one.
pub fn is_data_of(key: &str, content: &Sha256, generation: u32) -> bool {
    let mark = mark(content, generation);
    let rest = key.rfind(&mark).map(|at| &key[at + mark.len()..]);
    let ends = |rest: &str| rest.is_empty() || rest.starts_with('.') && !is_generation(rest) || rest.starts_with("%2E");
    is_data(key) && rest.is_some_and(ends)
}

/// True if data objects may lie in this directory: one or more names of escaped characters, none of which begins with a
/// dot.
pub fn is_partition(partition: &str) -> bool {
    let room = LAKE_KEY_BYTES_MAX - LAKE_NAME_BYTES_MAX - 1;
    partition.len() <= room && partition.split('/').all(is_name)
}

/// True for a key that a data object may have.
pub fn is_data(key: &str) -> bool {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    key.len() <= LAKE_KEY_BYTES_MAX
        && name.len() <= LAKE_NAME_BYTES_MAX
        && key.contains('/')
        && key.split('/').all(is_name)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(|byte| is_plain(byte) || byte == b'%')
}

/// A name of a directory as a part of a partition.
pub fn part(name: &[u8]) -> String {
    escaped(name, usize::MAX, true)
}

/// True for a byte that stands for itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'=' | b'-')
}

/// The bytes with all but `[A-Za-z0-9._=-]` as `%XX`, cut off after at most `max` bytes. At the beginning of a key's last
/// part, `.` and `_` are escaped as well: readers skip such names.
fn escaped(bytes: &[u8], max: usize, is_beginning: bool) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let hides = is_beginning && at == 0 && matches!(byte, b'.' | b'_');
        let length = if is_plain(*byte) && !hides { 1 } else { 3 };
        if text.len() + length > max {
            break;
        }
        if length == 1 {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UnixMillis;

    const CONTENT: Sha256 = Sha256([0x9f; 32]);
    const DIGITS: &str = "9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f";

    fn name_of(name: &[u8], generation: u32) -> String {
        let key = data("ingest_date=2026-11-28", name, &CONTENT, generation);
        assert!(is_data(&key), "{key}");
        key.strip_prefix("ingest_date=2026-11-28/").unwrap().replace(DIGITS, "#")
    }

    #[test]
    fn data_keys_keep_the_name_and_its_extension() {
        for (name, expected) in [
            ("orders.csv", "orders-#.csv"),
            ("orders.csv.gz", "orders-#.csv.gz"),
            ("a b%.csv", "a%20b%25-#.csv"),
            ("größe.csv", "gr%C3%B6%C3%9Fe-#.csv"),
            ("_hidden.csv", "%5Fhidden-#.csv"),
            (".csv", "%2Ecsv-#"),
            ("plain", "plain-#"),
            ("a/b.csv", "a%2Fb-#.csv"),
        ] {
            assert_eq!(name_of(name.as_bytes(), 0), expected);
        }
        assert_eq!(name_of(b"orders.csv", 3), "orders-#.g3.csv");
    }

    #[test]
    fn no_two_generations_want_one_key() {
        let names = ["a", "a.g1", "a.g1.csv", "a.csv", "a.g", "a.gz", "a.g1.g1"];
        for (one, other) in names.into_iter().flat_map(|one| names.map(|other| (one, other))) {
            let key = |name: &str, generation| data("d", name.as_bytes(), &CONTENT, generation);
            for generations in [(0, 1), (1, 11), (0, 11)] {
                let keys = (key(one, generations.0), key(other, generations.1));
                assert_ne!(keys.0, keys.1, "{one} {other}");
                assert!(is_data_of(&keys.0, &CONTENT, generations.0), "{}", keys.0);
                assert!(is_data_of(&keys.1, &CONTENT, generations.1), "{}", keys.1);
                assert!(!is_data_of(&keys.1, &CONTENT, generations.0), "{}", keys.1);
                assert!(!is_data_of(&keys.0, &CONTENT, generations.1), "{}", keys.0);
            }
        }
        assert!(!is_data_of(&data("d", b"a", &CONTENT, 0), &Sha256([1; 32]), 0));
    }

    #[test]
    fn long_names_are_cut_off_between_characters() {
        let long = [b"\xff".repeat(255), b".csv".to_vec()].concat();
        let name = name_of(&long, 7);
        assert!(name.starts_with("%FF%FF") && name.ends_with("%FF-#.g7.csv"), "{name}");
        let name = name_of(&[b"a.".to_vec(), b"b".repeat(250)].concat(), 0);
        assert_eq!(name.len() - 1 + DIGITS.len(), LAKE_NAME_BYTES_MAX);
    }

    #[test]
    fn no_data_object_lies_where_the_lake_keeps_its_own() {
        for key in ["", "a", "/a", "a/", "a//b", ".csv-ingestor/log/0/1", "a/../b", "a/.b", "a/b c", "a/ö"] {
            assert!(!is_data(key), "{key}");
        }
        assert!(is_data("a/b") && is_partition("a=1/b=2") && !is_partition("") && !is_partition("a/"));
    }

    #[test]
    fn the_lakes_own_keys_go_there_and_back() {
        assert_eq!(slot(0, 42), ".csv-ingestor/log/0/00000000000000000042");
        let key = pack(3, 42, &[1; 16], &CONTENT);
        assert_eq!(pack_place(&key), Some((3, 42)));
        for wrong in
            [key.to_uppercase(), key[..key.len() - 1].to_owned(), key.replace("/3/", "/03/"), key.replace("042", "42")]
        {
            assert_eq!(pack_place(&wrong), None, "{wrong}");
        }
        assert_eq!(checkpoint_number(3, &checkpoint_piece(3, 7, 0)), Some(7));
        assert_eq!(checkpoint_number(3, &checkpoint_piece(3, 7, 1)), None);
        assert_eq!(checkpoint_number(3, &checkpoint(3, 7)), Some(7));
        assert_eq!(checkpoint_number(3, ".csv-ingestor/checkpoint/3/7"), None);
        let hour = UnixMillis(1_763_458_200_123).hour_partition();
        assert_eq!(manifest(&hour, 0, 42), "2025/11/18/09/0-00000000000000000042.jsonl");
    }
}
