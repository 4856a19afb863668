//! The window and the control socket, over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use counterfill::broker::{Placed, Session};
use counterfill::chain::ChainFacts;
use counterfill::engine::{EngineSnapshot, LiveIntent, TickerSnapshot};
use counterfill::hedges::{Decision, Halt, HaltKind, IntentState};
use counterfill::serve::control::{self, ControlCommand, ControlError, ControlRequest};
use counterfill::serve::health::{Limits, ProcessFacts};
use counterfill::serve::identity::{Identity, Mode};
use counterfill::serve::metrics::{self, Meters};
use counterfill::serve::status::StatusReport;
use counterfill::serve::{self, BODY_BYTES_MAX, CONNECTIONS_MAX, ServeError, Site, ask_health};
use counterfill::units::{BlockRef, Millis, Shares};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};

const NOW: Millis = Millis(1_700_000_000_000);
const SECRET: &str = "account 4711";

fn facts() -> EngineSnapshot {
    EngineSnapshot {
        at: NOW.plus(-400),
        deciding: true,
        waiting: vec![],
        cursor: Some(BlockRef { number: 23_456_789, hash: B256::repeat_byte(1) }),
        fills_total: 3,
        reversals_total: 1,
        dead_total: 0,
        tickers: vec![TickerSnapshot {
            symbol: "TSLA".parse().unwrap(),
            exposure: "-2.000000000000000001".parse().unwrap(),
            live: Some(LiveIntent {
                id: "cf-a-1".parse().unwrap(),
                state: IntentState::Working,
                changed_at: NOW.plus(-3_000),
            }),
            unhedged_since: None,
            overdue: false,
            waiting: Some(SECRET.into()),
            remedy: Some(SECRET.into()),
        }],
        halts: vec![],
        gate: None,
        broker_answers: Some(true),
        session: Some(Session::Open { until: None }),
        pending: vec![],
        unsettled: vec![],
    }
}

fn chain() -> ChainFacts {
    ChainFacts {
        connected: true,
        reconnects: 2,
        head: Some(23_456_790),
        head_moved_at: Some(NOW.plus(-2_345)),
        answered_at: Some(NOW.plus(-1_500)),
        swept_at: Some(NOW.plus(-2_000)),
        unswept_since: None,
        forks: 1,
        discarded: 4,
        unproven: 0,
        error: Some(SECRET.into()),
        ..ChainFacts::default()
    }
}

fn process_since(started_at: Millis) -> ProcessFacts {
    let identity = Identity {
        broker: Some("alpaca".into()),
        mode: Some(Mode::Live),
        account: Some("live-0123456789ab".into()),
        account_last4: Some("4321".into()),
        chain_id: Some(8453),
        owners: vec!["0xaaaa".into()],
        orderbooks: vec!["0xbbbb".into()],
        ledger: Some("/data/bot.db".into()),
        pid: Some(7),
    };
    ProcessFacts { started_at, identity, keeps_hours: true, ..ProcessFacts::default() }
}

/// A served site and the ends that publish to it.
struct Bot {
    address: SocketAddr,
    facts: watch::Sender<Option<EngineSnapshot>>,
    chain: watch::Sender<ChainFacts>,
    process: watch::Sender<ProcessFacts>,
}

async fn bot_at(listen: &str, facts_now: Option<EngineSnapshot>) -> Bot {
    let (facts, facts_seen) = watch::channel(facts_now);
    let (chain_sender, chain_seen) = watch::channel(chain());
    let (process, process_seen) = watch::channel(process_since(NOW.plus(-61_000)));
    let recorder = metrics::recorder().unwrap();
    ::metrics::with_local_recorder(&recorder, || {
        metrics::record_commit(Duration::from_micros(800));
        metrics::record_commit(Duration::from_millis(30));
        metrics::record_placed(&Placed::Duplicate);
    });
    let site = Site {
        facts: facts_seen,
        chain: chain_seen,
        process: process_seen,
        limits: Limits::default(),
        meters: Meters::of(&recorder),
        clock: || NOW,
    };
    let listener = serve::bind(listen.parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::serve(listener, site));
    Bot { address, facts, chain: chain_sender, process }
}

