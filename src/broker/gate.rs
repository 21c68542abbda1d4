//! What is checked of a request before the mesh sees it: where it comes from, and where it wants to.

use std::net::{Ipv4Addr, Ipv6Addr};

use subtle::ConstantTimeEq;

use super::page;
use crate::api::{Code, Detail, Endpoint, PageOpened, Refusal, Reply};
use crate::limits::PAGE_TOKEN_TIME;
use crate::model::Now;
use crate::wire::http::server::{Method, Request, RequestError};

/// The checks.
#[derive(Debug)]
pub(super) struct Gate {
    port: u16,
    token: Box<str>,
    page: Option<page::PageToken>,
}

impl Gate {
    /// For a broker on `port` with `token`.
    pub(super) fn new(port: u16, token: Box<str>) -> Self {
        Self { port, token, page: None }
    }

    /// The port.
    #[cfg(feature = "lan")]
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Which endpoint a request is for.
    ///
    /// # Errors
    /// `forbidden`, `unknown_endpoint` or `method_not_allowed`.
    pub(super) fn check(&self, request: &Request<'_>) -> Result<Endpoint, Refusal> {
        self.check_source(request)?;
        let Some(endpoint) = Endpoint::find(request.path) else {
            if request.path == "*" {
                return Err(wrong_method("GET, POST"));
            }
            if request.path == page::PATH {
                return Err(wrong_method("GET"));
            }
            let message = format!("there is no endpoint `{}`", shown(request.path));
            return Err(Refusal::new(Code::UnknownEndpoint, message));
        };
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Head | Method::Other(_) => "",
        };
        if method == endpoint.method() {
            Ok(endpoint)
        } else {
            Err(wrong_method(endpoint.method()))
        }
    }

    /// A page in a browser can send requests here, under a name of its own that it has made to point
    /// to this machine (DNS rebinding). The browser tells by `Host` and `Origin`.
    fn check_source(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let host = request.host.unwrap_or_default();
        let named = loopback(host).filter(|named| match named {
            Loopback::Port(port) => *port == self.port,
            // Browsers always name a port that is not 80; plain clients may leave it out.
            Loopback::NoPort => true,
        });
        let Some(named) = named else {
            let message = format!(
                "the Host header must be 127.0.0.1:{0}, localhost:{0} or [::1]:{0}",
                self.port
            );
            return Err(Refusal::new(Code::Forbidden, message));
        };
        let Some(origin) = request.origin else { return Ok(()) };
        let own = origin.split_at_checked("http://".len()).is_some_and(|(scheme, rest)| {
            let is_http = scheme.eq_ignore_ascii_case("http://");
            is_http && rest.eq_ignore_ascii_case(host) && named != Loopback::NoPort
        });
        if own {
            return Ok(());
        }
        Err(Refusal::new(Code::Forbidden, "requests of web pages are not served"))
    }

    /// Whether a request asks for the page, and may have it: it is the same for everyone.
    pub(super) fn is_for_page(&self, request: &Request<'_>) -> bool {
        request.path == page::PATH
            && request.method == Method::Get
            && self.check_source(request).is_ok()
    }

    /// Whether a token is that of the person at this machine: the broker's, or the page's where
    /// `endpoint` is one for it.
    ///
    /// # Errors
    /// `forbidden`: it is the page's, and this is not for it.
    pub(super) fn is_person(
        &self,
        token: &str,
        endpoint: Endpoint,
        now: Now,
    ) -> Result<bool, Refusal> {
        if self.is_broker_token(token) {
            return Ok(true);
        }
        if !self.page.as_ref().is_some_and(|key| key.opens(token, now.boot)) {
            return Ok(false);
        }
        if page::may_ask(endpoint) {
            return Ok(true);
        }
        let message = "the page may not do this: use the command line";
        Err(Refusal::new(Code::Forbidden, message))
    }

    /// Whether this is the broker's own token.
    pub(super) fn is_broker_token(&self, token: &str) -> bool {
        self.token.as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// Makes a token for the page. The one before ends.
    ///
    /// # Errors
    /// `internal`: the system has no random bytes.
    pub(super) fn open_page(&mut self, now: Now) -> Result<Reply, Refusal> {
        let (key, token) = page::PageToken::make(now.boot)?;
        self.page = Some(key);
        let ms = i64::try_from(PAGE_TOKEN_TIME.as_millis()).unwrap_or(i64::MAX);
        let expires_at = now.wall.plus_ms(ms);
        Ok(Reply::Page(PageOpened { token, port: self.port, expires_at }))
    }
}

/// An authority that names this machine's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loopback {
    Port(u16),
    NoPort,
}

/// What an authority says, if it names the loopback.
fn loopback(authority: &str) -> Option<Loopback> {
    let (is_here, rest) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()), rest)
    } else {
        let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let is_address = host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback());
        (is_address || host.eq_ignore_ascii_case("localhost"), rest)
    };
    match rest.strip_prefix(':') {
        _ if !is_here => None,
        None => rest.is_empty().then_some(Loopback::NoPort),
        // Digits only: `parse` would take a plus sign, too.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().map(Loopback::Port)
        }
        Some(_) => None,
    }
}

fn wrong_method(allow: &'static str) -> Refusal {
    let message = format!("this endpoint takes {allow} only");
    Refusal::new(Code::MethodNotAllowed, message).with(Detail::Allow(allow))
}

/// The beginning of a path, for an error.
fn shown(path: &str) -> &str {
    const SHOWN_BYTES_MAX: usize = 64;
    path.get(..SHOWN_BYTES_MAX).unwrap_or(path)
}

