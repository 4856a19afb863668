//! `bot doctor` as a process, against a simulated node, a double of Alpaca and of Schwab (the brokers over TLS), and a
//! scripted webhook: well once, then each failure by itself with its exact text, and never an order call.

mod needs;
mod schwab;
mod ward;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use crate::node::serve;
use broker_doubles::alpaca::{Fault, Kind};
use broker_doubles::http::{Handler, Reply, Request, Server};
use broker_doubles::tls::Authority;
use counterfill::sim::{RpcFault, SimChain};
use serde_json::{Value, json};
use ward::{BOOK, CHAIN_ID, Told, Ward, now_s};

const WEBHOOK_KEY: &str = "CANARY-webhook";

/// A receiver of alerts that answers with one status.
struct Receiver {
    status: u16,
    heard: Mutex<Vec<String>>,
}

impl Handler for Receiver {
    fn handle(&self, request: &Request) -> Reply {
        self.heard.lock().unwrap().push(String::from_utf8(request.body.clone()).unwrap());
        Reply::json(self.status, &json!("no"))
    }
}

const NODE: &str = "Ask the node's provider, or take another node for WS_RPC_URL";

#[test]
fn all_is_well_over_tls_and_nothing_is_ordered() {
    let ward = Ward::new();
    let told = ward.examine(&[]);
    assert_eq!((told.code, told.ill()), (0, BTreeSet::new()), "{}", told.text);
    assert_eq!(told.row("chain id"), ("ok", "8453, as CHAIN_ID says", ""));
    assert_eq!(told.row("login"), ("ok", "keys, which need no login", ""));
    assert_eq!(told.row("orders"), ("ok", "0 in the last hour", ""));
    assert!(told.row("broker tls").1.contains("is trusted (TLSv1_3)"), "{}", told.text);
    assert!(told.row("node tls").1.contains("without TLS"), "{}", told.text);
    assert!(told.row("ledger").1.contains("yet; `bot run` makes it"), "{}", told.text);
    let routes: BTreeSet<String> = ward.double.log().into_iter().map(|entry| entry.route).collect();
    for asked in ["account", "positions", "list", "clock"] {
        assert!(routes.contains(asked), "{asked}: {routes:?}");
    }

    let (code, table, _) = ward.run(&[]);
    assert_eq!(code, 0, "{table}");
    assert!(table.contains("\nchain id      ok        8453, as CHAIN_ID says\n"), "{table}");
    let last = table.lines().last().unwrap();
    assert!(last.starts_with("29 ok, 1 warning"), "{table}");
    assert!(table.contains("→ Set ALERT_WEBHOOK_URL_FILE"), "{table}");
}

#[test]
fn at_paper_what_is_not_there_is_said_and_no_book_is_made() {
    let ward = Ward::paper();
    ward.give_birth(|_| ());
    let told = ward.examine(&[]);
    assert_eq!(told.code, 0, "{}", told.text);
    let nothing = "the paper broker is in this process: it has no server";
    assert_eq!(told.row("broker dns"), ("ok", nothing, ""));
    let ledger = told.row("ledger").1;
    assert!(ledger.contains("is whole and this configuration's; no bot runs on it"), "{ledger}");
}

