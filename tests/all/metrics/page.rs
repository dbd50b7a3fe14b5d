//! The page and its JSON: what they say is so, and reaching them changes and discloses nothing more.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use csv_ingestor::limits::IDLE_MARK_DELAY;
use serde_json::Value;

use super::{Client, LISTENING, MEASURING, Response, listening};
use crate::harness::{Daemon, Place, bare, csv, err, has, json_lines, out, snapshot, wait_until};

const PATHS: [&str; 7] =
    ["/", "/page.css", "/page.js", "/page.svg", "/api/v1/status", "/api/v1/waiting", "/api/v1/recent"];

impl Client {
    #[track_caller]
    fn json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.code, 200, "{path}: {}", response.body);
        assert!(response.head.contains("Content-Type: application/json\r\n"), "{}", response.head);
        serde_json::from_str(&response.body).unwrap()
    }

    fn as_host(&self, path: &str, hosts: &[&str]) -> Response {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        self.send(format!("GET {path} HTTP/1.1\r\n{hosts}\r\n").as_bytes()).unwrap()
    }
}

/// Starts a daemon whose files wait for longer than any test takes.
fn patient(place: &Place) -> (Daemon, Client) {
    let waits = ["--stability-seconds", "1000", "--scan-interval", "50ms", "--metrics-listen", "127.0.0.1:0"];
    let daemon = place.start(&waits);
    daemon.wait_started();
    let client = Client::of(&daemon);
    (daemon, client)
}

