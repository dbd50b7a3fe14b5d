//! Finds everything in a text that looks like a checksum.
//!
//! Invariant: its time is linear in the text's length, and its result is no longer than the text.

use crate::types::Algorithm;

/// From this many hex digits on, a word counts as a checksum: shorter ones are numbers, dates, and sums of 64 bits or
/// less.
const SUM_DIGITS_MIN: usize = 24;
/// Groups of this many digits may form one sum: `d4 1d 8c`, `D41D 8CD9`, `9F86D081 884C7D65`.
const GROUP_DIGITS: [usize; 3] = [2, 4, 8];

/// Prefixes of the names of algorithms that are not computed here, but whose sums are as long as those that are.
const FOREIGN: [&str; 13] = [
    "blake",
    "sha3",
    "sha-3",
    "sha512/",
    "sha2-512/",
    "keccak",
    "shake",
    "md2",
    "md4",
    "ripemd",
    "rmd",
    "sm3",
    "whirlpool",
];

/// A checksum, or what looks like one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// The hex digits, in lower case.
    pub(super) hex: String,
    /// Its offset in the text.
    pub(super) begin: usize,
    /// The algorithm in its label, if that is one not computed here.
    pub(super) foreign: Option<String>,
}

impl Token {
    /// The algorithm, according to its length; None if no known sum has that length.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        let of_that_length = |algorithm: &Algorithm| algorithm.hex_digits() == self.hex.len();
        Algorithm::ALL.into_iter().find(of_that_length).filter(|_| self.foreign.is_none())
    }

    /// The same token, with its label taken into account.
    pub(super) fn labelled(self, label: &[u8]) -> Token {
        let label = String::from_utf8_lossy(label).trim().to_owned();
        let is_foreign = FOREIGN.iter().any(|foreign| label.to_ascii_lowercase().starts_with(foreign));
        Token { foreign: is_foreign.then_some(label), ..self }
    }
}

/// A run of letters and digits.
#[derive(Clone, Copy)]
struct Word {
    begin: usize,
    end: usize,
}

/// Letters and digits. A byte that is not ASCII ends a word: it may be part of a quotation mark, an ellipsis, or white
/// space.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// All tokens of a text, in order.
pub(super) fn tokens(text: &[u8]) -> Vec<Token> {
    let words = words(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let group = group(text, &words[at..]);
        if group > 1 {
            let hex = words[at..at + group].iter().flat_map(|word| text[word.begin..word.end].iter().copied());
            found.push(Token { hex: lower(hex), begin: word.begin, foreign: None });
            at += group;
            continue;
        }
        // Letters directly beside the digits (`0x`, `sha256`, a format's `h`) do not change them.
        let runs = text[word.begin..word.end].chunk_by(|one, other| is_digit(one) && is_digit(other));
        let mut begin = word.begin;
        for run in runs {
            if run.len() >= SUM_DIGITS_MIN && !is_of_a_name(text, word) {
                found.push(Token { hex: lower(run.iter().copied()), begin, foreign: None });
            }
            begin += run.len();
        }
        at += 1;
    }
    found
}

fn words(text: &[u8]) -> Vec<Word> {
    let (mut words, mut begin) = (Vec::new(), None);
    for (at, byte) in text.iter().enumerate() {
        match (begin, is_word(*byte)) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                words.push(Word { begin: from, end: at });
                begin = None;
            }
            _ => {}
        }
    }
    words.extend(begin.map(|begin| Word { begin, end: text.len() }));
    words
}

