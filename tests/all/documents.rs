//! The documents: each page exists, each link has a target, and each table exists only once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::harness::{bare, out};

/// The pages in docs/.
const PAGES: [&str; 23] = [
    "audit",
    "benchmarks",
    "completeness",
    "consuming",
    "design",
    "directories",
    "files",
    "groups",
    "how-to-lose-data",
    "install",
    "journal",
    "lake",
    "lake-format",
    "layout",
    "manifest-format",
    "monitoring",
    "object-stores",
    "options",
    "proof",
    "reading",
    "runbook",
    "scripting",
    "sending",
];

/// The documents in the top directory whose links are checked as well.
const AT_THE_TOP: [&str; 4] = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "journal-format.md"];

const README_LINES_MAX: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(&name)).unwrap_or_else(|error| panic!("{}: {error}", name.as_ref().display()))
}

fn page(name: &str) -> PathBuf {
    Path::new("docs").join(format!("{name}.md"))
}

/// All documents, by their paths in the repository.
fn documents() -> BTreeMap<PathBuf, String> {
    let paths = PAGES.iter().map(|name| page(name)).chain(AT_THE_TOP.map(PathBuf::from));
    paths.map(|path| (path.clone(), document(path))).collect()
}

/// The lines of a text that are not in a block of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// Anchors as GitHub makes them: in lower case, without punctuation, blanks as hyphens, and a number if one is repeated.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.strip_prefix(' ')).flatten()
    });
    headings
        .map(|title| {
            let kept = title.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let count = seen.entry(slug.clone()).and_modify(|count| *count += 1).or_insert(0);
            if *count == 0 { slug } else { format!("{slug}-{count}") }
        })
        .collect()
}

/// The targets of links and images that are not code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Code is between the first and the second backtick, and so on.
        assert!(line.matches('`').count() % 2 == 0, "code continues in the next line: {line}");
        let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for link in outside.split("](").skip(1) {
            found.push((number, link.split(')').next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The broken links of a document. `read` returns the text at a path in the repository, and `Some(None)` for a file that is
/// no document.
fn broken(from: &Path, text: &str, read: &dyn Fn(&Path) -> Option<Option<String>>) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, link) in links(text) {
        if link.starts_with("https://") || link.starts_with("http://") {
            continue;
        }
        let (target, anchor) = link.split_once('#').map_or((&*link, None), |(target, anchor)| (target, Some(anchor)));
        let mut path = from.parent().unwrap().to_path_buf();
        for part in Path::new(target).components() {
            match part {
                std::path::Component::ParentDir => assert!(path.pop(), "{}:{number}: {link}", from.display()),
                part => path.push(part),
            }
        }
        let path = if target.is_empty() { from.to_path_buf() } else { path };
        let is_found = match (read(&path), anchor) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(text), Some(anchor)) => text.is_some_and(|text| anchors(&text).contains(anchor)),
        };
        if !is_found {
            broken.push(format!("{}:{number}: {link}", from.display()));
        }
    }
    broken
}

fn in_the_repository(path: &Path) -> Option<Option<String>> {
    let is_document = path.extension().is_some_and(|extension| extension == "md");
    root().join(path).exists().then(|| is_document.then(|| document(path)))
}

/// Why: newcomers, operators and authors of readers must find each topic on one page; and each page must begin with its
/// topic.
#[test]
fn every_page_is_there_and_begins_with_what_it_is_about() {
    let there = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<PathBuf> = there.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    assert_eq!(there, PAGES.iter().map(|name| root().join(page(name))).collect());
    for (path, text) in documents() {
        let path = path.display();
        let (title, rest) = text.split_once('\n').unwrap_or_default();
        assert!(title.starts_with("# ") && title.len() > 4, "{path} begins with {title}");
        let paragraph = rest.strip_prefix('\n').and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        let first = paragraph.chars().next().unwrap_or(' ');
        assert!(first.is_alphabetic() || "`*".contains(first), "{path}: no sentence below the title: {paragraph}");
        assert!(paragraph.len() > 60 && paragraph.contains('.'), "{path}: no sentence: {paragraph}");
        assert_eq!(prose(&text).filter(|(_, line)| line.starts_with("# ")).count(), 1, "{path} has several titles");
    }
}

/// Why: nobody reads a README of a thousand lines, and it tends to grow.
#[test]
fn readme_is_short_and_leads_to_every_page() {
    let readme = document("README.md");
    assert!(readme.lines().count() <= README_LINES_MAX, "README has {} lines", readme.lines().count());
    let linked: BTreeSet<PathBuf> =
        links(&readme).into_iter().map(|(_, link)| PathBuf::from(link.split('#').next().unwrap())).collect();
    for path in PAGES.iter().map(|name| page(name)).chain([PathBuf::from("journal-format.md")]) {
        assert!(linked.contains(&path), "README does not link {}", path.display());
    }
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let all: Vec<_> = documents.iter().flat_map(|(path, text)| broken(path, text, &in_the_repository)).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
    let count: usize = documents.values().map(|text| links(text).len()).sum();
    assert!(count > 150, "only {count} links were found: the search is broken");
}

