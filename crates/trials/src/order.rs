//! An order in the book of a trial's broker: what it does by itself as time passes, and how the broker tells it.
//!
//! It refuses to know the account and the other orders. Invariant: what it has traded is the truth at every moment, whatever
//! the broker tells of it.

use std::collections::{BTreeSet, VecDeque};

use super::schedule::{Fate, TICKERS};
use super::venue::TAG;
use counterfill_broker::{BrokerOrder, OrderStatus};
use counterfill_core::units::{Millis, ONE, OrderId, Price, Shares, Side, Symbol};

/// What the broker writes on orders typed by hand.
const HAND: &str = "AA_hand";
/// The market's price, of every share.
pub(super) const MARKET: i128 = 100 * ONE;
/// An order of minutes under a strange name takes so long.
const SLOW_MS: i64 = 150_000;
/// The words of an order that is done and whose executions are not all told.
const LAGGING: &str = "FILLED, executions follow";

/// What an order will do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Trades so much.
    Trade(i128),
    /// The figure of what was traded runs ahead: the order says it is done.
    Ahead,
    /// The executions catch up.
    CatchUp,
    /// Ends so.
    End(OrderStatus),
    /// The last whole share traded is taken back.
    Bust,
}

/// An order in the book.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Its number.
    pub(crate) id: String,
    /// Our name for it, where the broker keeps one.
    pub(crate) client_id: Option<String>,
    /// The intent whose bytes it came of; none where a person typed it.
    pub(crate) intent: Option<String>,
    /// Index into [`TICKERS`].
    pub(crate) ticker: usize,
    /// Bought or sold.
    pub(crate) side: Side,
    /// Ordered, in 1e-18.
    pub(crate) quantity: i128,
    /// Traded, in 1e-18.
    pub(crate) executed: i128,
    /// Whether it may still trade.
    pub(crate) live: bool,
    /// Whether a trade was taken back.
    pub(crate) busted: bool,
    pub(super) status: OrderStatus,
    pub(super) words: &'static str,
    pub(super) filled: i128,
    pub(super) entered_ms: i64,
    pub(super) accepted_ms: i64,
    pub(super) shown_from_ms: i64,
    pub(super) hidden_reads: u64,
    pub(super) moves: VecDeque<(i64, Move)>,
    pub(super) ordinary: bool,
    /// Carries our tag: entered by our program, or through the same registration.
    pub(super) tagged: bool,
}

impl Order {
    /// BUY positive: what it has traded, or, while it lives, what it may.
    pub(crate) fn committed(&self) -> i128 {
        let quantity = if self.live { self.quantity } else { self.executed };
        if self.side == Side::Buy { quantity } else { -quantity }
    }

    /// Every read shows it from here on.
    pub(super) fn show(&mut self) {
        (self.hidden_reads, self.shown_from_ms) = (0, self.accepted_ms);
    }

    /// Whether our program entered it, or it carries our tag and the ledger has bound it.
    pub(crate) fn is_ours(&self, bound: &BTreeSet<String>) -> bool {
        self.intent.is_some() || (self.tagged && bound.contains(&self.id))
    }

    /// BUY positive: what it has traded.
    pub(crate) fn signed(&self) -> i128 {
        if self.side == Side::Buy { self.executed } else { -self.executed }
    }

