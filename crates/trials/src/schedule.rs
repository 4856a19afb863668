//! What will happen to a bot in a trial, drawn from a seed before anything happens: a list, so that a failure can be
//! told, replayed and made shorter by leaving steps out.
//!
//! It refuses to know how a step is carried out and what the bot makes of it. Invariant: the same seed draws the same
//! terms and the same steps.

use std::fmt;

use super::calendar::{self, BEGINNINGS};
use super::dice::Dice;
use super::provider;
use super::venue::Venue;
use counterfill_core::units::{Shares, Side};
use counterfill_sim::chain::Blooms;
use counterfill_sim::provider::Provider;

/// Tickers of a trial.
pub(crate) const TICKERS: [&str; 3] = ["TSLA", "AAPL", "NVDA"];

/// What holds from the beginning to the end of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The seed.
    pub(crate) seed: u64,
    /// What is near its beginning.
    pub(crate) season: &'static str,
    /// When it begins, true time, in milliseconds since 1970.
    pub(crate) begins_ms: i64,
    /// How long steps happen; then the world calms down.
    pub(crate) busy_ms: i64,
    /// What the broker is like.
    pub(crate) venue: Venue,
    /// `MAX_ORDER_SHARES`, where it binds.
    pub(crate) order_shares_max: Option<Shares>,
    /// `MAX_ORDERS_PER_MINUTE`, where it binds.
    pub(crate) orders_per_minute_max: Option<u32>,
    /// `ABSENT_AFTER`.
    pub(crate) absent_after_ms: Option<i64>,
    /// `CONFIRMATIONS`.
    pub(crate) confirmations: u64,
    /// The engine's clock.
    pub(crate) tick_ms: i64,
    /// How often a live order is read.
    pub(crate) poll_ms: i64,
    /// The longest way to the broker, one way.
    pub(crate) broker_way_ms: i64,
    /// How often the operator looks.
    pub(crate) look_ms: i64,
    /// How long the operator lets a halt be.
    pub(crate) patience_ms: i64,
    /// The longest wait between an input and its turn.
    pub(crate) batch_ms: i64,
    /// What the node is like, all the time.
    pub(crate) provider: Provider,
    /// What the blocks' blooms say.
    pub(crate) blooms: Blooms,
}

/// One fill, or what looks like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deal {
    /// Index into [`TICKERS`].
    pub(crate) ticker: usize,
    /// The owner's side.
    pub(crate) side: Side,
    /// Shares, in 1e-12.
    pub(crate) picoshares: i64,
    /// How it comes about.
    pub(crate) form: Form,
}

/// How a fill comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A take of our order.
    Take,
    /// A clear in which ours is the first order.
    Alice,
    /// A clear in which ours is the second order.
    Bob,
    /// Somebody else's take.
    Stranger,
    /// Ours, of a pair that is not hedged.
    ForeignPair,
    /// A take that nobody can read.
    Broken,
}

/// What becomes of the transactions of replaced blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// They are in the new blocks at the same heights.
    Same,
    /// They are gone.
    Never,
    /// Each is there or not, in another order.
    Some,
    /// They all come in the last new block.
    Later,
}

/// What a node does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeFault {
    /// `eth_getLogs` answers nothing, so many times.
    EmptyLogs(u64),
    /// `eth_getLogs` leaves out the last log, so many times.
    PartialLogs(u64),
    /// Answers are so many blocks old.
    Lag(u64),
    /// So many answers come by turns from the other branch.
    TwoForks(u64),
    /// Pushed logs get lost.
    LoseLogs,
    /// Nothing is pushed.
    LosePushes,
    /// The second half of a clear is not pushed.
    LoseAfterClear,
    /// Pushes come twice.
    Twice,
    /// Pushes come in the opposite order.
    Backwards,
    /// A reorg pushes removed logs.
    Removed,
    /// Pushed logs have no block.
    NoBlock,
    /// So many calls fail: header not found.
    HeaderNotFound(u64),
    /// So many calls fail: internal error.
    Internal(u64),
    /// So many calls fail: rate limit.
    RateLimited(u64),
    /// Ranges are refused beyond so many blocks.
    ShortRanges(u64),
    /// Orphans are unknown by hash.
    ForgetOrphans,
    /// There is no `eth_getBlockReceipts`.
    NoReceipts,
    /// Answers take their time, so that the world goes on between two of them.
    Slow,
    /// The socket is up and silent.
    HalfOpen,
    /// The socket is closed, and so many connects are refused.
    Cut(u64),
}

