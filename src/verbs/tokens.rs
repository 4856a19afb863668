//! `bot tokens`: what each listed token is worth in shares, as its contract says it now.
//!
//! The list is `EQUITIES` and what the ledger knows as shares. A ledger is not needed, a node is.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::time::timeout;

use super::{Ended, Failure, runtime};
use crate::chain::rpc::Rpc;
use crate::chain::survey::Surveyed;
use crate::chain::tokens::Tokens;
use crate::config::TokenSettings;
use crate::exit;
use crate::fills::TokenKind;
use crate::ledger::{Reader, TokenRow};
use crate::report::{Form, TokenLine, tokens};

/// All questions about one token.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lists the tokens; exit code 1 where what one is worth is not known.
pub(super) fn list(settings: &TokenSettings, json: bool, out: &mut dyn Write) -> Ended {
    // A ledger that is not there yet knows no tokens.
    let known = match settings.database.exists() {
        true => Reader::open(&settings.database)?.tokens()?,
        false => Vec::new(),
    };
    let shares = known.iter().filter(|row| matches!(row.fact.kind, TokenKind::Share(..)));
    let addresses: BTreeSet<Address> =
        settings.equities.keys().copied().chain(shares.map(|row| row.fact.address)).collect();
    let looked = runtime()?.block_on(survey(settings, &addresses))?;
    let lines: Vec<TokenLine> =
        looked.iter().map(|(address, surveyed)| line(settings, &known, *address, surveyed)).collect();
    tokens(&lines, if json { Form::Json } else { Form::Text }, out)?;
    let all_known = looked.iter().all(|(_, surveyed)| surveyed.worth.is_ok());
    Ok(if all_known { exit::DONE } else { exit::NOT_CLEAN })
}

async fn survey(
    settings: &TokenSettings,
    addresses: &BTreeSet<Address>,
) -> Result<Vec<(Address, Surveyed)>, Failure> {
    let away = |words: String| Failure::Because { code: exit::AWAY, words };
    let rpc = Rpc::connect(settings.ws_rpc_url.expose(), settings.ssl_cert_file.as_deref())
        .await
        .map_err(|error| away(error.to_string()))?;
    let chain = Tokens::listed(settings.equities.clone(), settings.ratios.clone(), settings.cash);
    let mut looked = Vec::new();
    for address in addresses {
        let surveyed = timeout(PATIENCE, chain.survey(&rpc, *address)).await;
        let surveyed =
            surveyed.map_err(|_| away(format!("the node does not answer about token {address}")))?;
        looked.push((*address, surveyed.map_err(|error| away(error.to_string()))?));
    }
    Ok(looked)
}

fn line(settings: &TokenSettings, known: &[TokenRow], address: Address, surveyed: &Surveyed) -> TokenLine {
    let fact = surveyed.fact.as_ref();
    let unit = match fact.map(|fact| &fact.kind) {
        Some(TokenKind::Share(symbol, unit)) => Some((symbol, unit.words())),
        _ => None,
    };
    let recorded = known.iter().find(|row| row.fact.address == address);
    TokenLine {
        ticker: unit
            .as_ref()
            .map(|(symbol, _)| (*symbol).clone())
            .or_else(|| settings.equities.get(&address).cloned()),
        address: format!("{address:#x}"),
        symbol: fact.map(|fact| fact.symbol.clone()),
        decimals: fact.map(|fact| fact.decimals),
        unit: unit.map(|(_, words)| words),
        shares: surveyed.worth.clone().ok(),
        since: recorded.and_then(|row| row.since).map(|since| since.to_string()),
        note: surveyed.worth.clone().err().or_else(|| surveyed.announced.clone()),
    }
}
