//! The source tree as text: its files, and the part of each file that is compiled into the program.

use std::path::{Path, PathBuf};

pub(super) struct Source {
    /// Relative to the repository.
    pub(super) path: String,
    pub(super) text: String,
}

pub(super) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `top` (relative to the repository) with one of these extensions, in order.
pub(super) fn sources(top: &str, extensions: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&repository().join(top), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted)));
    paths.sort();
    let read = |path: &PathBuf| Source {
        path: path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(read).collect()
}

fn walk(dir: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "corpus" && !name.starts_with('.') {
            walk(&path, paths);
        } else if path.is_file() {
            paths.push(path);
        }
    }
}

pub(super) fn src() -> Vec<Source> {
    let found = sources("src", &["rs"]);
    assert!(found.len() > 20, "the source tree was not found");
    found
}

/// True for files that contain only tests: `mod tests;` and the files below it.
pub(super) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// (line number, line) of the code that is compiled into the program: without `#[cfg(test)]` items and comments.
pub(super) fn program_lines(source: &Source) -> Vec<(usize, &str)> {
    if is_test_file(&source.path) {
        return Vec::new();
    }
    let mut kept = Vec::new();
    let mut lines = source.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            // Skip to the item's end: its closing brace or, without a body, its semicolon.
            let mut is_first = true;
            for (_, line) in lines.by_ref() {
                let ends_here = if is_first { line.ends_with(';') || line.ends_with('}') } else { line == end };
                is_first &= line.trim_start().starts_with("#[");
                if ends_here {
                    break;
                }
            }
            continue;
        }
        let code = without_comment(line);
        if !code.trim().is_empty() {
            kept.push((number, code));
        }
    }
    kept
}

/// The line up to `//` outside of a string.
pub(super) fn without_comment(line: &str) -> &str {
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'\\' if in_string => escaped = !escaped,
            b'"' if !escaped => in_string = !in_string,
            b'/' if !in_string && line[at..].starts_with("//") => return &line[..at],
            _ => escaped = false,
        }
        if byte != b'\\' {
            escaped = false;
        }
    }
    line
}

pub(super) fn is_word(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn has_word(line: &str, word: &str) -> bool {
    let bytes = line.as_bytes();
    line.match_indices(word).any(|(at, _)| {
        !is_word(at.checked_sub(1).map(|before| bytes[before])) && !is_word(bytes.get(at + word.len()).copied())
    })
}

/// A function: line, name, lines, parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) lines: usize,
    pub(super) parameters: usize,
}

pub(super) fn functions(source: &Source) -> Vec<Function> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let is_modifier = |word: &str| {
            word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\"", "in", "super)"].contains(&word)
        };
        if code.starts_with("//") || !before.split_whitespace().all(is_modifier) {
            continue;
        }
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let closing = format!("{}}}", indent(line));
        let length = match line.ends_with('}') || line.ends_with(';') {
            true => 1,
            // A declaration of several lines ends with `;` at the same indentation; rustfmt puts `)` first there.
            false => {
                lines[index..].iter().position(|line| *line == closing || is_declaration_end(line, &closing)).unwrap()
                    + 1
            }
        };
        let signature = lines[index..index + length].join("\n");
        found.push(Function { at: index + 1, name, lines: length, parameters: parameters(&signature) });
    }
    found
}

pub(super) fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

fn is_declaration_end(line: &str, closing: &str) -> bool {
    let end = closing.replace('}', ")");
    line.starts_with(&end) && line.ends_with(';')
}

/// Parameters in the first parentheses that are not inside `<...>`.
fn parameters(signature: &str) -> usize {
    let (mut angles, mut depth, mut count, mut is_empty) = (0_i32, 0, 0, true);
    let mut before = ' ';
    for character in signature.chars() {
        match character {
            '<' => angles += 1,
            '>' if before != '-' && before != '=' => angles -= 1,
            '(' | '[' | '{' if depth > 0 || angles == 0 => depth += 1,
            ')' | ']' | '}' if depth == 1 => return count + usize::from(!is_empty),
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ',' if depth == 1 && angles == 0 => {
                count += 1;
                is_empty = true;
            }
            _ if depth == 1 && !character.is_whitespace() => is_empty = false,
            _ => {}
        }
        if depth > 1 {
            is_empty = false;
        }
        before = character;
    }
    count
}
