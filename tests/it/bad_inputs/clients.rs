//! What the brokers' clients make of answers that no double gives: an answer of its own for each request, and the
//! outcome to the letter. What the doubles can do is a row of `alpaca_client` and `schwab_client`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use counterfill::broker::alpaca::{self, Alpaca, Mode};
use counterfill::broker::http::{Http, Orders};
use counterfill::broker::schwab::vault::{KEY_BYTES, Login, Vault};
use counterfill::broker::schwab::{self, Schwab};
use counterfill::broker::session::Word;
use counterfill::broker::{Broker, Placed, ReadError, Ticket};
use counterfill::units::{Millis, Side};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::assert_rows;

/// A Monday, in the middle of a session.
const NOW: Millis = Millis(1_795_453_200_000);
const TICKER: &str = "TSLA";

type Reply = (u16, String);
type Answers = dyn Fn(&str) -> Option<Reply> + Send + Sync;

/// Answers each request, told as `METHOD PATH`, once it was read to its end; hangs up where there is no answer.
fn serve(answers: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Arc<Answers> = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || answer(stream, &*answers));
        }
    });
    url
}

fn answer(mut stream: TcpStream, answers: &Answers) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_lowercase();
        if let Some(told) = line.strip_prefix("content-length:") {
            length = told.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let asked = first.rsplit_once(' ').unwrap_or_default().0;
    if let Some((status, body)) = answers(asked) {
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }
}

fn reply(status: u16, body: &Value) -> Option<Reply> {
    Some((status, body.to_string()))
}

fn ticket(quantity: &str) -> Ticket {
    Ticket {
        intent: "cf-1-1".parse().unwrap(),
        symbol: TICKER.parse().unwrap(),
        side: Side::Buy,
        quantity: quantity.parse().unwrap(),
        reference: None,
        short: false,
    }
}

fn said<T: std::fmt::Debug>(read: Result<T, ReadError>) -> String {
    match read {
        Ok(value) => format!("{value:?}"),
        Err(ReadError(words)) => words,
    }
}

fn placed(placed: &Placed) -> String {
    format!("{placed:?}")
}

// ---- Alpaca -------------------------------------------------------------------------------------------------------

fn no_alpaca(status: u16, code: u32) -> Option<Reply> {
    reply(status, &json!({ "code": code, "message": "no" }))
}

