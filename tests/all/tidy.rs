//! Style rules as tests of the source tree: a rule that matters and that a program can check is a test, not prose.
//!
//! A rule that has to be broken gets an exception here with a comment; the rule itself is never weakened.

mod graph;
mod sizes;
mod skips;
mod source;

use source::{Source, has_word, is_word, program_lines, repository, sources, src};

/// From the top down; a module may import from its own layer and the layers below.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["explain"],
    &["daemon", "dry_run", "rebuild"],
    &["engine", "audit"],
    &["page"],
    &["control", "forget", "relocate"],
    // Every command's error includes those of the modules below; the modules above call it `crate::Error`.
    &["error"],
    // The settings use the types of the pipeline and the journal.
    &["config"],
    &["follow"],
    &["pipeline"],
    // The pipeline counts and logs through it; it uses the journal's records.
    &["metrics"],
    &["journal"],
    // Its format and its protocol need no file system, and nothing of this program but small values.
    &["lake"],
    // The simulator of stores draws as that of disks does.
    &["store"],
    &["fs"],
    &["log"],
    &["glob"],
    &["limits"],
    // Code that makes a slow call reports that there.
    &["heartbeat"],
    &["types"],
];

/// (importing module, imported module): imports that point up, with the reason.
const IMPORTS_THAT_POINT_UP: &[(&str, &str)] = &[];

/// Calls that access files. Only `src/fs/` may make them.
const FILE_CALLS: &[&str] = &[
    "std::fs",
    "rustix::fs",
    "fs2::",
    "File::open",
    "File::create",
    "OpenOptions",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".is_symlink()",
    ".canonicalize(",
    ".metadata(",
    ".symlink_metadata(",
    ".read_dir(",
    ".read_link(",
];

/// (file, needle): text that looks like a file call but is not one.
const NO_FILE_CALLS: &[(&str, &str)] = &[
    // The metadata of a tracing event.
    ("src/log.rs", ".metadata("),
    ("src/log/line.rs", ".metadata("),
];

#[track_caller]
fn assert_none(what: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{what}:\n  {}", violations.join("\n  "));
}