/// How many of the words form one sum in groups: all of one length, separated by white space, or by one colon or hyphen
/// each. 0 if they do not.
fn group(text: &[u8], words: &[Word]) -> usize {
    let Some(first) = words.first() else { return 0 };
    let length = first.end - first.begin;
    if !GROUP_DIGITS.contains(&length) {
        return 0;
    }
    let fits = |word: &Word| word.end - word.begin == length && is_hex(&text[word.begin..word.end]);
    let mut count = usize::from(fits(first));
    let mut between: Option<&[u8]> = None;
    for pair in words.windows(2) {
        let gap = &text[pair[0].end..pair[1].begin];
        let is_space = gap.iter().all(u8::is_ascii_whitespace);
        let alike = match between {
            None => is_space || gap == b":" || gap == b"-",
            Some(before) => (is_space && before.iter().all(u8::is_ascii_whitespace)) || gap == before,
        };
        if count == 0 || !fits(&pair[1]) || !alike {
            break;
        }
        between = Some(gap);
        count += 1;
    }
    let digits = count * length;
    // Numbers, such as years and dates, may also stand in a row.
    let has_letter =
        || words[..count].iter().any(|word| text[word.begin..word.end].iter().any(u8::is_ascii_alphabetic));
    let is_known = Algorithm::ALL.iter().any(|algorithm| algorithm.hex_digits() == digits);
    let is_sum =
        digits >= SUM_DIGITS_MIN && if length == 2 { is_known || has_letter() } else { is_known && has_letter() };
    if is_sum { count } else { 0 }
}

fn is_digit(byte: &u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(is_digit)
}

fn lower(hex: impl Iterator<Item = u8>) -> String {
    hex.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// True for a part of a path, as in `HEX.csv` and `/data/HEX/a.csv`.
fn is_of_a_name(text: &[u8], word: &Word) -> bool {
    let is_name_at = |at: usize| text.get(at).is_some_and(|byte| is_word(*byte) || !byte.is_ascii());
    match text.get(word.end) {
        Some(b'.') => is_name_at(word.end + 1),
        Some(b'/') => true,
        // Otherwise the backslash begins an escape: `\n` of echo, or JSON in JSON.
        Some(b'\\') => word.begin > 0 && b"/\\".contains(&text[word.begin - 1]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn found(text: &str) -> Vec<String> {
        tokens(text.as_bytes()).into_iter().map(|token| token.hex).collect()
    }

    #[test]
    fn sums_are_words_of_hex_digits() {
        for text in [
            MD5.to_owned(),
            MD5.to_uppercase(),
            format!("md5:{MD5}"),
            format!("0x{MD5}"),
            format!("\\{MD5}  a"),
            format!("{{MD5}}{MD5}."),
            format!("\"{MD5}\""),
            format!("x_{MD5}_x"),
            format!("sha-256-of-it{MD5}"),
            format!("x{MD5}"),
            format!("{MD5}h"),
            format!("\\x{MD5}"),
            format!("{MD5}\\n"),
            format!("{MD5}\\t"),
            format!("\"{{\\\"md5\\\":\\\"{MD5}\\\"}}\""),
            format!("\u{1b}[32m{MD5}\u{1b}[0m"),
            format!("md5\u{ff1a}{MD5}"),
            format!("\u{201c}{MD5}\u{201d}"),
            format!("{MD5}\u{a0}\u{3000}a.csv"),
            format!("{MD5}\u{2026}"),
            format!("\u{feff}\u{feff}{MD5}\u{200e}"),
        ] {
            assert_eq!(found(&text), [MD5], "{text}");
        }
        assert_eq!(found(&format!("{} {}", &MD5[..24], &MD5[..23])), [&MD5[..24]]);
        for text in ["done", "20261128T150000Z", "550e8400-e29b-41d4-a716-446655440000"] {
            assert!(found(text).is_empty(), "{text}");
        }
        for text in [format!("{MD5}.csv"), format!("/data/{MD5}/a.csv"), format!("C:\\{MD5}\\a.csv")] {
            assert!(found(&text).is_empty(), "{text}");
        }
    }

    #[test]
    fn sums_may_be_written_in_groups() {
        let groups = |length: usize, between: &str| {
            let parts: Vec<&str> = (0..32 / length).map(|n| &MD5[n * length..(n + 1) * length]).collect();
            parts.join(between)
        };
        for text in [
            groups(2, " "),
            groups(2, ":"),
            groups(2, "-").to_uppercase(),
            groups(4, " "),
            groups(8, "\r\n   "),
            format!("{} ", groups(2, " ")),
        ] {
            assert_eq!(found(&text), [MD5], "{text}");
        }
        assert_eq!(found(&groups(2, " ")[..44]), [&MD5[..30]]);
        for text in ["2020 2021 2022 2023 2024 2025 2026 2027", "00:1b:44:11:3a:b7", "12-11-26 12:30:00 12 12 12 12 12"]
        {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
