//! The node: a [`SimChain`] behind a real WebSocket (and HTTP) JSON-RPC server on 127.0.0.1.
//!
//! [`SimNode`] is the handle that tests and the demo hold: it mines, makes forks, and switches faults. What changes on
//! the chain is queued for every subscriber before the call returns, so a test needs no waiting on this side. The lock
//! is never held over an await. Sockets are `socket`'s, subscriptions and pushes `world`'s, answers `rpc`'s.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};

use alloy::primitives::{Address, B256, Log};
use tokio::task::AbortHandle;

use super::chain::{SimChain, SimError, Tx};
use super::faults::{DropPushes, Faults, RpcFault, Times};
use super::provider::Provider;
use super::socket::{self, Node};
use super::world::{Counters, Frame, World};
use counterfill_core::units::BlockRef;

/// Ends the accept loop and every connection with the last handle.
#[derive(Debug)]
struct Server {
    node: Arc<Node>,
    accept: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
        self.node.world().sockets.clear();
    }
}

/// A running node. Clones are handles of the same node; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct SimNode {
    server: Arc<Server>,
    address: SocketAddr,
}

impl SimNode {
    /// Serves the chain on a free port of 127.0.0.1, in the current tokio runtime.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(chain: SimChain) -> std::io::Result<Self> {
        let node = Arc::new(Node::new(World::new(chain)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accept = tokio::spawn(socket::serve(listener, Arc::clone(&node))).abort_handle();
        Ok(Self { server: Arc::new(Server { node, accept }), address })
    }

    /// `ws://127.0.0.1:port/`. Any path is served alike, so that a test may put a key into it.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// The same node over plain HTTP POST.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.server.node.world()
    }

    /// Reads the chain.
    pub fn chain<T>(&self, read: impl FnOnce(&SimChain) -> T) -> T {
        read(&self.world().chain)
    }

    /// Changes the chain (tokens, contracts, blocks) without a push.
    pub fn chain_mut<T>(&self, change: impl FnOnce(&mut SimChain) -> T) -> T {
        change(&mut self.world().chain)
    }

    /// A new transaction, not yet mined.
    #[must_use]
    pub fn tx(&self, logs: Vec<Log>) -> Tx {
        self.chain_mut(|chain| chain.tx(logs))
    }

    /// Mines one block and pushes it.
    pub fn mine(&self, txs: Vec<Tx>) -> BlockRef {
        let mut world = self.world();
        let block = world.chain.mine(txs);
        world.announce(&[], &[block]);
        block
    }

    /// Mines one block of one new transaction with these logs.
    pub fn mine_logs(&self, logs: Vec<Log>) -> BlockRef {
        let tx = self.tx(logs);
        self.mine(vec![tx])
    }

    /// Mines `blocks` empty blocks, one after the other. Returns the tip.
    pub fn mine_empty(&self, blocks: u64) -> BlockRef {
        for _ in 0..blocks {
            self.mine(Vec::new());
        }
        self.chain(SimChain::tip)
    }

    /// Replaces the top `depth` blocks and pushes what a node pushes then.
    ///
    /// # Errors
    /// [`SimError::TooDeep`].
    pub fn reorg(&self, depth: u64, blocks: Vec<Vec<Tx>>) -> Result<Vec<BlockRef>, SimError> {
        self.fork(|chain| chain.reorg(depth, blocks))
    }

    /// Makes `tip` canonical again, with all its ancestors, and pushes what a node pushes then. Where `tip` is an
    /// ancestor of the head nothing is pushed, as at a rollback of anvil.
    ///
    /// # Errors
    /// [`SimError::UnknownBlock`].
    pub fn return_to(&self, tip: B256) -> Result<Vec<BlockRef>, SimError> {
        self.fork(|chain| chain.return_to(tip))
    }

    fn fork(
        &self,
        change: impl FnOnce(&mut SimChain) -> Result<Vec<BlockRef>, SimError>,
    ) -> Result<Vec<BlockRef>, SimError> {
        let mut world = self.world();
        let before = world.chain.canonical().to_vec();
        let fresh = change(&mut world.chain)?;
        let gone: Vec<B256> =
            before.into_iter().rev().filter(|hash| !world.chain.is_canonical(*hash)).collect();
        world.announce(&gone, &fresh);
        Ok(fresh)
    }

    /// Pushes a block of any branch once more, late or of an orphan.
    ///
    /// # Errors
    /// [`SimError::UnknownBlock`].
    pub fn push_again(&self, block: B256) -> Result<(), SimError> {
        let mut world = self.world();
        let block = world.chain.block(block).cloned().ok_or(SimError::UnknownBlock(block))?;
        let pushes = world.block_pushes(&block);
        world.push(pushes);
        Ok(())
    }

    /// Pushes a log that never was on any chain, as if it were the first of the newest block.
    pub fn push_phantom(&self, log: Log) {
        self.world().push_phantom(log);
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.world().counters()
    }

    /// Sockets that are up.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.world().sockets.len()
    }

    /// Subscriptions that are up, over all sockets.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.world().subscriptions()
    }

    /// Closes every socket now, without a close frame.
    pub fn cut(&self) {
        self.world().sockets.clear();
    }

    /// Sends so many frames that are no JSON-RPC to every socket: broken text and binary by turns.
    pub fn garbage_frames(&self, count: u64) {
        let world = self.world();
        for index in 0..count {
            for socket in world.sockets.values() {
                let frame = if index % 2 == 0 {
                    Frame::Text("{\"jsonrpc\":\"2.0\",\"method\":\"eth_subscr".to_owned())
                } else {
                    Frame::Binary(vec![0xff, 0x00, 0xfe])
                };
                // A full queue loses the garbage, which nobody will miss.
                let _ = socket.queue.try_send(frame);
            }
        }
    }
}

