//! The story of one transaction, as a timeline to be read from top to bottom.

use std::io::{self, Write};

use super::table::plain;
use crate::ledger::{
    EntryRow, ExecutionRow, Story, TracedFill, TracedHedge, TracedTicker, TransitionRow, UnitRow,
};

/// Writes the story, or says that there is none.
pub(super) fn tell(story: &Story, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "transaction {}", story.tx_hash)?;
    if story.fills.is_empty() && story.dead.is_empty() {
        return writeln!(
            out,
            "Unknown to this ledger: none of your orders traded in it, or its block was not read yet. `bot status` \
             shows how far the chain has been read; `bot replay {}` asks the chain for it.",
            story.tx_hash
        );
    }
    story.fills.iter().try_for_each(|traced| tell_fill(traced, out))?;
    for dead in &story.dead {
        writeln!(
            out,
            "\nlog {} in block {} was not understood: {}",
            dead.log_index,
            dead.block_number,
            plain(&dead.reason)
        )?;
        writeln!(out, "  {}  stored raw (emitted by {})", dead.at, dead.address)?;
    }
    story.tickers.iter().try_for_each(|ticker| tell_ticker(ticker, out))
}

fn tell_fill(traced: &TracedFill, out: &mut dyn Write) -> io::Result<()> {
    let fill = &traced.fill;
    let symbol = fill.symbol.as_ref().map_or("a foreign pair", |symbol| symbol.as_str());
    write!(out, "\n{} {} {symbol}", fill.side, fill.shares)?;
    if let Some(cash) = &fill.cash {
        write!(out, " for ${cash}")?;
    }
    if let Some(price) = &fill.price {
        write!(out, " (${price} a share)")?;
    }
    writeln!(
        out,
        ": {}{}",
        fill.state,
        fill.reason.as_ref().map_or(String::new(), |why| format!(", {why}"))
    )?;
    writeln!(out, "  log {} in block {} ({})", fill.log_index, fill.block_number, fill.block_hash)?;
    if let Some(block_time) = fill.block_time {
        writeln!(out, "  {block_time}  traded on the chain")?;
    }
    if let Some(unit) = &traced.unit {
        let UnitRow { token, amount, decimals, assets, asset_decimals, multiplier } = unit;
        let times =
            multiplier.as_ref().map_or(String::new(), |by| format!(", by the multiplier {by} of 1e18"));
        writeln!(
            out,
            "  {amount} base units of {token} ({decimals} decimals) are {assets} of a share with {asset_decimals}{times}"
        )?;
    }
    if traced.entries.is_empty() {
        writeln!(out, "  {}  stored as skipped", fill.seen_at)?;
    }
    traced.entries.iter().try_for_each(|entry| tell_entry(entry, out))
}

fn tell_entry(entry: &EntryRow, out: &mut dyn Write) -> io::Result<()> {
    let what = match (entry.n, entry.sign) {
        (0, _) => "seen",
        (_, 1) => "reinstated: its block is on the chain again",
        _ => "reversed: its block left the chain",
    };
    writeln!(out, "  {}  {what} ({})", entry.at, entry.source)?;
    match (entry.counted_at, entry.sign) {
        (Some(at), 1) => writeln!(out, "  {at}  counts toward exposure"),
        (Some(at), _) => writeln!(out, "  {at}  no longer counts toward exposure"),
        (None, _) => Ok(()),
    }
}

fn tell_ticker(ticker: &TracedTicker, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{} has an exposure of {} now, of all its fills and hedges",
        ticker.symbol, ticker.exposure
    )?;
    if ticker.hedges.is_empty() {
        writeln!(
            out,
            "  no hedge since: what the fills add up to is less than a lot, or waits (`bot status`)"
        )?;
    }
    ticker.hedges.iter().try_for_each(|hedge| tell_hedge(hedge, out))?;
    if ticker.more > 0 {
        writeln!(out, "\n  and {} later hedges: `bot hedges --symbol {}`", ticker.more, ticker.symbol)?;
    }
    Ok(())
}

fn tell_hedge(traced: &TracedHedge, out: &mut dyn Write) -> io::Result<()> {
    let hedge = &traced.hedge;
    let adopted = if hedge.adopted { " (adopted from the broker's book)" } else { "" };
    writeln!(
        out,
        "\n  hedge {}: {} {} {}, {}, {} executed{adopted}",
        hedge.intent_id, hedge.side, hedge.quantity, hedge.symbol, hedge.state, hedge.executed
    )?;
    // Both lists are ascending; where they meet, an execution was booked before the state it led to.
    let mut executions = traced.executions.iter().peekable();
    for step in &traced.transitions {
        let settles = !step.to.is_live();
        while let Some(execution) = executions.next_if(|x| x.at < step.at || (settles && x.at == step.at)) {
            tell_execution(execution, out)?;
        }
        tell_step(step, out)?;
    }
    executions.try_for_each(|execution| tell_execution(execution, out))
}

fn tell_step(step: &TransitionRow, out: &mut dyn Write) -> io::Result<()> {
    let from = step.from.map_or("decided".to_owned(), |from| from.to_string());
    write!(out, "    {}  {from} -> {}", step.at, step.to)?;
    if let Some(order) = &step.broker_order_id {
        write!(out, ", order {order}")?;
    }
    if !step.reason.is_empty() {
        write!(out, ": {}", plain(&step.reason))?;
    }
    writeln!(out)
}

fn tell_execution(execution: &ExecutionRow, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "    {}  executed {} of order {}",
        execution.at, execution.quantity, execution.broker_order_id
    )?;
    if let Some(price) = &execution.average_price {
        write!(out, ", average ${price}")?;
    }
    writeln!(out)
}
