//! The table of an order's life, pair by pair, and as it is printed in docs/reference/order-lifecycle.md.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use counterfill_core::hedges::{Decision, End, IntentState, OrderEvent, transition};

const PRINTED: &str = include_str!("../../../docs/reference/order-lifecycle.md");

/// What each event is called in the printed table.
fn name(event: &OrderEvent) -> &'static str {
    match event {
        OrderEvent::NoLongerWanted => "the exposure does not want it any more",
        OrderEvent::NameTaken(_) => "the broker has an order of this name, of a later ledger",
        OrderEvent::Sent => "nothing holds it back: the order is about to leave",
        OrderEvent::SentAgain => {
            "the broker does not have it by its name: the same order is about to leave again"
        }
        OrderEvent::Accepted(_) => "a yes with an order id",
        OrderEvent::Refused(_) => "a clear no to the order",
        OrderEvent::Barred(_) => "a clear no for login, rate or the account",
        OrderEvent::NotSent(_) => "the call provably never left",
        OrderEvent::Unclear(_) => "any other answer, or none",
        OrderEvent::Duplicate => "the name is taken at the broker",
        OrderEvent::ResendUnclear(_) => "no clear yes to a second send",
        OrderEvent::AnswerLost => "the process ended before the answer",
        OrderEvent::Read(_) => "read in the broker's book, as it was wanted",
        OrderEvent::Ended(End::Filled, _) => "done, whole",
        OrderEvent::Ended(End::Canceled, _) => "canceled",
        OrderEvent::Ended(End::Rejected, _) => "refused after it was received",
        OrderEvent::Ended(End::Expired, _) => "its day ended",
        OrderEvent::Contradicted(_) => "what the broker says does not fit it",
        OrderEvent::Shown(_) => "the list shows our own order, where the yes had named another",
        OrderEvent::ProvedAbsent => "lists and position prove that there is none",
        OrderEvent::Settled { decision: Decision::Adopt(_), .. } => "`bot reconcile … adopt ORDER`",
        OrderEvent::Settled { decision: Decision::Absent, .. } => "`bot reconcile … absent`",
        OrderEvent::Settled { decision: Decision::Book, .. } => "`bot reconcile … book`",
        OrderEvent::Settled { decision: Decision::Ignore, .. } => "`bot reconcile … ignore`",
    }
}

/// One of each kind; what differs from case to case stands in capitals.
fn events() -> Vec<OrderEvent> {
    let order = || "ORDER".parse().unwrap();
    let settled = |decision| OrderEvent::Settled { decision, who: "WHO".into(), reason: "REASON".into() };
    let ended = |end| OrderEvent::Ended(end, "STATUS".into());
    vec![
        OrderEvent::NoLongerWanted,
        OrderEvent::NameTaken(order()),
        OrderEvent::Sent,
        OrderEvent::Accepted(order()),
        OrderEvent::Refused("WORDS".into()),
        OrderEvent::Barred("WORDS".into()),
        OrderEvent::NotSent("WORDS".into()),
        OrderEvent::Unclear("WORDS".into()),
        OrderEvent::AnswerLost,
        OrderEvent::Duplicate,
        OrderEvent::ResendUnclear("WORDS".into()),
        OrderEvent::SentAgain,
        OrderEvent::Read("STATUS".into()),
        ended(End::Filled),
        ended(End::Canceled),
        ended(End::Rejected),
        ended(End::Expired),
        OrderEvent::Contradicted("WHY".into()),
        OrderEvent::Shown(order()),
        OrderEvent::ProvedAbsent,
        settled(Decision::Adopt(order())),
        settled(Decision::Absent),
        settled(Decision::Book),
        settled(Decision::Ignore),
    ]
}

/// Every pair that leads somewhere, written once more by hand; of every other pair nothing comes.
const ROWS: [(&str, usize, &str, &str); 29] = [
    ("Planned", 0, "Withdrawn", "no longer wanted"),
    ("Planned", 1, "Withdrawn", "order ORDER at the broker has this name already"),
    ("Planned", 2, "Sent", "planned before"),
    ("Sent", 3, "Sent", "claimed order ORDER"),
    ("Sent", 4, "Refused", "WORDS"),
    ("Sent", 5, "Refused", "gate: WORDS"),
    ("Sent", 6, "Refused", "not sent: WORDS"),
    ("Sent", 7, "Unknown", "WORDS"),
    ("Sent", 8, "Unknown", "the bot stopped before the broker's answer"),
    ("Sent", 9, "Unknown", "an earlier send did arrive"),
    ("Sent", 10, "Unknown", "the send before this one may have arrived; this one: WORDS"),
    ("Sent", 12, "Working", "read as STATUS"),
    ("Sent", 17, "Stuck", "WHY"),
    ("Unknown", 11, "Sent", "the broker did not have it; the same order again under the same name"),
    ("Unknown", 12, "Working", "read as STATUS"),
    ("Unknown", 17, "Stuck", "WHY"),
    ("Unknown", 19, "Absent", "no list showed it for ABSENT_AFTER, and the position did not move"),
    ("Unknown", 20, "Working", "adopt by WHO: REASON"),
    ("Unknown", 21, "Absent", "absent by WHO: REASON"),
    ("Working", 13, "Filled", "STATUS"),
    ("Working", 14, "Canceled", "STATUS"),
    ("Working", 15, "Rejected", "STATUS"),
    ("Working", 16, "Expired", "STATUS"),
    ("Working", 17, "Stuck", "WHY"),
    ("Stuck", 18, "Working", "the list shows it as order ORDER; the broker's yes named another"),
    ("Stuck", 20, "Working", "adopt by WHO: REASON"),
    ("Stuck", 21, "Absent", "absent by WHO: REASON"),
    ("Stuck", 22, "Working", "book by WHO: REASON"),
    ("Stuck", 23, "Absent", "ignore by WHO: REASON"),
];

#[test]
fn every_pair_of_state_and_event_leads_where_it_must_and_no_other_leads_anywhere() {
    let events = events();
    for state in IntentState::ALL {
        for (number, event) in events.iter().enumerate() {
            let row = ROWS.iter().find(|(from, of, ..)| *from == state.as_str() && *of == number);
            let expected = row.map(|(_, _, to, reason)| ((*to).to_owned(), (*reason).to_owned()));
            let found = transition(state, event).map(|found| (found.to.to_string(), found.reason));
            assert_eq!(found, expected, "{state}: {event:?}");
        }
    }
}

/// The ledger refuses what the drawing in protocol.md has no arrow for.
#[test]
fn every_row_is_an_arrow_of_the_drawing() {
    for state in IntentState::ALL {
        for event in events() {
            if let Some(found) = transition(state, &event) {
                assert!(state.may_become(found.to), "{state} to {}: {event:?}", found.to);
            }
        }
    }
}

#[test]
fn the_printed_table_is_the_programs() {
    let mut table = String::from("| in | happens | becomes | the ledger says |\n|---|---|---|---|\n");
    for state in IntentState::ALL {
        for event in events() {
            if let Some(found) = transition(state, &event) {
                table += &format!("| {state} | {} | {} | {} |\n", name(&event), found.to, found.reason);
            }
        }
    }
    let printed = PRINTED.find("| in |").map_or("", |at| &PRINTED[at..]);
    assert!(printed == table, "docs/reference/order-lifecycle.md must end with:\n\n{table}");
}
