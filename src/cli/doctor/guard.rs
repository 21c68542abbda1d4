//! Checks whether commits in the working directory are guarded.

use std::env;

use super::super::guard::in_words;
use super::super::out::Out;
use super::super::text::count;
use super::Report;
use crate::guard::status::{self, State};

const CHECK: &str = "guard";

/// Says nothing outside of a repository, or without git.
pub(super) fn check(report: &mut Report, out: &Out) {
    let Ok(here) = env::current_dir() else { return };
    let Ok(status) = status::status(&here) else { return };
    let open = || status.trees.iter().filter(|tree| tree.state != State::Guarded);
    let all = status.trees.len();
    match (open().next(), open().count()) {
        (None, _) => {
            let trees = count(all as u64, "working tree", "working trees");
            report.ok(CHECK, format!("commits are guarded in {trees} of this repository"));
        }
        (Some(tree), 1) if all > 1 || tree.state != State::None => report.note(
            CHECK,
            format!("{}: {}", out.path(&tree.path.display().to_string()), in_words(tree.state)),
            "run `slm-mesh guard status`, and `slm-mesh guard install` there",
        ),
        (Some(_), open) if open < all => report.note(
            CHECK,
            format!("{open} of {all} working trees of this repository are not guarded"),
            "run `slm-mesh guard status`, and `slm-mesh guard install` in them",
        ),
        _ => report.note(
            CHECK,
            "commits in this repository are not guarded",
            "to keep files that others have locked out of them, run `slm-mesh guard install`",
        ),
    }
}
