//! An order that a person replaced on the broker's page, and the orders that followed it, as one.
//!
//! The replaced order ends with what it had traded, often nothing; what was wanted trades on in its successor, which has
//! another id and another client order id. Both are one order to whoever sent the first: their executions add up
//! (`protocol.md` 3.8).
//!
//! Invariant: a chain that can not be read to its end stays `Replaced`, and a person looks.

use super::wire::Linked;
use crate::units::{Cash, OrderId, Price, Shares};
use crate::{BrokerOrder, OrderStatus};

/// Orders in one chain: a person who replaces an order more often in a day is no person.
pub(super) const REPLACED_MAX: usize = 16;

/// Which order must be read next to follow this chain; none where it ends, or where it can not be followed.
pub(super) fn next(chain: &[Linked]) -> Option<OrderId> {
    let last = chain.last()?;
    let next = last.replaced_by.clone().filter(|_| last.order.status == OrderStatus::Replaced)?;
    let leads_on = chain.len() < REPLACED_MAX && chain.iter().all(|link| link.order.id != next);
    leads_on.then_some(next)
}

/// Whether `link` may follow in this chain: an order of another ticker or side is another matter.
pub(super) fn fits(chain: &[Linked], link: &Linked) -> bool {
    chain
        .first()
        .is_some_and(|first| (&first.order.symbol, first.order.side) == (&link.order.symbol, link.order.side))
}

/// The chain as the order that it began with; none where the sums leave the range, or where there is no order.
pub(super) fn as_one(chain: &[Linked]) -> Option<BrokerOrder> {
    let (first, last) = (&chain.first()?.order, &chain.last()?.order);
    if chain.len() == 1 {
        return Some(first.clone());
    }
    let total = |of: fn(&BrokerOrder) -> Shares| {
        chain.iter().try_fold(Shares::ZERO, |sum, link| sum.checked_add(of(&link.order)))
    };
    let (filled, executed) = (total(|order| order.filled)?, total(|order| order.executed)?);
    // A successor of fewer shares may be whole while what was wanted is not: the rest is ordered anew.
    let status = match last.status {
        OrderStatus::Filled if filled < first.quantity => OrderStatus::Canceled,
        status => status,
    };
    Some(BrokerOrder {
        filled,
        executed,
        average_price: average(chain, executed),
        status,
        status_text: format!("replaced by {}, which is {}", last.id, last.status_text),
        ..first.clone()
    })
}

fn average(chain: &[Linked], executed: Shares) -> Option<Price> {
    let traded = chain.iter().map(|link| &link.order).filter(|order| !order.executed.is_zero());
    let mut cash = Cash::ZERO;
    for order in traded {
        cash = cash.checked_add(order.average_price?.times(order.executed)?)?;
    }
    Price::of(cash, executed)
}
