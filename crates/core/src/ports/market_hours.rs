//! When the New York Stock Exchange trades: the table that answers where no broker does, and checks those that do.
//!
//! The calendar is data (closed days and early closes, year by year) and one rule (Monday to Friday, 09:30 to 16:00 in
//! New York, 13:00 on an early close). Time zone rules come from the time zone database, never from a fixed offset. It
//! knows nothing of orders and nothing of unplanned closings: a broker that says "closed" wins over it.
//!
//! Invariant: a session is half-open, `[opens, closes)`, and a moment outside the table's years is disputed: nothing leaves,
//! and a person hears of it.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday, date, time};
use jiff::tz::TimeZone;

use super::broker::Session;
use crate::units::Millis;

/// First year of the table.
const YEAR_FIRST: i16 = 2025;
/// Last year of the table; a new year is added here and in the two tables, and nowhere else.
const YEAR_LAST: i16 = 2028;
/// The longest stretch without a session is four days (a holiday beside a weekend); twice that is a safe bound.
const DAYS_WITHOUT_SESSION_MAX: usize = 8;

/// Of this one zone alone, so that the program carries no other; its rules are as old as the jiff it was built with.
static NEW_YORK: TimeZone = jiff::tz::get!("America/New_York");

const OPENS: Time = time(9, 30, 0, 0);
const CLOSES: Time = time(16, 0, 0, 0);
const CLOSES_EARLY: Time = time(13, 0, 0, 0);

/// Weekdays without a session.
const CLOSED: [(Date, &str); 40] = [
    (date(2025, 1, 1), "New Year's Day"),
    (date(2025, 1, 9), "day of mourning for President Carter"),
    (date(2025, 1, 20), "Martin Luther King Jr. Day"),
    (date(2025, 2, 17), "Presidents' Day"),
    (date(2025, 4, 18), "Good Friday"),
    (date(2025, 5, 26), "Memorial Day"),
    (date(2025, 6, 19), "Juneteenth"),
    (date(2025, 7, 4), "Independence Day"),
    (date(2025, 9, 1), "Labor Day"),
    (date(2025, 11, 27), "Thanksgiving Day"),
    (date(2025, 12, 25), "Christmas Day"),
    (date(2026, 1, 1), "New Year's Day"),
    (date(2026, 1, 19), "Martin Luther King Jr. Day"),
    (date(2026, 2, 16), "Presidents' Day"),
    (date(2026, 4, 3), "Good Friday"),
    (date(2026, 5, 25), "Memorial Day"),
    (date(2026, 6, 19), "Juneteenth"),
    (date(2026, 7, 3), "Independence Day, observed"),
    (date(2026, 9, 7), "Labor Day"),
    (date(2026, 11, 26), "Thanksgiving Day"),
    (date(2026, 12, 25), "Christmas Day"),
    (date(2027, 1, 1), "New Year's Day"),
    (date(2027, 1, 18), "Martin Luther King Jr. Day"),
    (date(2027, 2, 15), "Presidents' Day"),
    (date(2027, 3, 26), "Good Friday"),
    (date(2027, 5, 31), "Memorial Day"),
    (date(2027, 6, 18), "Juneteenth, observed"),
    (date(2027, 7, 5), "Independence Day, observed"),
    (date(2027, 9, 6), "Labor Day"),
    (date(2027, 11, 25), "Thanksgiving Day"),
    (date(2027, 12, 24), "Christmas Day, observed"),
    (date(2028, 1, 17), "Martin Luther King Jr. Day"),
    (date(2028, 2, 21), "Presidents' Day"),
    (date(2028, 4, 14), "Good Friday"),
    (date(2028, 5, 29), "Memorial Day"),
    (date(2028, 6, 19), "Juneteenth"),
    (date(2028, 7, 4), "Independence Day"),
    (date(2028, 9, 4), "Labor Day"),
    (date(2028, 11, 23), "Thanksgiving Day"),
    (date(2028, 12, 25), "Christmas Day"),
];

