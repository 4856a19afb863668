//! A broker without client order ids (`protocol.md` 3.5, 3.6): an order whose answer was lost is looked for in the
//! broker's list, by the program where one order can be meant, by time only where that was asked for, else by a person.

use crate::world;

use counterfill::broker::OrderStatus;
use counterfill::engine::{Command, Decision, Effect, Input};
use counterfill::hedges::{HaltKind, Intent, IntentState};
use counterfill::units::{ONE, Shares, Side};
use world::{Deal, Mood, Terms, World, symbol, verdict};

/// Decides, compared with the broker's book, at the head.
fn ready(terms: Terms) -> World {
    let mut world = World::on(terms, 0, None);
    world.settle();
    assert!(world.engine.facts().deciding, "{:?}", world.engine.facts().waiting);
    world
}

/// The owner's order sold `whole` shares: a BUY is wanted.
fn sold(world: &mut World, whole: i64) {
    let tx = 1_000 + u64::try_from(world.chain.ever.len()).unwrap();
    world.chain.mine(vec![Deal { ticker: 0, side: Side::Sell, atoms: i128::from(whole) * ONE, tx }]);
    world.sweep(64);
}

/// Lets `ms` pass in steps of half a second, with every question answered; nothing trades.
fn pass(world: &mut World, ms: i64) {
    let end = world.now.plus(ms);
    while world.now < end {
        world.input(Input::Tick);
        world.perform(None);
        world.now = world.now.plus(450);
    }
}

/// An order went out and its answer was lost.
fn lost(terms: Terms, mood: Mood) -> World {
    let mut world = ready(terms);
    sold(&mut world, 2);
    world.desk.mood = Some(mood);
    world.perform(None);
    assert_eq!(intent(&world).state, IntentState::Unknown);
    world
}

/// The newest intent.
fn intent(world: &World) -> Intent {
    world.shelf.intents.values().max_by_key(|intent| intent.created_at).unwrap().clone()
}

fn posts(world: &World) -> u32 {
    world.desk.posts.values().sum()
}

fn halts(world: &World) -> Vec<HaltKind> {
    world.engine.facts().halts.into_iter().map(|halt| halt.kind).collect()
}

fn reconcile(world: &mut World, decision: Decision) -> Result<String, String> {
    let target =
        world.engine.facts().unsettled.first().map_or_else(|| intent(world).id, |one| one.intent_id.clone());
    let (reason, who) = ("looked".to_owned(), "ann".to_owned());
    world.input(Input::Command(Command::Reconcile { target, decision, reason, who }, 9));
    let reply = world.effects.iter().find_map(|effect| match effect {
        Effect::Reply(9, answer) => Some(answer.clone()),
        _ => None,
    });
    world.effects.retain(|effect| !matches!(effect, Effect::Reply(..)));
    reply.unwrap()
}

#[test]
fn an_order_whose_answer_was_lost_is_found_in_the_list_and_sent_once() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    pass(&mut world, 2_000);
    let found = intent(&world);
    assert_eq!((found.state, found.order_id.unwrap().as_str()), (IntentState::Working, "1000"));
    world.settle();
    assert_eq!(posts(&world), 1);
    verdict(&world);
}

#[test]
fn an_order_that_is_invisible_for_half_a_minute_is_waited_for() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndHides);
    world.desk.hidden_reads = 1_000;
    pass(&mut world, 30_000);
    assert_eq!((intent(&world).state, posts(&world)), (IntentState::Unknown, 1));
    world.desk.hidden_reads = 0;
    pass(&mut world, 35_000);
    assert_eq!(intent(&world).state, IntentState::Working);
    world.settle();
    assert_eq!(posts(&world), 1);
    verdict(&world);
}

#[test]
fn an_order_without_its_tag_yet_is_read_again_and_not_taken() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    world.desk.tagless_reads = 4;
    pass(&mut world, 2_000);
    assert_eq!((intent(&world).state, posts(&world)), (IntentState::Unknown, 1));
    pass(&mut world, 15_000);
    assert_eq!(intent(&world).state, IntentState::Working);
    world.settle();
    verdict(&world);
}

#[test]
fn while_one_of_two_has_no_tag_yet_neither_is_taken() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    // Another instance's, entered just before ours; only the newest one, ours, is shown without its tag.
    world.desk.twin("ours", world.now);
    world.desk.orders.swap(0, 1);
    world.desk.tagless_reads = 3;
    pass(&mut world, 2_000);
    assert_eq!(intent(&world).state, IntentState::Unknown);
    pass(&mut world, 60_000);
    assert_eq!(intent(&world).state, IntentState::Stuck, "both could be it");
}

