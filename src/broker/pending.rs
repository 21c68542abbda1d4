//! What the core is to be told in a turn, and once more if the turn does not commit.

/// See the module.
#[derive(Debug)]
pub(super) struct Pending<T> {
    list: Vec<T>,
    /// How many of them this turn has told.
    told: usize,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { list: Vec::new(), told: 0 }
    }
}

impl<T: Clone> Pending<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn push(&mut self, news: T) {
        self.list.push(news);
    }

    /// The next one that is to be told.
    pub(super) fn next(&mut self) -> Option<T> {
        let next = self.list.get(self.told).cloned();
        self.told += usize::from(next.is_some());
        next
    }

    /// The turn that has told them is durable.
    pub(super) fn commit(&mut self) {
        self.list.drain(..self.told);
        self.told = 0;
    }

    /// The turn was forgotten, and what was told with it.
    pub(super) fn abort(&mut self) {
        self.told = 0;
    }

    /// Keeps those that are still true. Between turns.
    pub(super) fn retain(&mut self, is_true: impl FnMut(&T) -> bool) {
        debug_assert_eq!(self.told, 0);
        self.list.retain(is_true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_forgotten_turn_has_told_is_told_again() {
        let mut news = Pending::default();
        news.push(1);
        news.push(2);
        assert_eq!((news.next(), news.next(), news.next()), (Some(1), Some(2), None));
        news.push(3);
        news.abort();
        assert_eq!((news.next(), news.next()), (Some(1), Some(2)));
        news.commit();
        assert_eq!((news.next(), news.is_empty()), (Some(3), false));
        news.commit();
        assert!(news.is_empty());
    }
}
