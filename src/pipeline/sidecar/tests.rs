//! How sidecars of all sorts are understood.

use std::ffi::OsStr;

use super::*;

const CONTENT: &[u8] = b"id,name\n1,Ada\n";
const NAME: &str = "foo.csv";

/// The content's sums: MD5, SHA-1, SHA-256, SHA-384, SHA-512.
fn sums() -> Vec<String> {
    let all = Algorithm::ALL.iter().map(|algorithm| Sum { algorithm: *algorithm, hex: String::new() }).collect();
    let mut summer = Summer::new(&Demand { groups: vec![all] });
    summer.update(CONTENT);
    let found = summer.finish();
    Algorithm::ALL.iter().map(|algorithm| found.hex(*algorithm).unwrap()).collect()
}

/// The result of a sidecar.
#[derive(Debug, PartialEq)]
enum Verdict {
    Silent,
    Other,
    Verified(Algorithm),
    Differs,
    Odd,
}

fn verdict_for(name: &str, sidecar: impl AsRef<[u8]>) -> Verdict {
    match statement(sidecar.as_ref(), OsStr::new(name)) {
        Statement::Silent => Verdict::Silent,
        Statement::Other => Verdict::Other,
        Statement::Odd(_) => Verdict::Odd,
        Statement::Demands(demand) => {
            let mut summer = Summer::new(&demand);
            summer.update(CONTENT);
            match demand.check(&summer.finish()) {
                Ok(algorithm) => Verdict::Verified(algorithm.unwrap()),
                Err(_) => Verdict::Differs,
            }
        }
    }
}

fn verdict(sidecar: impl AsRef<[u8]>) -> Verdict {
    verdict_for(NAME, sidecar)
}

fn utf_16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Why: only the format of `sha256sum` was understood; a sidecar in any other format released its file unchecked, and
/// without any message.
#[test]
fn sums_are_found_in_every_form() {
    for (algorithm, right) in Algorithm::ALL.into_iter().zip(sums()) {
        let wrong: String =
            right.chars().map(|it| char::from_digit(it.to_digit(16).unwrap() ^ 1, 16).unwrap()).collect();
        let pairs = |sum: &str, between: &str| {
            let pairs: Vec<&str> = (0..sum.len() / 2).map(|at| &sum[2 * at..2 * at + 2]).collect();
            pairs.join(between)
        };
        let forms = |sum: &str| {
            let upper = sum.to_uppercase();
            vec![
                sum.to_owned(),
                format!("{upper}\r\n"),
                format!("\u{feff}{sum}\r\n"),
                format!("{sum}  foo.csv\n"),
                format!("{sum} *foo.csv\r\n"),
                format!("{sum}\tfoo.csv\n"),
                format!("{sum}  /export/today/foo.csv\n"),
                format!("{sum}  made-elsewhere.csv\n"),
                format!("SHA256 (foo.csv) = {sum}\n"),
                format!("SHA2-256(foo.csv)= {sum}\n"),
                format!("SHA256(/data/foo.csv)= {sum}\n"),
                format!("(stdin)= {sum}\n"),
                format!("SHA256 hash of foo.csv:\r\n{sum}\r\nCertUtil: -hashfile command completed successfully.\r\n"),
                format!("SHA1 hash of file foo.csv:\r\n{}\r\nCertUtil: completed.\r\n", pairs(sum, " ")),
                pairs(&upper, ":"),
                pairs(&upper, "-"),
                format!("sha256:{sum}"),
                format!("sha256={sum}"),
                format!("foo.csv: {sum}"),
                format!("foo.csv,{sum},1234\n"),
                format!("{{\"sha256\": \"{sum}\"}}"),
                format!("{{\"Algorithm\":\"SHA256\",\"Hash\":\"{upper}\",\"Path\":\"C:\\\\out\\\\foo.csv\"}}"),
                format!("{{\"files\":[{{\"name\":\"foo.csv\",\"checksum\":\"sha256:{sum}\"}}]}}"),
                format!("{{\"foo.csv\":\"{sum}\"}}"),
                format!("{{\"foo.csv\":{{\"digest\":\"{sum}\",\"rows\":3}}}}\n"),
                format!("[\"{sum}\"]"),
                format!("\r\nAlgorithm : SHA256\r\nHash      : {upper}\r\nPath      : C:\\out\\foo.csv\r\n\r\n"),
                format!(
                    "Algorithm       Hash                 Path\n---------   ----   ----\nSHA256   {upper}   C:\\o...\n"
                ),
                format!("<file name=\"foo.csv\" sha256=\"{sum}\"/>"),
                format!("rows: 3\nchecksum: {sum}\n"),
                format!("\\{sum}  foo.csv\n"),
            ]
        };
        for (good, bad) in forms(&right).into_iter().zip(forms(&wrong)) {
            assert_eq!(verdict(&good), Verdict::Verified(algorithm), "{good}");
            assert_eq!(verdict(&bad), Verdict::Differs, "{bad}");
            assert_eq!(verdict(utf_16(&good)), Verdict::Verified(algorithm), "{good}");
            assert_eq!(verdict(utf_16(&bad)), Verdict::Differs, "{bad}");
            assert_eq!(verdict(&utf_16(&bad)[2..]), Verdict::Differs, "{bad}");
        }
    }
}

