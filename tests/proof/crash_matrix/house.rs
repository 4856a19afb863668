//! The broker's house, as seen from outside the bot: its own book, which no kill of the bot touches. Two brokers, so that
//! nothing rests on the manners of one.

use std::path::{Path, PathBuf};

use broker_doubles::alpaca::{AlpacaDouble, Fault, Fill, KEY, Kind, SECRET, Step};
use broker_doubles::decimal::Decimal;
use counterfill::broker::paper::{self, PaperBroker, PaperOptions};
use counterfill::units::{Millis, Shares, Side};
use rusqlite::{Connection, OpenFlags};

use super::tale::Trouble;
use super::world::SHARES;

const HOUR_MS: i64 = 3_600_000;

/// An order as the broker has it. Atoms are 1e-18 of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: String,
    /// The client order id; none for an order typed by hand.
    pub name: Option<String>,
    pub ticker: String,
    pub side: String,
    pub quantity: i128,
    pub executed: i128,
    /// Whether it can still trade.
    pub live: bool,
    /// How many order calls with its name reached the broker since it is there, the one that made it included.
    pub calls: u64,
}

impl Order {
    pub fn signed(&self) -> i128 {
        if self.side == "BUY" { self.executed } else { -self.executed }
    }
}

/// What the tests need of a broker, whichever it is.
pub trait House: Send {
    /// The bot's settings that lead to it.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// The true book.
    fn book(&self) -> Vec<Order>;

    /// The name of every order call that ever reached it, whatever came of it.
    fn called(&self) -> Vec<String>;

    /// What the next order call comes to.
    fn trouble(&self, trouble: Trouble);

    /// Everything in its book happened an hour earlier than it did. No bot runs.
    fn an_hour_passes(&self);

    /// An order that the bot did not send, with the bot's tag: of its own, forgotten past.
    fn by_hand(&self, ticker: &str, side: Side, shares: i64);
}

/// The paper broker: its book is a file beside the ledger.
pub struct Paper {
    book: PathBuf,
}

impl Paper {
    pub fn beside(data: &Path) -> Self {
        Self { book: data.join(paper::BOOK_FILE) }
    }
}

impl House for Paper {
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("BROKER", "paper".to_owned())]
    }

    fn book(&self) -> Vec<Order> {
        // A book that is being born has no schema for a moment.
        let orders = paper::read_book(&self.book).unwrap_or_default();
        let told = |order: paper::BookOrder| Order {
            id: order.order.id.to_string(),
            name: order.order.client_id.clone(),
            ticker: order.order.symbol.to_string(),
            side: order.order.side.to_string(),
            quantity: order.order.quantity.atoms(),
            executed: order.executions.iter().filter(|e| !e.busted).map(|e| e.quantity.atoms()).sum(),
            live: !order.order.status.is_terminal(),
            calls: order.place_calls,
        };
        orders.into_iter().map(told).collect()
    }

    fn called(&self) -> Vec<String> {
        let Ok(conn) = Connection::open_with_flags(&self.book, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
            return Vec::new();
        };
        let Ok(mut calls) = conn.prepare("SELECT client_id FROM calls") else { return Vec::new() };
        let names = calls.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    fn an_hour_passes(&self) {
        an_hour_passes_in(&self.book);
    }

    fn trouble(&self, trouble: Trouble) {
        panic!("the paper broker of another process can not be told of {trouble:?}");
    }

    fn by_hand(&self, ticker: &str, side: Side, shares: i64) {
        let now = Millis::now();
        let broker = PaperBroker::open(&self.book, PaperOptions::default(), now).unwrap();
        let symbol = ticker.parse().unwrap();
        broker.manual_order(&symbol, side, Shares::whole(shares), Some(paper::TAG), now).unwrap();
    }
}

/// Alpaca's double, in this process: the bot reaches it over HTTP, as it would the real one.
pub struct Alpaca {
    double: AlpacaDouble,
}

