//! What is sent to Google Cloud Storage and to Azure, where it differs from S3.

use csv_ingestor::store::cloud::CloudStore;
use csv_ingestor::store::{Kind, Part, Store as _};

use super::server::{Answer, Request, Server};
use super::{open, s3, sha256};

/// `bytes`, MD5, in base64.
const MD5: &str = "SzpiGLs+OnMD6KFxpg/Pkg==";

fn google(server: &Server) -> CloudStore {
    open("gs://bucket/lake", &[("endpoint", &server.url()), ("bearer_token", "the-token")]).unwrap()
}

fn azure(server: &Server) -> CloudStore {
    let pairs = [("endpoint", server.url()), ("account_name", "account".into()), ("account_key", "c2VjcmV0".into())];
    open("az://container/lake", &pairs.each_ref().map(|(name, value)| (*name, value.as_str()))).unwrap()
}

fn ok(name: &'static str, value: &str, body: &str) -> Answer {
    Answer::Http(200, vec![(name, value.to_owned())], body.as_bytes().to_vec())
}

#[track_caller]
fn assert_headers(request: &Request, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(request.header(name), Some(*value), "{name}");
    }
}

#[test]
fn google_creates_with_a_generation_of_0() {
    let server = Server::start([ok("ETag", "\"e\"", "")]);
    google(&server).create("k", b"bytes", &sha256(b"bytes")).unwrap();
    let [request] = &server.requests()[..] else { panic!("not one request") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/bucket/lake%2Fk"));
    let sum = sha256(b"bytes").hex();
    assert_headers(
        request,
        &[
            ("x-goog-if-generation-match", "0"),
            ("x-goog-meta-sha256", &sum),
            ("content-md5", MD5),
            ("authorization", "Bearer the-token"),
        ],
    );
}

#[test]
fn google_cannot_list_parts_here() {
    let server = Server::start([]);
    assert_eq!(google(&server).list_parts("k", "id").unwrap_err().kind, Kind::Refused);
}

#[test]
fn azure_creates_with_a_checksum_and_deletes_one_by_one() {
    let server = Server::start([Answer::status(201, ""), Answer::status(202, ""), Answer::error(404, "BlobNotFound")]);
    let store = azure(&server);
    store.create("a=b/k", b"bytes", &sha256(b"bytes")).unwrap();
    store.delete("k").unwrap();
    store.delete("k").unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].target, "/container/lake/a%3Db/k");
    let sum = sha256(b"bytes").hex();
    assert_headers(
        &requests[0],
        &[
            ("if-none-match", "*"),
            ("x-ms-meta-sha256", &sum),
            ("content-md5", MD5),
            ("x-ms-blob-type", "BlockBlob"),
            ("content-length", "5"),
        ],
    );
    assert!(requests[0].header("authorization").unwrap().starts_with("SharedKey account:"));
    assert_eq!((requests[1].method.as_str(), requests[1].target.as_str()), ("DELETE", "/container/lake/k"));
}

#[test]
fn bytes_that_are_not_those_of_the_sha256_are_not_sent() {
    let server = Server::start([]);
    for store in [google(&server), azure(&server), s3(&server.url())] {
        assert_eq!(store.create("k", b"changed", &sha256(b"bytes")).unwrap_err().kind, Kind::Refused);
        let upload = format!("{}-{}", "0".repeat(32), sha256(b"bytes").hex());
        assert_eq!(store.put_part("k", &upload, 1, b"changed", &sha256(b"bytes")).unwrap_err().kind, Kind::Refused);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn an_azure_upload_becomes_an_object_that_is_not_replaced() {
    let server =
        Server::start([Answer::status(201, ""), Answer::status(201, ""), Answer::error(409, "BlobAlreadyExists")]);
    let store = azure(&server);
    let upload = store.begin_upload("k", &sha256(b"whole")).unwrap();
    assert_ne!(upload, store.begin_upload("k", &sha256(b"whole")).unwrap(), "each upload has a name of its own");
    let part = store.put_part("k", &upload, 1, b"bytes", &sha256(b"bytes")).unwrap();
    store.complete("k", &upload, std::slice::from_ref(&part)).unwrap();
    assert_eq!(store.complete("k", &upload, &[part]).unwrap_err().kind, Kind::Exists);
    assert_eq!(
        store.complete("k", "no id", &[Part { number: 1, size: 1, etag: "e".into() }]).unwrap_err().kind,
        Kind::NotFound
    );
    store.abort("k", &upload).unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].target.starts_with("/container/lake/k?comp=block&blockid="), "{}", requests[0].target);
    assert_headers(&requests[0], &[("content-md5", MD5)]);
    assert_eq!(requests[1].target, "/container/lake/k?comp=blocklist");
    assert_headers(&requests[1], &[("if-none-match", "*"), ("x-ms-meta-sha256", &sha256(b"whole").hex())]);
}
