//! Who holds which lock: on a database file, as SQLite's five levels, and the eight of a write-ahead log's shared memory.
//!
//! The rules are those of SQLite's own file systems: many readers, one who has announced to write, one who waits for the
//! readers to leave (new ones are turned away), one who writes.

/// Locks in the shared memory of a write-ahead log.
pub(crate) const SHM_LOCKS: usize = 8;

/// How strongly a connection holds a file; a level includes the ones before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// The locks on one file.
#[derive(Debug, Default)]
pub(crate) struct FileLocks {
    /// Connections at [`Level::Shared`] or above.
    readers: usize,
    /// The one connection above [`Level::Shared`], if there is one: its level.
    writer: Level,
}

impl FileLocks {
    /// Raises a connection from `held` towards `wanted`; the level it has now, and whether that is the wanted one.
    pub(crate) fn raise(&mut self, held: Level, wanted: Level) -> (Level, bool) {
        if held >= wanted {
            return (held, true);
        }
        let others_write = self.writer > Level::Shared && held <= Level::Shared;
        if wanted == Level::Shared {
            if self.writer >= Level::Pending {
                return (held, false);
            }
            self.readers += 1;
            return (Level::Shared, true);
        }
        // Nobody gets above shared without being a reader first, nor beside another writer.
        if held == Level::None || others_write {
            return (held, false);
        }
        let reached = match wanted {
            Level::Exclusive if self.readers > 1 => Level::Pending,
            level => level,
        };
        self.writer = reached;
        (reached, reached == wanted)
    }

    /// Lowers a connection from `held` to [`Level::Shared`] or [`Level::None`].
    pub(crate) fn lower(&mut self, held: Level, wanted: Level) {
        if held > Level::Shared {
            self.writer = Level::None;
        }
        if held >= Level::Shared && wanted == Level::None {
            self.readers = self.readers.saturating_sub(1);
        }
    }

    /// Whether somebody has announced to write.
    pub(crate) fn is_reserved(&self) -> bool {
        self.writer >= Level::Reserved
    }
}

/// The locks in the shared memory of one file.
#[derive(Debug, Default)]
pub(crate) struct ShmLocks {
    readers: [usize; SHM_LOCKS],
    writers: [bool; SHM_LOCKS],
}

/// What one connection holds of them, as bits.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ShmHeld {
    shared: u8,
    exclusive: u8,
}

impl ShmLocks {
    /// Takes locks `first..first + count` for reading; whether it got them.
    pub(crate) fn share(&mut self, held: &mut ShmHeld, first: usize, count: usize) -> bool {
        let wanted: Vec<usize> =
            bits(first, count).filter(|lock| (held.shared | held.exclusive) & bit(*lock) == 0).collect();
        if wanted.iter().any(|lock| self.writers[*lock]) {
            return false;
        }
        for lock in wanted {
            self.readers[lock] += 1;
            held.shared |= bit(lock);
        }
        true
    }

    /// Takes locks `first..first + count` for oneself; whether it got them, all or none.
    pub(crate) fn exclude(&mut self, held: &mut ShmHeld, first: usize, count: usize) -> bool {
        let taken = |lock: usize| {
            let others = self.readers[lock] > usize::from(held.shared & bit(lock) != 0);
            others || (self.writers[lock] && held.exclusive & bit(lock) == 0)
        };
        if bits(first, count).any(taken) {
            return false;
        }
        for lock in bits(first, count) {
            if held.shared & bit(lock) != 0 {
                self.readers[lock] -= 1;
                held.shared &= !bit(lock);
            }
            self.writers[lock] = true;
            held.exclusive |= bit(lock);
        }
        true
    }

    /// Gives back whatever is held of locks `first..first + count`.
    pub(crate) fn release(&mut self, held: &mut ShmHeld, first: usize, count: usize) {
        for lock in bits(first, count) {
            if held.shared & bit(lock) != 0 {
                self.readers[lock] = self.readers[lock].saturating_sub(1);
            }
            if held.exclusive & bit(lock) != 0 {
                self.writers[lock] = false;
            }
            held.shared &= !bit(lock);
            held.exclusive &= !bit(lock);
        }
    }
}

fn bits(first: usize, count: usize) -> std::ops::Range<usize> {
    first.min(SHM_LOCKS)..first.saturating_add(count).min(SHM_LOCKS)
}

const fn bit(lock: usize) -> u8 {
    1 << lock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_after_the_readers_have_left_and_new_ones_wait() {
        use Level::{Exclusive, None, Pending, Reserved, Shared};
        let mut file = FileLocks::default();
        assert_eq!(file.raise(None, Shared), (Shared, true));
        assert_eq!(file.raise(None, Shared), (Shared, true));
        assert!(!file.is_reserved());
        assert_eq!(file.raise(Shared, Reserved), (Reserved, true));
        assert!(file.is_reserved());
        assert_eq!(file.raise(Shared, Reserved), (Shared, false), "one announces");
        assert_eq!(file.raise(Shared, Exclusive), (Shared, false), "nobody overtakes the one that announced");
        assert_eq!(file.raise(None, Shared), (Shared, true), "readers may still come");
        file.lower(Shared, None);
        assert_eq!(file.raise(Reserved, Exclusive), (Pending, false), "a reader is there");
        assert_eq!(file.raise(None, Shared), (None, false), "no reader comes any more");
        file.lower(Shared, None);
        assert_eq!(file.raise(Pending, Exclusive), (Exclusive, true));
        assert_eq!(file.raise(None, Shared), (None, false));
        file.lower(Exclusive, Shared);
        assert_eq!(file.raise(None, Shared), (Shared, true));
        assert_eq!(file.raise(None, Reserved), (None, false), "not without reading first");
    }

    #[test]
    fn a_lock_in_shared_memory_is_for_many_readers_or_one() {
        let mut locks = ShmLocks::default();
        let (mut ann, mut bob) = (ShmHeld::default(), ShmHeld::default());
        assert!(locks.share(&mut ann, 3, 1) && locks.share(&mut bob, 3, 1));
        assert!(!locks.exclude(&mut ann, 3, 1), "bob reads");
        assert!(!locks.exclude(&mut ann, 2, 3), "all or none");
        assert!(locks.share(&mut bob, 2, 1) && locks.share(&mut bob, 4, 1), "none of them was taken");
        locks.release(&mut bob, 0, SHM_LOCKS);
        assert!(locks.exclude(&mut ann, 2, 3));
        assert!(!locks.share(&mut bob, 3, 1) && !locks.exclude(&mut bob, 4, 1));
        locks.release(&mut bob, 0, SHM_LOCKS);
        assert!(!locks.share(&mut bob, 3, 1), "nobody gives back what is not theirs");
        locks.release(&mut ann, 0, SHM_LOCKS);
        assert!(locks.exclude(&mut bob, 0, SHM_LOCKS));
        locks.release(&mut bob, 0, 1);
        assert!(locks.share(&mut ann, 0, 1) && !locks.share(&mut ann, 1, 1));
    }
}
