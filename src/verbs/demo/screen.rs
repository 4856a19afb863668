//! The demo's screen: plain text, a line for each thing that happens, aligned for 100 to 120 columns.
//!
//! It reads the same committed writes as the log, but for a person who watches: hashes are shortened, an order's usual
//! steps are left out, and every line that moves an exposure says what it is now. It refuses to judge; the verdict is
//! handed to it. Invariant: with `--json` nothing but the verdict is printed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write as Out;
use std::path::PathBuf;
use std::time::Instant;

use super::{REST_MAX, Verdict};
use crate::fills::{Fill, TokenFact, TokenKind};
use crate::hedges::{Intent, IntentState};
use crate::ledger::Write;
use crate::units::{FillId, IntentId, Shares, Side, Symbol};

/// Where the demo is told.
pub(super) struct Screen<'a> {
    pub(super) out: &'a mut dyn Out,
    pub(super) begun: Instant,
    pub(super) json: bool,
    pub(super) memory: Memory,
}

/// What must be remembered to say a later write in words.
#[derive(Default)]
pub(super) struct Memory {
    fills: BTreeMap<FillId, Fill>,
    intents: BTreeMap<IntentId, (Side, Symbol)>,
    exposure: BTreeMap<Symbol, Shares>,
}

impl Screen<'_> {
    pub(super) fn say(&mut self, who: &str, text: &str) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        let ms = self.begun.elapsed().as_millis();
        writeln!(self.out, "{:>4}.{:01}s  {who:<7} {text}", ms / 1000, ms % 1000 / 100)?;
        self.out.flush()
    }

    /// Says what the bot has committed, where a spectator wants to know.
    pub(super) fn tell(&mut self, write: &Write) -> std::io::Result<()> {
        match self.memory.line(write) {
            Some(text) => self.say("bot", text.trim_end()),
            None => Ok(()),
        }
    }

    pub(super) fn verdict(&mut self, verdict: &Verdict) -> std::io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *self.out, verdict)?;
            return writeln!(self.out);
        }
        let small = verdict.exposure.values().all(|shares| shares.truncate_to(Shares::whole(1)).is_zero());
        let exposure: Vec<String> =
            verdict.exposure.iter().map(|(symbol, shares)| format!("{symbol} {shares}")).collect();
        writeln!(self.out)?;
        if !verdict.settled {
            writeln!(self.out, "the bot did not come to rest within {} s", REST_MAX.as_secs())?;
        }
        writeln!(
            self.out,
            "SIMULATED  {}, {}, {}, {}: lost {}, doubled {}",
            count(verdict.fills, "fill"),
            count(verdict.hedges, "hedge"),
            count(verdict.reorgs, "reorg"),
            count(verdict.reconnects, "reconnect"),
            verdict.lost,
            verdict.doubled,
        )?;
        let note = if small { " (less than a share each: nothing to order)" } else { "" };
        writeln!(self.out, "left over  {}{note}", exposure.join(", "))?;
        let program = std::env::args().next().unwrap_or_else(|| "bot".to_owned());
        let ledger = PathBuf::from(&verdict.folder).join("bot.db");
        writeln!(self.out, "look       {program} hedges --database-url {}", ledger.display())?;
        writeln!(self.out, "again      {program} demo --seed {}", verdict.seed)?;
        writeln!(self.out, "for real   {program} config template > .env")
    }
}

impl Memory {
    fn line(&mut self, write: &Write) -> Option<String> {
        match write {
            Write::Token(fact) => Some(token(fact)),
            Write::Fill(fill) => {
                // It is told when it counts.
                self.fills.insert(fill.id, fill.clone());
                None
            }
            Write::Count { id, n } => self.counted(id, *n),
            Write::Skipped(skipped) => {
                let reason = skipped.reason.as_str().replace('_', " ");
                Some(columns("skipped", &reason, "", &format!("tx {}", short(&skipped.id.tx_hash))))
            }
            Write::Intent(intent) => {
                self.intents.insert(intent.id.clone(), (intent.side, intent.symbol.clone()));
                (intent.state == IntentState::Sent).then(|| order("sent", intent))
            }
            Write::Transition { from, intent } => moved(*from, intent),
            Write::Execution { order_id, quantity, average_price, intent, .. } => {
                let (side, symbol) = self.intents.get(intent)?.clone();
                let exposure = self.expose(&symbol, side.signed(*quantity));
                let price = average_price.map_or_else(String::new, |price| format!(" at {price}"));
                let what = format!("{side} {quantity} {symbol}{price}");
                let rest = format!("intent {}, order {order_id}", number(intent));
                Some(columns("executed", &what, &exposure, &rest))
            }
            Write::Halt { symbol, reason, .. } => {
                let whom = symbol.as_ref().map_or("all tickers", |symbol| symbol.as_str());
                Some(columns("halted", whom, "", reason))
            }
            Write::Dead(dead) => {
                Some(columns("dead", &dead.reason, "", &format!("tx {}", short(&dead.tx_hash))))
            }
            Write::Entry { .. } | Write::Cursor { .. } | Write::Lift { .. } | Write::Compared(_) => None,
            Write::Tag(_) | Write::Decision { .. } | Write::Baseline { .. } | Write::Begun => None,
            // The demo lists every ticker from the beginning.
            Write::Answered { .. } => None,
            Write::Pushed(_) | Write::Settled(_) | Write::Pending(_) | Write::PendingOver(_) => None,
        }
    }

