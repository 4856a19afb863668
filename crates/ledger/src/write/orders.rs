//! What became of intents, what the broker executed, and what a person or the engine halted.

use rusqlite::OptionalExtension;

use super::{Batch, Refusal, contradiction, live};
use crate::error::LedgerError;
use crate::hedges::{Decision, HaltKind, Intent, IntentState};
use crate::units::{IntentId, OrderId, Price, Shares, Side, Symbol};
use crate::{row, sums};

impl Batch<'_> {
    pub(super) fn intent(&mut self, intent: &Intent) -> Result<(), Refusal> {
        if intent.transitions != 0 {
            return contradiction(format!("intent {} is born with transitions", intent.id));
        }
        self.run(
            "INSERT INTO intents (id, symbol, side, quantity, state, live, transitions, created_at, sent_at, \
             changed_at, order_id, executed, executions, adopted, reference, reason, counted) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, '0', 0, ?11, ?12, ?13, ?14)",
            (
                intent.id.as_str(),
                intent.symbol.as_str(),
                intent.side.as_str(),
                intent.quantity.to_string(),
                intent.state.as_str(),
                live(intent.state),
                intent.created_at.0,
                intent.sent_at.map(|at| at.0),
                intent.changed_at.0,
                intent.order_id.as_ref().map(OrderId::as_str),
                intent.adopted,
                row::text_or_none(intent.reference.as_ref()),
                &intent.reason,
                intent.counted,
            ),
        )?;
        self.owed.executed.insert(intent.id.clone(), (intent.executed, intent.executions));
        self.step_of(None, intent)
    }

    pub(super) fn transition(&mut self, from: IntentState, intent: &Intent) -> Result<(), Refusal> {
        // A transition may keep the state: the order id is claimed while it stays `Sent`, a reason changes.
        if from != intent.state && !from.may_become(intent.state) {
            return contradiction(format!("intent {} may not go from {from} to {}", intent.id, intent.state));
        }
        let sql = format!(
            "UPDATE intents SET quantity = ?1, state = ?2, live = ?3, transitions = ?4, sent_at = ?5, changed_at = ?6, \
             order_id = ?7, reference = ?8, reason = ?9, counted = ?14 \
             WHERE id = ?10 AND state = ?11 AND transitions = ?4 - 1 AND {ticker} = ?12 AND side = ?13",
            ticker = row::ticker("symbol"),
        );
        let changed = self.run(
            &sql,
            (
                intent.quantity.to_string(),
                intent.state.as_str(),
                live(intent.state),
                intent.transitions,
                intent.sent_at.map(|at| at.0),
                intent.changed_at.0,
                intent.order_id.as_ref().map(OrderId::as_str),
                row::text_or_none(intent.reference.as_ref()),
                &intent.reason,
                intent.id.as_str(),
                from.as_str(),
                intent.symbol.as_str(),
                intent.side.as_str(),
                intent.counted,
            ),
        )?;
        if changed != 1 {
            let (id, transitions) = (intent.id.to_string(), intent.transitions.saturating_sub(1));
            return Err(Refusal::Says(LedgerError::WrongState { id, from, transitions }));
        }
        self.owed.executed.insert(intent.id.clone(), (intent.executed, intent.executions));
        self.step_of(Some(from), intent)
    }

    /// What was known of the account, beside the transition that made the intent `Sent`. A claim (Sent → Sent) sends
    /// nothing and has none.
    pub(super) fn snapshot(&self, from: Option<IntentState>, intent: &Intent) -> Result<(), Refusal> {
        let sends = intent.state == IntentState::Sent && from != Some(IntentState::Sent);
        let Some(snapshot) = intent.snapshot.as_ref().filter(|_| sends) else { return Ok(()) };
        let known: Vec<&str> = snapshot.known.iter().map(OrderId::as_str).collect();
        if known.iter().any(|id| id.contains(',')) {
            return contradiction(format!("a comma in an order id: {known:?}"));
        }
        self.run(
            "INSERT INTO intent_snapshots (intent, n, position, position_at, known_orders) \
             SELECT intent, ?2, ?3, ?4, ?5 FROM intents WHERE id = ?1",
            (
                intent.id.as_str(),
                intent.transitions,
                snapshot.position.map(|(shares, _)| shares.to_string()),
                snapshot.position.map(|(_, at)| at.0),
                known.join(","),
            ),
        )?;
        Ok(())
    }

    /// Learnt once; the same again is nothing, another one is refused.
    pub(super) fn tag(&self, tag: &str) -> Result<(), Refusal> {
        let changed =
            self.run("UPDATE stamp SET app_tag = ?1 WHERE app_tag IS NULL OR app_tag = ?1", [tag])?;
        if changed == 1 { Ok(()) } else { contradiction(format!("another tag than {tag} was learnt before")) }
    }

    pub(super) fn decision(
        &mut self,
        id: &IntentId,
        what: &Decision,
        reason: &str,
        who: &str,
    ) -> Result<(), Refusal> {
        let order = match what {
            Decision::Adopt(order) => Some(order.as_str()),
            Decision::Absent | Decision::Book | Decision::Ignore => None,
        };
        let written = self.run(
            "INSERT INTO decisions (intent, what, order_id, reason, who, at) \
             SELECT intent, ?2, ?3, ?4, ?5, ?6 FROM intents WHERE id = ?1",
            (id.as_str(), what.as_str(), order, reason, who, self.at.0),
        )?;
        self.changes.ignored |= *what == Decision::Ignore;
        if written == 1 { Ok(()) } else { contradiction(format!("there is no intent {id}")) }
    }

    pub(super) fn baseline(
        &self,
        symbol: &Symbol,
        change: Shares,
        reason: &str,
        who: &str,
    ) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO baselines (symbol, change, reason, who, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            (symbol.as_str(), change.to_string(), reason, who, self.at.0),
        )?;
        Ok(())
    }

    pub(super) fn step_of(&self, from: Option<IntentState>, intent: &Intent) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO intent_transitions (intent, n, from_state, to_state, quantity, order_id, reason, at) \
             SELECT intent, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM intents WHERE id = ?1",
            (
                intent.id.as_str(),
                intent.transitions,
                from.map(IntentState::as_str),
                intent.state.as_str(),
                intent.quantity.to_string(),
                intent.order_id.as_ref().map(OrderId::as_str),
                &intent.reason,
                self.at.0,
            ),
        )?;
        self.snapshot(from, intent)
    }

    /// Adds an execution to the sums of its ticker.
    pub(super) fn add_execution(&mut self, id: &IntentId, quantity: Shares) -> Result<(), Refusal> {
        let (symbol, side, ignored): (Symbol, Side, bool) = self
            .statement(
                "SELECT symbol, side, EXISTS (SELECT 1 FROM decisions d WHERE d.intent = i.intent AND d.what = 'ignore') \
                 FROM intents i WHERE id = ?1",
            )?
            .query_row([id.as_str()], |r| Ok((row::parsed(r, 0)?, row::parsed(r, 1)?, r.get(2)?)))?;
        let signed = side.signed(quantity);
        let change = self.changes.of(&symbol);
        sums::add(&mut change.account, signed)?;
        if !ignored {
            sums::add(&mut change.executions, signed)?;
        }
        Ok(())
    }

    /// Executed quantity and number of execution rows of an intent, as the ledger has them.
    pub(super) fn executed(&self, id: &IntentId) -> Result<(Shares, u32), Refusal> {
        let found = self
            .statement("SELECT executed, executions FROM intents WHERE id = ?1")?
            .query_row([id.as_str()], |r| Ok((row::parsed(r, 0)?, r.get(1)?)))
            .optional()?;
        match found {
            Some(executed) => Ok(executed),
            None => contradiction(format!("there is no intent {id}")),
        }
    }

    pub(super) fn execution(
        &mut self,
        order_id: &OrderId,
        n: u32,
        id: &IntentId,
        quantity: Shares,
        average_price: Option<Price>,
    ) -> Result<(), Refusal> {
        let (before, rows_before) = self.executed(id)?;
        let after = match before.checked_add(quantity) {
            Some(after) if !after.is_negative() => after,
            _ => return contradiction(format!("{quantity} more than {before} executed of intent {id}")),
        };
        let written = self.run(
            "INSERT INTO executions (order_id, n, intent, quantity, average_price, at) \
             SELECT ?1, ?2, intent, ?4, ?5, ?6 FROM intents WHERE id = ?3 \
             AND ?2 = (SELECT count(*) FROM executions WHERE order_id = ?1)",
            (
                order_id.as_str(),
                n,
                id.as_str(),
                quantity.to_string(),
                row::text_or_none(average_price.as_ref()),
                self.at.0,
            ),
        )?;
        if written != 1 {
            return contradiction(format!("execution {n} is not the next one of order {order_id}"));
        }
        self.add_execution(id, quantity)?;
        let rows = rows_before.saturating_add(1);
        self.run(
            "UPDATE intents SET executed = ?1, executions = ?2 WHERE id = ?3",
            (after.to_string(), rows, id.as_str()),
        )?;
        if let Some(believed) = self.owed.executed.get_mut(id)
            && *believed == (before, rows_before)
        {
            *believed = (after, rows);
        }
        Ok(())
    }

    pub(super) fn halt(
        &self,
        symbol: Option<&Symbol>,
        kind: HaltKind,
        raised: bool,
        reason: &str,
        who: &str,
    ) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO halts (symbol, kind, raised, reason, who, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (symbol.map(Symbol::as_str), kind.as_str(), raised, reason, who, self.at.0),
        )?;
        Ok(())
    }
}
