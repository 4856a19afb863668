//! One row of the matrix: five hedges brought to their points, a fork under them, rest, and a verdict on each.
//!
//! Nothing here waits for a time to pass; every step waits for what the bot says of itself, and the matrix would fail
//! if a hedge were not at its point when the chain forks.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use alloy::primitives::B256;
use counterfill::exit::DEEP_REORG;
use counterfill::hedges::IntentState;
use counterfill::run::Exit;
use counterfill::sim::{Provider, RpcFault, SimChain, SimNode, Tx};
use serde_json::json;
use tempfile::TempDir;

use super::bot::{Bot, rows, tip_of, verb};
use super::gate::{Gate, Hold};
use crate::node::{behind_a_provider, serve};
use crate::truth::{self, Deal, Rows, SHARES, Truth, V5, buy, sell};

const CHAIN_ID: u64 = 8453;
const FIRST: u64 = 1_000;
/// More than the window, so that a fork of any depth lies within a full one.
const WINDOW_AND_MORE: u64 = 66;

const FILLED: usize = 0;
const WORKING: usize = 1;
const SENT: usize = 2;
const PLANNED: usize = 3;
const BEFORE: usize = 4;
/// The columns: where a hedge is when the chain leaves its fill, and the ticker it is of.
pub const POINTS: [(&str, usize); 5] = [
    ("before planned", BEFORE),
    ("planned", PLANNED),
    ("sent", SENT),
    ("working", WORKING),
    ("filled", FILLED),
];

/// What becomes of the transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    AnotherBlock,
    AnotherIndex,
    Never,
    FirstAgain,
}

impl Fate {
    pub const ALL: [Self; 4] = [Self::AnotherBlock, Self::AnotherIndex, Self::Never, Self::FirstAgain];

    pub const fn words(self) -> &'static str {
        match self {
            Self::AnotherBlock => "in another block",
            Self::AnotherIndex => "under another index",
            Self::Never => "never return",
            Self::FirstAgain => "A → B → A",
        }
    }
}

/// How the bot knew of the blocks that leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Swept,
    PushedOnly,
}

impl Seen {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Swept => "swept",
            Self::PushedOnly => "pushed only",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub depth: u64,
    pub fate: Fate,
    pub seen: Seen,
}

impl Case {
    /// A fork beyond the window; of blocks above the cursor the window knows nothing, so there it is none.
    pub fn ends_the_bot(self) -> bool {
        self.ends_on_the_way_there() || self.ends_on_the_way_back()
    }

    fn ends_on_the_way_there(self) -> bool {
        self.depth > 64 && self.seen == Seen::Swept
    }

    /// The blocks between A and A were read, and there are as many of them.
    fn ends_on_the_way_back(self) -> bool {
        self.depth > 64 && self.seen == Seen::PushedOnly && self.fate == Fate::FirstAgain
    }

    /// Whether it is before a provider of Base; a quarter of the rows is before a node by itself beside a quiet chain.
    fn is_of_base(self) -> bool {
        !(self.depth + self.fate as u64 + self.seen as u64).is_multiple_of(4)
    }

    /// Both kinds of an unanswered call, by turns.
    fn hold(self) -> Hold {
        let answers = (self.depth + self.fate as u64).is_multiple_of(2);
        if answers { Hold::BeforeAnswer } else { Hold::BeforeArrival }
    }

    /// The broker goes on before the sweep has seen the fork: the bot knows of the new blocks by their pushes alone
    /// and may send what it likes.
    fn broker_goes_on_first(self) -> bool {
        (self.depth / 2 + self.fate as u64).is_multiple_of(2)
    }

    /// Whether the order of the column `sent` was lost with the process that sent it.
    fn loses_the_sent(self) -> bool {
        self.ends_the_bot() && !self.broker_goes_on_first() && self.hold() == Hold::BeforeArrival
    }

    /// A fill below the window is forgotten; until a fork that reaches there is noticed, its transaction's second copy
    /// may be hedged, and the ledger that is put back then takes that back.
    fn may_hedge_the_copy(self) -> bool {
        self.ends_on_the_way_there() && self.broker_goes_on_first() && self.fate == Fate::AnotherBlock
    }

    /// Orders at the broker: one where the fill stays; where it goes, what had left is sent back, and no more.
    fn orders_expected(self, ticker: usize) -> RangeInclusive<usize> {
        let exactly = self.orders_exactly(ticker);
        if self.may_hedge_the_copy() { exactly..=3 } else { exactly..=exactly }
    }