async fn bot() -> Bot {
    bot_at("127.0.0.1:0", Some(facts())).await
}

/// Sends bytes, reads to the end: one connection is one request.
async fn raw(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(serve::reachable(address)).await.unwrap();
    // The server may answer and close before a large request is written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn request(bot: &Bot, method: &str, path: &str) -> (u16, String, String) {
    raw(bot.address, format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", bot.address).as_bytes()).await
}

async fn json(bot: &Bot, path: &str) -> (u16, serde_json::Value) {
    let (status, head, body) = request(bot, "GET", path).await;
    assert!(head.contains("content-type: application/json"), "{head}");
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn readiness_follows_the_facts() {
    let bot = bot().await;
    assert_eq!(json(&bot, "/readyz").await.0, 200);
    assert_eq!(json(&bot, "/livez").await.0, 200);

    bot.chain.send_modify(|chain| chain.connected = false);
    let (status, report) = json(&bot, "/readyz").await;
    assert_eq!((status, &report["ready"], &report["live"]), (503, &false.into(), &true.into()));
    let failing = |report: &serde_json::Value| -> Vec<String> {
        let checks = report["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["ok"] == false)
            .map(|check| check["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(failing(&report), ["chain_connected"]);
    assert_eq!(json(&bot, "/livez").await.0, 200);

    bot.chain.send_modify(|chain| chain.connected = true);
    assert_eq!(json(&bot, "/readyz").await.0, 200);

    bot.process.send_modify(|process| process.ledger_error = Some("disk full".into()));
    assert_eq!(failing(&json(&bot, "/readyz").await.1), ["ledger"]);
    bot.process.send_modify(|process| process.ledger_error = None);

    bot.facts.send_modify(|facts| facts.as_mut().unwrap().at = NOW.plus(-60_000));
    assert_eq!(json(&bot, "/readyz").await.0, 503);
    let (status, livez) = json(&bot, "/livez").await;
    assert_eq!((status, failing(&livez)), (503, vec!["engine_loop".to_owned()]));
}

#[tokio::test]
async fn before_the_first_facts_it_is_live_and_not_ready() {
    let bot = bot_at("127.0.0.1:0", None).await;
    assert_eq!(json(&bot, "/livez").await.0, 200);
    let (status, report) = json(&bot, "/readyz").await;
    assert_eq!((status, &report["engine"]), (503, &serde_json::Value::Null));
    assert_eq!(request(&bot, "GET", "/metrics").await.0, 200);
}

#[tokio::test]
async fn readyz_holds_the_facts_under_their_stable_names() {
    let bot = bot().await;
    let (_, report) = json(&bot, "/readyz").await;
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["uptime_s"], 61);
    let ticker = &report["engine"]["tickers"][0];
    assert_eq!(ticker["symbol"], "TSLA");
    assert_eq!(ticker["exposure"], "-2.000000000000000001", "amounts are text, and exact");
    assert_eq!(ticker["live_intent"]["intent_id"], "cf-a-1");
    assert_eq!(ticker["live_intent"]["state"], "Working");
    assert_eq!(report["engine"]["cursor"]["number"], 23_456_789);
    assert_eq!(report["chain"]["head"], 23_456_790);
    let report: StatusReport = serde_json::from_value(report).unwrap();
    assert!(report.ready);
}

#[tokio::test]
async fn strangers_see_no_exposure_no_order_and_no_words_of_others() {
    let mut shut = facts();
    shut.gate = Some(SECRET.into());
    shut.waiting = vec![SECRET.into()];
    shut.deciding = false;
    shut.halts = vec![Halt { symbol: None, kind: HaltKind::Operator, reason: SECRET.into() }];
    let open = bot_at("0.0.0.0:0", Some(shut.clone())).await;
    let home = bot_at("127.0.0.1:0", Some(shut)).await;
    let evil = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n").into_bytes();
    let bare = |path: &str| format!("GET {path} HTTP/1.0\r\n\r\n").into_bytes();
    for path in ["/readyz", "/livez", "/metrics", "/"] {
        let local = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        for (bot, request) in [(&open, local), (&home, evil(path)), (&home, bare(path))] {
            let (_, _, body) = raw(bot.address, &request).await;
            for private in
                [SECRET, "cf-a-1", "-2.0", "exposure_shares", "live-01", "4321", "0xaaaa", "/data/"]
            {
                assert!(!body.contains(private), "{path} shows {private}: {body}");
            }
        }
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"] {
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (_, _, body) = raw(home.address, request.as_bytes()).await;
        assert!(body.contains("cf-a-1") && body.contains(SECRET) && body.contains("/data/bot.db"), "{host}");
        for private in ["live-01", "4321", "0xaaaa", "0xbbbb"] {
            assert!(!body.contains(private), "pages show no account and no address: {private}");
        }
    }
    for host in
        ["", ":", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[::2]:80", "::1:x"]
    {
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (_, _, body) = raw(home.address, request.as_bytes()).await;
        assert!(!body.contains("cf-a-1"), "{host:?}");
    }
}

/// Reads Prometheus text strictly: every line is HELP, TYPE or a sample of a family that has both.
fn parse(text: &str) -> BTreeMap<String, String> {
    let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 10, "{line}");
            assert!(helps.insert(name.to_owned()), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind).is_none(), "twice: {line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            let name = series.split('{').next().unwrap();
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{line}"
            );
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = stem.filter(|stem| types.get(*stem) == Some(&"histogram")).unwrap_or(name);
            assert!(helps.contains(family), "no HELP before {line}");
            let kind = types.get(family).unwrap_or_else(|| panic!("no TYPE before {line}"));
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{line}");
            assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "twice: {line}");
        }
    }
    assert_eq!(helps, types.into_keys().collect());
    samples
}

#[tokio::test]
async fn metrics_are_whole_and_say_what_the_facts_say() {
    let bot = bot().await;
    let (status, head, body) = request(&bot, "GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples = parse(&body);
    for (series, value) in [
        ("counterfill_head_block", "23456790"),
        ("counterfill_cursor_block", "23456789"),
        ("counterfill_head_age_seconds", "2.345"),
        ("counterfill_chain_connected", "1"),
        ("counterfill_chain_reconnects_total", "2"),
        ("counterfill_forks_total", "1"),
        ("counterfill_sweeps_discarded_total", "4"),
        ("counterfill_unproven_blocks_total", "0"),
        ("counterfill_backfill_blocks_left", "0"),
        ("counterfill_fills_total", "3"),
        ("counterfill_reversals_total", "1"),
        ("counterfill_dead_events_total", "0"),
        ("counterfill_intents{state=\"Working\"}", "1"),
        ("counterfill_intents{state=\"Unknown\"}", "0"),
        ("counterfill_halts", "0"),
        ("counterfill_deciding", "1"),
        ("counterfill_broker_up", "1"),
        ("counterfill_gate_open", "1"),
        ("counterfill_live", "1"),
        ("counterfill_ready", "1"),
        ("counterfill_check_ok{check=\"chain_moves\"}", "1"),
        ("counterfill_exposure_shares{symbol=\"TSLA\"}", "-2"),
        ("counterfill_build_info{version=\"0.1.0\"}", "1"),
        ("process_start_time_seconds", "1699999939"),
        ("counterfill_ledger_commits_total", "2"),
        ("counterfill_ledger_commit_duration_seconds_count", "2"),
        ("counterfill_ledger_commit_duration_seconds_bucket{le=\"0.001\"}", "1"),
        ("counterfill_ledger_commit_duration_seconds_bucket{le=\"+Inf\"}", "2"),
        ("counterfill_orders_total{outcome=\"duplicate\"}", "1"),
        ("counterfill_orders_total{outcome=\"unknown\"}", "0"),
    ] {
        assert_eq!(samples.get(series).map(String::as_str), Some(value), "{series} in\n{body}");
    }

    // A series does not outlive what it speaks of.
    bot.facts.send_modify(|facts| facts.as_mut().unwrap().tickers.clear());
    bot.chain.send_modify(|chain| chain.connected = false);
    let samples = parse(&request(&bot, "GET", "/metrics").await.2);
    assert!(!samples.keys().any(|series| series.contains("TSLA")));
    assert_eq!(samples["counterfill_intents{state=\"Working\"}"], "0");
    assert_eq!(samples["counterfill_ready"], "0");
}

#[test]
fn every_outcome_of_an_order_is_counted_by_its_name() {
    let recorder = metrics::recorder().unwrap();
    let meters = Meters::of(&recorder);
    let placed = [
        ("accepted", Placed::Accepted("77".parse().unwrap())),
        ("refused", Placed::Refused { reason: "no".into(), gate_ms: None }),
        ("duplicate", Placed::Duplicate),
        ("not_sent", Placed::NotSent("dns".into())),
        ("unknown", Placed::Unknown("reset".into())),
    ];
    for (outcome, placed) in placed {
        let series = format!("counterfill_orders_total{{outcome=\"{outcome}\"}}");
        assert_eq!(parse(&meters.render())[&series], "0");
        ::metrics::with_local_recorder(&recorder, || metrics::record_placed(&placed));
        assert_eq!(parse(&meters.render())[&series], "1");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json_and_what_is_there_in_words() {
    let bot = bot().await;
    let (status, _, body) = request(&bot, "GET", "/").await;
    assert_eq!(status, 200);
    assert!(body.contains("/readyz") && body.contains("/metrics"));

    let (status, body) = json(&bot, "/nope").await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("no such page"));

    for path in ["/", "/livez", "/readyz", "/metrics"] {
        let (status, head, body) = request(&bot, "HEAD", path).await;
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        assert!(head.contains("cache-control: no-store") && head.contains("connection: close"), "{head}");
        assert_eq!(request(&bot, "POST", path).await.0, 405, "{path}");
    }
}

#[tokio::test]
async fn large_requests_are_refused() {
    let bot = bot().await;
    let post = |length: usize| {
        let mut request =
            format!("GET /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.resize(request.len() + length, b'x');
        request
    };
    assert_eq!(raw(bot.address, &post(BODY_BYTES_MAX)).await.0, 200);
    let (status, _, body) = raw(bot.address, &post(BODY_BYTES_MAX + 1)).await;
    assert_eq!(status, 413);
    assert!(body.contains("16384"), "{body}");

    let chunk = format!("{:x}\r\n{}\r\n", 9_000, "x".repeat(9_000));
    let chunked =
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(raw(bot.address, chunked.as_bytes()).await.0, 413);

    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(raw(bot.address, long.as_bytes()).await.0, 431);
    assert_eq!(raw(bot.address, b"nonsense\r\n\r\n").await.0, 400);
    assert_eq!(json(&bot, "/readyz").await.0, 200, "and it still answers");
}

/// Less than after which a connection that asks for nothing is closed, and its place given up.
const ALL_STILL_OPEN: Duration = Duration::from_secs(4);
/// So often is tried what only a machine that is too slow just then prevents.
const ATTEMPTS: usize = 30;

#[tokio::test]
async fn more_connections_than_there_is_room_for_wait_and_are_served() {
    for _ in 0..ATTEMPTS {
        if waits_for_a_place_and_is_served().await {
            return;
        }
    }
    panic!("the connections were never made within {ALL_STILL_OPEN:?}");
}

/// False where it took so long that a place may have been free from the beginning.
async fn waits_for_a_place_and_is_served() -> bool {
    let bot = bot().await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        idle.push(TcpStream::connect(bot.address).await.unwrap());
    }
    let mut probe = TcpStream::connect(bot.address).await.unwrap();
    probe.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // All places are taken: nothing comes (a slow machine can not fail this). Then one is given up.
    let mut byte = [0];
    let peeked = tokio::time::timeout(Duration::from_millis(200), probe.peek(&mut byte)).await;
    if begun.elapsed() >= ALL_STILL_OPEN {
        return false;
    }
    assert!(peeked.is_err());
    drop(idle.pop());
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(180), probe.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    true
}

#[tokio::test]
async fn a_port_in_use_names_the_variable() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = serve::bind(taken.local_addr().unwrap()).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse(_)));
    assert_eq!(error.exit_code(), 78);
    let text = error.to_string();
    assert!(text.contains(&format!("LISTEN={}", taken.local_addr().unwrap())), "{text}");
    let error = serve::bind("192.0.2.1:8080".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, ServeError::NotHere(_)) && error.to_string().contains("LISTEN"), "{error}");
}

