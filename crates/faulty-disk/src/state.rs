//! One disk: its image, who has it open, what goes wrong next, and what was counted. No SQLite and no `unsafe` here.
//!
//! Every operation goes through [`State::enter`], which counts it and asks the faults, and every change through
//! [`State::done`], where the power may go. An operation of a handle from before a crash fails.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::dice::Dice;
use crate::faults::{Counts, Fault, Operation, Role, Rule};
use crate::image::{Crash, Image, NodeId};
use crate::locks::{FileLocks, Level, SHM_LOCKS, ShmHeld, ShmLocks};
use crate::shm::Memory;

/// The start of the disk's time of day: 2023-11-14, in microseconds since 1970.
const START_US: i64 = 1_700_000_000_000_000;

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Missing,
    Exists,
    Io,
    Full,
    Busy,
}

/// An open file, as its connection knows it.
#[derive(Debug)]
pub(crate) struct Handle {
    node: NodeId,
    role: Role,
    /// The disk's life (between two crashes) it belongs to.
    life: u64,
    level: Level,
    held: ShmHeld,
    shm: Option<Arc<Memory>>,
    /// Whether the first sync has to make the directory durable too.
    directory_owed: bool,
}

/// What the connections that have a file open share.
#[derive(Debug, Default)]
struct Shared {
    handles: usize,
    locks: FileLocks,
    shm_locks: ShmLocks,
    shm_users: usize,
    shm: Option<Arc<Memory>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) image: Image,
    open: BTreeMap<NodeId, Shared>,
    life: u64,
    dice: Dice,
    bytes: u64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) struck: u64,
    pub(crate) bytes_max: Option<u64>,
    pub(crate) ignore_syncs: bool,
    pub(crate) changes_left: Option<u64>,
    pub(crate) off: bool,
    pub(crate) counts: Counts,
    pub(crate) changes: u64,
    pub(crate) now_us: i64,
    pub(crate) slept_us: u64,
}

