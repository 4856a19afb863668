//! Intents: what we want of the broker, the states an order goes through, and what stops us (`protocol.md` 3, 4).
//!
//! Pure. It refuses to know how an order is sent and what the chain is. Invariant: a state changes only along an arrow
//! of [`IntentState::may_become`].

mod lifecycle;
mod unsettled;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use lifecycle::{End, OrderEvent, Transition, transition};
pub use unsettled::{Similar, Unsettled};

use crate::units::{Cash, IntentId, Millis, OrderId, ParseError, Price, Shares, Side, Symbol};

/// Where an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IntentState {
    /// Wanted, but something holds it back. Has no force: every batch recomputes it.
    Planned,
    /// No longer wanted before it was sent.
    Withdrawn,
    /// Durable; the bytes may be out. A crash here asks the broker.
    Sent,
    /// The broker did not have it: a clear no, or provably not sent.
    Refused,
    /// Nobody knows whether the broker has it.
    Unknown,
    /// In the broker's book, read and verified.
    Working,
    /// Done, whole.
    Filled,
    /// Done by a cancel; may carry executions.
    Canceled,
    /// Refused by the broker after it was received.
    Rejected,
    /// Done by the end of its day.
    Expired,
    /// No order of ours: proved not to exist at the broker, or declared so by a person.
    Absent,
    /// Contradictory; waits for a person, and so does its ticker.
    Stuck,
}

impl IntentState {
    /// Every state, in the order of the drawing.
    pub const ALL: [Self; 12] = [
        Self::Planned,
        Self::Withdrawn,
        Self::Sent,
        Self::Refused,
        Self::Unknown,
        Self::Working,
        Self::Filled,
        Self::Canceled,
        Self::Rejected,
        Self::Expired,
        Self::Absent,
        Self::Stuck,
    ];

    /// Whether it blocks its ticker: no other intent may live beside it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Planned | Self::Sent | Self::Unknown | Self::Working | Self::Stuck)
    }

    /// Whether the drawing in `protocol.md` 3 has an arrow from here to `to`. `Sent → Sent` is the claim
    /// of the order id in the broker's yes (3.3; Schwab answers 201); `Unknown → Sent` is the same POST with the same
    /// client order id (3.5).
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use IntentState::{
            Absent, Canceled, Expired, Filled, Planned, Refused, Rejected, Sent, Stuck, Unknown, Withdrawn,
            Working,
        };
        match self {
            Planned => matches!(to, Withdrawn | Sent),
            Sent => matches!(to, Sent | Working | Refused | Unknown | Stuck),
            Unknown => matches!(to, Working | Absent | Stuck | Sent),
            Working => matches!(to, Filled | Canceled | Rejected | Expired | Stuck),
            Stuck => matches!(to, Working | Absent | Filled | Canceled | Rejected | Expired),
            Withdrawn | Refused | Filled | Canceled | Rejected | Expired | Absent => false,
        }
    }

    /// The stable text in ledger and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::Withdrawn => "Withdrawn",
            Self::Sent => "Sent",
            Self::Refused => "Refused",
            Self::Unknown => "Unknown",
            Self::Working => "Working",
            Self::Filled => "Filled",
            Self::Canceled => "Canceled",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
            Self::Absent => "Absent",
            Self::Stuck => "Stuck",
        }
    }
}

impl fmt::Display for IntentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for IntentState {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| ParseError::NotName(text.chars().take(32).collect(), "intent state"))
    }
}

/// One decision to trade, from birth to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its name.
    pub id: IntentId,
    /// Ticker.
    pub symbol: Symbol,
    /// The broker's side.
    pub side: Side,
    /// Positive multiple of the lot. Of a `Planned` intent: what was wanted when it was planned.
    pub quantity: Shares,
    /// Where it stands.
    pub state: IntentState,
    /// How many transitions it has had; its birth is number 0.
    pub transitions: u32,
    /// When it was born.
    pub created_at: Millis,
    /// When it last became `Sent`; committed before the bytes go out.
    pub sent_at: Option<Millis>,
    /// When it last changed its state.
    pub changed_at: Millis,
    /// The broker's order: claimed when the broker said yes, verified when `Working`.
    pub order_id: Option<OrderId>,
    /// Sum of its executions so far (a magnitude).
    pub executed: Shares,
    /// How many execution rows it has.
    pub executions: u32,
    /// Found in the broker's book without an intent of ours (`protocol.md` 3.6, 5.2).
    pub adopted: bool,
    /// Price of the last fill at birth, for the paper walk.
    pub reference: Option<Price>,
    /// What was known of the account when it last became `Sent`; none of one that never did, or was adopted.
    pub snapshot: Option<Snapshot>,
    /// A person said that it is not ours: its executions do not count (`protocol.md` 3.6).
    pub ignored: bool,
    /// Whether an end without an execution counts against its ticker (`protocol.md` 3.7): false of a refusal that says
    /// something about us or the account.
    pub counted: bool,
    /// The last transition's reason.
    pub reason: String,
}