#[test]
fn a_twin_that_was_typed_by_hand_is_not_taken_for_ours() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    world.desk.twin("theirs", world.now.plus(1_500));
    pass(&mut world, 5_000);
    assert_eq!(intent(&world).order_id.unwrap().as_str(), "1000");
    // Ours never arrived: then theirs is not it either, and only a person can say so.
    let mut world = lost(Terms { absent_after_ms: Some(60_000), ..Terms::by_list() }, Mood::LosesTheRequest);
    world.desk.type_by_hand(0, world.now);
    let twin = world.desk.orders.last_mut().unwrap();
    (twin.quantity, twin.filled, twin.executed) = (Shares::whole(2), Shares::ZERO, Shares::ZERO);
    pass(&mut world, 300_000);
    assert_eq!((intent(&world).state, posts(&world)), (IntentState::Unknown, 1));
    assert_eq!(world.engine.facts().unsettled[0].similar[0].tag.as_deref(), Some("theirs"));
    reconcile(&mut world, Decision::Absent).unwrap();
    world.settle();
    assert_eq!(posts(&world), 2);
}

#[test]
fn several_that_could_be_it_wait_for_a_person_who_names_one() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    world.desk.twin("ours", world.now.plus(1_500));
    pass(&mut world, 5_000);
    assert_eq!((intent(&world).state, halts(&world)), (IntentState::Stuck, vec![HaltKind::Stuck]));
    let waiting = world.engine.facts().unsettled;
    assert_eq!(waiting[0].similar.len(), 2, "{waiting:?}");
    assert_eq!(waiting[0].choices.len(), 2);
    // Nothing else settles it, and neither order is another instance's while it waits.
    let resume = Command::Resume {
        symbol: Some(symbol(0)),
        kind: HaltKind::Stuck,
        choice: None,
        reason: "go".into(),
        who: "ann".into(),
    };
    world.input(Input::Command(resume, 8));
    pass(&mut world, 200_000);
    assert_eq!((halts(&world), posts(&world)), (vec![HaltKind::Stuck], 1));
    assert!(reconcile(&mut world, Decision::Book).unwrap_err().contains("adopt ORDER"));
    assert!(reconcile(&mut world, Decision::Ignore).unwrap_err().contains("own"));
    assert!(
        reconcile(&mut world, Decision::Adopt("7".parse().unwrap())).unwrap_err().contains("does not show")
    );
    reconcile(&mut world, Decision::Adopt("1000".parse().unwrap())).unwrap();
    assert_eq!((intent(&world).state, halts(&world)), (IntentState::Working, vec![]));
    // The other one is then a stranger's with our tag: a second instance shows itself so (3.6).
    world.desk.orders[1].status = OrderStatus::Canceled;
    world.settle();
    assert_eq!(halts(&world), [HaltKind::Stuck]);
    assert!(world.engine.facts().unsettled[0].adopted);
    reconcile(&mut world, Decision::Book).unwrap();
    assert_eq!(halts(&world), []);
    world.settle();
    verdict(&world);
}

#[test]
fn an_order_that_was_there_before_is_never_the_lost_one() {
    let mut world = ready(Terms::by_list());
    // One of ours ends within the minute that the broker's clock may be off by, and is known.
    sold(&mut world, 2);
    world.perform(None);
    (0..3).for_each(|_| world.desk.trade(world.now));
    pass(&mut world, 2_000);
    assert_eq!(intent(&world).state, IntentState::Filled);
    // Another one with our tag and the same content was in the last list that was read.
    world.desk.twin("ours", world.now);
    let twin = world.desk.orders.last_mut().unwrap();
    (twin.status, twin.filled, twin.executed) = (OrderStatus::Canceled, Shares::ZERO, Shares::ZERO);
    let orders = world.desk.orders.clone();
    world.input(Input::List { begun_at: world.now, answer: Ok(orders) });
    sold(&mut world, 2);
    world.desk.mood = Some(Mood::LosesTheRequest);
    world.perform(None);
    let newest = intent(&world);
    assert_eq!(newest.state, IntentState::Unknown);
    assert_eq!(newest.snapshot.unwrap().known.len(), 2, "bound and listed orders are known");
    pass(&mut world, 60_000);
    let state = world.shelf.intents[newest.id.as_str()].state;
    assert_eq!(state, IntentState::Unknown, "neither is adopted");
}