#[test]
fn the_nodes_failures_each_by_itself() {
    let ward = Ward::paper();
    ward.node.wrong_chain_id(Some(1));
    let remedy = "Set WS_RPC_URL to a node of the right chain, or CHAIN_ID to this one's";
    ward.only("chain id", "failed", "the node is on chain 1, CHAIN_ID is 8453", remedy);
    ward.node.heal();

    ward.node.no_code(Some(BOOK));
    let found = format!("there is no code at {BOOK}");
    let remedy =
        "Look at ORDERBOOK: it is the address that your orders' transactions were sent to, on this chain";
    ward.only("order book", "failed", &found, remedy);
    ward.node.heal();

    ward.node.without_method("eth_getLogs");
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["logs", "block logs", "trades", "calls"]), "{}", told.text);
    assert!(told.row("logs").1.starts_with("the node refuses eth_getLogs: "), "{}", told.text);
    assert_eq!(told.row("logs").2, NODE);
    ward.node.heal();

    // As many blocks at once as a bot asks for; a node that gives fewer slows its backfill and no more.
    let told = ward.examine(&[]);
    let head: u64 = told.row("head").1["block ".len()..].split(',').next().unwrap().parse().unwrap();
    let found = format!("eth_getLogs answers for blocks {} to {head}: 0 of the order book", head - 999);
    assert_eq!(told.row("logs"), ("ok", found.as_str(), ""));
    ward.node.range_max_blocks(Some(500));
    let told = ward.examine(&[]);
    assert_eq!((told.code, told.row("logs").0), (0, "warning"), "{}", told.text);
    let found = told.row("logs").1;
    assert!(found.starts_with("not for 1000 blocks at once, which is LOG_RANGE_BLOCKS: "), "{found}");
    assert!(found.ends_with("max block range 500; for 10 it answers"), "{found}");
    ward.node.range_max_blocks(Some(5));
    assert_eq!(ward.examine(&[]).ill(), BTreeSet::from(["logs", "trades"]));
    ward.node.heal();

    ward.node.rpc_errors_of("eth_subscribe", RpcFault::RateLimited, true);
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["pushes"]), "{}", told.text);
}

#[test]
fn an_old_head_and_one_from_the_future() {
    let mut ward = Ward::paper();
    ward.set("HEAD_AGE_MAX", "1s");
    let (node, _keep) = serve(SimChain::starting_at(CHAIN_ID, 1_000, 7, now_s() - 500));
    node.chain_mut(|chain| chain.contracts.insert(BOOK));
    ward.set("WS_RPC_URL", node.ws_url());
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["head"]), "{}", told.text);
    assert!(told.row("head").1.ends_with(" s old, HEAD_AGE_MAX is 1 s"), "{}", told.text);

    let (node, _keep) = serve(SimChain::starting_at(CHAIN_ID, 1_000, 7, now_s() + 500));
    node.chain_mut(|chain| chain.contracts.insert(BOOK));
    ward.set("WS_RPC_URL", node.ws_url());
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["clock"]), "{}", told.text);
    assert!(told.row("clock").1.ends_with(" s ahead of this machine's clock"), "{}", told.text);
}

#[test]
fn a_node_that_is_not_there_and_a_name_that_is_none() {
    let mut ward = Ward::paper();
    ward.set("WS_RPC_URL", "ws://127.0.0.1:1/CANARY");
    let told = ward.examine(&[]);
    let ill =
        ["node tls", "node", "chain id", "head", "logs", "block logs", "receipts", "history", "old state"];
    let ill = ill.into_iter().chain(["trades", "tokens", "units", "pushes", "order book", "calls", "clock"]);
    assert_eq!(told.ill(), ill.collect(), "{}", told.text);
    let refused = "127.0.0.1:1 takes no connection: Connection refused (os error 111)";
    assert_eq!(told.row("node tls").1, refused);
    let after = ("not_done", "not looked at, because `node` failed", "Mend `node` first");
    assert_eq!(told.row("order book"), after);

    ward.set("WS_RPC_URL", "wss://no-such-host.invalid/CANARY");
    let told = ward.examine(&[]);
    let (verdict, found, next) = told.row("node dns");
    assert_eq!(verdict, "failed");
    assert!(found.starts_with("no-such-host.invalid can not be resolved: "), "{found}");
    assert!(next.ends_with("(`getent hosts no-such-host.invalid`)"), "{next}");
}

#[test]
fn a_stranger_in_the_brokers_place_is_not_trusted() {
    let mut ward = Ward::new();
    let strangers = ward.folder.path().join("strangers.pem");
    std::fs::write(&strangers, Authority::new().pem).unwrap();
    ward.set("SSL_CERT_FILE", strangers.display().to_string());
    let server = ward.double.url().trim_start_matches("https://").to_owned();
    let told = ward.examine(&[]);
    let ill = ["broker tls", "account", "positions", "orders", "quotes", "market hours", "clock"];
    assert_eq!(told.ill(), BTreeSet::from(ill), "{}", told.text);
    let (_, found, next) = told.row("broker tls");
    // Both authorities have the same name and different keys, so it is the signature that gives the stranger away.
    assert_eq!(found, format!("no TLS with {server}: invalid peer certificate: BadSignature"));
    assert!(next.starts_with("Set SSL_CERT_FILE to a PEM file"), "{next}");
    let after = ("not_done", "not looked at, because `account` failed", "Mend `account` first");
    assert_eq!(told.row("quotes"), after);
    assert!(ward.double.log().is_empty(), "nothing got past the handshake");
}

