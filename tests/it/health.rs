//! Every check of the health table, both ways: from facts on which all hold, one change makes exactly one check fail,
//! and the verdict is what that check is critical for.

use std::collections::BTreeSet;

use alloy::primitives::B256;
use counterfill::broker::{Mend, Session};
use counterfill::chain::{Backfill, ChainFacts};
use counterfill::engine::{EngineSnapshot, LiveIntent, TickerSnapshot};
use counterfill::hedges::{Halt, HaltKind, IntentState};
use counterfill::serve::health::{CriticalFor, Health, Limits, ProcessFacts, health};
use counterfill::units::{BlockRef, Millis, Shares};

const NOW: Millis = Millis(1_700_000_000_000);

fn halt(symbol: Option<&str>, kind: HaltKind, reason: &str) -> Halt {
    Halt { symbol: symbol.map(|symbol| symbol.parse().unwrap()), kind, reason: reason.into() }
}

fn live(state: IntentState, age_ms: i64) -> LiveIntent {
    LiveIntent { id: "cf-a-1".parse().unwrap(), state, changed_at: NOW.plus(-age_ms) }
}

#[derive(Clone)]
struct World {
    facts: Option<EngineSnapshot>,
    chain: ChainFacts,
    process: ProcessFacts,
    now: Millis,
}

impl World {
    /// All is well: an open position under way, one closed.
    fn good() -> Self {
        let facts = EngineSnapshot {
            at: NOW.plus(-400),
            deciding: true,
            waiting: vec![],
            cursor: Some(BlockRef { number: 998, hash: B256::repeat_byte(1) }),
            fills_total: 3,
            reversals_total: 1,
            dead_total: 0,
            tickers: vec![
                TickerSnapshot {
                    symbol: "AAPL".parse().unwrap(),
                    exposure: "0.25".parse().unwrap(),
                    live: None,
                    unhedged_since: None,
                    overdue: false,
                    waiting: None,
                    remedy: None,
                },
                TickerSnapshot {
                    symbol: "TSLA".parse().unwrap(),
                    exposure: Shares::whole(2),
                    live: Some(live(IntentState::Working, 3_000)),
                    unhedged_since: None,
                    overdue: false,
                    waiting: None,
                    remedy: None,
                },
            ],
            halts: vec![],
            gate: None,
            broker_answers: Some(true),
            session: Some(Session::Open { until: Some(NOW.plus(3_600_000)) }),
            pending: vec![],
            unsettled: vec![],
        };
        let chain = ChainFacts {
            connected: true,
            head: Some(1_000),
            head_moved_at: Some(NOW.plus(-2_000)),
            answered_at: Some(NOW.plus(-1_500)),
            ..ChainFacts::default()
        };
        let process = ProcessFacts {
            started_at: NOW.plus(-60_000),
            ledger_error: None,
            login_expires_at: Some(NOW.plus(72 * 3_600_000)),
            ..ProcessFacts::default()
        };
        Self { facts: Some(facts), chain, process, now: NOW }
    }

    fn facts(&mut self) -> &mut EngineSnapshot {
        self.facts.as_mut().unwrap()
    }

    fn live(&mut self, state: IntentState, age_ms: i64) {
        self.facts().tickers[1].live = Some(live(state, age_ms));
    }

    /// A ticker is open for 75 s, and says why.
    fn open(&mut self, ticker: usize, overdue: bool) {
        let ticker = &mut self.facts().tickers[ticker];
        ticker.unhedged_since = Some(NOW.plus(-75_000));
        ticker.overdue = overdue;
        ticker.waiting = Some("the account holds 0".into());
    }

    fn health(&self) -> Health {
        health(self.facts.as_ref(), &self.chain, &self.process, self.now, &Limits::default())
    }
}

fn failing(health: &Health) -> Vec<&str> {
    health.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect()
}

type Change = fn(&mut World);

