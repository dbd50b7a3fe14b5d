//! Which file of a crate uses which other, according to their text.
//!
//! - A name is followed through re-exports to the file that defines it: `pub use` only passes a name on, and is no use of
//!   it.
//! - `mod child;` is no use either; a module's name is followed to the items that are used from it.
//! - Methods and the output of macros are not seen: an arrow can be missing, but each one found is real.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source::{Source, program_lines, repository, sources};

/// Limit of re-exports that a name is followed through.
const REEXPORTS_MAX: usize = 16;

/// A module's path from the root of its crate: `["journal", "frame"]`; the root's is empty.
type ModulePath = Vec<String>;

/// One file and what it brings into scope.
struct Module {
    file: String,
    children: BTreeSet<String>,
    /// By the name in this module.
    imports: BTreeMap<String, Import>,
    /// Paths in the code itself: `state::State::new`.
    paths: Vec<Vec<String>>,
    /// All other words of the code.
    words: BTreeSet<String>,
}

struct Import {
    path: Vec<String>,
    is_public: bool,
}

/// What a path leads to.
enum Target {
    Module(ModulePath),
    /// (module that defines it, name)
    Item(ModulePath, String),
}

/// For each file the files that it uses, and the names that it uses from them.
type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A crate: the tree of modules below one root file.
struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    /// `read` returns the source at a path relative to the repository, if the file exists.
    fn load(root: &str, read: &dyn Fn(&str) -> Option<Source>) -> Self {
        let mut found = Self { modules: BTreeMap::new() };
        found.add(root, Vec::new(), true, read);
        found
    }

    /// The crate's files.
    fn files(&self) -> impl Iterator<Item = &str> {
        self.modules.values().map(|module| module.file.as_str())
    }

    fn add(&mut self, file: &str, path: ModulePath, is_root: bool, read: &dyn Fn(&str) -> Option<Source>) {
        let source = read(file).unwrap_or_else(|| panic!("{file}: a module's file is missing"));
        let tokens = without_inline_modules(tokens(&source));
        let mut module = Module {
            file: file.to_owned(),
            children: BTreeSet::new(),
            imports: BTreeMap::new(),
            paths: Vec::new(),
            words: BTreeSet::new(),
        };
        let children = module.read(&tokens);
        self.modules.insert(path.clone(), module);
        for (name, at) in children {
            let child = child_file(file, is_root, &name, at.as_deref(), read);
            self.add(&child, [path.as_slice(), &[name]].concat(), false, read);
        }
    }

    /// Which file uses which other.
    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (path, module) in &self.modules {
            let mut used: Vec<&[String]> = module.paths.iter().map(Vec::as_slice).collect();
            let imports = module.imports.iter();
            let own = imports.filter(|(name, import)| !import.is_public || module.words.contains(*name));
            used.extend(own.map(|(_, import)| import.path.as_slice()));
            for names in used {
                let Some(Target::Item(at, name)) = self.resolve(path, names, REEXPORTS_MAX) else { continue };
                let file = &self.modules[&at].file;
                if *file != module.file {
                    let names = arrows.entry(module.file.clone()).or_default().entry(file.clone()).or_default();
                    names.insert(name);
                }
            }
        }
        arrows
    }

    /// `None` for an item of another crate, or a local one.
    fn resolve(&self, from: &ModulePath, names: &[String], depth: usize) -> Option<Target> {
        let (first, mut rest) = names.split_first()?;
        let module = &self.modules[from];
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            name if module.children.contains(name) => [from.as_slice(), &[name.to_owned()]].concat(),
            name => match self.follow(from, module.imports.get(name)?, depth)? {
                Target::Module(at) => at,
                item @ Target::Item(..) => return Some(item),
            },
        };
        loop {
            let Some((name, behind)) = rest.split_first() else { return Some(Target::Module(at)) };
            let module = &self.modules[&at];
            match name.as_str() {
                "super" => at = at.split_last()?.1.to_vec(),
                "self" => {}
                name if module.children.contains(name) => at.push(name.to_owned()),
                name => match module.imports.get(name) {
                    Some(import) => match self.follow(&at, import, depth)? {
                        Target::Module(found) => at = found,
                        item @ Target::Item(..) => return Some(item),
                    },
                    None => return Some(Target::Item(at, name.to_owned())),
                },
            }
            rest = behind;
        }
    }

    fn follow(&self, from: &ModulePath, import: &Import, depth: usize) -> Option<Target> {
        // `use std::fs` beside `mod fs` is not meant here; a name that refers to itself would be followed for ever.
        self.resolve(from, &import.path, depth.checked_sub(1)?)
    }
}

