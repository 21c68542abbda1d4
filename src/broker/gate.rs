//! What is checked of a request before the mesh sees it: where it comes from, and where it wants to.

use std::net::{Ipv4Addr, Ipv6Addr};

use subtle::ConstantTimeEq;

use crate::api::{Code, Detail, Endpoint, Refusal};
use crate::wire::http::server::{Method, Request, RequestError};

/// The port of an `http` URL that names none (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

/// The checks.
#[derive(Debug)]
pub(super) struct Gate {
    port: u16,
    token: Box<str>,
}

impl Gate {
    /// For a broker on `port` with `token`.
    pub(super) fn new(port: u16, token: Box<str>) -> Self {
        Self { port, token }
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
        if !is_loopback(host, self.port) {
            let message = format!(
                "the Host header must be 127.0.0.1:{0}, localhost:{0} or [::1]:{0}",
                self.port
            );
            return Err(Refusal::new(Code::Forbidden, message));
        }
        let Some(origin) = request.origin else { return Ok(()) };
        let own = origin.split_at_checked("http://".len()).is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case("http://") && rest.eq_ignore_ascii_case(host)
        });
        if own {
            return Ok(());
        }
        Err(Refusal::new(Code::Forbidden, "requests of web pages are not served"))
    }

    /// Whether this is the broker's own token.
    pub(super) fn is_broker_token(&self, token: &str) -> bool {
        self.token.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

/// Whether an authority names this machine's loopback, and this port.
fn is_loopback(authority: &str, port: u16) -> bool {
    let (host, given) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else { return false };
        if !host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()) {
            return false;
        }
        match rest.strip_prefix(':') {
            None if rest.is_empty() => (None, None),
            None => return false,
            Some(port) => (None, Some(port)),
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        }
    };
    let is_here = host.is_none_or(|host| {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    });
    is_here
        && match given {
            None | Some("") => port == HTTP_PORT,
            Some(given) => {
                given.bytes().all(|byte| byte.is_ascii_digit()) && given.parse() == Ok(port)
            }
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
        for good in ["127.0.0.1:7899", "localhost:7899", "LocalHost:7899", "[::1]:7899"] {
            assert!(host(good), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:7898",
            "127.0.0.1:+7899",
            "127.0.0.1:",
            "localhost",
            "[::1]",
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
        assert!(is_loopback("localhost", 80) && is_loopback("[::1]", 80));
        assert!(!is_loopback("localhost", 8080));
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
        for path in ["/", "/health/", "/Health", "//health", "/v1/health", "/%68ealth"] {
            let result = check(&format!("GET {path} HTTP/1.1\r\nHost: localhost:7899"));
            assert_eq!(result, Err(Code::UnknownEndpoint), "{path}");
        }
        let any = check("OPTIONS * HTTP/1.1\r\nHost: localhost:7899");
        assert_eq!(any, Err(Code::MethodNotAllowed));
        assert!(check("GET /health?x=1 HTTP/1.1\r\nHost: localhost:7899").is_ok());
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
