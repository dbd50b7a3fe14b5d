//! Deliveries to a webhook, with the real program and a server on loopback.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;

use super::{JOURNAL, OwnManifests, cursor, events, json_lines, line, numbers, output_in_time, text};
use crate::cloud::secure::{file, tls_server};
use crate::cloud::server::{Answer, Request, Server};
use crate::harness::{err, wait_until};

/// What must not show up anywhere: it is in the URL's query.
const TOKEN: &str = "hush-token";

fn ok() -> Answer {
    Answer::status(204, "")
}

fn status(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Answer::Http(status, headers, body.as_bytes().to_vec())
}

fn url(server: &Server) -> String {
    format!("{}/hook?token={TOKEN}", server.url())
}

fn run(manifests: &OwnManifests, url: &str, more: &[&str]) -> Output {
    let words = [&["--consumer", "a", "--once", "--webhook", url][..], more].concat();
    let mut command = manifests.command(&words);
    // A proxy would get the lines. Some hosts have a list of names for which none is used.
    command
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .env("http_proxy", "http://127.0.0.1:9")
        .env("https_proxy", "http://127.0.0.1:9")
        .env("all_proxy", "http://127.0.0.1:9");
    let output = output_in_time(&mut command);
    assert!(!err(&output).contains(TOKEN), "{}", err(&output));
    output
}

#[track_caller]
fn run_ok(manifests: &OwnManifests, url: &str, more: &[&str]) -> String {
    let output = run(manifests, url, more);
    assert!(output.status.success(), "{}", err(&output));
    err(&output)
}

fn body(request: &Request) -> Vec<Value> {
    serde_json::from_slice(&request.body).unwrap()
}

/// The events' data.
fn data(request: &Request) -> Vec<Value> {
    body(request).into_iter().map(|mut event| event["data"].take()).collect()
}

fn dead(manifests: &OwnManifests) -> PathBuf {
    manifests.path("dead")
}

