//! The page's own files. Their links change with their content, so that browsers may cache them forever.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::LazyLock;

use axum::extract::RawQuery;
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file that the page loads.
pub(super) struct Asset {
    /// Relative to the page.
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

pub(super) const SCRIPT_PATH: &str = "/-/page.js";
pub(super) const STYLE_PATH: &str = "/-/page.css";
pub(super) const ICON_PATH: &str = "/-/page.svg";

pub(super) static SCRIPT: Asset =
    Asset { path: SCRIPT_PATH, content_type: "text/javascript; charset=utf-8", content: include_str!("page.js") };
pub(super) static STYLE: Asset =
    Asset { path: STYLE_PATH, content_type: "text/css; charset=utf-8", content: include_str!("page.css") };
pub(super) static ICON: Asset =
    Asset { path: ICON_PATH, content_type: "image/svg+xml", content: include_str!("page.svg") };

/// Covers all files, so that one hash is enough.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    [&SCRIPT, &STYLE, &ICON].iter().for_each(|asset| hasher.write(asset.content.as_bytes()));
    format!("{:016x}", hasher.finish())
});

impl Asset {
    /// The link from the page; relative, so that it also works below a path of a proxy.
    pub(super) fn link(&self) -> String {
        format!(".{}?{}", self.path, *VERSION)
    }

    /// The wrong file for the page of another version, if two versions share an address: caches must not keep it.
    pub(super) fn respond(&self, RawQuery(version): RawQuery) -> Response {
        let own = version.as_deref() == Some(VERSION.as_str());
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, if own { "public, max-age=31536000, immutable" } else { "no-store" }),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.content).into_response()
    }
}
