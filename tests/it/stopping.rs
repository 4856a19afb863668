//! The end of a bot whose broker does not behave: a call without an answer, a thread that dies.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use counterfill::broker::{Broker, BrokerOrder, Placed, Profile, Quote, ReadError, Session, Ticket};
use counterfill::chain::ChainConfig;
use counterfill::exit;
use counterfill::hedges::{IntentState, Limits};
use counterfill::ledger::{Claim, Ledger};
use counterfill::run::{Exit, Parts, Published, run};
use counterfill::serve::metrics::{Meters, recorder};
use counterfill::sim::Story;
use counterfill::units::{IntentId, Millis, OrderId, Shares, Symbol};
use tokio::sync::watch;

/// Far longer than anything here takes, also on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// An empty account; an order call tells that it came, and then waits, or panics.
struct Odd {
    profile: Profile,
    came: SyncSender<()>,
    /// Nobody sends: it ends with the test. None: the call panics.
    answer: Option<Mutex<Receiver<()>>>,
}

impl Broker for Odd {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn place(&self, ticket: &Ticket, _: Millis) -> Placed {
        self.came.try_send(()).unwrap();
        let Some(answer) = &self.answer else {
            panic!("{} meets a bug in the client (a test wants it)", ticket.intent)
        };
        let _ = answer.lock().unwrap().recv();
        Placed::Unknown("too late".into())
    }

    fn order(&self, _: &OrderId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        Ok(None)
    }

    fn find(&self, _: &IntentId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        Ok(None)
    }

    fn list(&self, _: Millis, _: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        Ok(vec![])
    }

    fn positions(&self, _: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
        Ok(vec![])
    }

    fn session(&self, _: Millis) -> Result<Session, ReadError> {
        Ok(Session::Open { until: None })
    }

    fn quotes(&self, _: &[Symbol], _: Millis) -> Result<Vec<Quote>, ReadError> {
        Ok(vec![])
    }
}

/// Runs a bot before the demo's chain until its first order call has come; then `stop` decides.
async fn run_until_an_order(
    answer: Option<Receiver<()>>,
    stop_then: bool,
    folder: &tempfile::TempDir,
) -> Exit {
    let mut story = Story::start(1, 1_760_000_000).await.unwrap();
    let (came, called) = sync_channel(1);
    let profile = Profile {
        name: "paper",
        account: "ODD".into(),
        lot: Shares::whole(1),
        fraction_notional_min: None,
        client_ids: true,
        allow_short: true,
        crosses_zero: true,
        quotes: false,
        tag: Some("ours".into()),
        poll_ms: 200,
    };
    let parts = Parts {
        chain: ChainConfig {
            ws_url: story.node().ws_url(),
            cert_file: None,
            chain_id: None,
            stamped_chain_id: None,
            orderbooks: vec![story.orderbook()],
            owners: vec![story.owner()],
            deployment_block: story.deployment_block(),
            hedge_from_block: None,
            symbols: None,
            equities: story.equities().into_iter().map(|(symbol, token)| (token, symbol)).collect(),
            ratios: std::collections::BTreeMap::new(),
            unit_jump_max_percent: counterfill::chain::tokens::UNIT_JUMP_MAX_PERCENT,
            cash: Some(story.cash()),
            log_range_blocks: 1_000,
            head_age_max: Duration::from_secs(30),
        },
        claim: Claim::on(&folder.path().join("bot.db"), Millis::now()).unwrap(),
        database: folder.path().join("bot.db"),
        broker: Arc::new(Odd { profile, came, answer: answer.map(Mutex::new) }),
        confirmations: 0,
        limits: Limits::default(),
        absent_after_ms: None,
        max_price_deviation_bps: 500,
        unhedged_alert_ms: 60_000,
        live: false,
        listener: None,
        meters: Meters::of(&recorder().unwrap()),
        alerts: counterfill::alerts::Alerts::none(),
        account_last4: None,
        keeps_hours: false,
        heartbeat: counterfill::alerts::Heartbeat::none(),
        tell: Arc::new(|_| {}),
    };
    let (stop, stopped) = watch::channel(false);
    let published = Published::default();
    let story = async {
        loop {
            story.step().unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if called.try_recv().is_ok() {
                break;
            }
        }
        if stop_then {
            stop.send_replace(true);
        }
        // The chain stays; the bot must end by itself.
        std::future::pending::<()>().await;
    };
    tokio::time::timeout(LONG, async {
        tokio::select! {
            exit = run(parts, &published, stopped) => exit,
            () = story => unreachable!(),
        }
    })
    .await
    .expect("the bot ends")
}

#[tokio::test]
async fn a_stop_waits_for_no_answer_for_ever_and_leaves_the_order_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (_never, answer) = sync_channel(1);
    let exit = run_until_an_order(Some(answer), true, &folder).await;
    assert_eq!((exit.code, exit.message), (exit::DONE, None));
    let ledger = Ledger::open_as_stamped(&folder.path().join("bot.db"), Millis::now()).unwrap();
    let states: Vec<IntentState> = ledger
        .load()
        .unwrap()
        .intents
        .iter()
        .map(|i| i.state)
        // What waits behind that order may be wanted no more by now; neither has left.
        .filter(|s| !matches!(s, IntentState::Planned | IntentState::Withdrawn))
        .collect();
    assert_eq!(states, [IntentState::Sent], "nobody knows, so the next start asks");
}

#[tokio::test]
async fn a_broker_thread_that_dies_ends_the_process_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let exit = run_until_an_order(None, false, &folder).await;
    assert_eq!(exit.code, exit::BUG);
    assert!(exit.message.as_deref().is_some_and(|text| text.contains("orders thread")), "{exit:?}");
}
