//! Paths as text: the same file gets the same name. Never looks at a file system.

/// `path` with `.`, `..`, repeated and trailing slashes taken out, joined to `base` if it is
/// relative and there is one. `..` above the root stays at the root, as in POSIX.
pub(super) fn normalise(path: &str, base: Option<&str>) -> String {
    let joined;
    let path = match base {
        Some(base) if !path.starts_with('/') => {
            joined = format!("{base}/{path}");
            &joined
        }
        _ => path,
    };
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let rest = parts.join("/");
    match (absolute, rest.is_empty()) {
        (true, _) => format!("/{rest}"),
        (false, true) => ".".to_owned(),
        (false, false) => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn the_same_file_gets_the_same_name() {
        for (path, base, expected) in [
            ("/a/b", None, "/a/b"),
            ("/a//b/", None, "/a/b"),
            ("/a/./b/../c", None, "/a/c"),
            ("/../..", None, "/"),
            ("src/x.rs", Some("/p"), "/p/src/x.rs"),
            ("../x.rs", Some("/p/q"), "/p/x.rs"),
            ("./x", Some("/p/"), "/p/x"),
            ("/x", Some("/p"), "/x"),
            ("a/../../b", None, "../b"),
            ("a/..", None, "."),
            ("/a/with space/ü", None, "/a/with space/ü"),
        ] {
            assert_eq!(normalise(path, base), expected, "{path}");
        }
    }
}
