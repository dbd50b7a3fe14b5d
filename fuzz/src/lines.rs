//! A second reader of manifests, written only from docs/manifest-format.md: the whole file in memory, a line's values
//! taken from an untyped JSON document, base64 and dates decoded by hand. And lines for both readers, made value by
//! value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The keys of a line that readers use; others are accepted with any value.
const KEYS: [&str; 15] = [
    "path",
    "path_base64",
    "subdir",
    "sha256",
    "device",
    "inode",
    "size",
    "mtime",
    "warehouse_path",
    "warehouse_path_base64",
    "ingest_id",
    "ingested_at",
    "journal",
    "name",
    "name_base64",
];
/// The longest path.
const PATH_BYTES_MAX: usize = 4096;
const BASE64_DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The values of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub path: Vec<u8>,
    pub name: Option<Vec<u8>>,
    pub sha256: String,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mtime: i64,
    pub warehouse_path: Vec<u8>,
    pub ingest_id: u64,
    /// Hex digits; older lines have none.
    pub journal: Option<String>,
    /// None for an instant in a form that no ingestor writes: it may be accepted or refused.
    pub ingested_at: Option<u64>,
}

/// An object's members with these keys, in their order; repeated ones are repeated.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if KEYS.contains(&key.as_str()) {
                        members.push((key, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Members {
    /// The value of a key.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let text = self.get(key)?.as_str()?;
        Some(match self.get(&format!("{key}_base64")) {
            None | Some(Value::Null) => text.as_bytes().to_vec(),
            Some(exact) => base64(exact.as_str()?.as_bytes())?,
        })
    }

    fn path(&self, key: &str) -> Option<Vec<u8>> {
        self.bytes(key).filter(|path| is_path(path))
    }

    /// A name is the end of the path, after a slash. The outer None: it is not valid; the inner None: there is none.
    fn name(&self, path: &[u8]) -> Option<Option<Vec<u8>>> {
        if matches!(self.get("name"), None | Some(Value::Null)) {
            let is_text = |exact: &Value| exact.is_string() || exact.is_null();
            return self.get("name_base64").is_none_or(is_text).then_some(None);
        }
        let name = self.bytes("name")?;
        let above = path.strip_suffix(&name[..])?;
        (!name.is_empty() && above.ends_with(b"/")).then_some(Some(name))
    }
}

/// Absolute, with a name at its end, and not too long.
fn is_path(path: &[u8]) -> bool {
    let last = path.split(|byte| *byte == b'/').rfind(|name| !name.is_empty() && *name != b".");
    path.starts_with(b"/") && path.len() <= PATH_BYTES_MAX && last.is_some_and(|name| name != b"..")
}

/// Decodes base64 with padding; every byte sequence has exactly one encoding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bits = Vec::new();
    for digit in digits {
        let value = BASE64_DIGITS.iter().position(|known| known == digit)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let (bytes, rest) = bits.split_at(bits.len() / 8 * 8);
    let is_whole = text.len().is_multiple_of(4) && rest.len() < 6 && rest.iter().all(|bit| *bit == 0);
    let byte = |bits: &[usize]| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8);
    is_whole.then(|| bytes.chunks(8).map(byte).collect())
}

/// An instant as an ingestor writes it, in milliseconds since the epoch. The outer None: it is not valid; the inner
/// None: it is written in another form.
fn instant(text: &str) -> Option<Option<u64>> {
    let is_like = |pattern: &str| {
        let fits = |(byte, like): (u8, u8)| if like == b'd' { byte.is_ascii_digit() } else { byte == like };
        text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
    };
    if !is_like("dddd-dd-ddTdd:dd:dd.dddZ") {
        return Some(None);
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, milli) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of = |month: u64| match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(is_leap(year)),
        _ => 31,
    };
    if year < 1970 || !(1..=12).contains(&month) || !(1..=days_of(month)).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    if second > 59 {
        // A leap second is not an error.
        return (second == 60).then_some(None);
    }
    let days = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum::<u64>();
    let days = days + (1..month).map(days_of).sum::<u64>() + day - 1;
    Some(Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli))
}

