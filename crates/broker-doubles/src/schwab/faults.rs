//! What can go wrong here, and what it makes of an order's life.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::book::{Book, Fill, Step};
use super::wire;
use crate::body::Damage;
use crate::decimal::Decimal;
use crate::queue;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Every access token dies before its time; this call is answered with 401.
    AccessRevokedEarly,
    /// 401 to a token that is good elsewhere: the application was not given this product, or the login not this account.
    NotAuthorized,
    /// The seven days are over.
    RefreshExpired,
    /// A good refresh token is refused, this time.
    RefreshFlaky,
    /// The edge answers a token call with a page.
    RefreshHtml,
    /// The token call succeeds and names no refresh token.
    RefreshNoRefreshToken,
    /// The token call succeeds with another success's status, as plain text, its numbers as texts and its words in capitals.
    OddYes,
    /// Somebody logs in with the same application elsewhere: this refresh token is dead.
    OtherLogin,
    /// 429, no order.
    RateLimit {
        /// `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 500, no order.
    ServerErrorBefore,
    /// 500, and the order is there.
    ServerErrorAfter,
    /// 503, no order; as a page, 500.
    Unavailable {
        /// As a page for people.
        #[serde(default)]
        html: bool,
    },
    /// 500 of the gateway, with a body of its own shape.
    GatewayFault,
    /// 408, and nobody knows.
    RequestTimeout {
        /// Whether the order is there.
        accepted: bool,
    },
    /// Any other plain no.
    Refuse {
        /// Status.
        status: u16,
        /// Words.
        message: String,
    },
    /// The order is created, the connection closed without a byte. On a read: closed.
    AcceptThenClose,
    /// The order is created, the connection reset.
    AcceptThenReset,
    /// The order is created, the answer held back.
    AcceptThenStall {
        /// For so long.
        ms: u64,
    },
    /// The order is not created; the connection is held and then closed. A client can not tell it from those above.
    StallThenDrop {
        /// For so long.
        ms: u64,
    },
    /// The order is created, the answer ends within its headers.
    AcceptHalfHeaders,
    /// The order is created, the 201 has no `Location`.
    AcceptNoLocation,
    /// The order is created, `Location` is relative.
    LocationRelative,
    /// The order is created, `Location` names no order.
    LocationGarbage,
    /// The order is created and not to be seen, by id or in the list.
    Invisible {
        /// By so many reads.
        #[serde(default)]
        reads: u32,
        /// For so long, on the double's clock.
        #[serde(default)]
        ms: i64,
    },
    /// The list is the one of the moment the fault was set.
    ListStale,
    /// 201, then rejected with these words.
    AsyncReject {
        /// The words.
        text: String,
    },
    /// 201, then traded in part, then so.
    Partial {
        /// Shares, and the price where it is not the market's.
        fills: Vec<(Decimal, Option<Decimal>)>,
        /// `working`, `cancel`, `expire` or `fill`.
        then: String,
    },
    /// 201, then called this, one look each, before it fills.
    SlowStatus {
        /// In this order.
        steps: Vec<String>,
    },
    /// 201, then a word that nobody has heard of, before it fills.
    UnknownStatus {
        /// The word.
        status: String,
    },
    /// A cancel is taken, and the order is filled all the same.
    FillDuringCancel,
    /// Filled, and on a later read an execution is gone.
    FillBust,
    /// A person enters the same order within two seconds.
    TwinManualOrder,
    /// Every object has a field more.
    ExtraFields,
    /// Null wherever a client can do without.
    NullFields,
    /// Texts where there were numbers.
    StringNumbers,
    /// The body is no JSON.
    BadJson,
    /// The body ends in its middle.
    TruncatedBody,
    /// The body comes gzipped, unasked.
    GzipBody,
    /// And can not be unpacked.
    GzipDamaged {
        /// Why.
        damage: Damage,
    },
}

/// A fault of this double, and where it waits: `token`, `authorize`, `numbers`, `account`, `place`, `order`, `list`,
/// `cancel`, `markets`, `quotes` …, or `any` but the login's.
pub type Fault = queue::Fault<Kind>;

impl Kind {
    /// What must be kept for it until it is met: of an old list, the list of now.
    pub(super) fn keeps(&self, book: &Book) -> Option<Value> {
        (*self == Self::ListStale).then(|| book.orders.iter().map(|order| wire::order(book, order)).collect())
    }

    /// Its name, as the control plane spells it.
    pub(super) fn name(&self) -> Option<String> {
        serde_json::to_value(self).ok()?["kind"].as_str().map(str::to_owned)
    }

    /// What it makes of an order's life; none where it leaves it as it is.
    pub(super) fn life(&self) -> Option<Vec<Step>> {
        let filled = || Step::trades(Fill::Rest, "FILLED");
        match self {
            Self::AsyncReject { text } => Some(vec![Step::rejected(text)]),
            Self::Partial { fills, then } => {
                let mut life: Vec<Step> = fills
                    .iter()
                    .map(|(shares, price)| Step {
                        price: *price,
                        ..Step::trades(Fill::Shares(*shares), "WORKING")
                    })
                    .collect();
                match then.as_str() {
                    "cancel" => life.extend([Step::called("PENDING_CANCEL"), Step::called("CANCELED")]),
                    "expire" => life.push(Step::called("EXPIRED")),
                    "fill" => life.push(filled()),
                    _ => {}
                }
                Some(life)
            }
            Self::SlowStatus { steps } => {
                Some(steps.iter().map(|status| Step::called(status)).chain([filled()]).collect())
            }
            Self::UnknownStatus { status } => Some(vec![Step::called(status), filled()]),
            Self::FillBust => {
                Some(vec![filled(), Step { after_looks: 1, fill: Some(Fill::Bust), ..Step::default() }])
            }
            _ => None,
        }
    }
}
