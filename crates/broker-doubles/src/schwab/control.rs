//! `POST /__fake/…`: everything a test may do to the double, as JSON, without a login; `GET /__fake/log` and
//! `GET /__fake/orders` say what came of it.
//!
//! | path | body |
//! |---|---|
//! | `reset` | `{}`: a new book, no login, no faults, an empty log; `{"seed": 7}` |
//! | `clock` | `{"stop_ms": …}`, `{"offset_ms": …}` or `{"advance_ms": …}` |
//! | `fault` | a [`Fault`](super::Fault): `{"route": "place", "kind": "accept_then_close", "count": 2}`; `"count": null` is for ever |
//! | `heal` | `{}`: no faults |
//! | `order_script` | `{"steps": [{"status": "WORKING"}, {"fill": "rest", "status": "FILLED"}]}`; none: as usual |
//! | `market` | `{"kind": "open"}`, `{"kind": "closed"}` or `{"kind": "days", "days": [{"date", "open", "close"}]}` |
//! | `price` | `{"symbol": "TSLA", "bid": "99", "ask": "101", "security_status": "Halted", "realtime": false}` |
//! | `account` | `{"cash": "5000", "positions": {"TSLA": "10"}}`, of the account that the tests trade in |
//! | `manual_order` | `{"symbol": "TSLA", "instruction": "SELL", "quantity": "3"}`; `"tag"` where it is to be ours |
//! | `manual_cancel` | `{"id": 1004055538153}` |
//! | `oauth` | `{"rotate_refresh": true, "access_ttl_s": 60, …}` |
//! | `switches` | `{"fractions": true, "unknown_account_400": true, …}` |
//! | `login` | `{}`: answers with an access and a refresh token, without a browser |

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::book::{ACCOUNT, Instruction, Price, Step, Switches};
use super::faults::Fault;
use super::orders;
use super::routes::State;
use crate::body::read;
use crate::decimal::Decimal;
use crate::http::{Reply, Request};
use crate::market::Market;

#[derive(Deserialize)]
struct ResetOrder {
    seed: Option<u64>,
}

#[derive(Deserialize)]
struct ScriptOrder {
    steps: Option<Vec<Step>>,
}

#[derive(Deserialize)]
struct PriceOrder {
    symbol: String,
    #[serde(flatten)]
    price: Price,
}

#[derive(Deserialize)]
struct AccountOrder {
    cash: Option<Decimal>,
    #[serde(default)]
    positions: BTreeMap<String, Decimal>,
}

#[derive(Deserialize)]
struct ManualOrder {
    symbol: String,
    instruction: Instruction,
    quantity: Decimal,
    /// What a broker's own website writes.
    #[serde(default = "by_hand")]
    tag: String,
}

fn by_hand() -> String {
    "API_TOS:website".into()
}

#[derive(Deserialize)]
struct ManualCancel {
    id: u64,
}

pub(super) fn answer(state: &mut State, what: &str, request: &Request) -> Reply {
    let done = match (request.method.as_str(), what) {
        ("GET", "log") => Ok(json!(state.log)),
        ("GET", "orders") => Ok(json!(state.book.orders)),
        ("POST", "login") => {
            let (access, refresh) = state.desk.log_in(state.book.now_ms());
            Ok(json!({ "access_token": access, "refresh_token": refresh }))
        }
        ("POST", _) => obey(state, what, &request.body).map(|()| json!({ "ok": true })),
        _ => Err("there is log and orders to be read".into()),
    };
    match done {
        Ok(value) => Reply::json(200, &value),
        Err(words) => Reply::json(400, &json!({ "error": words })),
    }
}

fn obey(state: &mut State, what: &str, body: &[u8]) -> Result<(), String> {
    match what {
        "reset" => {
            let order: ResetOrder = read(body)?;
            *state = State::default();
            state.book.seed = order.seed.unwrap_or(state.book.seed);
        }
        "heal" => state.faults.clear(),
        "clock" => state.book.clock.obey(read(body)?)?,
        "fault" => state.add_fault(read::<Fault>(body)?),
        "order_script" => state.book.life = read::<ScriptOrder>(body)?.steps,
        "market" => state.book.market = read::<Market>(body)?,
        "price" => {
            let order: PriceOrder = read(body)?;
            state.book.prices.insert(order.symbol, order.price);
        }
        "account" => {
            let order: AccountOrder = read(body)?;
            let ours = state.book.accounts.iter_mut().find(|account| account.number == ACCOUNT);
            let ours = ours.ok_or("the account is gone")?;
            ours.cash = order.cash.unwrap_or(ours.cash);
            ours.positions.extend(order.positions);
        }
        "manual_order" => {
            let order: ManualOrder = read(body)?;
            state.type_by_hand(&order.symbol, order.instruction, order.quantity, &order.tag);
        }
        "manual_cancel" => {
            let order: ManualCancel = read(body)?;
            let now = state.book.now_ms();
            let activity = state.book.next_activity_id();
            let found = state.book.orders.iter_mut().find(|known| known.id == order.id && known.is_open());
            found.ok_or("there is no such open order")?.end("CANCELED", now, activity);
        }
        "oauth" => state.desk.rules = over(&state.desk.rules, body)?,
        "switches" => state.book.switches = over::<Switches>(&state.book.switches, body)?,
        other => return Err(format!("there is nothing called {other}")),
    }
    Ok(())
}

impl State {
    /// An order that somebody types: looked at like any other, with another tag.
    pub(super) fn type_by_hand(
        &mut self,
        symbol: &str,
        instruction: Instruction,
        quantity: Decimal,
        tag: &str,
    ) -> u64 {
        let account = self.book.accounts.iter().position(|account| account.number == ACCOUNT).unwrap_or(0);
        let asked = orders::by_hand(symbol, instruction, quantity);
        let at = orders::enter(&mut self.book, account, &asked, tag);
        self.book.orders[at].id
    }
}

/// What is known, with the fields of the body in place of their own.
fn over<T: serde::Serialize + DeserializeOwned>(known: &T, body: &[u8]) -> Result<T, String> {
    let mut all = serde_json::to_value(known).map_err(|error| error.to_string())?;
    let changes: serde_json::Map<String, Value> = read(body)?;
    for (name, value) in changes {
        if all.get(&name).is_none() {
            return Err(format!("there is nothing called {name}"));
        }
        all[&name] = value;
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}
