//! The page and its JSON over HTTP.
//!
//! Invariants:
//! - All that the page needs is compiled in, and its policy lets the browser load nothing from elsewhere, and run nothing
//!   that is not one of these files.
//! - No answer may be read by pages of other origins, kept in a cache, or shown in a frame.

use std::sync::Arc;

use super::{Page, hosts, query};
use crate::log::json::text;
use crate::metrics::http::{Answers, Request, Response};

/// What the browser may do with the page.
const HEADERS: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n";

const JSON: &str = "application/json";

/// (path, content type, content)
const ASSETS: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/page.svg", "image/svg+xml", include_str!("page.svg")),
];

const STATUS: &str = "/api/v1/status";
const RECENT: &str = "/api/v1/recent";
const WAITING: &str = "/api/v1/waiting";

/// The page, as a listener answers with it.
pub struct Routes {
    page: Arc<Page>,
    /// The listener is on loopback.
    is_loopback: bool,
}

impl Routes {
    /// The routes of a listener that is on loopback, or not.
    pub fn new(page: &Arc<Page>, is_loopback: bool) -> Routes {
        Routes { page: page.clone(), is_loopback }
    }

    fn waiting(&self, query: &str) -> Response {
        match query::parse(query).map(|wanted| self.page.waiting(&wanted)) {
            Ok(Ok(answer)) => Response::new(200, JSON, answer),
            Ok(Err(error)) => refused(503, &error.to_string()),
            Err(error) => refused(400, &error),
        }
    }
}

impl Answers for Routes {
    fn knows(&self, path: &str) -> bool {
        [STATUS, RECENT, WAITING].contains(&path) || ASSETS.iter().any(|(known, ..)| *known == path)
    }

    fn answer(&self, request: &Request) -> Response {
        if self.is_loopback && !request.hosts.iter().all(|host| hosts::is_local(host)) {
            let why = "this address is on loopback: it answers for localhost and for addresses, not for other names\n";
            return Response::text(421, why).with(HEADERS);
        }
        let response = match &*request.path {
            STATUS => Response::new(200, JSON, self.page.status()),
            RECENT => Response::new(200, JSON, self.page.recent()),
            WAITING => self.waiting(&request.query),
            path => match ASSETS.iter().find(|(known, ..)| *known == path) {
                Some((_, content_type, content)) => Response::new(200, content_type, *content),
                None => Response::text(404, "there is nothing here\n"),
            },
        };
        response.with(HEADERS)
    }
}

fn refused(code: u16, error: &str) -> Response {
    Response::new(code, JSON, text(&serde_json::json!({ "error": error })))
}
