//! Which pages may talk to this node.
//!
//! A browser asks by CORS before it lets a page read an answer, and does not ask before it opens a WebSocket. So a list of
//! origins is two things: CORS headers, and a refusal of what comes from elsewhere.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::meters;

/// The CORS headers: without a list any page may, without its cookies; with one those on it may, with them, as sticky
/// sessions need.
pub fn cors(origins: &[HeaderValue]) -> CorsLayer {
    if origins.is_empty() {
        return CorsLayer::permissive();
    }
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
}

/// Refuses requests of pages that are not on the list, if there is one.
pub async fn only_listed(State(origins): State<Vec<HeaderValue>>, request: Request, next: Next) -> Response {
    if is_listed(&origins, request.headers()) {
        return next.run(request).await;
    }
    meters::connection_refused("origin");
    (StatusCode::FORBIDDEN, "pages of this origin may not connect\n").into_response()
}

/// What comes without an origin comes from no page.
fn is_listed(origins: &[HeaderValue], headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).filter(|_| !origins.is_empty()) else { return true };
    let own = || {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        Some(origin.to_str().ok()?.split_once("://")?.1 == host)
    };
    origins.contains(origin) || own() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_let_in_by_the_list_or_as_the_nodes_own() {
        let origins = [HeaderValue::from_static("https://chat.example.org")];
        let from = |origin: Option<&'static str>| {
            let mut headers =
                HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:8080"))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            headers
        };
        for (origin, listed) in [
            (None, true),
            (Some("https://chat.example.org"), true),
            (Some("http://127.0.0.1:8080"), true),
            (Some("http://chat.example.org"), false),
            (Some("https://chat.example.org.evil.test"), false),
            (Some("null"), false),
        ] {
            assert_eq!(is_listed(&origins, &from(origin)), listed, "{origin:?}");
            assert!(is_listed(&[], &from(origin)), "without a list everybody is");
        }
    }
}