/// What it is like without being wrong. It outlasts [`SimNode::heal`].
impl SimNode {
    /// Puts it behind another provider, whose bucket is full.
    pub fn become_provider(&self, provider: Provider) {
        self.world().gateway.become_provider(provider);
    }

    /// What it is like now.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.world().gateway.provider()
    }

    /// Lets its index and its state come up to the head now, as they do while a process starts.
    pub fn catch_up(&self) {
        self.world().gateway.catch_up();
    }

    /// Changes what it is like; the bucket is full again.
    pub fn provide(&self, change: impl FnOnce(&mut Provider)) {
        let mut provider = self.provider();
        change(&mut provider);
        self.become_provider(provider);
    }
}

/// The faults, one method each; see the fields of [`Faults`]. `true`, `false` or a count where it says [`Times`].
impl SimNode {
    /// Changes several faults at once.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut world = self.world();
        change(&mut world.faults);
        let half_open = world.faults.half_open;
        self.server.node.half_open.send_if_modified(|now| std::mem::replace(now, half_open) != half_open);
    }

    /// The faults as they are, counts as far as they are used up.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.world().faults.clone()
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.set_faults(|faults| *faults = Faults::default());
    }

    /// Answers connects with 503.
    pub fn refuse(&self, times: impl Into<Times>) {
        self.set_faults(|faults| faults.refuse = times.into());
    }

    /// Sockets stay up and say nothing; connects hang.
    pub fn half_open(&self, on: bool) {
        self.set_faults(|faults| faults.half_open = on);
    }

    /// Sends each push twice.
    pub fn duplicate_pushes(&self, on: bool) {
        self.set_faults(|faults| faults.duplicate_pushes = on);
    }

    /// Sends the pushes of one change of the chain in the opposite order.
    pub fn reorder_pushes(&self, on: bool) {
        self.set_faults(|faults| faults.reorder_pushes = on);
    }

    /// Loses pushes.
    pub fn drop_pushes(&self, which: DropPushes) {
        self.set_faults(|faults| faults.drop_pushes = which);
    }

    /// Pushes `removed: true` logs on a reorg.
    pub fn removed_pushes(&self, on: bool) {
        self.set_faults(|faults| faults.removed_pushes = on);
    }

    /// Pushes logs without their place.
    pub fn push_without_block_hash(&self, on: bool) {
        self.set_faults(|faults| faults.push_without_block_hash = on);
    }

    /// Pushes logs whose first amount differs from the chain's.
    pub fn mutate_pushed_log(&self, times: impl Into<Times>) {
        self.set_faults(|faults| faults.mutate_pushed_log = times.into());
    }

    /// Answers as of so many blocks ago; 0 ends it.
    pub fn lagging_head(&self, blocks: u64) {
        self.set_faults(|faults| faults.lagging_blocks = blocks);
    }

    /// Answers `eth_getLogs` with nothing.
    pub fn empty_logs(&self, times: impl Into<Times>) {
        self.set_faults(|faults| faults.empty_logs = times.into());
    }

    /// Leaves out the last log of `eth_getLogs`.
    pub fn partial_logs(&self, times: impl Into<Times>) {
        self.set_faults(|faults| faults.partial_logs = times.into());
    }

    /// Answers call by call from the canonical chain and from the branch that ends in `tip`, the canonical one first.
    pub fn two_forks(&self, tip: B256, times: impl Into<Times>) {
        self.set_faults(|faults| {
            faults.two_forks = Some((tip, times.into()));
            faults.other_fork_next = false;
        });
    }

    /// Tells this block when it is asked for its height.
    pub fn other_block(&self, hash: B256, times: impl Into<Times>) {
        self.set_faults(|faults| faults.other_block = Some((hash, times.into())));
    }

    /// Knows no orphans.
    pub fn forget_orphans(&self, on: bool) {
        self.set_faults(|faults| faults.forget_orphans = on);
    }

    /// Refuses longer ranges of `eth_getLogs` with −32005.
    pub fn range_max_blocks(&self, max: Option<u64>) {
        self.set_faults(|faults| faults.range_blocks_max = max);
    }

    /// Refuses larger answers of `eth_getLogs` with −32005.
    pub fn range_max_logs(&self, max: Option<usize>) {
        self.set_faults(|faults| faults.range_logs_max = max);
    }

    /// Lets each answer wait so many milliseconds; 0 ends it.
    pub fn slow(&self, ms: u64) {
        self.set_faults(|faults| faults.slow_ms = ms);
    }

    /// Answers any call with an error.
    pub fn rpc_errors(&self, fault: RpcFault, times: impl Into<Times>) {
        self.set_faults(|faults| faults.rpc_errors = (times.into(), fault, None));
    }

    /// Answers calls of one method with an error.
    pub fn rpc_errors_of(&self, method: &str, fault: RpcFault, times: impl Into<Times>) {
        self.set_faults(|faults| faults.rpc_errors = (times.into(), fault, Some(method.to_owned())));
    }

    /// Does not know a method (−32601).
    pub fn without_method(&self, method: &str) {
        self.set_faults(|faults| faults.missing_methods.push(method.to_owned()));
    }

    /// Tells another chain id; none ends it.
    pub fn wrong_chain_id(&self, chain_id: Option<u64>) {
        self.set_faults(|faults| faults.wrong_chain_id = chain_id);
    }

    /// Says that there is no code at an address; none ends it.
    pub fn no_code(&self, address: Option<Address>) {
        self.set_faults(|faults| faults.no_code = address);
    }
}
