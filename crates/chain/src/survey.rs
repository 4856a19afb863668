//! A look at one token for a person: what it is, what one of it is worth now, and what it announces (`bot tokens`, the
//! doctor's row `units`).

use alloy::primitives::{Address, U256};

use super::rpc::{Rpc, RpcError};
use super::tokens::{Asked, Tokens};
use super::views::Answers;
use super::worth;
use crate::fills::{Conversion, FillUnit, TokenFact, TokenKind, Unit};
use crate::units::Shares;

/// What a look at one token found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// What the chain says of it; none where that is not clear.
    pub fact: Option<TokenFact>,
    /// Shares that one token is worth at the newest block, or why that is not known.
    pub worth: Result<Shares, String>,
    /// A change of its multiplier that lies ahead, in words.
    pub announced: Option<String>,
}

impl Tokens {
    /// What one token is and what one of it is worth at the newest block, for a person.
    ///
    /// # Errors
    /// The node's trouble.
    pub async fn survey(&self, rpc: &Rpc, address: Address) -> Result<Surveyed, RpcError> {
        let unknown = |why| Surveyed { fact: None, worth: Err(why), announced: None };
        let head = rpc.head().await?;
        let fact = match self.ask(&mut Answers::default(), rpc, address, Some(head.hash)).await? {
            Asked::Fact(fact) => fact,
            Asked::Unclear(why) => return Ok(unknown(why)),
            Asked::Unsaid => return Ok(unknown(format!("{address} has no readable decimals()"))),
        };
        let one = Shares::whole(1);
        let (worth, announced) = match &fact.kind {
            TokenKind::Share(_, unit @ Unit::Asked { .. }) => {
                let amount = U256::from(10).checked_pow(U256::from(fact.decimals)).unwrap_or_default();
                let conversion = Conversion { token: address, block: head.hash, amount };
                let state = worth::State::of(&self.told, rpc, head.hash, Some(head.number)).await?;
                let told = worth::worth(rpc, unit, &conversion, &state, self.jump_max_percent).await?;
                let shares = told.and_then(|worth| {
                    FillUnit { token: address, amount, decimals: fact.decimals, worth }.shares()
                });
                let multiplied = unit.multiplied(address);
                let announced = match multiplied {
                    Some(last) => worth::announced(rpc, last).await?,
                    None => None,
                };
                (shares.map_err(|why| why.to_string()), announced)
            }
            TokenKind::Share(_, Unit::Listed(ratio)) => {
                (ratio.of(one).ok_or_else(|| "the ratio is too large".to_owned()), None)
            }
            TokenKind::Share(_, Unit::One | Unit::Unrecorded { .. }) => (Ok(one), None),
            TokenKind::Cash | TokenKind::Foreign => (Err("it is no share".to_owned()), None),
        };
        Ok(Surveyed { fact: Some(fact), worth, announced })
    }
}
