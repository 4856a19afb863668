//! Which of Schwab's roads refuse a login that is good elsewhere.
//!
//! A 401 says "not with this token", and also "not this application" or "not this account" (market data alone, with a token
//! that trades: schwab-py #190). So it is believed of its own road only: another token is tried there once, and where that
//! is refused too, or the token was taken elsewhere meanwhile, that road rests. It refuses to know how tokens are made.
//!
//! Invariant: what one road answers keeps no token from another road.

use std::collections::BTreeMap;

use super::grant::Secret;
use crate::Denied;
use crate::units::Millis;

/// A road that refuses every token is asked again after so long.
pub(super) const REST_MS: i64 = 60_000;

/// What is asked for, as far as the broker grants it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// Which accounts there are.
    Accounts,
    /// The account: its positions and its orders.
    Account,
    /// Sending orders.
    Orders,
    /// The market's hours.
    Hours,
    /// The market's prices.
    Quotes,
}

impl Route {
    /// Of a read's path.
    pub(super) fn of(path: &str) -> Self {
        match path {
            super::ACCOUNTS_PATH => Self::Accounts,
            super::HOURS_PATH => Self::Hours,
            super::QUOTES_PATH => Self::Quotes,
            _ => Self::Account,
        }
    }

    /// As it is named to people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "the list of accounts",
            Self::Account => "the account",
            Self::Orders => "orders",
            Self::Hours => "the market's hours",
            Self::Quotes => "quotes",
        }
    }

    /// What a person may look at.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Accounts | Self::Account | Self::Orders => {
                "the application needs the product Accounts and Trading Production, and the login the account"
            }
            Self::Hours | Self::Quotes => "the application needs the product Market Data Production",
        }
    }
}

/// What a road said to the last token it did not take.
struct Refusal {
    token: Secret,
    /// Since when it rests, and its words; none while another token may help.
    rest: Option<(Millis, String)>,
}

/// What each road refused since it last took a token.
#[derive(Default)]
pub(super) struct Routes {
    refused: BTreeMap<Route, Refusal>,
    /// The token that a road took last, and none has refused since.
    taken: Option<Secret>,
}

impl Routes {
    /// Whether the road may be asked, and the token that would be refused there.
    ///
    /// # Errors
    /// In words, while it rests. A clock that went back ends a rest.
    pub(super) fn may_ask(&self, route: Route, now: Millis) -> Result<Option<Secret>, String> {
        // What the account's own reads are refused for, no order needs to try.
        let wider = self.refused.get(&Route::Account).filter(|_| route == Route::Orders);
        let Some(refusal) = self.refused.get(&route).or(wider) else { return Ok(None) };
        match &refusal.rest {
            Some((since, words)) if (0..REST_MS).contains(&now.since(*since)) => {
                Err(format!("{words}; asked again {}", since.plus(REST_MS)))
            }
            // It is good elsewhere: another one would be refused as well.
            Some(_) if self.taken.as_ref() == Some(&refusal.token) => Ok(None),
            _ => Ok(Some(refusal.token.clone())),
        }
    }

    /// The road did not take this token; another one may help.
    ///
    /// # Errors
    /// In words, when another one was tried already: the road rests from now on.
    pub(super) fn refuse(
        &mut self,
        route: Route,
        token: &Secret,
        said: &str,
        now: Millis,
    ) -> Result<(), String> {
        let known = self.refused.get(&route);
        let tried = known.is_some_and(|known| known.rest.is_some() || known.token != *token);
        let words =
            || format!("{}, refused to a login that is good: {said}; {}", route.name(), route.remedy());
        let rest = tried.then(|| (now, words()));
        let outcome = rest.as_ref().map_or(Ok(()), |(_, words)| Err(words.clone()));
        self.refused.insert(route, Refusal { token: token.clone(), rest });
        self.taken = self.taken.take().filter(|taken| taken != token);
        outcome
    }

    /// The road took this token.
    pub(super) fn take(&mut self, route: Route, token: &Secret) {
        self.refused.remove(&route);
        if self.taken.as_ref() != Some(token) {
            self.taken = Some(token.clone());
        }
    }

    /// The roads that refuse every token.
    pub(super) fn denied(&self) -> Vec<Denied> {
        let rests = self.refused.iter().filter_map(|(route, refusal)| Some((route, refusal.rest.as_ref()?)));
        rests.map(|(route, (_, words))| Denied { what: route.name(), words: words.clone() }).collect()
    }
}
