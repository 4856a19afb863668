//! Tables of logs that are wrong, incomplete or unusual, and what becomes of each. Nothing of ours is dropped in
//! silence: it is a trade, unpaired, or dead with a reason.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, Bytes, LogData, U256};
use alloy::sol_types::SolEvent;
use counterfill::chain::abi::v4::{self, IOrderBookV4};
use counterfill::chain::abi::v5::{self, IOrderBookV5};
use counterfill::chain::abi::{self, Amount, Leg, RawLog, Trade};
use counterfill::fills::{self, Book, Event, Hold, TokenFact, TokenFacts, TokenKind, Trades, Unit};
use counterfill::units::Millis;

const BOOK: Address = Address::repeat_byte(0xb0);
const OURS: Address = Address::repeat_byte(0x01);
const ALSO_OURS: Address = Address::repeat_byte(0x02);
const STRANGER: Address = Address::repeat_byte(0x99);
const USDC: Address = Address::repeat_byte(0xc0);
const TSLA: Address = Address::repeat_byte(0xe0);
const WRAPPED: Address = Address::repeat_byte(0xe1);
const FINE: Address = Address::repeat_byte(0xe2);
const JUNK: Address = Address::repeat_byte(0xf0);
const JUNK_2: Address = Address::repeat_byte(0xf1);

fn book() -> Book {
    Book {
        chain_id: 8453,
        orderbooks: BTreeSet::from([BOOK]),
        owners: BTreeSet::from([OURS, ALSO_OURS]),
        hedge_from_block: 0,
        symbols: None,
    }
}

fn facts() -> TokenFacts {
    let share = TokenKind::Share("TSLA".parse().unwrap(), Unit::One);
    let wrapped = TokenKind::Share(
        "AAPL".parse().unwrap(),
        Unit::Asked { holds: vec![Hold::Vault(TSLA)], multiplied: false },
    );
    let rows = [
        (USDC, 6, TokenKind::Cash),
        (TSLA, 18, share.clone()),
        (WRAPPED, 18, wrapped),
        (FINE, 19, share),
        (JUNK, 8, TokenKind::Foreign),
        (JUNK_2, 77, TokenKind::Foreign),
    ];
    let fact =
        |(address, decimals, kind)| TokenFact { address, symbol: format!("{address}"), decimals, kind };
    TokenFacts { tokens: rows.into_iter().map(|row| (row.0, fact(row))).collect(), ..TokenFacts::default() }
}

fn log(log_index: u64, data: LogData) -> RawLog {
    RawLog {
        address: BOOK,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 100,
        block_hash: B256::repeat_byte(0xaa),
        block_time: Some(1_750_000_000),
        tx_hash: B256::repeat_byte(0xbb),
        log_index,
    }
}

fn order_v5(owner: Address, input: Address, output: Address) -> v5::OrderV4 {
    let list = |token| vec![v5::IOV2 { token, vaultId: B256::ZERO }];
    v5::OrderV4 {
        owner,
        evaluable: v5::EvaluableV4 {
            interpreter: Address::ZERO,
            store: Address::ZERO,
            bytecode: Bytes::from_static(&[1, 2, 3]),
        },
        validInputs: list(input),
        validOutputs: list(output),
        nonce: B256::ZERO,
    }
}

/// A Float of 28 bytes of coefficient at most.
fn float(coefficient: i128, exponent: i32) -> B256 {
    let mut word = if coefficient < 0 { [0xff; 32] } else { [0; 32] };
    word[16..].copy_from_slice(&coefficient.to_be_bytes());
    word[..4].copy_from_slice(&exponent.to_be_bytes());
    B256::from(word)
}

/// A take of an order of `owner` that received `input` of its token and gave `output`.
fn take_event(owner: Address, input: (Address, B256), output: (Address, B256)) -> IOrderBookV5::TakeOrderV3 {
    IOrderBookV5::TakeOrderV3 {
        sender: STRANGER,
        config: v5::TakeOrderConfigV4 {
            order: order_v5(owner, input.0, output.0),
            inputIOIndex: U256::ZERO,
            outputIOIndex: U256::ZERO,
            signedContext: vec![],
        },
        // The taker's view.
        input: output.1,
        output: input.1,
    }
}

