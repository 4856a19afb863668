//! `auth login` with a pasted address: what goes well, and everything that a person can bring instead.

use std::os::unix::fs::PermissionsExt;

use broker_doubles::schwab::{ACCOUNT, APP_KEY, CALLBACK, Fault, Kind};
use broker_doubles::tls::Authority;
use counterfill::units::Millis;

use super::desk::{AUTH, Desk, KEY, NEXT_KEY};

#[test]
fn a_pasted_address_becomes_a_sealed_login() {
    let desk = Desk::new();
    let before = Millis::now();
    let mut begun = desk.begin(&[]);
    assert!(
        begun.address.starts_with(&format!("{}/v1/oauth/authorize?response_type=code", desk.double.url()))
    );
    assert!(begun.address.contains(APP_KEY), "the broker must know who asks");
    assert_eq!(begun.state().len(), 32);
    let back = desk.browse(&begun.address);
    assert!(back.starts_with(CALLBACK) && back.contains("%40"));
    begun.paste(&back);
    let said = begun.ends(&desk);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("logged in until "), "{said:?}");
    let end = &ACCOUNT[ACCOUNT.len() - 4..];
    assert!(
        said.out.contains("it opens 2 account(s): …") && said.out.contains(&format!("…{end}")),
        "{said:?}"
    );
    assert!(said.out.contains("LIVE_ACCOUNT is one of them"), "{said:?}");
    assert_eq!((desk.asked("token"), desk.asked("place")), (1, 0));

    let login = desk.stored(KEY).unwrap();
    assert!(login.logged_in_at >= before && login.logged_in_at <= Millis::now());
    assert_eq!(login.access_until.since(login.logged_in_at), 1_800_000);
    let mode = std::fs::metadata(desk.data.path().join("login.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The state is another one each time.
    let (one, other) = (desk.begin(&[]), desk.begin(&[]));
    assert_ne!(one.state(), other.state());
    one.ends(&desk);
    other.ends(&desk);
    desk.nothing_leaked();
}

#[test]
fn what_is_no_answer_to_this_login_is_told_and_asked_for_again() {
    let desk = Desk::new();
    let other = desk.begin(&[]);
    let of_another = desk.browse(&other.address);
    other.ends(&desk);
    let mut begun = desk.begin(&[]);
    for (pasted, words) in [
        (of_another.as_str(), "belongs to another login"),
        ("https://127.0.0.1:8182/?session=x", "no code in it"),
        ("https://127.0.0.1:8182/?error=access_denied", "the broker's page said no"),
        ("hello", "no code in it"),
    ] {
        begun.paste(pasted);
        begun.hears(words);
    }
    assert_eq!(desk.asked("token"), 0, "none of them went to the broker");
    let back = desk.browse(&begun.address);
    begun.paste("");
    begun.paste(&back);
    assert_eq!(begun.ends(&desk).code, 0);

    // A code alone does as well, encoded or not.
    let mut begun = desk.begin(&[]);
    let back = desk.browse(&begun.address);
    // And an odd yes to it is a yes: the code is used up.
    desk.double.fault(Fault::next("token", Kind::OddYes));
    begun.paste(back.split("code=").nth(1).unwrap().split('&').next().unwrap());
    assert_eq!(begun.ends(&desk).code, 0);
    assert_eq!(desk.asked("token"), 2);
    desk.nothing_leaked();
}

#[test]
fn a_login_that_comes_to_nothing_says_why_in_its_exit_code() {
    let desk = Desk::new();
    let said = desk.begin(&[]).ends(&desk);
    assert_eq!((said.code, said.err.contains("nothing was pasted")), (64, true), "{said:?}");
    let mut begun = desk.begin(&[]);
    begun.paste("https://127.0.0.1:8182/?code=C0.x.y%40&state=0123");
    let said = begun.ends(&desk);
    assert_eq!((said.code, said.err.contains("belongs to another login")), (64, true), "{said:?}");
    assert_eq!(desk.asked("token"), 0);
    assert!(desk.stored(KEY).is_none());
    desk.nothing_leaked();
}

#[test]
fn a_code_is_good_for_thirty_seconds_and_once() {
    let desk = Desk::new();
    // The broker's clock goes on when we say so, however long the rest takes.
    let now = desk.double.book(|book| book.now_ms());
    let pass = |ms: i64| desk.double.book(|book| book.stop_clock(now + ms));
    pass(0);
    let mut begun = desk.begin(&[]);
    let late = desk.browse(&begun.address);
    pass(30_000);
    begun.paste(&late);
    begun.hears("for 30 seconds");
    let back = desk.browse(&begun.address);
    pass(59_999);
    begun.paste(&back);
    assert_eq!(begun.ends(&desk).code, 0);
    // The same once more.
    let mut begun = desk.begin(&[]);
    begun.paste(back.split("code=").nth(1).unwrap().split('&').next().unwrap());
    let said = begun.ends(&desk);
    assert_eq!((said.code, said.err.contains("good once")), (1, true), "{said:?}");
    assert!(desk.stored(KEY).is_some(), "the login that is there stays");
    desk.nothing_leaked();
}

#[test]
fn a_broker_that_is_away_or_knows_nobody_is_told_apart() {
    let mut desk = Desk::new();
    for kind in [Kind::ServerErrorBefore, Kind::RefreshHtml, Kind::AcceptThenClose, Kind::BadJson] {
        let mut begun = desk.begin(&[]);
        let back = desk.browse(&begun.address);
        desk.double.fault(Fault::next("token", kind.clone()));
        begun.paste(&back);
        let said = begun.ends(&desk);
        assert_eq!(
            (said.code, said.err.contains("open the address once more")),
            (69, true),
            "{kind:?} {said:?}"
        );
        // Which call it was, and what came of it.
        let words = match kind {
            Kind::ServerErrorBefore => "the token endpoint: HTTP 500: message: Internal Server Error",
            Kind::RefreshHtml => "the token endpoint: HTTP 403: <html>",
            _ => "the token endpoint: ",
        };
        assert!(said.err.contains(words), "{kind:?} {said:?}");
    }
    let mut begun = desk.begin(&[]);
    let back = desk.browse(&begun.address);
    desk.double.fault(Fault::next("token", Kind::RefreshNoRefreshToken));
    begun.paste(&back);
    assert_eq!(begun.ends(&desk).code, 69, "a login without a refresh token is none");
    assert!(desk.stored(KEY).is_none());

    desk.set("APP_SECRET", "doubleCANARYother");
    let mut begun = desk.begin(&[]);
    let back = desk.browse(&begun.address);
    begun.paste(&back);
    let said = begun.ends(&desk);
    assert_eq!((said.code, said.err.contains("APP_SECRET")), (78, true), "{said:?}");
    assert!(
        said.err.contains("HTTP 401: error: invalid_client, error_description: Unauthorized"),
        "{said:?}"
    );
    assert!(!said.err.contains("CANARY"));

    // Somebody in between, with a certificate of their own.
    let strangers = desk.data.path().join("strangers.pem");
    std::fs::write(&strangers, Authority::new().pem).unwrap();
    desk.set("SSL_CERT_FILE", strangers.to_str().unwrap());
    let asked = desk.asked("token");
    let mut begun = desk.begin(&[]);
    let back = desk.browse(&begun.address);
    begun.paste(&back);
    assert_eq!(begun.ends(&desk).code, 69);
    assert_eq!(desk.asked("token"), asked, "no code got past the handshake");
    desk.nothing_leaked();
}

#[test]
fn another_account_is_kept_and_told() {
    let mut desk = Desk::new();
    desk.set("LIVE_ACCOUNT", "0000");
    let said = desk.log_in();
    assert_eq!(
        (said.code, said.err.contains("LIVE_ACCOUNT is the end of 0 of them")),
        (78, true),
        "{said:?}"
    );
    assert!(desk.stored(KEY).is_some());
    desk.set("LIVE_ACCOUNT", "");
    let said = desk.log_in();
    assert_eq!((said.code, said.out.contains("set LIVE_ACCOUNT")), (0, true), "{said:?}");
    desk.nothing_leaked();
}

#[test]
fn a_key_that_does_not_fit_is_found_out_before_anybody_is_sent_to_a_browser() {
    let mut desk = Desk::new();
    assert_eq!(desk.log_in().code, 0);
    desk.set("ENCRYPTION_KEY", NEXT_KEY);
    let said = desk.auth(&["login"]);
    assert_eq!((said.code, said.out.as_str()), (78, ""), "{said:?}");
    assert!(said.err.contains("--overwrite"), "{said:?}");
    assert!(desk.stored(KEY).is_some());
    let mut begun = desk.begin(&["--overwrite"]);
    let back = desk.browse(&begun.address);
    begun.paste(&back);
    assert_eq!(begun.ends(&desk).code, 0);
    assert!(desk.stored(NEXT_KEY).is_some());
    // A file that is no vault.
    std::fs::write(desk.data.path().join("login.db"), "nonsense, and long enough to be looked at").unwrap();
    let out = desk.command(AUTH, &["login"]).output().unwrap();
    assert_eq!(out.status.code(), Some(78), "{out:?}");
    desk.nothing_leaked();
}