async fn asked(listen: SocketAddr, json: bool) -> (u8, String) {
    tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        let code = ask_health(listen, json, &mut out);
        (code, String::from_utf8(out).unwrap())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn bot_health_asks_and_says() {
    let bot = bot_at("0.0.0.0:0", Some(facts())).await;
    let who = ": counterfill 0.1.0 · alpaca LIVE · process 7";
    assert_eq!(
        asked(bot.address, false).await,
        (0, format!("ready{who}\n")),
        "a stranger's view, as in a container"
    );
    bot.facts.send_modify(|facts| facts.as_mut().unwrap().dead_total = 1);
    bot.chain.send_modify(|chain| chain.connected = false);
    let (code, text) = asked(bot.address, false).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code, 1);
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0] == format!("not ready{who}") && lines[1].starts_with("failing: chain_connected: "),
        "{text}"
    );
    assert!(lines[2].starts_with("warning: dead_events: "), "{text}");
    let (code, text) = asked(bot.address, true).await;
    let report: StatusReport = serde_json::from_str(&text).unwrap();
    assert!(code == 1 && !report.ready && text.lines().count() == 1);
}

#[tokio::test]
async fn bot_health_without_a_bot() {
    // Where nobody listens: a port that was let go may be another's by now.
    let listen = "127.0.0.1:1".parse().unwrap();
    let (code, text) = asked(listen, false).await;
    assert_eq!((code, text), (1, format!("no bot answers at {listen}; is it running? LISTEN={listen}\n")));
    let (code, text) = asked(listen, true).await;
    assert_eq!(
        (code, &serde_json::from_str::<serde_json::Value>(&text).unwrap()["ready"]),
        (1, &false.into())
    );

    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = stranger.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = stranger.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n").await;
    });
    let (code, text) = asked(listen, false).await;
    assert!(code == 1 && text.contains("is no counterfill"), "{text}");
}

