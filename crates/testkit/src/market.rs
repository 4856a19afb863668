//! The paper broker's market, held still by a trigger in its book: an order of its lives for less than a second, and who
//! wants to see one at work must not depend on looking in time.

use std::path::Path;
use std::time::Duration;

use counterfill::broker::paper::BOOK_FILE;
use rusqlite::Connection;

fn book(data: &Path) -> Connection {
    let book = Connection::open(data.join(BOOK_FILE)).unwrap();
    book.busy_timeout(Duration::from_secs(60)).unwrap();
    book
}

/// From now on the market does not come to any order: what the broker plans for it is put off by ten years.
pub fn put_off(data: &Path) {
    let trigger = "CREATE TRIGGER put_off AFTER INSERT ON plan BEGIN
        UPDATE plan SET at_ms = at_ms + 315360000000 WHERE number = NEW.number AND n = NEW.n; END";
    book(data).execute_batch(trigger).unwrap();
}

/// The market goes on, also for those who waited.
pub fn go_on(data: &Path) {
    let now = "BEGIN IMMEDIATE; DROP TRIGGER IF EXISTS put_off; UPDATE plan SET at_ms = n; COMMIT";
    book(data).execute_batch(now).unwrap();
}