/// What was known of the account at the moment an order was sent (`protocol.md` 3.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The ticker's signed position and when its reading began; none where an order of ours has moved since.
    pub position: Option<(Shares, Millis)>,
    /// Those of the broker's orders that could be taken for this one and are not: they were there before it. Ascending.
    pub known: Vec<OrderId>,
}

/// The most that may leave; beyond a cap an order is cut to it and the rest follows (`protocol.md` 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Shares in one order.
    pub max_order_shares: Shares,
    /// Dollars in one order, at the last fill's price.
    pub max_order_notional: Cash,
    /// Orders in any 60 s.
    pub max_orders_per_minute: u32,
    /// Orders in any 24 h.
    pub max_orders_per_day: u32,
    /// Dollars in any 24 h, at the last fills' prices.
    pub max_daily_notional: Cash,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_order_shares: Shares::whole(1_000),
            max_order_notional: Cash::whole(250_000),
            max_orders_per_minute: 60,
            max_orders_per_day: 4_000,
            max_daily_notional: Cash::whole(5_000_000),
        }
    }
}

/// What stops trading until it is lifted. Each is lifted only by its own command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltKind {
    /// A person said so.
    Operator,
    /// An intent is `Stuck`.
    Stuck,
    /// Five attempts in a row without an execution.
    Rejects,
    /// The broker changed an execution it had reported.
    ExecutionChanged,
    /// The broker's book holds an order in our tickers that we did not send.
    ForeignOrder,
    /// The account holds orders of an earlier ledger, and this one is new.
    EarlierOrders,
    /// The first backfill on real money left a lot or more.
    Backfill,
    /// The ticker is listed now, and the ledger holds trades that were passed over while it was not.
    Skipped,
    /// The broker's position is not what our executions make of it.
    Drift,
    /// The market's price was too far from the fills' price for too long.
    Price,
    /// A vault said something too different before and after a fill's block (`UNIT_JUMP_MAX`).
    Unit,
}

impl HaltKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Operator,
        Self::Stuck,
        Self::Rejects,
        Self::ExecutionChanged,
        Self::ForeignOrder,
        Self::EarlierOrders,
        Self::Backfill,
        Self::Skipped,
        Self::Drift,
        Self::Price,
        Self::Unit,
    ];

    /// The stable text in ledger and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Stuck => "stuck",
            Self::Rejects => "rejects",
            Self::ExecutionChanged => "execution_changed",
            Self::ForeignOrder => "foreign_order",
            Self::EarlierOrders => "earlier_orders",
            Self::Backfill => "backfill",
            Self::Skipped => "skipped",
            Self::Drift => "drift",
            Self::Price => "price",
            Self::Unit => "unit",
        }
    }
}

/// A halt that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The ticker that it stops; none: all of them.
    pub symbol: Option<Symbol>,
    /// Which.
    pub kind: HaltKind,
    /// Why, in words.
    pub reason: String,
}

impl HaltKind {
    /// What to type to lift a halt of this kind; the reason is the operator's.
    #[must_use]
    pub fn lifted_by(self, symbol: Option<&Symbol>) -> String {
        let ticker = symbol.map_or_else(String::new, |symbol| format!(" {symbol}"));
        if !self.choices().is_empty() {
            let flags: Vec<String> =
                self.choices().iter().map(|choice| format!("--{}", choice.as_str())).collect();
            return format!("bot resume{ticker} {} --reason …", flags.join("|"));
        }
        match self {
            Self::Operator => format!("bot resume{ticker} --reason …"),
            kind => format!("bot resume{ticker} --kind {} --reason …", kind.as_str()),
        }
    }
}

