//! The server: its answers, and that no request can harm it or the ingestion.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{Client, a_moment, listening, read_response};
use crate::harness::{Place, bare, csv, err, wait_until};

/// Why: these are the requests of Prometheus, a browser and `curl -I`.
#[test]
fn it_answers_get_and_head() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    let metrics = client.get("/metrics");
    assert_eq!(metrics.code, 200);
    assert!(metrics.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{}", metrics.head);
    assert!(metrics.head.contains(&format!("Content-Length: {}", metrics.body.len())), "{}", metrics.head);
    assert!(!metrics.body.contains("# EOF") && metrics.body.ends_with('\n'));
    let query = client.get("/metrics?name=x");
    assert_eq!(query.code, 200);
    let head = client.send(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((head.code, &*head.body), (200, ""));
    let old = client.send(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((old.code, &*old.body), (200, "ok\n"));
    assert!(client.get("/").body.contains("href=\"metrics\""));
    for path in [
        "/nothing",
        "/metrics/",
        "/page.html",
        "/api/v1/",
        "/api/v1/status/",
        "/../etc/passwd",
        "http://elsewhere/metrics",
    ] {
        assert_eq!(client.get(path).code, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
        let response = client.send(format!("{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(response.code, 405, "{method}");
        assert!(response.head.contains("Allow: GET, HEAD"), "{}", response.head);
    }
    assert!(daemon.stop().success());
}

/// Why: a port on a network gets requests from scanners, browsers and worse.
#[test]
fn garbage_is_refused_and_harms_nothing() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    let garbage: [&[u8]; 7] = [
        b"\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"\r\nSSH-2.0-x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\0: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ];
    for bytes in garbage {
        assert_eq!(client.send(bytes).unwrap().code, 400, "{bytes:?}");
    }
    let long = [b"GET /".as_slice(), &vec![b'a'; 100_000]].concat();
    // The client may still be sending when the answer arrives.
    assert!(client.send(&long).is_none_or(|response| response.code == 431));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(client.send(many.as_bytes()).unwrap().code, 431);
    let body = [b"POST /metrics HTTP/1.1\r\nContent-Length: 20000\r\n\r\n".as_slice(), &[b'x'; 20_000]].concat();
    assert_eq!(client.send(&body).unwrap().code, 405);
    // Connections that are closed at once, or in the middle.
    for _ in 0..50 {
        drop(client.connect());
        let _ = client.connect().write_all(b"GET /met");
    }
    let mut pieces = client.connect();
    for byte in b"GET /readyz HTTP/1.1\r\n\r\n" {
        pieces.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read_response(&mut pieces).unwrap().code, 200);
    place.stage("a.csv", csv(1, 100));
    daemon.wait_for("file_ingested", 1);
    assert_eq!(client.metrics().of("files_processed_total"), 1.0);
    assert!(daemon.stop().success());
}

/// Why: a silent client must not be able to block the port, nor delay a single file.
#[test]
fn slow_clients_are_left_and_hold_nothing_up() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    // More than the server has threads; meanwhile a probe is answered within a probe's timeout.
    let silent: Vec<_> = (0..60).map(|_| client.connect()).collect();
    a_moment();
    let probed = Instant::now();
    assert_eq!(client.get("/healthz").code, 200);
    assert!(probed.elapsed() < Duration::from_secs(10), "a probe waited for {:?}", probed.elapsed());
    let mut hasty = client.connect();
    hasty.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    a_moment();
    let began = Instant::now();
    (0..20).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
    daemon.wait_for("file_ingested", 20);
    assert!(began.elapsed() < Duration::from_secs(10), "files waited for clients");
    // All of them get their turn, and each gets an answer before its connection is closed.
    assert_eq!(client.get("/healthz").code, 200);
    for mut stream in silent.into_iter().take(2) {
        assert_eq!(read_response(&mut stream).unwrap().code, 408);
    }
    assert!(daemon.stop().success(), "clients kept it from ending");
}

/// Why: scrapes by two servers, and probes, arrive at the same time.
#[test]
fn many_clients_at_once_all_get_an_answer() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..20 {
                    let path = ["/metrics", "/healthz", "/readyz"][(thread + round) % 3];
                    assert_eq!(client.get(path).code, 200);
                }
            });
        }
        (0..100).for_each(|seed| drop(place.stage(format!("{seed}.csv"), csv(seed, 100))));
    });
    daemon.wait_for("file_ingested", 100);
    wait_until("all are counted", || client.metrics().of("files_processed_total") == 100.0);
    assert!(daemon.stop().success());
}

/// Why: two ingestors with one port are a mistake in a unit file; it must be found at once, before anything is changed.
#[test]
fn an_address_that_is_taken_is_refused_before_anything_is_touched() {
    let place = Place::new();
    place.stage("a.csv", csv(1, 100));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [taken.local_addr().unwrap().to_string(), "192.0.2.1:9464".to_owned()];
    for address in addresses {
        let output = place.once(&["--metrics-listen", &address]);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains(&format!("--metrics-listen {address}")), "{}", err(&output));
        assert!(!place.state.exists() && !place.warehouse.exists() && !place.manifests.exists());
    }
    for bad in ["9464", ":9464", "127.0.0.1", "::1:80"] {
        let output = place.once(&["--metrics-listen", bad]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert!(err(&output).contains("--metrics-listen") && !place.state.exists(), "{bad}: {}", err(&output));
    }
}

/// Why: the operator must find the address in the log; with port 0 nothing else shows it.
#[test]
fn the_log_names_the_address() {
    let place = Place::new();
    let (daemon, client) = listening(&place, &[]);
    assert!(!client.address.ends_with(":0"), "{}", client.address);
    assert_eq!(daemon.events("metrics_listening")[0]["level"], "info");
    assert_eq!(daemon.events("started")[0]["metrics_listen"], "127.0.0.1:0");
    assert!(daemon.stop().success());
    // Also with the environment variable, and with a host name.
    let mut command = place.command();
    command.args(["--stability-seconds", "0"]).env("CSV_INGESTOR_METRICS_LISTEN", "localhost:0");
    let daemon = place.spawn(command);
    daemon.wait_for("metrics_listening", 2);
    let address = daemon.events("metrics_listening")[1]["address"].as_str().unwrap().to_owned();
    assert_eq!(Client { address }.get("/healthz").code, 200);
    assert!(daemon.stop().success());
}

/// Why: a dry run writes nothing, and another ingestor may have the port.
#[test]
fn a_dry_run_does_not_listen() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = place.once(&["--dry-run", "--metrics-listen", &address]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(bare(&["replay", "--metrics-listen", &address]).output().unwrap().status.code() == Some(2));
}
