//! The name by which clones of a repository on several machines know each other: that of the
//! remote they were cloned from, hashed, because private names and tokens in URLs are nobody else's
//! business.
//!
//! Only the repository's own `config` is read. What a person has set for all repositories
//! (`insteadOf` in `~/.gitconfig`, host aliases of ssh) mostly changes the way to a host and not its
//! name, and files it includes are not followed; where it does matter, two clones do not
//! know each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};

use crate::model::RepoHash;

/// The SHA-256 of where a repository with this `config` comes from: its
/// remote `origin`, else the only one it has. The same for all ways to write that address: scheme,
/// user, password, query, fragment, the usual port and `.git` do not count, nor does the case of the
/// host.
///
/// `None` if that is no address for others: no remote or several, a path, a loopback address; or if
/// the file is none that git would read.
pub(super) fn remote_hash(config: &str) -> Option<RepoHash> {
    Some(RepoHash(Sha256::digest(normal_form(&remote_url(config)?)?).into()))
}

/// The URL of `origin`, else of the only remote that has one, as `url.<base>.insteadOf` in the same
/// file makes it.
fn remote_url(config: &str) -> Option<String> {
    let mut urls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut rewrites: Vec<(String, String)> = Vec::new();
    for Entry { section, subsection, key, value } in entries(config)? {
        match (&*section, &*key) {
            ("remote", "url") => {
                let urls = urls.entry(subsection).or_default();
                // An empty one takes back those before it: git-config(1).
                if value.is_empty() { urls.clear() } else { urls.push(value) }
            }
            ("url", "insteadof") => rewrites.push((value, subsection)),
            _ => {}
        }
    }
    let mut urls: BTreeMap<String, String> = urls
        .into_iter()
        .filter_map(|(name, urls)| Some((name, urls.into_iter().next()?)))
        .collect();
    let url = match urls.remove("origin") {
        Some(url) => url,
        None if urls.len() == 1 => urls.pop_first()?.1,
        None => return None,
    };
    // The longest that fits: git-config(1).
    let rewritten = rewrites
        .iter()
        .filter_map(|(prefix, base)| Some((prefix.len(), base, url.strip_prefix(&**prefix)?)))
        .max_by_key(|(length, ..)| *length);
    Some(rewritten.map_or_else(|| url.clone(), |(_, base, rest)| format!("{base}{rest}")))
}

/// `host/path` or `host:port/path` of a remote: the same for all ways to write it. `None` if it is
/// not on another machine.
fn normal_form(url: &str) -> Option<String> {
    let (scheme, authority, path) = if let Some((scheme, rest)) = url.split_once("://") {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(is_part) {
            // A path, or the address for a program of the user's (`ext::`, gitremote-helpers(7)).
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            return None;
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_once('/')?;
        (scheme, authority, percent_decoded(path))
    } else {
        // As scp writes it: `user@host:path`, with nothing like a path before the colon.
        let (authority, path) = match url.rfind("]:") {
            Some(end) if url.find('/').is_none_or(|slash| end < slash) => {
                // `[host:port]:path` and `[::1]:path`.
                (url.get(..=end)?, url.get(end + 2..)?)
            }
            _ => url.split_once(':').filter(|(before, _)| !before.contains('/'))?,
        };
        // `helper::address`, and a drive of Windows.
        if path.starts_with(':') || authority.len() == 1 {
            return None;
        }
        ("ssh".to_owned(), authority, path.to_owned())
    };
    let (host, port) = host_and_port(authority)?;
    if is_of_this_machine(&host) {
        return None;
    }
    let mut normal = host;
    if port != 0 && usual_port(&scheme) != Some(port) {
        // Writing to a string does not fail.
        let _ = write!(normal, ":{port}");
    }
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let host_ends = normal.len();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    (normal.len() > host_ends).then_some(normal)
}

/// The host in lower case, an IPv6 address in brackets, and the port; 0 if none is named.
fn host_and_port(authority: &str) -> Option<(String, u16)> {
    // Brackets around all of it: `[user@host:port]`, as scp needs them for the port.
    let inner = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let authority = match inner {
        Some(inner) if inner.parse::<Ipv6Addr>().is_err() => inner,
        _ => authority,
    };
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return Some((format!("[{address}]"), port_of(rest)?));
    }
    let (host, port) = match authority.find(':') {
        Some(colon) => authority.split_at(colon),
        None => (authority, ""),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| Some((host.to_lowercase(), port_of(port)?)))?
}