impl State {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            image: Image::default(),
            open: BTreeMap::new(),
            life: 0,
            dice: Dice::new(seed),
            bytes: 0,
            rules: Vec::new(),
            struck: 0,
            bytes_max: None,
            ignore_syncs: false,
            changes_left: None,
            off: false,
            counts: Counts::default(),
            changes: 0,
            now_us: START_US,
            slept_us: 0,
        }
    }

    pub(crate) const fn reseed(&mut self, seed: u64) {
        self.dice = Dice::new(seed);
    }

    pub(crate) fn crash(&mut self, how: Crash) {
        self.image.crash(how, &mut self.dice);
        self.wake();
    }

    pub(crate) fn restore(&mut self, image: Image) {
        self.image = image;
        self.wake();
    }

    /// A new life: nobody has anything open.
    fn wake(&mut self) {
        self.life += 1;
        self.open.clear();
        self.off = false;
        self.changes_left = None;
        self.bytes = self.image.bytes();
    }

    pub(crate) fn randomness(&mut self, bytes: &mut [u8]) {
        self.dice.fill(bytes);
    }

    pub(crate) fn sleep(&mut self, us: u64) {
        self.slept_us = self.slept_us.saturating_add(us);
        self.now_us = self.now_us.saturating_add(i64::try_from(us).unwrap_or(i64::MAX));
    }

    // ---- the gate

    /// Counts an operation and asks what goes wrong with it. A fault that leaves half of the work done is handed back.
    fn enter(&mut self, operation: Operation, role: Role) -> Result<Option<Fault>, Trouble> {
        self.counts.add(operation);
        if self.off {
            return Err(Trouble::Io);
        }
        let matching = |rule: &&mut Rule| rule.on == operation && rule.of.is_none_or(|of| of == role);
        let Some(rule) = self.rules.iter_mut().find(matching) else { return Ok(None) };
        if !rule.strikes() {
            return Ok(None);
        }
        let fault = rule.fault;
        self.rules.retain(|rule| rule.times > 0);
        self.struck += 1;
        match (operation, fault) {
            (Operation::Write, Fault::Torn) | (Operation::Sync, Fault::Lost) => Ok(Some(fault)),
            (_, Fault::Full) => Err(Trouble::Full),
            (Operation::Lock | Operation::ShmLock, Fault::Busy) => Err(Trouble::Busy),
            (_, Fault::Io | Fault::Busy | Fault::Torn | Fault::Lost) => Err(Trouble::Io),
        }
    }

    fn enter_file(&mut self, operation: Operation, handle: &Handle) -> Result<Option<Fault>, Trouble> {
        let fault = self.enter(operation, handle.role)?;
        if handle.life == self.life { Ok(fault) } else { Err(Trouble::Io) }
    }

    /// Whether the change under way is the one in which the power goes.
    fn is_last(&self) -> bool {
        self.changes_left == Some(0)
    }

    /// Notes a change that was done.
    const fn done(&mut self) -> Result<(), Trouble> {
        self.changes += 1;
        match self.changes_left {
            None => Ok(()),
            Some(0) => {
                self.off = true;
                Err(Trouble::Io)
            }
            Some(left) => {
                self.changes_left = Some(left - 1);
                Ok(())
            }
        }
    }

    // ---- names

    /// Opens a file, making it where `make` says so; a temporary one has no name.
    pub(crate) fn open(
        &mut self,
        name: Option<&str>,
        role: Role,
        make: bool,
        exclusive: bool,
    ) -> Result<Handle, Trouble> {
        self.enter(Operation::Open, role)?;
        let found = name.and_then(|name| self.image.find(name));
        let node = match found {
            Some(_) if make && exclusive => return Err(Trouble::Exists),
            Some(node) => node,
            None if !make => return Err(Trouble::Missing),
            None => self.image.make(name),
        };
        let made = found.is_none();
        // Where the power goes at the making of it, the name is there and nobody has it open.
        if made && name.is_some() {
            self.done()?;
        }
        self.open.entry(node).or_default().handles += 1;
        Ok(Handle {
            node,
            role,
            life: self.life,
            level: Level::None,
            held: ShmHeld::default(),
            shm: None,
            directory_owed: make && matches!(role, Role::Wal | Role::Journal),
        })
    }

    pub(crate) fn close(&mut self, handle: &mut Handle) {
        self.shm_unmap(handle);
        if handle.life != self.life {
            return;
        }
        self.unlock(handle, Level::None);
        let Some(shared) = self.open.get_mut(&handle.node) else { return };
        shared.handles -= 1;
        if shared.handles == 0 {
            self.open.remove(&handle.node);
            self.forget();
        }
    }

    fn forget(&mut self) {
        let open = &self.open;
        self.image.forget_unreachable(|node| open.contains_key(&node));
        self.bytes = self.image.bytes();
    }

    pub(crate) fn delete(&mut self, name: &str, role: Role, durably: bool) -> Result<(), Trouble> {
        self.enter(Operation::Delete, role)?;
        if !self.image.unlink(name) {
            return Err(Trouble::Missing);
        }
        self.forget();
        self.done()?;
        if durably { self.sync_names(role) } else { Ok(()) }
    }

    fn sync_names(&mut self, role: Role) -> Result<(), Trouble> {
        self.enter(Operation::SyncDirectory, role)?;
        if !self.is_last() && !self.ignore_syncs {
            self.image.sync_names();
            self.forget();
        }
        self.done()
    }

    /// Removes the name of a file that is open, as Unix does with one that is to go at its closing.
    pub(crate) fn unname(&mut self, name: &str) {
        self.image.unlink(name);
    }

    /// Whether the file is still reached by `name`.
    pub(crate) fn is_named(&self, handle: &Handle, name: &str) -> bool {
        handle.life == self.life && self.image.find(name) == Some(handle.node)
    }

    /// Whether a name is there; an empty file counts where `even_empty`.
    pub(crate) fn access(&mut self, name: &str, role: Role, even_empty: bool) -> Result<bool, Trouble> {
        self.enter(Operation::Access, role)?;
        let node = self.image.find(name).and_then(|node| self.image.node(node));
        Ok(node.is_some_and(|node| even_empty || node.seen.len() > 0))
    }

    // ---- bytes

    /// Reads into the front of `into`; how many bytes there were.
    pub(crate) fn read(&mut self, handle: &Handle, offset: usize, into: &mut [u8]) -> Result<usize, Trouble> {
        self.enter_file(Operation::Read, handle)?;
        let node = self.image.node(handle.node).ok_or(Trouble::Io)?;
        Ok(node.seen.read(offset, into))
    }

    pub(crate) fn write(&mut self, handle: &Handle, offset: usize, bytes: &[u8]) -> Result<(), Trouble> {
        let torn = self.enter_file(Operation::Write, handle)?.is_some();
        let node = self.image.node_mut(handle.node).ok_or(Trouble::Io)?;
        let len = node.seen.len();
        let room = self
            .bytes_max
            .map_or(usize::MAX, |max| usize::try_from(max.saturating_sub(self.bytes)).unwrap_or(usize::MAX));
        let fits = len.saturating_add(room).saturating_sub(offset).min(bytes.len());
        let count = if torn { fits.min(bytes.len() / 2) } else { fits };
        node.write(offset, &bytes[..count]);
        self.bytes += (node.seen.len() - len) as u64;
        let done = if count > 0 || bytes.is_empty() { self.done() } else { Ok(()) };
        match done {
            Ok(()) if torn => Err(Trouble::Io),
            Ok(()) if fits < bytes.len() => Err(Trouble::Full),
            done => done,
        }
    }

    pub(crate) fn resize(&mut self, handle: &Handle, len: usize) -> Result<(), Trouble> {
        self.enter_file(Operation::Truncate, handle)?;
        let node = self.image.node_mut(handle.node).ok_or(Trouble::Io)?;
        let before = node.seen.len();
        node.resize(len);
        self.bytes = (self.bytes + len as u64).saturating_sub(before as u64);
        self.done()
    }

    pub(crate) fn size(&mut self, handle: &Handle) -> Result<usize, Trouble> {
        self.enter_file(Operation::Size, handle)?;
        self.image.node(handle.node).map(|node| node.seen.len()).ok_or(Trouble::Io)
    }

    pub(crate) fn sync(&mut self, handle: &mut Handle) -> Result<(), Trouble> {
        let lost = self.enter_file(Operation::Sync, handle)?.is_some();
        self.sync_node(handle.node, lost)?;
        if std::mem::take(&mut handle.directory_owed) { self.sync_names(handle.role) } else { Ok(()) }
    }

    fn sync_node(&mut self, node: NodeId, lost: bool) -> Result<(), Trouble> {
        let skip = self.is_last() || self.ignore_syncs;
        let node = self.image.node_mut(node).ok_or(Trouble::Io)?;
        if lost {
            node.lose();
            return Err(Trouble::Io);
        }
        if !skip {
            node.sync();
        }
        self.done()
    }

    // ---- locks and shared memory

    pub(crate) fn lock(&mut self, handle: &mut Handle, wanted: Level) -> Result<(), Trouble> {
        self.enter_file(Operation::Lock, handle)?;
        let shared = self.open.get_mut(&handle.node).ok_or(Trouble::Io)?;
        let (level, got) = shared.locks.raise(handle.level, wanted);
        handle.level = level;
        if got { Ok(()) } else { Err(Trouble::Busy) }
    }

    pub(crate) fn unlock(&mut self, handle: &mut Handle, wanted: Level) {
        if handle.level <= wanted {
            return;
        }
        if handle.life == self.life
            && let Some(shared) = self.open.get_mut(&handle.node)
        {
            shared.locks.lower(handle.level, wanted);
        }
        handle.level = wanted;
    }

    pub(crate) fn is_reserved(&mut self, handle: &Handle) -> Result<bool, Trouble> {
        self.enter_file(Operation::Lock, handle)?;
        Ok(self.open.get(&handle.node).is_some_and(|shared| shared.locks.is_reserved()))
    }

    /// The memory that the file's connections share; made by the first, and gone with the last.
    pub(crate) fn shm_map(&mut self, handle: &mut Handle) -> Result<Arc<Memory>, Trouble> {
        self.enter_file(Operation::ShmMap, handle)?;
        if let Some(memory) = &handle.shm {
            return Ok(Arc::clone(memory));
        }
        let shared = self.open.get_mut(&handle.node).ok_or(Trouble::Io)?;
        let memory = Arc::clone(shared.shm.get_or_insert_default());
        shared.shm_users += 1;
        handle.shm = Some(Arc::clone(&memory));
        Ok(memory)
    }

    pub(crate) fn shm_unmap(&mut self, handle: &mut Handle) {
        self.shm_unlock(handle, 0, SHM_LOCKS);
        let mapped = handle.shm.take().is_some();
        if !mapped || handle.life != self.life {
            return;
        }
        if let Some(shared) = self.open.get_mut(&handle.node) {
            shared.shm_users -= 1;
            if shared.shm_users == 0 {
                shared.shm = None;
            }
        }
    }

    pub(crate) fn shm_lock(
        &mut self,
        handle: &mut Handle,
        first: usize,
        count: usize,
        exclusive: bool,
    ) -> Result<(), Trouble> {
        self.enter_file(Operation::ShmLock, handle)?;
        let shared = self.open.get_mut(&handle.node).ok_or(Trouble::Io)?;
        let got = if exclusive {
            shared.shm_locks.exclude(&mut handle.held, first, count)
        } else {
            shared.shm_locks.share(&mut handle.held, first, count)
        };
        if got { Ok(()) } else { Err(Trouble::Busy) }
    }

    pub(crate) fn shm_unlock(&mut self, handle: &mut Handle, first: usize, count: usize) {
        if handle.life == self.life
            && let Some(shared) = self.open.get_mut(&handle.node)
        {
            shared.shm_locks.release(&mut handle.held, first, count);
        }
    }

    // ---- the owner's own operations

    pub(crate) fn files(&self) -> Vec<(String, u64)> {
        self.image.names().map(|(name, node)| (name.clone(), node.seen.len() as u64)).collect()
    }

    pub(crate) fn export(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.image.node(self.image.find(name)?)?.seen.to_vec())
    }

    pub(crate) fn import(&mut self, name: &str, bytes: &[u8]) {
        let node = self.image.find(name).unwrap_or_else(|| self.image.make(Some(name)));
        if let Some(node) = self.image.node_mut(node) {
            node.resize(0);
            node.write(0, bytes);
            node.sync();
        }
        self.image.sync_names();
        self.bytes = self.image.bytes();
    }

    pub(crate) fn create(&mut self, name: &str) -> io::Result<()> {
        let mut handle = self.open(Some(name), Role::Owner, true, true).map_err(io_error)?;
        self.close(&mut handle);
        Ok(())
    }

    pub(crate) fn sync_named(&mut self, name: &str) -> io::Result<()> {
        let entered = self.enter(Operation::Sync, Role::Owner);
        let node = self.image.find(name);
        entered
            .and_then(|fault| self.sync_node(node.ok_or(Trouble::Missing)?, fault.is_some()))
            .map_err(io_error)
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let renamed = self.enter(Operation::Rename, Role::Owner).and_then(|_| {
            if !self.image.rename(from, to) {
                return Err(Trouble::Missing);
            }
            self.forget();
            self.done()
        });
        renamed.map_err(io_error)
    }

    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.delete(name, Role::Owner, false).map_err(io_error)
    }

    pub(crate) fn sync_directory(&mut self) -> io::Result<()> {
        self.sync_names(Role::Owner).map_err(io_error)
    }
}

fn io_error(trouble: Trouble) -> io::Error {
    match trouble {
        Trouble::Missing => io::ErrorKind::NotFound.into(),
        Trouble::Exists => io::ErrorKind::AlreadyExists.into(),
        Trouble::Full => io::ErrorKind::StorageFull.into(),
        Trouble::Busy => io::ErrorKind::ResourceBusy.into(),
        Trouble::Io => io::Error::other("the simulated disk failed"),
    }
}
