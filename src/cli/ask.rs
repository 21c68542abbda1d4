//! Asking the person at the terminal.

use std::io::{self, BufRead, Read};

use super::out::Out;
use super::{Failure, Result};
use crate::platform;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64;

/// Whether there is a person to ask.
pub(super) fn can_ask(out: &Out) -> bool {
    !out.json && out.is_terminal && platform::stdin_is_terminal()
}

/// Whether the person agrees.
pub(super) fn agrees(out: &mut Out, question: &str) -> Result<bool> {
    Ok(is_yes(&answer(out, &format!("{question} [y/N]"))?))
}

/// Whether an answer is a yes.
pub(super) fn is_yes(answer: &str) -> bool {
    matches!(answer, "y" | "Y" | "yes" | "Yes" | "YES")
}

/// What the person answers.
pub(super) fn answer(out: &mut Out, question: &str) -> Result<String> {
    write!(out, "{question} ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Returns if `yes` was given or the person agrees. `what` says what would be done, also where there
/// is nobody to ask.
///
/// # Errors
/// `not_confirmed`.
pub(super) fn confirm(out: &mut Out, yes: bool, what: &str, question: &str) -> Result<()> {
    let refused = |message: String| Err(Failure::other("not_confirmed", message));
    if yes {
        return Ok(());
    }
    if !can_ask(out) {
        out.flush()?;
        return refused(format!(
            "{what}; there is no terminal to ask on, so nothing was changed: repeat it with --yes"
        ));
    }
    out.paragraph(&format!("{what}."))?;
    if agrees(out, question)? { Ok(()) } else { refused("nothing was changed".to_owned()) }
}