/// The file of `mod name;` in `file`.
fn child_file(
    file: &str,
    is_root: bool,
    name: &str,
    at: Option<&str>,
    read: &dyn Fn(&str) -> Option<Source>,
) -> String {
    let path = Path::new(file);
    let dir = path.parent().unwrap();
    if let Some(at) = at {
        return plain(&dir.join(at));
    }
    let own = match is_root || path.ends_with("mod.rs") {
        true => dir.to_path_buf(),
        false => path.with_extension(""),
    };
    let [beside, below] = [own.join(format!("{name}.rs")), own.join(name).join("mod.rs")];
    plain(if read(&plain(&beside)).is_some() { &beside } else { &below })
}

/// The path without `..`.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for part in path {
        if part == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain.to_str().unwrap().to_owned()
}

/// Words, strings, `::` and other single characters of the text that is compiled into the program. Only the strings of
/// `path` attributes are used.
fn tokens(source: &Source) -> Vec<String> {
    let text = program_lines(source).into_iter().fold(String::new(), |text, (_, line)| text + line + "\n");
    let mut tokens = Vec::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => 1 + string_length(&rest[1..]),
            _ if first.is_alphanumeric() || first == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// The code in `mod name { ... }` counts as the file's own: its `super` is the file's module.
fn without_inline_modules(mut tokens: Vec<String>) -> Vec<String> {
    let (mut depth, mut inline) = (0, Vec::new());
    for at in 0..tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2] == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                inline.retain(|opened| *opened < depth);
                depth -= 1;
            }
            "super" if !inline.is_empty() => tokens[at] = "self".to_owned(),
            _ => {}
        }
    }
    tokens
}

/// Length up to and including the closing quote.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

impl Module {
    /// Reads the file's tokens; returns its child modules, with the path of an attribute if there is one.
    fn read(&mut self, tokens: &[String]) -> Vec<(String, Option<String>)> {
        let mut children = Vec::new();
        let mut at = 0;
        let mut attribute = None;
        while let Some(token) = tokens.get(at) {
            match token.as_str() {
                "use" => at = self.read_use(tokens, at),
                "mod" if tokens.get(at + 2).is_some_and(|token| token == ";") => {
                    self.children.insert(tokens[at + 1].clone());
                    children.push((tokens[at + 1].clone(), attribute.take()));
                    at += 3;
                }
                "path" if tokens[at + 1] == "=" && tokens[at + 2].starts_with('"') => {
                    attribute = Some(tokens[at + 2].trim_matches('"').to_owned());
                    at += 3;
                }
                name if is_name(name) => {
                    let path = path_at(tokens, at);
                    at += path.len() * 2 - 1;
                    self.words.insert(path[0].clone());
                    // A name after a dot is a field or a method.
                    self.paths.extend((path.len() > 1).then_some(path));
                }
                "." => at += 1 + usize::from(tokens.get(at + 1).is_some_and(|token| is_name(token))),
                _ => at += 1,
            }
        }
        children
    }

    /// The `use` at `at`; returns where the next item begins.
    fn read_use(&mut self, tokens: &[String], at: usize) -> usize {
        let is_public = tokens[..at].last().is_some_and(|token| token == "pub" || token == ")");
        let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
        self.read_tree(&tokens[at + 1..end], &[], is_public);
        end + 1
    }

    /// `a::{b, c as d}` after `prefix`.
    fn read_tree(&mut self, tokens: &[String], prefix: &[String], is_public: bool) {
        let path = if tokens.first().is_some_and(|token| is_name(token)) { path_at(tokens, 0) } else { Vec::new() };
        let whole = [prefix, &path].concat();
        let rest = &tokens[(path.len() * 2).saturating_sub(1)..];
        let group = rest.iter().position(|token| token == "{");
        if let Some(open) = group {
            let inner = &rest[open + 1..rest.len() - 1];
            for item in items(inner) {
                self.read_tree(item, &whole, is_public);
            }
            return;
        }
        let is_glob = rest.last().is_some_and(|token| token == "*");
        assert!(!is_glob || is_public || whole.first().is_none_or(|first| first != "super"), "{}: a glob", self.file);
        let Some(last) = whole.last().cloned() else { return };
        // `a::{self}` is `a`.
        let path = if last == "self" { whole[..whole.len() - 1].to_vec() } else { whole };
        let alias = rest.iter().position(|token| token == "as").map(|at| rest[at + 1].clone());
        let name = alias.unwrap_or_else(|| path.last().unwrap().clone());
        if !is_glob {
            // `use x as _` has no name, but is used.
            let name = if name == "_" { format!("_{}", self.imports.len()) } else { name };
            self.imports.insert(name, Import { path, is_public });
        }
    }
}