/// The port in `:443`; 0, which is no port, in an empty text and in a colon alone.
fn port_of(text: &str) -> Option<u16> {
    match text.strip_prefix(':') {
        Some(port) if !port.is_empty() => port.parse().ok(),
        Some(_) => Some(0),
        None => text.is_empty().then_some(0),
    }
}

/// The port that need not be named.
fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "ssh" | "git+ssh" | "ssh+git" => Some(22),
        "git" => Some(9418),
        "http" => Some(80),
        "https" => Some(443),
        "ftp" => Some(21),
        "ftps" => Some(990),
        _ => None,
    }
}

/// Whether each machine calls itself so.
fn is_of_this_machine(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let Ok(address) = address.parse::<Ipv6Addr>() else { return true };
        let mapped = address.to_ipv4_mapped().is_some_and(|it| it.is_loopback());
        return address.is_loopback() || address.is_unspecified() || mapped;
    }
    // `127.1` and `2130706433` are that too (inet_aton(3)), and other short forms nobody writes.
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let address: Option<Ipv4Addr> = host.parse().ok();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_some_and(|it| it.is_unspecified())
        || numeric && (host.starts_with("127.") || address.is_none())
}

/// The text with `%20` and its like decoded; as it was if that is no UTF-8.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let decoded = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A variable of a configuration file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The section, in lower case.
    section: String,
    /// The part in quotes; empty if there is none.
    subsection: String,
    /// The name, in lower case.
    key: String,
    /// The value without quotes and escapes; empty if there is none.
    value: String,
}

/// The variables of a configuration file, in their order; `None` if it is not written as
/// git-config(1) says under "Syntax", which git refuses as well.
fn entries(text: &str) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    let (mut section, mut subsection) = (String::new(), String::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Some(found) };
        if matches!(first, '#' | ';') {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if first == '[' {
            (section, subsection, rest) = header(rest.get(1..)?)?;
        } else {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let (key, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            if section.is_empty() || !first.is_ascii_alphabetic() {
                return None;
            }
            let after = after.trim_start_matches([' ', '\t', '\r']);
            let value;
            (value, rest) = match after.strip_prefix('=') {
                Some(after) => value_of(after)?,
                None if after.is_empty() || after.starts_with(['\n', '#', ';']) => {
                    (String::new(), after)
                }
                None => return None,
            };
            let (section, subsection) = (section.clone(), subsection.clone());
            found.push(Entry { section, subsection, key: key.to_ascii_lowercase(), value });
        }
    }
}

/// Section and subsection of a header, and what follows it.
fn header(text: &str) -> Option<(String, String, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let (name, rest) = text.split_at(text.find(|c| !is_part(c))?);
    let name = name.to_ascii_lowercase();
    if let Some(rest) = rest.strip_prefix(']') {
        // `[section.subsection]`, as it was written long ago.
        let (section, subsection) = name.split_once('.').unwrap_or((&name, ""));
        return Some((section.to_owned(), subsection.to_owned(), rest));
    }
    let mut subsection = String::new();
    let quoted = rest.trim_start_matches([' ', '\t']).strip_prefix('"')?;
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\n' => return None,
            '\\' => subsection.push(chars.next().filter(|c| *c != '\n')?),
            other => subsection.push(other),
        }
    }
    Some((name, subsection, chars.as_str().strip_prefix(']')?))
}

