//! The paper broker from outside: the life of an order, its survival of restarts and kills, each fault, and the sums.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use counterfill::broker::paper::{
    BookOrder, Outage, PaperBroker, PaperError, PaperOptions, PaperSessions, PlaceFault, Span, TAG, read_book,
};
use counterfill::broker::{Broker, BrokerOrder, OrderStatus, Placed, Session, Ticket};
use counterfill::units::{Cash, IntentId, Millis, OrderId, Price, Shares, Side, Symbol};
use proptest::prelude::*;
use tempfile::TempDir;

/// Monday 2026-11-23, 17:00:00 UTC: noon in New York.
const NOON: Millis = Millis(1_795_453_200_000);

fn at(text: &str) -> Millis {
    Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

struct Desk {
    dir: TempDir,
    options: PaperOptions,
}

impl Desk {
    fn new(options: PaperOptions) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), options }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("paper.db")
    }

    fn open(&self) -> PaperBroker {
        PaperBroker::open(&self.path(), self.options.clone(), NOON).unwrap()
    }

    /// The book as a kill at this moment would leave it: the files as they lie on the disk, nobody closing them.
    fn after_a_kill(&self) -> Desk {
        let copy = Desk::new(self.options.clone());
        for name in ["paper.db", "paper.db-wal"] {
            let from = self.dir.path().join(name);
            if from.exists() {
                std::fs::copy(from, copy.dir.path().join(name)).unwrap();
            }
        }
        copy
    }
}

fn desk() -> Desk {
    Desk::new(PaperOptions { seed: 7, ..PaperOptions::default() })
}

fn nyse() -> Desk {
    Desk::new(PaperOptions { seed: 7, sessions: PaperSessions::Nyse, ..PaperOptions::default() })
}

fn intent(n: u32) -> IntentId {
    format!("cf-test-{n}").parse().unwrap()
}

fn ticket(n: u32, side: Side, quantity: i64) -> Ticket {
    Ticket {
        intent: intent(n),
        symbol: "TSLA".parse().unwrap(),
        side,
        quantity: Shares::whole(quantity),
        reference: Some("150.25".parse().unwrap()),
        short: false,
    }
}

fn accepted(placed: Placed) -> OrderId {
    match placed {
        Placed::Accepted(id) => id,
        other => panic!("not accepted: {other:?}"),
    }
}

fn read(broker: &PaperBroker, id: &OrderId, now: Millis) -> BrokerOrder {
    broker.order(id, now).unwrap().expect("the order shows")
}

#[test]
fn an_order_is_acknowledged_fills_in_pieces_and_is_done_within_a_second() {
    let desk = desk();
    let broker = desk.open();
    let mut pieces_seen = [0; 5];
    for n in 0..40 {
        let entered = NOON.plus(i64::from(n) * 10_000);
        let id = accepted(broker.place(&ticket(n, Side::Buy, 9), entered));
        assert_eq!(id.as_str().len(), 13);
        let (mut words, mut filled) = (Vec::<String>::new(), Shares::ZERO);
        for ms in 0..=1_000 {
            let order = read(&broker, &id, entered.plus(ms));
            assert!(order.filled >= filled, "a fill went away");
            assert_eq!(order.executed, order.filled);
            assert_eq!(order.status.is_terminal(), order.filled == order.quantity);
            filled = order.filled;
            if words.last() != Some(&order.status_text) {
                words.push(order.status_text);
            }
        }
        assert_eq!(words, ["PENDING_ACKNOWLEDGEMENT", "WORKING", "FILLED"]);
        let order = read(&broker, &id, entered.plus(1_000));
        let expected = BrokerOrder {
            id: id.clone(),
            client_id: Some(intent(n).to_string()),
            tag: Some(TAG.into()),
            symbol: "TSLA".parse().unwrap(),
            side: Side::Buy,
            quantity: Shares::whole(9),
            filled: Shares::whole(9),
            executed: Shares::whole(9),
            average_price: order.average_price,
            status: OrderStatus::Filled,
            status_text: "FILLED".into(),
            entered_at: entered,
            ordinary: true,
        };
        assert_eq!(order, expected);
        assert_eq!(broker.find(&intent(n), entered.plus(1_000)).unwrap(), Some(order));

        let booked = broker.book(entered.plus(1_000)).unwrap().pop().unwrap();
        pieces_seen[booked.executions.len()] += 1;
        // The walk starts at the reference and buys at the ask, in whole cents.
        assert_eq!(booked.executions[0].price.to_string(), "150.26");
        assert!(booked.executions.iter().all(|leg| leg.price.atoms() % 10_i128.pow(16) == 0));
        assert!(booked.executions.is_sorted_by_key(|leg| leg.at));
    }
    assert_eq!(pieces_seen[0], 0);
    assert!(pieces_seen[1..].iter().all(|times| *times > 0), "one to four pieces: {pieces_seen:?}");
}