fn take(owner: Address, input: (Address, B256), output: (Address, B256)) -> RawLog {
    log(0, take_event(owner, input, output).encode_log_data())
}

fn usual_take() -> RawLog {
    take(OURS, (USDC, float(1352, 0)), (TSLA, float(9, 0)))
}

fn clear(log_index: u64, alice: Address, bob: Address) -> RawLog {
    let clear = IOrderBookV5::ClearV3 {
        sender: STRANGER,
        alice: order_v5(alice, USDC, TSLA),
        bob: order_v5(bob, TSLA, USDC),
        clearConfig: v5::ClearConfigV2 {
            aliceInputIOIndex: U256::ZERO,
            aliceOutputIOIndex: U256::ZERO,
            bobInputIOIndex: U256::ZERO,
            bobOutputIOIndex: U256::ZERO,
            aliceBountyVaultId: B256::ZERO,
            bobBountyVaultId: B256::ZERO,
        },
    };
    log(log_index, clear.encode_log_data())
}

/// The amounts of a clear in which `shares` went from alice to bob at 100 dollars.
fn after(log_index: u64, shares: i128) -> RawLog {
    let after = IOrderBookV5::AfterClearV2 {
        sender: STRANGER,
        clearStateChange: v5::ClearStateChangeV2 {
            aliceOutput: float(shares, 0),
            bobOutput: float(shares * 101, 0),
            aliceInput: float(shares * 100, 0),
            bobInput: float(shares, 0),
        },
    };
    log(log_index, after.encode_log_data())
}

fn after_v4(log_index: u64) -> RawLog {
    let one = U256::from(1);
    let change = v4::ClearStateChange { aliceOutput: one, bobOutput: one, aliceInput: one, bobInput: one };
    log(log_index, IOrderBookV4::AfterClear { sender: STRANGER, clearStateChange: change }.encode_log_data())
}

/// All that becomes of `logs`, one line each.
fn outcome(logs: &[RawLog]) -> Vec<String> {
    outcome_of(&book(), &facts(), fills::trades(&book(), logs))
}

fn outcome_of(book: &Book, facts: &TokenFacts, found: Trades) -> Vec<String> {
    let mut lines: Vec<_> =
        found.trades.iter().map(|trade| line(&fills::event(book, trade, facts))).collect();
    lines.extend(found.dead.into_iter().map(|dead| line(&Event::Dead(dead))));
    lines.extend(found.unpaired.iter().map(|unpaired| format!("unpaired log {}", unpaired.clear.log_index)));
    lines
}

fn line(event: &Event) -> String {
    match event {
        Event::Fill(fill) => {
            let (side, index) = (fill.id.side, fill.id.log_index);
            format!("log {index}: {side} {} {} for {}", fill.shares, fill.symbol, fill.cash)
        }
        Event::Skipped(skipped) => {
            let (side, index) = (skipped.id.side, skipped.id.log_index);
            let symbol = skipped.symbol.as_ref().map_or("-", |symbol| symbol.as_str());
            format!("log {index}: {side} {} {symbol} skipped: {}", skipped.shares, skipped.reason.as_str())
        }
        Event::Pending(pending) => format!("log {} waits: {}", pending.id.log_index, pending.reason),
        Event::Dead(dead) => format!("log {} dead: {}", dead.log_index, dead.reason),
    }
}

/// Each line is as expected, to the letter; behind a colon at its end the ABI decoder's own words follow.
fn assert_outcomes(rows: Vec<(&str, Vec<RawLog>, Vec<&str>)>) {
    for (name, logs, expected) in rows {
        let lines = outcome(&logs);
        let same = |(line, expected): (&String, &&str)| match expected.ends_with(": ") {
            true => line.starts_with(expected),
            false => line == expected,
        };
        let right = lines.len() == expected.len() && lines.iter().zip(&expected).all(same);
        assert!(right, "{name}:\n    found    {lines:?}\n    expected {expected:?}");
    }
}

fn changed(mut log: RawLog, change: impl FnOnce(&mut RawLog)) -> RawLog {
    change(&mut log);
    log
}

