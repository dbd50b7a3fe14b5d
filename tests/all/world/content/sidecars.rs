//! Checksums in sidecars, from the file to the manifest line, the journal and quarantine.

use super::{SIDECAR, events, line_of, waiting};
use crate::harness::{Place, csv, out, sha256_hex};

fn md5_hex(content: &[u8]) -> String {
    use md5::Digest as _;
    md5::Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha512_hex(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha512::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn utf_16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Why: a wrong checksum in another format than `sha256sum`'s released its file unchecked and unreported.
#[test]
fn a_wrong_sum_in_any_form_holds_its_file_back() {
    let place = Place::new();
    let wrong = "f".repeat(64);
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("powershell.csv", utf_16(&format!("{}\r\n", wrong.to_uppercase()))),
        ("openssl.csv", format!("SHA2-256(openssl.csv)= {wrong}\n").into()),
        ("certutil.csv", format!("SHA256 hash of certutil.csv:\r\n{wrong}\r\nCertUtil: done.\r\n").into()),
        ("prefixed.csv", format!("sha256:{wrong}").into()),
        ("json.csv", format!("{{\"files\": [{{\"name\": \"json.csv\", \"sha256\": \"{wrong}\"}}]}}").into()),
        ("md5.csv", format!("{}  md5.csv\n", "0".repeat(32)).into()),
        ("sha512.csv", format!("{}  sha512.csv\n", "0".repeat(128)).into()),
        ("list.csv", format!("{wrong}  a.csv\n{wrong}  b.csv\n").into()),
        ("cut.csv", format!("{}  cut.csv\n", &wrong[1..]).into()),
        ("sha224.csv", format!("{}  sha224.csv\n", &wrong[..56]).into()),
    ];
    for (seed, (name, sidecar)) in forms.iter().enumerate() {
        place.stage(name, csv(seed as u64, 300));
        place.stage(format!("{name}.ok"), sidecar);
    }
    let (left, output) = waiting(&place, &[]);
    assert_eq!(left.len(), forms.len(), "{left:?}");
    assert!(left.contains(&"powershell.csv (sidecar has another SHA-256)".to_owned()), "{left:?}");
    assert!(left.contains(&"md5.csv (sidecar has another MD5)".to_owned()), "{left:?}");
    assert!(left.contains(&"cut.csv (sidecar has a checksum that is not understood)".to_owned()), "{left:?}");
    assert_eq!(place.check_consistent(), 0);
    let failed = events(&output, "file_failed");
    assert_eq!(failed.len(), forms.len());
    let says = |text: &str| failed.iter().any(|event| event["error"].as_str().unwrap().contains(text));
    assert!(says("the sidecar holds 63 hex digits") && says("MD5 is ") && says("SHA-512 is "), "{failed:?}");
    // The right checksums arrive.
    for (seed, (name, _)) in forms.iter().enumerate() {
        place.stage(format!("{name}.ok"), sha256_hex(&csv(seed as u64, 300)));
    }
    assert_eq!(waiting(&place, &[]).0, [""; 0]);
    assert_eq!(place.check_consistent(), forms.len());
}

/// Why: a reader of the manifest must know which files were compared with a checksum, and which only had a marker.
#[test]
fn the_line_says_by_what_a_file_was_verified() {
    let place = Place::new();
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| csv(seed, 400)).collect();
    let (md5, sha512) = (md5_hex(&contents[0]), sha512_hex(&contents[1]));
    let sha256 = sha256_hex(&contents[2]);
    let both = format!("{}  both.csv\n{}  both.csv\n", md5_hex(&contents[3]), sha256_hex(&contents[3]));
    let names = ["md5.csv", "sha512.csv", "sha256.csv", "both.csv", "text.csv", "empty.csv"];
    for (name, content) in names.iter().zip(&contents) {
        place.stage(name, content);
    }
    for (name, sidecar) in
        names.iter().zip([md5, format!("sha512:{sha512}"), sha256, both, "4 rows, done\n".to_owned(), String::new()])
    {
        place.stage(format!("{name}.ok"), sidecar);
    }
    let (left, output) = waiting(&place, &[]);
    assert_eq!(left, [""; 0]);
    let verified = |name: &str| line_of(&place, name).unwrap().get("verified_by").cloned();
    let expected = [Some("md5"), Some("sha512"), Some("sha256"), Some("sha256"), None, None];
    for (name, algorithm) in names.iter().zip(expected) {
        assert_eq!(verified(name), algorithm.map(Into::into), "{name}");
    }
    let odd = events(&output, "sidecar_not_understood");
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert!(odd[0]["path"].as_str().unwrap().ends_with("/text.csv.ok") && odd[0]["level"] == "warn");
    let inspected = place.inspect().into_iter().filter(|file| file["verified_by"] == "sha512").count();
    assert_eq!(inspected, 1);
    assert!(place.subcommand(&["journal", "verify"]).status.success());
    assert_eq!(place.check_consistent(), 6);
}