/// What becomes of an order call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostFault {
    /// The order is there, the answer is lost.
    AnswerLost,
    /// The order is there, the answer is later than the limit.
    AnswerLate,
    /// The order is there, the yes has no order id.
    NoId,
    /// The order never arrives, nothing comes back.
    Lost,
    /// A 500, no order.
    ServerError,
    /// Nothing comes back in time; the order arrives so many milliseconds later.
    Late(i64),
    /// A clear no.
    Refused,
    /// Never left.
    NotSent,
    /// Too many requests; with or without `Retry-After`.
    RateLimited(Option<i64>),
}

/// What the exchange does with an accepted order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Filled whole, after a moment.
    Fills,
    /// Filled before the answer is out.
    AtOnce,
    /// Filled share by share.
    ShareByShare,
    /// Filled whole, after minutes under strange names.
    Slow,
    /// Rejected after it was accepted.
    Rejected,
    /// Partly filled, then canceled by a hand.
    PartThenCanceled,
    /// Canceled by a hand before anything traded.
    Canceled,
    /// Partly filled, then nothing until the day ends.
    PartThenRests,
    /// Canceled and filled at once: the fill wins.
    FilledDuringCancel,
    /// The status is ahead of the executions.
    StatusAhead,
    /// The executions are told in one sum that shrinks later: a bust.
    Bust,
    /// The order can not be read at first, so many reads long.
    Invisible(u64),
    /// The order can not be read at first, so many milliseconds long.
    InvisibleFor(i64),
}

/// What is wrong with the market's prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuoteFault {
    /// They can not be read.
    Away,
    /// They are those of a minute ago.
    Old,
    /// There is none.
    NoPrice,
    /// The share does not trade now.
    NotTradable,
    /// They are a tenth off.
    Far,
}

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Now.
    Now,
    /// After the next commit that sends an order, before a byte of it is out.
    CommittedNotSent,
    /// When the next order's bytes are out, before the answer.
    SentNotAnswered,
    /// After so many changes to the disk from the next commit on.
    InCommit(u64),
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// A block with these deals, one transaction each, or all in one.
    Trade {
        /// The deals.
        deals: Vec<Deal>,
        /// All in one transaction.
        together: bool,
    },
    /// So many empty blocks.
    Blocks(u64),
    /// A fork.
    Fork {
        /// Blocks replaced.
        depth: u64,
        /// Blocks more, or fewer, on the new branch.
        longer: i64,
        /// What becomes of the transactions.
        replay: Replay,
    },
    /// The branch left last comes back.
    Return,
    /// An old block is pushed again.
    PushAgain(u64),
    /// A log that is on no chain is pushed.
    Phantom(Deal),
    /// The node misbehaves, so many milliseconds long.
    Node(NodeFault, i64),
    /// The next order call goes wrong.
    Post(PostFault),
    /// The next order's fate.
    Fate(Fate),
    /// The broker answers nothing, so many milliseconds long.
    Away(i64),
    /// Reads fail, order calls work.
    ReadsFail(i64),
    /// The broker's list is as of now, so many milliseconds long.
    StaleList(i64),
    /// The login is dead, so many milliseconds long.
    TokenDead(i64),
    /// The broker does not say whether the market is open.
    MarketUnavailable(i64),
    /// The market's prices are not what they should be, so many milliseconds long.
    Quotes(QuoteFault, i64),
    /// A person types an order: equal to our newest within two seconds, or of another kind.
    ManualOrder {
        /// Equal to ours in every field but the tag.
        twin: bool,
        /// Its ticker, where it is no twin.
        ticker: usize,
    },
    /// A person cancels our live order.
    ManualCancel,
    /// A trade of a done order is taken back.
    Bust,
    /// The disk misbehaves.
    Disk(DiskFault),
    /// The process dies.
    Kill {
        /// When.
        when: Death,
        /// And the machine with it.
        power: bool,
        /// Back after so many milliseconds.
        down_ms: i64,
    },
    /// The process is stopped and started.
    Restart {
        /// Back after so many milliseconds.
        down_ms: i64,
    },
    /// The ledger is copied.
    Backup,
    /// The process dies and an older ledger is put back.
    Restore {
        /// Back after so many milliseconds.
        down_ms: i64,
    },
    /// The machine's clock jumps.
    Clock(i64),
    /// The broker's clock is off.
    Skew(i64),
    /// A person halts a ticker, or all.
    Halt(Option<usize>),
}

