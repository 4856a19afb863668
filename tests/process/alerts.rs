//! Alerts over real sockets, to a scripted receiver that is down, slow, busy, hostile or closes: what arrives, what is
//! counted, and that raising never waits.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::node::serve;
use crate::until::until;
use alloy::primitives::{Address, address};
use broker_doubles::http::{Handler, Manner, Reply, Request, Server};
use broker_doubles::tls::Authority;
use counterfill::alerts::{Alerts, Options, Pace, post_now};
use counterfill::config::WebhookUrl;
use counterfill::sim::{SimChain, SimNode};
use serde_json::{Value, json};
use testkit::process::{self, Process};
use testkit::until::PATIENCE;

const BOOK: Address = address!("e522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D");

/// Answers from a script, then 200; remembers what it was sent.
#[derive(Default)]
struct Receiver {
    script: Mutex<VecDeque<Reply>>,
    heard: Mutex<Vec<Request>>,
}

impl Handler for Receiver {
    fn handle(&self, request: &Request) -> Reply {
        self.heard.lock().unwrap().push(request.clone());
        let next = self.script.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Reply::json(200, &json!("ok")))
    }
}

struct Bench {
    receiver: Arc<Receiver>,
    server: Server,
}

impl Bench {
    fn new(script: Vec<Reply>) -> Self {
        Self::over(None, script)
    }

    fn over(authority: Option<&Authority>, script: Vec<Reply>) -> Self {
        let receiver = Arc::new(Receiver { script: Mutex::new(script.into()), ..Receiver::default() });
        let server = Server::start(0, authority, Arc::clone(&receiver) as Arc<dyn Handler>).unwrap();
        Self { receiver, server }
    }

    fn options(&self) -> Options {
        options(&self.server.url())
    }

    /// Method, path and text of each request.
    fn heard(&self) -> Vec<(String, String, String)> {
        let heard = self.receiver.heard.lock().unwrap();
        let text = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(body.as_object().unwrap().len(), 1, "nothing but the text: {body}");
            body["text"].as_str().unwrap().to_owned()
        };
        heard.iter().map(|r| (r.method.clone(), r.path.clone(), text(&r.body))).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.heard().into_iter().map(|(_, _, text)| text).collect()
    }

    fn until_heard(&self, count: usize) -> Vec<String> {
        until(&format!("{count} posts"), String::new, || self.texts().len() >= count);
        self.texts()
    }
}

/// Pauses short enough for a test, in the proportions of the real ones.
fn options(base: &str) -> Options {
    let ms = Duration::from_millis;
    Options {
        url: WebhookUrl::new(&format!("{base}/services/CANARY")).unwrap(),
        cert_file: None,
        label: "counterfill (paper)".into(),
        pace: Pace { period: PATIENCE, between: ms(1), pause: ms(10), pause_max: ms(200), age_max: PATIENCE },
    }
}

fn no(status: u16) -> Reply {
    Reply::json(status, &json!({ "error": "no" }))
}

#[test]
fn an_alert_is_one_post_of_one_text() {
    let bench = Bench::new(vec![]);
    let alerts = Alerts::start(bench.options()).unwrap();
    alerts.raise("TSLA halted (stuck): <!channel>\nlook");
    bench.until_heard(1);
    alerts.close(PATIENCE);
    let text = "counterfill (paper): TSLA halted (stuck): &lt;!channel&gt; look".to_owned();
    assert_eq!(bench.heard(), [("POST".into(), "/services/CANARY".into(), text)]);
    let heard = bench.receiver.heard.lock().unwrap();
    assert_eq!(heard[0].header("content-type"), Some("application/json"));
}

