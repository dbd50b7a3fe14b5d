//! The program's own documentation: manual pages, completions, and the documents that must agree with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::harness::{bare, err, has, out};

/// The names of all pages.
fn pages() -> Vec<String> {
    let output = bare(&["man", "--list"]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    out(&output).lines().map(str::to_owned).collect()
}

fn page(name: &str) -> String {
    let output = bare(&["man", name]).output().unwrap();
    assert!(output.status.success(), "{name}: {}", err(&output));
    out(&output)
}

/// The only command with a hyphen in its name.
const HYPHENATED: &str = "roll-forward";

/// The words of the command that a page is about.
fn words(page: &str) -> Vec<&str> {
    let rest = page.strip_prefix("csv-ingestor").unwrap();
    let (front, last) = rest.split_once(HYPHENATED).map_or((rest, None), |(front, _)| (front, Some(HYPHENATED)));
    front.split('-').filter(|word| !word.is_empty()).chain(last).collect()
}

/// `--help` of a command.
fn help(page: &str) -> String {
    let words = [words(page), vec!["--help"]].concat();
    let output = bare(&words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", err(&output));
    out(&output)
}

/// The options that `--help` lists, including `--help` and `--version`.
fn options(help: &str) -> Vec<String> {
    let listed = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix('-').filter(|_| !line.starts_with("--")).map_or(line, |short| &short[2..]);
        let name = line.trim_start().strip_prefix("--")?;
        Some(format!("--{}", name.split([' ', '\n']).next().unwrap()))
    });
    listed.collect()
}

/// The commands that `--help` lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The first cells of the tables in a text.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
}

/// The commands of README's table.
fn commands_of_readme() -> BTreeSet<String> {
    let readme = document("README.md");
    let rows = first_cells(&readme).filter_map(|cell| cell.strip_prefix("`csv-ingestor ")?.strip_suffix('`'));
    let rows: Vec<String> = rows.map(str::to_owned).collect();
    let commands: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(commands.len(), rows.len(), "README lists a command twice: {rows:?}");
    commands
}

/// For each command, the options that its section of docs/options.md lists.
fn options_of_the_page() -> BTreeMap<String, BTreeSet<String>> {
    let page = document("docs/options.md");
    let section = |text: &str| {
        let (command, text) = text.split_once("`\n").unwrap();
        let named = first_cells(text).flat_map(|cell| cell.split("`--").skip(1).collect::<Vec<_>>());
        let option = |text: &str| format!("--{}", text.split([' ', '`']).next().unwrap());
        let named: Vec<String> = named.map(option).collect();
        let options: BTreeSet<String> = named.iter().cloned().collect();
        assert_eq!(options.len(), named.len(), "docs/options.md lists an option of {command} twice: {named:?}");
        (command.to_owned(), options)
    };
    page.split("\n## `csv-ingestor ").skip(1).map(section).collect()
}

/// Why: an operator in trouble cannot find an option that is not in the manual.
#[test]
fn each_command_and_option_is_in_the_manual_and_in_the_documents() {
    let pages = pages();
    let (mut listed_commands, mut listed_options) = (commands_of_readme(), options_of_the_page());
    let mut count = 0;
    for name in &pages {
        let (text, help) = (page(name), help(name));
        for command in commands(&help) {
            assert!(pages.contains(&format!("{name}-{command}")), "{name} {command} has no page");
            assert!(text.contains(&format!("{name}-{command}").replace('-', "\\-")), "{name} does not name {command}");
        }
        let spoken = words(name).join(" ");
        // `journal` alone is no command, nor is the program's name alone.
        if commands(&help).is_empty() {
            assert!(listed_commands.remove(&spoken), "README's table lacks {spoken}");
            let ours = options(&help).into_iter().filter(|option| !["--help", "--version"].contains(&&**option));
            let listed = listed_options.remove(&spoken).unwrap_or_default();
            assert_eq!(listed, ours.collect(), "{spoken}: docs/options.md on the left, --help on the right");
        }
        for option in options(&help) {
            count += 1;
            assert!(text.contains(&format!("\\fB{}\\fR", option.replace('-', "\\-"))), "{name} does not name {option}");
        }
        for variable in help.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap()) {
            assert!(text.contains(variable), "{name} does not name {variable}");
        }
    }
    assert!(
        listed_commands.is_empty() && listed_options.is_empty(),
        "no command: {listed_commands:?} {listed_options:?}"
    );
    assert!(pages.len() >= 10 && count > 40, "{} pages, {count} options: the search is broken", pages.len());
}