#[test]
fn only_absent_after_lets_time_prove_that_an_order_never_was() {
    let never = lost(Terms::by_list(), Mood::LosesTheRequest);
    let after = lost(Terms { absent_after_ms: Some(120_000), ..Terms::by_list() }, Mood::LosesTheRequest);
    for (mut world, posted) in [(never, 1), (after, 2)] {
        pass(&mut world, 100_000);
        assert_eq!(
            (intent(&world).state, posts(&world)),
            (IntentState::Unknown, 1),
            "two minutes are not over"
        );
        pass(&mut world, 200_000);
        assert_eq!(posts(&world), posted);
        if posted == 1 {
            reconcile(&mut world, Decision::Absent).unwrap();
        }
        world.settle();
        assert_eq!(posts(&world), 2);
        verdict(&world);
    }
}

#[test]
fn a_position_that_moved_or_was_not_known_proves_nothing() {
    let terms = Terms { absent_after_ms: Some(60_000), ..Terms::by_list() };
    // The order is in no list, but the shares are there.
    let mut world = lost(terms, Mood::AcceptsAndHides);
    world.desk.hidden_reads = u32::MAX;
    (0..3).for_each(|_| world.desk.trade(world.now));
    pass(&mut world, 400_000);
    assert_eq!((intent(&world).state, posts(&world)), (IntentState::Unknown, 1));
    world.desk.hidden_reads = 0;
    world.settle();
    assert_eq!(posts(&world), 1);
    verdict(&world);
    // Sent right after another order, before the positions were read again: nobody knows what they were.
    let mut world = ready(terms);
    sold(&mut world, 2);
    world.perform(None);
    (0..3).for_each(|_| world.desk.trade(world.now));
    pass(&mut world, 1_000);
    assert_eq!(intent(&world).state, IntentState::Filled);
    sold(&mut world, 2);
    world.desk.mood = Some(Mood::LosesTheRequest);
    world.perform(None);
    assert_eq!(intent(&world).snapshot.unwrap().position, None);
    pass(&mut world, 400_000);
    assert_eq!((intent(&world).state, posts(&world)), (IntentState::Unknown, 2));
}

#[test]
fn an_unbound_order_of_ours_keeps_an_absence_from_being_proved() {
    let mut world = lost(Terms { absent_after_ms: Some(60_000), ..Terms::by_list() }, Mood::LosesTheRequest);
    // It has our tag and another quantity: nobody knows what it is.
    world.desk.type_by_hand(1, world.now);
    let odd = world.desk.orders.last_mut().unwrap();
    (odd.tag, odd.status, odd.filled, odd.executed) =
        (Some("ours".into()), OrderStatus::Live, Shares::ZERO, Shares::ZERO);
    let id = intent(&world).id;
    // Two lists later it is adopted, as another instance's, and a person is asked; as long as nobody says what it is,
    // nobody can say that an order is missing.
    pass(&mut world, 400_000);
    assert_eq!(halts(&world), [HaltKind::Stuck]);
    assert_eq!(world.shelf.intents[id.as_str()].state, IntentState::Unknown);
    let adopted = world.engine.facts().unsettled.into_iter().find(|waiting| waiting.adopted).unwrap();
    let (target, reason, who) = (adopted.intent_id, "not mine".to_owned(), "ann".to_owned());
    world.input(Input::Command(Command::Reconcile { target, decision: Decision::Ignore, reason, who }, 9));
    pass(&mut world, 200_000);
    assert_eq!(world.shelf.intents[id.as_str()].state, IntentState::Absent);
}

#[test]
fn the_first_order_read_under_a_claimed_id_teaches_our_tag() {
    let mut world = ready(Terms { tag_known: false, ..Terms::by_list() });
    sold(&mut world, 1);
    world.desk.tagless_reads = 2;
    world.settle();
    assert_eq!(world.shelf.tag.as_deref(), Some("ours"));
    sold(&mut world, 2);
    world.desk.mood = Some(Mood::AcceptsAndLosesTheAnswer);
    world.perform(None);
    pass(&mut world, 3_000);
    assert_eq!(intent(&world).state, IntentState::Working, "known now");
    world.restart();
    world.settle();
    verdict(&world);
}

#[test]
fn without_a_known_tag_nothing_is_adopted_but_by_a_person() {
    let mut world = lost(Terms { tag_known: false, ..Terms::by_list() }, Mood::AcceptsAndLosesTheAnswer);
    pass(&mut world, 120_000);
    assert_eq!((intent(&world).state, posts(&world)), (IntentState::Unknown, 1));
    let told = |effect: &Effect| matches!(effect, Effect::Alert(text) if text.contains("bot reconcile"));
    assert!(!world.effects.iter().any(told), "told once, long ago");
    reconcile(&mut world, Decision::Adopt("1000".parse().unwrap())).unwrap();
    assert_eq!(world.shelf.tag, None, "a person's word teaches no tag");
    world.settle();
    assert_eq!(posts(&world), 1);
    verdict(&world);
}