/// What is changed, which check fails by it, and words its detail must hold.
const BAD: &[(&str, Change, &str)] = &[
    ("engine_loop", |w| w.facts().at = NOW.plus(-10_001), "restart"),
    ("clock", |w| w.facts().at = NOW.plus(2_001), "NTP"),
    ("ledger", |w| w.process.ledger_error = Some("disk I/O error".into()), "full"),
    ("chain_connected", |w| w.chain.connected = false, "WS_RPC_URL"),
    ("chain_answers", |w| w.chain.answered_at = Some(NOW.plus(-6_001)), "6.0 s ago"),
    ("chain_answers", |w| w.chain.answered_at = Some(NOW.plus(60_000)), "check the node"),
    ("chain_answers", |w| w.chain.answered_at = None, "not answered yet"),
    ("chain_moves", |w| w.chain.head_moved_at = Some(NOW.plus(-30_001)), "HEAD_AGE_MAX"),
    ("chain_moves", |w| w.chain.head_moved_at = Some(NOW.plus(60_000)), "HEAD_AGE_MAX"),
    ("chain_moves", |w| w.chain.head_moved_at = None, "no block yet"),
    ("chain_swept", |w| w.chain.unswept_since = Some(NOW.plus(-10_001)), "none could be read for 10.0 s"),
    ("chain_swept", |w| w.chain.unswept_since = Some(NOW.plus(60_000)), "bot doctor"),
    ("caught_up", |w| w.chain.head = Some(1_063), "65 blocks behind"),
    ("caught_up", |w| w.chain.head = Some(900), "98 blocks behind our ledger"),
    ("caught_up", |w| w.chain.head = None, "nothing has been read"),
    ("caught_up", |w| w.facts().cursor = None, "nothing has been read"),
    (
        "caught_up",
        |w| {
            w.chain.head = Some(10_000);
            w.chain.backfill = Some(Backfill { eta_s: 42, ..Backfill::default() });
        },
        "42 s left",
    ),
    ("deciding", |w| w.facts().deciding = false, "bot status"),
    ("broker_answers", |w| w.facts().broker_answers = Some(false), "auth status"),
    ("broker_answers", |w| w.facts().broker_answers = None, "not been read"),
    ("broker_gate", |w| w.facts().gate = Some("429 until 12:00".into()), "no order may go"),
    (
        "broker_gate",
        |w| {
            w.facts().gate = Some("429 until 12:00".into());
            w.facts().session = None;
        },
        "no order may go",
    ),
    ("broker_login", |w| w.process.login_expires_at = Some(NOW), "auth login"),
    ("broker_login", |w| w.process.login_error = Some((Mend::LogIn, "refused".into())), "only a person"),
    ("broker_login_lasts", |w| w.process.login_expires_at = Some(NOW.plus(3_600_000)), "in 1 h"),
    (
        "market_calendar_lasts",
        |w| w.process.calendar_ends_at = Some(NOW.plus(60 * 86_400_000)),
        "ends in 60 days: install",
    ),
    ("broker_gate", |w| disputed(w, Millis(1_861_938_000_000)), "no order may go"),
    ("halts", |w| w.facts().halts = vec![halt(None, HaltKind::Operator, "lunch")], "all tickers (operator)"),
    ("halts", |w| w.facts().halts = vec![halt(Some("TSLA"), HaltKind::Rejects, "5")], "TSLA (rejects)"),
    ("intents_certain", |w| w.live(IntentState::Unknown, 0), "TSLA (Unknown)"),
    ("intents_certain", |w| w.live(IntentState::Stuck, 0), "TSLA (Stuck)"),
    ("intents_certain", |w| w.live(IntentState::Sent, 90_001), "Sent for 90.0 s"),
    ("exposure_hedged", |w| w.open(0, true), "AAPL (for 75.0 s)"),
    (
        "exposure_hedged",
        |w| {
            w.live(IntentState::Planned, 75_000);
            w.open(1, true);
        },
        "TSLA (for 75.0 s)",
    ),
    ("orders_finish", |w| w.live(IntentState::Working, 300_001), "TSLA (for 300.0 s)"),
    (
        "amounts_known",
        |w| w.facts().pending = vec![("AAPL (2)".into(), "block 7: missing trie node".into())],
        "AAPL (2); this needs an archive node",
    ),
    ("dead_events", |w| w.facts().dead_total = 2, "2 logs"),
];

