//! `--recursive`: directories below staging, which other programs make, move and remove as they like.

mod afterwards;
mod mounts;
mod moves;
mod names;
mod upstreams;
mod watches;

use std::path::{Path, PathBuf};

use crate::harness::{Place, csv};

/// A daemon that depends on inotify: its next scan would come after the test.
const WATCHING: &[&str] =
    &["--recursive", "--stability-seconds", "0.2", "--scan-interval", "10m", "--metrics-interval", "10m"];

/// A daemon that scans.
const SCANNING: &[&str] = &["--recursive", "--stability-seconds", "0.2", "--scan-interval", "100ms"];

/// Writes a file below a directory, with the directories above it.
fn put(dir: &Path, name: &str, seed: u64) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, csv(seed, 200)).unwrap();
    path
}

/// The regular files in staging, relative to it, sorted.
fn staged(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![place.staging.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => dirs.push(entry.path()),
                kind if kind.is_file() => {
                    let path = entry.path();
                    found.push(path.strip_prefix(&place.staging).unwrap().to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The subdirectories in the manifests' lines, sorted; empty for files directly in staging.
fn subdirs(place: &Place) -> Vec<String> {
    let lines = place.manifest_lines();
    let mut subdirs: Vec<String> =
        lines.iter().map(|line| line["subdir"].as_str().unwrap_or_default().to_owned()).collect();
    subdirs.sort();
    subdirs
}