#[test]
fn numbers_ascend_from_the_first_and_never_meet() {
    let desk = desk();
    let mut numbers = Vec::new();
    for n in 0..60 {
        // A new process for each order: the sequence is in the book, not in memory.
        numbers.push(
            accepted(desk.open().place(&ticket(n, Side::Buy, 1), NOON)).as_str().parse::<i64>().unwrap(),
        );
    }
    assert_eq!(numbers[0], 1_004_055_538_153);
    assert!(numbers.windows(2).all(|pair| (1..=7).contains(&(pair[1] - pair[0]))), "{numbers:?}");
    assert!(numbers.windows(2).any(|pair| pair[1] - pair[0] > 1));
}

#[test]
fn prices_walk_from_the_reference_or_the_last_price_or_a_hundred() {
    let desk = desk();
    let broker = desk.open();
    let unpriced = |n, symbol: &str, side| Ticket {
        symbol: symbol.parse().unwrap(),
        reference: None,
        ..ticket(n, side, 1)
    };
    broker.place(&unpriced(1, "AAPL", Side::Sell), NOON);
    broker.place(&ticket(2, Side::Sell, 1), NOON);
    broker.place(&unpriced(3, "TSLA", Side::Sell), NOON);
    let cheap = Ticket {
        symbol: "PENY".parse().unwrap(),
        reference: Some("0.12344".parse().unwrap()),
        ..ticket(4, Side::Buy, 1)
    };
    broker.place(&cheap, NOON);
    let prices: Vec<_> = broker
        .book(NOON.plus(1_000))
        .unwrap()
        .iter()
        .map(|order| order.executions[0].price.to_string())
        .collect();
    assert_eq!((prices[0].as_str(), prices[1].as_str(), prices[3].as_str()), ("99.99", "150.24", "0.1235"));
    let walked = prices[2].parse::<Price>().unwrap().atoms() - "150.24".parse::<Price>().unwrap().atoms();
    let bound: Price = "0.08".parse().unwrap();
    assert!(walked.abs() <= bound.atoms(), "five hundredths of a percent from 150.24, not {}", prices[2]);
}

#[test]
fn a_client_id_makes_one_order_for_ever() {
    let desk = desk();
    let broker = desk.open();
    accepted(broker.place(&ticket(1, Side::Buy, 2), NOON));
    assert_eq!(broker.place(&ticket(1, Side::Buy, 2), NOON), Placed::Duplicate);
    // Also with other content, also when that content would be refused, also a year later in another process.
    assert_eq!(broker.place(&ticket(1, Side::Sell, 5), NOON), Placed::Duplicate);
    assert_eq!(broker.place(&ticket(1, Side::Sell, -5), NOON), Placed::Duplicate);
    drop(broker);
    let broker = desk.open();
    assert_eq!(broker.place(&ticket(1, Side::Buy, 2), NOON.plus(31_536_000_000)), Placed::Duplicate);
    let book = broker.book(NOON).unwrap();
    assert_eq!((book.len(), book[0].place_calls), (1, 5));
    assert_eq!(broker.find(&intent(2), NOON).unwrap(), None);
    assert_eq!(broker.order(&"7".parse().unwrap(), NOON).unwrap(), None);
    assert_eq!(broker.order(&"not-a-number".parse().unwrap(), NOON).unwrap(), None);
    assert_eq!(broker.order(&"01004055538153".parse().unwrap(), NOON).unwrap(), None);
}

#[test]
fn nonsense_is_refused_and_leaves_no_order() {
    let desk = desk();
    let broker = desk.open();
    for (n, quantity) in (0..).zip(["0", "-1", "0.5", "1.5", "1000001", "100000000000000000000"]) {
        let ticket = Ticket { quantity: quantity.parse().unwrap(), ..ticket(n, Side::Buy, 1) };
        let placed = broker.place(&ticket, NOON);
        assert!(matches!(placed, Placed::Refused { gate_ms: None, .. }), "{quantity}: {placed:?}");
        assert_eq!(broker.place_calls(&ticket.intent).unwrap(), 1);
    }
    assert_eq!(broker.book(NOON).unwrap(), []);
    // A refused name is free: nothing was created under it.
    accepted(broker.place(&ticket(0, Side::Buy, 1), NOON));
}