fn data(log: RawLog, change: impl FnOnce(&mut Vec<u8>)) -> RawLog {
    changed(log, |log| {
        let mut bytes = log.data.to_vec();
        change(&mut bytes);
        log.data = bytes.into();
    })
}

#[test]
fn bytes_that_are_not_their_event_are_dead() {
    let not = "log 0 dead: the bytes are not a TakeOrderV3: ";
    let mut index_beyond = take_event(OURS, (USDC, float(1, 0)), (TSLA, float(1, 0)));
    index_beyond.config.outputIOIndex = U256::from(1);
    let mut index_huge = index_beyond.clone();
    index_huge.config.outputIOIndex = U256::MAX;
    let mut strangers_index = index_beyond.clone();
    strangers_index.config.order.owner = STRANGER;
    let beyond = "log 0 dead: an input or output index of the event points beyond our order's lists";
    let topics = |count: usize| changed(usual_take(), |log| log.topics.resize(count, B256::ZERO));
    assert_outcomes(vec![
        ("as it should be", vec![usual_take()], vec!["log 0: SELL 9 TSLA for 1352"]),
        ("no data", vec![data(usual_take(), Vec::clear)], vec![not]),
        ("half a word short", vec![data(usual_take(), |d| d.truncate(d.len() - 16))], vec![not]),
        ("half of it", vec![data(usual_take(), |d| d.truncate(d.len() / 2))], vec![not]),
        ("dirt above the sender's address", vec![data(usual_take(), |d| d[0] = 1)], vec![not]),
        ("an offset beyond the end", vec![data(usual_take(), |d| d[62] = 0xff)], vec![not]),
        ("an offset beyond memory", vec![data(usual_take(), |d| d[32..64].fill(0xff))], vec![not]),
        (
            "two topics",
            vec![topics(2)],
            vec!["log 0 dead: the bytes are not a TakeOrderV3: it has 2 topics and should have one"],
        ),
        ("no topic", vec![topics(0)], vec![]),
        ("another topic", vec![changed(usual_take(), |log| log.topics[0] = B256::ZERO)], vec![]),
        ("another book", vec![changed(usual_take(), |log| log.address = JUNK)], vec![]),
        (
            "a take under the topic of amounts reads as amounts of nobody",
            vec![changed(usual_take(), |log| log.topics[0] = abi::AFTER_CLEAR_V5)],
            vec![],
        ),
        ("an index beyond the list", vec![log(0, index_beyond.encode_log_data())], vec![beyond]),
        ("an index beyond memory", vec![log(0, index_huge.encode_log_data())], vec![beyond]),
        ("a stranger's index beyond the list", vec![log(0, strangers_index.encode_log_data())], vec![]),
    ]);
}

#[test]
fn amounts_out_of_range_are_dead_and_nothing_is_nothing() {
    let sell = |cash: B256, shares: B256| vec![take(OURS, (USDC, cash), (TSLA, shares))];
    let one = float(1, 0);
    let negative = |token: Address| format!("log 0 dead: of token {token}: the amount is negative");
    let too_large =
        |token: Address| format!("log 0 dead: of token {token}: the amount does not fit 256 bits");
    let uncountable = format!("base units of token {TSLA} are more than can be counted");
    let (of_tsla, of_usdc, of_junk) = (negative(TSLA), negative(USDC), negative(JUNK_2));
    let (large_tsla, large_usdc) = (too_large(TSLA), too_large(USDC));
    let beyond_i128 = format!("log 0 dead: 200000000000000000000000000000000000000 {uncountable}");
    assert_outcomes(vec![
        ("minus one share", sell(one, float(-1, 0)), vec![&of_tsla]),
        ("minus one dollar", sell(float(-1, 0), one), vec![&of_usdc]),
        ("minus nearly nothing", sell(one, float(-1, -100)), vec![&of_tsla]),
        (
            "minus one of a token that counts for nothing",
            vec![take(OURS, (JUNK, one), (JUNK_2, float(-1, 0)))],
            vec![&of_junk],
        ),
        ("10^90 shares", sell(one, float(1, 90)), vec![&large_tsla]),
        ("10^90 dollars", sell(float(1, 90), one), vec![&large_usdc]),
        ("2 x 10^20 shares", sell(one, float(2, 20)), vec![&beyond_i128]),
        ("no shares", sell(one, float(0, 0)), vec!["log 0: SELL 0 TSLA skipped: zero_shares"]),
        (
            "less than one base unit",
            sell(one, float(9, -19)),
            vec!["log 0: SELL 0 TSLA skipped: zero_shares"],
        ),
        (
            "one base unit for nothing",
            sell(float(0, 0), float(1, -18)),
            vec!["log 0: SELL 0.000000000000000001 TSLA for 0"],
        ),
        (
            "cut, never rounded up",
            sell(float(19_999_999, -7), float(19, -19)),
            vec!["log 0: SELL 0.000000000000000001 TSLA for 1.999999"],
        ),
    ]);
}