#[test]
fn refused_keys_another_account_and_a_blocked_one() {
    let mut ward = Ward::new();
    ward.double.fault(Fault::always("account", Kind::Keys { status: 401 }));
    let told = ward.examine(&[]);
    // A refusal has its time too, so the clock is known.
    let ill = ["account", "positions", "orders", "quotes", "market hours"];
    assert_eq!(told.ill(), BTreeSet::from(ill), "{}", told.text);
    let found = told.row("account").1;
    assert!(found.contains("check ALPACA_API_KEY, ALPACA_API_SECRET and ALPACA_TRADING_MODE"), "{found}");
    ward.double.heal();

    ward.double.book(|book| book.account.trading_blocked = true);
    let remedy = "Log in at the broker's own page: it says what it waits for";
    ward.only("account", "failed", "the account is blocked from trading", remedy);
    ward.double.book(|book| book.account.trading_blocked = false);
    ward.double.book(|book| book.account.trade_suspended_by_user = true);
    ward.only(
        "account",
        "failed",
        "trading is suspended by the account's own setting (trade_suspended_by_user)",
        remedy,
    );
    ward.double.book(|book| book.account.trade_suspended_by_user = false);

    ward.set("LIVE_ACCOUNT", "0000");
    let told = ward.examine(&[]);
    let why = "LIVE_ACCOUNT is not the end of the account number that these keys belong to";
    assert_eq!(told.row("account").1, why, "{}", told.text);
}

#[test]
fn an_entitlement_that_is_missing_is_named() {
    let ward = Ward::new();
    let refused = || Kind::Refuse { status: 403, code: 40_310_000, message: "not in your plan".into() };
    let remedy = "The broker answers and does not give this: look whether the account, its plan or its keys include it";
    for (route, name) in [("quotes", "quotes"), ("positions", "positions"), ("list", "orders")] {
        ward.double.fault(Fault::always(route, refused()));
        let told = ward.examine(&[]);
        assert_eq!(told.ill(), BTreeSet::from([name]), "{}", told.text);
        let (_, found, next) = told.row(name);
        assert!(found.contains("HTTP 403: 40310000 not in your plan"), "{found}");
        assert_eq!(next, remedy);
        ward.double.heal();
    }
}

#[test]
fn a_foreign_a_damaged_and_an_empty_ledger() {
    let mut ward = Ward::paper();
    ward.give_birth(|stamp| stamp.chain_id = 1);
    let told = ward.examine(&[]);
    let (verdict, found, next) = told.row("ledger");
    assert_eq!((told.code, verdict), (0, "warning"), "{}", told.text);
    assert!(found.ends_with("belongs to another configuration, and holds no fill and no hedge"), "{found}");
    assert!(next.ends_with("`bot run` keeps a backup and stamps it anew"), "{next}");
    ward.halt();
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["ledger"]), "{}", told.text);
    assert!(told.row("ledger").1.contains("belongs to another configuration"), "{}", told.text);

    ward.set("CHAIN_ID", "1");
    ward.node.wrong_chain_id(Some(1));
    assert_eq!(ward.examine(&[]).code, 0, "the same ledger, rightly configured");

    let path = ward.data().join("bot.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].fill(0x55);
    std::fs::write(&path, &bytes).unwrap();
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["ledger"]), "{}", told.text);

    std::fs::write(&path, "").unwrap();
    let told = ward.examine(&[]);
    assert!(told.row("ledger").1.contains("it is empty"), "{}", told.text);
}

