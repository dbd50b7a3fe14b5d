//! What is known after each kind of failure: one case for each row of the table in docs/object-stores.md.

use std::net::TcpListener;

use csv_ingestor::store::{Error, Kind, Result, Store, Verb};

use super::server::{Answer, Server};
use super::{SECRET, open, s3, sha256};

fn create(store: &dyn Store) -> Result<()> {
    store.create("k", b"bytes", &sha256(b"bytes"))
}

/// The error of a create that is answered like this, and that it was sent once.
fn after(answer: Answer) -> Error {
    let server = Server::start([answer]);
    let error = create(&s3(&server.url())).unwrap_err();
    assert_eq!(server.requests().len(), 1, "a request is never sent twice: {error}");
    error
}

#[test]
fn each_answer_means_what_the_table_says() {
    for (status, code, kind, words) in [
        (404, "NoSuchKey", Kind::NotFound, "NoSuchKey"),
        (404, "NoSuchBucket", Kind::Gone, "NoSuchBucket"),
        (401, "", Kind::Denied, "HTTP 401"),
        (403, "AccessDenied", Kind::Denied, "as the test wants"),
        (403, "RequestTimeTooSkewed", Kind::Denied, "clock"),
        (400, "ExpiredToken", Kind::Denied, "the credentials have expired"),
        (409, "ConditionalRequestConflict", Kind::Exists, "ConditionalRequestConflict"),
        (412, "PreconditionFailed", Kind::Exists, "PreconditionFailed"),
        (429, "", Kind::SlowDown, "HTTP 429"),
        (503, "SlowDown", Kind::SlowDown, "SlowDown"),
        (500, "InternalError", Kind::MayHaveHappened, "InternalError"),
        (502, "", Kind::MayHaveHappened, "HTTP 502"),
        (503, "", Kind::MayHaveHappened, "HTTP 503"),
        (504, "", Kind::MayHaveHappened, "HTTP 504"),
        (400, "RequestTimeout", Kind::MayHaveHappened, "RequestTimeout"),
        (400, "KeyTooLongError", Kind::Refused, "KeyTooLongError"),
        (501, "NotImplemented", Kind::Refused, "NotImplemented"),
    ] {
        let error = after(Answer::error(status, code));
        assert_eq!(error.kind, kind, "{status} {code}: {error}");
        assert!(error.detail.contains(words), "{error}");
        assert_eq!((error.verb, error.key.as_str()), (Verb::Create, "k"));
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Server::start([]);
    let redirect = Answer::Http(307, vec![("Location", other.url())], Vec::new());
    let server = Server::start([redirect.clone(), redirect]);
    let store = s3(&server.url());
    for error in [create(&store).unwrap_err(), store.get("k").unwrap_err()] {
        assert_eq!(error.kind, Kind::Refused);
        assert!(error.detail.contains("region"), "{error}");
    }
    assert!(other.requests().is_empty());
}

#[test]
fn a_lost_answer_may_have_happened() {
    assert_eq!(after(Answer::Close).kind, Kind::MayHaveHappened);
}

/// Less than the whole body is never taken for the object.
#[test]
fn a_torn_body_is_an_error() {
    let server = Server::start([Answer::Cut(b"byt".to_vec())]);
    let error = s3(&server.url()).get("k").unwrap_err();
    assert_eq!(error.kind, Kind::MayHaveHappened, "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_success_with_an_error_inside_may_have_happened() {
    let server = Server::start([Answer::error(200, "InternalError")]);
    let part = csv_ingestor::store::Part { number: 1, size: 1, etag: "\"e\"".to_owned() };
    let error = s3(&server.url()).complete("k", "id", &[part]).unwrap_err();
    assert_eq!(error.kind, Kind::MayHaveHappened, "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn without_a_connection_nothing_has_happened() {
    // A port where nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = create(&s3(&format!("http://127.0.0.1:{port}"))).unwrap_err();
    assert_eq!(error.kind, Kind::DidNotHappen, "{error}");
    assert!(error.detail.contains("refused"), "{error}");
    // A name that does not exist.
    let pairs = [("endpoint", "http://no.such.host.invalid"), ("allow_http", "true"), ("access_key_id", "x")];
    let pairs = [pairs.as_slice(), &[("secret_access_key", "y")]].concat();
    let error = create(&open("s3://bucket", &pairs).unwrap()).unwrap_err();
    assert_eq!(error.kind, Kind::DidNotHappen, "{error}");
}

/// What gives out credentials is asked first: as long as it has none, nothing goes to the store.
#[test]
fn without_credentials_nothing_is_sent() {
    for (answer, kind) in [(Answer::status(403, ""), Kind::Denied), (Answer::Close, Kind::DidNotHappen)] {
        let (store, metadata) = (Server::start([]), Server::start([answer]));
        let pairs = [("endpoint", store.url()), ("metadata_endpoint", metadata.url())];
        let pairs = pairs.each_ref().map(|(name, value)| (*name, value.as_str()));
        let error = create(&open("s3://bucket", &pairs).unwrap()).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.detail.contains("credentials"), "{error}");
        assert_eq!((store.requests().len(), metadata.requests().len()), (0, 1));
    }
}

#[test]
fn a_missing_container_is_told_from_a_missing_object_without_a_body() {
    for (code, kind) in [("ContainerNotFound", Kind::Gone), ("BlobNotFound", Kind::NotFound)] {
        let server = Server::start([Answer::Http(404, vec![("x-ms-error-code", code.to_owned())], Vec::new())]);
        let endpoint = server.url();
        let pairs = [("endpoint", endpoint.as_str()), ("account_name", "account"), ("account_key", "c2VjcmV0")];
        let error = open("az://container", &pairs).unwrap().head("k").unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
}

/// A store may repeat in its words what it was sent.
#[test]
fn no_secret_shows_up_in_an_error() {
    let body = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>you sent {SECRET}</Message></Error>");
    let error = after(Answer::status(403, &body));
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.detail.contains("you sent [secret]"), "{error}");
    for text in [format!("{error}"), format!("{error:?}")] {
        assert!(!text.contains(SECRET) && text.contains("SignatureDoesNotMatch"), "{text}");
    }
    for lost in [Answer::Close, Answer::error(500, "InternalError")] {
        let error = after(lost);
        assert!(!format!("{error:?}").contains(SECRET));
    }
}