/// The session as the built-in calendar tells it at that moment, which is after its end, and the gate it shuts.
fn disputed(world: &mut World, moment: Millis) {
    let session = Session::from(counterfill::broker::hours::session_at(moment));
    let Session::Disputed { reason } = &session else { panic!("{session:?}") };
    world.facts().gate = Some(reason.clone());
    world.facts().session = Some(session);
}

/// Changes that must not disturb: the near side of every bound, and what is another check's business.
const FINE: &[(&str, Change)] = &[
    ("engine spoke 10 s ago", |w| w.facts().at = NOW.plus(-10_000)),
    ("clocks differ by 2 s", |w| w.facts().at = NOW.plus(2_000)),
    ("answer 6 s ago", |w| w.chain.answered_at = Some(NOW.plus(-6_000))),
    ("head 30 s old", |w| w.chain.head_moved_at = Some(NOW.plus(-30_000))),
    ("a sweep under way for 10 s", |w| w.chain.unswept_since = Some(NOW.plus(-10_000))),
    ("64 blocks behind", |w| w.chain.head = Some(1_062)),
    ("node a little behind the ledger", |w| w.chain.head = Some(990)),
    ("a calendar for two months more", |w| w.process.calendar_ends_at = Some(NOW.plus(60 * 86_400_000 + 1))),
    ("no login to end", |w| w.process.login_expires_at = None),
    ("sent 90 s ago", |w| w.live(IntentState::Sent, 90_000)),
    ("planned, and not for long in which an order could go", |w| {
        w.live(IntentState::Planned, 3_600_000);
        w.open(1, false);
    }),
    ("open, and not for long in which an order could go", |w| w.open(0, false)),
    ("the market is closed", |w| {
        w.facts().gate = Some("closed until Monday".into());
        w.facts().session = Some(Session::Closed { reason: "closed until Monday".into() });
        w.live(IntentState::Planned, 3_600_000);
    }),
    ("the last 15 s of a session", |w| {
        w.facts().gate = Some("the session ends".into());
        w.facts().session = Some(Session::Open { until: Some(NOW.plus(15_000)) });
    }),
];

#[test]
fn all_is_well_means_ready() {
    let health = World::good().health();
    assert_eq!(failing(&health), [""; 0]);
    assert!(health.ready && health.live);
    assert!(health.checks.iter().all(|check| check.detail.is_empty() && check.quote.is_none()));
}

#[test]
fn each_change_fails_exactly_its_check() {
    for (name, change, words) in BAD {
        let mut world = World::good();
        change(&mut world);
        let health = world.health();
        // A login that has ended also does not last.
        let over = world.process.login_expires_at == Some(NOW);
        let expected = if over { vec!["broker_login", "broker_login_lasts"] } else { vec![*name] };
        assert_eq!(failing(&health), expected, "{name}: {words}");
        let check = health.checks.iter().find(|check| check.name == *name).unwrap();
        assert!(check.detail.contains(words), "{name}: {:?} holds no {words:?}", check.detail);
        assert!(!check.value.is_empty(), "{name}");
        assert_eq!(health.ready, check.critical_for == CriticalFor::None, "{name}");
        assert_eq!(health.live, check.critical_for != CriticalFor::Live, "{name}");
    }
}

#[test]
fn what_is_fine_stays_ready() {
    for (what, change) in FINE {
        let mut world = World::good();
        change(&mut world);
        let health = world.health();
        assert_eq!(failing(&health), [""; 0], "{what}");
        assert!(health.ready, "{what}");
    }
}

#[test]
fn no_check_is_constantly_true() {
    let flipped: BTreeSet<&str> = BAD.iter().map(|(name, ..)| *name).collect();
    let health = World::good().health();
    let all: BTreeSet<&str> = health.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(all.len(), health.checks.len(), "names are unique");
    assert_eq!(flipped, all);
}

#[test]
fn names_and_weights_are_stable() {
    use CriticalFor::{Live, None, Ready};
    let health = World::good().health();
    let table: Vec<_> = health.checks.iter().map(|check| (check.name.as_str(), check.critical_for)).collect();
    assert_eq!(
        table,
        [
            ("engine_loop", Live),
            ("clock", Ready),
            ("ledger", Ready),
            ("chain_connected", Ready),
            ("chain_answers", Ready),
            ("chain_moves", Ready),
            ("chain_swept", Ready),
            ("caught_up", Ready),
            ("deciding", Ready),
            ("broker_answers", Ready),
            ("broker_gate", Ready),
            ("broker_login", Ready),
            ("broker_login_lasts", None),
            ("market_calendar_lasts", None),
            ("halts", Ready),
            ("intents_certain", Ready),
            ("exposure_hedged", Ready),
            ("amounts_known", Ready),
            ("orders_finish", None),
            ("dead_events", None),
        ]
    );
}