/// Sessions that end at 13:00.
const EARLY: [Date; 8] = [
    date(2025, 7, 3),
    date(2025, 11, 28),
    date(2025, 12, 24),
    date(2026, 11, 27),
    date(2026, 12, 24),
    date(2027, 11, 26),
    date(2028, 7, 3),
    date(2028, 11, 24),
];

/// One regular session, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regular {
    /// Its first millisecond.
    pub opens: Millis,
    /// The first millisecond after it.
    pub closes: Millis,
}

/// Why the exchange is closed on a day, or at a moment of a day, that the table knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closure {
    /// Saturday or Sunday.
    Weekend,
    /// A day of the table, by its name.
    Holiday(&'static str),
    /// Before the opening of a trading day.
    BeforeOpening,
    /// At or after the end of a trading day's session.
    AfterClose,
}

impl fmt::Display for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekend => f.write_str("weekend"),
            Self::Holiday(name) => f.write_str(name),
            Self::BeforeOpening => f.write_str("before the opening"),
            Self::AfterClose => f.write_str("after the close"),
        }
    }
}

/// What the table says of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    /// Inside this session.
    Open(Regular),
    /// Outside every session.
    Closed {
        /// Why.
        why: Closure,
        /// The next session; none where it lies beyond the table.
        next: Option<Regular>,
    },
    /// The table does not reach there: nothing is open, because a guess could trade on a holiday.
    BeyondTable,
}

impl From<Hours> for Session {
    fn from(hours: Hours) -> Self {
        match hours {
            Hours::Open(regular) => Self::Open { until: Some(regular.closes) },
            Hours::Closed { why, next: Some(next) } => {
                Self::Closed { reason: format!("market closed ({why}); opens {}", next.opens) }
            }
            Hours::Closed { why, next: None } => {
                Self::Closed { reason: format!("market closed ({why}); the calendar ends with {YEAR_LAST}") }
            }
            // Not known is not closed: a person must hear of it, or nothing would ever be ordered again.
            Hours::BeyondTable => Self::Disputed {
                reason: format!(
                    "this machine's clock is outside the years of this program's market calendar ({YEAR_FIRST} to \
                     {YEAR_LAST}): set the clock if it is wrong, else install a newer version; closed until then"
                ),
            },
        }
    }
}

/// What the table says of `now`.
#[must_use]
pub fn session_at(now: Millis) -> Hours {
    // `None` is a moment that no calendar has: outside what is known, so closed.
    look_up(now).unwrap_or(Hours::BeyondTable)
}

fn look_up(now: Millis) -> Option<Hours> {
    let today = date_of(now)?;
    if !(YEAR_FIRST..=YEAR_LAST).contains(&today.year()) {
        return Some(Hours::BeyondTable);
    }
    let closed = |why| Hours::Closed { why, next: session_after(today) };
    Some(match session_on(today)? {
        Err(why) => closed(why),
        Ok(regular) if now < regular.opens => {
            Hours::Closed { why: Closure::BeforeOpening, next: Some(regular) }
        }
        Ok(regular) if now < regular.closes => Hours::Open(regular),
        Ok(_) => closed(Closure::AfterClose),
    })
}

/// The moment at which the table ends; `None` never.
#[must_use]
pub fn table_ends() -> Option<Millis> {
    moment_of(date(YEAR_LAST + 1, 1, 1), time(0, 0, 0, 0))
}

/// New York's date at a moment; `None` for a moment that no calendar has.
#[must_use]
pub fn date_of(now: Millis) -> Option<Date> {
    Some(Timestamp::from_millisecond(now.0).ok()?.to_zoned(NEW_YORK.clone()).date())
}

/// The moment of a time of day in New York.
#[must_use]
pub fn moment_of(day: Date, time: Time) -> Option<Millis> {
    let zoned = day.to_datetime(time).to_zoned(NEW_YORK.clone()).ok()?;
    Some(Millis(zoned.timestamp().as_millisecond()))
}

