//! What the account holds and what the market says: bounds and checks of an order, never a second writer
//! (`protocol.md` 3.9, 3.10, 4, 5.2, 5.3).

mod unhedged;
use crate::world;

use counterfill::broker::{OrderStatus, Quote, Ticket};
use counterfill::engine::{Choice, Command, Effect, Input};
use counterfill::hedges::HaltKind;
use counterfill::units::{ONE, Shares, Side};
use world::{Deal, Mood, Terms, World, symbol, verdict};

fn ready(terms: Terms) -> World {
    let mut world = World::on(terms, 0, None);
    pass(&mut world, 3_000);
    assert!(world.engine.facts().deciding, "{:?}", world.engine.facts().waiting);
    world
}

fn deal(world: &mut World, side: Side, whole: i64) {
    let tx = 1_000 + u64::try_from(world.chain.ever.len()).unwrap();
    world.chain.mine(vec![Deal { ticker: 0, side, atoms: i128::from(whole) * ONE, tx }]);
    world.sweep(64);
}

/// Lets `ms` pass in steps of half a second, with every question answered and every order traded.
fn pass(world: &mut World, ms: i64) {
    let end = world.now.plus(ms);
    while world.now < end {
        while world.sweep(64) {}
        world.input(Input::Tick);
        world.perform(None);
        world.desk.trade(world.now);
        world.now = world.now.plus(400);
    }
}

/// What left so far: side, quantity, whether it was accepted.
fn orders(world: &World) -> Vec<(Side, Shares, bool)> {
    let accepted = |status| status != OrderStatus::Rejected;
    world.desk.orders.iter().map(|o| (o.side, o.quantity, accepted(o.status))).collect()
}

fn halts(world: &World) -> Vec<HaltKind> {
    world.engine.facts().halts.into_iter().map(|halt| halt.kind).collect()
}

fn waiting(world: &World) -> String {
    world.engine.facts().tickers[0].waiting.clone().unwrap_or_default()
}

fn resume(
    world: &mut World,
    ticker: Option<usize>,
    kind: HaltKind,
    choice: Option<Choice>,
) -> Result<String, String> {
    let (reason, who) = ("looked".to_owned(), "ann".to_owned());
    let symbol = ticker.map(symbol);
    world.input(Input::Command(Command::Resume { symbol, kind, choice, reason, who }, 9));
    let reply = world.effects.iter().find_map(|effect| match effect {
        Effect::Reply(9, answer) => Some(answer.clone()),
        _ => None,
    });
    world.effects.retain(|effect| !matches!(effect, Effect::Reply(..)));
    reply.unwrap()
}

#[test]
fn a_sell_beyond_the_holding_is_cut_and_the_rest_waits() {
    let mut world = World::on(Terms { allow_short: false, ..Terms::by_list() }, 0, None);
    world.desk.birth.insert(symbol(0), Shares::whole(3));
    pass(&mut world, 3_000);
    deal(&mut world, Side::Buy, 5);
    pass(&mut world, 40_000);
    assert_eq!(orders(&world), [(Side::Sell, Shares::whole(3), true)]);
    assert!(waiting(&world).contains("ALLOW_SHORT"), "{}", waiting(&world));
    assert_eq!(halts(&world), [], "waiting is no failure");
    // The other side of it comes in: nothing is wanted of what waited.
    deal(&mut world, Side::Sell, 2);
    pass(&mut world, 40_000);
    verdict(&world);
}

#[test]
fn crossing_zero_takes_two_orders_in_sequence_either_way() {
    let mut world = World::on(Terms::by_list(), 0, None);
    world.desk.birth.insert(symbol(0), Shares::whole(3));
    pass(&mut world, 3_000);
    deal(&mut world, Side::Buy, 5);
    pass(&mut world, 60_000);
    assert_eq!(
        orders(&world),
        [(Side::Sell, Shares::whole(3), true), (Side::Sell, Shares::whole(2), true)],
        "out of the long position, then into the short one"
    );
    deal(&mut world, Side::Sell, 6);
    pass(&mut world, 60_000);
    assert_eq!(
        orders(&world)[2..],
        [(Side::Buy, Shares::whole(2), true), (Side::Buy, Shares::whole(4), true)],
        "the short position is covered, then the rest bought"
    );
    assert_eq!(halts(&world), []);
    verdict(&world);
}

