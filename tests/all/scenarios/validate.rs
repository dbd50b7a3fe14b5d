//! `--validate csv`: the manifest's keys for the files' rows and columns.

use serde_json::{Value, json};

use super::super::harness::{Place, csv, packed};
use super::events;

/// Rows, columns and header, or the fault, of each file, by name.
fn profiles(place: &Place) -> Vec<(String, Value)> {
    let mut lines = place.manifest_lines();
    lines.sort_by_key(|line| line["path"].to_string());
    let keys = ["rows", "columns", "header", "header_faults", "malformed_line", "malformed_reason"];
    let profile = |line: &Value| {
        let object = line.as_object().unwrap();
        let known = keys.iter().filter_map(|key| Some(((*key).to_owned(), object.get(*key)?.clone())));
        known.collect::<serde_json::Map<_, _>>().into()
    };
    let name = |line: &Value| line["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    lines.iter().map(|line| (name(line), profile(line))).collect()
}

/// The owner of a warehouse needs to know for each file: how many rows has it, and is it whole?
#[test]
fn manifest_lines_say_what_is_in_the_files() {
    let place = Place::new();
    place.stage("a.csv", "id,name\r\n1,\"Ada, L.\"\r\n2,\"two\r\nlines\"\r\n");
    place.stage("b.csv", "id,name\n1\n");
    place.stage("c.tsv", "id\tname, full\n1\tAda\n");
    place.stage("d.csv.gz", b"\x1f\x8b\x08\x00");
    place.stage("e.csv", "");
    place.stage("f.csv.gz", packed("id,name\n1,Ada\n"));
    place.stage("g.csv", "id, ,id,ID\n1,2,3,4\n");
    place.stage("h.csv.zst", "no csv");
    let output = place.once_ok(&["--validate", "csv"]);
    assert_eq!(events(&output, "started")[0]["validate"], "csv");
    let marked = "it has 1 columns, the first record 2";
    let expected = [
        ("a.csv", json!({ "rows": 2, "columns": 2, "header": ["id", "name"] })),
        (
            "b.csv",
            json!({
                "rows": null, "columns": 2, "header": ["id", "name"], "malformed_line": 2, "malformed_reason": marked
            }),
        ),
        ("c.tsv", json!({ "rows": 1, "columns": 2, "header": ["id", "name, full"] })),
        (
            "d.csv.gz",
            json!({
                "rows": null, "columns": null, "header": null, "malformed_line": 1,
                "malformed_reason": "it is cut off: it ends in a gzip header"
            }),
        ),
        ("e.csv", json!({ "rows": 0, "columns": null, "header": null })),
        ("f.csv.gz", json!({ "rows": 1, "columns": 2, "header": ["id", "name"] })),
        (
            "g.csv",
            json!({
                "rows": 1, "columns": 4, "header": ["id", " ", "id", "ID"],
                "header_faults": [
                    { "column": 2, "fault": "blank", "first_column": null },
                    { "column": 3, "fault": "repeated", "first_column": 1 }
                ]
            }),
        ),
        // These are not parsed.
        ("h.csv.zst", json!({})),
    ];
    assert_eq!(profiles(&place), expected.map(|(name, profile)| (name.to_owned(), profile)));
    assert_eq!(place.check_consistent(), 8);
}

/// It is off by default: then the line has the same keys as before.
#[test]
fn nothing_is_looked_into_unless_it_is_asked_for() {
    let place = Place::new();
    place.stage("a.csv", "id,name\n1\n");
    place.once_ok(&[]);
    assert_eq!(profiles(&place), [("a.csv".to_owned(), json!({}))]);
}

#[test]
fn the_delimiter_can_be_chosen() {
    let place = Place::new();
    place.stage("a.csv", "id;name, full\n1;Ada\n");
    place.once_ok(&["--validate", "csv", "--csv-delimiter", ";"]);
    let expected = json!({ "rows": 1, "columns": 2, "header": ["id", "name, full"] });
    assert_eq!(profiles(&place), [("a.csv".to_owned(), expected)]);
    for bad in ["", "ab", "\"", "x", "ä"] {
        assert_eq!(place.once(&["--validate", "csv", "--csv-delimiter", bad]).status.code(), Some(2), "{bad:?}");
    }
}

/// Across file systems the file is copied in the same pass; and large files are read in many pieces.
#[test]
fn copies_are_looked_into_too() {
    let Some((place, _other)) = Place::across_file_systems() else { return };
    let content = csv(1, 3 << 20);
    let rows = content.iter().filter(|byte| **byte == b'\n').count() - 1;
    place.stage("a.csv", content);
    place.once_ok(&["--validate", "csv"]);
    assert_eq!(profiles(&place)[0].1, json!({ "rows": rows, "columns": 2, "header": ["id", "value"] }));
    assert_eq!(place.check_consistent(), 1);
}
