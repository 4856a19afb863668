//! Any answer of a broker: the bodies of Alpaca's and Schwab's HTTP answers, and what a browser brings back from Schwab's
//! login. (The paper broker's are our own values.)
//!
//! The first byte says what was asked, the rest is the body. What must hold: no panic; what is believed of an order is
//! exact, has a ticker and a place in time that the ledger can keep, and is our own only if its name is one that we
//! give; a list with a row of ours that can not be read is no list; words that are kept of others fit in a log.

use jiff::civil::date;

use super::Bytes;
use counterfill::broker::alpaca::{Feed, TAG, wire};
use counterfill::broker::http::{Answer, WORDS_BYTES_MAX, words};
use counterfill::broker::schwab::grant::{self, Meaning};
use counterfill::broker::schwab::wire as schwab;
use counterfill::broker::{BrokerOrder, OrderStatus, Quote};
use counterfill::units::{IntentId, Millis, Shares, Symbol};

/// When the answer arrived.
const NOW: Millis = Millis(1_764_039_600_000);

/// # Panics
/// Where something that must hold does not.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::of(input);
    let asked = bytes.below(16);
    let body = bytes.rest();
    let refusal = match asked {
        0 => wire::order(body).map(|order| must_be_an_order(&order)).err(),
        1 => orders(body),
        2 => positions(body),
        3 => wire::account(body).map(|account| assert!(account.id.len() <= body.len())).err(),
        4 => wire::clock(body).map(|_| ()).err(),
        5 => session(body),
        6 => quotes(body),
        8 => schwab::order(body).map(|order| must_be_schwabs(&order)).err(),
        9 => schwab::orders(body).map(|orders| orders.iter().for_each(must_be_schwabs)).err(),
        10 => positions_of(schwab::positions(body)),
        11 => hours(body),
        12 => schwab::quotes(body).map(|quotes| quotes.iter().for_each(must_have_prices)).err(),
        13 => accounts(body),
        14 => token(body),
        15 => {
            login(&String::from_utf8_lossy(body));
            None
        }
        _ => {
            if let Some((_, message)) = wire::error(body) {
                must_fit_in_a_log(&message);
            }
            None
        }
    };
    if let Some(why) = refusal {
        assert!(!why.is_empty());
        // What is said of a refusal goes through the same sieve before it is logged.
        must_fit_in_a_log(&words(&why));
    }
    must_fit_in_a_log(&words(&String::from_utf8_lossy(body)));
}

fn orders(body: &[u8]) -> Option<String> {
    match wire::orders(body) {
        Ok(page) => {
            assert!(page.orders.len() <= page.rows);
            assert!(page.span.is_none_or(|(first, last)| first <= last));
            page.orders.iter().for_each(|linked| must_be_an_order(&linked.order));
            None
        }
        Err(why) => Some(why),
    }
}

fn positions(body: &[u8]) -> Option<String> {
    positions_of(wire::positions(body))
}

fn positions_of(read: Result<Vec<(Symbol, Shares)>, String>) -> Option<String> {
    match read {
        Ok(positions) => {
            let back = |text: String| text.parse().ok();
            assert!(positions.iter().all(|(_, shares)| back(shares.to_string()) == Some(*shares)));
            None
        }
        Err(why) => Some(why),
    }
}

fn session(body: &[u8]) -> Option<String> {
    match wire::session_on(body, date(2026, 11, 25)) {
        Ok(session) => {
            assert!(session.is_none_or(|(open, close)| open < close), "{session:?}");
            None
        }
        Err(why) => Some(why),
    }
}

fn quotes(body: &[u8]) -> Option<String> {
    match wire::quotes(body, Feed::Iex, NOW) {
        Ok(quotes) => {
            for quote in quotes {
                must_have_prices(&quote);
                assert!(quote.missing.is_none() && quote.last.is_none(), "{quote:?}");
            }
            None
        }
        Err(why) => Some(why),
    }
}