#[test]
fn nothing_is_sold_on_a_holding_that_is_not_known_or_too_old() {
    let mut world = ready(Terms { allow_short: false, ..Terms::by_list() });
    world.desk.birth.insert(symbol(0), Shares::whole(9));
    let drop_positions = |world: &mut World| {
        let question = |e: &Effect| matches!(e, Effect::Ask(counterfill::engine::Question::Positions));
        world.effects.retain(|effect| !question(effect));
    };
    // The last reading grows old while the broker answers everything else.
    world.input(Input::Tick);
    drop_positions(&mut world);
    for _ in 0..90 {
        world.now = world.now.plus(400);
        world.input(Input::Tick);
        drop_positions(&mut world);
        world.perform(None);
    }
    deal(&mut world, Side::Buy, 2);
    world.input(Input::Tick);
    drop_positions(&mut world);
    world.perform(None);
    assert_eq!(orders(&world), []);
    assert!(waiting(&world).contains("30 s"), "{}", waiting(&world));
}

#[test]
fn a_position_that_our_orders_do_not_explain_halts_its_ticker_until_it_is_accepted() {
    let mut world = ready(Terms::by_list());
    world.desk.birth.insert(symbol(0), Shares::whole(100));
    deal(&mut world, Side::Sell, 2);
    pass(&mut world, 200_000);
    assert_eq!(halts(&world), [], "what the account held at birth is not ours and no drift");
    // Somebody sells seven of them by hand; one reading is not enough.
    world.desk.birth.insert(symbol(0), Shares::whole(93));
    pass(&mut world, 40_000);
    assert_eq!(halts(&world), []);
    pass(&mut world, 60_000);
    assert_eq!(halts(&world), [HaltKind::Drift]);
    deal(&mut world, Side::Sell, 1);
    pass(&mut world, 20_000);
    assert_eq!(orders(&world).len(), 1, "halted");
    let refused = resume(&mut world, Some(0), HaltKind::Drift, None).unwrap_err();
    assert!(refused.contains("bot resume TSLA --accept-position"), "{refused}");
    world.restart();
    assert!(
        resume(&mut world, Some(0), HaltKind::Drift, Some(Choice::AcceptPosition)).is_err(),
        "not read yet"
    );
    pass(&mut world, 20_000);
    resume(&mut world, Some(0), HaltKind::Drift, Some(Choice::AcceptPosition)).unwrap();
    pass(&mut world, 200_000);
    assert_eq!(halts(&world), [], "accepted once and for all");
    verdict(&world);
}

#[test]
fn a_reading_while_an_order_is_live_is_no_drift() {
    let mut world = ready(Terms::by_list());
    deal(&mut world, Side::Sell, 1);
    pass(&mut world, 40_000);
    deal(&mut world, Side::Sell, 2);
    // It trades, and for two minutes its own figures do not say so.
    world.perform(None);
    let order = world.desk.orders[1].clone();
    world.desk.birth.insert(symbol(0), Shares::whole(2));
    for _ in 0..200 {
        world.now = world.now.plus(600);
        world.input(Input::Tick);
        world.perform(None);
    }
    assert_eq!((halts(&world), world.desk.orders[1].clone()), (vec![], order));
}

#[test]
fn a_first_backfill_on_real_money_waits_for_a_person_and_a_later_one_does_not() {
    let terms = Terms { live: true, ..Terms::by_list() };
    let mut world = World::on(terms, 0, None);
    deal(&mut world, Side::Sell, 3);
    pass(&mut world, 20_000);
    assert_eq!((orders(&world), halts(&world)), (vec![], vec![HaltKind::Backfill]));
    let why = world.engine.facts().halts[0].reason.clone();
    assert!(why.contains("TSLA BUY 3") && why.contains("--accept-backfill"), "{why}");
    world.restart();
    pass(&mut world, 20_000);
    assert_eq!((orders(&world), halts(&world)), (vec![], vec![HaltKind::Backfill]), "once, and it lasts");
    assert!(resume(&mut world, None, HaltKind::Backfill, None).is_err());
    resume(&mut world, None, HaltKind::Backfill, Some(Choice::AcceptBackfill)).unwrap();
    pass(&mut world, 20_000);
    assert_eq!(orders(&world).len(), 1);
    // A bot that was away for a while begins as it always does.
    world.restart();
    deal(&mut world, Side::Sell, 2);
    pass(&mut world, 20_000);
    assert_eq!((orders(&world).len(), halts(&world)), (2, vec![]));
    verdict(&world);
    // A ledger that begins with less than a lot has begun.
    let mut world = World::on(terms, 0, None);
    pass(&mut world, 3_000);
    deal(&mut world, Side::Sell, 2);
    pass(&mut world, 20_000);
    assert_eq!((orders(&world).len(), halts(&world)), (1, vec![]));
}

