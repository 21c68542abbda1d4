//! The files that `apply_patch` changes when it is called in a shell command, by models that have no
//! tool for it: with a here-document, an argument or a pipe, after `cd`, or inside another shell.
//!
//! This parses as much of the shell language as that takes (POSIX.1-2024, "Shell Command Language", 2.2
//! to 2.10, and bash's additions), and expands nothing. A path that depends on a variable is reported as
//! unseen, and so is a patch that is not in the text of the command.

use std::path::{Path, PathBuf};

use super::{Edited, patch};

/// The names of the command.
const NAMES: [&str; 2] = ["apply_patch", "applypatch"];
const SHELLS: [&str; 5] = ["sh", "bash", "zsh", "dash", "ksh"];
/// Words that may precede a command.
const BEFORE: [&str; 16] = [
    "then", "do", "else", "elif", "if", "while", "until", "{", "!", "time", "exec", "command",
    "builtin", "env", "sudo", "nohup",
];
/// How deeply nested shells and substitutions are followed.
const DEPTH_MAX: u32 = 16;
/// Stands for what the shell would substitute. It does not occur in shell text.
const UNKNOWN: char = '\0';

/// The files that a command line changes.
pub(super) fn edited(script: &str, directory: &Path) -> Edited {
    let mut edited = Edited::default();
    look(script, Some(directory.to_owned()), 0, &mut edited);
    edited
}

/// The same for a command that is already split into words.
pub(super) fn edited_by_words(words: &[String], directory: &Path) -> Edited {
    let mut edited = Edited::default();
    let command = Command { words: words.to_vec(), texts: Vec::new() };
    command.look(&[], &mut Some(directory.to_owned()), 0, &mut edited);
    edited
}

fn look(script: &str, directory: Option<PathBuf>, depth: u32, edited: &mut Edited) {
    // Most commands do not apply patches.
    if !NAMES.iter().any(|name| script.contains(name)) {
        return;
    }
    if depth > DEPTH_MAX {
        edited.unseen = true;
        return;
    }
    let mut reader = Reader::of(script, 0);
    reader.read(false);
    let mut place = directory;
    let mut outer: Vec<Option<PathBuf>> = Vec::new();
    let (mut command, mut piped) = (Command::default(), Vec::new());
    for piece in reader.pieces {
        let end = match piece {
            Piece::Word(word) => {
                command.words.push(word);
                continue;
            }
            Piece::Text(text) => {
                command.texts.push(text);
                continue;
            }
            Piece::Inner(script) => {
                look(&script, place.clone(), depth + 1, edited);
                continue;
            }
            Piece::End(end) => end,
        };
        let done = std::mem::take(&mut command);
        done.look(&piped, &mut place, depth, edited);
        if end == End::Pipe {
            piped.extend(done.texts.into_iter().chain(done.words));
        } else {
            piped.clear();
        }
        match end {
            End::Open => outer.push(place.clone()),
            End::Close => place = outer.pop().unwrap_or(place),
            End::Pipe | End::Other => {}
        }
    }
    command.look(&piped, &mut place, depth, edited);
}

/// A simple command.
#[derive(Debug, Default)]
struct Command {
    words: Vec<String>,
    /// What is on its standard input.
    texts: Vec<String>,
}

impl Command {
    /// `piped`: what the commands before it in its pipe write, as far as that is in the text.
    fn look(&self, piped: &[String], place: &mut Option<PathBuf>, depth: u32, edited: &mut Edited) {
        let is_before = |word: &&String| BEFORE.contains(&word.as_str()) || is_assignment(word);
        let first = self.words.iter().take_while(is_before).count();
        if let Some(at) = self.words.iter().position(|word| NAMES.contains(&name_of(word))) {
            let arguments = self.words.iter().skip(at + 1);
            let before = edited.files.len();
            let mut found = false;
            for text in arguments.chain(&self.texts).chain(piped) {
                found |= take(text, place.as_deref(), edited);
            }
            // The patch comes from elsewhere. `which apply_patch` is not a call.
            edited.unseen |= !found && at == first && before == edited.files.len();
            return;
        }
        let mut words = self.words.iter().skip(first);
        let Some(name) = words.next() else { return };
        let mut target = words.clone().skip_while(|word| word.starts_with('-'));
        match name_of(name) {
            "cd" | "pushd" => {
                *place = match target.next() {
                    Some(to) if !is_unknown(to) => place.as_ref().map(|place| place.join(to)),
                    _ => None,
                };
            }
            shell if SHELLS.contains(&shell) => {
                let is_line = |word: &&String| {
                    word.strip_prefix('-').is_some_and(|o| !o.starts_with('-') && o.contains('c'))
                };
                let line = words.by_ref().find(is_line).and_then(|_| words.next());
                for script in line.into_iter().chain(&self.texts) {
                    look(script, place.clone(), depth + 1, edited);
                }
            }
            _ => {}
        }
    }
}

