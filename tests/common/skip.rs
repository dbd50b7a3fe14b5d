//! The only way in which a test is skipped: it prints why, and fails where `CI` is set.

use std::process::Command;

/// True in CI, where every test has to run. CI services set the variable to `true`.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Prints why a test, or a part of it, does not run here. Fails in CI.
#[track_caller]
pub fn skip(why: &str) {
    assert!(!is_ci(), "cannot be skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
}

/// True if `program` can be run; otherwise the test that needs it is skipped.
#[track_caller]
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// True for root; otherwise the test that needs it is skipped.
#[track_caller]
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}
