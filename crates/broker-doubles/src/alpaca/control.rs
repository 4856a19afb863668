//! `POST /__fake/…`: everything a test may do to the double, as JSON, without keys; `GET /__fake/log` and
//! `GET /__fake/orders` say what came of it.
//!
//! | path | body |
//! |---|---|
//! | `reset` | `{}`: a new book, no faults, an empty log |
//! | `clock` | `{"stop_ms": …}`, `{"offset_ms": …}` or `{"advance_ms": …}` |
//! | `fault` | a [`Fault`](super::Fault): `{"route": "place", "kind": "accept_then_close", "count": 2}`; `"count": null` is for ever |
//! | `heal` | `{}`: no faults |
//! | `order_script` | `{"steps": [{"status": "new"}, {"fill": "rest", "status": "filled"}]}`; none: as usual |
//! | `market` | `{"kind": "open"}`, `{"kind": "closed"}` or `{"kind": "days", "days": [{"date", "open", "close"}]}` |
//! | `price` | `{"symbol": "TSLA", "bid": "99", "ask": "101"}` |
//! | `asset` | `{"symbol": "BRK.A", "fractionable": false, …}` |
//! | `account` | `{"account": {…}, "positions": {"TSLA": "10.5"}}` |
//! | `manual_order` | `{"symbol": "TSLA", "side": "sell", "qty": "3"}` |

use serde::Deserialize;
use serde_json::json;

use super::book::{Account, Asset, Step};
use super::faults::Fault;
use super::orders;
use super::routes::State;
use crate::body::read;
use crate::decimal::Decimal;
use crate::http::{Reply, Request};
use crate::market::Market;

#[derive(Deserialize)]
struct ScriptOrder {
    steps: Option<Vec<Step>>,
}

#[derive(Deserialize)]
struct PriceOrder {
    symbol: String,
    bid: Decimal,
    ask: Decimal,
}

#[derive(Deserialize)]
struct AssetOrder {
    symbol: String,
    #[serde(flatten)]
    asset: Asset,
}

#[derive(Deserialize)]
struct AccountOrder {
    account: Option<Account>,
    #[serde(default)]
    positions: std::collections::BTreeMap<String, Decimal>,
}

#[derive(Deserialize)]
struct ManualOrder {
    symbol: String,
    side: String,
    qty: Decimal,
    client_order_id: Option<String>,
}

pub(super) fn answer(state: &mut State, what: &str, request: &Request) -> Reply {
    let done = match (request.method.as_str(), what) {
        ("GET", "log") => Ok(json!(state.log)),
        ("GET", "orders") => Ok(json!(state.book.orders)),
        ("GET", "positions") => Ok(json!(state.book.positions)),
        ("POST", _) => obey(state, what, &request.body).map(|()| json!({ "ok": true })),
        _ => Err("there is log, orders and positions to be read".into()),
    };
    match done {
        Ok(value) => Reply::json(200, &value),
        Err(words) => Reply::json(400, &json!({ "error": words })),
    }
}

fn obey(state: &mut State, what: &str, body: &[u8]) -> Result<(), String> {
    match what {
        "reset" => *state = State::default(),
        "heal" => state.faults.clear(),
        "clock" => state.book.clock.obey(read(body)?)?,
        "fault" => state.add_fault(read::<Fault>(body)?),
        "order_script" => state.book.life = read::<ScriptOrder>(body)?.steps,
        "market" => state.book.market = read::<Market>(body)?,
        "price" => {
            let price: PriceOrder = read(body)?;
            state.book.prices.insert(price.symbol, (price.bid, price.ask));
        }
        "asset" => {
            let asset: AssetOrder = read(body)?;
            state.book.assets.insert(asset.symbol, asset.asset);
        }
        "account" => {
            let order: AccountOrder = read(body)?;
            state.book.positions.extend(order.positions);
            if let Some(account) = order.account {
                state.book.account = account;
            }
        }
        "manual_order" => {
            let order: ManualOrder = read(body)?;
            let buys = order.side == "buy";
            orders::enter(&mut state.book, &order.symbol, buys, order.qty, order.client_order_id, true);
        }
        other => return Err(format!("there is nothing called {other}")),
    }
    Ok(())
}
