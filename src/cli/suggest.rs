//! The nearest known word to one that is not.

/// `; did you mean ...?` if a known word is near, else nothing.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The nearest of `known`: one that begins with `word`, or one that few slips of the finger turn
/// into it.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates = known.into_iter().map(|known| {
        let begun = !word.trim_start_matches('-').is_empty() && known.starts_with(&word);
        (if begun { 0 } else { distance(&word, known) }, known)
    });
    let (slips, known) = candidates.min_by_key(|(slips, _)| *slips)?;
    // One slip in a short word, two in a longer one.
    let allowed = if word.chars().count() <= 4 { 1 } else { 2 };
    (slips <= allowed).then_some(known)
}

/// Slips between two words: characters added, left out, changed, or swapped with their neighbour
/// (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let changed = at(&last, j) + usize::from(x != y);
            let mut best = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("peers", "peers", 0),
            ("peer", "peers", 1),
            ("pers", "peers", 1),
            ("peesr", "peers", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

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