    /// The demo runs without confirmations: every entry counts when it is written.
    fn counted(&mut self, id: &FillId, n: u32) -> Option<String> {
        let fill = self.fills.get(id)?.clone();
        let standing = n.is_multiple_of(2);
        let shares = fill.signed_shares();
        let exposure = self.expose(&fill.symbol, if standing { shares } else { shares.negated() });
        let verb = match (standing, n) {
            (true, 0) => "fill",
            (true, _) => "reinstated",
            (false, _) => "reversed",
        };
        let price = fill.price.map_or_else(String::new, |price| format!(" at {price}"));
        let what = format!("{} {} {}{price}", id.side, fill.shares, fill.symbol);
        let rest = format!("block {}, tx {}", fill.block_number, short(&id.tx_hash));
        Some(columns(verb, &what, &exposure, &rest))
    }

    fn expose(&mut self, symbol: &Symbol, change: Shares) -> String {
        let sum = self.exposure.entry(symbol.clone()).or_default();
        *sum = sum.checked_add(change).unwrap_or(*sum);
        format!("exposure {sum}")
    }
}

fn columns(verb: &str, what: &str, exposure: &str, rest: &str) -> String {
    format!("{verb:<11} {what:<26} {exposure:<16} {rest}")
}

fn token(fact: &TokenFact) -> String {
    let what = match &fact.kind {
        TokenKind::Cash => format!("{} is the dollar", fact.symbol),
        TokenKind::Share(ticker, unit) if unit.holds_another() => {
            format!("{} wraps shares of {ticker}", fact.symbol)
        }
        TokenKind::Share(ticker, _) => format!("{} is a share of {ticker}", fact.symbol),
        TokenKind::Foreign => format!("{} is no share", fact.symbol),
    };
    columns("token", &what, "", &short(&fact.address))
}

/// An order's way as far as it is worth a line: the usual steps follow from `sent` and `executed`.
fn moved(from: IntentState, intent: &Intent) -> Option<String> {
    match (from, intent.state) {
        (IntentState::Sent, IntentState::Sent | IntentState::Working) => None,
        (_, IntentState::Planned | IntentState::Withdrawn | IntentState::Filled) => None,
        (IntentState::Unknown, IntentState::Sent) => Some(order("sent again", intent)),
        (IntentState::Unknown, IntentState::Working) => Some(order("found", intent)),
        (_, state) => Some(order(&state.as_str().to_lowercase(), intent)),
    }
}

fn order(verb: &str, intent: &Intent) -> String {
    let what = format!("{} {} {}", intent.side, intent.quantity, intent.symbol);
    let why = match (verb, intent.reason.as_str()) {
        ("found", _) => "the broker had it all along",
        ("sent again", _) => "the broker never had it",
        ("unknown", _) => "no answer; the broker is asked",
        ("sent", _) => return columns(verb, &what, "", &format!("intent {}", number(&intent.id))),
        (_, reason) => reason,
    };
    columns(verb, &what, "", &format!("intent {}: {why}", number(&intent.id)))
}

/// `cf-d3adb33f0000-000012` is intent 12 of this demo.
fn number(id: &IntentId) -> &str {
    let digits = id.as_str().rsplit('-').next().unwrap_or_default();
    digits.trim_start_matches('0')
}

/// `0x2422…c745`: enough to find it again in `bot fills`, which shows it whole.
fn short(hash: &impl Display) -> String {
    let text = hash.to_string();
    match (text.get(..6), text.len().checked_sub(4).and_then(|from| text.get(from..))) {
        (Some(head), Some(tail)) if text.len() > 12 => format!("{head}…{tail}"),
        _ => text,
    }
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::B256;

    #[test]
    fn hashes_are_shortened_and_intents_are_numbered() {
        assert_eq!(short(&B256::repeat_byte(0x24)), "0x2424…2424");
        assert_eq!(short(&"0x12"), "0x12");
        assert_eq!(number(&"cf-d3adb33f0000-000012".parse().unwrap()), "12");
        assert_eq!((count(1, "reorg"), count(0, "reorg")), ("1 reorg".to_owned(), "0 reorgs".to_owned()));
    }

    #[test]
    fn a_usual_line_fits_a_hundred_columns() {
        let line = columns(
            "executed",
            "SELL 1.026 TSLA at 251.75",
            "exposure -0.976",
            "intent 12, order 1004055538153",
        );
        // 17 columns of time and speaker stand before it.
        assert!(17 + line.chars().count() <= 105, "{line}");
    }
}