#[test]
fn the_unspecified_address_is_reached_over_loopback() {
    for (listen, reached) in [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("10.1.2.3:80", "10.1.2.3:80"),
    ] {
        assert_eq!(serve::reachable(listen.parse().unwrap()), reached.parse().unwrap());
    }
}

/// Answers every command with itself, except a halt without a ticker, which it refuses.
fn echo(path: &Path) {
    let listener = control::bind(path).unwrap();
    let (sender, mut receiver) = mpsc::channel::<ControlRequest>(4);
    tokio::spawn(control::control(listener, sender));
    tokio::spawn(async move {
        while let Some(ControlRequest { command, reply }) = receiver.recv().await {
            let answer = match &command {
                ControlCommand::Halt { symbol: None, .. } => Err("not today".to_owned()),
                command => Ok(serde_json::to_value(command).unwrap()),
            };
            let _ = reply.send(answer);
        }
    });
}

async fn ask(path: &Path, command: ControlCommand) -> Result<serde_json::Value, ControlError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || control::ask(&path, &command)).await.unwrap()
}

fn halt(symbol: Option<&str>) -> ControlCommand {
    ControlCommand::Halt {
        symbol: symbol.map(|s| s.parse().unwrap()),
        reason: "line one\nline two".into(),
        who: "ops".into(),
    }
}

