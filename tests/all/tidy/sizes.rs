//! Limits for the sizes of files, functions and types.
//!
//! The checks rely on rustfmt: an item ends at the closing brace with the indentation of its first line.

use std::collections::HashMap;

use super::assert_none;
use super::source::{Function, Source, functions, indent, sources};

/// Lines of a file.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, signature and closing brace included: a screen.
const FUNCTION_LINES_MAX: usize = 60;
/// Parameters of a function, `self` included.
const PARAMETERS_MAX: usize = 6;
/// Fields of a struct, or of a variant of an enum.
const FIELDS_MAX: usize = 15;
/// Consecutive lines that may occur twice in src.
const RUN_LINES_MAX: usize = 12;

/// All Rust files of the repository.
fn all() -> Vec<Source> {
    let files: Vec<Source> = ["src", "tests", "benches", "fuzz"].iter().flat_map(|top| sources(top, &["rs"])).collect();
    assert!(files.len() > 200, "the source tree was not found");
    files
}

/// The types of a file with named fields: line, name, fields. A variant of an enum counts as a type.
fn types(source: &Source) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.ends_with('{')) {
        let field = |line: &str| {
            let line =
                line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or(rest, |(_, rest)| rest));
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            !name.is_empty() && line[name.len()..].starts_with(": ") && line.ends_with(',')
        };
        let code = line.trim_start();
        let name: Option<&str> = code.split_whitespace().skip_while(|word| *word != "struct").nth(1);
        let is_variant = code.chars().next().is_some_and(char::is_uppercase) && code.split_whitespace().count() == 2;
        let Some(name) = name.or_else(|| is_variant.then(|| code.split(' ').next().unwrap_or_default())) else {
            continue;
        };
        let (closing, inner) = (format!("{}}}", indent(line)), format!("{}    ", indent(line)));
        let body = lines[index + 1..].iter().take_while(|line| !line.starts_with(&closing));
        let fields = body.filter_map(|line| line.strip_prefix(&inner)).filter(|line| field(line)).count();
        found.push((index + 1, name.to_owned(), fields));
    }
    found
}

/// Why: a file that needs scrolling for a minute holds more than one thing.
#[test]
fn files_are_short() {
    let files = all();
    let long = files.iter().map(|source| (source, source.text.lines().count()));
    let long = long.filter(|(_, lines)| *lines > FILE_LINES_MAX);
    let violations: Vec<_> = long.map(|(source, lines)| format!("{}: {lines} lines", source.path)).collect();
    assert_none("files are too long", &violations);
}

/// Why: a function that does not fit on a screen cannot be checked at a glance, and recovery code must be; calls with seven
/// arguments get two of them exchanged.
#[test]
fn functions_fit_a_screen_and_take_few_parameters() {
    let (mut long, mut wide, mut count) = (Vec::new(), Vec::new(), 0);
    for source in &all() {
        for Function { at, name, lines, parameters } in functions(source) {
            count += 1;
            let place = format!("{}:{at}: {name} has", source.path);
            long.extend((lines > FUNCTION_LINES_MAX).then(|| format!("{place} {lines} lines")));
            wide.extend((parameters > PARAMETERS_MAX).then(|| format!("{place} {parameters} parameters")));
        }
    }
    assert!(count > 2_000, "only {count} functions were found: the counting is broken");
    assert_none("functions are too long", &long);
    assert_none("functions take too much", &wide);
}

/// Why: a type of twenty fields holds several things, and no method needs more than one of them.
#[test]
fn types_hold_one_thing() {
    let (mut violations, mut count) = (Vec::new(), 0);
    for source in &all() {
        let found = types(source);
        count += found.len();
        let large = found.into_iter().filter(|(_, _, fields)| *fields > FIELDS_MAX);
        violations.extend(large.map(|(at, name, fields)| format!("{}:{at}: {name} has {fields} fields", source.path)));
    }
    assert!(count > 300, "only {count} types were found: the counting is broken");
    assert_none("types hold too much", &violations);
}

/// The lines of code of a file, without comments, blank lines and indentation: number, text.
fn code(source: &Source) -> Vec<(usize, &str)> {
    let lines = source.text.lines().map(str::trim).enumerate();
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with("//")).map(|(at, line)| (at + 1, line)).collect()
}

/// Runs of `run` lines that occur at two places: the second place, and the first.
fn repeated(files: &[Source], run: usize) -> Vec<String> {
    let mut seen: HashMap<Vec<&str>, String> = HashMap::new();
    let mut found: Vec<String> = Vec::new();
    for source in files {
        let lines = code(source);
        for window in lines.windows(run) {
            let (place, text) =
                (format!("{}:{}", source.path, window[0].0), window.iter().map(|(_, line)| *line).collect());
            if let Some(first) = seen.get(&text) {
                found.push(format!("{place} is {first}"));
            } else {
                seen.insert(text, place);
            }
        }
    }
    found
}

/// Why: code that exists twice gets fixed once.
#[test]
fn nothing_stands_twice() {
    assert_none("runs of lines occur twice", &repeated(&sources("src", &["rs"]), RUN_LINES_MAX + 1));
}

/// Why: a rule whose search finds nothing never fails.
#[test]
fn the_counting_sees_what_it_should() {
    let text = "fn f() {\n    x.unwrap();\n}\nfn g<T: Fn(u8, u8) -> u8>(\n    &self,\n    (a, b): (u8, u8),\n    c: HashMap<u8, u8>,\n) {\n}\n\
                struct S {\n    pub a: u8,\n    pub(super) b: u8,\n    /// x\n    c: u8,\n}\nenum E {\n    V {\n        d: u8,\n    },\n}\n\
                fn h(a: u8);\nfn i() {}\n";
    let source = Source { path: "src/x.rs".to_owned(), text: text.to_owned() };
    let told = |found: &Function| (found.name.clone(), found.lines, found.parameters);
    let expected = [("f", 3, 0), ("g", 6, 3), ("h", 1, 1), ("i", 1, 0)].map(|(name, a, b)| (name.to_owned(), a, b));
    assert_eq!(functions(&source).iter().map(told).collect::<Vec<_>>(), expected);
    let fields: Vec<(String, usize)> = types(&source).into_iter().map(|(_, name, fields)| (name, fields)).collect();
    assert_eq!(fields, [("S".to_owned(), 3), ("V".to_owned(), 1)]);
    let twice = |text: &str| Source { path: "src/y.rs".to_owned(), text: text.to_owned() };
    assert_eq!(repeated(&[twice("a\nb\nc\n"), twice("x\n// a\nb\n\nc\n")], 2).len(), 1);
}