/// What a disk does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// A write fails, after so many.
    Write(u64),
    /// A write is half done, after so many.
    Torn(u64),
    /// A sync fails, after so many.
    Sync(u64),
    /// A sync fails and what it was to save will never be safe.
    LostSync(u64),
    /// A read fails, after so many.
    Read(u64),
    /// No room, until the process has died of it.
    Full,
    /// A lock is held by somebody else, so many times.
    Busy(u64),
}

/// An act and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Milliseconds after the beginning.
    pub(crate) at_ms: i64,
    /// What happens.
    pub(crate) act: Act,
}

/// Draws a trial.
pub(crate) fn draw(seed: u64) -> (Terms, Vec<Step>) {
    let mut dice = Dice::new(seed, 1);
    let terms = terms(seed, &mut dice);
    let mut at_ms = 500;
    let mut steps = Vec::new();
    // What a trial is mostly about, so that faults of one kind meet in some trials and are absent in others.
    let mood = [dice.below(3), dice.below(3), dice.below(3), dice.below(2)];
    while at_ms < terms.busy_ms {
        steps.push(Step { at_ms, act: act(&mut dice, &terms, mood) });
        at_ms += match dice.below(10) {
            0..3 => dice.between(1, 400),
            3..9 => dice.between(400, 9_000),
            _ => dice.between(9_000, 45_000),
        };
    }
    (terms, steps)
}

