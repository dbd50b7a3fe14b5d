//! What `config check` finds, and where.

use std::collections::BTreeMap;

use csv_ingestor::config::file::File;
use proptest::prelude::*;

use super::{check, problems};
use crate::harness::{err, out};

/// Why: a message with a wrong place, or none, sends the reader through the whole file.
#[test]
fn each_problem_has_its_line_and_column() {
    for (text, expected) in [
        (
            "\nmode = \"magic\"",
            "2:8: invalid value 'magic' for '--mode <MODE>' [possible values: stability, sidecar, group]",
        ),
        (
            "# é\nscan-interval = \"5\"",
            "2:17: invalid value '5' for '--scan-interval <DURATION>': time unit needed, for example 5sec or 5ms; write \
             500ms, 5s or 1m",
        ),
        (
            "stability-seconds = -1",
            "1:21: invalid value '-1' for '--stability-seconds <N>': must be a number of seconds that is not negative",
        ),
        ("concurrency = 0", "1:15: invalid value '0' for '--concurrency <N>': must be between 1 and 256"),
        ("include = ['*.csv', 'a/b']", "1:21: invalid value 'a/b' for '--include <GLOB>': \"a/b\" holds a '/'"),
        ("exclude = ''", "1:11: invalid value '' for '--exclude <GLOB>': the pattern is empty"),
        (
            "sidecar-suffix = 'a/b'",
            "1:18: invalid value 'a/b' for '--sidecar-suffix <S>': must be the end of a file name",
        ),
        ("input = ''", "1:9: a value is required for '--input <DIR>' but none was supplied"),
        ("input = \"a\\u0000b\"", "1:9: `input` cannot hold a NUL character"),
        ("input = 5", "1:9: `input` must be a string: put it in quotes"),
        ("input = true", "1:9: `input` takes a value, not true or false"),
        ("mode = ['sidecar']", "1:8: `mode` takes one value here, not a list"),
        ("include = ['a', ['b']]", "1:17: `include` takes one value here, not a list"),
        ("include = ['é', 1]", "1:17: `include` must be a string: put it in quotes"),
        ("require-checksum = 'yes'", "1:20: `require-checksum` must be true or false"),
        ("stabilty-seconds = 1", "1:1: unknown key `stabilty-seconds`: did you mean `stability-seconds`?"),
        ("Stability_Seconds = 1", "1:1: unknown key `Stability_Seconds`: did you mean `stability-seconds`?"),
        ("'--input' = 1", "1:1: unknown key `--input`: did you mean `input`?"),
        ("CSV_INGESTOR_INPUT = 1", "1:1: unknown key `CSV_INGESTOR_INPUT`: did you mean `input`?"),
        ("zzz = 1", "1:1: unknown key `zzz`: the keys are the options of `csv-ingestor run`"),
        ("'' = 1", "1:1: unknown key ``: the keys are"),
        (
            "[output]\nlog-level = 'info'",
            "1:2: `output` is a table, and there are none; write log-level = … at the top",
        ),
        ("log.level = 'info'", "1:1: `log` is a table, and there are none; write log-level = … at the top"),
        ("[[log]]", "1:3: `log` is a table, and there are none"),
        ("mode = { a = 1 }", "1:8: `mode` is an option, not a table"),
        ("mode = 'sidecar'\nmode = 'sidecar'", "2:1: duplicate key `mode`: line 1 has it already"),
        ("mode = sidecar", "1:8: "),
        ("mode = 'sidecar", "1:16: "),
        ("mode 'sidecar'", "1:6: "),
        ("mode =", "1:7: "),
        ("mode = \"\\q\"", "1:"),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text:?}: {found:#?}");
    }
}

/// Why: whoever has five mistakes in a file does not want to be told of them one by one.
#[test]
fn all_problems_are_reported_in_order() {
    let found = problems(
        "mode = \"magic\"\nincldue = \"*\"\ninput = \"/a\"\ninput = \"/b\"\nlog-level = loud\n\
         exclude = [\"\", \"[\"]\nscan-interval = \"never\"\n",
    );
    let places: Vec<&str> = found.iter().map(|line| &line[..line.find(": ").unwrap()]).collect();
    assert_eq!(places, ["1:8", "2:1", "4:1", "5:13", "6:12", "6:16", "7:17"], "{found:#?}");
    // Not without end.
    let many: String = (0..500).map(|number| format!("key-{number} = 1\n")).collect();
    let found = problems(many);
    assert_eq!(found.len(), 100);
}