#[test]
fn pairs_of_tokens_and_what_they_are() {
    let one = float(1, 0);
    let trade = |input, output| vec![take(OURS, (input, one), (output, one))];
    let fine =
        format!("log 0 dead: token {FINE} has 19 decimals, more than the 18 that can be counted exactly");
    let ratio = format!(
        "log 0 dead: what 1000000000000000000 base units of token {WRAPPED} are worth at block {} was not asked",
        B256::repeat_byte(0xaa)
    );
    let unknown = format!("log 0 dead: nothing is known of token {STRANGER}");
    assert_outcomes(vec![
        ("cash in, share out", trade(USDC, TSLA), vec!["log 0: SELL 1 TSLA for 1"]),
        ("share in, cash out", trade(TSLA, USDC), vec!["log 0: BUY 1 TSLA for 1"]),
        ("too many decimals to count", trade(FINE, USDC), vec![&fine]),
        ("no ratio", trade(WRAPPED, USDC), vec![&ratio]),
        ("a token nobody asked about", trade(STRANGER, USDC), vec![&unknown]),
        ("an unlisted token against cash", trade(JUNK, USDC), vec!["log 0: BUY 1 - skipped: foreign_pair"]),
        ("cash against an unlisted token", trade(USDC, JUNK), vec!["log 0: SELL 1 - skipped: foreign_pair"]),
        ("one that can not be counted", trade(USDC, JUNK_2), vec!["log 0: SELL 0 - skipped: foreign_pair"]),
        (
            "a share against an unlisted token",
            trade(JUNK, TSLA),
            vec!["log 0: SELL 1 TSLA skipped: foreign_pair"],
        ),
        ("a wrapped one", trade(WRAPPED, JUNK), vec!["log 0: BUY 0 AAPL skipped: foreign_pair"]),
        ("share against share", trade(TSLA, WRAPPED), vec!["log 0: SELL 0 - skipped: foreign_pair"]),
        ("cash against cash", trade(USDC, USDC), vec!["log 0: SELL 0 - skipped: foreign_pair"]),
        ("neither", trade(JUNK, JUNK_2), vec!["log 0: SELL 0 - skipped: foreign_pair"]),
    ]);
}