fn terms(seed: u64, dice: &mut Dice) -> Terms {
    let (season, begins) =
        dice.weighted(&BEGINNINGS).unwrap_or(("an ordinary session", "2026-09-15T15:00:00Z"));
    // Dice of its own: what a node is like changes nothing else that is drawn.
    let (provider, blooms) = provider::draw(&mut Dice::new(seed, 4));
    Terms {
        seed,
        season,
        begins_ms: calendar::at(begins) + dice.between(0, 999),
        busy_ms: dice.between(60_000, 260_000),
        venue: Venue::draw(dice),
        order_shares_max: dice.chance(15).then(|| Shares::whole(dice.between(2, 8))),
        orders_per_minute_max: dice.chance(15).then(|| u32::try_from(dice.between(3, 8)).unwrap_or(3)),
        absent_after_ms: dice.chance(50).then(|| dice.between(120_000, 300_000)),
        confirmations: if dice.chance(75) { 0 } else { dice.below(6) + 1 },
        tick_ms: dice.between(200, 900),
        poll_ms: dice.between(300, 2_000),
        broker_way_ms: dice.one_of(&[20, 20, 150, 700, 2_500]).unwrap_or(20),
        look_ms: dice.between(4_000, 40_000),
        patience_ms: dice.between(1_000, 60_000),
        batch_ms: dice.one_of(&[0, 3, 40, 400]).unwrap_or(0),
        provider,
        blooms,
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Trade,
    Chain,
    Node,
    Post,
    Fate,
    Broker,
    Disk,
    Death,
    Clock,
    Halt,
}

fn act(dice: &mut Dice, terms: &Terms, [node, broker, death, disk]: [u64; 4]) -> Act {
    let kinds = [
        (40, Kind::Trade),
        (18, Kind::Chain),
        (6 * node, Kind::Node),
        (6 * broker, Kind::Post),
        (6 * broker, Kind::Fate),
        (4 * broker, Kind::Broker),
        (3 * disk, Kind::Disk),
        (6 * death, Kind::Death),
        (1, Kind::Clock),
        (1, Kind::Halt),
    ];
    match dice.weighted(&kinds).unwrap_or(Kind::Trade) {
        Kind::Trade => trade(dice),
        Kind::Chain => chain(dice),
        Kind::Node => Act::Node(node_fault(dice), dice.between(500, 40_000)),
        Kind::Post => Act::Post(post_fault(dice)),
        Kind::Fate => Act::Fate(fate(dice, terms)),
        Kind::Broker => at_broker(dice),
        Kind::Disk => Act::Disk(disk_fault(dice)),
        Kind::Death => death_of(dice),
        Kind::Clock => clock(dice),
        Kind::Halt => Act::Halt(dice.chance(70).then(|| dice.index(TICKERS.len()))),
    }
}

fn deal(dice: &mut Dice) -> Deal {
    const SHARE: i64 = 1_000_000_000_000;
    // From dust that no broker takes, and that says nothing of a price, to many shares.
    let picoshares = match dice.below(20) {
        0 => 1,
        1 => dice.between(1, SHARE / 1_000),
        2 => dice.between(SHARE / 1_000, SHARE / 50),
        3 | 4 => SHARE,
        5..12 => dice.between(1, SHARE),
        12..18 => dice.between(SHARE / 2, 3 * SHARE),
        _ => dice.between(3 * SHARE, 40 * SHARE),
    };
    let forms = [
        (60, Form::Take),
        (12, Form::Alice),
        (12, Form::Bob),
        (5, Form::Stranger),
        (4, Form::ForeignPair),
        (3, Form::Broken),
    ];
    Deal {
        ticker: dice.index(TICKERS.len()),
        side: if dice.chance(55) { Side::Buy } else { Side::Sell },
        picoshares,
        form: dice.weighted(&forms).unwrap_or(Form::Take),
    }
}

fn trade(dice: &mut Dice) -> Act {
    let deals = (0..dice.between(1, 4)).map(|_| deal(dice)).collect();
    Act::Trade { deals, together: dice.chance(30) }
}

fn chain(dice: &mut Dice) -> Act {
    match dice.below(20) {
        0..5 => Act::Blocks(dice.below(4) + 1),
        5 => Act::Blocks(dice.below(140) + 60),
        6..13 => Act::Fork {
            depth: if dice.chance(90) { dice.below(7) + 1 } else { dice.below(56) + 8 },
            longer: dice.between(-1, 3),
            replay: dice
                .one_of(&[Replay::Same, Replay::Never, Replay::Some, Replay::Later])
                .unwrap_or(Replay::Same),
        },
        13..16 => Act::Return,
        16..18 => Act::PushAgain(dice.throw()),
        _ => Act::Phantom(Deal { form: Form::Take, ..deal(dice) }),
    }
}

fn node_fault(dice: &mut Dice) -> NodeFault {
    let count = dice.below(4) + 1;
    match dice.below(20) {
        0 => NodeFault::EmptyLogs(count),
        1 => NodeFault::PartialLogs(count),
        2 => NodeFault::Lag(dice.below(9) + 1),
        3 => NodeFault::TwoForks(dice.below(12) + 1),
        4 => NodeFault::LoseLogs,
        5 => NodeFault::LosePushes,
        6 => NodeFault::LoseAfterClear,
        7 => NodeFault::Twice,
        8 => NodeFault::Backwards,
        9 => NodeFault::Removed,
        10 => NodeFault::NoBlock,
        11 => NodeFault::HeaderNotFound(count),
        12 => NodeFault::Internal(count),
        13 => NodeFault::RateLimited(count),
        14 => NodeFault::ShortRanges(dice.below(30) + 1),
        15 => NodeFault::ForgetOrphans,
        16 => NodeFault::NoReceipts,
        17 => NodeFault::Slow,
        18 => NodeFault::HalfOpen,
        _ => NodeFault::Cut(dice.below(3)),
    }
}

fn post_fault(dice: &mut Dice) -> PostFault {
    match dice.below(12) {
        0..3 => PostFault::AnswerLost,
        3 => PostFault::AnswerLate,
        4 => PostFault::NoId,
        5..7 => PostFault::Lost,
        7 => PostFault::ServerError,
        8 => PostFault::Late(dice.between(500, 15_000)),
        9 => PostFault::Refused,
        10 => PostFault::NotSent,
        _ => PostFault::RateLimited(dice.chance(50).then(|| dice.between(1_000, 20_000))),
    }
}

fn fate(dice: &mut Dice, terms: &Terms) -> Fate {
    match dice.below(13) {
        0 => Fate::AtOnce,
        1 => Fate::ShareByShare,
        2 => Fate::Slow,
        3 => Fate::Rejected,
        4..6 => Fate::PartThenCanceled,
        6 => Fate::Canceled,
        7 => Fate::PartThenRests,
        8 => Fate::FilledDuringCancel,
        9 => Fate::StatusAhead,
        10 => Fate::Bust,
        // Longer than three lists, and ABSENT_AFTER would be wrong about this broker.
        11 => Fate::Invisible(dice.below(if terms.venue.client_ids() { 8 } else { 2 }) + 1),
        // Beyond a minute an accepted order counts as not to be found, and a person looks.
        _ if dice.chance(20) => Fate::InvisibleFor(dice.between(65_000, 90_000)),
        _ => Fate::InvisibleFor(dice.between(500, 30_000)),
    }
}

fn at_broker(dice: &mut Dice) -> Act {
    let ms = dice.between(500, 30_000);
    match dice.below(14) {
        0 | 1 => Act::Away(ms),
        2 => Act::ReadsFail(ms),
        3 | 4 => Act::StaleList(ms),
        5 => Act::TokenDead(ms),
        6 => Act::MarketUnavailable(ms),
        7 => Act::ManualCancel,
        8 => Act::Bust,
        9 | 10 => Act::ManualOrder { twin: false, ticker: dice.index(TICKERS.len()) },
        11 | 12 => Act::Quotes(quote_fault(dice), 3 * ms),
        _ => Act::ManualOrder { twin: true, ticker: 0 },
    }
}

fn quote_fault(dice: &mut Dice) -> QuoteFault {
    use QuoteFault as Q;
    dice.one_of(&[Q::Away, Q::Old, Q::NoPrice, Q::NotTradable, Q::Far]).unwrap_or(Q::Away)
}

fn disk_fault(dice: &mut Dice) -> DiskFault {
    let after = dice.below(12);
    match dice.below(8) {
        0 => DiskFault::Write(after),
        1 => DiskFault::Torn(after),
        2 | 3 => DiskFault::Sync(after / 4),
        4 => DiskFault::LostSync(after / 4),
        5 => DiskFault::Read(after),
        6 => DiskFault::Full,
        _ => DiskFault::Busy(dice.below(3) + 1),
    }
}

fn death_of(dice: &mut Dice) -> Act {
    let down_ms = if dice.chance(70) { dice.between(50, 3_000) } else { dice.between(3_000, 90_000) };
    let when = match dice.below(10) {
        0..3 => Death::Now,
        3..5 => Death::CommittedNotSent,
        5..8 => Death::SentNotAnswered,
        _ => Death::InCommit(dice.below(14)),
    };
    match dice.below(10) {
        0..6 => Act::Kill { when, power: dice.chance(50), down_ms },
        6 => Act::Restart { down_ms },
        7..9 => Act::Backup,
        // Longer than a broker hides an order: putting a ledger back takes a person a while, and there is one comparison.
        _ => Act::Restore { down_ms: dice.between(95_000, 3_600_000) },
    }
}

fn clock(dice: &mut Dice) -> Act {
    let ms = match dice.below(3) {
        0 => dice.between(-3_000, 3_000),
        1 => dice.between(-120_000, 120_000),
        _ => dice.between(-7_200_000, 7_200_000),
    };
    if dice.chance(60) { Act::Clock(ms) } else { Act::Skew(ms.clamp(-5_000, 5_000)) }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names are words already; a longer text would say no more.
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_trial_every_time_and_another_one_another() {
        let (first, again, other) = (draw(7), draw(7), draw(8));
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        assert_ne!(format!("{first:?}"), format!("{other:?}"));
        assert!(first.1.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
    }
}