#[test]
fn before_the_first_facts_the_bot_is_live_and_not_ready_and_not_for_ever() {
    let mut world = World::good();
    world.facts = None;
    let health = world.health();
    assert!(health.live && !health.ready);
    assert!(failing(&health).contains(&"deciding") && !failing(&health).contains(&"engine_loop"));
    world.process.started_at = NOW.plus(-120_001);
    let health = world.health();
    assert!(!health.live && !health.ready);
}

#[test]
fn a_new_ledger_may_wait_for_node_and_broker_as_long_as_they_like() {
    let mut world = World::good();
    world.facts = None;
    world.process.started_at = NOW.plus(-86_400_000);
    world.process.start_waits_for = Some("the broker");
    let health = world.health();
    assert!(health.live && !health.ready, "a restart would cut off whoever is logging in");
    assert!(health.checks[0].detail.contains("waits for the broker"));
    world.process.start_waits_for = None;
    world.process.opening_since = Some(NOW.plus(-120_000));
    assert!(world.health().live);
    world.process.opening_since = Some(NOW.plus(-120_001));
    assert!(!world.health().live);
}

#[test]
fn nothing_known_at_all_is_not_ready() {
    let health = health(None, &ChainFacts::default(), &ProcessFacts::default(), NOW, &Limits::default());
    assert!(!health.live && !health.ready);
}

#[test]
fn a_clock_far_back_spoils_every_age() {
    let mut world = World::good();
    world.now = NOW.plus(-3_600_000);
    let health = world.health();
    for name in ["engine_loop", "clock", "chain_answers", "chain_moves"] {
        assert!(failing(&health).contains(&name), "{name}");
    }
}

#[test]
fn while_nothing_may_be_decided_open_exposure_is_explained_by_that() {
    let mut world = World::good();
    world.facts().deciding = false;
    world.facts().waiting = vec!["the sweep to reach block 1000".into()];
    world.open(0, false);
    let health = world.health();
    assert_eq!(failing(&health), ["deciding"]);
    let check = health.checks.iter().find(|check| !check.ok).unwrap();
    assert_eq!(check.quote.as_deref(), Some("the sweep to reach block 1000"));
}

#[test]
fn what_to_type_about_a_login_is_what_mends_it() {
    let rows = [
        (Mend::LogIn, "type `auth login`;"),
        (Mend::SealingKey, "set ENCRYPTION_KEY to the key that the login was sealed with"),
        (Mend::File, "look at the owner and the mode of the login's file"),
        (Mend::Application, "set APP_KEY and APP_SECRET"),
    ];
    for (mend, words) in rows {
        let mut world = World::good();
        world.process.login_error = Some((mend, "no".into()));
        let health = world.health();
        let check = health.checks.iter().find(|check| check.name == "broker_login").unwrap();
        let said = format!("the broker's login is not good, and only a person can mend that: {words}");
        assert!(!check.ok && check.detail.starts_with(&said), "{}", check.detail);
    }
}

#[test]
fn the_words_of_others_stand_in_quotes_only() {
    let mut world = World::good();
    let words = "account 4711";
    world.chain.connected = false;
    world.chain.error = Some(words.into());
    world.process.ledger_error = Some(words.into());
    world.process.login_error = Some((Mend::LogIn, words.into()));
    world.facts().gate = Some(words.into());
    world.facts().deciding = false;
    world.facts().waiting = vec![words.into()];
    world.facts().halts = vec![halt(None, HaltKind::Operator, words)];
    let health = world.health();
    let quoted = health.checks.iter().filter(|check| check.quote.as_deref() == Some(words)).count();
    assert_eq!(quoted, 6);
    assert!(health.checks.iter().all(|check| !check.detail.contains(words) && !check.value.contains(words)));
}
