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
    /// The order is created, the connection closed without a byte. On a read: closed.
    AcceptThenClose,
    /// The order is created, the connection reset.
    AcceptThenReset,
    /// The order is created, the answer held back.
    AcceptThenStall {
        /// For so long.
        ms: u64,
    },
    /// The order is not created; the connection is held and then closed. A client can not tell it from the three above.
    StallThenDrop {
        /// For so long.
        ms: u64,
    },
    /// The order is created, the answer ends within its headers.
    AcceptHalfHeaders,
    /// The order is created, the yes holds no id.
    AcceptNoId,
    /// 500, no order.
    ServerErrorBefore,
    /// 500, and the order is there.
    ServerErrorAfter,
    /// 503, no order.
    Unavailable {
        /// As a page for people.
        #[serde(default)]
        html: bool,
    },
    /// 429, no order.
    RateLimit {
        /// `X-RateLimit-Reset`: in so many seconds.
        #[serde(default)]
        reset_s: Option<i64>,
        /// `Retry-After`.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// The keys are refused.
    Keys {
        /// 401 or 403.
        status: u16,
    },
    /// A page of the edge, 403, no order.
    AccessDenied,
    /// The gateway has lost the route: 404 in plain text, no order.
    NoRoute,
    /// Any error of the broker's own, no order.
    Refuse {
        /// Status.
        status: u16,
        /// Code.
        code: u32,
        /// Words.
        message: String,
    },
    /// Refused, and the order is there all the same.
    RefuseButAccept {
        /// Status.
        status: u16,
        /// Code.
        code: u32,
    },
    /// The order is accepted and not to be seen by so many reads.
    Invisible {
        /// How many.
        reads: u32,
    },
    /// Accepted, then `rejected`.
    AsyncReject,
    /// Accepted, then traded in part, then so.
    Partial {
        /// Shares, and the price where it is not the market's.
        fills: Vec<(Decimal, Option<Decimal>)>,
        /// `working`, `cancel`, `expire` or `fill`.
        then: String,
    },
    /// Accepted, then called this, one look each, before it lives as usual.
    SlowStatus {
        /// In this order.
        statuses: Vec<String>,
    },
    /// Filled, and then the broker takes back what it had told.
    FillBust,
    /// A person enters the same order within the same second.
    TwinManualOrder,
    /// The list is the one of the moment the fault was set.
    ListStale,
    /// Every object has a field more.
    ExtraFields,
    /// Null wherever a bot can do without.
    NullFields,
    /// Numbers where there were texts.
    Numbers,
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
    /// Status 200 and a page for people.
    Html,
}

/// A fault of this double, and where it waits: `place`, `order`, `find`, `list`, `positions`, `account`, `asset`, `clock`,
/// `calendar`, `quotes`, `trades`, or `any`.
pub type Fault = queue::Fault<Kind>;

impl Kind {
    /// What must be kept for it until it is met: of an old list, the list of now.
    pub(super) fn keeps(&self, book: &Book) -> Option<Value> {
        (*self == Self::ListStale).then(|| book.orders.iter().map(wire::order).collect())
    }

    /// What it makes of an order's life; none where it leaves it as it is.
    pub(super) fn life(&self) -> Option<Vec<Step>> {
        match self {
            Self::AsyncReject => Some(vec![Step::called("pending_new"), Step::called("rejected")]),
            Self::Partial { fills, then } => {
                let mut life: Vec<Step> = fills
                    .iter()
                    .map(|(shares, price)| Step {
                        price: *price,
                        ..Step::trades(Fill::Shares(*shares), "partially_filled")
                    })
                    .collect();
                match then.as_str() {
                    "cancel" => life.extend([Step::called("pending_cancel"), Step::called("canceled")]),
                    "expire" => life.extend([Step::called("done_for_day"), Step::called("expired")]),
                    "fill" => life.push(Step::trades(Fill::Rest, "filled")),
                    _ => {}
                }
                Some(life)
            }
            Self::SlowStatus { statuses } => {
                let mut life: Vec<Step> = statuses.iter().map(|status| Step::called(status)).collect();
                life.push(Step::trades(Fill::Rest, "filled"));
                Some(life)
            }
            Self::FillBust => Some(vec![
                Step::trades(Fill::Rest, "filled"),
                Step { after_looks: 1, ..Step::trades(Fill::Bust, "filled") },
            ]),
            _ => None,
        }
    }
}