/// Why: a list has sums of other files, too. If this file's name is in it, no other sum may release the file.
#[test]
fn in_a_list_the_line_with_the_name_decides() {
    let (md5, right) = (&sums()[0], &sums()[2]);
    let other = "0".repeat(64);
    let verified = Verdict::Verified(Algorithm::Sha256);
    for list in [
        format!("{other}  bar.csv\n{right}  foo.csv\n"),
        format!("SHA256 (bar.csv) = {other}\nSHA256 (foo.csv) = {right}\n"),
        format!("{other}  my foo.csv\n{right}  foo.csv\n"),
        format!("{other}  foo.csv.gz\n{right}  foo.csv\n{}  baz\n", &other[..50]),
        format!("{{\"bar.csv\":\"{other}\",\"foo.csv\":\"{right}\"}}"),
        format!("[{{\"name\":\"bar.csv\",\"sum\":\"{other}\"}},{{\"name\":\"foo.csv\",\"sum\":\"{right}\"}}]"),
        format!("{{\"name\":\"bar.csv\",\"sum\":\"{other}\"}}\n{{\"name\":\"foo.csv\",\"sum\":\"{right}\"}}\n"),
        format!("{{\"name\":\"foo.csv\",\"sums\":{{\"md5\":\"{md5}\",\"sha256\":\"{right}\"}}}}"),
        format!("SHA256 hash of bar.csv:\n{other}\nCertUtil: ok.\nSHA256 hash of foo.csv:\n{right}\nCertUtil: ok.\n"),
        format!("Hash : {other}\nPath : C:\\bar.csv\n\nHash : {right}\nPath : C:\\foo.csv\n"),
        format!("{other}  bar.csv\0{right}  foo.csv\0"),
        format!("{right}  foo.csv\0{other}  bar.csv\0"),
        format!("{other} bar.csv, {right} foo.csv\n"),
        format!("{right} foo.csv, {other} bar.csv\n"),
        format!(
            "- sha256: {other}\n  name: bar.csv\n- sha256: {right}\n  name: foo.csv\n- sha256: {other}\n  name: x\n"
        ),
        format!(
            "- name: bar.csv\n  sha256: {other}\n- name: foo.csv\n  sha256: {right}\n- name: x\n  sha256: {other}\n"
        ),
        format!("SUM={other}\nFILE=bar.csv\nSUM={right}\nFILE=foo.csv\nSUM={other}\nFILE=x\n"),
        format!("FILE=bar.csv\nSUM={other}\nFILE=foo.csv\nSUM={right}\nFILE=x\nSUM={other}\n"),
        format!("{{\"{other}\":\"bar.csv\",\"{right}\":\"foo.csv\"}}"),
        format!(
            "[{{\"meta\":{{\"name\":\"bar.csv\"}},\"sum\":{{\"sha256\":\"{other}\"}}}},\
             {{\"meta\":{{\"name\":\"foo.csv\"}},\"sum\":{{\"sha256\":\"{right}\"}}}}]"
        ),
        // Other hexadecimal text is not a sum if another one is called so, nor is a sum of an algorithm that is not
        // computed.
        format!("{{\"name\":\"foo.csv\",\"sha256\":\"{right}\",\"git_commit\":\"{}\"}}", &other[..40]),
        format!("BLAKE2b (foo.csv) = {}\nSHA3-256 (foo.csv) = {other}\nSHA256 (foo.csv) = {right}\n", other.repeat(2)),
        format!("{{\"file\":\"foo.csv\",\"sha3_256\":\"{other}\",\"sha256\":\"{right}\"}}"),
        // This file's name is nowhere: any of them will do.
        format!("{other}  bar.csv\n{right}  baz.csv\n"),
        format!("md5 {}\nsha256 {right}\n", &other[..32]),
        format!("{md5}  foo.csv\n{right}  foo.csv\n"),
    ] {
        assert_eq!(verdict(&list), verified, "{list}");
    }
}