fn names(files: &Value) -> Vec<String> {
    let path = |file: &Value| file["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    files.as_array().unwrap().iter().map(path).collect()
}

/// A daemon with a file of each kind, and the file that it holds.
fn with_one_of_each(place: &Place) -> (Daemon, Client, PathBuf) {
    let quarantine = place.root.path().join("quarantine");
    let more = ["--quarantine", quarantine.to_str().unwrap(), "--validate", "csv", "--max-size", "50000"];
    let (daemon, client) = listening(place, &more);
    place.stage("a.csv", "a,b\n1,2\n");
    daemon.wait_for("file_ingested", 1);
    place.stage("again.csv", "a,b\n1,2\n");
    daemon.wait_for("duplicate_skipped", 1);
    place.stage("bad.csv", "a,b\n1,2,3\n");
    daemon.wait_for("file_quarantined", 1);
    let large = place.stage("large.csv", csv(1, 60_000));
    daemon.wait_for("file_failed", 1);
    client.wait_for("queue_depth{stage=\"held\"}", 1.0);
    (daemon, client, large)
}

/// Why: an operator acts on what it says, and looks for the same event in the log.
#[test]
fn the_last_events_and_what_waits_are_told_as_everywhere() {
    let place = Place::new();
    let (daemon, client, large) = with_one_of_each(&place);
    let recent = client.json("/api/v1/recent");
    let keys: Vec<&String> = recent.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ingested", "duplicates", "failures", "quarantined"]);
    for (kind, event, keys) in [
        ("ingested", "file_ingested", &["path", "warehouse_path", "bytes", "ingest_id", "seconds"][..]),
        ("duplicates", "duplicate_skipped", &["path", "original", "duplicate_of", "action"]),
        ("failures", "file_failed", &["path", "error"]),
        ("quarantined", "file_quarantined", &["path", "target", "reason", "line", "error"]),
    ] {
        let told = &recent[kind];
        assert_eq!(told.as_array().unwrap().len(), 1, "{kind}: {told}");
        let logged = &daemon.events(event)[0];
        keys.iter().for_each(|key| assert_eq!(told[0][key], logged[key], "{kind}.{key}"));
        assert!(told[0]["at"].as_str().unwrap().ends_with('Z'));
    }
    let failure = &recent["failures"][0];
    assert_eq!((&failure["reason"], &failure["retry_in_seconds"]), (&"too_large".into(), &Value::Null));

    let waiting = client.json("/api/v1/waiting");
    assert_eq!(
        (&waiting["known"], &waiting["next"], names(&waiting["files"])),
        (&1.into(), &Value::Null, vec!["large.csv".to_owned()])
    );
    let explained = place.subcommand(&["explain", "--json", large.to_str().unwrap()]);
    let explained = &json_lines(&out(&explained))[0];
    for key in ["path", "status", "summary", "error", "failures"] {
        let of_explain = if key == "path" { &explained["asked"] } else { &explained[key] };
        assert_eq!(&waiting["files"][0][key], of_explain, "{key} of {waiting} and {explained}");
    }
    assert!(daemon.stop().success());
}

/// Why: an operator acts on what it says.
#[test]
fn the_status_says_what_is_so() {
    let place = Place::new();
    let (daemon, client, _) = with_one_of_each(&place);
    let status = client.json("/api/v1/status");
    for (key, value) in [("files", 1), ("bytes", 8), ("pid", i64::from(daemon.child.id())), ("log_lines_dropped", 0)] {
        assert_eq!(status[key], value, "{key}");
    }
    for (key, value) in [("state", "running"), ("mode", "stability"), ("input", place.staging.to_str().unwrap())] {
        assert_eq!(status[key], value, "{key}");
    }
    assert_eq!((&status["not_ready"], &status["consumers"]), (&Value::Null, &Value::Array(vec![])));
    for (key, label) in [("duplicates", "keep"), ("failures", "too_large"), ("quarantined", "malformed")] {
        assert_eq!(status[key][label], 1, "{key}");
    }
    let stages = serde_json::json!({"waiting": 0, "held": 1, "ready": 0, "hashing": 0, "committing": 0});
    assert_eq!(status["stages"], stages);
    let minutes = status["minutes"].as_array().unwrap();
    let sum = |key: &str| minutes.iter().map(|minute| minute[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((minutes.len() <= 61, sum("files"), sum("bytes")), (true, 1, 8));
    let journal = &status["journal"];
    assert!(journal["bytes"].as_u64() > Some(100_000) && journal["remembered_files"] == 1, "{journal}");
    let disks = status["disks"].as_array().unwrap();
    let places = disks.iter().flat_map(|disk| disk["places"].as_array().unwrap());
    let places: BTreeSet<&str> = places.map(|it| it.as_str().unwrap()).collect();
    assert_eq!(places, BTreeSet::from(["input", "manifests", "quarantine", "state_path", "warehouse"]));
    assert!(disks.iter().all(|disk| disk["free_bytes"].as_u64() > Some(0)));
    assert!(daemon.stop().success());
}

/// Why: a page that anybody can open must not be able to do anything.
#[test]
fn it_only_reads() {
    let place = Place::new();
    let (daemon, client) = patient(&place);
    place.stage("a.csv", csv(1, 100));
    client.wait_for("queue_depth{stage=\"waiting\"}", 1.0);
    // On a busy host, the mark that the journal gets when it is quiet comes late: no request has caused it.
    let mut before = snapshot(place.root.path());
    wait_until("the journal is quiet", || {
        std::thread::sleep(IDLE_MARK_DELAY * 10);
        let now = snapshot(place.root.path());
        std::mem::replace(&mut before, now) == before
    });
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"] {
            let response =
                client.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(response.code, 405, "{method} {path}");
            assert!(response.head.contains("Allow: GET, HEAD"), "{}", response.head);
        }
        let head = client.send(format!("HEAD {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((head.code, &*head.body), (200, ""), "{path}");
        assert_eq!(client.get(path).code, 200, "{path}");
    }
    assert_eq!(snapshot(place.root.path()), before);
    assert!(daemon.stop().success());
}

/// Why: where many may scrape the metrics, not all of them may see names of files. By each way that the option can be given, and
/// whatever the method is, there is nothing.
#[test]
fn without_the_page_only_metrics_and_probes_are_there() {
    for way in ["option", "environment", "file"] {
        let place = Place::new();
        let mut command = place.command();
        command.args(LISTENING).args(MEASURING);
        match way {
            "option" => drop(command.arg("--no-page")),
            "environment" => drop(command.env("CSV_INGESTOR_NO_PAGE", "on")),
            _ => {
                let file = place.root.path().join("page.toml");
                std::fs::write(&file, "no-page = true\n").unwrap();
                command.arg("--config").arg(file);
            }
        }
        let daemon = place.spawn(command);
        daemon.wait_started();
        let client = Client::of(&daemon);
        place.stage("secret.csv", csv(1, 100));
        daemon.wait_for("file_ingested", 1);
        for path in PATHS {
            for method in ["GET", "HEAD", "POST"] {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let response = client.send(request.as_bytes()).unwrap();
                assert_eq!(response.code, 404, "{way}: {method} {path}");
                assert!(!response.body.contains("/ has links"), "{}", response.body);
            }
        }
        client.wait_for("files_processed_total", 1.0);
        for path in ["/metrics", "/healthz", "/readyz"] {
            let response = client.get(path);
            assert_eq!((response.code, response.body.contains("secret")), (200, false), "{way}: {path}");
        }
        assert_eq!(daemon.events("started")[0]["no_page"], true);
        // It goes through the state directory, and is for those who may read that.
        let mut watch = bare(&["status", "--watch", "--json", "--state-path", place.state.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
        watch.kill().unwrap();
        watch.wait().unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        assert!(told["recent"]["ingested"][0]["path"].as_str().unwrap().ends_with("secret.csv"), "{line}");
        assert!(!told["status"]["disks"].as_array().unwrap().is_empty(), "{line}");
        assert!(daemon.stop().success());
    }
}

/// Why: whatever a name contains, the browser must run nothing that is not ours, and give nothing away.
#[test]
fn every_answer_has_a_strict_policy() {
    let place = Place::new();
    let (daemon, client) = patient(&place);
    for path in PATHS {
        let head = client.get(path).head;
        let policy = head.split("Content-Security-Policy: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        let rules: BTreeSet<&str> = policy.split("; ").collect();
        let expected = BTreeSet::from([
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]);
        assert_eq!(rules, expected, "{path}");
        for header in [
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Resource-Policy: same-origin",
            "Cache-Control: no-store",
        ] {
            assert!(head.contains(&format!("{header}\r\n")), "{path} has no {header}: {head}");
        }
        assert!(!head.contains("Access-Control"), "{head}");
    }
    let html = client.get("/");
    assert!(html.head.contains("Content-Type: text/html; charset=utf-8"), "{}", html.head);
    for part in ["<noscript>", "href=\"api/v1/status\"", "href=\"metrics\""] {
        assert!(html.body.contains(part), "{part}");
    }
    assert!(daemon.stop().success());
}

/// Why: the page is in every program, also on the smallest machine; and it must show the same without a network.
#[test]
fn its_files_are_small_and_use_nothing_elsewhere() {
    let place = Place::new();
    let (daemon, client) = patient(&place);
    let needles = [
        "http:",
        "https:",
        "//",
        "@import",
        "url(",
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        " style=",
        "<style",
        " onclick",
        " onload",
        " onerror",
        "javascript:",
        "srcdoc",
    ];
    let mut bytes = 0;
    for path in &PATHS[..4] {
        let body = client.get(path).body;
        bytes += body.len();
        // The name of SVG is no address; and JavaScript has comments.
        let text = body.replace("http://www.w3.org/2000/svg", "");
        let lines = text.lines().filter(|line| !line.starts_with("// "));
        let found: Vec<&str> = lines.filter(|line| needles.iter().any(|needle| line.contains(needle))).collect();
        assert!(found.is_empty(), "{path}: {found:?}");
    }
    assert!((10_000..40_000).contains(&bytes), "{bytes} bytes");
    assert!(daemon.stop().success());
}

/// Why: a web page whose name was made to lead to 127.0.0.1 counts as ours in the browser (DNS rebinding).
#[test]
fn on_loopback_only_local_names_are_answered() {
    let place = Place::new();
    let (daemon, client) = patient(&place);
    for path in PATHS {
        for hosts in [
            &["evil.example"][..],
            &["evil.example:9464"],
            &["localhost", "evil.example"],
            &["localhost.evil.example"],
            &["\u{ff}"],
            &[""],
        ] {
            let response = client.as_host(path, hosts);
            assert_eq!((response.code, response.body.contains('/')), (421, false), "{path} for {hosts:?}");
        }
        for hosts in [&["localhost:9464"][..], &["127.0.0.1"], &["[::1]:9464"], &["192.0.2.7"], &["a.localhost"], &[]] {
            assert_eq!(client.as_host(path, hosts).code, 200, "{path} for {hosts:?}");
        }
    }
    // No names are in these, and a Prometheus may have its own name for the host.
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(client.as_host(path, &["evil.example"]).code, 200, "{path}");
    }
    assert!(daemon.stop().success());
    let place = Place::new();
    let daemon = place.start(&["--metrics-listen", "0.0.0.0:0"]);
    daemon.wait_started();
    let port =
        daemon.wait_for("metrics_listening", 1)[0]["address"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let client = Client { address: format!("127.0.0.1:{port}") };
    assert_eq!(client.as_host("/", &["ingestor.example"]).code, 200);
    assert!(daemon.stop().success());
}

/// All pages from there on.
fn read_on(client: &Client, limit: usize, query: &str, from: &str) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), from.to_owned());
    loop {
        let page = client.json(&format!("/api/v1/waiting?limit={limit}{query}&after={after}"));
        let found = names(&page["files"]);
        assert!(found.len() <= limit);
        all.extend(found);
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return all,
        }
    }
}

/// Why: a page must have each file once, the oldest first, and an answer must stay small however many files wait.
#[test]
fn what_waits_comes_in_pages() {
    let place = Place::new();
    (0..300).for_each(|number| drop(place.stage(format!("old-{number}.csv"), "x")));
    let (daemon, client) = patient(&place);
    client.wait_for("queue_depth{stage=\"waiting\"}", 300.0);
    std::thread::sleep(Duration::from_millis(1100));
    // Another file under the same name has not waited at all.
    place.stage_whole("old-5.csv", "another");
    wait_until("the other file", || {
        names(&client.json("/api/v1/waiting?limit=200&after=0.299")["files"]) == ["old-5.csv"]
    });
    (0..6000).for_each(|number| drop(place.stage(format!("new-{number}.csv"), "x")));
    client.wait_for("queue_depth{stage=\"waiting\"}", 6300.0);
    let all = read_on(&client, 200, "", "");
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (6300, 6300));
    assert!(all[..300].iter().all(|name| name.starts_with("old-")) && all[299] == "old-5.csv", "the oldest first");
    let first = client.json("/api/v1/waiting");
    assert_eq!((names(&first["files"]), &first["known"]), (all[..50].to_vec(), &6300.into()));
    let some = read_on(&client, 7, "&name=NEW-24", "");
    assert_eq!(some.len(), 111, "new-24, new-24?, and new-24??: {some:?}");
    assert_eq!(read_on(&client, 200, "&name=old-299.csv", ""), ["old-299.csv"]);
    assert_eq!(read_on(&client, 200, "&name=%2e%2e", ""), [""; 0]);
    // Files leave the list, so many that those behind them move up; a place in it still leads on, past no file.
    let next = client.json("/api/v1/waiting?limit=100")["next"].as_str().unwrap().to_owned();
    let leaves = |at: usize| (20..60).contains(&at) || (1000..6000).contains(&at);
    let (gone, there): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|at| leaves(*at));
    gone.iter().for_each(|at| std::fs::remove_file(place.staging.join(&all[*at])).unwrap());
    client.wait_for("queue_depth{stage=\"waiting\"}", there.len() as f64);
    let rest: BTreeSet<String> = read_on(&client, 200, "", &next).into_iter().collect();
    let missing: Vec<_> = there.iter().filter(|at| **at >= 100 && !rest.contains(&all[**at])).collect();
    assert!(missing.is_empty(), "left out: {missing:?}");
    assert_eq!(read_on(&client, 200, "", "").len(), there.len());
    assert!(daemon.stop().success());
}

