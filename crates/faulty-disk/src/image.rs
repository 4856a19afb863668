//! What lies on the disk: files as they are seen, as they are durable, and what is between the two; and what a crash
//! makes of it.
//!
//! Invariant: the seen content of a file is the durable one with its pending changes applied, unless a sync lost some
//! (`diverged`). The seen names are the durable names with the moves applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::Content;
use crate::dice::Dice;

/// Bytes that a real disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// How the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Crash {
    /// The process is gone, the operating system is not: everything written is there, and no more durable than before.
    ProcessKilled,
    /// The power is gone: what was synced is there, of the rest what the dice leave.
    PowerLoss,
}

/// A whole disk at a moment, durable and not; cheap to take and to keep. Faults, locks and counters are not in it.
#[derive(Debug, Clone)]
pub struct Snapshot(pub(crate) Image);

pub(crate) type NodeId = u64;

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Box<[u8]> },
    Resize { len: usize },
}

/// A change of the directory.
#[derive(Debug, Clone)]
enum Move {
    Link(String, NodeId),
    Unlink(String),
    Rename(String, String),
}

/// One file, whatever it is called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) seen: Content,
    durable: Content,
    pending: Vec<Change>,
    /// Whether seen and durable differ in more than the pending changes.
    diverged: bool,
}

impl Node {
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.seen.write(offset, bytes);
            self.pending.push(Change::Write { offset, bytes: bytes.into() });
        }
    }

    pub(crate) fn resize(&mut self, len: usize) {
        self.seen.resize(len);
        self.pending.push(Change::Resize { len });
    }

    /// Makes durable what is seen.
    pub(crate) fn sync(&mut self) {
        if self.diverged {
            for change in self.pending.drain(..) {
                change.apply(&mut self.durable);
            }
            return;
        }
        self.durable.resize(self.pending.iter().fold(self.durable.len(), |least, change| match change {
            Change::Resize { len } => least.min(*len),
            Change::Write { .. } => least,
        }));
        // Lengths the file had in between matter to nobody, but bytes beyond them were zeroed, and chunks say so.
        let cut = self.durable.len();
        self.durable.resize(self.seen.len());
        self.durable.share(&self.seen, cut, self.seen.len().saturating_sub(cut));
        for change in self.pending.drain(..) {
            if let Change::Write { offset, bytes } = change {
                self.durable.share(&self.seen, offset, bytes.len());
            }
        }
    }

    /// A sync failed and the system took the pages for clean: what was pending will never be durable.
    pub(crate) fn lose(&mut self) {
        self.diverged |= !self.pending.is_empty();
        self.pending.clear();
    }

    /// What a power cut leaves becomes all there is.
    fn lose_power(&mut self, dice: &mut Dice) {
        let mut left = self.durable.clone();
        // All and nothing are the two cases that are worth more than their share among the mixed ones.
        let fate = dice.below(4);
        for change in self.pending.drain(..) {
            match fate {
                0 => {}
                1 => change.apply(&mut left),
                _ => change.survive(&mut left, dice),
            }
        }
        *self = Self { seen: left.clone(), durable: left, pending: Vec::new(), diverged: false };
    }
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, bytes } => content.write(*offset, bytes),
            Self::Resize { len } => content.resize(*len),
        }
    }

    /// Applies all of it, nothing, or some of its sectors.
    fn survive(&self, left: &mut Content, dice: &mut Dice) {
        match (self, dice.below(3)) {
            (_, 0) => self.apply(left),
            (Self::Resize { .. }, _) => {}
            (Self::Write { offset, bytes }, fate) => {
                let end = offset + bytes.len();
                if end > left.len() && dice.below(3) == 0 {
                    // The new length arrived and the bytes did not: what lies there is whatever lay there before.
                    let from = left.len();
                    let mut rubbish = vec![0; end - from];
                    dice.fill(&mut rubbish);
                    left.write(from, &rubbish);
                }
                if fate == 1 {
                    tear(*offset, bytes, left, dice);
                }
            }
        }
    }
}