#[tokio::test]
async fn a_command_goes_there_and_its_answer_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(control::SOCKET_NAME);
    echo(&path);
    let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");

    let answer = ask(&path, halt(Some("TSLA"))).await.unwrap();
    assert_eq!(
        answer,
        serde_json::json!({"command": "halt", "symbol": "TSLA", "reason": "line one\nline two", "who": "ops"})
    );
    for command in [
        ControlCommand::Status {},
        ControlCommand::Stop {},
        ControlCommand::Unsettled {},
        ControlCommand::Replay { tx: B256::repeat_byte(7) },
        ControlCommand::Reconcile {
            target: "cf-1-000001".parse().unwrap(),
            decision: Decision::Adopt("1000".parse().unwrap()),
            reason: "ok".into(),
            who: "ops".into(),
        },
        ControlCommand::Resume {
            kind: HaltKind::Operator,
            choice: None,
            symbol: None,
            reason: "ok".into(),
            who: "ops".into(),
        },
    ] {
        let answer = ask(&path, command.clone()).await.unwrap();
        assert_eq!(serde_json::from_value::<ControlCommand>(answer).unwrap(), command);
    }
    let error = ask(&path, halt(None)).await.unwrap_err();
    assert!(matches!(&error, ControlError::Refused(text) if text == "not today"), "{error}");
    let long = ControlCommand::Halt { symbol: None, reason: "x".repeat(70_000), who: "ops".into() };
    assert!(matches!(ask(&path, long).await, Err(ControlError::Refused(text)) if text.contains("65536")));
}