    fn orders_exactly(self, ticker: usize) -> usize {
        match (self.fate, ticker) {
            // Away and back, with time to trade in between.
            (Fate::FirstAgain, FILLED | WORKING | SENT | PLANNED) if self.broker_goes_on_first() => 3,
            (Fate::Never, BEFORE) => 0,
            (Fate::Never, PLANNED) if !self.broker_goes_on_first() => 0,
            (Fate::Never, SENT) if self.loses_the_sent() => 0,
            (Fate::Never, _) => 2,
            _ => 1,
        }
    }
}

/// The verdict on one hedge.
#[derive(Debug, Clone)]
pub struct Cell {
    ticker: usize,
    lost: u64,
    doubled: u64,
    orders: usize,
    wrongs: Vec<String>,
}

impl Cell {
    pub fn words(&self) -> String {
        let mark = if self.wrongs.is_empty() { "" } else { "!" };
        format!("{}/{} {}{mark}", self.lost, self.doubled, self.orders)
    }

    /// Why it is not as it must be.
    pub fn wrong(&self, case: Case) -> Option<String> {
        let expected = case.orders_expected(self.ticker);
        let whole = self.lost == 0 && self.doubled == 0 && self.wrongs.is_empty();
        let clean = whole && expected.contains(&self.orders);
        (!clean).then(|| format!("{case:?}: {expected:?} order(s) expected: {self:?}"))
    }
}

struct World {
    node: SimNode,
    truth: Truth,
    gate: Arc<Gate>,
    data: TempDir,
    /// The node's runtime ends when this is dropped.
    _node_thread: mpsc::Sender<()>,
}

/// Plays a row.
pub fn play(case: Case) -> [Cell; POINTS.len()] {
    let mut world = World::new(case);
    let mut bot = world.start();
    world.warm_up(&bot);
    if case.ends_the_bot() {
        bot.stop();
        std::fs::copy(world.database(), world.backup()).unwrap();
        bot = world.start();
        bot.catches_up(tip_of(&world.node));
    }
    let txs = world.bring_to_their_points(case, &bot);
    bot = world.fork(case, bot, &txs);
    for halted in [WORKING, SENT, PLANNED, BEFORE] {
        world.resume(halted);
    }
    bot.until("rest", |facts| {
        let tip = world.node.chain(SimChain::tip);
        let lot = bot_lot();
        let rests = |ticker: &counterfill::engine::TickerSnapshot| {
            ticker.live.is_none() && ticker.exposure.truncate_to(lot).is_zero()
        };
        facts.cursor == Some(tip) && facts.tickers.len() == SHARES.len() && facts.tickers.iter().all(rests)
    });
    bot.stop();
    POINTS.map(|(_, ticker)| world.verdict(ticker))
}

fn bot_lot() -> counterfill::units::Shares {
    counterfill::units::Shares::whole(1)
}

fn deal(ticker: usize) -> Deal {
    match ticker {
        FILLED => sell(FILLED, 3_000),
        WORKING => buy(WORKING, 4_000),
        SENT => sell(SENT, 2_500),
        PLANNED => buy(PLANNED, 5_000),
        _ => sell(BEFORE, 6_300),
    }
}