/// Why: if a formatter finds a fault in a page, it shows only a part of it.
#[test]
fn formatters_take_every_page() {
    let place = tempfile::tempdir().unwrap();
    for name in pages() {
        let file = place.path().join(format!("{name}.1"));
        std::fs::write(&file, page(&name)).unwrap();
        if has("man") {
            let mut command = Command::new("man");
            command.args(["--warnings", "-E", "UTF-8", "-l"]).arg(&file).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
            let output = command.output().unwrap();
            let text = out(&output);
            assert!(output.status.success() && err(&output).is_empty(), "{name}: {}", err(&output));
            for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
                assert!(text.lines().any(|line| line == heading), "{name} has no {heading}:\n{text}");
            }
        }
        if has("mandoc") {
            let output = Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&file).output().unwrap();
            assert!(output.status.success() && output.stdout.is_empty(), "{name}: {}", out(&output));
        }
    }
}

#[test]
fn a_page_or_shell_that_is_not_there_is_wrong_usage() {
    for words in [&["man", "ls"][..], &["man", "--list", "csv-ingestor"], &["completions", "tcsh"], &["completions"]] {
        let output = bare(words).output().unwrap();
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{words:?}");
    }
    assert_eq!(out(&bare(&["man"]).output().unwrap()), page("csv-ingestor"));
}

/// Runs a script in a shell after the completions for that shell; returns its output.
fn with_completions(shell: &str, options: &[&str], script: &str) -> Option<String> {
    if !has(shell) {
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    let output = bare(&["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    let file = place.path().join("completions");
    std::fs::write(&file, output.stdout).unwrap();
    let mut command = Command::new(shell);
    command.args(options).arg("-c").arg(script).env("COMPLETIONS", &file).env("HOME", place.path());
    let output = command.output().unwrap();
    assert!(output.status.success() && err(&output).is_empty(), "{shell}: {}", err(&output));
    Some(out(&output))
}

/// The typed text, and a completion that must be among the answers.
const TYPED: [(&str, &str); 7] = [
    ("csv-ingestor jour", "journal"),
    ("csv-ingestor journal insp", "inspect"),
    ("csv-ingestor lake roll", "roll-forward"),
    ("csv-ingestor run --stab", "--stability-seconds"),
    ("csv-ingestor --ware", "--warehouse"),
    ("csv-ingestor run --mode sid", "sidecar"),
    ("csv-ingestor journal inspect --state MANI", "MANIFESTED"),
];

#[test]
fn bash_completes() {
    let script = r#"
        set -u
        . "$COMPLETIONS"
        while read -ra COMP_WORDS; do
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
            COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
            "$(complete -p csv-ingestor | sed 's/.*-F \([^ ]*\).*/\1/')" \
                csv-ingestor "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        done"#;
    let script = format!("{script} <<'TYPED'\n{}\nTYPED\n", TYPED.map(|(typed, _)| typed).join("\n"));
    let Some(answers) = with_completions("bash", &["--noprofile", "--norc"], &script) else { return };
    assert_eq!(answers.lines().collect::<Vec<_>>(), TYPED.map(|(_, answer)| answer));
}

#[test]
fn fish_completes() {
    let ask = TYPED.map(|(typed, _)| format!("complete -C '{typed}' | head -n 1"));
    let script = format!("source $COMPLETIONS\n{}", ask.join("\n"));
    let Some(answers) = with_completions("fish", &["--no-config"], &script) else { return };
    // Each answer is followed by its description.
    let answers: Vec<&str> = answers.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(answers, TYPED.map(|(_, answer)| answer));
}

/// zsh completes only at a terminal, so the test gives it one.
#[test]
fn zsh_completes() {
    let script = r#"
        zmodload zsh/zpty
        zpty shell 'PS1= zsh -f -i'
        zpty -w shell 'unset zle_bracketed_paste; fpath=($ZDOTDIR $fpath); autoload -U compinit; compinit -u -D; echo re"ady"'
        zpty -r -m shell seen '*ready*'
        # A tab completes, ctrl-x b shows what the line has become.
        zpty -w shell 'show() { print -r -- "<$BUFFER>"; BUFFER= }; zle -N show; bindkey "^Xb" show; echo bou"nd"'
        zpty -r -m shell seen '*bound*'
        for typed in "${(@f)TYPED}"; do
            zpty -w -n shell "$typed"$'\t\x18b'
            zpty -r -m shell seen '*>*'
            print -r -- "${seen##*<}"
        done
        zpty -d shell"#;
    if !has("zsh") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let output = bare(&["completions", "zsh"]).output().unwrap();
    std::fs::write(place.path().join("_csv-ingestor"), output.stdout).unwrap();
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", script]).env("ZDOTDIR", place.path()).env("TERM", "dumb");
    let output = command.env("TYPED", TYPED.map(|(typed, _)| typed).join("\n")).output().unwrap();
    let text = out(&output);
    let answers: Vec<&str> = text.lines().map(|line| line.trim_end().trim_end_matches(['>', ' ', '='])).collect();
    let expected = TYPED.map(|(typed, answer)| format!("{}{answer}", &typed[..typed.rfind(' ').unwrap() + 1]));
    assert_eq!(answers, expected, "{}", err(&output));
}