#[tokio::test]
async fn nonsense_is_answered_and_not_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(control::SOCKET_NAME);
    echo(&path);
    let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
    for (line, word) in [
        (&b"garbage\n"[..], "not a command"),
        (b"\n", "not a command"),
        (b"\xff\xfe\n", "not a command"),
        (b"{\"command\":\"explode\"}\n", "explode"),
        (b"{\"command\":\"status\",\"extra\":1}\n", "extra"),
        (b"{\"command\":\"halt\",\"symbol\":\"lower\",\"reason\":\"\",\"who\":\"\"}\n", "lower"),
        (b"{\"command\":\"status\"}\n", "\"ok\""),
    ] {
        stream.write_all(line).await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(value.get("ok").is_some(), word == "\"ok\"", "{answer}");
        assert!(answer.contains(word), "{answer}");
    }
    drop(stream);

    // A line without an end is cut off at its bound.
    let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
    stream.write_all(&vec![b'x'; 64 * 1024]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("error") && answer.contains("65536"), "{answer}");
    assert_eq!(answer.lines().count(), 1, "and the connection ends");

    assert!(ask(&path, ControlCommand::Status {}).await.is_ok());
}

#[tokio::test]
async fn a_bot_that_stops_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(control::SOCKET_NAME);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(control::control(control::bind(&path).unwrap(), sender));
    drop(receiver);
    let error = ask(&path, ControlCommand::Status {}).await.unwrap_err();
    assert!(matches!(&error, ControlError::Refused(text) if text.contains("stopping")), "{error}");
}