/// Writes some sectors of a write: the first ones, the last ones, or any.
fn tear(offset: usize, bytes: &[u8], left: &mut Content, dice: &mut Dice) {
    let (first, last) = (offset / SECTOR_BYTES, (offset + bytes.len()).div_ceil(SECTOR_BYTES));
    let sectors = last.saturating_sub(first);
    let (way, cut) = (dice.below(3), dice.below(sectors as u64 + 1));
    for sector in first..last {
        let before_cut = ((sector - first) as u64) < cut;
        let kept = match way {
            0 => before_cut,
            1 => !before_cut,
            _ => dice.below(2) == 0,
        };
        if kept {
            let from = (sector * SECTOR_BYTES).max(offset);
            let to = ((sector + 1) * SECTOR_BYTES).min(offset + bytes.len());
            left.write(from, &bytes[from - offset..to - offset]);
        }
    }
}

/// The whole disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    nodes: BTreeMap<NodeId, Node>,
    names: BTreeMap<String, NodeId>,
    durable_names: BTreeMap<String, NodeId>,
    moves: Vec<Move>,
    made: NodeId,
}

impl Image {
    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.names.iter().filter_map(|(name, id)| Some((name, self.nodes.get(id)?)))
    }

    /// Bytes of all files that are seen.
    pub(crate) fn bytes(&self) -> u64 {
        self.nodes.values().map(|node| node.seen.len() as u64).sum()
    }

    /// Changes that a power cut may take.
    pub(crate) fn unsynced(&self) -> usize {
        self.moves.len() + self.nodes.values().map(|node| node.pending.len()).sum::<usize>()
    }

    /// A new empty file, without a name where none is given.
    pub(crate) fn make(&mut self, name: Option<&str>) -> NodeId {
        self.made += 1;
        self.nodes.insert(self.made, Node::default());
        if let Some(name) = name {
            self.names.insert(name.to_owned(), self.made);
            self.moves.push(Move::Link(name.to_owned(), self.made));
        }
        self.made
    }

    /// Removes a name; whether it was there. The file goes with [`Image::forget_unreachable`].
    pub(crate) fn unlink(&mut self, name: &str) -> bool {
        let found = self.names.remove(name).is_some();
        if found {
            self.moves.push(Move::Unlink(name.to_owned()));
        }
        found
    }

    /// Gives a file another name, whose own file is replaced; whether it was there.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(id) = self.names.remove(from) else { return false };
        self.names.insert(to.to_owned(), id);
        self.moves.push(Move::Rename(from.to_owned(), to.to_owned()));
        true
    }

    /// Makes the names durable as they are seen.
    pub(crate) fn sync_names(&mut self) {
        if !self.moves.is_empty() {
            self.durable_names.clone_from(&self.names);
            self.moves.clear();
        }
    }

    /// Drops files that no name leads to, now or after a power cut, and that nobody holds open.
    pub(crate) fn forget_unreachable(&mut self, is_open: impl Fn(NodeId) -> bool) {
        let moved = self.moves.iter().filter_map(|change| match change {
            Move::Link(_, id) => Some(id),
            Move::Unlink(_) | Move::Rename(..) => None,
        });
        let named: BTreeSet<NodeId> =
            self.names.values().chain(self.durable_names.values()).chain(moved).copied().collect();
        self.nodes.retain(|id, _| named.contains(id) || is_open(*id));
    }

    /// What is there when the machine runs again.
    pub(crate) fn crash(&mut self, how: Crash, dice: &mut Dice) {
        if how == Crash::PowerLoss {
            let kept = match dice.below(4) {
                0 => 0,
                1 => self.moves.len() as u64,
                _ => dice.below(self.moves.len() as u64 + 1),
            };
            let mut names = std::mem::take(&mut self.durable_names);
            for (change, _) in self.moves.drain(..).zip(0..kept) {
                change.apply(&mut names);
            }
            self.names.clone_from(&names);
            self.durable_names = names;
            for node in self.nodes.values_mut() {
                node.lose_power(dice);
            }
        }
        self.forget_unreachable(|_| false);
    }
}

impl Move {
    fn apply(self, names: &mut BTreeMap<String, NodeId>) {
        match self {
            Self::Link(name, id) => {
                names.insert(name, id);
            }
            Self::Unlink(name) => {
                names.remove(&name);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(&from) {
                    names.insert(to, id);
                }
            }
        }
    }
}