/// The session of a day, or why it has none; `None` outside the table.
fn session_on(day: Date) -> Option<Result<Regular, Closure>> {
    if !(YEAR_FIRST..=YEAR_LAST).contains(&day.year()) {
        return None;
    }
    if matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
        return Some(Err(Closure::Weekend));
    }
    if let Some((_, name)) = CLOSED.iter().find(|(closed, _)| *closed == day) {
        return Some(Err(Closure::Holiday(name)));
    }
    let closes = if EARLY.contains(&day) { CLOSES_EARLY } else { CLOSES };
    Some(Ok(Regular { opens: moment_of(day, OPENS)?, closes: moment_of(day, closes)? }))
}

/// The first session of a later day. It walks over dates, not over 24-hour steps: those are wrong across a clock change.
fn session_after(day: Date) -> Option<Regular> {
    let mut day = day;
    for _ in 0..DAYS_WITHOUT_SESSION_MAX {
        day = day.tomorrow().ok()?;
        if let Ok(regular) = session_on(day)? {
            return Some(regular);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    /// The table as one line per moment: `open until T` or `closed: why; next T`.
    fn say(text: &str) -> String {
        match session_at(at(text)) {
            Hours::Open(regular) => format!("open until {}", regular.closes),
            Hours::Closed { why, next } => {
                format!("closed: {why}; {}", next.map_or("none".into(), |n| n.opens.to_string()))
            }
            Hours::BeyondTable => "beyond the table".into(),
        }
    }

    #[test]
    fn moments() {
        let rows = [
            // Half-open at both ends, winter time.
            ("2026-01-05T14:29:59.999Z", "closed: before the opening; 2026-01-05T14:30:00.000Z"),
            ("2026-01-05T14:30:00.000Z", "open until 2026-01-05T21:00:00.000Z"),
            ("2026-01-05T20:59:59.999Z", "open until 2026-01-05T21:00:00.000Z"),
            ("2026-01-05T21:00:00.000Z", "closed: after the close; 2026-01-06T14:30:00.000Z"),
            // The evening in New York is already the next day in UTC.
            ("2026-01-06T02:00:00Z", "closed: after the close; 2026-01-06T14:30:00.000Z"),
            // The Mondays after the clock changes, and the openings across them.
            ("2026-03-06T21:00:00Z", "closed: after the close; 2026-03-09T13:30:00.000Z"),
            ("2026-03-09T13:30:00Z", "open until 2026-03-09T20:00:00.000Z"),
            ("2026-03-09T20:00:00Z", "closed: after the close; 2026-03-10T13:30:00.000Z"),
            ("2026-10-30T20:00:00Z", "closed: after the close; 2026-11-02T14:30:00.000Z"),
            ("2026-11-02T14:29:59.999Z", "closed: before the opening; 2026-11-02T14:30:00.000Z"),
            ("2026-11-02T20:59:59.999Z", "open until 2026-11-02T21:00:00.000Z"),
            ("2025-03-10T13:30:00Z", "open until 2025-03-10T20:00:00.000Z"),
            ("2025-11-03T13:30:00Z", "closed: before the opening; 2025-11-03T14:30:00.000Z"),
            ("2027-03-15T13:30:00Z", "open until 2027-03-15T20:00:00.000Z"),
            ("2027-11-08T14:30:00Z", "open until 2027-11-08T21:00:00.000Z"),
            // Half days end at 13:00:00.000 in New York, in winter and in summer time.
            ("2026-11-27T17:59:59.999Z", "open until 2026-11-27T18:00:00.000Z"),
            ("2026-11-27T18:00:00.000Z", "closed: after the close; 2026-11-30T14:30:00.000Z"),
            ("2025-07-03T16:59:59.999Z", "open until 2025-07-03T17:00:00.000Z"),
            ("2025-07-03T17:00:00.000Z", "closed: after the close; 2025-07-07T13:30:00.000Z"),
            // Holidays, weekends, and the days that look like one and are none.
            ("2026-11-26T15:00:00Z", "closed: Thanksgiving Day; 2026-11-27T14:30:00.000Z"),
            (
                "2025-01-09T15:00:00Z",
                "closed: day of mourning for President Carter; 2025-01-10T14:30:00.000Z",
            ),
            ("2026-07-03T15:00:00Z", "closed: Independence Day, observed; 2026-07-06T13:30:00.000Z"),
            ("2026-07-02T19:59:59.999Z", "open until 2026-07-02T20:00:00.000Z"),
            ("2027-12-31T20:59:59.999Z", "open until 2027-12-31T21:00:00.000Z"),
            ("2026-11-28T15:00:00Z", "closed: weekend; 2026-11-30T14:30:00.000Z"),
            ("2026-11-29T15:00:00Z", "closed: weekend; 2026-11-30T14:30:00.000Z"),
            // The ends of the table: local years, not those of UTC.
            ("2025-01-01T04:59:59.999Z", "beyond the table"),
            ("2025-01-01T05:00:00Z", "closed: New Year's Day; 2025-01-02T14:30:00.000Z"),
            ("2028-12-29T20:59:59.999Z", "open until 2028-12-29T21:00:00.000Z"),
            ("2028-12-29T21:00:00Z", "closed: after the close; none"),
            ("2029-01-01T04:59:59.999Z", "closed: weekend; none"),
            ("2029-01-01T05:00:00Z", "beyond the table"),
            ("2029-01-02T15:00:00Z", "beyond the table"),
        ];
        for (moment, said) in rows {
            assert_eq!(say(moment), said, "{moment}");
        }
        assert_eq!(session_at(Millis(i64::MAX)), Hours::BeyondTable);
        assert_eq!(session_at(Millis(i64::MIN)), Hours::BeyondTable);
    }

    #[test]
    fn sessions_of_a_year() {
        for (year, sessions, early) in [(2025, 250, 3), (2026, 251, 2), (2027, 251, 1)] {
            let mut day = date(year, 1, 1);
            let mut lengths = Vec::new();
            while day.year() == year {
                if let Ok(regular) = session_on(day).unwrap() {
                    lengths.push(regular.closes.since(regular.opens));
                }
                day = day.tomorrow().unwrap();
            }
            assert_eq!(lengths.len(), sessions, "{year}");
            assert_eq!(lengths.iter().filter(|ms| **ms == 12_600_000).count(), early, "{year}");
            assert_eq!(lengths.iter().filter(|ms| **ms == 23_400_000).count(), sessions - early, "{year}");
        }
    }

    #[test]
    fn the_table_holds_weekdays_in_order_and_no_day_twice() {
        assert!(CLOSED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(EARLY.windows(2).all(|pair| pair[0] < pair[1]));
        for day in CLOSED.iter().map(|(day, _)| *day).chain(EARLY) {
            assert!(!matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday), "{day}");
        }
        assert!(EARLY.iter().all(|day| CLOSED.iter().all(|(closed, _)| closed != day)));
    }

    #[test]
    fn sessions_in_words() {
        let session = Session::from(session_at(at("2026-11-26T15:00:00Z")));
        let Session::Closed { reason } = session else { panic!("{session:?}") };
        assert_eq!(reason, "market closed (Thanksgiving Day); opens 2026-11-27T14:30:00.000Z");
        let open = Session::from(session_at(at("2026-11-27T15:00:00Z")));
        assert_eq!(open, Session::Open { until: Some(at("2026-11-27T18:00:00Z")) });
        let ends = table_ends().unwrap();
        assert!(matches!(Session::from(session_at(ends.plus(-1))), Session::Closed { .. }));
        for beyond in [ends, at("2024-12-31T15:00:00Z"), Millis(i64::MAX)] {
            let session = Session::from(session_at(beyond));
            let Session::Disputed { reason } = session else { panic!("{beyond}: {session:?}") };
            assert!(reason.contains("2025 to 2028") && reason.contains("newer version"), "{reason}");
        }
    }
}
