//! What is known after a request that did not succeed: from its trace to a [`Kind`] and some words.
//!
//! Invariants:
//! - In doubt, a request may have happened. [`Kind::DidNotHappen`] needs proof: no connection, or no credentials.
//! - Words are the store's own code and message, or the network's; [`super::secrets`] cleans them.

use super::fault::chain;
use super::trace::{Answer, Last, Trace};
use crate::store::{Kind, Verb};

/// Why the work of a call ended without a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client library says so; the trace knows more.
    Library(object_store::Error),
    /// The store has answered with an error, which is in the trace.
    Answered,
    /// It took too long.
    Late(std::time::Duration),
    /// It is clear without asking the store, or from what it answered.
    Known(Kind, String),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Failure {
        Failure::Library(error)
    }
}

/// What is known, and in which words.
pub(super) fn outcome(verb: Verb, trace: &Trace, failure: &Failure) -> (Kind, String) {
    if let Failure::Known(kind, words) = failure {
        return (*kind, words.clone());
    }
    let said = match failure {
        Failure::Library(error) => chain(error),
        Failure::Late(limit) => format!("no answer within {} s", limit.as_secs()),
        Failure::Answered | Failure::Known(..) => String::new(),
    };
    if trace.for_credentials {
        return without_credentials(&trace.last, &said);
    }
    match &trace.last {
        Last::Nothing => (Kind::DidNotHappen, said),
        Last::Unsent(why) => (Kind::DidNotHappen, why.clone()),
        Last::Lost(why) => (Kind::MayHaveHappened, why.clone()),
        Last::Begun => (Kind::MayHaveHappened, said),
        // A success that the client library cannot read, or whose body is lost.
        Last::Answered(answer) if answer.status < 300 => (Kind::MayHaveHappened, said),
        Last::Answered(answer) => answered(verb, answer),
    }
}

/// There are no credentials, so nothing has gone to the store.
fn without_credentials(last: &Last, said: &str) -> (Kind, String) {
    match last {
        Last::Nothing => (Kind::Denied, format!("no credentials: {said}")),
        Last::Answered(answer) if matches!(answer.status, 400..=404) => {
            (Kind::Denied, format!("no credentials: {}", words(answer)))
        }
        Last::Answered(answer) if answer.status >= 300 => {
            (Kind::DidNotHappen, format!("credentials could not be fetched: {}", words(answer)))
        }
        Last::Unsent(why) | Last::Lost(why) => (Kind::DidNotHappen, format!("credentials could not be fetched: {why}")),
        Last::Begun | Last::Answered(_) => (Kind::DidNotHappen, format!("credentials could not be fetched: {said}")),
    }
}

fn words(answer: &Answer) -> String {
    let Answer { status, code, message } = answer;
    match (code.is_empty(), message.is_empty()) {
        (true, true) => format!("HTTP {status}"),
        (false, true) => format!("HTTP {status} {code}"),
        (true, false) => format!("HTTP {status}: {message}"),
        (false, false) => format!("HTTP {status} {code}: {message}"),
    }
}

/// Codes that say what no status says alone.
fn by_code(code: &str) -> Option<(Kind, &'static str)> {
    let expired = "; the credentials have expired";
    let skewed = "; this host's clock and the store's differ too much: set this host's clock (NTP)";
    Some(match code {
        "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled" => (Kind::Gone, ""),
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "ServerBusy"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "ServiceUnavailable"
        | "Reduce" => (Kind::SlowDown, ""),
        "RequestTimeTooSkewed" | "RequestInTheFuture" => (Kind::Denied, skewed),
        "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" | "RequestExpired" => (Kind::Denied, expired),
        "InvalidToken" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => (Kind::Denied, ""),
        "NoSuchUpload" => (Kind::NotFound, ""),
        // The store waited for bytes of the request.
        "RequestTimeout" | "InternalError" | "OperationTimedOut" => (Kind::MayHaveHappened, ""),
        _ => return None,
    })
}