#[test]
fn a_market_far_from_the_fills_holds_orders_and_then_halts() {
    let mut world = ready(Terms { quotes: true, ..Terms::by_list() });
    // Two shares for 100 dollars.
    deal(&mut world, Side::Sell, 2);
    pass(&mut world, 2_000);
    assert_eq!(orders(&world), []);
    assert!(waiting(&world).contains("no quote"), "{}", waiting(&world));
    world.desk.quotes.insert(symbol(0), "52.51".parse().unwrap());
    pass(&mut world, 60_000);
    assert_eq!((orders(&world), halts(&world)), (vec![], vec![]));
    assert!(waiting(&world).contains("MAX_PRICE_DEVIATION_BPS=500"), "{}", waiting(&world));
    pass(&mut world, 290_000);
    assert_eq!(halts(&world), [HaltKind::Price]);
    // The market comes near: a person lifts the halt, and nobody else does.
    world.desk.quotes.insert(symbol(0), "52.5".parse().unwrap());
    pass(&mut world, 20_000);
    assert_eq!(orders(&world), []);
    resume(&mut world, Some(0), HaltKind::Price, None).unwrap();
    pass(&mut world, 20_000);
    assert_eq!(orders(&world).len(), 1);
    // Without a fill of the last hour there is nothing to hold against the market.
    deal(&mut world, Side::Sell, 1);
    pass(&mut world, 20_000);
    world.desk.quotes.insert(symbol(0), "9000".parse().unwrap());
    assert_eq!(orders(&world).len(), 1, "100 dollars for one share are far from 52.5");
    world.now = world.now.plus(3_700_000);
    pass(&mut world, 20_000);
    assert_eq!(orders(&world).len(), 2);
    verdict(&world);
}

#[test]
fn a_wide_quote_of_one_exchange_is_not_the_market() {
    let mut world = ready(Terms { quotes: true, ..Terms::by_list() });
    let price = |text: &str| Some(text.parse().unwrap());
    let quoted = |world: &mut World, last| {
        let at = world.now;
        let quote = Quote {
            bid: price("40"),
            ask: price("60"),
            last,
            partial_feed: Some("iex"),
            missing: None,
            symbol: symbol(0),
            tradable: true,
            at,
        };
        world.input(Input::Quotes { begun_at: at, answer: Ok(vec![quote]) });
    };
    // Two shares for 100 dollars.
    deal(&mut world, Side::Sell, 2);
    quoted(&mut world, None);
    assert_eq!(orders(&world), []);
    assert!(waiting(&world).contains("the feed iex, which is not the whole market"), "{}", waiting(&world));
    quoted(&mut world, price("53"));
    assert_eq!(orders(&world), [], "its last trade is as far");
    quoted(&mut world, price("50.1"));
    world.perform(None);
    assert_eq!(orders(&world).len(), 1);
}

#[test]
fn a_fraction_without_a_price_of_its_own_waits_for_the_markets() {
    let mut world = ready(Terms { quotes: true, fractions: true, ..Terms::default() });
    let dust = |world: &mut World, atoms: i128| {
        let tx = 1_000 + u64::try_from(world.chain.ever.len()).unwrap();
        world.chain.mine(vec![Deal { ticker: 0, side: Side::Sell, atoms, tx }]);
        while world.sweep(64) {}
    };
    // Fills of half a thousandth say nothing of the price.
    dust(&mut world, ONE / 2_000);
    pass(&mut world, 60_000);
    assert_eq!((orders(&world), halts(&world)), (vec![], vec![]), "it may be worth a cent or a fortune");
    // At 900 dollars a share it is worth 45 cents, and three of it are enough for an order.
    world.desk.quotes.insert(symbol(0), "900".parse().unwrap());
    pass(&mut world, 60_000);
    assert_eq!(orders(&world), []);
    dust(&mut world, ONE / 2_000);
    dust(&mut world, ONE / 2_000);
    pass(&mut world, 60_000);
    assert_eq!(orders(&world), [(Side::Buy, "0.0015".parse().unwrap(), true)]);
    assert_eq!(halts(&world), []);
}

#[test]
fn a_new_ticker_is_quoted_when_it_is_wanted_and_not_when_the_timer_comes_round() {
    let mut world = ready(Terms { quotes: true, ..Terms::default() });
    let deal = |world: &mut World, ticker: usize| {
        let tx = 1_000 + u64::try_from(world.chain.ever.len()).unwrap();
        world.chain.mine(vec![Deal { ticker, side: Side::Sell, atoms: 2 * ONE, tx }]);
        while world.sweep(64) {}
    };
    (0..3).for_each(|ticker| _ = world.desk.quotes.insert(symbol(ticker), "50".parse().unwrap()));
    for ticker in 0..3 {
        deal(&mut world, ticker);
        pass(&mut world, 1_500);
        assert_eq!(orders(&world).len(), ticker + 1, "{:?}", world.engine.facts().tickers);
    }
    // One question at a time, and none that says nothing new.
    let asked = world.desk.asked_quotes;
    pass(&mut world, 5_000);
    assert_eq!(world.desk.asked_quotes, asked);
}