/// The value that `text` begins with, and what follows its line.
fn value_of(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    // Where the value ends if only blanks follow that are in no quotes.
    let mut end = 0;
    let (mut quoted, mut comment) = (false, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' if quoted => return None,
            '\n' => break,
            _ if comment => {}
            ' ' | '\t' | '\r' if !quoted => {
                if !value.is_empty() {
                    value.push(c);
                }
                continue;
            }
            '#' | ';' if !quoted => comment = true,
            '"' => quoted = !quoted,
            '\\' => match chars.next()? {
                '\n' => continue,
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'b' => value.push('\u{8}'),
                c @ ('"' | '\\') => value.push(c),
                _ => return None,
            },
            _ => value.push(c),
        }
        if !comment {
            end = value.len();
        }
    }
    value.truncate(end);
    (!quoted).then_some((value, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(section: &str, subsection: &str, key: &str, value: &str) -> Entry {
        let owned = str::to_owned;
        let (section, subsection) = (owned(section), owned(subsection));
        Entry { section, subsection, key: owned(key), value: owned(value) }
    }

    fn url_of(config: &str) -> Option<String> {
        remote_url(config)
    }

    #[test]
    fn all_ways_to_write_an_address_give_one_name() {
        for url in [
            "https://github.com/owner/repo",
            "https://github.com/owner/repo.git",
            "https://github.com/owner/repo/",
            "https://github.com/owner/repo.git/",
            "https://github.com//owner/repo",
            "https://GitHub.COM/owner/repo",
            "https://github.com./owner/repo",
            "https://github.com:443/owner/repo",
            "https://github.com:/owner/repo",
            "http://github.com:80/owner/repo",
            "HTTPS://github.com/owner/repo",
            "https://user:p%40ss@github.com/owner/repo.git",
            "https://a@b@github.com/owner/repo.git",
            "https://github.com/owner/repo?x=1#y",
            "https://github.com/owner/re%70o",
            "ssh://git@github.com/owner/repo.git",
            "ssh://git@github.com:22/owner/repo.git",
            "git+ssh://git@github.com/owner/repo.git",
            "git://github.com:9418/owner/repo",
            "git@github.com:owner/repo.git",
            "git@github.com:/owner/repo.git",
            "github.com:owner/repo",
            "[git@github.com:22]:owner/repo",
        ] {
            assert_eq!(normal_form(url).as_deref(), Some("github.com/owner/repo"), "{url}");
        }
    }

    #[test]
    fn what_is_another_repository_has_another_name() {
        for (url, normal) in [
            ("https://github.com:8443/owner/repo", "github.com:8443/owner/repo"),
            ("http://github.com:443/owner/repo", "github.com:443/owner/repo"),
            ("[git@github.com:2222]:owner/repo", "github.com:2222/owner/repo"),
            ("https://github.com/Owner/repo", "github.com/Owner/repo"),
            ("https://github.com/owner/repo.git.git", "github.com/owner/repo.git"),
            ("https://github.com/owner/my%20repo%", "github.com/owner/my repo%"),
            ("https://github.com/%ff", "github.com/%ff"),
            ("ssh://[2001:DB8::1]:22/x", "[2001:db8::1]/x"),
            ("[2001:db8::1]:x", "[2001:db8::1]/x"),
            ("git@[2001:db8::1]:x", "[2001:db8::1]/x"),
            ("ssh://[2001:db8::1]:23/x", "[2001:db8::1]:23/x"),
            ("server:~u/x", "server/~u/x"),
            ("git@server:a:b", "server/a:b"),
            ("git@server:a/b]:c", "server/a/b]:c"),
            ("192.168.1.2:x", "192.168.1.2/x"),
            ("host:a?b#c", "host/a?b#c"),
        ] {
            assert_eq!(normal_form(url).as_deref(), Some(normal), "{url}");
        }
    }

    #[test]
    fn what_is_on_one_machine_only_has_no_name() {
        for url in [
            "",
            "/srv/repo.git",
            "../repo",
            "repo",
            "./a:b",
            "a/b:c",
            "file:///srv/repo.git",
            "file://server/srv/repo.git",
            "FILE:///srv/repo.git",
            "C:/repo",
            "C:\\repo",
            "ext::ssh server %S /repo",
            "codecommit::eu-west-1://repo",
            "https://localhost/x",
            "https://LOCALHOST:3000/x",
            "https://git.localhost/x",
            "https://localhost./x",
            "localhost:x",
            "git@127.0.0.1:x",
            "ssh://127.1/x",
            "ssh://2130706433/x",
            "ssh://127.255.255.254/x",
            "ssh://0.0.0.0/x",
            "ssh://[::1]/x",
            "ssh://[::ffff:127.0.0.1]/x",
            "[::1]:x",
            "ssh://[::]/x",
            "https://github.com",
            "https://github.com/",
            "https://github.com/.git",
            "https:///x",
            "https://user@/x",
            "https://github.com:x/y",
            "https://github.com:70000/y",
            "https://[github.com/y",
            "://x/y",
            "git@github.com:",
            ":x",
        ] {
            assert_eq!(normal_form(url), None, "{url}");
        }
    }

    #[test]
    fn origin_counts_and_else_the_only_remote() {
        let remote = |name: &str, url: &str| format!("[remote \"{name}\"]\n\turl = {url}\n");
        let (a, b) = (remote("origin", "h:a"), remote("b", "h:b"));
        assert_eq!(url_of(&a).as_deref(), Some("h:a"));
        assert_eq!(url_of(&format!("{b}{a}")).as_deref(), Some("h:a"));
        assert_eq!(url_of(&b).as_deref(), Some("h:b"));
        assert_eq!(url_of(&format!("{b}{}", remote("c", "h:c"))), None);
        assert_eq!(url_of(&format!("{b}[remote \"c\"]\n\tprune = true\n")).as_deref(), Some("h:b"));
        for none in
            ["", "[core]\n\tbare = false\n", "[remote]\n\turl = h:x\n[remote \"y\"]\nurl=h:y"]
        {
            assert_eq!(url_of(none), None, "{none}");
        }
        // The first of several is what git fetches from; an empty one takes back those before.
        assert_eq!(url_of("[remote \"o\"]\nurl=h:a\nurl=h:b").as_deref(), Some("h:a"));
        assert_eq!(url_of("[remote \"o\"]\nurl=h:a\nurl=\nurl=h:b").as_deref(), Some("h:b"));
        // Names of remotes are told apart by case, names of variables are not.
        assert_eq!(url_of("[REMOTE \"Origin\"]\nURL=h:a\n[remote \"x\"]\nurl=h:b"), None);
    }

    #[test]
    fn a_prefix_of_the_repository_is_replaced() {
        let config = "[url \"https://github.com/\"]\n\tinsteadOf = gh:\n\
                      [url \"https://example.com/\"]\n\tinsteadOf = gh:owner/\n\
                      [remote \"origin\"]\n\turl = gh:";
        assert_eq!(url_of(&format!("{config}x/y")).as_deref(), Some("https://github.com/x/y"));
        assert_eq!(url_of(&format!("{config}owner/y")).as_deref(), Some("https://example.com/y"));
    }

    #[test]
    fn hash_is_that_of_the_normal_form() {
        let config = "[remote \"origin\"]\n\turl = git@github.com:owner/repo.git\n";
        assert_eq!(
            remote_hash(config).map(|hash| hash.to_string()).as_deref(),
            // printf github.com/owner/repo | sha256sum
            Some("620c3a937ce854b7477cb2104a95692bbb64e64a90184e0d37d48ddfc20ec6f8")
        );
        assert_eq!(remote_hash("[remote \"origin\"]\n\turl = /srv/repo\n"), None);
    }

    #[test]
    fn a_configuration_is_read_as_git_reads_it() {
        let text = "\u{feff}# c\n; c\n[Core] bare = false\n\
                    [remote \"a \\\"b\\\\\"]\n  uRL =  one two  # c\nempty\n\tfetch = \"+x ; # \" ;c\n\
                    [branch.Main]\r\nx-1 = a\\\n  b\\tc\\\"\r\n y=\"a\"b\"c \"\nz =";
        let b = "a \"b\\";
        assert_eq!(
            entries(text).unwrap(),
            [
                entry("core", "", "bare", "false"),
                entry("remote", b, "url", "one two"),
                entry("remote", b, "empty", ""),
                entry("remote", b, "fetch", "+x ; # "),
                entry("branch", "main", "x-1", "a  b\tc\""),
                entry("branch", "main", "y", "abc "),
                entry("branch", "main", "z", ""),
            ]
        );
        for bad in [
            "x = 1",
            "[",
            "[a",
            "[a \"b]",
            "[a \"b\n\"]",
            "[a \"b\" ]x",
            "[a]\n=1",
            "[a]\n1=1",
            "[a]\nb 1",
            "[a]\nb = \"c",
            "[a]\nb = \"c\nd\"",
            "[a]\nb = \\q",
            "[a]\nb = \\",
            "[a_b]",
        ] {
            assert_eq!(entries(bad), None, "{bad:?}");
        }
    }
}
