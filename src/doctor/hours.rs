//! The time zone and the calendar that this program carries: New York's rules and the exchange's closed days.
//!
//! It needs nothing of the system: a container without zone files has the same New York.

use super::Finding;
use crate::broker::hours::{self, Hours};
use crate::units::Millis;

/// The table's end is worth a word so long before.
const WARN_BEFORE_MS: i64 = 60 * 86_400_000;
const UPDATE: &str = "Install a newer version of counterfill, whose calendar reaches further";

/// Whether New York's time is known now, and the calendar covers it.
pub(super) fn zone() -> Finding {
    at(Millis::now())
}

fn at(now: Millis) -> Finding {
    let Some(day) = hours::date_of(now) else {
        return Finding::failed(
            format!("this machine's clock says {now}, which no calendar has"),
            "Set this machine's clock",
        );
    };
    let said = match hours::session_at(now) {
        Hours::BeyondTable => {
            return Finding::failed(format!("{day} in New York is outside the built-in calendar"), UPDATE);
        }
        Hours::Open(regular) => format!("a session until {}", regular.closes),
        Hours::Closed { why, next: Some(next) } => format!("closed ({why}), next session {}", next.opens),
        Hours::Closed { why, next: None } => format!("closed ({why})"),
    };
    if hours::session_at(now.plus(WARN_BEFORE_MS)) == Hours::BeyondTable {
        return Finding::warning(
            format!("{day} in New York; the built-in calendar ends within 60 days"),
            UPDATE,
        );
    }
    Finding::ok(format!("{day} in New York, by the rules in this program; the built-in calendar: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_calendars_end_is_said_before_it_comes() {
        // 2026-11-25, 2028-12-01, 2029-06-01.
        let rows = [
            (1_795_600_000_000, Verdict::Ok),
            (1_859_300_000_000, Verdict::Warning),
            (1_875_000_000_000, Verdict::Failed),
        ];
        for (ms, verdict) in rows {
            assert_eq!(at(Millis(ms)).verdict, verdict, "{}", Millis(ms));
        }
    }
}