#[test]
fn a_clear_gets_its_own_amounts_or_none() {
    let stranger = |index| clear(index, STRANGER, STRANGER);
    let broken_after = |index| data(after(index, 5), |d| d.truncate(100));
    let elsewhere = |log| changed(log, |log| log.tx_hash = B256::repeat_byte(0xcc));
    let not = "the bytes are not a AfterClearV2: ";
    let unreadable = "log 0 dead: a clear of our order, but its AfterClear (log 3) can not be read";
    let (dead_0, dead_3) = (format!("log 0 dead: {not}"), format!("log 3 dead: {not}"));
    let other_book = |log| changed(log, |log| log.address = JUNK);
    assert_outcomes(vec![
        ("alice", vec![clear(0, OURS, STRANGER), after(3, 5)], vec!["log 0: SELL 5 TSLA for 500"]),
        ("bob", vec![clear(0, STRANGER, OURS), after(3, 5)], vec!["log 0: BUY 5 TSLA for 505"]),
        (
            "both, two owners",
            vec![clear(0, OURS, ALSO_OURS), after(3, 5)],
            vec!["log 0: SELL 5 TSLA for 500", "log 0: BUY 5 TSLA for 505"],
        ),
        ("strangers", vec![stranger(0), after(3, 5)], vec![]),
        ("amounts alone", vec![after(3, 5)], vec![]),
        ("no amounts", vec![clear(0, OURS, STRANGER)], vec!["unpaired log 0"]),
        ("amounts before it", vec![after(0, 5), clear(1, OURS, STRANGER)], vec!["unpaired log 1"]),
        (
            "of another transaction",
            vec![clear(0, OURS, STRANGER), elsewhere(after(3, 5))],
            vec!["unpaired log 0"],
        ),
        ("of another book", vec![clear(0, OURS, STRANGER), other_book(after(3, 5))], vec!["unpaired log 0"]),
        ("of another version", vec![clear(0, OURS, STRANGER), after_v4(3)], vec!["unpaired log 0"]),
        (
            "past another version",
            vec![clear(0, OURS, STRANGER), after_v4(2), after(3, 5)],
            vec!["log 0: SELL 5 TSLA for 500"],
        ),
        (
            "several in one transaction",
            vec![
                clear(0, OURS, STRANGER),
                after(3, 5),
                stranger(4),
                after(7, 6),
                clear(8, STRANGER, OURS),
                after(9, 7),
            ],
            vec!["log 0: SELL 5 TSLA for 500", "log 8: BUY 7 TSLA for 707"],
        ),
        (
            "the first one's amounts are missing",
            vec![clear(0, OURS, STRANGER), clear(4, OURS, STRANGER), after(7, 6)],
            vec!["log 4: SELL 6 TSLA for 600", "unpaired log 0"],
        ),
        (
            "a stranger's clear between",
            vec![clear(0, OURS, STRANGER), stranger(4), after(7, 6)],
            vec!["unpaired log 0"],
        ),
        (
            "our amounts can not be read",
            vec![clear(0, OURS, STRANGER), broken_after(3)],
            vec![unreadable, &dead_3],
        ),
        ("a stranger's amounts can not be read", vec![stranger(0), broken_after(3)], vec![]),
        ("amounts alone that can not be read", vec![broken_after(0)], vec![&dead_0]),
        (
            "a clear that can not be read",
            vec![data(clear(0, OURS, STRANGER), |d| d.truncate(100)), after(3, 5)],
            vec!["log 0 dead: the bytes are not a ClearV3: "],
        ),
    ]);
}

#[test]
fn both_legs_of_a_clear_need_mirrored_tokens_to_be_told_apart() {
    let mut event = IOrderBookV5::ClearV3::decode_log_data(&LogData::new_unchecked(
        vec![abi::CLEAR_V5],
        clear(0, OURS, ALSO_OURS).data,
    ))
    .unwrap();
    event.bob.validInputs[0].token = JUNK;
    let lines = outcome(&[log(0, event.encode_log_data()), after(3, 5)]);
    assert_eq!(
        lines,
        ["log 0 dead: both orders of the clear are ours, but their tokens do not mirror each other"]
    );
    event.bob.validInputs.clear();
    event.alice.validInputs.clear();
    let lines = outcome(&[log(0, event.encode_log_data()), after(3, 5)]);
    assert_eq!(lines, ["log 0 dead: an input or output index of the event points beyond our order's lists"]);
}

#[test]
fn an_unpaired_clear_is_paired_by_its_receipt_or_given_up() {
    let swept = [clear(0, OURS, STRANGER)];
    let found = fills::trades(&book(), &swept);
    assert_eq!(found.unpaired[0].tx_hash, swept[0].tx_hash);
    let dead = fills::give_up(&book(), &found.unpaired[0]);
    assert_eq!((dead.data, dead.log_index, dead.chain_id), (swept[0].data.clone(), 0, 8453));
    assert!(dead.reason.contains("no AfterClear"), "{}", dead.reason);
    // The receipt repeats the clear, and does not say the block's time.
    let receipt = [swept[0].clone(), after(3, 5)].map(|log| changed(log, |log| log.block_time = None));
    let together = [swept.as_slice(), &receipt].concat();
    let found = fills::trades(&book(), &together);
    assert_eq!((found.trades.len(), found.unpaired.len(), found.dead.len()), (1, 0, 0));
    assert_eq!(found.trades[0].log.block_time, Some(1_750_000_000));
}

