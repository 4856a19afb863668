//! The account's orders, page by page, and those of ours that a person replaced.
//!
//! The list is sorted and filtered by submission, the end that is named is not in it, and a page is of all that the
//! account trades. Invariant: what is returned is the whole list, or an error.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::wire::{self, Linked};
use super::{Alpaca, chain};
use crate::units::{Millis, OrderId};
use crate::{BrokerOrder, OrderStatus, ReadError};

/// Orders in one page of the list: the most that Alpaca gives.
const PAGE_ORDERS: usize = 500;
/// Pages read for one list: 60,000 orders, or half a minute of an account's usual limit.
const PAGES_MAX: usize = 120;
/// A page begins so long before the last row of the one before, in nanoseconds, so that a row that was written late is not
/// passed by: thirty times the 31 ms by which the two times of one order were seen to differ.
const PAGES_OVERLAP_NS: i64 = 1_000_000_000;

impl Alpaca {
    /// Every order submitted at or after `since`, each once.
    pub(super) fn read_list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        let mut found: BTreeMap<OrderId, Linked> = BTreeMap::new();
        // The end that is named is not in the answer, and several orders may share a moment.
        let mut after = Timestamp::from_millisecond(since.0.saturating_sub(1)).unwrap_or(Timestamp::MIN);
        for _ in 0..PAGES_MAX {
            let (limit, from) = (PAGE_ORDERS.to_string(), after.to_string());
            let query = [
                ("status", "all"),
                ("limit", limit.as_str()),
                ("after", from.as_str()),
                ("direction", "asc"),
                ("nested", "false"),
            ];
            let page = wire::orders(&self.get_some("/v2/orders", &query, now)?).map_err(ReadError)?;
            let (rows, next) = (page.rows, next_page(&page, after));
            found.extend(page.orders.into_iter().map(|linked| (linked.order.id.clone(), linked)));
            if rows < PAGE_ORDERS {
                return self.joined(found, since, now);
            }
            after = next.map_err(|why| ReadError(format!("alpaca orders: {why}")))?;
        }
        Err(ReadError(format!("alpaca orders: more than {PAGES_MAX} pages of {PAGE_ORDERS} since {since}")))
    }

    /// Those of ours that were replaced, as one with what followed them, which is then no order of its own.
    fn joined(
        &self,
        found: BTreeMap<OrderId, Linked>,
        since: Millis,
        now: Millis,
    ) -> Result<Vec<BrokerOrder>, ReadError> {
        let replaced =
            |linked: &&Linked| linked.order.status == OrderStatus::Replaced && linked.order.tag.is_some();
        let mut joined = BTreeMap::new();
        let mut followers = Vec::new();
        for first in found.values().filter(replaced) {
            let chain = self.chain_of(first.clone(), &found, now)?;
            followers.extend(chain.iter().skip(1).map(|link| link.order.id.clone()));
            joined.extend(chain::as_one(&chain).map(|order| (order.id.clone(), order)));
        }
        let others = found.into_iter().filter(|(id, _)| !followers.contains(id));
        let orders = others.map(|(id, linked)| joined.remove(&id).unwrap_or(linked.order));
        Ok(orders.filter(|order| order.entered_at >= since).collect())
    }

    /// An order with those that replaced it, as far as they can be followed.
    pub(super) fn chain_of(
        &self,
        first: Linked,
        known: &BTreeMap<OrderId, Linked>,
        now: Millis,
    ) -> Result<Vec<Linked>, ReadError> {
        let mut chain = vec![first];
        while let Some(next) = chain::next(&chain) {
            let link = match known.get(&next) {
                Some(link) => Some(link.clone()),
                None => self.read_order(&next, now)?,
            };
            match link.filter(|link| chain::fits(&chain, link)) {
                Some(link) => chain.push(link),
                None => break,
            }
        }
        Ok(chain)
    }

    pub(super) fn read_order(&self, id: &OrderId, now: Millis) -> Result<Option<Linked>, ReadError> {
        let Some(body) = self.get(&format!("/v2/orders/{id}"), &[], now)? else { return Ok(None) };
        wire::linked(&body).map(Some).map_err(ReadError)
    }
}

/// After which moment the page behind this full one begins. It goes back by the overlap, but by no more than half of what
/// the page spans, so that every page leads on.
fn next_page(page: &wire::Page, after: Timestamp) -> Result<Timestamp, String> {
    let (first, last) = page.span.ok_or("a page whose rows do not say when they were submitted")?;
    if first == last {
        // No page tells which rows of that moment it lacks.
        return Err(format!("{PAGE_ORDERS} or more of one moment ({last}): the list can not be read whole"));
    }
    let half = last.duration_since(first).as_nanos() / 2;
    let back = half.clamp(1, i128::from(PAGES_OVERLAP_NS));
    let next = last.checked_sub(SignedDuration::from_nanos_i128(back)).map_err(|error| error.to_string())?;
    if next > after { Ok(next) } else { Err("a page that leads no further".into()) }
}
