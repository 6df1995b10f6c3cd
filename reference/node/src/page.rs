//! The chat page: a few files, compiled in, so that a node needs nothing beside its binary.
//!
//! They are built from `reference/node/web` (`npm ci && npm run build`) and committed; a test of the harness builds them
//! again and compares. The page may load nothing from anywhere but its node, and be framed by nobody.

use std::{
    future::ready,
    hash::{DefaultHasher, Hash, Hasher},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// A file of the page.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

/// All of them.
const ASSETS: [Asset; 4] = [
    Asset { path: "/", kind: "text/html; charset=utf-8", bytes: include_bytes!("../web/dist/index.html") },
    Asset {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../web/dist/app.js"),
    },
    Asset { path: "/app.css", kind: "text/css; charset=utf-8", bytes: include_bytes!("../web/dist/app.css") },
    Asset { path: "/favicon.svg", kind: "image/svg+xml", bytes: include_bytes!("../web/dist/favicon.svg") },
];

/// `connect-src 'self'` covers WebSockets to the same host and port.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the page.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.into_iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset.bytes);
        router.route(asset.path, get(move |asked: HeaderMap| ready(answer(&asset, &tag, &asked))))
    })
}

fn answer(asset: &Asset, tag: &str, asked: &HeaderMap) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        // Names do not change with contents: a browser asks each time whether it has the present one.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, tag),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, asset.bytes).into_response()
}

/// Names the contents.
fn tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_the_file_is_not_sent_it_again() {
        let [page, script, ..] = ASSETS;
        let name = tag(page.bytes);
        assert_ne!(name, tag(script.bytes));
        let mut asked = HeaderMap::new();
        assert_eq!(answer(&page, &name, &asked).status(), StatusCode::OK);
        asked.insert(header::IF_NONE_MATCH, "\"other\"".parse().unwrap());
        assert_eq!(answer(&page, &name, &asked).status(), StatusCode::OK);
        asked.insert(header::IF_NONE_MATCH, format!("\"other\", W/{name}").parse().unwrap());
        let unchanged = answer(&page, &name, &asked);
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(unchanged.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
    }

    /// Inline code and other hosts would be refused by the policy, and the page would be blank.
    #[test]
    fn the_page_names_only_files_that_are_there() {
        let html = std::str::from_utf8(ASSETS[0].bytes).unwrap();
        let named: Vec<&str> = html.split(['"', '\'']).filter(|word| word.starts_with(['/', 'h'])).collect();
        let paths = ASSETS.map(|asset| asset.path);
        assert!(named.iter().all(|word| !word.contains("//")), "{named:?}");
        let files: Vec<_> = named.iter().filter(|word| word.starts_with('/')).collect();
        assert!(files.len() >= 3 && files.iter().all(|file| paths.contains(file)), "{files:?}");
        assert!(!html.contains("<script>") && !html.contains("<style") && !html.contains("style="));
    }
}