/// A client whose account is confirmed, and which is answered so from then on.
fn alpaca(answers: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Alpaca {
    let confirmed = Arc::new(AtomicBool::new(false));
    let later = Arc::clone(&confirmed);
    let url = serve(move |asked| {
        if later.load(Ordering::SeqCst) {
            answers(asked)
        } else {
            reply(200, &json!({ "id": "a", "account_number": "1" }))
        }
    });
    let options = alpaca::Options {
        mode: Mode::Paper,
        base_url: Some(url),
        key: "key".to_owned().into(),
        secret: "secret".to_owned().into(),
        live_account: None,
        lot: alpaca::LOT,
        allow_short: false,
        word: Word::Broker,
        feed: alpaca::Feed::Iex,
        cert_file: None,
    };
    let client = Alpaca::new(options).unwrap();
    client.account(NOW).unwrap();
    confirmed.store(true, Ordering::SeqCst);
    client
}

fn alpaca_order(name: &str) -> Value {
    json!({
        "id": "904837e3-3b76-47ec-b432-046db621571b", "client_order_id": name, "symbol": TICKER,
        "asset_class": "us_equity", "qty": "5", "filled_qty": "0", "filled_avg_price": null, "side": "buy",
        "status": "new", "created_at": NOW.to_string(),
    })
}

#[test]
fn what_alpaca_answers_that_its_double_never_does() {
    let none = || alpaca(|_| no_alpaca(404, 40_410_000));
    let of_another = alpaca(|_| reply(200, &alpaca_order("cf-1-2")));
    let unseen = alpaca(|asked| match asked {
        "POST /v2/orders" => no_alpaca(422, 42_210_000),
        _ => no_alpaca(500, 50_010_000),
    });
    let page_of = |submitted: fn(i64) -> Value| {
        alpaca(move |_| {
            let row = |n| {
                let mut row = alpaca_order(&format!("m-{n}"));
                row["submitted_at"] = submitted(n);
                row["asset_class"] = json!("us_option");
                if submitted(n).is_null() {
                    row["created_at"] = Value::Null;
                }
                row
            };
            reply(200, &Value::from((0..500).map(row).collect::<Vec<Value>>()))
        })
    };
    let one_moment = page_of(|_| json!(NOW.to_string()));
    let of_yesterday = page_of(|n| json!(NOW.plus(n - 86_400_000).to_string()));
    let timeless = page_of(|_| Value::Null);
    let away = alpaca(|_| no_alpaca(500, 50_010_000));
    assert_rows(vec![
        (
            "an account that there is not",
            none().account(NOW).unwrap_err().to_string(),
            "alpaca has no /v2/account",
        ),
        ("a list that there is not", said(none().list(NOW, NOW)), "alpaca has no /v2/orders"),
        (
            "quotes that there are not",
            said(none().quotes(&[TICKER.parse().unwrap()], NOW)),
            "alpaca has no quotes",
        ),
        (
            "another order than the one asked for",
            said(of_another.find(&"cf-1-1".parse().unwrap(), NOW)),
            "alpaca answered with another order than the one asked for",
        ),
        (
            "a no that can not be looked up",
            placed(&unseen.place(&ticket("1"), NOW)),
            "Unknown(\"HTTP 422: 42210000 no; and it could not be looked up: alpaca orders:by_client_order_id: \
             HTTP 500: 50010000 no\")",
        ),
        (
            "a full page of one moment",
            said(one_moment.list(NOW, NOW)),
            "alpaca orders: 500 or more of one moment (2026-11-23T17:00:00Z): the list can not be read whole",
        ),
        (
            "a full page from before it was asked for",
            said(of_yesterday.list(NOW, NOW)),
            "alpaca orders: a page that leads no further",
        ),
        (
            "a full page without times",
            said(timeless.list(NOW, NOW)),
            "alpaca orders: a page whose rows do not say when they were submitted",
        ),
        (
            "no clock, and no account to ask instead",
            said(away.session(NOW)),
            "alpaca clock: HTTP 500: 50010000 no",
        ),
    ]);
}

// ---- Schwab -------------------------------------------------------------------------------------------------------

const ACCOUNTS: &str = "GET /trader/v1/accounts/accountNumbers";

fn named() -> Option<Reply> {
    reply(200, &json!([{ "accountNumber": "12345678", "hashValue": "HASH" }]))
}

fn no_schwab(status: u16) -> Option<Reply> {
    reply(status, &json!({ "message": "no" }))
}

/// Logged in for another 20 minutes, and not asked for anything yet.
fn schwab(answers: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> (Schwab, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut vault = vault(&dir, 3);
    let login = Login {
        access: "old".into(),
        refresh: "first".into(),
        logged_in_at: NOW.plus(-1_000),
        issued_at: NOW.plus(-1_000),
        access_until: NOW.plus(1_200_000),
        generation: 0,
    };
    vault.store(&login).unwrap();
    (client(serve(answers), vault), dir)
}

fn vault(dir: &TempDir, key: u8) -> Vault {
    Vault::open(&dir.path().join("login.db"), &[key; KEY_BYTES]).unwrap()
}

fn client(url: String, vault: Vault) -> Schwab {
    let options = schwab::Options {
        base_url: Some(url),
        key: "key".to_owned().into(),
        secret: "secret".to_owned().into(),
        live_account: "5678".to_owned(),
        allow_short: false,
        tag: None,
        word: Word::Broker,
        cert_file: None,
    };
    Schwab::new(options, vault).unwrap()
}

/// Its account confirmed, and everything else answered so.
fn ready(answers: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> (Schwab, TempDir) {
    let (client, dir) = schwab(move |asked| if asked == ACCOUNTS { named() } else { answers(asked) });
    client.account(NOW).unwrap();
    (client, dir)
}

#[test]
fn what_schwab_answers_that_its_double_never_does() {
    let account = |reply: Option<Reply>| {
        let (client, _dir) = schwab(move |_| reply.clone());
        (client.account(NOW).unwrap_err().to_string(), said(client.list(NOW, NOW)))
    };
    let (none, none_below) = account(no_schwab(404));
    let (unreadable, _) = account(reply(200, &json!({})));
    let (gone, _dir) = ready(|_| no_schwab(404));
    let token =
        json!({ "access_token": "new", "refresh_token": "r", "expires_in": 1_800, "token_type": "Bearer" });
    let (refusing, _dir2) = ready(move |asked| match asked {
        "POST /v1/oauth/token" => reply(200, &token),
        _ => no_schwab(401),
    });
    let (many, _dir3) = ready(|_| {
        let order = json!({
            "orderId": 1, "status": "FILLED", "enteredTime": "2026-11-23T17:15:17+0000", "quantity": 5.0,
            "filledQuantity": 0.0, "orderType": "MARKET", "session": "NORMAL", "duration": "DAY",
            "orderStrategyType": "SINGLE",
            "orderLegCollection": [{ "instruction": "SELL", "instrument": { "symbol": TICKER, "assetType": "EQUITY" } }],
        });
        reply(200, &Value::from(vec![order; 3_000]))
    });
    let (late, _dir4) = ready(|asked| {
        if asked == "POST /v1/oauth/token" {
            std::thread::sleep(Duration::from_millis(5_200));
        }
        no_schwab(500)
    });
    let http = |reply: Option<Reply>| {
        let http = Http::new(&serve(move |_| reply.clone()), None, Orders::Alone).unwrap();
        schwab::accounts(&http, &"token".into())
            .map(|all| all.len().to_string())
            .unwrap_or_else(|words| words)
    };
    let hung_up = |words: String| if words.is_empty() { words } else { "in words".to_owned() };
    let (silent, _dir5) = ready(|_| None);
    assert_rows(vec![
        ("accounts that there are not", none, "the broker says there is no such thing"),
        ("and so no list", none_below, "the broker says there is no such thing"),
        ("accounts that are none", unreadable, "the account numbers: Data error"),
        ("a login's accounts, refused", http(no_schwab(403)), "the list of accounts: HTTP 403: no"),
        ("a login's accounts, without an answer", hung_up(http(None)), "in words"),
        ("a read without an answer", hung_up(said(silent.list(NOW, NOW))), "in words"),
        ("the list of no account", said(gone.list(NOW, NOW)), "the broker does not know the account"),
        ("the positions of no account", said(gone.positions(NOW)), "the broker does not know the account"),
        (
            "no hours",
            said(gone.session(NOW)),
            "Disputed { reason: \"the broker does not tell its hours: the broker has no hours\" }",
        ),
        (
            "a token that is never taken",
            said(refusing.list(NOW, NOW)),
            "the account, refused to a login that is good: HTTP 401: no; the application needs the product Accounts and Trading Production, and the login the account",
        ),
        (
            "a full list",
            said(many.list(NOW, NOW)),
            "3000 orders or more since 2026-11-23T17:00:00.000Z: the list may not be whole",
        ),
        (
            "a name of ours",
            said(gone.find(&"cf-1-1".parse().unwrap(), NOW)),
            "this broker keeps no name of ours with an order",
        ),
        (
            "more shares than a number holds",
            placed(&gone.place(&ticket("20000000000000000000"), NOW)),
            "Refused { reason: \"20000000000000000000 shares\", gate_ms: None }",
        ),
        (
            "a token that came late",
            placed(&late.place(&ticket("1"), NOW.plus(1_100_000))),
            "NotSent(\"the login answered so late that the order is decided anew\")",
        ),
    ]);
}

/// What is no answer of the broker's own, or is about the account, is nobody's order's fault; and an account that is not
/// known any more is looked for again.
#[test]
fn what_schwab_refuses_that_is_not_the_orders() {
    let page = |status: u16, body: &str| {
        let body = body.to_owned();
        let (client, _dir) = ready(move |asked| match asked {
            ACCOUNTS => named(),
            _ => Some((status, body.clone())),
        });
        placed(&client.place(&ticket("1"), NOW))
    };
    let (moved, _dir) = ready(|asked| match asked {
        ACCOUNTS => named(),
        _ => reply(400, &json!({ "message": "Invalid account number" })),
    });
    assert_rows(vec![
        (
            "a gateway without a route",
            page(404, "404 Not Found: Requested route ('orders.example') does not exist.\n"),
            "Barred(\"HTTP 404: 404 Not Found: Requested route ('orders.example') does not exist.\")",
        ),
        (
            "an edge",
            page(403, "<html>Access Denied</html>"),
            "Barred(\"HTTP 403: <html>Access Denied</html>\")",
        ),
        ("a page that is a word", page(404, "\"gone\""), "Barred(\"HTTP 404: \\\"gone\\\"\")"),
        ("nothing", page(400, ""), "Barred(\"HTTP 400: without a word\")"),
        ("a page of time", page(408, "late"), "Unknown(\"HTTP 408: late\")"),
        ("a page of an error", page(502, "Bad Gateway"), "Unknown(\"HTTP 502: Bad Gateway\")"),
        (
            "the broker's own",
            page(400, r#"{"message":"no"}"#),
            "Refused { reason: \"HTTP 400: no\", gate_ms: None }",
        ),
        (
            "an account that is not known any more",
            placed(&moved.place(&ticket("1"), NOW)),
            "Barred(\"HTTP 400: Invalid account number\")",
        ),
        (
            "and before it was named again",
            placed(&moved.place(&ticket("1"), NOW)),
            "NotSent(\"the broker has not named the account yet\")",
        ),
    ]);
}

/// The login's file as somebody else left it; what the client says of it.
#[test]
fn a_login_that_can_not_be_read_or_renewed() {
    let with_key = |key: u8| {
        let (_, dir) = schwab(|_| None);
        let other = client("http://127.0.0.1:9".to_owned(), vault(&dir, key));
        let words = said(other.list(NOW, NOW));
        (words.replace(&dir.path().display().to_string(), "DIR"), other.login_facts().mend)
    };
    let spoiled = |statement: &str| {
        let (client, dir) = schwab(|_| None);
        let raw = rusqlite::Connection::open(dir.path().join("login.db")).unwrap();
        raw.execute_batch(statement).unwrap();
        let words = said(client.list(NOW, NOW));
        (words.replace(&dir.path().display().to_string(), "DIR"), client.login_facts().mend)
    };
    let (elsewhere, _dir) = schwab(|_| None);
    elsewhere.leave_renewing_to("the bot");
    let told = |(words, mend): (String, Option<_>)| format!("{words} → {mend:?}");
    assert_rows(vec![
        (
            "another key",
            told(with_key(4)),
            "DIR/login.db does not open with this ENCRYPTION_KEY; give the key it was sealed with, or type \
             `auth login --overwrite` → Some(SealingKey)",
        ),
        (
            "without its table",
            told(spoiled("DROP TABLE login")),
            "DIR/login.db: no such table: login; look at its owner and mode, or move it away and type `auth login` \
             → Some(File)",
        ),
        (
            "of another shape",
            told(spoiled(
                "DROP TABLE login; CREATE TABLE login (generation INTEGER); INSERT INTO login VALUES (9)",
            )),
            "DIR/login.db: no such column: logged_in_at in SELECT generation, logged_in_at, issued_at, access_until, \
             nonce, sealed FROM login at offset 19; look at its owner and mode, or move it away and type `auth login` \
             → Some(File)",
        ),
        (
            "over, and another process renews it",
            said(elsewhere.list(NOW, NOW.plus(1_300_000))),
            "the access token is over, and the bot renews it",
        ),
    ]);
}

#[test]
fn a_file_that_is_no_vault() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |name: &str| {
        let opened = Vault::open(&dir.path().join(name), &[1; KEY_BYTES]);
        opened.unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    std::fs::write(dir.path().join("garbage"), "x".repeat(4_096)).unwrap();
    let newer = rusqlite::Connection::open(dir.path().join("newer")).unwrap();
    newer.execute_batch("PRAGMA user_version = 2").unwrap();
    let without = Vault::open(&dir.path().join("without"), &[1; KEY_BYTES]).unwrap();
    let raw = rusqlite::Connection::open(dir.path().join("without")).unwrap();
    raw.execute_batch("DROP TABLE refusal").unwrap();
    let refusal = schwab::vault::Refusal { at: NOW, why: "no".to_owned() };
    let tell = |error: schwab::vault::VaultError| {
        error.to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    let mend = "; look at its owner and mode, or move it away and type `auth login`";
    assert_rows(vec![
        (
            "no folder",
            opened("missing/login.db"),
            format!("DIR/missing/login.db: No such file or directory (os error 2){mend}"),
        ),
        ("garbage", opened("garbage"), format!("DIR/garbage: file is not a database{mend}")),
        (
            "of a newer version",
            opened("newer"),
            format!("DIR/newer: it was written by a newer version{mend}"),
        ),
        (
            "a refusal that can not be kept",
            tell(without.refuse(1, &refusal).unwrap_err()),
            format!("DIR/without: no such table: refusal{mend}"),
        ),
        (
            "a refusal that can not be read",
            tell(without.refusal().unwrap_err()),
            format!("DIR/without: no such table: refusal{mend}"),
        ),
    ]);
}
