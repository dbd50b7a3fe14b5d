//! Options, the terminal, signals and exit codes.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Audited, at, audit, ingested};
use crate::harness::{BINARY, Place, bare, err, has, out, wait_until};

/// Replaces the content of every file by another of the same length.
fn spoil(place: &Place) {
    for (path, content) in place.warehouse_files() {
        std::fs::write(path, content.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).unwrap();
    }
}

fn paths(audited: &Audited) -> BTreeSet<String> {
    audited.findings.iter().map(|finding| finding["path"].as_str().unwrap().to_owned()).collect()
}

/// Why: a warehouse of terabytes is audited in parts, one each night; and a sample with findings can be repeated.
#[test]
fn a_sample_hashes_some_and_compares_the_names_and_sizes_of_all() {
    let place = ingested(40);
    let clean = audit(&place, &["--sample", "7"]);
    clean.clean();
    assert_eq!((&clean.summary["files"], &clean.summary["sample"]), (&40.into(), &"7".into()));
    spoil(&place);
    let one = audit(&place, &["--sample", "7", "--seed", "11"]);
    one.found(&["altered"; 7]);
    assert_eq!(one.summary["seed"], 11);
    assert_eq!(paths(&audit(&place, &["--sample", "7", "--seed", "11"])), paths(&one), "the same seed, another sample");
    assert_ne!(paths(&audit(&place, &["--sample", "7", "--seed", "12"])), paths(&one), "another seed, the same sample");
    audit(&place, &["--sample", "100%"]).found(&["altered"; 40]);
    audit(&place, &["--sample", "1000"]).found(&["altered"; 40]);
    let half = audit(&place, &["--sample", "50%", "--seed", "3"]);
    assert!((8..=32).contains(&half.findings.len()), "{} of 40", half.findings.len());
    // The seed in the summary is the one that was used.
    let random = audit(&place, &["--sample", "5"]);
    let seed = random.summary["seed"].to_string();
    assert_eq!(paths(&audit(&place, &["--sample", "5", "--seed", &seed])), paths(&random));
    for path in place.warehouse_files().into_keys() {
        std::fs::write(path, "short").unwrap();
    }
    let all = audit(&place, &["--sample", "1"]);
    all.found(&["altered"; 40]);
    std::fs::remove_file(at(&place, "5.csv")).unwrap();
    assert!(audit(&place, &["--sample", "1"]).kinds().contains(&"missing"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = ingested(1);
    let state = place.state.to_str().unwrap();
    for (words, said) in [
        (&["audit"][..], "give --state-path"),
        (&["audit", "--warehouse", "/x"], "--manifests"),
        (&["audit", "--state-path", state, "--sample", "0"], "--sample"),
        (&["audit", "--state-path", state, "--sample", "101%"], "--sample"),
        (&["audit", "--state-path", state, "--seed", "1"], "--sample"),
        (&["audit", "--state-path", state, "--since", "yesterday"], "--since"),
        (&["audit", "--state-path", state, "--concurrency", "0"], "--concurrency"),
        (&["audit", "--state-path", state, "--concurrency", "257"], "--concurrency"),
    ] {
        let output = bare(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", err(&output));
        assert!(err(&output).contains(said), "{words:?}: {}", err(&output));
    }
    let output = bare(&["audit", "--state-path", state, "--warehouse", "/nowhere/at/all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("/nowhere/at/all"));
}

#[test]
fn the_help_names_every_option_and_the_exit_code() {
    let help = out(&bare(&["audit", "--help"]).output().unwrap());
    for option in
        ["--state-path", "--warehouse", "--manifests", "--since", "--sample", "--seed", "--concurrency", "--json"]
    {
        assert!(help.contains(option), "{option} is not in {help}");
    }
    let help = out(&bare(&["--help"]).output().unwrap());
    assert!(help.contains("audit") && help.contains("5 an audit") && help.contains("130"), "{help}");
}

/// Runs it on a terminal of its own; returns its exit code and the text that a user sees.
fn on_a_terminal(words: &str) -> Option<(Option<i32>, String)> {
    if !has("script") {
        return None;
    }
    let output = Command::new("script").args(["-qec", words, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    Some((output.status.code(), out(&output)))
}

/// Why: the progress bar with rate and remaining time is for people; a file or a pipe gets whole lines of JSON and no bar.
#[test]
fn a_terminal_gets_a_bar_and_text_everybody_else_json() {
    let place = ingested(2);
    std::fs::write(at(&place, "1.csv"), "x").unwrap();
    // Large enough that the bar is drawn while it is hashed.
    let large = at(&place, "2.csv");
    std::fs::File::options().write(true).open(&large).unwrap().set_len(1 << 30).unwrap();
    let state = place.state.display();
    let piped = bare(&["audit", "--state-path", place.state.to_str().unwrap()]).output().unwrap();
    Audited::of(&piped).found(&["altered", "altered"]);
    assert_eq!(err(&piped), "csv-ingestor: 2 findings, as listed\n");
    let Some((code, text)) = on_a_terminal(&format!("{BINARY} audit --state-path {state}")) else { return };
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("/s, ") && text.contains(" left; "), "no rate, or no time left: {text:?}");
    assert!(text.contains("ALTERED: ") && text.contains("\n2 findings: 2 altered\r\n"), "{text:?}");
    let (_, text) = on_a_terminal(&format!("{BINARY} audit --json --state-path {state} 2>/dev/null")).unwrap();
    assert!(text.starts_with("{\"finding\":\"altered\"") && !text.contains(" left; "), "{text:?}");
}

/// Why: an audit that takes hours must end on a signal, and must not look as if it had found nothing.
#[test]
fn a_signal_ends_it_without_a_verdict() {
    for (signal, spoilt) in [(rustix::process::Signal::INT, false), (rustix::process::Signal::TERM, true)] {
        let place = ingested(2);
        // Its line has the same size, so the file is hashed, which takes long.
        std::fs::File::options().write(true).open(at(&place, "2.csv")).unwrap().set_len(1 << 36).unwrap();
        if spoilt {
            // A finding from before the files are hashed.
            let mut manifest = place.manifests.clone();
            while manifest.is_dir() {
                manifest = std::fs::read_dir(&manifest).unwrap().next().unwrap().unwrap().path();
            }
            let text = std::fs::read_to_string(&manifest).unwrap();
            std::fs::write(&manifest, format!("{text}{}\n", text.lines().next().unwrap())).unwrap();
        }
        let mut command = bare(&["audit", "--concurrency", "2", "--state-path", place.state.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let opened = || {
            let links = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
            links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok()).any(|path| path.ends_with("2.csv"))
        };
        wait_until("it hashes", opened);
        std::thread::sleep(Duration::from_millis(300));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let code = child.wait().unwrap().code();
        let output = child.wait_with_output().unwrap();
        let audited = Audited::of(&output);
        assert_eq!(audited.summary["verdict"], "interrupted");
        assert_eq!(code, Some(if spoilt { 5 } else { 130 }), "{}", err(&output));
        assert_eq!(audited.findings.len(), usize::from(spoilt));
    }
}