/// Why: the simulator cannot crash code that bypasses the file-system trait, so nothing about it is tested.
#[test]
fn only_src_fs_touches_files() {
    let mut violations = Vec::new();
    for source in src().iter().filter(|source| !source.path.starts_with("src/fs/")) {
        for (number, line) in program_lines(source) {
            for needle in FILE_CALLS.iter().filter(|needle| line.contains(**needle)) {
                if !NO_FILE_CALLS.contains(&(source.path.as_str(), needle)) {
                    violations.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none("files are accessed outside of src/fs/", &violations);
}

/// Why: one small file of unsafe code can be reviewed; unsafe code in many places cannot.
#[test]
fn only_the_leases_are_unsafe() {
    let mut violations = Vec::new();
    for source in src().iter().filter(|source| source.path != "src/fs/lease.rs") {
        let lines = program_lines(source).into_iter().filter(|(_, line)| {
            has_word(line, "unsafe") || line.contains("allow(unsafe_code)") || line.contains("allow(unsafe")
        });
        violations.extend(lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
    }
    assert_none("unsafe outside of src/fs/lease.rs", &violations);
}

/// Why: a panic in the middle of a batch does not help the operator; an error says what failed, where, and what to do.
#[test]
fn the_program_does_not_panic_on_purpose() {
    let needles = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "dbg!("];
    let mut violations = Vec::new();
    for source in &src() {
        let lines = program_lines(source).into_iter().filter(|(_, line)| needles.iter().any(|it| line.contains(it)));
        violations.extend(lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
    }
    assert_none("panics outside of #[cfg(test)]", &violations);
}

/// Why: a reader of a file should first learn its purpose and its invariants.
#[test]
fn every_module_opens_with_what_it_is_for() {
    let files = src();
    let bare = files.iter().filter(|source| !source.text.starts_with("//!"));
    let violations: Vec<_> = bare.map(|source| source.path.clone()).collect();
    assert_none("modules do not open with //!", &violations);
}

/// The modules of the crate that a file imports: (line, module).
fn imports(source: &Source) -> Vec<(usize, String)> {
    let lines = program_lines(source);
    let mut found = Vec::new();
    let mut offsets = Vec::new();
    let mut text = String::new();
    for (number, line) in lines {
        offsets.push((text.len(), number));
        text.push_str(line);
        text.push('\n');
    }
    let number_at = |at: usize| offsets[offsets.partition_point(|(start, _)| *start <= at) - 1].1;
    for (at, prefix) in text.match_indices("crate::") {
        if is_word(at.checked_sub(1).map(|before| text.as_bytes()[before])) {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        let group = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![first_name(rest)],
        };
        found.extend(group.into_iter().map(|name| (number_at(at), name)));
    }
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each item in `a::b, c::{d, e}, f}`.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_name(&std::mem::take(&mut item))),
            _ => {}
        }
        if depth == 0 && character != ',' && character != '}' {
            item.push(character);
        }
    }
    names.push(first_name(&item));
    names.retain(|name| !name.is_empty());
    names
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Why: if all imports point down, a newcomer can read the crate from the bottom up, and the journal stays independent of
/// the daemon.
#[test]
fn imports_point_down() {
    let (mut violations, mut used) = (Vec::new(), Vec::new());
    let mut count = 0;
    for source in src().iter().filter(|source| source.path != "src/lib.rs") {
        let module = source.path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        let Some(own) = layer(&module) else {
            violations.push(format!("{}: module {module} has no layer yet", source.path));
            continue;
        };
        for (number, mut imported) in imports(source) {
            count += 1;
            if imported == "Error" {
                "error".clone_into(&mut imported);
            }
            let exception = IMPORTS_THAT_POINT_UP.iter().find(|pair| **pair == (module.as_str(), imported.as_str()));
            match layer(&imported) {
                _ if exception.is_some() => used.push(exception),
                Some(layer) if imported == module || layer > own => {}
                Some(_) => violations.push(format!("{}:{number}: {module} imports {imported}", source.path)),
                None => violations.push(format!("{}:{number}: {imported} has no layer yet", source.path)),
            }
        }
    }
    assert!(count > 80, "only {count} imports were found: the search is broken");
    let stale = IMPORTS_THAT_POINT_UP.iter().filter(|pair| !used.contains(&Some(*pair)));
    violations.extend(stale.map(|pair| format!("{pair:?}: the exception is no longer needed")));
    assert_none("imports that do not point down", &violations);
}

/// Why: a path of one developer's machine is valid nowhere else, and tests must not depend on a network.
#[test]
fn nothing_names_a_developers_machine_or_a_package_registry() {
    // Concatenated, so that this file does not contain them.
    let forbidden = [
        concat!("/", "work/"),
        concat!("crates", ".io"),
        concat!("registry.", "npmjs"),
        concat!("py", "pi.org"),
        concat!("proxy.", "golang"),
        concat!("/home/", "user"),
    ];
    let mut violations = Vec::new();
    for source in sources("", &["rs", "md", "sh", "py"]) {
        for (index, line) in source.text.lines().enumerate() {
            for found in forbidden.iter().filter(|needle| line.contains(**needle)) {
                violations.push(format!("{}:{}: {found}", source.path, index + 1));
            }
        }
    }
    assert_none("names of machines", &violations);
}

/// Why: the table says where a new test belongs; if a topic is missing there, its tests end up anywhere.
#[test]
fn each_topic_is_in_the_table_of_tests() {
    let text = std::fs::read_to_string(repository().join("tests/all/main.rs")).unwrap();
    let modules = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let missing: Vec<String> =
        modules.filter(|module| !text.contains(&format!("`{module}`"))).map(str::to_owned).collect();
    assert_none("not in the table of tests/all/main.rs", &missing);
}

/// Why: a rule is only as good as its search; here each search is shown text that it must find and text that it must not.
#[test]
fn the_rules_see_what_they_should() {
    let text = "use crate::{a::{b, c}, d};\nfn f() {\n    x.unwrap(); // y\n}\n#[cfg(test)]\nmod tests {\n    z.unwrap();\n}\n\
                fn g(\n    a: u8,\n) {\n    \"http://\";\n}\n#[cfg(test)]\nmod t;\nstruct Last;\n";
    let source = Source { path: "src/x.rs".to_owned(), text: text.to_owned() };
    let lines: Vec<&str> = program_lines(&source).into_iter().map(|(_, line)| line.trim()).collect();
    let expected =
        ["use crate::{a::{b, c}, d};", "fn f() {", "x.unwrap();", "}", "fn g(", "a: u8,", ") {", "\"http://\";", "}"];
    assert_eq!(lines, [expected.as_slice(), &["struct Last;"]].concat());
    let found: Vec<String> = imports(&source).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["a", "d"]);
    assert!(has_word("unsafe {", "unsafe") && !has_word("unsafe_code", "unsafe"));
}
