//! A template, a pattern and a path, each ended by a newline: whatever they are, the directory is one of the warehouse, and
//! is not among the manifests.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use csv_ingestor::journal::record::LayoutRule;
use csv_ingestor::pipeline::layout::Layout;
use csv_ingestor::types::UnixMillis;
use libfuzzer_sys::fuzz_target;

const WAREHOUSE: &str = "/data/wh";
const PATH_BYTES_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (template, pattern, path) = (parts.next(), parts.next(), parts.next());
    let (Some(template), Some(pattern), Some(path)) = (template, pattern, path) else { return };
    value(path);
    let (Ok(template), Ok(pattern)) = (str::from_utf8(template), str::from_utf8(pattern)) else { return };
    let name_pattern = (!pattern.is_empty()).then(|| pattern.to_owned());
    let Ok(layout) = Layout::new(LayoutRule { template: template.to_owned(), name_pattern }) else { return };
    // What is accepted together is accepted alone.
    assert!(Layout::check_template(template).is_ok());
    assert!(pattern.is_empty() || Layout::check_pattern(pattern).is_ok());
    for (manifests, are_one) in [("/data/mf", false), (WAREHOUSE, false), ("/data/wh/m/f", false), ("/link", true)] {
        let layout = layout.clone().within(Path::new(WAREHOUSE), Path::new(manifests), are_one);
        check(&layout, path, manifests, are_one);
    }
});

fn check(layout: &Layout, path: &[u8], manifests: &str, are_one: bool) {
    let at = UnixMillis(1_767_323_045_678);
    let Ok(dir) = layout.dir(OsStr::from_bytes(path), at) else { return };
    assert_eq!(layout.dir(OsStr::from_bytes(path), at).as_ref(), Ok(&dir), "it is a function");
    let bytes = dir.as_os_str().as_bytes();
    let names: Vec<&[u8]> = if bytes.is_empty() { Vec::new() } else { bytes.split(|byte| *byte == b'/').collect() };
    assert!(names.len() <= 32);
    for name in &names {
        assert!(!name.is_empty() && name.len() <= 255 && !name.starts_with(b".") && !name.starts_with(b"_"), "{dir:?}");
        let printable = name.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
        assert!(printable && str::from_utf8(name).is_ok(), "{dir:?}");
        assert!(!name.ends_with(b"=__HIVE_DEFAULT_PARTITION__") && !name.ends_with(b"="), "{dir:?}");
        assert!(!name.starts_with(b"ingest_date=") || *name == b"ingest_date=2026-01-02", "{dir:?}");
    }
    let whole = Path::new(WAREHOUSE).join(&dir);
    assert!(whole.starts_with(WAREHOUSE) && whole.components().all(|it| !matches!(it, Component::ParentDir)));
    assert!(whole.as_os_str().len() + 1 + 255 < PATH_BYTES_MAX);
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let top = names.first().copied().unwrap_or(file);
    let is_year = top.len() == 4 && top.iter().all(u8::is_ascii_digit);
    assert!(!is_year || !(are_one || manifests == WAREHOUSE), "{dir:?}");
    assert!(!whole.starts_with("/data/wh/m/f") || manifests != "/data/wh/m/f", "{dir:?}");
}

/// A value can be read back from the directory's name, so two values never give one directory.
fn value(path: &[u8]) {
    let rule = LayoutRule { template: "v={v}".to_owned(), name_pattern: Some("(?s)^(?<v>.*)$".to_owned()) };
    let layout = Layout::new(rule).expect("a valid layout");
    let Ok(dir) = layout.dir(OsStr::from_bytes(path), UnixMillis(0)) else { return };
    let mut escaped = &dir.as_os_str().as_bytes()[2..];
    let mut read = Vec::new();
    while let [byte, rest @ ..] = escaped {
        if *byte == b'%' {
            let digits = str::from_utf8(&rest[..2]).expect("two digits");
            read.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
            escaped = &rest[2..];
        } else {
            read.push(*byte);
            escaped = rest;
        }
    }
    assert_eq!(read, path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
}