/// Why: a file in which two options contradict each other must not pass the check and stop the service.
#[test]
fn options_that_contradict_each_other_are_found() {
    for (text, place, word) in [
        ("\nduplicates = 'move'", "2:1", "--duplicates-dir"),
        ("duplicates-dir = '/d'", "1:1", "--duplicates move"),
        ("malformed = 'mark'", "1:1", "--validate"),
        ("validate = 'csv'\nmalformed = 'quarantine'", "2:1", "--quarantine"),
        ("csv-quote = ';'\ncsv-delimiter = ';'", "1:1", "must differ"),
        ("csv-quote = ','", "1:1", "must differ"),
        ("mode = 'stability'\nrequire-checksum = true", "1:1", "--mode sidecar"),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(place) && found[0].contains(word), "{text:?}: {found:#?}");
    }
    let found = problems("malformed = 'mark'\nduplicates = 'move'\nrequire-checksum = true");
    assert_eq!(found.len(), 3, "{found:#?}");
}

/// Why: editors of other systems write such files, and their mark must not become a part of the first key.
#[test]
fn files_of_other_systems_are_read_or_refused_by_their_encoding() {
    let output = check(b"\xef\xbb\xbfmode = \"sidecar\"\r\nlog-level = \"info\"\r\n");
    assert!(output.status.success(), "{}", out(&output));
    assert_eq!(problems(b"\xef\xbb\xbfmodes = 1\r\n")[0], "1:1: unknown key `modes`: did you mean `mode`?");
    for (bytes, place) in [(&b"\xff\xfem\0o\0"[..], "1:1"), (b"mode = 'sidecar'\n# \xe9t\xe9\n", "2:3")] {
        assert_eq!(problems(bytes), [format!("{place}: this is not UTF-8: save the file as UTF-8")]);
    }
}

/// Why: a file comes from anywhere, and what it says is printed on terminals and in logs.
#[test]
fn a_message_stays_on_its_line() {
    let found = problems("\"a\\nb\\u001b[31m\" = 1\nmode = \"x\\ny\"\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|line| !line.contains('\u{1b}')), "{found:#?}");
}

/// Pieces of files, in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "mode",
        "include",
        "concurrency",
        "x",
        ".",
        "=",
        " ",
        "\n",
        "\r\n",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "#",
        "\\",
        "\\u0000",
        "1",
        "-1",
        "0x",
        "1e9",
        "1979-05-27",
        "true",
        "é",
        "\u{202e}",
        "\0",
        "\t",
        "*.csv",
        "mode = 'sidecar'\n",
        "[a]\n",
        "[a.b]\n",
        "a.b = 1\n",
        "require-checksum = true\n",
        "include = [\n",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Why: a file comes from anywhere; whatever it holds, the answer is a list of problems with places in the file.
    #[test]
    fn any_bytes_are_read(text in soup(), bytes in prop::collection::vec(any::<u8>(), 0..200), is_text in any::<bool>()) {
        let bytes = if is_text { text.as_bytes() } else { &bytes };
        let file = File::parse(bytes);
        let keys: BTreeMap<&str, usize> = file.entries.iter().map(|entry| (&*entry.key, entry.at)).collect();
        prop_assert_eq!(keys.len(), file.entries.len());
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        for (position, text) in file.problems() {
            prop_assert!((1..=lines).contains(&position.line) && position.column >= 1 && !text.is_empty());
            prop_assert!(position.column <= bytes.len() + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Why: as above, for the whole program.
    #[test]
    fn any_file_is_checked(text in soup()) {
        let output = check(&text);
        let (listed, error) = (out(&output), err(&output));
        match output.status.code() {
            Some(0) => prop_assert_eq!((&*listed, &*error), ("orders.toml: no problems\n", "")),
            code => {
                prop_assert_eq!(code, Some(2), "{}{}", &listed, &error);
                let is_place = |line: &str| line.strip_prefix("orders.toml:").is_some_and(|rest| rest.contains(": "));
                prop_assert!(!listed.is_empty() && listed.lines().all(is_place), "{}", listed);
                prop_assert_eq!(error.lines().count(), 1);
            }
        }
    }
}