#[test]
fn an_order_beyond_the_buying_power_is_received_and_then_rejected() {
    let desk = Desk::new(PaperOptions { buying_power: Cash::whole(1_000), ..desk().options });
    let broker = desk.open();
    for (n, side) in [(1, Side::Buy), (2, Side::Sell)] {
        let id = accepted(broker.place(&ticket(n, side, 7), NOON));
        assert_eq!(read(&broker, &id, NOON).status, OrderStatus::Live);
        let order = read(&broker, &id, NOON.plus(150));
        assert_eq!(order.status, OrderStatus::Rejected);
        assert_eq!(
            order.status_text,
            "REJECTED: You do not have enough available cash/buying power for this order."
        );
        assert_eq!((order.filled, order.average_price), (Shares::ZERO, None));
    }
    // 6 × $150.26 is affordable; an absurd reference price is not, and overflows nothing.
    let id = accepted(broker.place(&ticket(3, Side::Buy, 6), NOON));
    assert_eq!(read(&broker, &id, NOON.plus(1_000)).status, OrderStatus::Filled);
    let absurd =
        Ticket { reference: Some("99999999999999999999".parse().unwrap()), ..ticket(4, Side::Buy, 1) };
    let id = accepted(broker.place(&absurd, NOON));
    assert_eq!(read(&broker, &id, NOON.plus(1_000)).status, OrderStatus::Rejected);
}

/// Places the same five orders and reads at the given times; `between` runs before each read.
fn play(
    desk: &Desk,
    reads: impl Iterator<Item = i64>,
    mut between: impl FnMut(PaperBroker) -> PaperBroker,
) -> Vec<BookOrder> {
    let mut broker = desk.open();
    for n in 0..5 {
        let side = if n % 2 == 0 { Side::Buy } else { Side::Sell };
        if n == 3 {
            broker.faults().partial_then_cancel();
        }
        accepted(broker.place(&ticket(n, side, 11), NOON.plus(i64::from(n) * 37)));
        broker = between(broker);
    }
    for ms in reads {
        broker = between(broker);
        broker.list(NOON, NOON.plus(ms)).unwrap();
    }
    broker.book(NOON.plus(2_000)).unwrap()
}

#[test]
fn a_life_interrupted_at_every_step_is_the_life_uninterrupted() {
    let calm = play(&desk(), std::iter::empty(), |broker| broker);
    assert_eq!(calm.len(), 5);
    assert!(calm.iter().all(|order| order.order.status.is_terminal() && !order.executions.is_empty()));

    // Reads at every ten milliseconds; closed and opened again between any two.
    let reopened = desk();
    let book = play(&reopened, (0..1_200).step_by(10), |broker| {
        drop(broker);
        reopened.open()
    });
    assert_eq!(book, calm);

    // Killed between any two: each goes on from a copy of the files as they lay on the disk. The old book stays open
    // till the end of the test, as a killed one is never closed.
    let mut killed = Vec::<Desk>::new();
    let mut never_closed = Vec::new();
    let first = desk();
    let book = play(&first, (0..1_200).step_by(60), |broker| {
        let next = killed.last().unwrap_or(&first).after_a_kill();
        let broker_next = next.open();
        killed.push(next);
        never_closed.push(broker);
        broker_next
    });
    assert_eq!(book, calm);
    assert_eq!(killed.len(), 25);
}

#[test]
fn what_happened_stays_when_the_clock_goes_back_or_the_options_change() {
    let mut desk = desk();
    let broker = desk.open();
    let id = accepted(broker.place(&ticket(1, Side::Buy, 5), NOON));
    let half =
        (0..1_000).map(|ms| NOON.plus(ms)).find(|now| read(&broker, &id, *now).filled.is_positive()).unwrap();
    let before = broker.book(half).unwrap();
    assert_eq!(broker.book(NOON.plus(-3_600_000)).unwrap(), before);
    let expected = {
        let copy = desk.after_a_kill();
        copy.open().book(NOON.plus(1_000)).unwrap()
    };
    drop(broker);
    desk.options.seed = 99;
    desk.options.buying_power = Cash::ZERO;
    desk.options.fill = Span { least_ms: 5_000, most_ms: 5_000 };
    assert_eq!(desk.open().book(NOON.plus(1_000)).unwrap(), expected);
}

#[test]
fn the_same_seed_and_times_make_the_same_book() {
    let book = |seed| {
        let desk = Desk::new(PaperOptions { seed, ..PaperOptions::default() });
        play(&desk, (0..900).step_by(300), |broker| broker)
    };
    assert_eq!(book(1), book(1));
    assert_ne!(book(1), book(2));
}

