//! The query of a request for files that wait: `after=…&limit=…&name=…`.

use crate::limits::{WAITING_NAME_BYTES_MAX, WAITING_PAGE_MAX};
use crate::pipeline::settle::Age;

/// Which files that wait are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those behind this one.
    pub after: Option<Age>,
    /// So many; None: [`crate::limits::WAITING_PAGE_DEFAULT`].
    pub limit: Option<usize>,
    /// Those whose path below the staging directory contains this, whether in capitals or not (ASCII).
    pub name: Vec<u8>,
}

/// A place in the list, for the next request.
pub(super) fn cursor(age: &Age) -> String {
    format!("{}.{}", age.second, age.place)
}

fn parse_cursor(text: &str) -> Option<Age> {
    let (second, place) = text.split_once('.')?;
    let place: u64 = place.parse().ok()?;
    // Its successor has to exist.
    Some(Age { second: second.parse().ok()?, place: place.min(u64::MAX - 1) })
}

/// Reads a query. Keys that are not known are ignored.
///
/// # Errors
/// What is wrong, for people.
pub(super) fn parse(query: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = decoded(value).ok_or_else(|| format!("{key}: a % is not followed by two hexadecimal digits"))?;
        let text = String::from_utf8_lossy(&value);
        match key {
            "after" if !text.is_empty() => {
                wanted.after = Some(parse_cursor(&text).ok_or("after: take it from `next` of an earlier answer")?);
            }
            "limit" => {
                let limit = text.parse().ok().filter(|limit| (1..=WAITING_PAGE_MAX).contains(limit));
                wanted.limit = Some(limit.ok_or_else(|| format!("limit: a number from 1 to {WAITING_PAGE_MAX}"))?);
            }
            "name" if value.len() > WAITING_NAME_BYTES_MAX => {
                return Err(format!("name: at most {WAITING_NAME_BYTES_MAX} bytes"));
            }
            "name" => wanted.name = value,
            _ => {}
        }
    }
    Ok(wanted)
}

/// Without percent-encoding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut decoded) = (text.bytes(), Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_exactly() {
        let wanted = parse("after=17.18446744073709551615&limit=7&name=a%20b+%c3%A9%ff&new=1&x").unwrap();
        assert_eq!(wanted.after, Some(Age { second: 17, place: u64::MAX - 1 }));
        assert_eq!(
            (wanted.limit, &*wanted.name),
            (Some(7), "a b \u{e9}".as_bytes().iter().chain(&[0xff]).copied().collect::<Vec<_>>().as_slice())
        );
        let age = Age { second: 3, place: 1 << 40 };
        assert_eq!(parse(&format!("after={}", cursor(&age))).unwrap().after, Some(age));
        assert!(parse("").unwrap().after.is_none() && parse("after=&name=").unwrap().name.is_empty());
        let long = format!("name={}", "x".repeat(WAITING_NAME_BYTES_MAX + 1));
        for bad in [
            "after=1",
            "after=1.-1",
            "after=x.y",
            "limit=0",
            "limit=201",
            "limit=",
            "limit=-1",
            "name=%4",
            "name=%zz",
            &long,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