/// Why: the line must be the same whenever it is written, also by a recovery, and after a compaction.
#[test]
fn a_recovery_writes_the_same_line() {
    let place = Place::new();
    let content = csv(1, 400);
    place.stage("a.csv", &content);
    place.stage("a.csv.ok", md5_hex(&content));
    assert_eq!(waiting(&place, &[]).0, [""; 0]);
    let line = line_of(&place, "a.csv").unwrap();
    assert!(place.subcommand(&["journal", "compact"]).status.success());
    let audit = place.subcommand(&["audit"]);
    assert!(audit.status.success(), "{}", out(&audit));
    assert_eq!(line["verified_by"], "md5");
}

/// Why: an operator must be able to keep unverified files out of the warehouse.
#[test]
fn with_require_checksum_others_wait() {
    let place = Place::new();
    for (seed, (name, sidecar)) in
        [("empty.csv", String::new()), ("text.csv", "done".to_owned()), ("good.csv", sha256_hex(&csv(2, 300)))]
            .into_iter()
            .enumerate()
    {
        place.stage(name, csv(seed as u64, 300));
        place.stage(format!("{name}.ok"), sidecar);
    }
    let expected =
        ["empty.csv", "text.csv"].map(|name| format!("{name} (sidecar has no checksum (--require-checksum))"));
    let told = out(&place.once(&[SIDECAR, &["--require-checksum", "--dry-run"]].concat()));
    assert!(expected.iter().all(|line| told.contains(line)), "{told}");
    assert_eq!(waiting(&place, &["--require-checksum"]).0, expected);
    let explained = place.subcommand(&[
        "explain",
        "--mode",
        "sidecar",
        "--require-checksum",
        place.staging.join("text.csv").to_str().unwrap(),
    ]);
    assert!(out(&explained).contains("WAITING: sidecar has no checksum"), "{}", out(&explained));
    assert_eq!(place.check_consistent(), 1);
    // The option needs sidecar mode.
    let refused = place.once(&["--require-checksum"]);
    assert_eq!(refused.status.code(), Some(2));
    place.stage("empty.csv.ok", sha256_hex(&csv(0, 300)));
    assert_eq!(waiting(&place, &["--require-checksum"]).0, expected[1..]);
    assert_eq!(waiting(&place, &[]).0, [""; 0]);
    assert_eq!(place.check_consistent(), 3);
}

/// Why: a file is quarantined for a wrong MD5 and for half a checksum, as for a wrong SHA-256.
#[test]
fn what_is_held_back_goes_to_quarantine() {
    let place = Place::new();
    let quarantine = place.root.path().join("quarantine");
    place.stage("md5.csv", csv(1, 300));
    place.stage("md5.csv.ok", "0".repeat(32));
    place.stage("cut.csv", csv(2, 300));
    place.stage("cut.csv.ok", "0".repeat(63));
    let (left, output) = waiting(&place, &["--quarantine", quarantine.to_str().unwrap()]);
    assert_eq!(left, [""; 0]);
    let moved = events(&output, "file_quarantined");
    assert_eq!(moved.len(), 2);
    assert!(moved.iter().all(|event| event["reason"] == "checksum_differs"), "{moved:?}");
    assert!(place.staged_names().is_empty());
}

/// Why: only the beginning of a long sidecar is read, and the rest may contain anything.
#[test]
fn a_sidecar_that_is_too_long_holds_its_file_back() {
    let place = Place::new();
    let content = csv(1, 300);
    place.stage("a.csv", &content);
    let list = format!("{}  other.csv\n", "0".repeat(64)).repeat(4_000);
    place.stage("a.csv.ok", format!("{list}{}  a.csv\n", sha256_hex(&content)));
    assert_eq!(waiting(&place, &[]).0, ["a.csv (sidecar has a checksum that is not understood)"]);
    let list = format!("{}  other.csv\n", "0".repeat(64)).repeat(3_000);
    place.stage("a.csv.ok", format!("{list}{}  a.csv\n", sha256_hex(&content)));
    assert_eq!(waiting(&place, &[]).0, [""; 0]);
}

/// Found by chance: because of its sidecar, a kept duplicate was examined a second time, and printed twice.
#[test]
fn a_kept_duplicate_with_a_sidecar_is_told_once() {
    let place = Place::new();
    for name in ["a.csv", "b.csv"] {
        place.stage(name, csv(1, 300));
        place.stage(format!("{name}.ok"), "");
        place.once_ok(SIDECAR);
    }
    for more in [&[][..], &["--dry-run"]] {
        let told = out(&place.once(&[SIDECAR, more].concat()));
        assert_eq!(told.matches("DUPLICATE: ").count(), 1, "{told}");
    }
}
