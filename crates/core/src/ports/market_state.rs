//! Whether orders may leave: the broker's clock, its calendar and our own table, asked in turn.
//!
//! Pure. Open is only what every one of them that can answer calls open; the earliest end counts. Where they differ the
//! market is closed and a person is told, because each of them has been wrong before: a table on a day of mourning, a
//! clock on its first minute. It refuses to know how any of them was asked.

use super::broker::Session;
use super::market_hours::Hours;
use crate::units::Millis;

/// How it begins to be said that the broker has the only word and does not say it.
pub const UNTOLD: &str = "the broker does not tell its hours";

/// Around an opening and a close the clocks differ for a moment without anything being wrong.
const EDGE_MS: i64 = 5_000;

/// Whose word opens a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The broker's and the table's.
    Agreed,
    /// The broker's alone, also beyond the table.
    Broker,
}

/// The broker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Its time.
    pub at: Millis,
    /// Whether the regular session is on.
    pub is_open: bool,
    /// When it ends next.
    pub next_close: Option<Millis>,
    /// When it begins next.
    pub next_open: Option<Millis>,
}

/// Everything that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// This machine's clock.
    pub now: Millis,
    /// The broker's clock; why there is none, where the broker answers but not that.
    pub clock: Result<Clock, String>,
    /// Today's session in the broker's calendar; the outer none where it gave no answer.
    pub calendar: Option<Option<(Millis, Millis)>>,
    /// What the table says of now.
    pub table: Hours,
}

/// What follows from it.
#[must_use]
pub fn judge(said: &Said, word: Word) -> Session {
    let clock = match (&said.clock, word) {
        (Ok(clock), _) => clock,
        // The broker answers, but not about its hours: the table is the second word.
        (Err(_), Word::Agreed) => return said.table.into(),
        // Not known is not closed: nobody would look why nothing leaves in an open market.
        (Err(why), Word::Broker) => return Session::Disputed { reason: format!("{UNTOLD}: {why}") },
    };
    let session = match (clock.is_open, word) {
        (true, Word::Broker) => Session::Open { until: clock.next_close },
        (false, Word::Broker) => closed(clock),
        (true, Word::Agreed) => open_if_all_agree(clock, said),
        (false, Word::Agreed) => closed_unless_the_table_differs(clock, said),
    };
    match session {
        // The table was asked for the wrong moment: nothing is known of the exchange.
        Session::Disputed { .. } if clock.at.since(said.now).saturating_abs() > EDGE_MS => {
            Session::Disputed { reason: apart(said.now, clock.at) }
        }
        session => session,
    }
}

fn apart(ours: Millis, theirs: Millis) -> String {
    format!(
        "this machine's clock says {ours} and the broker's {theirs}, {} s apart: set this machine's clock (NTP); closed \
         until they agree",
        theirs.since(ours).saturating_abs() / 1_000
    )
}

fn closed(clock: &Clock) -> Session {
    let opens = clock.next_open.map_or_else(String::new, |next| format!("; opens {next}"));
    Session::Closed { reason: format!("market closed (the broker's clock){opens}") }
}

fn open_if_all_agree(clock: &Clock, said: &Said) -> Session {
    let mut ends = Vec::from_iter(clock.next_close);
    match said.calendar {
        Some(Some((opens, closes))) if opens <= clock.at && clock.at < closes => ends.push(closes),
        Some(session) => {
            let near = session.is_some_and(|(opens, closes)| is_edge(clock.at, opens, closes));
            return differ("the broker's clock says open, its calendar closed", near);
        }
        None => {}
    }
    match said.table {
        Hours::Open(regular) => ends.push(regular.closes),
        Hours::Closed { why, next } => {
            let near = next.is_some_and(|next| is_edge(clock.at, next.opens, next.closes));
            return differ(
                &format!("the broker says open, the calendar of this program closed ({why})"),
                near,
            );
        }
        beyond @ Hours::BeyondTable => return beyond.into(),
    }
    Session::Open { until: ends.into_iter().min() }
}

fn closed_unless_the_table_differs(clock: &Clock, said: &Said) -> Session {
    match said.table {
        Hours::Open(regular) if !is_edge(clock.at, regular.opens, regular.closes) => {
            let reason = "the broker says closed, the calendar of this program open: an unplanned closing, or a \
                          holiday it does not know; closed";
            Session::Disputed { reason: reason.into() }
        }
        beyond @ Hours::BeyondTable => beyond.into(),
        _ => closed(clock),
    }
}

const fn is_edge(at: Millis, opens: Millis, closes: Millis) -> bool {
    at.since(opens).saturating_abs() <= EDGE_MS || at.since(closes).saturating_abs() <= EDGE_MS
}