#[test]
fn a_lost_order_that_is_refused_again_and_again_is_a_persons() {
    let mut world = lost(Terms::default(), Mood::LosesTheRequest);
    while posts(&world) < 6 {
        assert_eq!(halts(&world), []);
        world.desk.mood = Some(Mood::Refuses);
        pass(&mut world, 500);
    }
    // The first may still arrive; that there is none is for a person to say, and not before.
    pass(&mut world, 600_000);
    assert_eq!((halts(&world), intent(&world).state), (vec![HaltKind::Stuck], IntentState::Stuck));
    assert_eq!(posts(&world), 6, "it goes out no more");
    world.restart();
    pass(&mut world, 60_000);
    assert_eq!((halts(&world), posts(&world)), (vec![HaltKind::Stuck], 6));
    world.desk.mood = None;
    reconcile(&mut world, Decision::Absent).unwrap();
    world.settle();
    assert_eq!((halts(&world), posts(&world)), (vec![], 7));
    verdict(&world);
}

#[test]
fn a_lost_order_that_arrives_after_it_was_refused_again_and_again_is_adopted_by_a_person() {
    let mut world = lost(Terms::default(), Mood::LosesTheRequest);
    while posts(&world) < 5 {
        world.desk.mood = Some(Mood::Refuses);
        pass(&mut world, 500);
    }
    while posts(&world) < 6 {
        world.desk.mood = Some(Mood::RefusesAndAccepts);
        pass(&mut world, 500);
    }
    pass(&mut world, 60_000);
    let order = world.desk.orders[0].id.clone();
    assert_eq!(world.engine.facts().unsettled[0].similar[0].order_id, order, "shown as evidence");
    reconcile(&mut world, Decision::Adopt(order)).unwrap();
    world.settle();
    assert_eq!((halts(&world), posts(&world), world.desk.orders.len()), (vec![], 6, 1));
    verdict(&world);
}

#[test]
fn a_restart_at_every_point_of_a_lost_order_sends_it_once() {
    for crash in 0..6 {
        for mood in
            [Mood::Accepts, Mood::AcceptsAndLosesTheAnswer, Mood::AcceptsAndHides, Mood::LosesTheRequest]
        {
            let mut world = ready(Terms::by_list());
            sold(&mut world, 2);
            world.desk.mood = Some(mood);
            world.perform(Some(crash));
            world.restart();
            for _ in 0..3 {
                world.settle();
                world.settle_by_hand();
            }
            world.settle();
            verdict(&world);
            let really = world.desk.orders.len();
            assert_eq!(really, 1, "{crash} {mood:?}");
        }
    }
}

#[test]
fn a_ledger_put_back_with_an_unknown_intent_finds_its_order() {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    world.backups.push(world.shelf.clone());
    world.settle();
    sold(&mut world, 3);
    world.settle();
    assert_eq!(posts(&world), 2);
    world.restore(0);
    world.settle();
    assert_eq!(posts(&world), 2, "one was looked for, one was adopted");
    verdict(&world);
}

#[test]
fn an_ignored_order_counts_no_more_and_a_booked_one_does() {
    for (decision, counts) in [(Decision::Ignore, false), (Decision::Book, true)] {
        let mut world = ready(Terms::by_list());
        world.desk.type_by_hand(0, world.now);
        world.desk.orders[0].tag = Some("ours".into());
        for _ in 0..4 {
            pass(&mut world, 62_000);
        }
        assert_eq!(halts(&world), [HaltKind::Stuck]);
        let waiting = world.engine.facts().unsettled;
        assert_eq!((waiting[0].adopted, waiting[0].executed), (true, Shares::whole(3)));
        assert!(reconcile(&mut world, Decision::Absent).unwrap_err().contains("book"));
        reconcile(&mut world, decision.clone()).unwrap();
        assert_eq!(halts(&world), [], "the halt ends with its cause");
        let sum = world.shelf.executions[&symbol(0)];
        assert_eq!(sum, if counts { 3 * ONE } else { 0 });
        assert_eq!(world.shelf.account[&symbol(0)], 3 * ONE, "the account moved either way");
        world.settle();
        world.restart();
        world.settle();
        assert_eq!(halts(&world), [], "and no position drifts");
        assert_eq!(posts(&world), u32::from(counts), "{decision:?} {:?}", world.engine.facts());
    }
}

