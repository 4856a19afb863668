//! The double's own clock, and when its market is open.
//!
//! The clock runs with the machine's, shifted by an offset, or stands still where a test stopped it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Of New York alone; its rules are as old as the jiff it was built with.
static NEW_YORK: TimeZone = jiff::tz::get!("America/New_York");
/// How far away the end of a session is in a market that never closes.
const NEVER_MS: i64 = 6 * 3_600_000;

/// The double's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// Stands still here; runs where none.
    pub(crate) stopped_at: Option<i64>,
    /// Added to the machine's clock.
    pub(crate) offset_ms: i64,
}

/// What a test may do to it; one of the three.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct ClockOrder {
    stop_ms: Option<i64>,
    offset_ms: Option<i64>,
    advance_ms: Option<i64>,
}

impl Clock {
    pub(crate) fn obey(&mut self, order: ClockOrder) -> Result<(), String> {
        match (order.stop_ms, order.offset_ms, order.advance_ms) {
            (Some(stop), None, None) => self.stopped_at = Some(stop),
            (None, Some(offset_ms), None) => *self = Self { stopped_at: None, offset_ms },
            (None, None, Some(advance)) => match &mut self.stopped_at {
                Some(stopped) => *stopped += advance,
                None => self.offset_ms += advance,
            },
            _ => return Err("one of stop_ms, offset_ms and advance_ms".into()),
        }
        Ok(())
    }

    pub(crate) fn now_ms(self) -> i64 {
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis());
        let machine = i64::try_from(machine).unwrap_or(i64::MAX);
        self.stopped_at.unwrap_or_else(|| machine.saturating_add(self.offset_ms))
    }
}

/// A trading day, in New York's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// `2026-11-27`
    pub date: String,
    /// `09:30`
    pub open: String,
    /// `13:00`
    pub close: String,
}

/// When the market is open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Market {
    /// Always; its calendar says so of every day.
    #[default]
    Open,
    /// Never.
    Closed,
    /// On these days, in these hours.
    Days {
        /// Ascending.
        days: Vec<Day>,
    },
}

/// A session in milliseconds, half-open.
type Session = (i64, i64);

impl Market {
    fn sessions(&self) -> Vec<Session> {
        let Self::Days { days } = self else { return Vec::new() };
        days.iter()
            .filter_map(|day| Some((moment(&day.date, &day.open)?, moment(&day.date, &day.close)?)))
            .collect()
    }

    pub(crate) fn is_open(&self, now: i64) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            Self::Days { .. } => self.sessions().iter().any(|(open, close)| (*open..*close).contains(&now)),
        }
    }

    /// When the session that holds this moment ends; none where no session does, or it never ends.
    pub(crate) fn end_of_session(&self, at: i64) -> Option<i64> {
        self.sessions()
            .into_iter()
            .find(|(open, close)| (*open..*close).contains(&at))
            .map(|(_, close)| close)
    }

    /// Whether a session began after `from` and not after `to`.
    pub(crate) fn opened_between(&self, from: i64, to: i64) -> bool {
        match self {
            Self::Open => true,
            Self::Closed => false,
            Self::Days { .. } => self.sessions().iter().any(|(open, _)| (from + 1..=to).contains(open)),
        }
    }

    /// When the first session that ends after `at` ends: with it ends what was entered for the day.
    pub(crate) fn ends_after(&self, at: i64) -> Option<i64> {
        self.sessions().into_iter().map(|(_, close)| close).filter(|close| *close > at).min()
    }

    pub(crate) fn next_open(&self, now: i64) -> i64 {
        let next = self.sessions().into_iter().map(|(open, _)| open).filter(|open| *open > now).min();
        next.unwrap_or_else(|| now.saturating_add(4 * NEVER_MS))
    }

    pub(crate) fn next_close(&self, now: i64) -> i64 {
        let next = self.sessions().into_iter().map(|(_, close)| close).filter(|close| *close > now).min();
        // A closed market's next close lies behind its next opening.
        let far = if matches!(self, Self::Open) { NEVER_MS } else { 5 * NEVER_MS };
        next.unwrap_or_else(|| now.saturating_add(far))
    }

    /// The trading days from `start` to `end`, both included. A date without trading gives the next one that has, as
    /// the real one may do.
    pub(crate) fn days(&self, start: &str, end: &str) -> Vec<Day> {
        match self {
            Self::Open => vec![Day { date: start.into(), open: "00:00".into(), close: "23:59".into() }],
            Self::Closed => Vec::new(),
            Self::Days { days } => {
                let within: Vec<Day> =
                    days.iter().filter(|day| *day.date >= *start && *day.date <= *end).cloned().collect();
                if !within.is_empty() {
                    return within;
                }
                days.iter().find(|day| *day.date > *start).cloned().into_iter().collect()
            }
        }
    }
}