impl HaltKind {
    /// The answers to the question that this kind asks; none where it asks nothing.
    #[must_use]
    pub const fn choices(self) -> &'static [Choice] {
        match self {
            Self::EarlierOrders => &[Choice::AdoptOrders, Choice::IgnoreOrders],
            Self::Backfill => &[Choice::AcceptBackfill],
            Self::Skipped => &[Choice::CountSkipped, Choice::IgnoreSkipped],
            Self::Drift => &[Choice::AcceptPosition],
            Self::Operator
            | Self::Stuck
            | Self::Rejects
            | Self::ExecutionChanged
            | Self::ForeignOrder
            | Self::Price
            | Self::Unit => &[],
        }
    }
}

/// The answer to the question that a halt asks of an operator (`bot resume --accept-backfill` and the like).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// What the first backfill left is to be hedged (`protocol.md` 5.3).
    AcceptBackfill,
    /// Trades that were passed over before their ticker was listed are fills like any other (5.4).
    CountSkipped,
    /// Trades that were passed over before their ticker was listed stay so (5.4).
    IgnoreSkipped,
    /// The orders of an earlier ledger are this one's: they are adopted with their executions (5.2).
    AdoptOrders,
    /// The orders of an earlier ledger are not this one's (5.2).
    IgnoreOrders,
    /// The broker's position is right, after a manual trade or a split (3.10).
    AcceptPosition,
}

impl Choice {
    /// Every choice.
    pub const ALL: [Self; 6] = [
        Self::AcceptBackfill,
        Self::CountSkipped,
        Self::IgnoreSkipped,
        Self::AdoptOrders,
        Self::IgnoreOrders,
        Self::AcceptPosition,
    ];

    /// The kind of halt that asks for it.
    #[must_use]
    pub const fn answers(self) -> HaltKind {
        match self {
            Self::AcceptBackfill => HaltKind::Backfill,
            Self::CountSkipped | Self::IgnoreSkipped => HaltKind::Skipped,
            Self::AdoptOrders | Self::IgnoreOrders => HaltKind::EarlierOrders,
            Self::AcceptPosition => HaltKind::Drift,
        }
    }

    /// The flag of `bot resume`, without its dashes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptBackfill => "accept-backfill",
            Self::CountSkipped => "count-skipped",
            Self::IgnoreSkipped => "ignore-skipped",
            Self::AdoptOrders => "adopt-orders",
            Self::IgnoreOrders => "ignore-orders",
            Self::AcceptPosition => "accept-position",
        }
    }
}

/// What a person says of an intent that the program can not settle itself (`bot reconcile`; `protocol.md` 3.5, 3.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is this order of the broker's.
    Adopt(OrderId),
    /// The broker never had it, and never will.
    Absent,
    /// An order found in the broker's book is ours: its executions count, and it goes on to its normal end.
    Book,
    /// An order found in the broker's book is not ours: its executions do not count.
    Ignore,
}

impl Decision {
    /// The word of `bot reconcile`, and in the ledger.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Adopt(_) => "adopt",
            Self::Absent => "absent",
            Self::Book => "book",
            Self::Ignore => "ignore",
        }
    }
}

