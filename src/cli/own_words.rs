//! What the broker refuses, in the words of the command line.

/// Words of the broker's API, and those of the command line for them.
const WORDS: [(&str, &str); 9] = [
    (
        "ask again with `wait`, or ask them by message",
        "wait with `--wait 10m`, ask them with `slm-mesh send`, or take it with `--steal --reason WHY`",
    ),
    ("ask again with `wait`", "wait with `--wait 10m`"),
    ("list the peers to see who is", "`slm-mesh peers` shows who is"),
    ("List the peers to see who is", "`slm-mesh peers` shows who is"),
    ("`ifVersion`", "`--if-version`"),
    ("`replyTo`: ", ""),
    ("`name`: ", ""),
    (": choose another, or leave out `exclusive`", ": choose another"),
    ("`filePath` cannot", "the path cannot"),
];

/// A refusal in the words of the command line.
pub(super) fn own_words(message: &str) -> String {
    let mut text = message.to_owned();
    for (broker, ours) in WORDS {
        text = text.replace(broker, ours);
    }
    if text.contains(" holds the lock on ") {
        text.push_str("; `--force` frees it whoever holds it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_called_as_they_are_here() {
        for (broker, ours) in [
            (
                "no peer `x` is here: list the peers to see who is",
                "no peer `x` is here: `slm-mesh peers` shows who is",
            ),
            (
                "/a is locked by ann, free in 9 min: ask again with `wait`, or ask them by message",
                "/a is locked by ann, free in 9 min: wait with `--wait 10m`, ask them with \
                 `slm-mesh send`, or take it with `--steal --reason WHY`",
            ),
            ("/a is taken: ask again with `wait`", "/a is taken: wait with `--wait 10m`"),
            (
                "the entry has version 5 by now: look at it, then try again with `ifVersion` 5",
                "the entry has version 5 by now: look at it, then try again with `--if-version` 5",
            ),
            (
                "ann holds the lock on /a, not cli",
                "ann holds the lock on /a, not cli; `--force` frees it whoever holds it",
            ),
            ("the disk is full", "the disk is full"),
        ] {
            assert_eq!(own_words(broker), ours);
        }
    }
}
