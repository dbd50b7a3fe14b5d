//! Delivers batches to a webhook: one POST for each, as CloudEvents.
//!
//! Invariants:
//! - A status of 200 to 299 takes the batch; nothing else does. A redirect is a failure, and is not followed.
//! - The file with the secrets is read again for each attempt. No secret is in an error, in the log, or anywhere else but in
//!   the signature.
//! - Of the URL, only scheme, host and port are shown: the rest may be a secret.

mod event;
mod retry_after;
pub mod signature;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::Digest as _;

use self::retry_after::retry_after;
use self::signature::Secrets;
use super::batch::Batch;
use super::consumer::Consumer;
use super::deliver::{Outcome, Sink};
use super::error::Error;
use super::event_type::EventType;
use crate::limits::{FOLLOW_ANSWER_BYTES_MAX, FOLLOW_ANSWER_SHOWN_BYTES};
use crate::store::cloud::post::{Answer, Post, Poster};

/// See the module.
pub struct Webhook {
    poster: Poster,
    consumer: Consumer,
    event_type: EventType,
    secret_file: Option<PathBuf>,
    timeout: Duration,
}

impl Webhook {
    /// For this URL. Sends nothing.
    ///
    /// # Errors
    /// [`Error::Consumer`] if the URL, the authorities or the secrets cannot be used.
    pub fn open(
        url: &str,
        ca_file: Option<&Path>,
        secret_file: Option<&Path>,
        (consumer, event_type): (&Consumer, &EventType),
        timeout: Duration,
    ) -> Result<Webhook, Error> {
        let poster = Poster::open(url, ca_file).map_err(|why| Error::Consumer(format!("--webhook: {why}")))?;
        if let Some(path) = secret_file {
            Secrets::read(path).map_err(Error::Consumer)?;
        }
        let secret_file = secret_file.map(Path::to_path_buf);
        Ok(Webhook { poster, consumer: consumer.clone(), event_type: event_type.clone(), secret_file, timeout })
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        self.poster.origin()
    }

    fn try_to(&self, batch: &Batch) -> Result<Answer, String> {
        let body = event::body(batch, &self.event_type);
        let id = message_id(&self.consumer, batch);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut headers = vec![
            ("content-type", "application/cloudevents-batch+json; charset=utf-8".to_owned()),
            ("webhook-id", id.clone()),
            ("webhook-timestamp", seconds.to_string()),
        ];
        if let Some(path) = &self.secret_file {
            headers.push(("webhook-signature", Secrets::read(path)?.sign(&id, seconds, &body)));
        }
        let (timeout, answer_bytes_max) = (self.timeout, FOLLOW_ANSWER_BYTES_MAX);
        self.poster.post(Post { headers, body, timeout, answer_bytes_max })
    }
}

impl Sink for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn deliver(&mut self, batch: &Batch, _attempt: u32) -> Outcome {
        match self.try_to(batch) {
            Ok(Answer { status: 200..=299, .. }) => Outcome::Taken,
            Ok(answer) => Outcome::Failed { why: said(&answer), pause: pause(&answer) },
            Err(why) => Outcome::failed(why),
        }
    }
}

/// The same for each attempt with the same lines.
fn message_id(consumer: &Consumer, batch: &Batch) -> String {
    let mut hasher = sha2::Sha256::new();
    hasher.update(format!("{consumer} {} {}", batch.before(), batch.cursor()));
    let digest: [u8; 32] = hasher.finalize().into();
    format!("msg_{}", digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// What an answer says, for people.
fn said(answer: &Answer) -> String {
    let Answer { status, body, .. } = answer;
    if (300..400).contains(status) {
        return format!("status {status}: a redirect, which is not followed; give the URL to which it leads");
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(FOLLOW_ANSWER_SHOWN_BYTES)]);
    let text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    match text.trim() {
        "" => format!("status {status}"),
        text => format!("status {status}: {text}"),
    }
}

/// The pause for which an answer asks. Only these two statuses mean that.
fn pause(answer: &Answer) -> Option<Duration> {
    let asked = answer.retry_after.as_deref().filter(|_| matches!(answer.status, 429 | 503))?;
    retry_after(asked, SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>, body: &[u8]) -> Answer {
        Answer { status, retry_after: retry_after.map(str::to_owned), body: body.to_vec() }
    }

    #[test]
    fn an_answer_is_told_in_a_few_words() {
        assert_eq!(said(&answer(500, None, b"\x1b[31m no\r\nroom ")), "status 500: [31m no  room");
        assert_eq!(said(&answer(404, None, b"")), "status 404");
        assert!(said(&answer(302, None, b"https://elsewhere/?hush")).starts_with("status 302: a redirect"));
        assert!(!said(&answer(302, None, b"https://elsewhere/?hush")).contains("hush"));
        assert!(said(&answer(400, None, "é".repeat(10_000).as_bytes())).len() <= FOLLOW_ANSWER_SHOWN_BYTES + 20);
    }

    #[test]
    fn only_a_server_that_wants_fewer_requests_sets_the_pause() {
        assert_eq!(pause(&answer(429, Some("7"), b"")), Some(Duration::from_secs(7)));
        assert_eq!(pause(&answer(503, Some("7"), b"")), Some(Duration::from_secs(7)));
        assert_eq!(pause(&answer(500, Some("7"), b"")), None);
        assert_eq!(pause(&answer(429, None, b"")), None);
    }
}