impl std::str::FromStr for HaltKind {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseError::NotName(text.chars().take(32).collect(), "halt kind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawing in `protocol.md` 3, written once more by hand: from, whether it is live, and where it may go.
    #[test]
    fn every_arrow_of_the_drawing_and_no_other() {
        let drawing = [
            ("Planned", true, "Withdrawn Sent"),
            ("Withdrawn", false, ""),
            ("Sent", true, "Sent Working Refused Unknown Stuck"),
            ("Refused", false, ""),
            ("Unknown", true, "Working Absent Stuck Sent"),
            ("Working", true, "Filled Canceled Rejected Expired Stuck"),
            ("Filled", false, ""),
            ("Canceled", false, ""),
            ("Rejected", false, ""),
            ("Expired", false, ""),
            ("Absent", false, ""),
            ("Stuck", true, "Working Absent Filled Canceled Rejected Expired"),
        ];
        assert_eq!(drawing.len(), IntentState::ALL.len());
        for (state, (name, live, targets)) in IntentState::ALL.into_iter().zip(drawing) {
            assert_eq!((state.to_string(), state.as_str(), state.is_live()), (name.to_owned(), name, live));
            assert_eq!(name.parse(), Ok(state));
            let mut allowed: Vec<&str> = IntentState::ALL
                .into_iter()
                .filter(|to| state.may_become(*to))
                .map(IntentState::as_str)
                .collect();
            let mut drawn: Vec<&str> = targets.split_whitespace().collect();
            allowed.sort_unstable();
            drawn.sort_unstable();
            assert_eq!(allowed, drawn, "from {name}");
        }
        for text in ["", "planned", "Lost", "Sent "] {
            let error = text.parse::<IntentState>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is no intent state"));
        }
    }

    #[test]
    fn every_halt_has_one_name_and_says_how_it_is_lifted() {
        let rows = [
            ("operator", "--reason …"),
            ("stuck", "--kind stuck --reason …"),
            ("rejects", "--kind rejects --reason …"),
            ("execution_changed", "--kind execution_changed --reason …"),
            ("foreign_order", "--kind foreign_order --reason …"),
            ("earlier_orders", "--adopt-orders|--ignore-orders --reason …"),
            ("backfill", "--accept-backfill --reason …"),
            ("skipped", "--count-skipped|--ignore-skipped --reason …"),
            ("drift", "--accept-position --reason …"),
            ("price", "--kind price --reason …"),
            ("unit", "--kind unit --reason …"),
        ];
        let tsla: Symbol = "TSLA".parse().unwrap();
        assert_eq!(rows.len(), HaltKind::ALL.len());
        for (kind, (name, typed)) in HaltKind::ALL.into_iter().zip(rows) {
            assert_eq!((kind.as_str(), name.parse()), (name, Ok(kind)));
            assert_eq!(kind.lifted_by(Some(&tsla)), format!("bot resume TSLA {typed}"));
            assert_eq!(kind.lifted_by(None), format!("bot resume {typed}"));
            let asked: Vec<Choice> =
                Choice::ALL.into_iter().filter(|choice| choice.answers() == kind).collect();
            let mut offered = kind.choices().to_vec();
            offered.sort_unstable();
            assert_eq!(offered, asked, "what {name} asks, and what answers it");
        }
        assert!("".parse::<HaltKind>().is_err() && "Stuck".parse::<HaltKind>().is_err());
    }

    #[test]
    fn every_decision_of_a_person_has_its_word() {
        let order = Decision::Adopt("1004".parse().unwrap());
        let words = [order, Decision::Absent, Decision::Book, Decision::Ignore]
            .map(|decision| decision.as_str().to_owned());
        assert_eq!(words, ["adopt", "absent", "book", "ignore"]);
    }

    #[test]
    fn what_a_person_may_say_of_an_intent_depends_on_whose_it_is_and_what_is_known_of_it() {
        let order: OrderId = "1004".parse().unwrap();
        let intent = |adopted, state, order_id: Option<&OrderId>| Intent {
            id: "cf-1-1".parse().unwrap(),
            symbol: "TSLA".parse().unwrap(),
            side: Side::Buy,
            quantity: Shares::whole(1),
            state,
            transitions: 1,
            created_at: Millis(1),
            sent_at: Some(Millis(1)),
            changed_at: Millis(1),
            order_id: order_id.cloned(),
            executed: Shares::ZERO,
            executions: 0,
            adopted,
            reference: None,
            snapshot: None,
            ignored: false,
            counted: true,
            reason: String::new(),
        };
        for (intent, words) in [
            (intent(true, IntentState::Stuck, Some(&order)), &["book", "ignore"][..]),
            (intent(false, IntentState::Stuck, Some(&order)), &["book", "adopt ORDER", "absent"]),
            (intent(false, IntentState::Stuck, None), &["adopt ORDER", "absent"]),
            (intent(false, IntentState::Unknown, Some(&order)), &["adopt ORDER", "absent"]),
        ] {
            let typed: Vec<String> =
                words.iter().map(|word| format!("bot reconcile cf-1-1 {word} --reason …")).collect();
            assert_eq!(Unsettled::of(&intent).choices, typed);
        }
    }
}