impl Alpaca {
    pub fn start() -> Self {
        let double = AlpacaDouble::start().unwrap();
        double.book(|book| {
            // In two pieces, each seen by itself: its orders are read once a second.
            let half = Step::trades(Fill::Part(2), "partially_filled");
            book.life = Some(vec![half, Step::trades(Fill::Rest, "filled")]);
            for (ticker, _, _, milli_dollars) in SHARES {
                let price = Decimal::from_nanos(i128::from(milli_dollars) * 1_000_000);
                book.prices.insert(ticker.to_owned(), (price, price));
            }
        });
        Self { double }
    }
}

impl House for Alpaca {
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("BROKER", "alpaca".to_owned()),
            ("BASE_URL", self.double.url()),
            ("ALPACA_API_KEY", KEY.to_owned()),
            ("ALPACA_API_SECRET", SECRET.to_owned()),
            ("ALLOW_SHORT", "true".to_owned()),
            ("LOT", "1".to_owned()),
            ("MARKET_HOURS", "broker".to_owned()),
        ]
    }

    fn book(&self) -> Vec<Order> {
        let log = self.double.log();
        let told = |order: broker_doubles::alpaca::Order| {
            let named = |entry: &&broker_doubles::alpaca::Entry| {
                entry.route == "place" && entry.client_order_id.as_ref() == Some(&order.client_order_id)
            };
            let since = log.iter().filter(named).skip_while(|entry| entry.created.is_none());
            let atoms = |decimal: Decimal| decimal.to_string().parse::<Shares>().unwrap().atoms();
            Order {
                id: order.id.clone(),
                name: (!order.by_hand).then(|| order.client_order_id.clone()),
                ticker: order.symbol.clone(),
                side: if order.buys { "BUY" } else { "SELL" }.to_owned(),
                quantity: atoms(order.quantity),
                executed: atoms(order.filled),
                live: order.is_open(),
                calls: u64::try_from(since.count()).unwrap(),
            }
        };
        self.double.orders().into_iter().map(told).collect()
    }

    fn called(&self) -> Vec<String> {
        let log = self.double.log();
        log.into_iter()
            .filter(|entry| entry.route == "place")
            .filter_map(|entry| entry.client_order_id)
            .collect()
    }

    fn an_hour_passes(&self) {
        self.double.book(|book| {
            for order in &mut book.orders {
                order.submitted_ms -= HOUR_MS;
                order.created_ms -= HOUR_MS;
                order.updated_ms -= HOUR_MS;
            }
        });
    }

    fn trouble(&self, trouble: Trouble) {
        self.double.fault(Fault::next(
            "place",
            match trouble {
                Trouble::LostAnswer => Kind::AcceptThenClose,
                Trouble::LostOrder => Kind::StallThenDrop { ms: 50 },
                Trouble::Error => Kind::ServerErrorAfter,
                Trouble::Refusal => {
                    Kind::Refuse { status: 422, code: 42_210_000, message: "asset is not active".to_owned() }
                }
            },
        ));
    }

    fn by_hand(&self, ticker: &str, _: Side, _: i64) {
        panic!("nobody types an order for {ticker} there");
    }
}

/// Every moment in the file is an hour longer ago. What forbids that is taken off and put back.
pub fn an_hour_passes_in(file: &Path) {
    let mut conn = Connection::open(file).unwrap();
    let tx = conn.transaction().unwrap();
    let rows = |sql: &str| -> Vec<(String, String)> {
        let mut rows = tx.prepare(sql).unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let triggers = rows("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'");
    let moments = rows(
        "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' \
         AND c.type = 'INTEGER' AND (c.name IN ('at', 'at_ms') OR c.name LIKE '%\\_at' ESCAPE '\\' \
         OR c.name LIKE '%\\_at\\_ms' ESCAPE '\\')",
    );
    assert!(moments.len() >= 4, "{moments:?}");
    triggers.iter().for_each(|(name, _)| tx.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    for (table, column) in moments {
        tx.execute(&format!("UPDATE {table} SET {column} = {column} - ?1"), [HOUR_MS]).unwrap();
    }
    triggers.iter().for_each(|(_, sql)| tx.execute_batch(sql).unwrap());
    tx.commit().unwrap();
}
