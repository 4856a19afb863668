//! When the world's exchange is open: the truth that the bot's own table and its broker's word are held against.
//!
//! Written down session by session, in UTC, from the exchange's published hours: no rule, no time zone, no code of
//! `broker::hours`. It only reaches over the weeks in which trials begin; a moment beyond them is closed.

use std::sync::LazyLock;

use jiff::Timestamp;

/// A regular session, half-open, in milliseconds since 1970.
pub(crate) type Regular = (i64, i64);

/// Date, opening and close, in UTC.
const SESSIONS: [(&str, &str, &str); 34] = [
    // Around the change to summer time (Sunday, 8 March 2026).
    ("2026-03-05", "14:30", "21:00"),
    ("2026-03-06", "14:30", "21:00"),
    ("2026-03-09", "13:30", "20:00"),
    ("2026-03-10", "13:30", "20:00"),
    ("2026-03-11", "13:30", "20:00"),
    // Independence Day is observed on Friday, 3 July; the day before is whole.
    ("2026-07-01", "13:30", "20:00"),
    ("2026-07-02", "13:30", "20:00"),
    ("2026-07-06", "13:30", "20:00"),
    ("2026-07-07", "13:30", "20:00"),
    ("2026-07-08", "13:30", "20:00"),
    // Two ordinary weeks.
    ("2026-09-14", "13:30", "20:00"),
    ("2026-09-15", "13:30", "20:00"),
    ("2026-09-16", "13:30", "20:00"),
    ("2026-09-17", "13:30", "20:00"),
    ("2026-09-18", "13:30", "20:00"),
    ("2026-09-21", "13:30", "20:00"),
    ("2026-09-22", "13:30", "20:00"),
    // Around the change to winter time (Sunday, 1 November 2026).
    ("2026-10-29", "13:30", "20:00"),
    ("2026-10-30", "13:30", "20:00"),
    ("2026-11-02", "14:30", "21:00"),
    ("2026-11-03", "14:30", "21:00"),
    ("2026-11-04", "14:30", "21:00"),
    // Thanksgiving on Thursday, the day after ends at 13:00 in New York.
    ("2026-11-25", "14:30", "21:00"),
    ("2026-11-27", "14:30", "18:00"),
    ("2026-11-30", "14:30", "21:00"),
    ("2026-12-01", "14:30", "21:00"),
    // Christmas Eve ends at 13:00, Christmas Day is a Friday; New Year's Day too.
    ("2026-12-23", "14:30", "21:00"),
    ("2026-12-24", "14:30", "18:00"),
    ("2026-12-28", "14:30", "21:00"),
    ("2026-12-31", "14:30", "21:00"),
    ("2027-01-04", "14:30", "21:00"),
    ("2027-01-05", "14:30", "21:00"),
    ("2027-01-06", "14:30", "21:00"),
    ("2027-01-07", "14:30", "21:00"),
];

/// Moments at which trials begin, with their weights; the name says what is near.
pub(crate) const BEGINNINGS: [(u64, (&str, &str)); 14] = [
    (60, ("an ordinary session", "2026-09-15T15:00:00Z")),
    (4, ("an ordinary close", "2026-09-15T19:57:30Z")),
    (4, ("a half day's close", "2026-11-27T17:57:30Z")),
    (3, ("the opening after a holiday", "2026-11-27T14:28:00Z")),
    (3, ("the opening after the change to summer time", "2026-03-09T13:28:00Z")),
    (3, ("an hour before, as if the clocks had not changed", "2026-11-02T13:28:00Z")),
    (3, ("the opening after the change to winter time", "2026-11-02T14:28:00Z")),
    (3, ("a holiday", "2026-11-26T15:00:00Z")),
    (3, ("an observed holiday", "2026-07-03T15:00:00Z")),
    (3, ("the close before an observed holiday", "2026-07-02T19:57:30Z")),
    (3, ("a weekend", "2026-09-19T15:00:00Z")),
    (2, ("Christmas Eve's close", "2026-12-24T17:57:30Z")),
    (3, ("the year's last close", "2026-12-31T20:57:30Z")),
    (3, ("the close before summer time", "2026-03-06T20:57:30Z")),
];

static TABLE: LazyLock<Vec<Regular>> = LazyLock::new(|| {
    let moment = |day: &str, time: &str| at(&format!("{day}T{time}:00Z"));
    SESSIONS.iter().map(|(day, opens, closes)| (moment(day, opens), moment(day, closes))).collect()
});

/// A moment from its text; 1970 where it is none, which no trial survives.
pub(crate) fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
}

/// The session that holds this moment.
pub(crate) fn session_at(now: i64) -> Option<Regular> {
    TABLE.iter().copied().find(|(opens, closes)| (*opens..*closes).contains(&now))
}

/// The first session that opens after this moment.
pub(crate) fn next_session(now: i64) -> Option<Regular> {
    TABLE.iter().copied().find(|(opens, _)| *opens > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfill_broker::Session;
    use counterfill_broker::hours;
    use counterfill_core::units::Millis;

    /// Two tables that were written apart say the same, minute by minute around every session.
    #[test]
    fn the_bots_table_and_the_worlds_agree() {
        for (opens, closes) in TABLE.iter().copied() {
            for moment in [opens - 1, opens, opens + 60_000, closes - 1, closes, closes + 60_000] {
                let open = matches!(hours::session_at(Millis(moment)).into(), Session::Open { .. });
                assert_eq!(open, session_at(moment).is_some(), "{}", Millis(moment));
            }
        }
        for (_, (name, text)) in BEGINNINGS {
            let open = matches!(hours::session_at(Millis(at(text))).into(), Session::Open { .. });
            assert_eq!(open, session_at(at(text)).is_some(), "{name}");
            assert!(next_session(at(text)).is_some(), "{name} is followed by a session");
        }
    }
}