fn moment(date: &str, time: &str) -> Option<i64> {
    let (date, time): (Date, Time) = (date.parse().ok()?, time.parse().ok()?);
    Some(date.to_datetime(time).to_zoned(NEW_YORK.clone()).ok()?.timestamp().as_millisecond())
}

/// As the clock endpoint writes a moment: New York's offset, nanoseconds.
pub(crate) fn local(ms: i64) -> String {
    let Ok(moment) = Timestamp::from_millisecond(ms) else { return String::new() };
    moment.to_zoned(NEW_YORK.clone()).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

/// As the orders carry a moment: UTC, nanoseconds.
pub(crate) fn utc(ms: i64) -> String {
    let Ok(moment) = Timestamp::from_millisecond(ms) else { return String::new() };
    format!("{moment:.9}")
}

/// As the `Date` header has it.
pub(crate) fn http_date(ms: i64) -> String {
    let Ok(moment) = Timestamp::from_millisecond(ms) else { return String::new() };
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// As Schwab's orders carry a moment: whole seconds, an offset without a colon.
pub(crate) fn seconds(ms: i64) -> String {
    let Ok(moment) = Timestamp::from_millisecond(ms) else { return String::new() };
    moment.strftime("%Y-%m-%dT%H:%M:%S+0000").to_string()
}

/// A time of day in New York with its offset then, as session hours are told.
pub(crate) fn at_time(date: &str, time: &str) -> String {
    moment(date, time).map_or_else(String::new, |ms| {
        let Ok(moment) = Timestamp::from_millisecond(ms) else { return String::new() };
        moment.to_zoned(NEW_YORK.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    })
}

/// The date so many days later.
pub(crate) fn days_later(date: &str, days: i64) -> String {
    let later = date.parse::<Date>().and_then(|date| date.checked_add(Span::new().days(days)));
    later.map_or_else(|_| String::new(), |date| date.to_string())
}

/// New York's date at a moment.
pub(crate) fn today(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .map_or_else(|_| String::new(), |moment| moment.to_zoned(NEW_YORK.clone()).date().to_string())
}

/// A moment as a client writes it: RFC 3339, or a date.
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.as_millisecond());
    }
    let date: Date = text.parse().ok()?;
    let midnight = date.to_zoned(TimeZone::UTC).ok()?;
    Some(midnight.checked_add(Span::new()).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_day_is_open_until_one() {
        let day = Day { date: "2026-11-27".into(), open: "09:30".into(), close: "13:00".into() };
        let market = Market::Days { days: vec![day.clone()] };
        let at = |text| parse(text).unwrap();
        assert!(market.is_open(at("2026-11-27T17:59:59.999Z")));
        assert!(!market.is_open(at("2026-11-27T18:00:00Z")));
        assert_eq!(market.days("2026-11-26", "2026-11-26"), [day], "the next day that trades");
        assert_eq!(local(at("2026-11-27T18:00:00Z")), "2026-11-27T13:00:00-05:00");
        assert_eq!(utc(at("2026-11-27T18:00:00.5Z")), "2026-11-27T18:00:00.500000000Z");
        assert_eq!(http_date(at("2026-11-27T18:00:00Z")), "Fri, 27 Nov 2026 18:00:00 GMT");
        assert_eq!(at("2026-11-27"), at("2026-11-27T00:00:00Z"));
    }
}
