//! The metrics of a running ingestor, their HTTP server and textfile, and the alerts and dashboards made from them.

mod counts;
mod documents;
mod health;
mod http;
mod page;
mod textfile;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Daemon, PATIENCE, Place, has, wait_until};

/// Options to ingest quickly, and to listen.
const LISTENING: &[&str] = &["--stability-seconds", "0", "--scan-interval", "50ms", "--metrics-listen", "127.0.0.1:0"];

/// The interval at which the journal is measured and the `metrics` event is written.
const MEASURING: [&str; 2] = ["--metrics-interval", "50ms"];

/// Starts a daemon that listens, and waits until it is ready.
fn listening(place: &Place, more: &[&str]) -> (Daemon, Client) {
    let daemon = place.start(&[LISTENING, &MEASURING, more].concat());
    daemon.wait_started();
    let client = Client::of(&daemon);
    (daemon, client)
}

/// The command under strace with these options. The program itself is the child, so signals and exit code are its own.
fn traced(command: &Command, options: &[&str]) -> Option<Command> {
    if !has("strace") {
        return None;
    }
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]).args(options).arg(command.get_program());
    strace.args(command.get_args());
    Some(strace)
}

/// An HTTP client of one ingestor.
struct Client {
    address: String,
}

/// A response.
struct Response {
    code: u16,
    head: String,
    body: String,
}

impl Client {
    /// The client for a daemon, as soon as that listens.
    fn of(daemon: &Daemon) -> Client {
        let address = daemon.wait_for("metrics_listening", 1)[0]["address"].as_str().unwrap().to_owned();
        Client { address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and reads the response to its end; None if the connection failed.
    fn send(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.connect();
        stream.write_all(bytes).ok()?;
        read_response(&mut stream)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", self.address);
        self.send(request.as_bytes()).expect("an answer")
    }

    /// The metrics now.
    #[track_caller]
    fn metrics(&self) -> Samples {
        let response = self.get("/metrics");
        assert_eq!(response.code, 200, "{}", response.body);
        Samples::parse(&response.body)
    }

    /// Waits until a series has this value.
    #[track_caller]
    fn wait_for(&self, series: &str, value: f64) {
        self.wait_until(series, |samples| samples.get(series) == Some(value));
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn(&Samples) -> bool) {
        wait_until(what, || condition(&self.metrics()));
    }
}

fn read_response(stream: &mut TcpStream) -> Option<Response> {
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Response { code, head: head.to_owned(), body: body.to_owned() })
}

/// Series with their values, in the order of the text; names without the program's prefix.
struct Samples(Vec<(String, f64)>);

impl Samples {
    #[track_caller]
    fn parse(text: &str) -> Samples {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            (series.strip_prefix("csv_ingestor_").unwrap_or(series).to_owned(), value)
        };
        Samples(text.lines().filter(|line| !line.starts_with('#')).map(sample).collect())
    }

    fn get(&self, series: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == series).map(|(_, value)| *value)
    }

    #[track_caller]
    fn of(&self, series: &str) -> f64 {
        self.get(series).unwrap_or_else(|| panic!("no {series}"))
    }
}

/// Waits long enough for an event that must not happen.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(300));
}
