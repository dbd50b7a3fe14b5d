//! What is sent to S3, and what is read from its answers.

use std::time::Duration;

use csv_ingestor::store::{Head, Kind, Part, Store as _};
use csv_ingestor::types::UnixMillis;

use super::server::{Answer, Server};
use super::{s3, sha256};

fn headers(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn ok(pairs: &[(&'static str, &str)], body: &str) -> Answer {
    Answer::Http(200, headers(pairs), body.as_bytes().to_vec())
}

/// The headers of an object.
const OBJECT: &[(&str, &str)] = &[("ETag", "\"e\""), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")];

#[test]
fn a_create_carries_its_condition_and_its_sha256() {
    let server = Server::start([ok(OBJECT, "")]);
    s3(&server.url()).create("a=b/c%20.csv", b"bytes", &sha256(b"bytes")).unwrap();
    let [request] = &server.requests()[..] else { panic!("not one request") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/bucket/lake/a%3Db/c%2520.csv"));
    assert_eq!(request.header("if-none-match"), Some("*"));
    assert_eq!(request.header("x-amz-meta-sha256"), Some(sha256(b"bytes").hex().as_str()));
    assert_eq!(request.header("x-amz-content-sha256"), Some(sha256(b"bytes").hex().as_str()));
    assert_eq!(request.header("content-md5"), Some("SzpiGLs+OnMD6KFxpg/Pkg=="));
    assert_eq!(request.body, b"bytes");
}

#[test]
fn objects_are_read() {
    let sum = sha256(b"bytes").hex();
    let with_sum = [OBJECT, &[("x-amz-meta-sha256", sum.as_str()), ("Content-Length", "5")]].concat();
    let part = [OBJECT, &[("Content-Range", "bytes 1-3/5")]].concat();
    let rest = [OBJECT, &[("Content-Range", "bytes 3-4/5")]].concat();
    let server = Server::start([
        ok(OBJECT, "bytes"),
        Answer::Http(206, headers(&part), b"yte".to_vec()),
        Answer::Http(206, headers(&rest), b"es".to_vec()),
        ok(&with_sum, ""),
        ok(&[OBJECT, &[("x-amz-meta-sha256", "nonsense"), ("Content-Length", "5")]].concat(), ""),
        Answer::status(204, ""),
        Answer::error(404, "NoSuchKey"),
    ]);
    let store = s3(&server.url());
    assert_eq!(store.get("k").unwrap(), b"bytes");
    assert_eq!(store.get_range("k", 1, 3).unwrap(), b"yte");
    assert_eq!(store.get_range("k", 3, 10).unwrap_err().kind, Kind::Refused, "shorter than that");
    assert_eq!(store.head("k").unwrap(), Head { size: 5, sha256: Some(sha256(b"bytes")) });
    assert_eq!(store.head("k").unwrap(), Head { size: 5, sha256: None });
    store.delete("k").unwrap();
    store.delete("k").unwrap();
    let requests = server.requests();
    let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "GET", "GET", "HEAD", "HEAD", "DELETE", "DELETE"]);
    assert_eq!(requests[1].header("range"), Some("bytes=1-3"));
    assert!(requests.iter().all(|request| request.connection == 0), "the connection is used again");
}

#[test]
fn a_listing_has_ages_and_any_prefix() {
    let page = "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>\
        <Contents><Key>lake/log/0/1</Key><LastModified>2026-01-01T00:00:01.000Z</LastModified><ETag>\"e\"</ETag>\
        <Size>3</Size></Contents>\
        <Contents><Key>lake/log/0/2</Key><LastModified>2026-01-01T00:00:02.500Z</LastModified><ETag>\"e\"</ETag>\
        <Size>3</Size></Contents></ListBucketResult>";
    let server = Server::start([ok(&[], page), ok(&[], page)]);
    let store = s3(&server.url());
    let first = UnixMillis(1_767_225_601_000);
    let second = UnixMillis(1_767_225_602_500);
    let expected = [("log/0/1".to_owned(), first), ("log/0/2".to_owned(), second)];
    assert_eq!(store.list_ages("log/0/", "").unwrap(), expected);
    assert_eq!(store.list("lo", "log/0/1").unwrap(), ["log/0/2"], "a store that ignores where to begin");
    let targets: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert!(targets[0].contains("prefix=lake%2Flog%2F0%2F") && !targets[0].contains("start-after"), "{targets:?}");
    assert!(targets[1].contains("prefix=lake%2Flo&") || targets[1].ends_with("prefix=lake%2Flo"), "{targets:?}");
    assert!(targets[1].contains("start-after=lake%2Flog%2F0%2F1"), "{targets:?}");
}

#[test]
fn large_objects_go_in_parts() {
    let begun = "<InitiateMultipartUploadResult><UploadId>an id</UploadId></InitiateMultipartUploadResult>";
    let done = "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>";
    let page = |next: &str, more: bool, number: u16| {
        format!(
            "<ListPartsResult><NextPartNumberMarker>{next}</NextPartNumberMarker><IsTruncated>{more}</IsTruncated>\
             <Part><PartNumber>{number}</PartNumber><ETag>&quot;p{number}&quot;</ETag><Size>7</Size></Part></ListPartsResult>"
        )
    };
    let server = Server::start([
        ok(&[], begun),
        ok(&[("ETag", "\"p1\"")], ""),
        ok(&[("ETag", "\"p2\"")], ""),
        ok(&[], &page("1", true, 1)),
        ok(&[], &page("2", false, 2)),
        ok(&[], done),
        Answer::status(204, ""),
        Answer::error(404, "NoSuchUpload"),
        Answer::error(404, "NoSuchUpload"),
    ]);
    let store = s3(&server.url());
    let upload = store.begin_upload("k", &sha256(b"whole")).unwrap();
    assert_eq!(upload, "an id");
    let parts: Vec<Part> = [(1, b"part 01".as_slice()), (2, b"part 02")]
        .map(|(number, bytes)| store.put_part("k", &upload, number, bytes, &sha256(bytes)).unwrap())
        .into();
    assert_eq!(store.list_parts("k", &upload).unwrap(), parts);
    assert_eq!(parts[1], Part { number: 2, size: 7, etag: "\"p2\"".to_owned() });
    store.complete("k", &upload, &parts).unwrap();
    store.abort("k", &upload).unwrap();
    store.abort("k", &upload).unwrap();
    assert_eq!(store.list_parts("k", &upload).unwrap_err().kind, Kind::NotFound);
    assert_eq!(store.complete("k", &upload, &parts[1..]).unwrap_err().kind, Kind::Refused, "not sent at all");
    let requests = server.requests();
    assert_eq!(requests.len(), 9);
    assert_eq!(requests[0].header("x-amz-meta-sha256"), Some(sha256(b"whole").hex().as_str()));
    assert!(requests[2].target.contains("partNumber=2") && requests[2].target.contains("uploadId=an"));
    assert_eq!(requests[2].header("x-amz-content-sha256"), Some(sha256(b"part 02").hex().as_str()));
    assert!(requests[4].target.contains("part-number-marker=1"), "{}", requests[4].target);
    let body = String::from_utf8(requests[5].body.clone()).unwrap();
    assert!(body.contains("p1") && body.find("p1") < body.find("p2"), "{body}");
}

#[test]
fn calls_from_many_threads_travel_at_once() {
    let server = Server::start((0..64).map(|_| Answer::Together(64)));
    let store = s3(&server.url());
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| assert_eq!(store.get("k").unwrap(), b"x"));
        }
    });
    assert_eq!(server.requests().len(), 64);
}

#[test]
fn the_stores_clock_is_compared_with_ours() {
    let server = Server::start([ok(&[("Date", "Thu, 01 Jan 1970 00:00:00 GMT")], ""), ok(OBJECT, "")]);
    let store = s3(&server.url());
    assert_eq!(store.skew(), None);
    store.delete("k").unwrap();
    let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let behind = Duration::from_secs(store.skew().unwrap().unsigned_abs());
    assert!(store.skew().unwrap() < 0 && ours.abs_diff(behind) < Duration::from_secs(60));
}

#[test]
fn keys_stay_below_the_prefix() {
    let server = Server::start([]);
    let store = s3(&server.url());
    for key in ["", "/x", "x/", "a//b", "../x", "a/./b"] {
        assert_eq!(store.create(key, b"", &sha256(b"")).unwrap_err().kind, Kind::Refused, "{key:?}");
    }
    assert!(server.requests().is_empty());
}