/// Why: a script must learn that it has asked for nonsense.
#[test]
fn odd_queries_are_refused() {
    let place = Place::new();
    let (daemon, client) = patient(&place);
    let long = format!("name={}", "x".repeat(256));
    for bad in ["limit=0", "limit=201", "limit=x", "after=1", "after=x", "name=%4", &long] {
        let response = client.get(&format!("/api/v1/waiting?{bad}"));
        assert_eq!(response.code, 400, "{bad}");
        assert!(serde_json::from_str::<Value>(&response.body).unwrap()["error"].is_string());
    }
    assert_eq!(client.json("/api/v1/waiting?new=1&&after=&limit=200")["known"], 0);
    assert!(daemon.stop().success());
}

/// Why: names come from upstreams.
#[test]
fn hostile_names_are_data() {
    let place = Place::new();
    let hostile: [&[u8]; 5] = [
        b"<img src=x onerror=alert(1)>.csv",
        b"quote\"s'&amp;.csv",
        "bidi\u{202e}vsc.\u{2066}".as_bytes(),
        b"line\nend\x1b[2J.csv",
        b"not\xff\xfeutf8.csv",
    ];
    hostile.iter().for_each(|name| drop(place.stage(OsStr::from_bytes(name), csv(7, 100))));
    let (daemon, client) = patient(&place);
    client.wait_for("queue_depth{stage=\"waiting\"}", 5.0);
    let response = client.get("/api/v1/waiting");
    assert!(!response.body.contains(['\n', '\u{1b}', '\u{202e}', '\u{2066}']), "{}", response.body);
    let files: Value = serde_json::from_str(&response.body).unwrap();
    let told: BTreeSet<String> = names(&files["files"]).into_iter().collect();
    let expected = hostile.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(told, expected);
    let exact = files["files"].as_array().unwrap().iter().filter_map(|file| file["path_base64"].as_str());
    let exact: Vec<Vec<u8>> = exact.map(|exact| BASE64.decode(exact).unwrap()).collect();
    assert_eq!(exact.len(), 1, "only what is not UTF-8");
    assert!(exact[0].ends_with(b"/not\xff\xfeutf8.csv"));
    assert_eq!(names(&client.json("/api/v1/waiting?name=%FF%fe")["files"]).len(), 1);
    assert!(daemon.stop().success());
}