/// Why: as above; here the line with the name has another file's sum.
#[test]
fn in_a_list_no_other_line_releases_it() {
    let (md5, right) = (&sums()[0], &sums()[2]);
    let other = "0".repeat(64);
    for list in [
        format!("{right}  bar.csv\n{other}  foo.csv\n"),
        format!("SHA256(bar.csv)= {right}\nSHA256(foo.csv)= {other}\n"),
        format!("{{\"bar.csv\":\"{right}\",\"foo.csv\":\"{other}\"}}"),
        format!("[{{\"name\":\"bar.csv\",\"sum\":\"{right}\"}},{{\"name\":\"foo.csv\",\"sum\":\"{other}\"}}]"),
        format!("SHA256 hash of bar.csv:\n{right}\nCertUtil: ok.\nSHA256 hash of foo.csv:\n{other}\nCertUtil: ok.\n"),
        format!("Hash : {right}\nPath : C:\\bar.csv\n\nHash : {other}\nPath : C:\\foo.csv\n"),
        format!("{right}  bar.csv\0{other}  foo.csv\0"),
        format!("{right} bar.csv, {other} foo.csv\n"),
        format!("{other} foo.csv, {right} bar.csv\n"),
        format!(
            "- sha256: {right}\n  name: bar.csv\n- sha256: {other}\n  name: foo.csv\n- sha256: {right}\n  name: x\n"
        ),
        format!("FILE=bar.csv\nSUM={right}\nFILE=foo.csv\nSUM={other}\nFILE=x\nSUM={right}\n"),
        format!("{{\"{right}\":\"bar.csv\",\"{other}\":\"foo.csv\"}}"),
        // "In a list that lacks this name."
        format!("{other}  bar.csv\n{other}  baz.csv\n"),
        // One of several sums with its name is another file's.
        format!("{md5}  foo.csv\n{other}  foo.csv\n"),
        format!("foo.csv {md5} {other}\n"),
    ] {
        assert_eq!(verdict(&list), Verdict::Differs, "{list}");
    }
}

/// Why: a sum that lost a digit, or of an algorithm that is not computed, is still a sum.
#[test]
fn what_looks_like_a_sum_and_is_none_holds_the_file_back() {
    let right = &sums()[2];
    let long = "x".repeat(SIDECAR_BYTES_MAX + 1);
    for text in
        [&right[1..], &right[..56], &format!("{right}0"), &right[..24], &format!("{}  foo.csv", &right[1..]), &long]
    {
        assert_eq!(verdict(text), Verdict::Odd, "{text}");
    }
    for text in [format!("BLAKE2b (foo.csv) = {}", right.repeat(2)), format!("SHA3-256(foo.csv)= {right}")] {
        assert_eq!(verdict(&text), Verdict::Odd, "{text}");
    }
    // Cut off, with a mark that it was.
    let long = right.repeat(2);
    assert_eq!(verdict(format!("SHA512  {}\u{2026}  C:\\data\\foo.csv", long[..69].to_uppercase())), Verdict::Odd);
    assert_eq!(verdict(format!("{right}256")), Verdict::Odd);
    assert_eq!(verdict([0; 64]), Verdict::Odd);
    assert_eq!(verdict(utf_16(&right[1..])), Verdict::Odd);
}

/// Why: a marker may contain any text.
#[test]
fn other_text_says_only_that_the_file_is_complete() {
    for text in ["", "\n\n", "\u{feff}", " \r\n", "\u{feff}\r\n"] {
        assert_eq!(verdict(text), Verdict::Silent, "{text:?}");
    }
    assert_eq!(verdict(utf_16("\r\n")), Verdict::Silent);
    for text in
        ["done", "2026-01-01", "1234567890123", "rows=17", "{}", "{\"rows\": 17}", "foo.csv", "deadbeef  foo.csv", "0"]
    {
        assert_eq!(verdict(text), Verdict::Other, "{text}");
    }
    assert_eq!(verdict(b"\x89PNG\r\n\x1a\n"), Verdict::Other);
    assert_eq!(verdict("2f8a4c1e-9d3b-4a5c-8e7f-0123456789ab"), Verdict::Other);
}

/// Why: files are also named by hashes and batch numbers; a name is not a sum.
#[test]
fn names_that_look_like_sums_are_names() {
    let sums = sums();
    let (md5, right) = (&sums[0], &sums[2]);
    let name = "d41d8cd98f00b204e9800998ecf8427e";
    let verified = Verdict::Verified(Algorithm::Sha256);
    assert_eq!(verdict_for(&format!("{name}.csv"), format!("{right}  {name}.csv\n")), verified);
    assert_eq!(verdict_for(&format!("{name}.csv"), format!("SHA256 (/in/{name}.csv) = {right}\n")), verified);
    assert_eq!(verdict_for(&format!("{name}-a.csv"), format!("{name}-a.csv {right}\n")), verified);
    assert_eq!(verdict_for(&format!("{name}.csv"), format!("{name}.csv is done\n")), Verdict::Other);
    assert_eq!(verdict_for(name, format!("{right}  {name}\n")), verified);
    assert_eq!(verdict_for(md5, md5), Verdict::Verified(Algorithm::Md5));
    assert_eq!(verdict_for("a\nb.csv", format!("\\{right}  a\\nb.csv\n{md5}  x.csv\n")), verified);
    assert_eq!(verdict_for("größe.csv", utf_16(&format!("{right}  größe.csv\r\n"))), verified);
}