#[test]
fn a_trade_taken_back_before_it_was_read_does_not_hold_its_ticker_for_ever() {
    let mut world = ready(Terms::by_list());
    sold(&mut world, 2);
    world.perform(None);
    // Both shares traded, and one of them was taken back before anybody looked: "filled" will never be whole.
    let order = world.desk.orders.last_mut().unwrap();
    (order.status, order.executed, order.filled) = (OrderStatus::Filled, Shares::whole(1), Shares::whole(1));
    pass(&mut world, 30_000);
    assert_eq!(intent(&world).state, IntentState::Working, "figures may be late");
    pass(&mut world, 60_000);
    assert_eq!((intent(&world).state, intent(&world).executed), (IntentState::Filled, Shares::whole(1)));
    assert_eq!(halts(&world), [HaltKind::ExecutionChanged]);
    world.resume_all();
    world.settle();
    verdict(&world);
}

#[test]
fn a_forgotten_order_that_has_no_tag_yet_stops_its_ticker_also_before_its_fills_are_read() {
    let mut world = ready(Terms::by_list());
    world.backups.push(world.shelf.clone());
    sold(&mut world, 2);
    world.perform(None);
    world.desk.tagless_reads = 1;
    world.restore(0);
    world.perform(None);
    assert_eq!(halts(&world), [HaltKind::ForeignOrder]);
    while world.sweep(64) {}
    // With its tag it is seen to be ours, and a person says that it counts.
    world.settle();
    assert_eq!(posts(&world), 1);
    world.settle_by_hand();
    world.resume_all();
    world.settle();
    verdict(&world);
    assert_eq!(posts(&world), 1);
}

#[test]
fn a_ledger_from_before_it_knew_our_tag_asks_whose_the_orders_are() {
    let mut world = ready(Terms { tag_known: false, ..Terms::by_list() });
    world.backups.push(world.shelf.clone());
    sold(&mut world, 2);
    world.settle();
    assert_eq!((posts(&world), world.shelf.tag.as_deref()), (1, Some("ours")), "learnt from the first order");
    // Put back, it knows neither the order, nor its ticker, nor the tag.
    world.restore(0);
    world.perform(None);
    let why = world.engine.facts().halts.remove(0).reason;
    assert!(why.contains("order 1000 in TSLA has the tag ours") && why.contains("set APP_TAG=ours"), "{why}");
    world.settle();
    assert_eq!((halts(&world), posts(&world)), (vec![HaltKind::ForeignOrder], 1), "nothing is hedged again");
    world.resume_all();
    world.settle();
    assert_eq!((halts(&world), posts(&world)), (vec![], 1), "{:?}", world.engine.facts());
    assert!(intent(&world).adopted);
    verdict(&world);
}

#[test]
fn an_intent_whose_trade_was_taken_back_is_bound_to_no_other_order() {
    let mut world = ready(Terms::by_list());
    sold(&mut world, 2);
    world.perform(None);
    let order = &mut world.desk.orders[0];
    (order.executed, order.filled) = (Shares::whole(1), Shares::whole(1));
    pass(&mut world, 5_000);
    // The one trade is taken back, and another hand replaces the order.
    let order = &mut world.desk.orders[0];
    (order.executed, order.filled, order.status) = (Shares::ZERO, Shares::ZERO, OrderStatus::Replaced);
    pass(&mut world, 200_000);
    assert_eq!((intent(&world).state, intent(&world).executed), (IntentState::Stuck, Shares::ZERO));
    world.desk.twin("ours", world.now);
    pass(&mut world, 5_000);
    let other = world.desk.orders[1].id.clone();
    for decision in [Decision::Adopt(other), Decision::Absent] {
        let refused = reconcile(&mut world, decision).unwrap_err();
        assert!(refused.contains("say `book`"), "{refused}");
    }
    reconcile(&mut world, Decision::Book).unwrap();
    assert_eq!(world.stop, None);
}

#[test]
fn an_order_of_the_other_side_under_our_id_is_never_booked() {
    let mut world = ready(Terms::by_list());
    sold(&mut world, 2);
    world.perform(None);
    let order = world.desk.orders.last_mut().unwrap();
    (order.side, order.executed, order.filled, order.status) =
        (Side::Sell, Shares::whole(2), Shares::whole(2), OrderStatus::Filled);
    pass(&mut world, 100_000);
    assert_eq!((intent(&world).state, intent(&world).executed), (IntentState::Stuck, Shares::ZERO));
    assert!(reconcile(&mut world, Decision::Book).unwrap_err().contains("SELL"));
    assert_eq!(world.shelf.executions.get(&symbol(0)), None);
}

