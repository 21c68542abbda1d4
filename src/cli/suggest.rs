//! The known word nearest to an unknown one.

pub(super) use crate::names::nearest;

/// `; did you mean ...?` if a known word is near, else nothing.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let known = ["start", "status", "stop", "peers", "send", "state", "inbox"];
        for (word, expected) in [
            ("staus", Some("status")),
            ("sned", Some("send")),
            ("PEERS", Some("peers")),
            ("in", Some("inbox")),
            ("stat", Some("status")),
            ("xyz", None),
            ("", None),
            ("remove", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest("--", ["--json"]), None);
        assert_eq!(nearest("--jsn", ["--json", "--type"]), Some("--json"));
        assert_eq!(hint("xyz", known), "");
    }
}
