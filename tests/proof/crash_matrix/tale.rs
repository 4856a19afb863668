//! What happens on the chain, and to the bot, while it is killed: tales as data.
//!
//! A step is done once, whatever lives or dies; then the world waits until the bot has dealt with it. Together the tales
//! lead past every crash point; `matrix` fails for a point that none of them reaches.

use counterfill::crash::Point;

use super::world::{AAPL, BRK, Deal, NVDA, TSLA};

#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// A block of one transaction with these trades.
    Mine(&'static [Deal]),
    /// So many blocks one after the other, each with this trade.
    MineMany(usize, Deal),
    /// The top blocks are replaced by empty ones.
    Reorg(u64),
    /// The branch before that is the chain again.
    Return,
    /// `bot halt` or `bot resume`, by a person who tries again until it holds.
    Halt(usize),
    Resume(usize),
    /// SIGTERM, exit code 0, and a start.
    Restart,
    /// The next order call comes to grief at the broker.
    Trouble(Trouble),
    /// While no bot runs, its account gets an order with its tag that its ledger does not know.
    ByHand(usize, i64),
}

/// What the broker makes of an order call.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// The order is entered, the connection closed without an answer.
    LostAnswer,
    /// It is not entered, and the connection closed.
    LostOrder,
    /// 500, and the order is entered all the same.
    Error,
    /// A clear no.
    Refusal,
}

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The built-in one: its book is a file.
    Paper,
    /// A double of Alpaca behind HTTP, in another process than the bot.
    Alpaca,
}

pub struct Tale {
    pub name: &'static str,
    pub at: At,
    /// The chain before the first start, a block a row.
    pub before: &'static [&'static [Deal]],
    /// An old schema: the ledger is there already, made by the program before the newest migration.
    pub old_ledger: bool,
    /// A kill that comes before any other, so that there is a recovery to be killed in.
    pub first: Option<(Point, usize)>,
    pub steps: &'static [Step],
}

const PLAIN: Tale = Tale { name: "", at: At::Paper, before: &[], old_ledger: false, first: None, steps: &[] };
const FRACTION: &[&[Deal]] = &[&[(TSLA, -300)], &[]];
const TRADED: &[&[Deal]] = &[&[], &[(TSLA, -1_200)], &[]];

pub const TALES: &[Tale] = &[
    Tale { name: "birth", before: TRADED, ..PLAIN },
    // Too little for an order: swept, and nothing else.
    Tale { name: "fraction", before: FRACTION, steps: &[Step::Mine(&[(TSLA, -900)])], ..PLAIN },
    Tale {
        name: "trade",
        before: &[&[]],
        steps: &[
            Step::Mine(&[(TSLA, -400)]),
            // Two at once: one order waits for the other's answer.
            Step::Mine(&[(TSLA, -1_900), (AAPL, -7_300)]),
            Step::Mine(&[(TSLA, 3_100), (AAPL, -12_000)]),
        ],
        ..PLAIN
    },
    Tale {
        name: "fork",
        before: &[&[]],
        steps: &[
            Step::Mine(&[(TSLA, -700), (AAPL, 1_000)]),
            Step::Mine(&[(TSLA, -2_500)]),
            Step::Reorg(1),
            Step::Return,
        ],
        ..PLAIN
    },
    Tale {
        name: "operator",
        before: &[&[]],
        steps: &[
            Step::Mine(&[(AAPL, -1_500)]),
            Step::Halt(AAPL),
            Step::Mine(&[(AAPL, -2_000)]),
            Step::Resume(AAPL),
        ],
        ..PLAIN
    },
    Tale {
        name: "limit",
        before: &[&[]],
        steps: &[Step::Mine(&[(BRK, -1_000)]), Step::Mine(&[(BRK, 1_000)])],
        ..PLAIN
    },
    Tale {
        name: "refusal",
        before: &[&[]],
        steps: &[Step::Mine(&[(NVDA, -1_000_001_000)]), Step::Mine(&[(NVDA, 1_000_001_000)])],
        ..PLAIN
    },
    Tale { name: "many", before: &[&[]], steps: &[Step::MineMany(24, (TSLA, -300))], ..PLAIN },
    Tale { name: "stop", before: TRADED, steps: &[Step::Restart, Step::Mine(&[(TSLA, -900)])], ..PLAIN },
    Tale { name: "by hand", before: TRADED, steps: &[Step::ByHand(TSLA, 3)], ..PLAIN },
    Tale { name: "not sent", before: TRADED, first: Some((Point::PlaceBefore, 1)), ..PLAIN },
    Tale { name: "not heard", before: TRADED, first: Some((Point::PlaceAfter, 1)), ..PLAIN },
    Tale { name: "unborn", before: TRADED, first: Some((Point::MigrationStatement, 20)), ..PLAIN },
    Tale { name: "migration", before: TRADED, old_ledger: true, ..PLAIN },
    Tale {
        name: "half backup",
        before: TRADED,
        old_ledger: true,
        first: Some((Point::BackupCopied, 1)),
        ..PLAIN
    },
    Tale {
        name: "alpaca",
        at: At::Alpaca,
        before: TRADED,
        steps: &[Step::Mine(&[(TSLA, -1_900), (AAPL, -7_300)])],
        ..PLAIN
    },
    Tale {
        name: "alpaca, both ways",
        at: At::Alpaca,
        before: TRADED,
        // Across zero, in two orders one after the other, and back.
        steps: &[Step::Mine(&[(TSLA, 3_100)]), Step::Restart, Step::Reorg(1)],
        ..PLAIN
    },
    Tale {
        name: "alpaca, answer lost",
        at: At::Alpaca,
        before: &[&[]],
        steps: &[
            Step::Trouble(Trouble::LostAnswer),
            Step::Mine(&[(TSLA, -1_900)]),
            Step::Trouble(Trouble::Error),
            Step::Mine(&[(TSLA, -2_000)]),
        ],
        ..PLAIN
    },
    Tale {
        name: "alpaca, order lost",
        at: At::Alpaca,
        before: &[&[]],
        steps: &[Step::Trouble(Trouble::LostOrder), Step::Mine(&[(TSLA, -1_900)])],
        ..PLAIN
    },
    Tale {
        name: "alpaca, order refused",
        at: At::Alpaca,
        before: &[&[]],
        steps: &[Step::Trouble(Trouble::Refusal), Step::Mine(&[(TSLA, -1_900)])],
        ..PLAIN
    },
];