#[test]
fn the_same_order_again_waits_for_its_price_as_the_first_did() {
    let mut world = ready(Terms { quotes: true, ..Terms::default() });
    world.desk.quotes.insert(symbol(0), "50".parse().unwrap());
    pass(&mut world, 11_000);
    deal(&mut world, Side::Sell, 2);
    world.desk.mood = Some(Mood::LosesTheRequest);
    // By the time the broker says that it has no such order, the market is far away.
    let posts = |world: &World| world.desk.posts.values().sum::<u32>();
    while posts(&world) == 0 {
        pass(&mut world, 500);
    }
    world.desk.quotes.insert(symbol(0), "9000".parse().unwrap());
    world.now = world.now.plus(40_000);
    pass(&mut world, 60_000);
    assert_eq!((posts(&world), halts(&world)), (1, vec![]));
    assert!(waiting(&world).contains("MAX_PRICE_DEVIATION_BPS=500"), "{}", waiting(&world));
    world.desk.quotes.insert(symbol(0), "50".parse().unwrap());
    pass(&mut world, 30_000);
    assert_eq!(posts(&world), 2, "and then it goes, under the same name");
    world.settle();
    verdict(&world);
}

#[test]
fn a_clock_that_differs_from_the_brokers_closes_the_gate() {
    let mut world = ready(Terms::by_list());
    for (ahead_ms, closed) in [(2_000, false), (2_001, true), (-2_001, true), (-2_000, false)] {
        world.input(Input::Clock { ahead_ms });
        let gate = world.engine.facts().gate;
        assert_eq!(gate.is_some_and(|why| why.contains("clock")), closed, "{ahead_ms}");
    }
    world.input(Input::Clock { ahead_ms: 60_000 });
    deal(&mut world, Side::Sell, 2);
    world.perform(None);
    assert_eq!(orders(&world), []);
    world.input(Input::Clock { ahead_ms: 0 });
    pass(&mut world, 5_000);
    assert_eq!(orders(&world).len(), 1);
}

#[test]
fn an_earlier_ledgers_orders_are_adopted_where_a_person_says_so_and_drift_nowhere() {
    for tag_known in [true, false] {
        let mut world = World::on(Terms { tag_known, ..Terms::by_list() }, 0, None);
        world.desk.type_by_hand(0, world.now.plus(-7_200_000));
        world.desk.orders[0].tag = Some("ours".into());
        deal(&mut world, Side::Sell, 3);
        pass(&mut world, 20_000);
        assert_eq!((halts(&world), world.desk.orders.len()), (vec![HaltKind::EarlierOrders], 1));
        world.restart();
        let (kind, adopt) = (HaltKind::EarlierOrders, Some(Choice::AdoptOrders));
        assert!(resume(&mut world, None, kind, adopt).is_err(), "the list was not read yet");
        pass(&mut world, 20_000);
        let adopted = resume(&mut world, None, kind, adopt);
        if !tag_known {
            assert!(adopted.unwrap_err().contains("APP_TAG"));
            continue;
        }
        adopted.unwrap();
        pass(&mut world, 200_000);
        assert_eq!(halts(&world), [], "its shares were in the position at birth");
        assert_eq!(world.desk.orders.len(), 1, "the earlier ledger had hedged these fills");
        verdict(&world);
    }
}

#[test]
fn a_ticket_says_whether_it_opens_or_covers_a_short_position() {
    let mut world = ready(Terms::by_list());
    let short = |world: &World| {
        world.effects.iter().find_map(|effect| match effect {
            Effect::Place(Ticket { side, short, .. }) => Some((*side, *short)),
            _ => None,
        })
    };
    deal(&mut world, Side::Buy, 2);
    assert_eq!(short(&world), Some((Side::Sell, true)));
    pass(&mut world, 20_000);
    deal(&mut world, Side::Sell, 2);
    assert_eq!(short(&world), Some((Side::Buy, true)));
    pass(&mut world, 20_000);
    deal(&mut world, Side::Sell, 2);
    assert_eq!(short(&world), Some((Side::Buy, false)));
    pass(&mut world, 20_000);
    deal(&mut world, Side::Buy, 2);
    assert_eq!(short(&world), Some((Side::Sell, false)));
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_holding_old_for_hours() {
    let mut world = ready(Terms::by_list());
    deal(&mut world, Side::Buy, 1);
    pass(&mut world, 2_000);
    assert_eq!(orders(&world).len(), 1);
    world.now = world.now.plus(-3_600_000);
    deal(&mut world, Side::Sell, 5);
    pass(&mut world, 60_000);
    verdict(&world);
}