/// The longest `a::b::c` at `at`.
fn path_at(tokens: &[String], at: usize) -> Vec<String> {
    let mut path = vec![tokens[at].clone()];
    let mut at = at + 1;
    while tokens.get(at).is_some_and(|token| token == "::") && tokens.get(at + 1).is_some_and(|token| is_name(token)) {
        path.push(tokens[at + 1].clone());
        at += 2;
    }
    path
}

/// The items between the commas of a group.
fn items(tokens: &[String]) -> Vec<&[String]> {
    let (mut items, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                items.push(&tokens[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if begin < tokens.len() {
        items.push(&tokens[begin..]);
    }
    items
}

/// The groups of files that use each other, each sorted.
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|file| (file.as_str(), reached_from(arrows, file))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (file, targets) in &reached {
        if circles.iter().flatten().any(|known| known == file) {
            continue;
        }
        let is_back = |other: &str| reached.get(other).is_some_and(|targets| targets.contains(file));
        let circle: Vec<String> =
            targets.iter().filter(|other| is_back(other)).map(|&other| other.to_owned()).collect();
        circles.extend((circle.len() > 1).then_some(circle));
    }
    circles
}

fn reached_from<'a>(arrows: &'a Arrows, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![file];
    while let Some(next) = open.pop() {
        for target in arrows.get(next).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(target.as_str()) {
                open.push(target);
            }
        }
    }
    reached
}

/// The root files of this repository's crates.
fn roots() -> Vec<String> {
    let benches = ["journal", "ingest", "lake"].map(|name| format!("benches/{name}/main.rs"));
    let roots = ["src/lib.rs", "fuzz/src/lib.rs", "tests/all/main.rs"].map(str::to_owned).into_iter().chain(benches);
    let targets = sources("fuzz/fuzz_targets", &["rs"]).into_iter().map(|source| source.path);
    roots.chain(targets).collect()
}

/// Why: files that import each other in a circle can only be read together, and moved together.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let read = |path: &str| {
        let text = std::fs::read_to_string(repository().join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    let (mut violations, mut files, mut count) = (Vec::new(), BTreeSet::new(), 0);
    for root in roots() {
        let loaded = Crate::load(&root, &read);
        let arrows = loaded.arrows();
        count += arrows.values().map(BTreeMap::len).sum::<usize>();
        files.extend(loaded.files().map(str::to_owned));
        for circle in circles(&arrows) {
            for file in &circle {
                let back = arrows[file].iter().filter(|(target, _)| circle.contains(target));
                let told = |(target, names): (&String, &BTreeSet<String>)| {
                    format!("{file} -> {target}: {}", names.iter().cloned().collect::<Vec<_>>().join(", "))
                };
                violations.extend(back.map(told));
            }
        }
    }
    assert!(files.len() > 350 && count > 1_500, "{} files, {count} arrows: the search is broken", files.len());
    super::assert_none("files import each other in a circle", &violations);
}

/// Why: a circle can hide behind a re-export, a renamed import, an inline path, or a module's own name.
#[test]
fn every_kind_of_arrow_is_seen() {
    let files: &[(&str, &str)] = &[
        ("x/lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("x/a/mod.rs", "mod one;\npub use one::One;\n"),
        ("x/a/one.rs", "use crate::b::{self, Two as Other};\npub struct One(Other, b::Three);\n"),
        ("x/b.rs", "pub struct Two;\npub struct Three;\npub fn f() -> super::a::One {}\n"),
        (
            "x/c.rs",
            "mod inline {\n    use super::X;\n}\npub struct X;\nconst S: &str = \"crate::a::One\";\n// crate::b::Two\n",
        ),
    ];
    let read = |path: &str| {
        let (path, text) = files.iter().find(|(known, _)| *known == path)?;
        Some(Source { path: (*path).to_owned(), text: (*text).to_owned() })
    };
    let arrows = Crate::load("x/lib.rs", &read).arrows();
    let told: Vec<(&str, &str, usize)> = arrows
        .iter()
        .flat_map(|(file, targets)| targets.iter().map(|(target, names)| (file.as_str(), target.as_str(), names.len())))
        .collect();
    assert_eq!(told, [("x/a/one.rs", "x/b.rs", 2), ("x/b.rs", "x/a/one.rs", 1)]);
    assert_eq!(circles(&arrows), [["x/a/one.rs", "x/b.rs"]]);
}