    /// Decides what it will do: `part` of it is what trades first, `soon` and `later` when. Names it.
    pub(super) fn destine(&mut self, fate: Fate, (soon, later): (i64, i64), part: i128) -> &'static str {
        let quantity = self.quantity;
        let end = Move::End;
        let (name, moves): (&str, Vec<(i64, Move)>) = match fate {
            Fate::Fills => ("fate: filled", vec![(soon, Move::Trade(quantity))]),
            Fate::AtOnce => ("fate: filled at once", vec![(self.accepted_ms, Move::Trade(quantity))]),
            Fate::ShareByShare => {
                let at = |n: i128| soon + 700 * i64::try_from(n.min(60)).unwrap_or(60);
                let shares = quantity / ONE;
                let whole = (0..shares).map(|n| (at(n), Move::Trade(ONE)));
                let trades = whole.chain([(at(shares), Move::Trade(quantity % ONE))]);
                ("fate: share by share", trades.collect())
            }
            Fate::Slow => {
                self.words = "AWAITING_MANUAL_REVIEW";
                ("fate: slow, with a status nobody knows", vec![(soon + SLOW_MS, Move::Trade(quantity))])
            }
            Fate::Rejected => ("fate: rejected later", vec![(soon, end(OrderStatus::Rejected))]),
            Fate::PartThenCanceled => (
                "fate: partly filled, then canceled",
                vec![(soon, Move::Trade(part)), (later, end(OrderStatus::Canceled))],
            ),
            Fate::Canceled => ("fate: canceled by a hand", vec![(soon, end(OrderStatus::Canceled))]),
            Fate::PartThenRests => (
                "fate: partly filled, then rests",
                vec![(soon, Move::Trade(part)), (soon + 300_000, Move::Trade(quantity - part))],
            ),
            Fate::FilledDuringCancel => {
                self.words = "PENDING_CANCEL";
                ("fate: filled during a cancel", vec![(later, Move::Trade(quantity))])
            }
            Fate::StatusAhead => {
                ("fate: status ahead of executions", vec![(soon, Move::Ahead), (later, Move::CatchUp)])
            }
            Fate::Bust => {
                ("fate: filled, then taken back", vec![(soon, Move::Trade(quantity)), (later, Move::Bust)])
            }
            Fate::Invisible(reads) => {
                self.hidden_reads = reads;
                ("fate: invisible for some reads", vec![(soon, Move::Trade(quantity))])
            }
            Fate::InvisibleFor(ms) => {
                self.shown_from_ms = self.accepted_ms + ms;
                ("fate: invisible for some time", vec![(soon, Move::Trade(quantity))])
            }
        };
        self.moves = moves.into_iter().filter(|(_, step)| *step != Move::Trade(0)).collect();
        name
    }

    /// Does what was due.
    pub(super) fn carry_out(&mut self, step: Move) {
        if !self.live && step != Move::Bust && step != Move::CatchUp {
            return;
        }
        match step {
            Move::Trade(atoms) => {
                self.executed = (self.executed + atoms).min(self.quantity);
                self.filled = self.executed;
                if self.executed == self.quantity {
                    self.end(OrderStatus::Filled, "FILLED");
                }
            }
            Move::Ahead => {
                // The trade has happened; the figures do not say all of it yet.
                self.executed = self.quantity;
                self.filled = self.quantity;
                (self.live, self.status, self.words) = (false, OrderStatus::Filled, "FILLED");
                self.hidden_executions(true);
            }
            Move::CatchUp => self.hidden_executions(false),
            Move::End(status) => {
                let words = if status == OrderStatus::Rejected { "REJECTED" } else { "CANCELED" };
                self.end(status, words);
            }
            Move::Bust => self.take_back(),
        }
    }

    /// Trades no more.
    pub(super) fn end(&mut self, status: OrderStatus, words: &'static str) {
        (self.live, self.status, self.words) = (false, status, words);
        self.filled = self.executed;
    }

    /// Its last whole share is taken back.
    pub(super) fn take_back(&mut self) {
        if self.executed >= ONE {
            self.executed -= ONE;
            self.filled = self.executed;
            self.busted = true;
        }
    }

    /// Whether the executions lag behind the status: told as words, because the book itself is never wrong.
    fn hidden_executions(&mut self, hidden: bool) {
        self.words = if hidden { LAGGING } else { "FILLED" };
    }

    /// As the broker tells it.
    pub(super) fn told(&self) -> BrokerOrder {
        let lagging = self.words == LAGGING;
        let executed = if lagging { (self.executed / (2 * ONE)) * ONE } else { self.executed };
        let id = self.id.parse::<OrderId>();
        let symbol = TICKERS.get(self.ticker).copied().unwrap_or(TICKERS[0]).parse::<Symbol>();
        let (Ok(id), Ok(symbol)) = (id, symbol) else { unreachable!("both are made here") };
        BrokerOrder {
            id,
            client_id: self.client_id.clone(),
            tag: Some(if self.tagged { TAG } else { HAND }.to_owned()),
            symbol,
            side: self.side,
            quantity: Shares::from_atoms(self.quantity),
            filled: Shares::from_atoms(self.filled),
            executed: Shares::from_atoms(executed),
            average_price: (executed > 0).then(|| Price::from_atoms(MARKET)),
            status: self.status,
            status_text: self.words.to_owned(),
            entered_at: Millis(self.entered_ms),
            ordinary: self.ordinary,
        }
    }
}

/// Index into [`TICKERS`].
pub(crate) fn ticker_of(symbol: &Symbol) -> Option<usize> {
    TICKERS.iter().position(|ticker| *ticker == symbol.as_str())
}
