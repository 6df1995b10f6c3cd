//! What a session keeps of the request that opened it.
//!
//! engine.io keeps the head of that request as long as the session lives, and its texts are slices of the buffer that hyper
//! read it into: a fifth of what an idle connection would take.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

/// The headers that engine.io asks for.
const ASKED_FOR: [HeaderName; 2] = [header::CONTENT_TYPE, header::SEC_WEBSOCKET_KEY];

/// Where engine.io listens.
const PATH: &str = "/socket.io/";

/// Gives a request of engine.io a head in memory of its own, of what engine.io asks for.
pub async fn own(mut request: Request) -> Request {
    if !request.uri().path().starts_with(PATH) {
        return request;
    }
    let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
    let kept = ASKED_FOR.iter().filter_map(|name| Some((name.clone(), own(request.headers().get(name)?)?)));
    let kept: HeaderMap = kept.collect();
    *request.headers_mut() = kept;
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
    request
}
