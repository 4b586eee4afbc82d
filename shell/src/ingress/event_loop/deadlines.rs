//! Which connection's time is over next: at most one entry per connection.
//!
//! A connection whose deadline moves into the future keeps its entry, which then fires early and is
//! set anew; so a busy connection costs nothing here per request.

use std::collections::BTreeSet;

use super::clock::NEVER;
use super::driver::Id;

/// Entries by time, ms.
#[derive(Default)]
pub(super) struct Deadlines {
    entries: BTreeSet<(u64, Id)>,
}

/// When the entry of one connection fires, ms; [`NEVER`] without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Armed(u64);

impl Armed {
    pub(super) const NOT: Self = Self(NEVER);
}

impl Deadlines {
    /// Makes sure that the connection is looked at by then at the latest.
    pub(super) fn by(&mut self, at: u64, id: Id, armed: &mut Armed) {
        if at < armed.0 {
            self.cancel(id, armed);
            self.entries.insert((at, id));
            armed.0 = at;
        }
    }

    /// Removes the entry of a connection.
    pub(super) fn cancel(&mut self, id: Id, armed: &mut Armed) {
        if armed.0 != NEVER {
            self.entries.remove(&(armed.0, id));
            *armed = Armed::NOT;
        }
    }

    /// Takes a connection that is to be looked at now. Its entry is gone: set `Armed::NOT`.
    pub(super) fn due(&mut self, now: u64) -> Option<Id> {
        let &(at, id) = self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        Some(id)
    }

    /// Returns when the first entry fires.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_deadline_keeps_the_entry_and_an_earlier_one_replaces_it() {
        let mut deadlines = Deadlines::default();
        let mut armed = Armed::NOT;
        deadlines.by(100, 7, &mut armed);
        deadlines.by(500, 7, &mut armed);
        assert_eq!(deadlines.first(), Some(100));
        deadlines.by(50, 7, &mut armed);
        assert_eq!((deadlines.first(), deadlines.entries.len()), (Some(50), 1));
        assert_eq!(deadlines.due(49), None);
        assert_eq!(deadlines.due(50), Some(7));
        armed = Armed::NOT;
        deadlines.by(60, 7, &mut armed);
        deadlines.cancel(7, &mut armed);
        assert_eq!((deadlines.first(), armed), (None, Armed::NOT));
    }

    #[test]
    fn what_is_due_comes_in_order() {
        let mut deadlines = Deadlines::default();
        for (at, id) in [(30, 1), (10, 2), (20, 3)] {
            deadlines.by(at, id, &mut Armed::NOT.clone());
        }
        assert_eq!(
            [deadlines.due(25), deadlines.due(25), deadlines.due(25)],
            [Some(2), Some(3), None]
        );
    }
}