/// Adds the files of a patch. Returns whether the text was a patch.
fn take(text: &str, place: Option<&Path>, edited: &mut Edited) -> bool {
    let files = patch::files(text);
    let found = !files.is_empty();
    for file in files {
        let known = file.to_str().is_some_and(|file| !is_unknown(file));
        match place {
            Some(place) if known => edited.add(place.join(file)),
            None if known && file.is_absolute() => edited.add(file),
            _ => edited.unseen = true,
        }
    }
    found
}

fn is_unknown(word: &str) -> bool {
    word.contains(UNKNOWN)
}

fn name_of(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// What follows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Pipe,
    Open,
    Close,
    Other,
}

#[derive(Debug)]
enum Piece {
    Word(String),
    /// What is on the standard input of the command.
    Text(String),
    /// A command of which only the output is part of this one.
    Inner(String),
    End(End),
}

/// A here-document whose text begins with the next line.
#[derive(Debug)]
struct Here {
    delimiter: String,
    literal: bool,
    no_tabs: bool,
    /// Its place among the pieces.
    at: usize,
}

struct Reader<'a> {
    rest: &'a str,
    heres: Vec<Here>,
    pieces: Vec<Piece>,
    depth: u32,
}

impl<'a> Reader<'a> {
    fn of(rest: &'a str, depth: u32) -> Self {
        Self { rest, heres: Vec::new(), pieces: Vec::new(), depth }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn skip(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads commands, to the end or, `inside` of a substitution, to its parenthesis.
    fn read(&mut self, inside: bool) {
        let mut depth = 0_u32;
        while let Some(c) = self.peek() {
            match c {
                '\n' => {
                    self.next();
                    self.read_heres();
                    self.pieces.push(Piece::End(End::Other));
                }
                _ if self.skip("\\\n") || (c.is_whitespace() && self.next().is_some()) => {}
                '#' => {
                    let line = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = self.rest.get(line..).unwrap_or_default();
                }
                '&' if self.rest.starts_with("&>") => self.redirection(),
                _ if self.skip("||") || self.skip("&&") => {
                    self.pieces.push(Piece::End(End::Other));
                }
                _ if self.skip("|&") || self.skip("|") => self.pieces.push(Piece::End(End::Pipe)),
                _ if self.skip(";") || self.skip("&") => self.pieces.push(Piece::End(End::Other)),
                _ if self.skip("(") => {
                    depth += 1;
                    self.pieces.push(Piece::End(End::Open));
                }
                ')' => {
                    if depth == 0 && inside {
                        return;
                    }
                    self.next();
                    depth = depth.saturating_sub(1);
                    self.pieces.push(Piece::End(End::Close));
                }
                '<' | '>' => self.redirection(),
                _ => {
                    let (word, _) = self.word();
                    let is_descriptor = word.chars().all(|c| c.is_ascii_digit())
                        && self.rest.starts_with(['<', '>']);
                    if !is_descriptor {
                        self.pieces.push(Piece::Word(word));
                    }
                }
            }
        }
    }

    fn redirection(&mut self) {
        if self.skip("<<<") {
            self.blanks();
            let (text, _) = self.word();
            self.pieces.push(Piece::Text(text));
        } else if self.skip("<<") {
            let no_tabs = self.skip("-");
            self.blanks();
            let (delimiter, literal) = self.word();
            let at = self.pieces.len();
            self.pieces.push(Piece::Text(String::new()));
            self.heres.push(Here { delimiter, literal, no_tabs, at });
        } else if self.skip("<(") || self.skip(">(") {
            self.substitution();
        } else {
            self.next();
            while self.rest.starts_with(['>', '&', '|']) {
                self.next();
            }
            self.blanks();
            // The target of a redirection is not an argument.
            self.word();
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Reads a word, and whether a part of it is quoted.
    fn word(&mut self) -> (String, bool) {
        let (mut word, mut quoted) = (String::new(), false);
        if self.skip("~") {
            word.push(UNKNOWN);
        }
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    self.next();
                    quoted = true;
                    let end = self.rest.find('\'').unwrap_or(self.rest.len());
                    word.push_str(self.rest.get(..end).unwrap_or_default());
                    self.rest = self.rest.get(end + 1..).unwrap_or_default();
                }
                '"' => {
                    self.next();
                    quoted = true;
                    self.double_quoted(&mut word);
                }
                '\\' => {
                    self.next();
                    quoted = true;
                    word.extend(self.next().filter(|c| *c != '\n'));
                }
                '$' | '`' => self.expansion(&mut word),
                _ => word.extend(self.next()),
            }
        }
        (word, quoted)
    }

    fn double_quoted(&mut self, word: &mut String) {
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.next();
                    return;
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                        Some('\n') | None => {}
                        Some(c) => word.extend(['\\', c]),
                    }
                }
                '$' if self.rest.starts_with("$'") || self.rest.starts_with("$\"") => {
                    word.extend(self.next());
                }
                '$' | '`' => self.expansion(word),
                _ => word.extend(self.next()),
            }
        }
    }

    /// What the shell would put here. The text of a command stays, since it may have a patch in it.
    fn expansion(&mut self, word: &mut String) {
        if self.skip("$'") {
            return self.escaped(word);
        }
        let begin = self.rest;
        if self.skip("$(") {
            self.substitution();
        } else if self.skip("${") {
            let end = self.rest.find('}').map_or(self.rest.len(), |at| at + 1);
            self.rest = self.rest.get(end..).unwrap_or_default();
        } else if self.skip("`") {
            let (inner, rest) = self.rest.split_once('`').unwrap_or((self.rest, ""));
            self.pieces.push(Piece::Inner(inner.to_owned()));
            self.rest = rest;
        } else {
            self.next();
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_?!@*#$".contains(c);
            if !self.peek().is_some_and(is_name) {
                // A literal dollar sign; before a quote it has no effect.
                if !self.rest.starts_with('"') {
                    word.push('$');
                }
                return;
            }
        }
        word.push(UNKNOWN);
        let length = begin.len() - self.rest.len();
        word.push_str(begin.get(..length).unwrap_or_default());
    }

    /// `$'...'`
    fn escaped(&mut self, word: &mut String) {
        while let Some(c) = self.next() {
            match c {
                '\'' => return,
                '\\' => match self.next() {
                    Some('n') => word.push('\n'),
                    Some('t') => word.push('\t'),
                    Some('r') => word.push('\r'),
                    Some(c @ ('\\' | '\'' | '"' | '?')) => word.push(c),
                    // A numeric escape, which is not decoded.
                    Some(_) => word.push(UNKNOWN),
                    None => {}
                },
                c => word.push(c),
            }
        }
    }

    /// Skips to the end of `$(...)`.
    fn substitution(&mut self) {
        let begin = self.rest;
        if self.depth >= DEPTH_MAX {
            self.rest = "";
        } else {
            let mut inner = Reader::of(begin, self.depth + 1);
            inner.read(true);
            self.rest = inner.rest;
        }
        let script = begin.get(..begin.len() - self.rest.len()).unwrap_or_default();
        self.pieces.push(Piece::Inner(script.to_owned()));
        self.skip(")");
    }

    /// The here-documents of the line that has just ended.
    fn read_heres(&mut self) {
        for here in std::mem::take(&mut self.heres) {
            let mut text = String::new();
            while !self.rest.is_empty() {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                self.rest = rest;
                let line = if here.no_tabs { line.trim_start_matches('\t') } else { line };
                if line.trim_end_matches('\r') == here.delimiter {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            if !here.literal {
                text = unquoted(&text);
            }
            if let Some(piece) = self.pieces.get_mut(here.at) {
                *piece = Piece::Text(text);
            }
        }
    }
}

/// The text of a here-document that the shell expands.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.peek().copied() {
                Some(c @ ('$' | '`' | '\\')) => {
                    chars.next();
                    out.push(c);
                }
                Some('\n') => drop(chars.next()),
                _ => out.push('\\'),
            },
            '`' => out.push(UNKNOWN),
            '$' if chars
                .peek()
                .is_some_and(|c| c.is_ascii_alphanumeric() || "_{(".contains(*c)) =>
            {
                out.push(UNKNOWN);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(script: &str) -> (Vec<String>, bool) {
        let Edited { files, unseen } = edited(script, Path::new("/w"));
        (files.iter().map(|file| file.display().to_string()).collect(), unseen)
    }

    #[track_caller]
    fn sees(script: &str, files: &[&str]) {
        assert_eq!(seen(script), (files.iter().map(|it| (*it).to_owned()).collect(), false));
    }

    const PATCH: &str =
        "*** Begin Patch\n*** Update File: a.rs\n@@\n-x\n+it's \"y\" $z\n*** End Patch";

    #[test]
    fn a_here_document_is_a_patch_whatever_ends_it() {
        for (begin, end) in [
            ("<<'EOF'", "EOF"),
            ("<<\"EOF\"", "EOF"),
            ("<< 'EOF'", "EOF"),
            ("<<EOF", "EOF"),
            ("<<\\EOF", "EOF"),
            ("<<-EOF", "\tEOF"),
            ("<<'END OF PATCH'", "END OF PATCH"),
            ("<<'EOF' && echo done", "EOF"),
            ("<<'EOF' 2>&1 | tail -3", "EOF"),
            ("- <<'EOF'", "EOF"),
        ] {
            sees(&format!("apply_patch {begin}\n{PATCH}\n{end}\n"), &["/w/a.rs"]);
            sees(&format!("applypatch {begin}\n{PATCH}\n{end}"), &["/w/a.rs"]);
            sees(
                &format!("set -e\nX=1 /usr/bin/apply_patch {begin}\n{PATCH}\n{end}\nls"),
                &["/w/a.rs"],
            );
        }
        // Without its delimiter it extends to the end of the text, as in the shell.
        sees(&format!("apply_patch <<'EOF'\n{PATCH}"), &["/w/a.rs"]);
    }

    #[test]
    fn a_patch_comes_as_an_argument_or_through_a_pipe() {
        let quoted = PATCH.replace('\'', "'\\''");
        for script in [
            format!("apply_patch '{quoted}'"),
            format!("echo '{quoted}' | apply_patch"),
            format!("cat <<'EOF' | apply_patch\n{PATCH}\nEOF"),
            format!("cat <<'EOF' | tee log | apply_patch -\n{PATCH}\nEOF"),
            format!("apply_patch \"$(cat <<'EOF'\n{PATCH}\nEOF\n)\""),
            format!("apply_patch <<< '{quoted}'"),
            "apply_patch $'*** Begin Patch\\n*** Update File: a.rs\\n*** End Patch'".to_owned(),
            format!("if true; then apply_patch <<'EOF'\n{PATCH}\nEOF\nfi"),
            format!("{{ apply_patch <<'EOF'\n{PATCH}\nEOF\n}}"),
            format!("bash -lc 'apply_patch <<EOF\n{quoted}\nEOF\n'"),
            format!("sh <<'OUT'\napply_patch <<'EOF'\n{PATCH}\nEOF\nOUT"),
            format!("(apply_patch <<'EOF'\n{PATCH}\nEOF\n)"),
            format!("out=$(apply_patch <<'EOF'\n{PATCH}\nEOF\n) && echo \"$out\""),
            format!("echo \"$(apply_patch <<'EOF'\n{PATCH}\nEOF\n)\""),
            format!("apply_patch &> log <<'EOF'\n{PATCH}\nEOF"),
        ] {
            sees(&script, &["/w/a.rs"]);
        }
    }

    #[test]
    fn the_directory_is_followed() {
        let patch = |name: &str| format!("apply_patch <<'E'\n*** Add File: {name}\n+x\nE\n");
        for (script, files) in [
            (format!("cd sub && {}", patch("a")), &["/w/sub/a"][..]),
            (format!("cd 'sub dir'; {}", patch("a")), &["/w/sub dir/a"]),
            (format!("cd /x && {}{}", patch("a"), patch("b")), &["/x/a", "/x/b"]),
            (format!("cd -- x && cd y\n{}", patch("/z/a")), &["/z/a"]),
            (format!("(cd x && {})\n{}", patch("a"), patch("b")), &["/w/x/a", "/w/b"]),
            (format!("pushd x >/dev/null && {}", patch("a")), &["/w/x/a"]),
            (format!("cd x && bash -c \"{}\"", patch("a")), &["/w/x/a"]),
            (format!("{}{}", patch("a"), patch("a")), &["/w/a"]),
        ] {
            sees(&script, files);
        }
    }

    #[test]
    fn what_only_the_shell_knows_is_told_as_not_seen() {
        let patch = |name: &str| format!("apply_patch <<E\n*** Add File: {name}\n+x\nE\n");
        for script in [
            patch("$DIR/a"),
            patch("`pwd`/a"),
            patch("$(pwd)/a"),
            format!("cd $DIR && {}", patch("a")),
            format!("cd && {}", patch("a")),
            format!("cd ~/x && {}", patch("a")),
            format!("cd - && {}", patch("a")),
            "apply_patch < patch.txt".to_owned(),
            "apply_patch \"$PATCH\"".to_owned(),
            "cat patch.txt | apply_patch".to_owned(),
        ] {
            assert_eq!(seen(&script), (vec![], true), "{script}");
        }
        // What can be seen is seen all the same.
        let script = format!("cd $DIR && {}{}", patch("a"), patch("/b"));
        assert_eq!(seen(&script), (vec!["/b".to_owned()], true));
        sees(&patch("\\$DIR/a\\\\b"), &["/w/$DIR/a\\b"]);
        // A literal one is what it is.
        sees("apply_patch <<'E'\n*** Add File: $a/`b`\nE", &["/w/$a/`b`"]);
    }

    #[test]
    fn other_commands_edit_nothing() {
        for script in [
            "",
            "ls -l",
            "which apply_patch",
            "command -v apply_patch",
            "grep -rn apply_patch src # *** Add File: x",
            "echo apply_patch",
            "cat <<'EOF' > notes\n*** Add File: x\nEOF",
            "echo 'unfinished apply_patch",
            "case x in apply_patch) ;; esac",
            "cat <<'EOF' > apply_patch.md\n*** Add File: x\nEOF",
        ] {
            sees(script, &[]);
        }
    }

    #[test]
    fn a_list_of_words_is_a_command() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            edited_by_words(&words, Path::new("/w")).files
        };
        let expected = [PathBuf::from("/w/a.rs")];
        let script = format!("apply_patch <<'EOF'\n{PATCH}\nEOF");
        assert_eq!(of(&["apply_patch", PATCH]), expected);
        assert_eq!(of(&["bash", "-lc", &script]), expected);
        assert_eq!(of(&["/bin/zsh", "-c", &format!("cd /w && {script}")]), expected);
        assert_eq!(of(&["bash", "--norc", "-l", "-c", &script, "name"]), expected);
        assert!(of(&["bash", "script.sh"]).is_empty() && of(&[]).is_empty());
    }

    #[test]
    fn reading_ends_whatever_is_read() {
        for script in
            ["$(", "`", "${", "<<", "<<<", "'", "\"", "\\", "$'", "((((", "))))", "<(", "|&"]
        {
            for times in [1, 3, 1000] {
                edited(&format!("apply_patch {}", script.repeat(times)), Path::new("/w"));
                edited(&format!("{} apply_patch", script.repeat(times)), Path::new("/w"));
            }
        }
    }
}