#[test]
fn the_same_text_is_posted_once_and_counted_afterwards() {
    let bench = Bench::new(vec![]);
    let mut options = bench.options();
    let period = Duration::from_secs(1);
    options.pace.period = period;
    let begun = Instant::now();
    let alerts = Alerts::start(options).unwrap();
    for _ in 0..20 {
        alerts.raise("the broker differs");
    }
    alerts.raise("another");
    // How many times each post stands for. On a busy machine there may be more than one period, and more than one count.
    let counted = || -> Vec<u32> {
        let told = bench.texts();
        let of_it = told.iter().filter_map(|text| text.strip_suffix("the broker differs"));
        of_it
            .map(|before| match before.strip_prefix("counterfill (paper): ").unwrap() {
                "" | "once more since it was posted: " => 1,
                more => more.strip_suffix(" times more since it was posted: ").unwrap().parse().unwrap(),
            })
            .collect()
    };
    until("all of them are told", String::new, || counted().iter().sum::<u32>() == 20);
    let (posts, periods) = (counted().len(), begun.elapsed().as_millis() / period.as_millis());
    assert!(posts <= 1 + usize::try_from(periods).unwrap(), "{posts} posts within {periods} periods");
    assert_eq!(bench.texts()[0], "counterfill (paper): the broker differs");
    let another = || bench.texts().iter().filter(|text| *text == "counterfill (paper): another").count();
    until("the other one is told", String::new, || another() == 1);
}

#[test]
fn a_receiver_that_fails_is_tried_again_until_it_takes_it() {
    let script = vec![
        no(500),
        no(503),
        no(429).with("Retry-After", "0"),
        no(200).leaving(Manner::Close),
        no(200).leaving(Manner::Reset),
        no(200).leaving(Manner::HalfHeaders),
    ];
    let failures = script.len();
    let bench = Bench::new(script);
    let alerts = Alerts::start(bench.options()).unwrap();
    alerts.raise("first");
    alerts.raise("second");
    let texts = bench.until_heard(failures + 2);
    alerts.close(PATIENCE);
    // The order is kept: the second waits for the first.
    assert!(texts[..=failures].iter().all(|text| text.ends_with("first")), "{texts:?}");
    assert!(texts[failures + 1].ends_with("second"), "{texts:?}");
    assert_eq!(bench.texts().len(), failures + 2, "and what was taken is not posted again");
}

#[test]
fn a_receiver_that_was_down_gets_what_waited() {
    // Below those that the system gives to whoever asks for any: while it is down, nobody else gets it.
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let down = (first..).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
    let port = down.local_addr().unwrap().port();
    let alerts = Alerts::start(options(&format!("http://127.0.0.1:{port}"))).unwrap();
    alerts.raise("while it was down");
    // One attempt is hung up on; others may find nobody at all.
    drop(down.accept().unwrap());
    drop(down);
    let receiver = Arc::new(Receiver::default());
    // A process that another test starts in this moment has a copy of what was open, until it is the other program.
    let mut server = None;
    until("it is back", String::new, || {
        server = Server::start(port, None, Arc::clone(&receiver) as Arc<dyn Handler>).ok();
        server.is_some()
    });
    until("it arrives", String::new, || receiver.heard.lock().unwrap().len() == 1);
    alerts.close(PATIENCE);
}

#[test]
fn a_clear_no_is_not_repeated_and_holds_up_nobody() {
    for status in [302, 400, 403, 404, 410] {
        let other = Bench::new(vec![]);
        let redirect = no(status).with("Location", &other.server.url());
        let bench = Bench::new(vec![redirect]);
        let alerts = Alerts::start(bench.options()).unwrap();
        alerts.raise("first");
        alerts.raise("second");
        let texts = bench.until_heard(2);
        alerts.close(PATIENCE);
        assert!(texts[0].ends_with("first") && texts[1].ends_with("second"), "{status}: {texts:?}");
        assert_eq!(other.texts(), Vec::<String>::new(), "{status}: a redirect is not followed");
    }
}

#[test]
fn raising_never_waits_for_a_receiver_that_never_answers() {
    let stalled = || no(200).after(PATIENCE);
    let bench = Bench::new((0..10).map(|_| stalled()).collect());
    let alerts = Alerts::start(bench.options()).unwrap();
    alerts.raise("held up");
    bench.until_heard(1);
    // Far more than may wait; while the first one still does, none of these can have waited for it.
    for n in 0..5_000 {
        alerts.raise(&format!("alert {n}"));
    }
    assert!(bench.texts().iter().all(|text| text.ends_with("held up")), "the first one still waits");
    let begun = Instant::now();
    alerts.close(Duration::from_millis(50));
    assert!(begun.elapsed() < PATIENCE, "the end does not wait either");
}

