//! The bench: a double of Alpaca beside the floor's node and bot, and the verdict that its log gives.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use broker_doubles::alpaca::{AlpacaDouble, Fault, KEY, Kind, SECRET};
use broker_doubles::tls::Authority;
use counterfill::units::Shares;

use crate::floor::{Floor, Order};
use crate::truth::SHARES;

/// What the account holds of each ticker at first, so that a SELL is never short.
pub const HELD: &str = "1000";

pub struct Bench {
    pub double: Arc<AlpacaDouble>,
    floor: Floor,
}

impl Deref for Bench {
    type Target = Floor;
    fn deref(&self) -> &Floor {
        &self.floor
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Floor {
        &mut self.floor
    }
}

impl Bench {
    /// A chain and a broker, and no bot yet.
    pub fn new() -> Self {
        Self::with(None)
    }

    pub fn with(authority: Option<&Authority>) -> Self {
        let double = Arc::new(AlpacaDouble::start_on(0, authority).unwrap());
        for (ticker, _, _, dollars) in SHARES {
            let price =
                |cents: i64| format!("{}.{:02}", dollars - 1 + cents / 100, cents % 100).parse().unwrap();
            double.book(|book| book.prices.insert(ticker.into(), (price(99), price(101))));
            double.hold(ticker, HELD);
        }
        let settings = [
            ("BROKER", "alpaca".to_owned()),
            ("ALPACA_API_KEY", KEY.to_owned()),
            ("ALPACA_API_SECRET", SECRET.to_owned()),
            ("BASE_URL", double.url()),
            ("MARKET_HOURS", "broker".to_owned()),
        ];
        let asked = Arc::clone(&double);
        let told = move || {
            let log = asked.log();
            let calls = log.iter().rev().take(12);
            calls.map(|e| format!("{} {} {:?} {}\n", e.n, e.route, e.fault, e.answer)).collect()
        };
        Self { double, floor: Floor::new(settings, Box::new(told)) }
    }

    /// With a bot that is ready.
    pub fn ready() -> Self {
        let mut bench = Self::new();
        bench.start();
        bench.becomes_ready();
        bench
    }

    /// How often the double was asked this.
    pub fn asked(&self, route: &str) -> usize {
        self.double.log().iter().filter(|entry| entry.route == route).count()
    }

    pub fn fault(&self, route: &str, kind: Kind) {
        self.double.fault(Fault::next(route, kind));
    }

    /// What is wrong; empty where all is well. `dust` is how many atoms of a share may be left.
    pub fn wrongs(&self, dust: i128) -> Vec<String> {
        let mut wrongs = Vec::new();
        let (mut ours, log) = (Vec::new(), self.double.log());
        for order in self.double.orders().into_iter().filter(|order| !order.by_hand) {
            let created = log.iter().filter(|entry| entry.created.as_ref() == Some(&order.id)).count();
            let of_name = log
                .iter()
                .filter(|entry| {
                    entry.created.is_some() && entry.client_order_id.as_ref() == Some(&order.client_order_id)
                })
                .count();
            if (created, of_name) != (1, 1) {
                wrongs.push(format!("{order:?}: created {created}, of its name {of_name}"));
            }
            let shares = |decimal: broker_doubles::decimal::Decimal| -> Shares {
                decimal.to_string().parse().unwrap()
            };
            ours.push(Order {
                id: order.id.clone(),
                name: Some(order.client_order_id.clone()),
                ticker: SHARES.iter().map(|share| share.0).find(|known| *known == order.symbol).unwrap(),
                buys: order.buys,
                quantity: shares(order.quantity),
                executed: shares(order.filled),
            });
        }
        wrongs.extend(self.floor.wrongs(&ours, dust));
        wrongs
    }

    /// Waits until nothing is wrong.
    pub fn settles(&self) {
        self.floor.settles(|| self.wrongs(0));
    }

    /// Comes to rest, is ready, stops with exit 0, and all of it still holds. No secret was logged on the way.
    pub fn ends_clean(&mut self) {
        self.settles();
        self.becomes_ready();
        self.stop();
        assert_eq!(self.wrongs(0), Vec::<String>::new(), "{}", self.logged);
        let number = self.double.book(|book| book.account.account_number.clone());
        self.kept_secret(&[SECRET, KEY, "CANARY", &number]);
    }
}