fn answered(verb: Verb, answer: &Answer) -> (Kind, String) {
    if let Some((kind, hint)) = by_code(&answer.code) {
        return (kind, format!("{}{hint}", words(answer)));
    }
    let creates = matches!(verb, Verb::Create | Verb::Complete);
    let reads = matches!(verb, Verb::Get | Verb::Head | Verb::List | Verb::ListParts);
    let kind = match answer.status {
        401 | 403 | 407 => Kind::Denied,
        404 => Kind::NotFound,
        409 | 412 if creates => Kind::Exists,
        408 => Kind::MayHaveHappened,
        429 => Kind::SlowDown,
        // With a code, it is the store's own. Without, it is a gateway's, which may have passed the request on.
        503 if reads || !answer.code.is_empty() => Kind::SlowDown,
        501 | 505 => Kind::Refused,
        300..=499 => Kind::Refused,
        _ => Kind::MayHaveHappened,
    };
    let hint = match answer.status {
        301 | 307 | 308 => "; the store is elsewhere: check region and endpoint",
        _ => "",
    };
    (kind, format!("{}{hint}", words(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(verb: Verb, status: u16, code: &str) -> (Kind, String) {
        let answer = Answer { status, code: code.to_owned(), message: String::new() };
        let mut trace = Trace::default();
        trace.last = Last::Answered(answer);
        outcome(verb, &trace, &Failure::Answered)
    }

    #[test]
    fn a_status_means_what_the_table_says() {
        for (verb, status, code, kind) in [
            (Verb::Get, 404, "NoSuchKey", Kind::NotFound),
            (Verb::Head, 404, "", Kind::NotFound),
            (Verb::Get, 404, "NoSuchBucket", Kind::Gone),
            (Verb::Create, 404, "ContainerNotFound", Kind::Gone),
            (Verb::Complete, 404, "NoSuchUpload", Kind::NotFound),
            (Verb::Get, 401, "", Kind::Denied),
            (Verb::Create, 403, "AccessDenied", Kind::Denied),
            (Verb::Create, 403, "RequestTimeTooSkewed", Kind::Denied),
            (Verb::Create, 400, "ExpiredToken", Kind::Denied),
            (Verb::Create, 412, "PreconditionFailed", Kind::Exists),
            (Verb::Create, 409, "ConditionalRequestConflict", Kind::Exists),
            (Verb::Create, 409, "BlobAlreadyExists", Kind::Exists),
            (Verb::Complete, 409, "BlobAlreadyExists", Kind::Exists),
            (Verb::Delete, 409, "", Kind::Refused),
            (Verb::Get, 412, "", Kind::Refused),
            (Verb::Create, 429, "", Kind::SlowDown),
            (Verb::Create, 503, "SlowDown", Kind::SlowDown),
            (Verb::Create, 503, "ServerBusy", Kind::SlowDown),
            (Verb::Get, 503, "", Kind::SlowDown),
            (Verb::Create, 503, "", Kind::MayHaveHappened),
            (Verb::Create, 200, "SlowDown", Kind::MayHaveHappened),
            (Verb::Create, 500, "InternalError", Kind::MayHaveHappened),
            (Verb::Create, 502, "", Kind::MayHaveHappened),
            (Verb::Create, 504, "", Kind::MayHaveHappened),
            (Verb::Create, 400, "RequestTimeout", Kind::MayHaveHappened),
            (Verb::Create, 400, "KeyTooLongError", Kind::Refused),
            (Verb::Create, 413, "", Kind::Refused),
            (Verb::Get, 416, "InvalidRange", Kind::Refused),
            (Verb::Create, 501, "NotImplemented", Kind::Refused),
            (Verb::Create, 301, "PermanentRedirect", Kind::Refused),
        ] {
            assert_eq!(known(verb, status, code).0, kind, "{verb:?} {status} {code}");
        }
    }

    #[test]
    fn clocks_and_expired_credentials_are_named() {
        assert!(known(Verb::Create, 403, "RequestTimeTooSkewed").1.contains("clock"));
        assert!(known(Verb::Create, 400, "ExpiredToken").1.contains("the credentials have expired"));
        assert!(known(Verb::Create, 301, "").1.contains("region"));
    }

    #[test]
    fn without_credentials_nothing_has_happened() {
        for (last, kind) in [
            (Last::Nothing, Kind::Denied),
            (Last::Answered(Answer { status: 403, ..Answer::default() }), Kind::Denied),
            (Last::Answered(Answer { status: 500, ..Answer::default() }), Kind::DidNotHappen),
            (Last::Lost("reset".to_owned()), Kind::DidNotHappen),
            (Last::Begun, Kind::DidNotHappen),
        ] {
            let mut trace = Trace::default();
            (trace.last, trace.for_credentials) = (last, true);
            let failure = Failure::Late(std::time::Duration::from_secs(1));
            assert_eq!(outcome(Verb::Create, &trace, &failure).0, kind, "{:?}", trace.last);
        }
    }
}