#[test]
fn the_end_gives_what_waits_one_more_chance() {
    let bench = Bench::new(vec![no(500)]);
    let mut options = bench.options();
    options.pace.pause = PATIENCE;
    options.pace.pause_max = PATIENCE;
    let alerts = Alerts::start(options).unwrap();
    alerts.raise("the bot ended with exit code 65");
    bench.until_heard(1);
    alerts.close(PATIENCE);
    assert_eq!(bench.texts().len(), 2, "its pause would have been longer than this test");
}

/// A node, for as long as the sender lives.
fn a_node() -> (SimNode, mpsc::Sender<()>) {
    let mut chain = SimChain::new(8453, 1_000, 7);
    chain.contracts.insert(BOOK);
    serve(chain)
}

#[test]
fn a_bot_posts_its_halts_and_why_it_ended_and_its_heart_beats_while_it_is_ready() {
    let (bench, watcher) = (Bench::new(vec![]), Bench::new(vec![no(500)]));
    let (node, _keep) = a_node();
    node.mine_empty(3);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let command = |args: &[&str]| process::verb(&folder.path().join("bot.db"), args);
    let run = |chain_id: &str| {
        let mut run = command(&["run"]);
        run.env("WS_RPC_URL", node.ws_url())
            .env("ORDERBOOK", BOOK.to_string())
            .env("ORDER_OWNER", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
            .env("DEPLOYMENT_BLOCK", "1001")
            .env("CHAIN_ID", chain_id)
            .env("LISTEN", "127.0.0.1:0")
            .env("SYMBOLS", "AAPL,MSFT,NVDA,TSLA")
            .env("ALERT_WEBHOOK_URL", format!("{}/services/CANARY", bench.server.url()))
            .env("HEARTBEAT_URL", format!("{}/ping/CANARY?x=1", watcher.server.url()));
        Process::start_logging_to(&log, run)
    };
    let logged = || std::fs::read_to_string(&log).unwrap();
    let bot = run("8453");
    let beats = || watcher.receiver.heard.lock().unwrap().clone();
    until("a heartbeat", String::new, || {
        node.mine_empty(1);
        !beats().is_empty()
    });
    let halt = || command(&["halt", "TSLA", "--reason", "<!here> a test"]).output().unwrap();
    until("halted", String::new, || halt().status.success());
    let texts = bench.until_heard(1);
    let text = "counterfill (paper, AAPL, MSFT, NVDA, …): TSLA halted (operator): &lt;!here&gt; a test";
    assert_eq!(texts[0], text);
    assert!(logged().contains("ALERT TSLA halted (operator): <!here> a test"), "{}", logged());
    until("the lost heartbeat is told", String::new, || logged().contains("a heartbeat is lost"));
    drop(bot);
    assert!(!logged().contains("CANARY"), "{}", logged());
    let [beat] = &beats()[..] else { panic!("one a minute: {:?}", beats()) };
    assert_eq!((beat.method.as_str(), beat.path.as_str(), beat.body.len()), ("GET", "/ping/CANARY", 0));

    let ended = run("1").ends();
    assert_eq!(ended.code, 78, "{}", ended.log);
    let text = "counterfill (paper, AAPL, MSFT, NVDA, …): the bot ended with exit code 78: ";
    until("why it ended", String::new, || bench.texts().iter().any(|told| told.starts_with(text)));
    assert_eq!(beats().len(), 1, "it was never ready");
}

#[test]
fn over_tls_only_a_trusted_receiver_is_told() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, &authority.pem).unwrap();
        path
    };
    let bench = Bench::over(Some(&authority), vec![]);
    let with = |cert_file| Options { cert_file: Some(cert_file), ..bench.options() };
    let why = post_now(&with(file("stranger.pem", &stranger)), "hello").unwrap_err();
    assert!(!why.contains("CANARY"), "{why}");
    assert_eq!(bench.texts(), Vec::<String>::new());
    post_now(&with(file("ca.pem", &authority)), "hello").unwrap();
    assert_eq!(bench.texts(), ["counterfill (paper): hello"]);
}
