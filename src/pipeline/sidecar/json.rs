//! Finds sums in a sidecar that is JSON or JSON Lines.
//!
//! Invariant: the recursion is no deeper than the parser's limit.

use serde_json::{Map, Value};

use super::tokens::tokens;
use super::unit::{Names, Naming, Unit, unit};

/// Keys whose values are names.
const NAME_KEYS: [&str; 6] = ["name", "file", "filename", "file_name", "path", "key"];

/// Parts of keys whose values are sums; beside them, other hexadecimal values (a commit, a job) are not sums.
const SUM_KEYS: [&str; 9] = ["md5", "sha", "checksum", "hash", "digest", "sum", "etag", "content", "crc"];

/// The sums in the text, object by object. None if it is neither a JSON object or array nor a sequence of them.
pub(super) fn units(text: &[u8], names: &Names) -> Option<Vec<Unit>> {
    if !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return None;
    }
    let values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let values = values.collect::<Result<Vec<_>, _>>().ok()?;
    let mut found = Vec::new();
    values.iter().for_each(|value| walk(value, Naming::None, names, &mut found));
    Some(found)
}

fn walk(value: &Value, around: Naming, names: &Names, found: &mut Vec<Unit>) {
    match value {
        Value::Object(object) => walk_object(object, around, names, found),
        Value::Array(values) => values.iter().for_each(|value| walk(value, around, names, found)),
        Value::String(text) => {
            let unit = unit(text.as_bytes(), names);
            found.push(Unit { naming: unit.naming.max(around), ..unit });
        }
        _ => {}
    }
}

/// An object's file is named in its own strings, or in those of nested objects without sums. Objects below inherit the
/// naming.
fn walk_object(object: &Map<String, Value>, around: Naming, names: &Names, found: &mut Vec<Unit>) {
    let own = strings(object);
    let beside = object.values().filter_map(Value::as_object).map(strings);
    let beside = beside.filter(|strings| strings.iter().all(|(_, text)| tokens(text.as_bytes()).is_empty()));
    let about = || own.iter().copied().chain(beside.clone().flatten());
    let is_named = about().any(|(_, text)| !names.places(text.as_bytes()).is_empty());
    let is_others = about().any(|(key, _)| NAME_KEYS.contains(&&*key.to_ascii_lowercase()));
    let naming = match around {
        _ if is_named => Naming::Beside,
        _ if is_others => Naming::None,
        around => around,
    };
    let (mut labelled, mut others) = (Vec::new(), Vec::new());
    for (key, value) in object {
        if names.is(key.as_bytes()) {
            walk(value, Naming::Exact, names, found);
            continue;
        }
        let in_key = unit(key.as_bytes(), names).sums;
        match value {
            // {"SUM": "NAME"}
            Value::String(text) if !in_key.is_empty() && tokens(text.as_bytes()).is_empty() => {
                let naming = if names.is(text.as_bytes()) { Naming::Exact } else { Naming::None };
                found.push(Unit { naming, sums: in_key });
            }
            Value::String(text) => {
                let sums = unit(text.as_bytes(), names).sums.into_iter().map(|token| token.labelled(key.as_bytes()));
                let is_sum = SUM_KEYS.iter().any(|sum| key.to_ascii_lowercase().contains(sum));
                let into = if is_sum { &mut labelled } else { &mut others };
                into.extend(in_key.into_iter().chain(sums));
            }
            value => {
                others.extend(in_key);
                walk(value, naming, names, found);
            }
        }
    }
    found.push(Unit { naming, sums: if labelled.is_empty() { others } else { labelled } });
}

fn strings(object: &Map<String, Value>) -> Vec<(&str, &str)> {
    object.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}
