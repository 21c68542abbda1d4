//! The resources, by their URIs, and sets of those whose changes are told.

use std::collections::BTreeSet;

use crate::client::paths::percent_decode;
use crate::limits::NAMESPACE_CHARS_MAX;

const SCHEME: &str = "mesh://";
const STATE: &str = "mesh://state/";

/// Something that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// One of those that are listed.
    Topic(Topic),
    /// The entries of a namespace.
    State(Box<str>),
}

/// A resource that is listed, and whose changes can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Inbox,
    Peers,
    Locks,
    Events,
}

impl Topic {
    const ALL: [Self; 4] = [Self::Inbox, Self::Peers, Self::Locks, Self::Events];

    fn word(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Peers => "peers",
            Self::Locks => "locks",
            Self::Events => "events",
        }
    }

    /// Its URI.
    pub(super) fn uri(self) -> String {
        format!("{SCHEME}{}", self.word())
    }

    /// The topic with this URI.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        let word = uri.strip_prefix(SCHEME)?;
        Self::ALL.into_iter().find(|topic| topic.word() == word)
    }
}

impl Resource {
    /// The resource with this URI.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        if let Some(topic) = Topic::parse(uri) {
            return Some(Self::Topic(topic));
        }
        let namespace = percent_decode(uri.strip_prefix(STATE)?, |_| false)?;
        let fits = (1..=NAMESPACE_CHARS_MAX).contains(&namespace.chars().count());
        fits.then(|| Self::State(namespace.into()))
    }
}

/// Some topics.
pub(super) type Topics = BTreeSet<Topic>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read() {
        for topic in Topic::ALL {
            assert_eq!(Resource::parse(&topic.uri()), Some(Resource::Topic(topic)));
        }
        for (uri, namespace) in [
            ("mesh://state/default", Some("default")),
            ("mesh://state/a%20b%2Fc%c3%a9", Some("a b/cé")),
            ("mesh://state/a/b", Some("a/b")),
            ("mesh://state/", None),
            ("mesh://state/%zz", None),
            ("mesh://state/%4", None),
            ("mesh://state/%ff", None),
            ("mesh://state", None),
            ("mesh://else", None),
            ("http://inbox", None),
            ("", None),
        ] {
            assert_eq!(
                Resource::parse(uri),
                namespace.map(|text| Resource::State(text.into())),
                "{uri}"
            );
        }
        let long = |n: usize| Resource::parse(&format!("{STATE}{}", "é".repeat(n)));
        assert!(long(NAMESPACE_CHARS_MAX).is_some());
        assert!(long(NAMESPACE_CHARS_MAX + 1).is_none());
    }

    #[test]
    fn topics_are_a_set() {
        let mut topics = Topics::default();
        assert!(topics.is_empty());
        topics.insert(Topic::Locks);
        topics.insert(Topic::Inbox);
        topics.insert(Topic::Inbox);
        assert!(topics.iter().eq(&[Topic::Inbox, Topic::Locks]));
        topics.remove(&Topic::Inbox);
        assert!(!topics.contains(&Topic::Inbox) && topics.contains(&Topic::Locks));
    }
}