#[tokio::test]
async fn without_a_bot_the_verb_may_take_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(control::SOCKET_NAME);
    let away = |error: Result<_, ControlError>| matches!(error, Err(ControlError::NoBot(_)));
    assert!(away(ask(&path, ControlCommand::Status {}).await), "no socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(away(ask(&path, ControlCommand::Status {}).await), "a socket that a dead process left");
    echo(&path);
    assert!(ask(&path, ControlCommand::Status {}).await.is_ok(), "which the next bot replaces");
    let missing = folder.path().join("missing").join(control::SOCKET_NAME);
    assert!(away(ask(&missing, ControlCommand::Status {}).await), "no folder");
}

#[tokio::test]
async fn a_file_of_that_name_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(control::SOCKET_NAME);
    std::fs::write(&path, "precious").unwrap();
    let error = control::bind(&path).unwrap_err();
    assert!(matches!(error, ControlError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_long_path_works_too() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join(control::SOCKET_NAME);
    assert!(path.as_os_str().len() > 200);
    assert!(matches!(ask(&path, ControlCommand::Status {}).await, Err(ControlError::NoBot(_))));
    echo(&path);
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ask(&path, ControlCommand::Status {}).await.is_ok());
    let missing = deep.join("missing").join(control::SOCKET_NAME);
    assert!(matches!(ask(&missing, ControlCommand::Status {}).await, Err(ControlError::NoBot(_))));
    let name = deep.join("c".repeat(150));
    assert!(matches!(control::bind(&name), Err(ControlError::PathTooLong { .. })));
}

#[test]
fn the_status_screen() {
    let mut facts = facts();
    facts.tickers.push(TickerSnapshot {
        symbol: "XOM".parse().unwrap(),
        exposure: Shares::whole(1),
        live: None,
        unhedged_since: Some(NOW.plus(-75_000)),
        overdue: true,
        waiting: Some("the account holds 0".into()),
        remedy: Some("set ALLOW_SHORT=true".into()),
    });
    (facts.tickers[0].waiting, facts.tickers[0].remedy) = (None, None);
    let xom = Some("XOM".parse().unwrap());
    facts.halts = vec![Halt { symbol: xom, kind: HaltKind::Rejects, reason: "five in a row".into() }];
    facts.gate = Some("rate pause until 12:00".into());
    let process = process_since(NOW.plus(-3_725_000));
    let chain = ChainFacts { error: Some("the node hung up".into()), ..chain() };
    let health = serve::health::health(Some(&facts), &chain, &process, NOW, &Limits::default());
    let report = StatusReport::new(health, Some(&facts), &chain, &process, NOW);
    let expected = "\
counterfill 0.1.0 · up 1 h 2 m · NOT READY
bot      alpaca LIVE · account …4321 · account live-0123456789ab · ledger /data/bot.db · process 7
watches  chain 8453 · owner 0xaaaa · order book 0xbbbb
session  open
chain    connected · head 23456790 (2 s old) · cursor 23456789 (1 behind) · reconnects 2 · forks 1
         last error: the node hung up
broker   answers · no order may go out: rate pause until 12:00
orders   decided, and wait for the broker
ledger   fills 3 · reversals 1 · not understood 0

TICKER                       EXPOSURE  STATE          SINCE  INTENT / WAITING
TSLA            -2.000000000000000001  Working          3 s  cf-a-1
XOM                                 1  unhedged    1 m 15 s  the account holds 0 → set ALLOW_SHORT=true

halts
  XOM          rejects: five in a row
               lift it: bot resume XOM --kind rejects --reason …

to look at
  ✗ broker_gate: no order may go to the broker [rate pause until 12:00]
  ✗ halts: no order goes out for XOM (rejects) [five in a row]
  ✗ exposure_hedged: XOM (for 75.0 s): a lot or more is open and no order is at work for it [XOM: the account holds 0]
";
    assert_eq!(report.to_string(), expected, "\n{report}");
    // It survives the socket.
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<StatusReport>(&text).unwrap(), report);
}