#[test]
fn a_directory_that_is_not_there_and_one_that_is_not_ours() {
    let mut ward = Ward::paper();
    ward.set("DATABASE_URL", "sqlite:/nowhere/at/all/bot.db");
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["disk", "ledger"]), "{}", told.text);
    let found = "/nowhere/at/all can not hold a ledger: there is no such directory";
    let remedy = "Type `mkdir -p /nowhere/at/all`, or set DATABASE_URL to another place";
    assert_eq!(told.row("disk"), ("failed", found, remedy));

    // A directory that nobody may write, root included.
    ward.set("DATABASE_URL", "sqlite:/proc/self/bot.db");
    let told = ward.examine(&[]);
    assert!(told.ill().contains("disk"), "{}", told.text);

    let locked = ward.folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o555)).unwrap();
    let root = std::fs::write(locked.join("probe"), "").is_ok();
    if root {
        std::fs::remove_file(locked.join("probe")).unwrap();
    }
    ward.set("DATABASE_URL", format!("sqlite:{}", locked.join("bot.db").display()));
    let told = ward.examine(&[]);
    // To root no directory is closed: then the doctor must say that, too.
    assert_eq!(told.row("disk").0, if root { "ok" } else { "failed" }, "{}", told.text);
}

#[test]
fn one_alert_is_posted_on_request_and_only_then() {
    for (status, verdict) in [(200, "ok"), (404, "failed"), (500, "failed")] {
        let receiver = Arc::new(Receiver { status, heard: Mutex::default() });
        let server = Server::start(0, None, Arc::clone(&receiver) as Arc<dyn Handler>).unwrap();
        let mut ward = Ward::paper();
        ward.set("ALERT_WEBHOOK_URL", format!("{}/{WEBHOOK_KEY}", server.url()));
        let untried = ward.examine(&[]);
        let found = format!("{} is set, and not tried; --test-alert posts one", server.url());
        assert_eq!(untried.row("alerts"), ("ok", found.as_str(), ""));
        assert!(receiver.heard.lock().unwrap().is_empty());
        let told = ward.examine(&["--test-alert"]);
        assert_eq!(told.row("alerts").0, verdict, "{}", told.text);
        let heard = receiver.heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "{heard:?}");
        let body: Value = serde_json::from_str(&heard[0]).unwrap();
        let text = "counterfill (paper): this is a test of `bot doctor --test-alert`; nothing is wrong";
        assert_eq!(body, json!({ "text": text }));
    }
}

#[test]
fn one_heartbeat_is_sent_where_somebody_waits_for_them() {
    for (status, verdict) in [(200, "ok"), (404, "failed"), (500, "failed")] {
        let receiver = Arc::new(Receiver { status, heard: Mutex::default() });
        let server = Server::start(0, None, Arc::clone(&receiver) as Arc<dyn Handler>).unwrap();
        let mut ward = Ward::paper();
        ward.set("HEARTBEAT_URL", format!("{}/{WEBHOOK_KEY}", server.url()));
        let told = ward.examine(&[]);
        assert_eq!(told.row("heartbeat").0, verdict, "{}", told.text);
        assert!(told.row("heartbeat").1.starts_with(&server.url()), "{}", told.text);
        assert!(!told.text.contains(WEBHOOK_KEY), "{}", told.text);
        assert_eq!(*receiver.heard.lock().unwrap(), [""], "one, and it says nothing");
    }
}

#[test]
fn beside_a_running_bot() {
    let mut ward = Ward::paper();
    ward.set("LISTEN", "127.0.0.1:0");
    let bot = ward.bot();
    let begun = std::time::Instant::now();
    let runs = "is whole and this configuration's; a bot runs on it";
    let (mut code, mut text) = (0, String::new());
    while begun.elapsed() < std::time::Duration::from_secs(120) && !text.contains(runs) {
        (code, text, _) = ward.run(&["--json"]);
    }
    bot.kill();
    assert!(text.contains(runs), "{text}");
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = Told { code, text, rows };
    assert_eq!((told.code, told.ill()), (0, BTreeSet::new()), "{}", told.text);
}

#[test]
fn without_a_complete_configuration_nothing_is_examined() {
    let mut ward = Ward::paper();
    ward.set("ORDERBOOK", "");
    let (code, out, errors) = ward.run(&["--json"]);
    assert_eq!((code, out.as_str()), (78, ""), "{errors}");
    assert!(errors.contains("ORDERBOOK is missing"), "{errors}");
}