#[test]
fn a_session_holds_its_orders_until_the_opening_and_ends_them_at_the_close() {
    let desk = nyse();
    let broker = desk.open();
    // The evening before Thanksgiving: the next session is Friday's half day.
    let id = accepted(broker.place(&ticket(1, Side::Buy, 3), at("2026-11-25T21:00:00Z")));
    let opens = at("2026-11-27T14:30:00Z");
    assert_eq!(read(&broker, &id, at("2026-11-26T15:00:00Z")).status_text, "PENDING_ACTIVATION");
    assert_eq!(read(&broker, &id, opens.plus(-1)).status_text, "PENDING_ACTIVATION");
    assert_eq!(read(&broker, &id, opens).status_text, "PENDING_ACKNOWLEDGEMENT");
    assert_eq!(read(&broker, &id, opens.plus(1_000)).status, OrderStatus::Filled);

    // Entered 120 to 700 ms before the end of the half day: what is not filled by then expires at 13:00:00.000 sharp.
    let closes = at("2026-11-27T18:00:00Z");
    let mut ends = BTreeMap::<&str, u32>::new();
    for n in 2..60 {
        let id = accepted(broker.place(&ticket(n, Side::Sell, 4), closes.plus(-100 - i64::from(n) * 10)));
        let last = read(&broker, &id, closes.plus(-1));
        let order = read(&broker, &id, closes);
        let end = match order.status {
            OrderStatus::Filled => "filled",
            OrderStatus::Expired if order.filled.is_zero() => "expired unfilled",
            OrderStatus::Expired => "expired in part",
            other => panic!("{other:?}"),
        };
        *ends.entry(end).or_default() += 1;
        assert_eq!(
            (order.filled, order.executed),
            (last.filled, last.executed),
            "nothing trades at the close"
        );
        assert_eq!(last.status == OrderStatus::Live, order.status == OrderStatus::Expired);
    }
    assert_eq!(ends.len(), 3, "{ends:?}");

    assert_eq!(broker.session(closes.plus(-1)).unwrap(), Session::Open { until: Some(closes) });
    assert!(matches!(broker.session(closes).unwrap(), Session::Closed { .. }));
    assert_eq!(desk_always_session(), Session::Open { until: None });
    // The calendar has ended: a clear no that is not the ticker's fault.
    for late in ["2028-12-29T21:00:00Z", "2031-01-06T17:00:00Z"] {
        let placed = broker.place(&ticket(100, Side::Buy, 1), at(late));
        assert!(matches!(placed, Placed::Refused { gate_ms: Some(_), .. }), "{placed:?}");
    }
}

fn desk_always_session() -> Session {
    desk().open().session(at("2026-11-26T15:00:00Z")).unwrap()
}

#[test]
fn an_outage_answers_nobody_and_creates_nothing() {
    let desk = desk();
    let broker = desk.open();
    let id = accepted(broker.place(&ticket(1, Side::Buy, 1), NOON));
    for outage in [Outage::NotSent, Outage::Unknown] {
        broker.faults().outage(Some(outage));
        let placed = broker.place(&ticket(2, Side::Buy, 1), NOON);
        match outage {
            Outage::NotSent => assert!(matches!(placed, Placed::NotSent(_)), "{placed:?}"),
            Outage::Unknown => assert!(matches!(placed, Placed::Unknown(_)), "{placed:?}"),
        }
        assert!(broker.order(&id, NOON).is_err());
        assert!(broker.find(&intent(1), NOON).is_err());
        assert!(broker.list(NOON, NOON).is_err());
        assert!(broker.positions(NOON).is_err());
        assert!(broker.session(NOON).is_err());
    }
    broker.faults().outage(None);
    assert_eq!(broker.find(&intent(2), NOON).unwrap(), None);
    assert_eq!(broker.place_calls(&intent(2)).unwrap(), 2);
    assert_eq!(read(&broker, &id, NOON.plus(1_000)).status, OrderStatus::Filled);
}

