//! The page of `slm-mesh web`: what a browser gets at `/`, and the token with which it asks.
//!
//! The page is the same for everyone and holds nothing secret. What it shows it asks for by the API, with
//! a token of its own that stands in the fragment of the address, which browsers send to nobody.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::entropy::SystemEntropy;
use super::lifecycle::new_token;
use crate::api::{Code, Endpoint, Refusal};
use crate::limits::PAGE_TOKEN_TIME;
use crate::model::Monotonic;
use crate::wire::base64::base64;

/// Where it is.
pub(super) const PATH: &str = "/";

/// All of it, in one answer.
pub(super) const TEXT: &str = concat!(
    include_str!("page/head.html"),
    "<style>",
    include_str!("page/page.css"),
    "</style>\n",
    include_str!("page/body.html"),
    "<script>",
    include_str!("page/page.js"),
    "</script>\n",
);
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page's `Content-Security-Policy`: this script and this style and no other, nothing from elsewhere,
/// no texts made into elements, and no frame around it.
pub(super) fn policy() -> &'static str {
    // Made when it is first asked for: most brokers never serve the page.
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        format!(
            "default-src 'none'; connect-src 'self'; img-src data:; script-src '{}'; \
             style-src '{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            source_of(SCRIPT),
            source_of(STYLE)
        )
    });
    &POLICY
}

/// The hash of a script or style, as a policy names it.
fn source_of(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text.as_bytes())))
}

/// What the page may ask: what the person may, but for the broker itself, the machines of its mesh,
/// another token, and letting a peer come in or stay. It does speak for peers, as the person does.
pub(super) fn may_ask(endpoint: Endpoint) -> bool {
    match endpoint {
        Endpoint::Health
        | Endpoint::Status
        | Endpoint::Unregister
        | Endpoint::Peers
        | Endpoint::Summary
        | Endpoint::Rename
        | Endpoint::Send
        | Endpoint::Messages
        | Endpoint::History
        | Endpoint::State
        | Endpoint::Lock
        | Endpoint::Events => true,
        Endpoint::Register
        | Endpoint::Heartbeat
        | Endpoint::Machines
        | Endpoint::Page
        | Endpoint::Reload
        | Endpoint::Shutdown => false,
    }
}

/// The page's token, as far as it is kept.
#[derive(Debug)]
pub(super) struct PageToken {
    hash: [u8; 32],
    /// By the clock that goes on while the machine sleeps.
    until: Monotonic,
}

impl PageToken {
    /// A new one, and its token. `boot`: the time since the machine was started.
    ///
    /// # Errors
    /// `internal`: the system has no random bytes.
    pub(super) fn make(boot: Monotonic) -> Result<(Self, Box<str>), Refusal> {
        let mut entropy = SystemEntropy::new()
            .map_err(|error| Refusal::new(Code::Internal, format!("no random bytes: {error}")))?;
        let token = new_token(&mut entropy);
        Ok((Self { hash: hash(&token), until: boot.plus(PAGE_TOKEN_TIME) }, token))
    }

    /// Whether `token` is its token, and still good.
    pub(super) fn opens(&self, token: &str, boot: Monotonic) -> bool {
        boot < self.until && bool::from(self.hash.ct_eq(&hash(token)))
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::event_type;

    /// A browser gets all of it each time: no answer is kept.
    const PAGE_BYTES_MAX: usize = 60_000;

    #[test]
    fn a_source_is_the_hash_in_base64() {
        assert_eq!(source_of(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(source_of("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn the_page_is_small_and_whole() {
        assert!(TEXT.len() <= PAGE_BYTES_MAX, "{}", TEXT.len());
        assert!(TEXT.starts_with("<!doctype html>"));
        // Else the browser's would not be what was hashed.
        for (text, end) in [(SCRIPT, "</script"), (SCRIPT, "<!--"), (STYLE, "</style")] {
            assert!(!text.contains(end) && !text.contains('\r'), "{end}");
        }
        for outside in ["http://", "https://", "//cdn", "@import", "url("] {
            assert!(!TEXT.contains(outside), "{outside}");
        }
        // Others' texts become text, and nothing else. The browser holds it to that, too.
        for unsafe_way in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!SCRIPT.contains(unsafe_way), "{unsafe_way}");
        }
    }

    #[test]
    fn the_page_has_a_sentence_for_each_event() {
        for kind in event_type::BUILT_IN {
            assert!(SCRIPT.contains(&format!("case \"{kind}\":")), "{kind}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_time() {
        let boot = Monotonic(Duration::from_secs(100));
        let (key, token) = PageToken::make(boot).unwrap();
        let before_end = PAGE_TOKEN_TIME.saturating_sub(Duration::from_millis(1));
        assert!(key.opens(&token, boot));
        assert!(key.opens(&token, boot.plus(before_end)));
        assert!(!key.opens(&token, boot.plus(PAGE_TOKEN_TIME)));
        for bad in ["", "0", &token[1..], &token.to_uppercase()] {
            assert!(!key.opens(bad, boot) || bad == &*token, "{bad}");
        }
        let (_, other) = PageToken::make(boot).unwrap();
        assert!(!key.opens(&other, boot));
    }
}
