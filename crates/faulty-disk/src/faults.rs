//! What goes wrong, as data, and what was counted.
//!
//! A rule is used up only by operations that it matches, so "the third sync of the write-ahead log fails" means that and
//! not "whatever happens third".

use std::fmt;

/// What SQLite (or the disk's owner) asks of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A file is opened, and made where that was asked.
    Open,
    /// A name is removed.
    Delete,
    /// Whether a name is there.
    Access,
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// A file is cut or extended.
    Truncate,
    /// A file is made durable.
    Sync,
    /// The names are made durable.
    SyncDirectory,
    /// A file gets another name.
    Rename,
    /// A file's length is asked.
    Size,
    /// A lock on the whole file is asked for; giving one back is not counted and never fails.
    Lock,
    /// A part of the memory that the connections of a write-ahead log share is mapped.
    ShmMap,
    /// A lock in that memory is asked for; giving one back is not counted and never fails.
    ShmLock,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::Delete,
        Self::Access,
        Self::Read,
        Self::Write,
        Self::Truncate,
        Self::Sync,
        Self::SyncDirectory,
        Self::Rename,
        Self::Size,
        Self::Lock,
        Self::ShmMap,
        Self::ShmLock,
    ];

    /// Whether it can change what a power cut leaves behind. (An open does only where it makes the file.)
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(
            self,
            Self::Open
                | Self::Delete
                | Self::Write
                | Self::Truncate
                | Self::Sync
                | Self::SyncDirectory
                | Self::Rename
        )
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// What a file is to SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A database.
    Main,
    /// A write-ahead log.
    Wal,
    /// A rollback journal.
    Journal,
    /// A file without a name that goes when it is closed.
    Temporary,
    /// What the disk's owner asked for by name, not SQLite.
    Owner,
}

/// How an operation fails. Nothing of it is done, but where that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// An IO error (`SQLITE_IOERR` in the operation's own kind; a file that can not be opened at [`Operation::Open`]).
    Io,
    /// No room (`SQLITE_FULL`).
    Full,
    /// Somebody else has the lock (`SQLITE_BUSY`). Elsewhere as [`Fault::Io`]: no disk answers a read with it, and SQLite
    /// believes of a checkpoint at closing that was "busy" that nothing is left to do, and removes the log.
    Busy,
    /// Of a write the first half is done, then an IO error; elsewhere as [`Fault::Io`].
    Torn,
    /// A sync fails, and what it should have made durable never will be, though readers see it and the next sync
    /// succeeds: what Linux does after an error while writing back. Elsewhere as [`Fault::Io`].
    Lost,
}

/// One fault: the `after + 1`st to the `after + times`th of the matching operations from now on fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The operation.
    pub on: Operation,
    /// Only on files with this role; any where none.
    pub of: Option<Role>,
    /// How many are let through first.
    pub after: u64,
    /// How many fail then; `u64::MAX` is for ever.
    pub times: u64,
    /// How.
    pub fault: Fault,
}

impl Rule {
    /// The next `on` fails, on whatever file.
    #[must_use]
    pub const fn once(on: Operation, fault: Fault) -> Self {
        Self { on, of: None, after: 0, times: 1, fault }
    }

    /// Only on files with this role.
    #[must_use]
    pub const fn of(self, role: Role) -> Self {
        Self { of: Some(role), ..self }
    }

    /// Lets `after` matching operations through first.
    #[must_use]
    pub const fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    /// Fails `times` times.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    /// Whether it strikes now; counts down.
    pub(crate) const fn strikes(&mut self) -> bool {
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if self.times != u64::MAX {
            self.times = self.times.saturating_sub(1);
        }
        true
    }
}

/// How often each operation was asked for since the disk was made, whatever came of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Operation::ALL.len()]);

impl Counts {
    /// How often `operation` was asked for.
    #[must_use]
    pub const fn of(&self, operation: Operation) -> u64 {
        self.0[operation.index()]
    }

    /// How often anything was asked for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) const fn add(&mut self, operation: Operation) {
        self.0[operation.index()] += 1;
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(Operation::ALL.iter().map(|operation| (operation, self.of(*operation))))
            .finish()
    }
}
