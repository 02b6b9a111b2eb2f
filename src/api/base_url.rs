//! The address of the API, checked before a key is sent to it.

use std::fmt;

use reqwest::Url;

use super::pipeline_id::PipelineId;

/// The API's address. Every request goes to its host: to a path below it, or to the usage beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why an address cannot be used as `api.base_url`.
#[derive(Debug, thiserror::Error)]
pub enum BaseUrlError {
    /// Not an absolute URL.
    #[error("is not a URL ({0}); expects one such as https://api.covalenthq.com/platform/pipeline-api/")]
    Invalid(String),
    /// A scheme other than http and https.
    #[error("has the scheme `{0}`; expects https (or http on a loopback host)")]
    Scheme(String),
    /// Plain http to another machine would show the ServiceKey to the network.
    #[error(
        "is plain http to a host that is not loopback, which would show the ServiceKey to the network; \
         use https, or set api.allow_http to true if something else protects the connection"
    )]
    PlainHttp,
    /// User, password, query or fragment in the URL.
    #[error("holds a user, password, query or fragment; expects only scheme, host, port and path")]
    Extras,
}

impl BaseUrl {
    /// Parses an address and adds a missing trailing slash.
    ///
    /// # Errors
    /// A [`BaseUrlError`] if the address is not an http(s) URL, contains more than host and path, or is plain http to a
    /// host that is not loopback while `allow_http` is false.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, BaseUrlError> {
        let mut url = Url::parse(text).map_err(|error| BaseUrlError::Invalid(error.to_string()))?;
        match url.scheme() {
            "https" => {}
            "http" if allow_http || is_loopback(&url) => {}
            "http" => return Err(BaseUrlError::PlainHttp),
            other => return Err(BaseUrlError::Scheme(other.to_owned())),
        }
        let extras =
            !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
        if extras {
            return Err(BaseUrlError::Extras);
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(super) fn list(&self, page_number: u32, page_size: Option<u32>) -> Url {
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair("page_number", &page_number.to_string());
        if let Some(page_size) = page_size {
            url.query_pairs_mut().append_pair("page_size", &page_size.to_string());
        }
        url
    }

    /// The address of the account's usage in this month: `../usage/`, relative to the API. `None` if the path does not
    /// end in `pipeline-api/`: then nothing is known about its siblings.
    pub(super) fn usage(&self) -> Option<Url> {
        let mut segments = self.0.path_segments()?.rev();
        let is_the_apis = segments.next() == Some("") && segments.next() == Some("pipeline-api");
        let mut url = self.0.join("../usage/").ok().filter(|_| is_the_apis)?;
        url.query_pairs_mut().append_pair("duration", "1");
        Some(url)
    }

    /// Whether the usage API is next to the pipeline API at this address.
    pub fn has_usage(&self) -> bool {
        self.usage().is_some()
    }

    pub(super) fn of_pipeline(&self, id: &PipelineId, endpoint: &str) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([id.as_str(), endpoint, ""]);
        }
        url
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for fine in ["http://127.0.0.1:80/a", "http://[::1]:1/", "http://localhost/", "https://api.example/x/"] {
            assert!(BaseUrl::parse(fine, false).is_ok(), "{fine}");
        }
        for refused in ["http://api.example/", "http://127.0.0.1.example/", "http://localhost.example/"] {
            assert!(matches!(BaseUrl::parse(refused, false), Err(BaseUrlError::PlainHttp)), "{refused}");
            assert!(BaseUrl::parse(refused, true).is_ok(), "{refused}");
        }
    }

    #[test]
    fn only_scheme_host_and_path_are_accepted() {
        for refused in ["https://u@h/", "https://u:p@h/", "https://h/?a=b", "https://h/#f"] {
            assert!(matches!(BaseUrl::parse(refused, false), Err(BaseUrlError::Extras)), "{refused}");
        }
        let base = BaseUrl::parse(" https://h/x ", false).unwrap();
        assert_eq!((base.to_string(), format!("{base:?}")), ("https://h/x/".to_owned(), "https://h/x/".to_owned()));
        assert!(base.is_https() && !BaseUrl::parse("http://localhost/", false).unwrap().is_https());
        assert!(matches!(BaseUrl::parse("ftp://h/", false), Err(BaseUrlError::Scheme(_))));
        assert!(matches!(BaseUrl::parse("api.example", false), Err(BaseUrlError::Invalid(_))));
    }

    #[test]
    fn international_hosts_are_named_in_ascii() {
        let parsed =
            |text: &str| BaseUrl::parse(text, false).map(|url| url.to_string()).map_err(|error| error.to_string());
        assert_eq!(parsed("https://API.Xn--Bcher-KVA.example").unwrap(), "https://api.xn--bcher-kva.example/");
        let refused = parsed("https://api.bücher.example/").unwrap_err();
        assert!(refused.starts_with("is not a URL (invalid international domain name)"), "{refused}");
        assert_eq!(parsed("https://h/bücher").unwrap(), "https://h/b%C3%BCcher/", "paths are another matter");
    }

    #[test]
    fn usage_is_beside_the_pipeline_api_on_its_host_or_unknown() {
        let usage = |base: &str| BaseUrl::parse(base, false).unwrap().usage().map(|url| url.to_string());
        for (base, address) in [
            ("https://h/platform/pipeline-api", "https://h/platform/usage/?duration=1"),
            ("https://h:8443/proxy/platform/pipeline-api/", "https://h:8443/proxy/platform/usage/?duration=1"),
            ("http://127.0.0.1:1/pipeline-api/", "http://127.0.0.1:1/usage/?duration=1"),
        ] {
            assert_eq!(usage(base).as_deref(), Some(address), "{base}");
        }
        for unknown in ["https://h/", "https://h/api/", "https://h/pipeline-api/v2/", "https://h/pipeline-api//"] {
            assert_eq!(usage(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        let base = BaseUrl::parse("https://h/api", false).unwrap();
        let id = PipelineId::new("a/b?c#d é%2F").unwrap();
        assert_eq!(base.of_pipeline(&id, "status").as_str(), "https://h/api/a%2Fb%3Fc%23d%20%C3%A9%252F/status/");
        assert_eq!(base.list(2, Some(100)).as_str(), "https://h/api/?page_number=2&page_size=100");
        assert_eq!(base.list(2, None).as_str(), "https://h/api/?page_number=2");
    }
}