/// The values of a line; None if it is not a line of an ingestor.
pub fn read(line: &[u8]) -> Option<Said> {
    let members: Members = serde_json::from_slice(line).ok().filter(|_| !line.contains(&0))?;
    let is_repeated = |key: &&str| members.0.iter().filter(|(name, _)| name == key).count() > 1;
    if KEYS.iter().any(|key| is_repeated(key)) {
        return None;
    }
    let number = |key: &str| members.get(key)?.as_u64();
    let journal = match members.get("journal") {
        None | Some(Value::Null) => None,
        Some(id) => {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            Some(id.as_str().filter(|id| id.len() == 32 && id.bytes().all(is_digit))?.to_owned())
        }
    };
    if !matches!(members.get("subdir"), None | Some(Value::Null | Value::String(_))) {
        return None;
    }
    let sha256 = members.get("sha256")?.as_str()?;
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = members.path("path")?;
    Some(Said {
        name: members.name(&path)?,
        path,
        sha256: is_digest.then(|| sha256.to_ascii_lowercase())?,
        device: number("device")?,
        inode: number("inode")?,
        size: number("size")?,
        mtime: members.get("mtime")?.as_i64()?,
        warehouse_path: members.path("warehouse_path")?,
        ingest_id: number("ingest_id")?,
        journal,
        ingested_at: instant(members.get("ingested_at")?.as_str()?)?,
    })
}

/// A manifest's lines, each with its offset; the last one may be incomplete.
pub fn split(content: &[u8]) -> Vec<(u64, &[u8], bool)> {
    let mut begin = 0;
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let line = lines.map(|line| {
        let at = begin;
        begin += line.len() as u64;
        match line.strip_suffix(b"\n") {
            Some(line) => (at, line, true),
            None => (at, line, false),
        }
    });
    line.collect()
}

/// A line made member by member: starting from a valid line, some members are replaced, left out, repeated or added. A
/// step has a byte for the key, one for the kind of value, one for the change, one for the length of the bytes that
/// follow for the value.
pub fn made(mut steps: &[u8]) -> Vec<u8> {
    let right = [
        ("path", "\"/in/a.csv\"".to_owned()),
        ("sha256", format!("\"{}\"", "0aF9".repeat(16))),
        ("device", "1".to_owned()),
        ("inode", "2".to_owned()),
        ("size", "3".to_owned()),
        ("mtime", "-4".to_owned()),
        ("warehouse_path", "\"/wh/ingest_date=2026-01-02/a.csv\"".to_owned()),
        ("ingest_id", "5".to_owned()),
        ("journal", format!("\"{}\"", "0af9".repeat(8))),
        ("ingested_at", "\"2026-01-02T03:04:05.678Z\"".to_owned()),
    ];
    let mut members: Vec<(String, Vec<u8>)> =
        right.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect();
    while let Some(([key, kind, how, length], rest)) = steps.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        steps = rest;
        let key = KEYS.get(usize::from(*key) % (KEYS.len() + 1)).copied().unwrap_or("another");
        let value = value(*kind, payload);
        let at = members.iter().position(|(name, _)| name == key);
        match (how % 4, at) {
            (0, Some(at)) => drop(members.remove(at)),
            (1, Some(at)) => members.insert(at, (key.to_owned(), value)),
            (_, Some(at)) => members[at].1 = value,
            (_, None) => members.push((key.to_owned(), value)),
        }
    }
    let members: Vec<Vec<u8>> =
        members.iter().map(|(key, value)| [format!("\"{key}\":").as_bytes(), value].concat()).collect();
    [b"{", members.join(&b',').as_slice(), b"}"].concat()
}

fn value(kind: u8, payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    let number = payload.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let value = match kind % 8 {
        0 => return payload.to_vec(),
        1 => Value::from(text),
        2 => Value::from(format!("/{text}")),
        3 => number.into(),
        4 => (number as i64).into(),
        5 => Value::from(encoded(&[b"/", payload].concat())),
        6 => {
            let [month, day, hour] = [8, 16, 24].map(|bits| number >> bits & 0x1f);
            let (year, milli) = (1960 + (number >> 32 & 0xff), number & 0xff);
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:04:05.{milli:03}Z").into()
        }
        _ => Value::Null,
    };
    value.to_string().into_bytes()
}

/// Base64 with padding.
fn encoded(bytes: &[u8]) -> String {
    let digit = |bits: u32| char::from(BASE64_DIGITS[bits as usize & 63]);
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digits = [18, 12, 6, 0].map(|shift| digit(bits >> shift));
        text.extend(&digits[..=three.len()]);
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}