#[test]
fn two_different_logs_at_one_place_are_one_dead_event_whichever_came_first() {
    let one = usual_take();
    let other = take(OURS, (USDC, float(1352, 0)), (TSLA, float(8, 0)));
    let expected = ["log 0 dead: the node gave 2 different logs for this place"];
    let forth = fills::trades(&book(), &[one.clone(), other.clone(), one.clone()]);
    let back = fills::trades(&book(), &[other, one]);
    assert_eq!(forth, back);
    assert_eq!(outcome_of(&book(), &facts(), forth), expected);
}

#[test]
fn what_does_not_count_here_is_skipped_and_asks_nothing() {
    let trade = |token| Trade {
        log: usual_take(),
        leg: Leg::Take,
        owner: OURS,
        input_token: USDC,
        input: Amount::Float(float(500, 0)),
        output_token: token,
        output: Amount::Float(float(4, 0)),
    };
    let early = Book { hedge_from_block: 101, ..book() };
    let exactly = Book { hedge_from_block: 100, ..book() };
    let elsewhere = Book { symbols: Some(["GME".parse().unwrap()].into()), ..book() };
    let here = Book { symbols: Some(["TSLA".parse().unwrap()].into()), ..book() };
    for (book, token, expected) in [
        (&early, TSLA, "log 0: SELL 4 TSLA skipped: before_hedging"),
        (&early, WRAPPED, "log 0: SELL 0 AAPL skipped: before_hedging"),
        (&exactly, TSLA, "log 0: SELL 4 TSLA for 500"),
        (&elsewhere, TSLA, "log 0: SELL 4 TSLA skipped: other_shard"),
        (&elsewhere, WRAPPED, "log 0: SELL 0 AAPL skipped: other_shard"),
        (&here, TSLA, "log 0: SELL 4 TSLA for 500"),
    ] {
        assert_eq!(line(&fills::event(book, &trade(token), &facts())), expected);
        assert!(fills::questions(book, &[trade(token)], &facts()).is_empty());
    }
    assert_eq!(fills::questions(&exactly, &[trade(WRAPPED), trade(WRAPPED)], &facts()).conversions.len(), 1);
}

/// The block's time dates a fill, but never later than it was seen; a time that no clock shows dates nothing.
#[test]
fn a_fill_is_as_old_as_its_block_and_no_younger_than_its_sight() {
    let seen = Millis(1_750_000_009_000);
    for (block_time, traded_at) in [
        (Some(1_750_000_000), Millis(1_750_000_000_000)),
        (Some(1_760_000_000), seen),
        (Some(u64::MAX), seen),
        (Some(u64::MAX / 2_000), seen),
        (None, seen),
    ] {
        let found = fills::trades(&book(), &[changed(usual_take(), |log| log.block_time = block_time)]);
        let Event::Fill(fill) = fills::event(&book(), &found.trades[0], &facts()) else { panic!("a fill") };
        assert_eq!(fill.traded_at(seen), traded_at, "{block_time:?}");
    }
}

/// V4's declared decimals are the owner's claim; `decimals()` counts.
#[test]
fn declared_decimals_are_not_believed() {
    let io = |token, decimals| vec![v4::IO { token, decimals, vaultId: U256::ZERO }];
    let event = IOrderBookV4::TakeOrderV2 {
        sender: STRANGER,
        config: IOrderBookV4::TakeOrderConfigV3 {
            order: v4::OrderV3 {
                owner: OURS,
                evaluable: v4::EvaluableV3 { interpreter: JUNK, store: JUNK, bytecode: Bytes::new() },
                validInputs: io(USDC, 18),
                validOutputs: io(TSLA, 6),
                nonce: B256::ZERO,
            },
            inputIOIndex: U256::ZERO,
            outputIOIndex: U256::ZERO,
            signedContext: vec![],
        },
        input: U256::from(1_000_000),
        output: U256::from(1_000_000),
    };
    let deployed = log(0, event.encode_log_data());
    let other_spelling = changed(deployed.clone(), |log| log.topics[0] = abi::TAKE_V4_BYTES32);
    for log in [deployed, other_spelling] {
        assert_eq!(outcome(&[log]), ["log 0: SELL 0.000000000001 TSLA for 1"]);
    }
}
