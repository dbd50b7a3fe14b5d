//! `csv-ingestor follow` on a lake in a directory, which the real program has filled.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{json_lines, numbers};
use crate::harness::{bare, csv, err, out};

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let site = Site(tempfile::Builder::new().prefix("csv-ingestor-test-").tempdir().unwrap());
        let made =
            bare(&["lake", "init", &site.url("w"), "--manifests", &site.url("m"), "--shards", "2"]).output().unwrap();
        assert!(made.status.success(), "{}", err(&made));
        site
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}/{name}", self.0.path().display())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A host ingests these files.
    fn ingest(&self, host: &str, seeds: std::ops::Range<u64>) {
        let staging = self.path(&format!("{host}-in"));
        std::fs::create_dir_all(&staging).unwrap();
        for seed in seeds {
            std::fs::write(Path::new(&staging).join(format!("{seed}.csv")), csv(seed, 100)).unwrap();
        }
        let (w, m, state) = (self.url("w"), self.url("m"), self.path(host));
        let places = ["--input", &staging, "--warehouse", &w, "--manifests", &m, "--state-path", &state];
        let ended = bare(&["run", "--once", "--stability-seconds", "0"]).args(places).output().unwrap();
        assert!(ended.status.success(), "{}", err(&ended));
    }

    fn follow(&self, words: &[&str]) -> Output {
        let (w, m) = (self.url("w"), self.url("m"));
        bare(&["follow", "--once", "--manifests", &m, "--warehouse", &w]).args(words).output().unwrap()
    }

    #[track_caller]
    fn lines(&self, words: &[&str]) -> Vec<Value> {
        let output = self.follow(words);
        assert!(output.status.success(), "{}", err(&output));
        json_lines(&out(&output))
    }
}

/// Two hosts, two shards: each line once, in the order of its shard.
#[test]
fn each_line_of_a_lake_comes_once() {
    let site = Site::new();
    site.ingest("one", 0..6);
    site.ingest("two", 3..9);
    let lines = site.lines(&[]);
    assert_eq!(lines.len(), 9);
    for shard in 0..2 {
        let of_shard: Vec<u64> = numbers(&lines).into_iter().filter(|seq| (seq - 1) >> 45 == shard).collect();
        assert!(of_shard.is_sorted() && !of_shard.is_empty(), "{of_shard:?}");
    }
    let mut contents: Vec<&str> = lines.iter().map(|line| line["sha256"].as_str().unwrap()).collect();
    contents.sort_unstable();
    contents.dedup();
    assert_eq!(contents.len(), 9);
    // Each cursor goes on where it says.
    let cursor = lines[4]["cursor"].as_str().unwrap().to_owned();
    let rest = site.lines(&["--from", &cursor]);
    assert_eq!(rest.len(), 4);
    assert!(rest.iter().all(|line| !lines[..5].iter().any(|before| before["seq"] == line["seq"])));
    assert_eq!(site.lines(&["--from", "now"]), [] as [Value; 0]);
    // A consumer, whose position is on this host.
    let positions = site.path("positions");
    let consumer = ["--consumer", "c", "--positions", &positions];
    assert_eq!(site.lines(&consumer).len(), 9);
    let last = lines.last().unwrap()["cursor"].as_str().unwrap().to_owned();
    let acknowledged = bare(&["follow", "--manifests", &site.url("m"), "--warehouse", &site.url("w"), "--ack", &last])
        .args(consumer)
        .output()
        .unwrap();
    assert!(acknowledged.status.success(), "{}", err(&acknowledged));
    site.ingest("one", 20..22);
    assert_eq!(site.lines(&consumer).len(), 2);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let site = Site::new();
    let fails = |words: &[&str]| {
        let output = bare(&[&["follow", "--once"], words].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        err(&output)
    };
    let (w, m) = (site.url("w"), site.url("m"));
    assert!(fails(&["--manifests", &m]).contains("its --warehouse URL as well"));
    assert!(fails(&["--manifests", &m, "--warehouse", &w, "--consumer", "c"]).contains("--positions DIR"));
    assert!(fails(&["--manifests", &site.path("m"), "--warehouse", &w]).contains("--warehouse is for lakes"));
    std::fs::create_dir(site.path("none")).unwrap();
    fails(&["--manifests", &m, "--warehouse", &site.url("none")]);
}
