//! Whether two patterns have a path in common, in steps that are counted.
//!
//! Two that both stand for any number of items meet if their beginnings and their ends do, up to the
//! first and from the last of those: what is between fits one behind the other. Only one against a
//! list of fixed length has to be tried out, leftmost first; each item of that list is then needed
//! once, so that no choice is to be taken back.

use std::cell::Cell;

use super::{Segment, Token};

/// How much work is left to a request: one step is about what it takes to compare two characters.
#[derive(Debug)]
pub struct Steps(Cell<u32>);

impl Steps {
    /// So many.
    #[must_use]
    pub const fn of(left: u32) -> Self {
        Self(Cell::new(left))
    }

    /// So many again.
    pub fn renew(&self, left: u32) {
        self.0.set(left);
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.0.get()
    }

    /// Takes some.
    pub fn spend(&self, steps: usize) {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.0.set(self.0.get().saturating_sub(steps));
    }

    /// Whether none are left.
    #[must_use]
    pub fn are_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// An item of a list in which some items stand for any number of others.
pub(super) trait Item {
    /// Whether it stands for any number.
    fn is_any(&self) -> bool;
    /// Whether both stand for something common; neither is any number.
    fn meets(&self, other: &Self, steps: &Steps) -> bool;
}

impl Item for Segment {
    fn is_any(&self) -> bool {
        matches!(self, Self::Deep)
    }

    fn meets(&self, other: &Self, steps: &Steps) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => {
                steps.spend(1 + a.len().min(b.len()) / 32);
                a == b
            }
            (Self::Glob(a), Self::Glob(b)) => meet(a, b, steps),
            (Self::Text(text), Self::Glob(glob)) | (Self::Glob(glob), Self::Text(text)) => {
                fits(text.chars(), glob, |c, token| {
                    steps.spend(1);
                    !steps.are_spent() && !matches!(token, Token::Char(other) if *other != c)
                })
            }
            (Self::Deep, _) | (_, Self::Deep) => true,
        }
    }
}

impl Item for Token {
    fn is_any(&self) -> bool {
        matches!(self, Self::Many)
    }

    fn meets(&self, other: &Self, steps: &Steps) -> bool {
        steps.spend(1);
        match (self, other) {
            _ if steps.are_spent() => false,
            (Self::Char(a), Self::Char(b)) => a == b,
            _ => true,
        }
    }
}

/// Whether one sequence fits both lists. Once the steps are spent the answer means nothing.
pub(super) fn meet<T: Item>(a: &[T], b: &[T], steps: &Steps) -> bool {
    // Looking through both for what stands for any number.
    steps.spend((a.len() + b.len()) / 4);
    match (a.iter().any(T::is_any), b.iter().any(T::is_any)) {
        (true, true) => {
            begin_alike(a.iter(), b.iter(), steps)
                && begin_alike(a.iter().rev(), b.iter().rev(), steps)
        }
        (false, _) => fits(a.iter(), b, |a, b| a.meets(b, steps)),
        (true, false) => fits(b.iter(), a, |b, a| b.meets(a, steps)),
    }
}

/// Whether the items before the first of any number meet one by one.
fn begin_alike<'a, T: Item + 'a>(
    a: impl Iterator<Item = &'a T>,
    b: impl Iterator<Item = &'a T>,
    steps: &Steps,
) -> bool {
    a.zip(b).take_while(|(a, b)| !a.is_any() && !b.is_any()).all(|(a, b)| a.meets(b, steps))
}

/// Whether `list` fits a sequence of the length of `fixed`, each of whose items stands for one.
fn fits<F, T: Item>(
    mut fixed: impl DoubleEndedIterator<Item = F> + Clone,
    list: &[T],
    meets: impl Fn(F, &T) -> bool,
) -> bool {
    // What stands between those of any number.
    let mut parts = list.split(T::is_any);
    let first = parts.next().unwrap_or_default();
    if !first.iter().all(|item| fixed.next().is_some_and(|at| meets(at, item))) {
        return false;
    }
    let Some(behind) = parts.next_back() else { return fixed.next().is_none() };
    if !behind.iter().rev().all(|item| fixed.next_back().is_some_and(|at| meets(at, item))) {
        return false;
    }
    for part in parts {
        loop {
            let mut rest = fixed.clone();
            if part.iter().all(|item| rest.next().is_some_and(|at| meets(at, item))) {
                fixed = rest;
                break;
            }
            if fixed.next().is_none() {
                return false;
            }
        }
    }
    true
}