#[test]
fn lines_are_cloud_events() {
    let manifests = OwnManifests::with(5);
    let server = Server::start([ok(), ok()]);
    let log = run_ok(&manifests, &url(&server), &["--batch", "3"]);
    let requests = server.requests();
    assert_eq!(requests.iter().map(|request| numbers(&data(request))).collect::<Vec<_>>(), [vec![1, 2, 3], vec![4, 5]]);
    let first = &requests[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", format!("/hook?token={TOKEN}").as_str()));
    assert_eq!(first.header("content-type"), Some("application/cloudevents-batch+json; charset=utf-8"));
    let event = &body(first)[1];
    let expected = serde_json::json!({
        "specversion": "1.0",
        "id": format!("{JOURNAL}:2"),
        "source": "urn:uuid:00112233-4455-6677-8899-aabbccddeeff",
        "type": "csv-ingestor.file_ingested",
        "time": "2026-01-31T09:00:00.000Z",
        "datacontenttype": "application/json",
        "data": serde_json::from_str::<Value>(&line(2)).unwrap(),
    });
    assert_eq!(*event, expected);
    assert_eq!(manifests.cursor("a"), Some(cursor(5)));
    let delivered = events(&log, "lines_delivered");
    assert!(delivered.len() == 2 && delivered[0]["to"] == "webhook", "{log}");
    assert_eq!(requests[1].connection, first.connection, "a connection is used again");
}

/// Why: receivers route events by their type, and an organisation has its own names for them. Whatever the type is, the event is
/// JSON, and what is no type is refused before anything is sent.
#[test]
fn events_have_the_type_that_an_operator_gives() {
    let manifests = OwnManifests::with(2);
    let server = Server::start([ok(), ok()]);
    for event_type in ["org.example.orders.arrived", "a\"b\\c"] {
        run_ok(&manifests, &url(&server), &["--event-type", event_type, "--from", "beginning"]);
        let requests = server.requests();
        let types: Vec<Value> = body(requests.last().unwrap()).into_iter().map(|mut it| it["type"].take()).collect();
        assert_eq!(types, [event_type, event_type]);
    }
    let longest = "x".repeat(257);
    for wrong in ["", "a b", "a\n", "ä", &longest] {
        let output = run(&manifests, &url(&server), &["--event-type", wrong, "--from", "beginning"]);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", err(&output));
        assert!(err(&output).contains("1 to 256 ASCII characters"), "{}", err(&output));
    }
    assert_eq!(server.requests().len(), 2);
}

/// Why: with `--exec`, these were taken without a word: what the operator meant to be signed was signed by nobody.
#[test]
fn what_is_for_a_webhook_needs_one() {
    let manifests = OwnManifests::with(1);
    for option in ["--event-type", "--secret-file", "--ca-file"] {
        for deliver in [&[][..], &["--consumer", "a", "--exec", "--", "true"]] {
            let output = manifests.run(&[&[option, "x", "--once"], deliver].concat());
            assert_eq!(output.status.code(), Some(2), "{option} {deliver:?}: {}", err(&output));
            assert!(err(&output).contains("--webhook"), "{option} {deliver:?}: {}", err(&output));
        }
    }
}

/// What is not taken comes again, with the same ids: also after a kill.
#[test]
fn attempts_have_the_same_ids() {
    let manifests = OwnManifests::with(2);
    let server = Server::start([status(500, &[], "no\nroom"), Answer::Close, status(404, &[], ""), ok()]);
    let log = run_ok(&manifests, &url(&server), &[]);
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    for request in &requests[1..] {
        assert_eq!(
            (body(request), request.header("webhook-id")),
            (body(&requests[0]), requests[0].header("webhook-id"))
        );
    }
    let errors: Vec<String> =
        events(&log, "delivery_failed").iter().map(|event| event["error"].as_str().unwrap().to_owned()).collect();
    assert_eq!((errors.len(), &*errors[0], &*errors[2]), (3, "status 500: no room", "status 404"));
    let other = OwnManifests::with(3);
    let more = Server::start([ok()]);
    run_ok(&other, &url(&more), &[]);
    assert_ne!(more.requests()[0].header("webhook-id"), requests[0].header("webhook-id"), "other lines, the same id");
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let manifests = OwnManifests::with(1);
    let elsewhere = Server::start([ok()]);
    for code in [301, 302, 303, 307, 308] {
        let to = format!("{}/?{TOKEN}", elsewhere.url());
        let server = Server::start([status(code, &[("Location", &to)], "moved"), ok()]);
        let log = run_ok(&manifests, &url(&server), &["--from", "beginning"]);
        let failed = events(&log, "delivery_failed");
        assert_eq!(
            failed[0]["error"],
            format!("status {code}: a redirect, which is not followed; give the URL to which it leads")
        );
        assert_eq!(server.requests().len(), 2);
    }
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_server_says_when_to_come_back() {
    let manifests = OwnManifests::with(1);
    for code in [429, 503] {
        let server = Server::start([status(code, &[("Retry-After", "3")], ""), ok()]);
        let began = Instant::now();
        let log = run_ok(&manifests, &url(&server), &["--from", "beginning"]);
        assert!(began.elapsed() >= Duration::from_secs(3), "it was asked to wait");
        assert_eq!(events(&log, "delivery_failed")[0]["retry_in"], "3s");
    }
    // A date; and one that is not to be waited for as long as that.
    let in_an_age = "Fri, 31 Dec 9999 23:59:59 GMT";
    let server = Server::start([status(429, &[("Retry-After", in_an_age)], "")]);
    let log = std::fs::File::create(manifests.path("log")).unwrap();
    let words = ["--consumer", "a", "--from", "beginning", "--webhook", &url(&server)];
    let mut child = manifests.command(&words).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    wait_until("the answer", || text(&manifests.path("log")).contains("delivery_failed"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(events(&text(&manifests.path("log")), "delivery_failed")[0]["retry_in"], "1h");
}

#[test]
fn after_the_last_attempt_lines_are_dead_letters() {
    let manifests = OwnManifests::with(2);
    let server = Server::start([status(400, &[], &format!("a{}", "b".repeat(100_000))), ok()]);
    let letters = dead(&manifests);
    let more = ["--batch", "1", "--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
    let log = run_ok(&manifests, &url(&server), &more);
    let letters = json_lines(&text(&letters));
    assert_eq!((letters.len(), &letters[0]["line"]["seq"]), (1, &1.into()));
    let error = letters[0]["error"].as_str().unwrap();
    assert!(error.starts_with("status 400: abbb") && error.len() < 230, "{error}");
    assert!(log.len() < 3000, "the answer is in the log");
    assert_eq!((server.requests().len(), manifests.cursor("a")), (2, Some(cursor(2))));
}

/// A body that never ends, and a server that never answers.
#[test]
fn an_attempt_ends_in_time() {
    let manifests = OwnManifests::with(1);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    let letters = dead(&manifests);
    let more = ["--timeout", "300ms", "--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
    let began = Instant::now();
    let log = run_ok(&manifests, &address, &more);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(events(&log, "delivery_failed")[0]["error"], "no answer after 300ms");
    let cut = Server::start([Answer::Cut(b"half".to_vec())]);
    let log = run_ok(&manifests, &url(&cut), &[&more[..], &["--from", "beginning"]].concat());
    assert_eq!(events(&log, "lines_delivered").len(), 1, "the status says it: {log}");
}

/// A secret of 24 bytes.
fn secret(byte: u8) -> (Vec<u8>, String) {
    let bytes = vec![byte; 24];
    let text = format!("whsec_{}", BASE64.encode(&bytes));
    (bytes, text)
}

fn signature(secret: &[u8], request: &Request) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    let (id, time) = (request.header("webhook-id").unwrap(), request.header("webhook-timestamp").unwrap());
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(&request.body);
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[test]
fn requests_are_signed_and_secrets_can_be_changed_meanwhile() {
    let manifests = OwnManifests::with(1);
    let path = manifests.path("secret");
    let (old, old_text) = secret(b'o');
    let (new, new_text) = secret(b'n');
    let write = |text: &str| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    };
    write(&old_text);
    let server = Server::start([ok(), ok()]);
    let words = ["--consumer", "a", "--webhook", &url(&server), "--secret-file", path.to_str().unwrap()];
    let log = std::fs::File::create(manifests.path("log")).unwrap();
    let mut child = manifests.command(&words).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    wait_until("the first", || server.requests().len() == 1);
    write(&format!("{new_text}\n{old_text}\n"));
    manifests.append([2]);
    wait_until("the second", || manifests.cursor("a") == Some(cursor(2)));
    child.kill().unwrap();
    child.wait().unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].header("webhook-signature"), Some(&*signature(&old, &requests[0])));
    let both = format!("{} {}", signature(&new, &requests[1]), signature(&old, &requests[1]));
    assert_eq!(requests[1].header("webhook-signature"), Some(&*both));
    let id = requests[0].header("webhook-id").unwrap();
    assert!(id.starts_with("msg_") && !id.contains('.'), "{id}");
    for text in [
        text(&manifests.path("log")),
        std::fs::read_to_string(manifests.path("manifests/.csv-ingestor/consumers/a.json")).unwrap(),
    ] {
        assert!(!text.contains("whsec") && !text.contains(&new_text[6..]) && !text.contains(TOKEN), "{text}");
    }
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let manifests = OwnManifests::with(1);
    let server = Server::start([]);
    let path = manifests.path("secret");
    let (_, good) = secret(b'x');
    for (text, mode, why) in [
        (good.as_str(), 0o644, "other users can read it"),
        (&good, 0o620, "other users can read it"),
        ("hush-hush", 0o600, "it must hold 1 to 4 lines"),
        ("", 0o600, "it must hold 1 to 4 lines"),
        (&format!("{good}\n").repeat(5), 0o600, "it must hold 1 to 4 lines"),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let letters = dead(&manifests);
        let limit = ["--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
        let output = run(&manifests, &url(&server), &[&["--secret-file", path.to_str().unwrap()][..], &limit].concat());
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains(why) && !err(&output).contains("hush-hush"), "{}", err(&output));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn only_https_or_this_host() {
    let manifests = OwnManifests::with(1);
    for (url, why) in [
        ("http://example.org/", "use https://"),
        ("http://10.0.0.1/", "use https://"),
        ("http://127.0.0.1.example.org/", "use https://"),
        ("ftp://localhost/", "neither"),
        ("localhost", "no URL"),
        ("https://user:hush@example.org/", "a user, a password"),
        ("https://example.org/#x", "a fragment"),
    ] {
        let output = run(&manifests, url, &[]);
        assert_eq!(output.status.code(), Some(2), "{url}: {}", err(&output));
        assert!(err(&output).contains(why) && !err(&output).contains("user:hush"), "{url}: {}", err(&output));
    }
}

#[test]
fn certificates_are_checked() {
    let manifests = OwnManifests::with(1);
    let server = tls_server([ok()]);
    let right = format!("https://127.0.0.1:{}/", server.port);
    let (authority, letters) = (file("authority.pem"), dead(&manifests));
    let once = ["--max-attempts", "1", "--dead-letter", letters.to_str().unwrap()];
    let log = run_ok(&manifests, &right, &once);
    assert!(events(&log, "delivery_failed")[0]["error"].as_str().unwrap().contains("certificate"), "{log}");
    assert!(server.requests().is_empty());
    let trusting = ["--from", "beginning", "--ca-file", authority.to_str().unwrap()];
    run_ok(&manifests, &right, &trusting);
    assert_eq!(server.requests().len(), 1);
    let other = run_ok(&manifests, &format!("https://localhost:{}/", server.port), &[&trusting[..], &once].concat());
    assert!(other.contains("certificate"), "another host's certificate: {other}");
    let output = run(&manifests, &right, &["--ca-file", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
}

/// A group stays whole, and other lines come in requests that servers take.
#[test]
fn requests_have_a_size_that_servers_take() {
    let manifests = OwnManifests::with(4000);
    let server = Server::start(std::iter::repeat_with(ok).take(10));
    run_ok(&manifests, &url(&server), &["--batch", "10000"]);
    let sizes: Vec<usize> = server.requests().iter().map(|request| request.body.len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size < 1_000_000), "{sizes:?}");
    let all: Vec<u64> = server.requests().iter().flat_map(|request| numbers(&data(request))).collect();
    assert_eq!(all, (1..=4000).collect::<Vec<_>>());
}