#[test]
fn place_faults_meet_one_call_each_in_their_order() {
    let desk = desk();
    let broker = desk.open();
    for fault in [
        PlaceFault::AcceptThenLose,
        PlaceFault::LoseBefore,
        PlaceFault::Refuse("no such thing".into()),
        PlaceFault::RateLimit(7_000),
    ] {
        broker.faults().next_place(fault);
    }
    let answers: Vec<_> = (1..=5).map(|n| broker.place(&ticket(n, Side::Buy, 1), NOON)).collect();
    assert!(matches!(answers[0], Placed::Unknown(_)));
    assert_eq!(answers[0], answers[1], "a caller can not tell a lost answer from a lost call");
    assert_eq!(answers[2], Placed::Refused { reason: "no such thing".into(), gate_ms: None });
    assert_eq!(answers[3], Placed::Refused { reason: "Rate Limit Exceeded".into(), gate_ms: Some(7_000) });
    let created: Vec<_> =
        broker.book(NOON).unwrap().into_iter().map(|order| order.order.client_id.unwrap()).collect();
    assert_eq!(created, ["cf-test-1", "cf-test-5"]);
    // The lost ones are resolved by name: one is found, the other may go out again under the same name.
    assert!(broker.find(&intent(1), NOON).unwrap().is_some());
    assert_eq!(broker.place(&ticket(1, Side::Buy, 1), NOON), Placed::Duplicate);
    assert_eq!(broker.find(&intent(2), NOON).unwrap(), None);
    accepted(broker.place(&ticket(2, Side::Buy, 1), NOON));
    // A refusal by the book never hides an order that is there.
    broker.faults().next_place(PlaceFault::Refuse("no".into()));
    assert_eq!(broker.place(&ticket(2, Side::Buy, 1), NOON), Placed::Duplicate);
}

#[test]
fn an_invisible_order_shows_after_its_reads_and_is_counted_all_along() {
    let desk = desk();
    let broker = desk.open();
    broker.faults().next_place(PlaceFault::AcceptThenLose);
    broker.faults().invisible(3);
    assert!(matches!(broker.place(&ticket(1, Side::Buy, 2), NOON), Placed::Unknown(_)));
    let visible = accepted(broker.place(&ticket(2, Side::Buy, 1), NOON));
    let later = NOON.plus(1_000);
    assert_eq!(broker.find(&intent(1), later).unwrap(), None);
    assert_eq!(broker.place(&ticket(1, Side::Buy, 2), later), Placed::Duplicate);
    let listed: Vec<_> = broker.list(NOON, later).unwrap().into_iter().map(|order| order.id).collect();
    assert_eq!(listed, [visible]);
    drop(broker);
    // What the fault did to the order is in the book.
    let broker = desk.open();
    assert_eq!(broker.positions(later).unwrap(), [("TSLA".parse().unwrap(), Shares::whole(3))]);
    assert_eq!(broker.find(&intent(1), later).unwrap(), None);
    assert_eq!(broker.find(&intent(1), later).unwrap().unwrap().filled, Shares::whole(2));
}

#[test]
fn a_partial_then_canceled_order_keeps_what_it_filled() {
    let desk = desk();
    let broker = desk.open();
    for (n, quantity) in (0..).zip([2, 3, 50, 1]) {
        broker.faults().partial_then_cancel();
        let id = accepted(broker.place(&ticket(n, Side::Buy, quantity), NOON));
        let order = read(&broker, &id, NOON.plus(1_000));
        assert_eq!(order.status, OrderStatus::Canceled);
        assert!(order.filled < order.quantity && order.filled == order.executed);
        assert_eq!(order.filled.is_positive(), quantity > 1);
    }
    let id = accepted(broker.place(&ticket(9, Side::Buy, 2), NOON));
    assert_eq!(
        read(&broker, &id, NOON.plus(1_000)).status,
        OrderStatus::Filled,
        "the fault was for one order"
    );
}

#[test]
fn the_next_order_is_rejected_with_the_reason_asked_for() {
    let desk = desk();
    let broker = desk.open();
    broker.faults().reject_next("Position_Sys_0001");
    let id = accepted(broker.place(&ticket(1, Side::Buy, 2), NOON));
    let order = read(&broker, &id, NOON.plus(1_000));
    assert_eq!(
        (order.status, order.status_text.as_str()),
        (OrderStatus::Rejected, "REJECTED: Position_Sys_0001")
    );
    let id = accepted(broker.place(&ticket(2, Side::Buy, 2), NOON));
    assert_eq!(read(&broker, &id, NOON.plus(1_000)).status, OrderStatus::Filled);
}

#[test]
fn legs_can_lag_behind_the_cumulative_figure() {
    let desk = desk();
    let broker = desk.open();
    broker.faults().late_legs(2);
    let id = accepted(broker.place(&ticket(1, Side::Buy, 5), NOON));
    let later = NOON.plus(1_000);
    for _ in 0..2 {
        let order = read(&broker, &id, later);
        assert_eq!((order.status, order.filled), (OrderStatus::Filled, Shares::whole(5)));
        assert!(order.executed < order.filled);
    }
    assert_eq!(read(&broker, &id, later).executed, Shares::whole(5));
}

