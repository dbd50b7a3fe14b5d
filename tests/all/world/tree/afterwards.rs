//! What other commands make of files that came from directories.

use super::{put, staged, subdirs};
use crate::harness::{Place, err, json_lines, out};

/// Why: a rebuilt journal knows no settings, and an audit takes the directory of a file for its staging directory.
#[test]
fn audit_rebuild_and_relocate_know_directories() {
    let mut place = Place::new();
    for (seed, name) in (1..).zip(["a.csv", "north/b.csv", "north/2026/c.csv", "south/d.csv"]) {
        put(&place.staging, name, seed);
    }
    place.once_ok(&["--recursive"]);
    let audit = |place: &Place| {
        let directories =
            ["--warehouse", place.warehouse.to_str().unwrap(), "--manifests", place.manifests.to_str().unwrap()];
        let output = place.subcommand(&[&["audit", "--json", "--grace", "0s"], &directories[..]].concat());
        assert!(output.status.success(), "{}{}", out(&output), err(&output));
        json_lines(&out(&output)).pop().unwrap()["summary"].clone()
    };
    let summary = audit(&place);
    assert_eq!(summary["lines"], 4, "{summary}");

    // The state directory is lost.
    std::fs::rename(&place.state, place.root.path().join("lost")).unwrap();
    let directories =
        ["--warehouse", place.warehouse.to_str().unwrap(), "--manifests", place.manifests.to_str().unwrap()];
    let rebuilt = place.subcommand(&[&["journal", "rebuild"], &directories[..]].concat());
    assert!(rebuilt.status.success(), "{}{}", out(&rebuilt), err(&rebuilt));
    assert_eq!(audit(&place)["lines"], 4);
    put(&place.staging, "east/again.csv", 3);
    let said = out(&place.once_ok(&["--recursive"]));
    assert!(said.contains("DUPLICATE: ") && said.contains("east/again.csv"), "{said}");
    assert_eq!(subdirs(&place), ["", "north", "north/2026", "south"]);

    // The staging directory is moved.
    let moved = place.root.path().join("moved");
    std::fs::rename(&place.staging, &moved).unwrap();
    let relocated = place.subcommand(&[
        "relocate",
        "--warehouse",
        place.warehouse.to_str().unwrap(),
        "--input",
        moved.to_str().unwrap(),
    ]);
    assert!(relocated.status.success(), "{}", err(&relocated));
    place.staging = moved;
    put(&place.staging, "north/e.csv", 9);
    place.once_ok(&["--recursive"]);
    assert_eq!(staged(&place), ["east/again.csv"]);
    assert_eq!(subdirs(&place), ["", "north", "north", "north/2026", "south"]);
    let summary = audit(&place);
    assert_eq!((&summary["lines"], &summary["verdict"]), (&5.into(), &"clean".into()), "{summary}");
}
