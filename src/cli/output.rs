//! Results on standard output, with paths as text that cannot break a line.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use crate::log::{escaped, is_dangerous, json};
use crate::pipeline::manifest::json_path;

/// JSON on one line. For each path that is not UTF-8, it also has the exact bytes: `paths` are the object's paths with
/// their keys.
pub(super) fn json_line(mut object: Value, paths: &[(&str, &Path)]) -> String {
    add_exact(&mut object, paths);
    json::text(&object)
}

/// Adds the exact bytes of paths that are not UTF-8.
pub(super) fn add_exact(object: &mut Value, paths: &[(&str, &Path)]) {
    for (key, path) in paths {
        if let (Some(exact), Some(object)) = (json_path(path).1, object.as_object_mut()) {
            object.insert(format!("{key}_base64"), exact.into());
        }
    }
}

/// Prints lines. It is not an error if the reader has gone away (`| head`).
pub(super) fn print_lines(lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    heard(lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush()))
}

/// Prints text as it is.
pub(super) fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    heard(out.write_all(text).and_then(|()| out.flush()))
}

fn heard(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Names come from upstreams, and are printed on terminals.
pub(super) fn plain(text: &str) -> String {
    if text.chars().any(is_dangerous) { escaped(text) } else { text.to_owned() }
}
