//! Names in the warehouse.
//!
//! Invariant: a name is a function of the staged name, the content, the ingest id and the number of names that were
//! taken, so recovery finds the same one again.

use std::ffi::{OsStr, OsString};

use crate::pipeline::names::{NAME_BYTES_MAX, suffixed_name};
use crate::types::{IngestId, Sha256};

/// How many hex digits of the hash the first names carry, in the order in which they are tried: none at first.
const HASH_DIGITS: [usize; 5] = [0, 8, 16, 32, 64];

/// How many hex digits a name carries together with the ingest id.
const ID_HASH_DIGITS: usize = 8;

/// How many choices are compared to find out which one a name was. For a later one, the search starts again from the
/// first with the id.
const CHOICES_COUNTED_MAX: usize = 1024;

/// The name of a file in the warehouse when the first `taken` choices are taken: first with more and more digits of its
/// hash, then with its ingest id, then with the id and a number. There is always one more.
pub fn warehouse_name(staged: &OsStr, sha256: &Sha256, id: IngestId, taken: usize) -> OsString {
    if taken == 0 {
        // Most files get this one: the hash is not formatted for them.
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

/// How many choices there are up to and including `name`: the number to continue with when `name` is taken.
pub fn choices_up_to(staged: &OsStr, sha256: &Sha256, id: IngestId, name: &OsStr) -> usize {
    let chosen = |taken: &usize| warehouse_name(staged, sha256, id, *taken) == name;
    (0..CHOICES_COUNTED_MAX).find(chosen).map_or(HASH_DIGITS.len(), |taken| taken + 1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

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

    /// A cut inside a character would make an invalid UTF-8 name of a valid one.
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