/// Why: the test above is only as good as its search for broken links.
#[test]
fn the_search_sees_what_it_should() {
    let text = "# A `b` c\n\n## Two: of, it\n```\n# no heading\n[no](link)\n```\n## Two: of, it\n`[no](code)` [x](a.md#y) ![z](b.svg)\n";
    assert_eq!(anchors(text), ["a-b-c", "two-of-it", "two-of-it-1"].map(str::to_owned).into());
    assert_eq!(links(text), [(9, "a.md#y".to_owned()), (9, "b.svg".to_owned())]);
    let read = |path: &Path| match path.to_str().unwrap() {
        "docs/a.md" => Some(Some(text.to_owned())),
        "b.svg" => Some(None),
        _ => None,
    };
    let fine = "[a](a.md) [b](a.md#two-of-it-1) [c](../b.svg) [d](https://example.org/nowhere) [e](#f)\n# F";
    let from = Path::new("docs/c.md");
    let with_itself = |path: &Path| if path == from { Some(Some(fine.to_owned())) } else { read(path) };
    assert_eq!(broken(from, fine, &with_itself), Vec::<String>::new());
    let wrong = "[a](b.md) [b](a.md#no-heading) [c](../b.svg#x) [d](../../docs/a.md#y) [`e`](#g)";
    let wrong = wrong.replace("../../docs/a.md", "../docs/a.md");
    assert_eq!(broken(from, &wrong, &with_itself).len(), 5);
}

/// Why: an operator who is woken by an alert must find a section with the alert's name.
#[test]
fn every_alert_and_exit_code_has_its_section_in_the_runbook() {
    let (alerts, runbook) = (document("monitoring/alerts.yml"), document("docs/runbook.md"));
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 10, "{names:?}");
    let of = |heading: &str| {
        let section = runbook.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        let sections: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        sections.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("By alert"), names);
    for (name, rule) in names.iter().zip(alerts.split("- alert: ").skip(1)) {
        let link = format!("page: docs/runbook.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&link), "{name} has no `{}`", link.trim());
    }
    // As in `--help`: a number at the beginning, and after each semicolon.
    let help = out(&bare(&["--help"]).output().unwrap()).split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = help.split("Exit codes: ").nth(1).unwrap().split("; ");
    let codes: Vec<&str> =
        codes.filter_map(|code| code.split(' ').next()).filter(|it| it.parse::<u8>().is_ok()).collect();
    assert!(codes.len() >= 8, "{codes:?}");
    let table = document("docs/scripting.md");
    let table = table.split("\n## Exit codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).skip(1).collect();
    assert_eq!(rows, codes, "docs/scripting.md on the left, --help on the right");
    let sections: Vec<String> =
        codes.iter().filter(|code| **code != "0").map(|code| format!("Exit code {code}")).collect();
    assert_eq!(of("By exit code"), sections);
}

/// Why: two tables of the same things will differ after a while, and readers trust the wrong one.
#[test]
fn each_table_stands_on_one_page_alone() {
    let documents = documents();
    for (head, home) in [
        ("| command | what it does |", "README.md"),
        ("| code | meaning |", "docs/scripting.md"),
        ("| signal |", "docs/scripting.md"),
        ("| event | level | fields |", "docs/monitoring.md"),
        ("| metric | meaning |", "docs/monitoring.md"),
        ("| option | default | meaning |", "docs/options.md"),
        ("| state | meaning |", "docs/journal.md"),
        ("| key | type | present | value |", "docs/manifest-format.md"),
        ("| finding | meaning |", "docs/audit.md"),
        ("| word | meaning |", "docs/design.md"),
    ] {
        let with: Vec<&Path> =
            documents.iter().filter(|(_, text)| text.contains(head)).map(|(path, _)| path.as_path()).collect();
        assert_eq!(with, [Path::new(home)], "{head}");
    }
}

/// Why: there is no alarm for an event that no page names.
#[test]
fn the_table_of_events_has_each_of_them() {
    // One event's name is not written in this form, and the event `e` is of a test.
    let mut logged: BTreeSet<String> = ["log_lines_dropped"].map(str::to_owned).into();
    let mut pending = vec![root().join("src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("event = \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            logged.extend(names.filter(|name| name != "e"));
        }
    }
    let page = document("docs/monitoring.md");
    let table = page.split("| event | level | fields |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows: Vec<String> =
        table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    assert!(rows.len() > 30, "{rows:?}");
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "an event has two rows");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), logged, "docs/monitoring.md on the left, src on the right");
}
