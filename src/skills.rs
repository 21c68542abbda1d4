//! The skills: texts in `skills/` at the root of the repository, each in a folder, as agents load them.
//! They are the MCP prompts, what `setup` writes, and the rules, the plugin and the extension in
//! `integrations/`; there is no second source.

/// A skill.
#[derive(Debug)]
pub struct Skill {
    /// Its name.
    pub name: &'static str,
    /// The whole file: a head of `key: value` lines between `---`, then the text.
    pub file: &'static str,
}

macro_rules! skill {
    ($constant:ident, $name:literal) => {
        #[doc = concat!("`", $name, "`")]
        pub const $constant: Skill =
            Skill { name: $name, file: include_str!(concat!("../skills/", $name, "/SKILL.md")) };
    };
}

skill!(SYNC, "mesh-sync");
skill!(PEERS, "mesh-peers");
skill!(SEND, "mesh-send");
skill!(LOCK, "mesh-lock");
skill!(STATUS, "mesh-status");

/// All of them, the most useful first.
pub static ALL: [Skill; 5] = [SYNC, PEERS, SEND, LOCK, STATUS];

impl Skill {
    /// The value of `key` in the head; empty if it is not there.
    #[must_use]
    pub fn head(&self, key: &str) -> &'static str {
        let line = |line: &'static str| line.strip_prefix(key)?.strip_prefix(": ");
        self.parts().0.lines().find_map(line).unwrap_or_default()
    }

    /// The text after the head.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.parts().1
    }

    fn parts(&self) -> (&'static str, &'static str) {
        let rest = self.file.strip_prefix("---\n").unwrap_or(self.file);
        rest.split_once("---\n").unwrap_or(("", rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_head_that_agrees_with_its_name() {
        for skill in &ALL {
            assert_eq!(skill.head("name"), skill.name);
            assert!(skill.head("description").len() > 20);
            assert!(skill.text().ends_with('\n') && !skill.text().contains("---"));
        }
    }
}