/// Why: whoever looks at the page must not slow down ingestion, nor each other for long.
#[test]
fn many_readers_delay_nothing() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &["--include", "*.csv", "--min-age", "0s"]);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..20 {
                    let path = ["/api/v1/waiting?name=x", "/api/v1/status", "/api/v1/recent"][(thread + round) % 3];
                    let code = client.get(path).code;
                    assert!(code == 200 || code == 503 && path.contains("waiting"), "{path}: {code}");
                }
            });
        }
        (0..100).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
    });
    daemon.wait_for("file_ingested", 100);
    wait_until("all are told", || client.json("/api/v1/recent")["ingested"].as_array().unwrap().len() == 100);
    assert_eq!(client.get("/healthz").code, 200);
    assert!(daemon.stop().success());
}

/// Why: a monitor that polls it gets one line each time; on a terminal, it must leave that as it was.
#[test]
fn status_watch_shows_the_same_in_a_terminal() {
    let place = Place::new();
    let daemon = place.start(&[&LISTENING[..4], &["--max-size", "1000"]].concat());
    daemon.wait_started();
    place.stage("\u{1b}[31mred.csv", csv(1, 2000));
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    let state = place.state.to_str().unwrap();
    let refused = bare(&["status", "--watch", "--state-path", state]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("--json"), "{}", err(&refused));
    let watch =
        format!("timeout --foreground -s INT 3 {} status --watch --state-path '{state}'", crate::harness::BINARY);
    let lines = Command::new("sh").args(["-c", &format!("{watch} --json")]).output().unwrap();
    let lines = json_lines(&out(&lines));
    assert!((1..=3).contains(&lines.len()), "{}", lines.len());
    assert_eq!((&lines[0]["status"]["files"], &lines[0]["waiting"]["known"]), (&1.into(), &1.into()));
    assert!(
        lines[0]["status"]["journal"]["bytes"].as_u64() > Some(0)
            && lines[0]["status"]["disks"][0]["free_bytes"].as_u64() > Some(0)
    );
    assert!(lines[0]["recent"]["ingested"][0]["path"].as_str().unwrap().ends_with("/a.csv"));
    if has("script") {
        let on_a_terminal = |command: &str| {
            let mut script = Command::new("script");
            out(&script.args(["-qec", command, "/dev/null"]).stdin(std::process::Stdio::null()).output().unwrap())
        };
        let shown = on_a_terminal(&watch);
        assert!(shown.starts_with("\x1b[?1049h\x1b[?25l\x1b[H"), "{shown:?}");
        assert!(shown.trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "{shown:?}");
        assert!(shown.contains("1 ingested (126 B)") && shown.contains("a.csv"), "{shown:?}");
        assert!(shown.contains("\"\\u001b[31mred.csv\"") && !shown.contains("\x1b[31m"), "{shown:?}");
        daemon.stop();
        let shown = on_a_terminal(&watch);
        assert!(shown.contains("No ingestor answers"), "{shown:?}");
    }
}
