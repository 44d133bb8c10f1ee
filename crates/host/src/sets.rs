//! Sets that only grow together.

/// A number of things, each in one set.
#[derive(Clone, Debug)]
pub(crate) struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    /// As many things, each alone.
    pub(crate) fn new(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    /// What stands for the set of `of`.
    pub(crate) fn find(&mut self, of: usize) -> usize {
        let mut at = of;
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    /// Makes one set of two; whether they were two.
    pub(crate) fn join(&mut self, one: usize, other: usize) -> bool {
        let (one, other) = (self.find(one), self.find(other));
        // The lower stands for both, so that the outcome does not turn on the order.
        self.parent[one.max(other)] = one.min(other);
        one != other
    }

    /// The sets, without those things that `keep` refuses.
    pub(crate) fn lists(&mut self, keep: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let mut lists = vec![Vec::new(); self.parent.len()];
        for thing in (0..self.parent.len()).filter(|&thing| keep(thing)) {
            lists[self.find(thing)].push(thing);
        }
        lists.retain(|list| !list.is_empty());
        lists
    }
}
