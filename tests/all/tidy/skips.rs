//! A test that does not run says so, and fails in CI: there is one way to skip a test, and it is not silent.

use std::collections::BTreeSet;

use super::assert_none;
use super::source::{self, Source, functions, sources, without_comment};

/// The file with the only way to skip.
const HELPER: &str = "tests/common/skip.rs";

/// Texts that only the helper may contain, concatenated so that this file does not contain them: `(needle, what it does)`.
const ITS_OWN: [(&str, &str); 3] = [
    (concat!("SKIPPED", ":"), "says that something is skipped"),
    (concat!("\"C", "I\""), "checks for CI"),
    (concat!("command ", "-v"), "looks for a program"),
];

fn tests() -> Vec<Source> {
    let mut found = sources("tests", &["rs"]);
    assert!(found.len() > 50, "the tests were not found");
    found.retain(|source| source.path != HELPER);
    found
}

/// A function of a test file.
struct Function<'a> {
    name: String,
    /// Its first line.
    number: usize,
    lines: Vec<&'a str>,
    is_test: bool,
}

fn functions_of(source: &Source) -> Vec<Function<'_>> {
    let lines: Vec<&str> = source.text.lines().collect();
    let found = functions(source).into_iter().map(|source::Function { at: number, name, lines: length, .. }| {
        let attributes = lines[..number - 1].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        let is_test = attributes.clone().any(|line| line.trim() == "#[test]");
        let lines = lines[number - 1..number - 1 + length].iter().map(|line| without_comment(line)).collect();
        Function { name, number, lines, is_test }
    });
    found.collect()
}

fn calls(text: &str, name: &str) -> bool {
    text.match_indices(&format!("{name}(")).any(|(at, _)| {
        !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') && !text[..at].ends_with("fn ")
    })
}

impl Function<'_> {
    /// True if its result can say whether something is available here.
    fn is_asked(&self) -> bool {
        let signature = self.lines.iter().take_while(|line| !line.ends_with('{')).chain(self.lines.first());
        let signature: String = signature.copied().collect();
        signature.contains("-> bool") || signature.contains("-> Option<")
    }

    /// Each `return` of a test, not of a closure in it, with the statement around it: (line number, statement).
    fn quiet_ends(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            if !line.contains("return;") && !line.contains("{ return }") {
                continue;
            }
            let indent = |line: &str| line.len() - line.trim_start().len();
            let mut outer = vec![index];
            for above in (0..index).rev() {
                let text = self.lines[above];
                if !text.trim().is_empty() && indent(text) < indent(self.lines[outer[outer.len() - 1]]) {
                    outer.push(above);
                }
            }
            if outer.iter().any(|above| self.lines[*above].trim_end().ends_with("| {")) {
                continue;
            }
            let from = if line.contains("{ return }") { index } else { outer[1] };
            found.push((self.number + index, self.lines[from..=index].join("\n")));
        }
        found
    }

    /// True if it tries again and again until it hits the right moment, and fails if it never does.
    fn tries_until_caught(&self) -> bool {
        self.lines.iter().rev().nth(1).is_some_and(|last| last.trim_start().starts_with("panic!("))
    }
}

/// The functions that use the helper to report that something is not available here. None called `new`: then every `new`
/// would look like it.
fn gates(all: &[Function<'_>]) -> BTreeSet<String> {
    let mut gates: BTreeSet<String> = ["skip", "has", "is_root"].map(str::to_owned).into();
    loop {
        let asks = |function: &&Function<'_>| {
            let text = function.lines.join("\n");
            function.is_asked() && function.name != "new" && gates.iter().any(|gate| calls(&text, gate))
        };
        let more: BTreeSet<String> = all.iter().filter(asks).map(|function| function.name.clone()).collect();
        if more.is_subset(&gates) {
            return gates;
        }
        gates.extend(more);
    }
}

/// Why: a test that finds no `strace` and returns looks as if it had passed, even in CI.
#[test]
fn no_test_is_left_out_without_a_word() {
    let sources = tests();
    let all: Vec<(&Source, Function<'_>)> = sources
        .iter()
        .flat_map(|source| functions_of(source).into_iter().map(move |function| (source, function)))
        .collect();
    let gates = {
        let functions: Vec<Function<'_>> = sources.iter().flat_map(functions_of).collect();
        gates(&functions)
    };
    let mut violations = Vec::new();
    let mut ends = 0;
    for (source, function) in &all {
        if function.is_test && !function.tries_until_caught() {
            for (number, statement) in function.quiet_ends() {
                ends += 1;
                if !gates.iter().any(|gate| calls(&statement, gate)) {
                    violations.push(format!("{}:{number}: {} ends early", source.path, function.name));
                }
            }
        }
        if gates.contains(&function.name) {
            let quiet = function.lines.iter().filter(|line| line.contains(".ok()?"));
            violations.extend(quiet.map(|line| format!("{}: {}: {}", source.path, function.name, line.trim())));
        }
    }
    assert!(ends > 40, "only {ends} early ends were found: the search is broken");
    assert_none("tests are skipped silently", &violations);
}

/// Why: a test that prints SKIPPED by itself does not fail in CI.
#[test]
fn only_the_helpers_skip() {
    let mut violations = Vec::new();
    for source in tests() {
        for (index, line) in source.text.lines().enumerate() {
            for (_, what) in ITS_OWN.iter().filter(|(needle, _)| line.contains(needle)) {
                violations.push(format!("{}:{}: it {what}", source.path, index + 1));
            }
        }
    }
    let mut scripts = 0;
    for entry in std::fs::read_dir(super::repository().join("scripts")).unwrap() {
        let path = entry.unwrap().path();
        scripts += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        if !path.ends_with("lib.sh") && lines.into_iter().any(|line| line.contains(ITS_OWN[0].0)) {
            violations.push(format!("{}: it says that something is skipped", path.display()));
        }
    }
    assert!(scripts > 10, "the scripts were not found");
    assert_none("skipped without the helper", &violations);
}

/// Why: as for all rules, the search is shown text that it must find and text that it must not.
#[test]
fn the_rule_sees_early_ends() {
    let text = "fn can() -> bool {\n    has(\"x\")\n}\n#[test]\nfn good() {\n    if !can() {\n        END;\n    }\n    \
                let Some(a) = b(can(), 1) else { END };\n    f(|x| {\n        END;\n    });\n}\n#[test]\nfn bad() {\n    \
                if found {\n        END;\n    }\n}\nfn new() -> bool {\n    has(\"x\")\n}\n";
    let source = Source { path: "tests/x.rs".to_owned(), text: text.replace("END", "return") };
    let all = functions_of(&source);
    let gates = gates(&all);
    assert!(gates.contains("can") && !gates.contains("new"), "{gates:?}");
    let early = |name: &str| {
        let function = all.iter().find(|function| function.name == name).unwrap();
        assert!(function.is_test);
        let ends = function.quiet_ends();
        ends.iter().map(|(_, text)| gates.iter().any(|gate| calls(text, gate))).collect::<Vec<_>>()
    };
    assert_eq!((early("good"), early("bad")), (vec![true, true], vec![false]));
}
