//! `auth status` and `auth rekey`.

use counterfill::broker::schwab::vault::{Refusal, Vault};
use counterfill::units::Millis;
use serde_json::Value;

use super::desk::{Desk, KEY, NEXT_KEY, key_bytes};

fn status(desk: &Desk) -> (i32, Value) {
    let said = desk.auth(&["status", "--json"]);
    assert_eq!(desk.auth(&["status"]).code, said.code);
    (said.code, serde_json::from_str(&said.out).unwrap_or(Value::Null))
}

#[test]
fn a_status_says_until_when_and_asks_nobody() {
    let desk = Desk::new();
    let (code, json) = status(&desk);
    assert_eq!((code, json["state"].as_str()), (1, Some("none")), "{json}");
    assert!(!desk.data.path().join("login.db").exists(), "a look makes no file");
    desk.log_in();
    let asked = desk.double.log().len();
    let (code, json) = status(&desk);
    assert_eq!((code, json["state"].as_str(), json["broker"].as_str()), (0, Some("good"), Some("schwab")));
    let left = json["left_s"].as_i64().unwrap();
    assert!((7 * 86_400 - 300..=7 * 86_400).contains(&left), "{json}");
    let (at, end) = (json["logged_in_at"].as_i64().unwrap(), json["ends_at"].as_i64().unwrap());
    assert_eq!(end - at, 7 * 86_400_000);
    assert!(desk.auth(&["status"]).out.contains("another 6 d 23 h"));
    assert_eq!(desk.double.log().len(), asked);

    // Seven days later, and after the broker's own no.
    let path = desk.data.path().join("login.db");
    let mut vault = Vault::open(&path, &key_bytes(KEY)).unwrap();
    let mut login = vault.load().unwrap().unwrap();
    login.logged_in_at = Millis::now().plus(-7 * 86_400_000);
    let generation = vault.store(&login).unwrap().unwrap();
    let (code, json) = status(&desk);
    assert_eq!((code, json["state"].as_str()), (1, Some("ended")), "{json}");
    let why = "another login; type `auth login`".to_owned();
    vault.refuse(generation, &Refusal { at: Millis::now(), why }).unwrap();
    let (code, json) = status(&desk);
    assert_eq!((code, json["state"].as_str()), (1, Some("refused")), "{json}");
    assert!(json["reason"].as_str().unwrap().contains("auth login"));
    desk.log_in();
    assert_eq!(status(&desk).0, 0);
    desk.nothing_leaked();
}

#[test]
fn a_new_key_takes_the_old_ones_place() {
    let mut desk = Desk::new();
    desk.set("NEW_ENCRYPTION_KEY", NEXT_KEY);
    let said = desk.auth(&["rekey"]);
    assert_eq!((said.code, said.err.contains("nobody is logged in")), (1, true), "{said:?}");
    desk.log_in();
    let before = desk.stored(KEY).unwrap();
    let said = desk.auth(&["rekey"]);
    assert_eq!((said.code, said.out.contains("sealed with the new key")), (0, true), "{said:?}");
    let after = desk.stored(NEXT_KEY).unwrap();
    assert!(
        (&after.access, &after.refresh, after.logged_in_at)
            == (&before.access, &before.refresh, before.logged_in_at)
    );

    // Both keys, then the new one alone; the old one alone opens nothing, and is told so.
    assert_eq!(status(&desk).0, 0);
    desk.set("NEW_ENCRYPTION_KEY", "");
    let said = desk.auth(&["status"]);
    assert_eq!(
        (said.code, said.err.contains("does not open with this ENCRYPTION_KEY")),
        (78, true),
        "{said:?}"
    );
    let said = desk.auth(&["rekey"]);
    assert_eq!((said.code, said.err.contains("NEW_ENCRYPTION_KEY is missing")), (78, true), "{said:?}");
    desk.set("ENCRYPTION_KEY", NEXT_KEY);
    assert_eq!(status(&desk).0, 0);
    // A rekey that is done twice is done.
    desk.set("ENCRYPTION_KEY", KEY);
    desk.set("NEW_ENCRYPTION_KEY", NEXT_KEY);
    assert_eq!(desk.auth(&["rekey"]).code, 0);
    assert!(desk.stored(NEXT_KEY).is_some());
    // A login while both are given is sealed with the one that opened what was there.
    desk.log_in();
    assert!(desk.stored(NEXT_KEY).is_some());
    desk.nothing_leaked();
}