fn differ(how: &str, near_an_edge: bool) -> Session {
    if near_an_edge {
        Session::Closed { reason: format!("{how}; the session is about to begin or to end") }
    } else {
        Session::Disputed { reason: format!("{how}: closed until they agree") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::market_hours::session_at;
    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    /// `clock` is "open END", "closed" or "-"; `calendar` is "BEGIN END", "none" or "-".
    fn say(now: &str, clock: &str, calendar: &str, word: Word) -> String {
        let asked = at(now);
        let clock = match clock.split_once(' ') {
            Some((_, end)) => {
                Ok(Clock { at: asked, is_open: true, next_close: Some(at(end)), next_open: None })
            }
            None if clock == "-" => Err("HTTP 503".into()),
            None => Ok(Clock { at: asked, is_open: false, next_close: None, next_open: None }),
        };
        let calendar = match calendar.split_once(' ') {
            Some((begin, end)) => Some(Some((at(begin), at(end)))),
            None if calendar == "-" => None,
            None => Some(None),
        };
        let table = session_at(asked);
        let said = Said { now: asked, clock, calendar, table };
        match judge(&said, word) {
            Session::Open { until: Some(until) } => format!("open until {until}"),
            Session::Open { until: None } => "open".into(),
            Session::Closed { .. } => "closed".into(),
            Session::Disputed { .. } => "disputed".into(),
        }
    }

    #[test]
    fn who_says_what() {
        const FRIDAY: &str = "2026-11-27T15:00:00Z";
        const HALF: &str = "2026-11-27T18:00:00Z";
        const FULL: &str = "2026-11-27T21:00:00Z";
        const CALENDAR: &str = "2026-11-27T14:30:00Z 2026-11-27T18:00:00Z";
        use Word::{Agreed, Broker};
        let open = |end: &str| format!("open {end}");
        let rows = [
            (FRIDAY, open(HALF), CALENDAR, Agreed, "open until 2026-11-27T18:00:00.000Z"),
            (FRIDAY, open(HALF), "-", Agreed, "open until 2026-11-27T18:00:00.000Z"),
            // A clock that forgot the half day: the earliest end counts.
            (FRIDAY, open(FULL), CALENDAR, Agreed, "open until 2026-11-27T18:00:00.000Z"),
            (FRIDAY, open(FULL), "-", Agreed, "open until 2026-11-27T18:00:00.000Z"),
            (FRIDAY, open(HALF), "none", Agreed, "disputed"),
            (FRIDAY, "closed".into(), "none", Agreed, "disputed"),
            (FRIDAY, "-".into(), "-", Agreed, "open until 2026-11-27T18:00:00.000Z"),
            // Who has the only word does not say it: that is not known, and a person looks.
            (FRIDAY, "-".into(), "-", Broker, "disputed"),
            // Thanksgiving: the table is closed.
            ("2026-11-26T15:00:00Z", open(HALF), "-", Agreed, "disputed"),
            ("2026-11-26T15:00:00Z", open(HALF), "-", Broker, "open until 2026-11-27T18:00:00.000Z"),
            ("2026-11-26T15:00:00Z", "closed".into(), "none", Agreed, "closed"),
            // Around the opening and the end nobody is alarmed, and nothing leaves.
            ("2026-11-27T14:30:01Z", "closed".into(), CALENDAR, Agreed, "closed"),
            ("2026-11-27T14:29:58Z", open(HALF), CALENDAR, Agreed, "closed"),
            ("2026-11-27T18:00:00Z", open(HALF), CALENDAR, Agreed, "closed"),
            ("2026-11-27T18:01:00Z", open(FULL), CALENDAR, Agreed, "disputed"),
            // Beyond the table nothing leaves, unless the broker's word is enough, and a person is told, day and night.
            ("2029-01-02T15:00:00Z", open("2029-01-02T21:00:00Z"), "-", Agreed, "disputed"),
            ("2029-01-02T23:00:00Z", "closed".into(), "-", Agreed, "disputed"),
            (
                "2029-01-02T15:00:00Z",
                open("2029-01-02T21:00:00Z"),
                "-",
                Broker,
                "open until 2029-01-02T21:00:00.000Z",
            ),
            ("2029-01-02T15:00:00Z", "-".into(), "-", Agreed, "disputed"),
            ("2024-12-31T15:00:00Z", "closed".into(), "-", Agreed, "disputed"),
        ];
        for (now, clock, calendar, word, said) in rows {
            assert_eq!(say(now, &clock, calendar, word), said, "{now} {clock} {calendar} {word:?}");
        }
    }

    /// A clock that is wrong is told as that, whichever way the words differ because of it.
    #[test]
    fn a_skewed_clock_is_no_unplanned_closing() {
        let rows = [
            // Three hours apart around the close, a day apart around a holiday, in another decade.
            ("2026-11-25T20:00:00Z", "2026-11-25T23:00:00Z", false),
            ("2026-11-25T23:00:00Z", "2026-11-25T20:00:00Z", true),
            ("2026-11-26T17:00:00Z", "2026-11-25T17:00:00Z", true),
            ("2026-11-25T17:00:00Z", "2026-11-26T17:00:00Z", false),
            ("2031-11-25T17:00:00Z", "2026-11-25T17:00:00Z", true),
            ("1970-01-01T00:00:01Z", "2026-11-25T23:00:00Z", false),
        ];
        for (ours, theirs, is_open) in rows {
            let now = at(ours);
            let clock = Clock { at: at(theirs), is_open, next_close: None, next_open: None };
            let said = Said { now, clock: Ok(clock), calendar: None, table: session_at(now) };
            let session = judge(&said, Word::Agreed);
            let Session::Disputed { reason } = session else { panic!("{ours} {theirs}: {session:?}") };
            assert!(reason.contains("NTP") && reason.contains(&now.to_string()), "{reason}");
        }
        // Of one moment it is the exchange that differs.
        let now = at("2026-11-25T17:00:00Z");
        let clock = Clock { at: now.plus(1_000), is_open: false, next_close: None, next_open: None };
        let said = Said { now, clock: Ok(clock), calendar: None, table: session_at(now) };
        let Session::Disputed { reason } = judge(&said, Word::Agreed) else { panic!("disputed") };
        assert!(reason.contains("unplanned closing"), "{reason}");
    }
}