/// An account's number is a secret: it is in no word that is said of an answer, and never whole in its end.
fn accounts(body: &[u8]) -> Option<String> {
    match schwab::account_numbers(body) {
        Ok(accounts) => {
            for account in accounts {
                let (whole, end) = (&account.account_number, account.end());
                assert!(whole.ends_with(&end) && 2 * end.chars().count() <= whole.chars().count(), "{end}");
            }
            None
        }
        Err(why) => {
            assert!(why.len() < 60, "nothing of the answer is in it: {why}");
            Some(why)
        }
    }
}

fn hours(body: &[u8]) -> Option<String> {
    match schwab::hours(body) {
        Ok(sessions) => {
            assert!(
                sessions.is_sorted() && sessions.iter().all(|(open, close)| open < close),
                "{sessions:?}"
            );
            None
        }
        Err(why) => Some(why),
    }
}

/// The second byte says with which status the token endpoint answered.
fn token(body: &[u8]) -> Option<String> {
    let mut bytes = Bytes::of(body);
    let status = [200, 400, 401, 403, 429, 500][usize::from(bytes.below(6))];
    let text = String::from_utf8_lossy(bytes.rest()).into_owned();
    match grant::meaning(&Answer::of(status, &text)) {
        Meaning::Granted(granted) => {
            assert!(
                status == 200 && !granted.access.is_empty() && (0..=86_400).contains(&granted.expires_in_s)
            );
            None
        }
        Meaning::Dead(_, said) | Meaning::Doubtful(said) => {
            assert!(matches!(status, 400 | 401), "only the endpoint's own no ends a login");
            assert!(said.len() < 250 && grant::masked(&said) == said, "no token is in it: {said}");
            None
        }
        Meaning::Away(why) => {
            assert!(why.len() < 250 && grant::masked(&why) == why, "no token is in it: {why}");
            Some(why)
        }
    }
}

/// What a person pastes, and what a request to the door carries.
fn login(text: &str) {
    const STATE: &str = "0123456789abcdef0123456789abcdef";
    if let Ok(code) = grant::code_in(text, STATE) {
        assert!(!code.is_empty());
    }
    let query = text.split_once('?').map_or(text, |(_, query)| query);
    if let Ok(code) = grant::code_in_answer(query, STATE) {
        assert!(!code.is_empty() && query.contains("state="), "{text}");
    }
    if let Some(order) = schwab::order_in(text) {
        assert!(order.as_str().bytes().all(|byte| byte.is_ascii_digit()));
    }
}

fn must_have_prices(quote: &Quote) {
    let prices = [quote.bid, quote.ask, quote.last];
    assert!(prices.iter().flatten().all(|price| price.is_positive()), "{quote:?}");
}

fn must_be_schwabs(order: &BrokerOrder) {
    must_be_exact(order);
    assert_eq!(order.client_id, None, "Schwab keeps no name of ours");
    assert!(order.average_price.is_none() || order.executed.is_positive(), "{order:?}");
    assert!(order.id.as_str().bytes().all(|byte| byte.is_ascii_digit()), "{order:?}");
}

fn must_be_an_order(order: &BrokerOrder) {
    must_be_exact(order);
    assert_eq!(order.filled, order.executed, "Alpaca shows no legs");
    let ours =
        order.client_id.as_deref().is_some_and(|id| id.starts_with(TAG) && id.parse::<IntentId>().is_ok());
    assert_eq!(order.tag.is_some(), ours, "{order:?}");
}

fn must_be_exact(order: &BrokerOrder) {
    // Exact: what is written into the ledger is read back as the same.
    for shares in [order.quantity, order.filled, order.executed] {
        assert_eq!(shares.to_string().parse().ok(), Some(shares));
    }
    assert_eq!(order.symbol.as_str().parse().ok(), Some(order.symbol.clone()));
    assert_eq!(order.id.as_str().parse().ok(), Some(order.id.clone()));
    must_fit_in_a_log(&order.status_text);
    assert_eq!(order.status.is_terminal(), order.status != OrderStatus::Live);
}

fn must_fit_in_a_log(text: &str) {
    assert!(text.len() <= WORDS_BYTES_MAX && !text.contains(char::is_control), "{text:?}");
}