#[test]
fn orders_typed_by_hand_look_like_ours_but_for_tag_and_name() {
    let desk = desk();
    let broker = desk.open();
    let tsla: Symbol = "TSLA".parse().unwrap();
    let ours = accepted(broker.place(&ticket(1, Side::Buy, 2), NOON));
    broker.faults().reject_next("meant for ours");
    let by_hand = broker.manual_order(&tsla, Side::Buy, Shares::whole(2), None, NOON.plus(1)).unwrap();
    let twin = broker.manual_order(&tsla, Side::Buy, Shares::whole(2), Some(TAG), NOON.plus(2)).unwrap();
    let (by_hand, twin) = (accepted(by_hand), accepted(twin));
    assert!(matches!(
        broker.manual_order(&tsla, Side::Buy, Shares::ZERO, None, NOON).unwrap(),
        Placed::Refused { .. }
    ));
    let later = NOON.plus(1_002);
    let listed: BTreeMap<_, _> =
        broker.list(NOON, later).unwrap().into_iter().map(|order| (order.id.clone(), order)).collect();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[&ours].tag.as_deref(), Some(TAG));
    assert_eq!((listed[&by_hand].tag.as_deref(), &listed[&by_hand].client_id), (None, &None));
    assert_eq!((listed[&twin].tag.as_deref(), &listed[&twin].client_id), (Some(TAG), &None));
    assert!(listed.values().all(|order| order.status == OrderStatus::Filled));
    assert_eq!(broker.list(NOON.plus(2), later).unwrap().len(), 1, "since is inclusive");
    assert_eq!(broker.positions(later).unwrap(), [(tsla, Shares::whole(6))]);
    let rejected = accepted(broker.place(&ticket(2, Side::Buy, 2), NOON));
    assert_eq!(read(&broker, &rejected, later).status, OrderStatus::Rejected, "a fault waits for our order");
}

#[test]
fn a_person_cancels_and_the_exchange_busts() {
    let desk = desk();
    let broker = desk.open();
    let id = accepted(broker.place(&ticket(1, Side::Buy, 5), NOON));
    assert!(broker.cancel_by_hand(&id, NOON.plus(10)).unwrap());
    assert!(!broker.cancel_by_hand(&id, NOON.plus(11)).unwrap());
    assert_eq!(read(&broker, &id, NOON.plus(1_000)).status, OrderStatus::Canceled);
    assert!(!broker.bust(&id, NOON.plus(1_000)).unwrap());

    let id = accepted(broker.place(&ticket(2, Side::Sell, 5), NOON));
    let later = NOON.plus(1_000);
    let whole = read(&broker, &id, later);
    let last = broker.book(later).unwrap().pop().unwrap().executions.pop().unwrap();
    assert!(broker.bust(&id, later).unwrap());
    let order = read(&broker, &id, later);
    assert_eq!(order.filled, whole.filled.checked_sub(last.quantity).unwrap());
    assert_eq!(order.executed, order.filled);
    let positions: BTreeMap<_, _> = broker.positions(later).unwrap().into_iter().collect();
    assert_eq!(positions.get(&order.symbol).copied().unwrap_or_default(), order.filled.negated());
    let booked = broker.book(later).unwrap().pop().unwrap();
    assert!(booked.executions.last().unwrap().busted, "the book remembers it");
}

#[test]
fn a_new_book_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let desk = desk();
    let broker = desk.open();
    accepted(broker.place(&ticket(1, Side::Buy, 1), NOON));
    for name in ["paper.db", "paper.db-wal", "paper.db-shm"] {
        let mode = std::fs::metadata(desk.dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
    }
}

#[test]
fn a_book_is_refused_to_strangers() {
    let desk = desk();
    drop(desk.open());
    let open =
        |path: &Path, options: &PaperOptions| PaperBroker::open(path, options.clone(), NOON).map(|_| ());
    let other = PaperOptions { account: "PAPER-0002".into(), ..desk.options.clone() };
    let error = open(&desk.path(), &other).unwrap_err();
    assert!(matches!(&error, PaperError::OtherAccount { found, .. } if found == "PAPER-0001"), "{error}");

    let text = desk.dir.path().join("text.db");
    std::fs::write(&text, "not a database, but long enough to be read as a header of one; ".repeat(20))
        .unwrap();
    assert!(matches!(open(&text, &desk.options), Err(PaperError::Foreign { .. })));
    assert!(matches!(read_book(&text), Err(PaperError::Foreign { .. })));

    let ledger = desk.dir.path().join("ledger.db");
    rusqlite::Connection::open(&ledger).unwrap().execute_batch("CREATE TABLE fills (n INTEGER)").unwrap();
    assert!(matches!(open(&ledger, &desk.options), Err(PaperError::Foreign { .. })));

    let missing = desk.dir.path().join("no/such/folder/paper.db");
    assert!(matches!(open(&missing, &desk.options), Err(PaperError::Open { .. })));
    let absent = desk.dir.path().join("absent.db");
    assert!(matches!(read_book(&absent), Err(PaperError::Open { .. })));
    assert!(!absent.exists(), "looking creates nothing");

    rusqlite::Connection::open(desk.path()).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(open(&desk.path(), &desk.options), Err(PaperError::Version { found: 2, known: 1, .. })));

    for options in [
        PaperOptions { account: String::new(), ..desk.options.clone() },
        PaperOptions { fill: Span { least_ms: 2, most_ms: 1 }, ..desk.options.clone() },
        PaperOptions { acknowledge: Span { least_ms: -1, most_ms: 1 }, ..desk.options.clone() },
    ] {
        assert!(matches!(open(&absent, &options), Err(PaperError::Options(_))), "{options:?}");
    }
}