impl World {
    fn new(case: Case) -> Self {
        let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
        truth::lay_out(&mut chain);
        let (node, keep) = serve(chain);
        behind_a_provider(&node, case.is_of_base());
        if case.is_of_base() {
            // Its index keeps up: on a chain that stands still each row would wait 3 s for the second question, and trials
            // have forks before an index that is behind. So does its state where the sweep is blind: what a push could not
            // be weighed for is the sweep's.
            let state = if case.seen == Seen::PushedOnly { None } else { Provider::BASE.state };
            node.become_provider(Provider { logs: None, state, ..Provider::BASE });
        }
        let data = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::open(&data.path().join(counterfill::broker::paper::BOOK_FILE)));
        Self { node, truth: Truth::default(), gate, data, _node_thread: keep }
    }

    fn database(&self) -> PathBuf {
        self.data.path().join("bot.db")
    }

    fn backup(&self) -> PathBuf {
        self.data.path().join("kept.db")
    }

    fn start(&self) -> Bot {
        self.node.catch_up();
        Bot::start(self.node.ws_url(), FIRST + 1, self.database(), Arc::clone(&self.gate))
    }

    fn tx(&mut self, deal: Deal) -> Tx {
        let (logs, named) = deal.logs();
        let tx = self.node.tx(logs);
        self.truth.meant.insert(tx.hash, vec![(named, deal)]);
        tx
    }

    fn is_halted(&self, ticker: usize) -> bool {
        let rows = rows(&self.database(), "positions");
        rows.iter().any(|row| row["symbol"] == SHARES[ticker].0 && row["halts"] != json!([]))
    }

    /// A busy bot may do what is typed and be too late to say so: the ledger tells.
    fn halt(&self, ticker: usize) {
        crate::until::until("halted", String::new, || {
            verb(&self.database(), &["halt", SHARES[ticker].0, "--reason", "kept at its point"]);
            self.is_halted(ticker)
        });
    }

    /// Some were resumed on the way to their points.
    fn resume(&self, ticker: usize) {
        crate::until::until("resumed", String::new, || {
            if self.is_halted(ticker) {
                verb(&self.database(), &["resume", SHARES[ticker].0, "--reason", "on with it"]);
            }
            !self.is_halted(ticker)
        });
    }

    /// A quarter of a share of each, so that every token is known; then a full window; and what must wait is halted.
    fn warm_up(&mut self, bot: &Bot) {
        let txs = (0..SHARES.len()).map(|ticker| self.tx(sell(ticker, 250))).collect();
        self.node.mine(txs);
        self.node.mine_empty(WINDOW_AND_MORE);
        bot.catches_up(tip_of(&self.node));
        [WORKING, SENT, PLANNED, BEFORE].into_iter().for_each(|ticker| self.halt(ticker));
    }

    /// Mines the fills' block and those above it, and brings each hedge to its point.
    fn bring_to_their_points(&mut self, case: Case, bot: &Bot) -> Vec<Tx> {
        let before = self.node.chain(SimChain::tip);
        self.node.removed_pushes(case.depth % 2 == 1);
        if case.seen == Seen::PushedOnly {
            self.blind_the_sweep();
        }
        let txs: Vec<Tx> = (0..SHARES.len()).map(|ticker| self.tx(deal(ticker))).collect();
        self.node.mine(txs.clone());
        self.node.mine_empty(case.depth - 1);
        let is = |state: IntentState| {
            move |ticker: &counterfill::engine::TickerSnapshot| {
                ticker.live.as_ref().is_some_and(|live| live.state == state)
            }
        };
        let name = |ticker: usize| SHARES[ticker].0;
        let lot = bot_lot();
        bot.until_ticker(name(BEFORE), "is wanted", |facts| !facts.exposure.truncate_to(lot).is_zero());
        bot.until_ticker(name(FILLED), "is hedged", |facts| {
            facts.live.is_none() && facts.exposure.truncate_to(lot).is_zero()
        });
        if case.seen == Seen::Swept {
            bot.catches_up(tip_of(&self.node));
        }
        self.gate.freeze();
        self.resume(WORKING);
        bot.until_ticker(name(WORKING), "works", is(IntentState::Working));
        self.gate.hold(case.hold());
        self.resume(SENT);
        crate::until::until("the call is kept", String::new, || self.gate.holds());
        self.resume(PLANNED);
        bot.until_ticker(name(PLANNED), "is planned", is(IntentState::Planned));
        bot.until_ticker(name(SENT), "is sent", is(IntentState::Sent));
        bot.until_ticker(name(BEFORE), "has no intent", |facts| facts.live.is_none());
        let tip = self.node.chain(SimChain::tip);
        bot.until("the cursor where the case wants it", |facts| {
            facts.cursor == Some(if case.seen == Seen::Swept { tip } else { before })
        });
        txs
    }

    /// No header is told; pushes come.
    fn blind_the_sweep(&self) {
        let unread = (true.into(), RpcFault::Internal, Some("eth_getBlockByNumber".to_owned()));
        self.node.set_faults(|faults| faults.rpc_errors = unread);
    }

    /// The chain without the fills' block: one block more than leaves, or as many where it leaves again, so that the
    /// way back is as deep as the way there.
    fn replacement(&mut self, case: Case, txs: &[Tx]) -> Vec<Vec<Tx>> {
        let more = usize::from(case.fate != Fate::FirstAgain);
        let mut blocks = vec![Vec::new(); usize::try_from(case.depth).unwrap() + more];
        match case.fate {
            // The highest: the cursor has not passed it, so that its pushes count at once, if they may.
            Fate::AnotherBlock => *blocks.last_mut().unwrap() = txs.to_vec(),
            Fate::AnotherIndex => {
                // A stranger's log first: it is of the same kind and moves all of ours.
                blocks[0].push(self.node.tx(vec![V5.context()]));
                blocks[0].extend(txs.iter().rev().cloned());
            }
            Fate::Never | Fate::FirstAgain => {}
        }
        blocks
    }

    /// The fork. Returns the bot that goes on: the same one, or the one that was put back after exit 65.
    fn fork(&mut self, case: Case, bot: Bot, txs: &[Tx]) -> Bot {
        let first: B256 = self.node.chain(SimChain::tip).hash;
        let blocks = self.replacement(case, txs);
        if case.broker_goes_on_first() {
            self.blind_the_sweep();
        }
        self.node.reorg(case.depth, blocks).unwrap();
        if case.broker_goes_on_first() {
            self.gate.release(true);
            Self::trades_to_rest(&bot);
        }
        self.node.set_faults(|faults| faults.rpc_errors = Default::default());
        if !case.ends_on_the_way_there() {
            bot.catches_up(tip_of(&self.node));
            if case.broker_goes_on_first() {
                Self::trades_to_rest(&bot);
            }
            self.go_back(case, first);
        }
        if case.ends_the_bot() {
            let exit = bot.ends();
            self.gate.release(false);
            self.go_back(case, first);
            return self.put_back(&exit);
        }
        bot.catches_up(tip_of(&self.node));
        self.gate.release(true);
        bot
    }

    /// Waits until all but the halted ticker rest.
    fn trades_to_rest(bot: &Bot) {
        for ticker in [FILLED, WORKING, SENT, PLANNED] {
            bot.until_ticker(SHARES[ticker].0, "rests", |facts| {
                facts.live.is_none() && facts.exposure.truncate_to(bot_lot()).is_zero()
            });
        }
    }

    fn go_back(&self, case: Case, first: B256) {
        if case.fate == Fate::FirstAgain && !self.node.chain(|chain| chain.is_canonical(first)) {
            self.node.return_to(first).unwrap();
            self.node.mine_empty(2);
        }
    }

    /// Does what the last words of a bot that met a fork beyond the window say.
    fn put_back(&self, exit: &Exit) -> Bot {
        let words = exit.message.clone().unwrap_or_default();
        assert_eq!(exit.code, DEEP_REORG, "{words}");
        let (database, backup) = (self.database(), self.backup());
        let typed = format!("cp BACKUP {}", database.display());
        for word in ["at least 65 blocks deep", "window is 64", "made before block", &typed] {
            assert!(words.contains(word), "{word}: {words}");
        }
        for suffix in ["", "-wal", "-shm"] {
            let file = self.data.path().join(format!("bot.db{suffix}"));
            let _ = std::fs::rename(&file, self.data.path().join(format!("aside{suffix}")));
        }
        std::fs::copy(backup, database).unwrap();
        let bot = self.start();
        bot.catches_up(tip_of(&self.node));
        bot
    }

    /// The verdict on one ticker, from the canonical chain and the broker's book.
    fn verdict(&self, ticker: usize) -> Cell {
        let name = SHARES[ticker].0;
        let of = |rows: Vec<serde_json::Value>| -> Vec<serde_json::Value> {
            rows.into_iter().filter(|row| row["symbol"] == name).collect()
        };
        let database = self.database();
        let mut book = truth::book(self.data.path());
        book.retain(|order| order.order.symbol.as_str() == name);
        let mut hedges = of(rows(&database, "hedges"));
        for row in hedges.iter_mut().filter(|row| row["adopted"] == true) {
            // An adopted order was sent under the name that the lost ledger knew it by.
            let bound = book.iter().find(|order| row["broker_order_id"] == order.order.id.as_str());
            row["intent_id"] = json!(bound.and_then(|order| order.order.client_id.clone()));
        }
        let rows =
            Rows { fills: of(rows(&database, "fills")), positions: of(rows(&database, "positions")), hedges };
        let meant = self.truth.meant.iter().filter(|(_, deals)| deals[0].1.ticker == ticker);
        let truth = Truth { meant: meant.map(|(tx, deals)| (*tx, deals.clone())).collect() };
        let verdict = self.node.chain(|chain| truth::verdict(&truth, chain, 0, &rows, &book));
        let truth::Verdict { lost, doubled, wrongs, orders } = verdict;
        Cell { ticker, lost, doubled, orders, wrongs }
    }
}