/// The refusal of what is no request.
pub(super) fn malformed(error: RequestError) -> Refusal {
    let code = match error.status() {
        411 => Code::LengthRequired,
        413 => Code::TooLarge,
        431 => Code::HeadersTooLarge,
        _ => Code::InvalidRequest,
    };
    Refusal::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::server::{Decoded, RequestDecoder};

    fn check(head: &str) -> Result<Endpoint, Code> {
        let bytes = format!("{head}\r\n\r\n");
        let Ok(Decoded::Request(request)) = RequestDecoder::new().decode(bytes.as_bytes()) else {
            panic!("{head}");
        };
        Gate::new(7899, "t".into()).check(&request).map_err(|refusal| refusal.code)
    }

    fn host(host: &str) -> bool {
        check(&format!("GET /health HTTP/1.1\r\nHost: {host}")).is_ok()
    }

    #[test]
    fn hosts_of_the_loopback_with_the_right_port_may_pass() {
        for name in ["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.8.8.8"] {
            assert!(host(&format!("{name}:7899")), "{name}");
            // Plain clients leave the port out.
            assert!(host(name), "{name}");
        }
        for bad in [
            "127.0.0.1:7898",
            "127.0.0.1:+7899",
            "127.0.0.1:",
            "[::1]7899",
            "[::1",
            "[::2]:7899",
            "::1:7899",
            "evil.example:7899",
            "localhost.:7899",
            "127.0.0.1.evil.example:7899",
            "localhost:7899:7899",
            "0.0.0.0:7899",
            "",
            "10.0.0.1:7899",
            "[127.0.0.1]:7899",
            "[localhost]:7899",
        ] {
            assert!(!host(bad), "{bad}");
        }
        assert_eq!(check("GET /health HTTP/1.0"), Err(Code::Forbidden));
    }

    #[test]
    fn only_an_origin_that_is_the_host_may_pass() {
        let origin = |origin: &str| {
            check(&format!("GET /health HTTP/1.1\r\nHost: localhost:7899\r\nOrigin: {origin}"))
        };
        assert!(origin("http://localhost:7899").is_ok());
        assert!(origin("HTTP://LOCALHOST:7899").is_ok());
        for bad in [
            "null",
            "http://127.0.0.1:7899",
            "https://localhost:7899",
            "http://localhost:7900",
            "http://localhost",
            "http://evil.example",
            "localhost:7899",
            "",
            "http://",
        ] {
            assert_eq!(origin(bad), Err(Code::Forbidden), "{bad}");
        }
        // Someone else's page on the port that needs no name.
        let other = "GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost";
        assert_eq!(check(other), Err(Code::Forbidden));
    }

    #[test]
    fn each_endpoint_has_its_method() {
        for endpoint in Endpoint::ALL {
            for method in ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"] {
                let path = endpoint.path();
                let result = check(&format!("{method} {path} HTTP/1.1\r\nHost: localhost:7899"));
                if method == endpoint.method() {
                    assert_eq!(result, Ok(endpoint));
                } else {
                    assert_eq!(result, Err(Code::MethodNotAllowed), "{method} {path}");
                }
            }
        }
        let page = check("GET / HTTP/1.1\r\nHost: localhost:7899");
        assert_eq!(page, Err(Code::MethodNotAllowed), "no endpoint");
        for path in ["/health/", "/Health", "//health", "/v1/health", "/%68ealth"] {
            let result = check(&format!("GET {path} HTTP/1.1\r\nHost: localhost:7899"));
            assert_eq!(result, Err(Code::UnknownEndpoint), "{path}");
        }
        let any = check("OPTIONS * HTTP/1.1\r\nHost: localhost:7899");
        assert_eq!(any, Err(Code::MethodNotAllowed));
        assert!(check("GET /health?x=1 HTTP/1.1\r\nHost: localhost:7899").is_ok());
    }

    #[test]
    fn the_page_is_for_whoever_may_ask_here_at_all() {
        let is_for_page = |head: &str| {
            let bytes = format!("{head}\r\n\r\n");
            let Ok(Decoded::Request(request)) = RequestDecoder::new().decode(bytes.as_bytes())
            else {
                panic!("{head}");
            };
            Gate::new(7899, "t".into()).is_for_page(&request)
        };
        assert!(is_for_page("GET / HTTP/1.1\r\nHost: localhost:7899"));
        assert!(is_for_page("GET /?x HTTP/1.1\r\nHost: localhost:7899"));
        for bad in [
            "GET / HTTP/1.1\r\nHost: evil.example:7899",
            "GET / HTTP/1.1\r\nHost: localhost:7899\r\nOrigin: http://evil.example",
            "POST / HTTP/1.1\r\nHost: localhost:7899",
            "GET /page HTTP/1.1\r\nHost: localhost:7899",
        ] {
            assert!(!is_for_page(bad), "{bad}");
        }
    }

    #[test]
    fn the_token_of_the_page_opens_what_is_for_the_page() {
        let mut gate = Gate::new(1, "secret".into());
        let now = Now::default();
        let Ok(Reply::Page(opened)) = gate.open_page(now) else { panic!("none") };
        assert!(gate.is_person("secret", Endpoint::Shutdown, now).unwrap());
        assert!(gate.is_person(&opened.token, Endpoint::Send, now).unwrap());
        let refused = gate.is_person(&opened.token, Endpoint::Shutdown, now).unwrap_err();
        assert_eq!(refused.code, Code::Forbidden);
        assert!(!gate.is_broker_token(&opened.token));
        gate.open_page(now).unwrap();
        assert!(!gate.is_person(&opened.token, Endpoint::Send, now).unwrap());
    }

    #[test]
    fn the_token_is_compared_whole() {
        let gate = Gate::new(1, "secret".into());
        assert!(gate.is_broker_token("secret"));
        for bad in ["", "secre", "secret ", "secreT", "secrets"] {
            assert!(!gate.is_broker_token(bad), "{bad}");
        }
    }
}