#[test]
fn an_execution_can_not_be_changed_or_deleted_even_by_sql() {
    let desk = desk();
    let broker = desk.open();
    accepted(broker.place(&ticket(1, Side::Buy, 5), NOON));
    broker.book(NOON.plus(1_000)).unwrap();
    drop(broker);
    let conn = rusqlite::Connection::open(desk.path()).unwrap();
    assert_eq!(conn.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)).unwrap(), "wal");
    for sql in
        ["UPDATE executions SET quantity = 1", "UPDATE executions SET price_e4 = 1", "DELETE FROM executions"]
    {
        assert!(conn.execute(sql, []).is_err(), "{sql}");
    }
    assert_eq!(conn.execute("UPDATE executions SET busted = 1 WHERE n = 0", []).unwrap(), 1);
}

#[test]
fn the_book_is_read_from_outside_beside_the_running_broker() {
    let desk = desk();
    let broker = desk.open();
    let id = accepted(broker.place(&ticket(1, Side::Buy, 5), NOON));
    broker.faults().outage(Some(Outage::Unknown));
    // Only what has happened: nobody has read the broker since the order came in.
    let outside = read_book(&desk.path()).unwrap();
    assert_eq!((outside.len(), &outside[0].order.id, outside[0].executions.len()), (1, &id, 0));
    let inside = broker.book(NOON.plus(1_000)).unwrap();
    assert_eq!(read_book(&desk.path()).unwrap(), inside);
    assert_eq!(inside[0].order.filled, Shares::whole(5));
}

/// Not a test of its own: the process that the next test kills. It places orders and says so once they are accepted.
#[test]
fn a_process_that_places_orders_until_it_is_killed() {
    let Some(path) = std::env::var_os("COUNTERFILL_TEST_PAPER_BOOK") else { return };
    let nonce = std::env::var("COUNTERFILL_TEST_NONCE").unwrap();
    let broker = PaperBroker::open(Path::new(&path), PaperOptions::default(), NOON).unwrap();
    for n in 0..100_000_u32 {
        let ticket = Ticket { intent: format!("cf-{nonce}-{n}").parse().unwrap(), ..ticket(n, Side::Buy, 3) };
        let now = NOON.plus(i64::from(n) * 40);
        let id = accepted(broker.place(&ticket, now));
        let booked: i128 = broker.positions(now).unwrap().iter().map(|(_, shares)| shares.atoms()).sum();
        println!("\nplaced {} {id} {booked}", ticket.intent);
    }
}

#[test]
fn an_answer_given_before_a_kill_is_in_the_book_after_it() {
    let desk = Desk::new(PaperOptions::default());
    let mut told = BTreeMap::new();
    let mut position_told = 0;
    for nonce in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "paper_broker::a_process_that_places_orders_until_it_is_killed", "--nocapture"])
            .env("COUNTERFILL_TEST_PAPER_BOOK", desk.path())
            .env("COUNTERFILL_TEST_NONCE", nonce.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut killed = false;
        // Reads on after the kill: what was said before it counts.
        for line in lines.map(Result::unwrap) {
            let Some(said) = line.strip_prefix("placed ") else { continue };
            let words: Vec<_> = said.split(' ').map(str::to_owned).collect();
            // The kill may cut the last line short.
            if let [client_id, id, position] = &words[..]
                && id.len() == 13
            {
                told.insert(client_id.clone(), id.clone());
                position_told = position.parse::<i128>().unwrap_or(0).max(position_told);
            }
            if !killed && told.len() > 25 * (nonce + 1) {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed && !child.wait().unwrap().success());
    }
    let book = read_book(&desk.path()).unwrap();
    let held: BTreeMap<_, _> = book
        .iter()
        .map(|order| (order.order.client_id.clone().unwrap(), order.order.id.to_string()))
        .collect();
    assert_eq!(held.len(), book.len());
    for (client_id, id) in &told {
        assert_eq!(held.get(client_id), Some(id), "{client_id}");
    }
    // At most one order per process was on its way when it was killed.
    assert!(book.len() <= told.len() + 4, "{} told, {} in the book", told.len(), book.len());
    let executed: i128 =
        book.iter().flat_map(|order| &order.executions).map(|leg| leg.quantity.atoms()).sum();
    assert!(executed >= position_told && position_told > 0, "an execution that was told of is gone");
    // The orders that were alive go on.
    let done = desk.open().book(NOON.plus(1_000_000_000)).unwrap();
    assert!(done.iter().all(|order| order.order.status == OrderStatus::Filled));
}