/// A yes that names another order, as `prepare` leaves one in the desk's book.
fn misnamed(terms: Terms, prepare: impl FnOnce(&mut World)) -> (World, Intent) {
    let mut world = ready(terms);
    prepare(&mut world);
    world.desk.misnames = world.desk.orders.last().map(|order| order.id.clone());
    assert!(world.desk.misnames.is_some());
    sold(&mut world, 2);
    world.perform(None);
    let sent = intent(&world);
    (world, sent)
}

/// The order that the intent is bound to is its own.
fn is_bound_to_its_own(world: &World, intent: &Intent) {
    let now = &world.shelf.intents[intent.id.as_str()];
    let own = world.desk.orders.iter().find(|order| order.client_id.as_deref() == Some(intent.id.as_str()));
    assert_eq!(now.order_id.as_ref(), own.map(|order| &order.id), "{now:?}");
    assert!(matches!(now.state, IntentState::Working | IntentState::Filled), "{now:?}");
}

#[test]
fn a_yes_that_names_another_order_leads_to_our_own_in_the_list() {
    // Somebody else's, of another content and tag; it trades meanwhile.
    let theirs = |world: &mut World| world.desk.type_by_hand(0, world.now);
    // One of ours, which is bound already.
    let bound = |world: &mut World| {
        sold(world, 1);
        world.settle();
    };
    // Somebody else's of the same content, which the list had shown before ours left.
    let known = |world: &mut World| {
        world.desk.type_by_hand(0, world.now);
        let twin = world.desk.orders.last_mut().unwrap();
        (twin.quantity, twin.filled, twin.executed) = (Shares::whole(2), Shares::ZERO, Shares::ZERO);
        twin.status = OrderStatus::Live;
        let orders = world.desk.orders.clone();
        world.input(Input::List { begun_at: world.now, answer: Ok(orders) });
    };
    type Prepared = (&'static str, fn(&mut World));
    let rows: [Prepared; 3] = [("theirs", theirs), ("bound", bound), ("known", known)];
    for (name, prepare) in rows {
        let terms = Terms { absent_after_ms: Some(60_000), ..Terms::by_list() };
        let (mut world, sent) = misnamed(terms, prepare);
        let before = posts(&world);
        pass(&mut world, 5_000);
        is_bound_to_its_own(&world, &sent);
        assert_eq!((posts(&world), halts(&world)), (before, vec![]), "{name}");
        if name == "known" {
            // It is nobody's of ours: what it trades is a drift.
            continue;
        }
        world.settle();
        assert_eq!(posts(&world), before, "{name}");
    }
}

#[test]
fn a_yes_that_names_another_order_is_never_sent_again_and_takes_no_others() {
    let terms = || Terms { absent_after_ms: Some(60_000), ..Terms::by_list() };
    let theirs = |world: &mut World| world.desk.type_by_hand(0, world.now);
    // Ours is not to be seen: no time proves that it is not there, for the broker said that it is.
    let (mut world, sent) = misnamed(terms(), theirs);
    let own = world.desk.orders.pop().unwrap();
    pass(&mut world, 400_000);
    let stuck = world.shelf.intents[sent.id.as_str()].clone();
    assert_eq!((stuck.state, stuck.executed, posts(&world)), (IntentState::Stuck, Shares::ZERO, 1));
    assert_eq!(halts(&world), [HaltKind::Stuck]);
    // Late is early enough, also for the next process.
    world.restart();
    pass(&mut world, 5_000);
    assert_eq!(world.shelf.intents[sent.id.as_str()].state, IntentState::Stuck);
    world.desk.orders.push(own);
    pass(&mut world, 70_000);
    is_bound_to_its_own(&world, &sent);
    assert_eq!((posts(&world), halts(&world)), (1, vec![]));

    // Two that could be it, one that has no tag yet, one of another tag, and a tag that is not known: a person says.
    let (mut world, sent) = misnamed(terms(), theirs);
    world.desk.twin("ours", world.now);
    pass(&mut world, 5_000);
    assert_eq!(world.shelf.intents[sent.id.as_str()].state, IntentState::Stuck, "several");
    let (mut world, sent) = misnamed(terms(), theirs);
    world.desk.orders.last_mut().unwrap().tag = None;
    pass(&mut world, 5_000);
    assert_eq!(world.shelf.intents[sent.id.as_str()].state, IntentState::Stuck, "no tag yet");
    world.desk.orders.last_mut().unwrap().tag = Some("theirs".into());
    pass(&mut world, 5_000);
    assert_eq!(world.shelf.intents[sent.id.as_str()].state, IntentState::Stuck, "another's tag");
    let (mut world, sent) = misnamed(Terms { tag_known: false, ..terms() }, theirs);
    pass(&mut world, 5_000);
    assert_eq!(world.shelf.intents[sent.id.as_str()].state, IntentState::Stuck, "no tag known");
    let ids: Vec<String> =
        world.engine.facts().unsettled[0].similar.iter().map(|order| order.order_id.to_string()).collect();
    assert!(ids.contains(&"1001".to_owned()), "the evidence names our own: {ids:?}");
}

#[test]
fn an_order_that_another_hand_replaced_ends_once_a_person_has_booked_it() {
    let mut world = ready(Terms::by_list());
    sold(&mut world, 2);
    world.perform(None);
    let order = world.desk.orders.last_mut().unwrap();
    (order.executed, order.filled, order.status) =
        (Shares::whole(1), Shares::whole(1), OrderStatus::Replaced);
    pass(&mut world, 70_000);
    assert_eq!((intent(&world).state, halts(&world)), (IntentState::Stuck, vec![HaltKind::Stuck]));
    reconcile(&mut world, Decision::Book).unwrap();
    pass(&mut world, 2_000);
    assert_eq!(halts(&world), []);
    world.settle();
    assert_eq!(world.desk.executed(&symbol(0)), 2 * ONE, "one by the replaced order, the other by a new one");
    verdict(&world);
}

#[test]
fn an_order_of_another_kind_or_from_long_before_is_not_it() {
    for late in [true, false] {
        let mut world = ready(Terms { tag_known: false, ..Terms::by_list() });
        sold(&mut world, 2);
        world.desk.mood = Some(Mood::AcceptsAndLosesTheAnswer);
        world.perform(None);
        let sent = intent(&world).sent_at.unwrap();
        let order = world.desk.orders.last_mut().unwrap();
        order.entered_at = sent.plus(if late { -59_000 } else { -61_000 });
        pass(&mut world, 3_000);
        assert_eq!(world.engine.facts().unsettled[0].similar.len(), usize::from(late));
        world.desk.orders.last_mut().unwrap().entered_at = sent;
        world.desk.orders.last_mut().unwrap().ordinary = false;
        pass(&mut world, 20_000);
        assert!(world.engine.facts().unsettled[0].similar.is_empty(), "a limit order, say");
    }
}

/// Backed up while an order was looked for; an equal one followed it. The ledger that is put back after `away_ms` finds
/// both in the list, and a person names the first; the second is still nobody's.
fn with_an_order_of_nobody(away_ms: i64) -> World {
    let mut world = lost(Terms::by_list(), Mood::AcceptsAndLosesTheAnswer);
    world.backups.push(world.shelf.clone());
    pass(&mut world, 2_000);
    world.settle();
    sold(&mut world, 2);
    world.perform(None);
    world.settle();
    assert_eq!(posts(&world), 2);
    for order in &mut world.desk.orders {
        // Both within the time in which either could be the lost one.
        order.entered_at = world.backups[0].intents.values().next().unwrap().sent_at.unwrap();
    }
    world.now = world.now.plus(away_ms);
    world.restore(0);
    while world.sweep(64) {}
    pass(&mut world, 3_000);
    assert_eq!(intent(&world).state, IntentState::Stuck);
    reconcile(&mut world, Decision::Adopt("1000".parse().unwrap())).unwrap();
    world
}

#[test]
fn an_order_of_ours_that_nobody_knows_yet_holds_its_ticker() {
    // Soon after, and when the second order is older than what the bot remembers and an ordinary list shows.
    for days in [0, 2] {
        let mut world = with_an_order_of_nobody(days * 24 * 3_600_000);
        pass(&mut world, 20_000);
        assert_eq!(posts(&world), 2, "the second order's shares are hedged already");
        world.settle();
        assert_eq!(posts(&world), 2, "{days} days");
        world.settle_by_hand();
        world.resume_all();
        world.settle();
        assert_eq!(posts(&world), 2, "{days} days");
        verdict(&world);
    }
}

#[test]
fn an_order_that_left_in_the_second_of_this_ledgers_birth_is_not_an_earlier_ledgers() {
    // The broker cuts its times to seconds and its clock may be two behind: the ledger looks younger than its first order.
    for early_ms in [999, 2_999] {
        let mut world = ready(Terms::by_list());
        let born = world.shelf.first_compared_at.unwrap();
        world.backups.push(world.shelf.clone());
        sold(&mut world, 2);
        world.perform(None);
        world.desk.orders.last_mut().unwrap().entered_at = born.plus(-early_ms);
        world.settle();
        world.restore(0);
        while world.sweep(64) {}
        world.settle();
        assert_eq!(posts(&world), 1, "{early_ms} ms");
        world.settle_by_hand();
        world.resume_all();
        world.settle();
        assert_eq!(posts(&world), 1, "{early_ms} ms");
        verdict(&world);
    }
}

#[test]
fn what_this_ledger_sends_does_not_look_older_than_it_when_its_clock_was_ahead_at_birth() {
    let hour_ms = 3_600_000;
    let mut world = World::on(Terms::by_list(), 0, None);
    world.input(Input::Clock { ahead_ms: -hour_ms });
    world.settle();
    let born = world.shelf.first_compared_at.unwrap();
    // A person sets the clock.
    world.now = world.now.plus(-hour_ms);
    world.input(Input::Clock { ahead_ms: 0 });
    assert!(born <= world.now, "{born} is after {}", world.now);
}

#[test]
fn an_order_of_nobody_is_somebodys_also_after_the_clock_was_set_back() {
    let mut world = ready(Terms::by_list());
    world.now = world.now.plus(2 * 3_600_000);
    sold(&mut world, 2);
    world.perform(None);
    world.settle();
    // A person sets the clock, and another program under our registration trades what ours did.
    world.now = world.now.plus(-2 * 3_600_000);
    world.desk.twin("ours", world.now);
    pass(&mut world, 200_000);
    assert_eq!(halts(&world), [HaltKind::Stuck], "two lists later, and not when the clock is there again");
}

#[test]
fn an_order_of_ours_is_no_strangers_where_our_clock_was_set_forward_just_before_it_left() {
    let mut world = ready(Terms::by_list());
    world.now = world.now.plus(2 * 3_600_000);
    world.settle();
    sold(&mut world, 2);
    world.desk.mood = Some(Mood::AcceptsAndLosesTheAnswer);
    world.perform(None);
    assert_eq!(intent(&world).state, IntentState::Unknown);
    // By the broker's clock, which was right all the time, it was entered an hour before we say that we sent it.
    world.desk.orders.iter_mut().for_each(|order| order.entered_at = order.entered_at.plus(-3_600_000));
    pass(&mut world, 200_000);
    assert_eq!((intent(&world).state, halts(&world)), (IntentState::Unknown, vec![]));
    assert!(world.shelf.intents.values().all(|intent| !intent.adopted), "it is ours");
    let waiting = world.engine.facts().unsettled;
    assert_eq!(waiting[0].similar.iter().map(|order| order.order_id.as_str()).collect::<Vec<_>>(), ["1000"]);
    reconcile(&mut world, Decision::Adopt("1000".parse().unwrap())).unwrap();
    world.settle();
    assert_eq!(posts(&world), 1);
    verdict(&world);
}

/// Somebody replaced our order at a broker that does not say by which: the list shows what may have taken its place, the
/// first thing offered is to take that one for ours, and it doubles nothing.
#[test]
fn the_successor_of_a_replaced_order_is_shown_and_adopted() {
    for by_list in [false, true] {
        let mut world = ready(Terms { by_list, ..Terms::default() });
        sold(&mut world, 2);
        pass(&mut world, 3_000);
        assert_eq!(intent(&world).state, IntentState::Working);
        let now = world.now;
        let old = world.desk.orders.last_mut().unwrap();
        old.status = OrderStatus::Replaced;
        let mut next = old.clone();
        // A limit order by a hand, without our name and tag, and it trades.
        next.id = "2000".parse().unwrap();
        (next.client_id, next.tag, next.ordinary, next.entered_at) =
            (None, Some("theirs".into()), false, now);
        (next.status, next.filled, next.executed) = (OrderStatus::Filled, next.quantity, next.quantity);
        world.desk.orders.push(next);
        pass(&mut world, 70_000);
        let waiting = world.engine.facts().unsettled;
        assert_eq!((waiting.len(), halts(&world)), (1, vec![HaltKind::Stuck]));
        let shown: Vec<&str> = waiting[0].similar.iter().map(|order| order.order_id.as_str()).collect();
        assert!(shown.contains(&"2000"), "{shown:?}");
        assert!(waiting[0].choices[0].contains("adopt"), "{:?}", waiting[0].choices);
        reconcile(&mut world, Decision::Adopt("2000".parse().unwrap())).unwrap();
        pass(&mut world, 70_000);
        let facts = world.engine.facts();
        assert_eq!((posts(&world), facts.tickers[0].exposure), (1, Shares::ZERO));
        assert_eq!((intent(&world).state, halts(&world)), (IntentState::Filled, vec![]));
    }
}
