//! The broker: the scripted Alpaca over HTTP, away in every way in turn.

use broker_doubles::alpaca::{AlpacaDouble, Entry, Fault, KEY, Kind, Order, SECRET};
use counterfill::broker::paper::{BookExecution, BookOrder};
use counterfill::broker::{BrokerOrder, OrderStatus};
use counterfill::units::{Millis, Price, Shares, Side};

use crate::truth::SHARES;

pub struct Broker {
    double: AlpacaDouble,
    url: String,
    times_away: std::cell::Cell<u32>,
}

impl Broker {
    pub fn start() -> Self {
        let double = AlpacaDouble::start().unwrap();
        for (symbol, _, _, price) in SHARES {
            let price = broker_doubles::decimal::Decimal::whole(price);
            double.book(|book| book.prices.insert(symbol.to_owned(), (price, price)));
        }
        let url = double.url();
        Self { double, url, times_away: std::cell::Cell::new(0) }
    }

    pub fn settings(&self) -> [(&'static str, &str); 8] {
        [
            ("BROKER", "alpaca"),
            ("ALPACA_API_KEY", KEY),
            ("ALPACA_API_SECRET", SECRET),
            ("ALPACA_TRADING_MODE", "paper"),
            ("BASE_URL", &self.url),
            ("ALLOW_SHORT", "true"),
            ("LOT", "1"),
            // The double never closes, and the calendar does.
            ("MARKET_HOURS", "broker"),
        ]
    }

    /// From now on every request fails: refused by the gateway, dropped, or taken and never answered, by turns.
    pub fn away(&self) {
        let times = self.times_away.get();
        self.times_away.set(times + 1);
        let (reads, orders) = match times % 3 {
            0 => (Kind::Unavailable { html: true }, Kind::Unavailable { html: true }),
            1 => (Kind::StallThenDrop { ms: 500 }, Kind::StallThenDrop { ms: 500 }),
            _ => (Kind::ServerErrorBefore, Kind::AcceptThenClose),
        };
        self.double.fault(Fault::always("place", orders));
        self.double.fault(Fault::always("any", reads));
    }

    pub fn back(&self) {
        self.double.heal();
    }

    pub fn orders(&self) -> usize {
        self.double.book(|book| book.orders.len())
    }

    /// Its book, as the verdict wants it.
    pub fn book(&self) -> Vec<BookOrder> {
        let log = self.double.log();
        self.double.orders().iter().map(|order| told(order, &log)).collect()
    }
}

/// One order. What it traded is one execution here: the verdict adds them up. How often it was sent is counted from the
/// call that made it on: one before that never became an order.
fn told(order: &Order, log: &[Entry]) -> BookOrder {
    let named = |entry: &&Entry| {
        entry.route == "place" && entry.client_order_id.as_ref() == Some(&order.client_order_id)
    };
    let place_calls = log.iter().filter(named).skip_while(|entry| entry.created.is_none()).count();
    let shares =
        |decimal: broker_doubles::decimal::Decimal| -> Shares { decimal.to_string().parse().unwrap() };
    let filled = shares(order.filled);
    let price = Price::from_atoms(counterfill::units::ONE);
    let executions = if filled.is_zero() {
        Vec::new()
    } else {
        vec![BookExecution { quantity: filled, price, at: Millis(order.updated_ms), busted: false }]
    };
    let order = BrokerOrder {
        id: order.id.parse().unwrap(),
        client_id: Some(order.client_order_id.clone()),
        tag: None,
        symbol: order.symbol.parse().unwrap(),
        side: if order.buys { Side::Buy } else { Side::Sell },
        quantity: shares(order.quantity),
        filled,
        executed: filled,
        average_price: None,
        status: if order.is_open() { OrderStatus::Live } else { OrderStatus::Filled },
        status_text: order.status.clone(),
        entered_at: Millis(order.created_ms),
        ordinary: true,
    };
    BookOrder { order, executions, place_calls: place_calls as u64 }
}
