//! Where a client says its project is: its roots, `file://` URIs (MCP 2025-11-25, Roots).

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::paths::percent_decode;

/// The first directory of a `roots/list` result.
pub(super) fn first_directory(result: &RawValue) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Roots {
        roots: Vec<Root>,
    }
    #[derive(Deserialize)]
    struct Root {
        uri: String,
    }
    let roots: Roots = serde_json::from_str(result.get()).ok()?;
    roots.roots.iter().find_map(|root| directory(&root.uri))
}

/// The path of a `file` URI of this host (RFC 8089 section 2).
fn directory(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = percent_decode(path, |_| false)?;
    // A zero byte is in no path.
    (path.starts_with('/') && !path.contains('\0')).then(|| path.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_root_with_a_path_counts() {
        let read = |json: &str| first_directory(&RawValue::from_string(json.to_owned()).unwrap());
        for (json, path) in [
            (r#"{"roots":[{"uri":"file:///a/b%20c","name":"x"}]}"#, Some("/a/b c")),
            (r#"{"roots":[{"uri":"http://x/"},{"uri":"file://localhost/p"}]}"#, Some("/p")),
            (r#"{"roots":[{"uri":"file://elsewhere/p"}]}"#, None),
            (r#"{"roots":[{"uri":"file:///%00"}]}"#, None),
            (r#"{"roots":[]}"#, None),
            (r#"{"roots":5}"#, None),
            ("{}", None),
        ] {
            assert_eq!(read(json).as_deref(), path.map(Path::new), "{json}");
        }
    }
}
