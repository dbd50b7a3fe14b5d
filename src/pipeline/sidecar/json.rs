//! Sums in a sidecar that is JSON, or JSON Lines.
//!
//! Invariant: as deep as the parser goes, and no deeper.

use serde_json::{Map, Value};

use super::{Names, Naming, Unit, unit};

/// Keys under which names stand.
const NAME_KEYS: [&str; 6] = ["name", "file", "filename", "file_name", "path", "key"];

/// The sums in it, object by object. None if it is no JSON object or array, nor a sequence of such.
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

/// What an object says of its file is in its own strings, and in what lies below them.
fn walk_object(object: &Map<String, Value>, around: Naming, names: &Names, found: &mut Vec<Unit>) {
    let strings = || object.iter().filter_map(|(key, value)| Some((key, value.as_str()?)));
    let is_named = strings().any(|(_, text)| !names.places(text.as_bytes()).is_empty());
    let is_others = strings().any(|(key, _)| NAME_KEYS.contains(&&*key.to_ascii_lowercase()));
    let naming = match around {
        _ if is_named => Naming::Beside,
        _ if is_others => Naming::None,
        around => around,
    };
    let mut own = Unit { naming, sums: Vec::new() };
    for (key, value) in object {
        if names.is(key.as_bytes()) {
            walk(value, Naming::Exact, names, found);
            continue;
        }
        own.sums.extend(unit(key.as_bytes(), names).sums);
        match value {
            Value::String(text) => own.sums.extend(unit(text.as_bytes(), names).sums),
            value => walk(value, naming, names, found),
        }
    }
    found.push(own);
}