#[derive(Debug, Clone)]
struct Act {
    symbol: &'static str,
    side: Side,
    quantity: i64,
    wait_ms: i64,
    kind: u8,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let symbol = prop_oneof![Just("TSLA"), Just("AAPL"), Just("NVDA")];
    let act = (symbol, side, 1..40_i64, 0..400_i64, 0..9_u8);
    let act =
        act.prop_map(|(symbol, side, quantity, wait_ms, kind)| Act { symbol, side, quantity, wait_ms, kind });
    prop::collection::vec(act, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn positions_are_the_sum_of_the_executions_that_stand(acts in acts(), seed: u64) {
        let desk = Desk::new(PaperOptions { seed, ..PaperOptions::default() });
        let broker = desk.open();
        let mut now = NOON;
        for (n, act) in (0..).zip(&acts) {
            now = now.plus(act.wait_ms);
            let ticket = Ticket { symbol: act.symbol.parse().unwrap(), ..ticket(n, act.side, act.quantity) };
            match act.kind {
                0 => broker.faults().partial_then_cancel(),
                1 => broker.faults().reject_next("no"),
                2 => broker.faults().next_place(PlaceFault::AcceptThenLose),
                3 => broker.faults().next_place(PlaceFault::LoseBefore),
                4 => broker.faults().invisible(2),
                _ => {}
            }
            let placed = broker.place(&ticket, now);
            if let (5, Placed::Accepted(id)) = (act.kind, &placed) {
                broker.bust(id, now.plus(300)).unwrap();
            }
            if let (6, Placed::Accepted(id)) = (act.kind, &placed) {
                broker.cancel_by_hand(id, now.plus(200)).unwrap();
            }

            let book = broker.book(now).unwrap();
            let mut sums = BTreeMap::<Symbol, Shares>::new();
            for order in &book {
                let standing = order.executions.iter().filter(|leg| !leg.busted);
                let executed = standing.fold(Shares::ZERO, |sum, leg| sum.checked_add(leg.quantity).unwrap());
                prop_assert_eq!(executed, order.order.executed);
                prop_assert!(executed <= order.order.quantity);
                let sum = sums.entry(order.order.symbol.clone()).or_default();
                *sum = sum.checked_add(order.order.side.signed(executed)).unwrap();
            }
            sums.retain(|_, sum| !sum.is_zero());
            let positions: BTreeMap<_, _> = broker.positions(now).unwrap().into_iter().collect();
            prop_assert_eq!(positions, sums);
        }
        let created = broker.book(now.plus(2_000)).unwrap();
        prop_assert!(created.iter().all(|order| order.order.status.is_terminal() && order.place_calls == 1));
        let lost = acts.iter().filter(|act| act.kind == 3).count();
        prop_assert_eq!(created.len(), acts.len() - lost);
    }
}

#[test]
fn two_instances_that_race_for_a_name_make_one_order() {
    let desk = desk();
    // Created beforehand, so that the race is for the orders.
    drop(desk.open());
    let answers: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| {
                let broker = desk.open();
                scope.spawn(move || {
                    (0..20).map(|n| broker.place(&ticket(n, Side::Buy, 1), NOON)).collect::<Vec<_>>()
                })
            })
            .collect();
        racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
    });
    let accepted = answers.iter().filter(|placed| matches!(placed, Placed::Accepted(_))).count();
    let duplicates = answers.iter().filter(|placed| **placed == Placed::Duplicate).count();
    assert_eq!((accepted, duplicates), (20, 60));
    let book = read_book(&desk.path()).unwrap();
    assert_eq!(book.len(), 20);
    assert!(book.iter().all(|order| order.place_calls == 4));
}
