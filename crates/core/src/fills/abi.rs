//! The order books' logs as bytes, and what they say.
//!
//! [`read`] turns one log into one [`Said`], from the point of view of the order, never of the taker: the one place
//! where a take's `input` and `output` are turned round. It knows both versions and all spellings of the events; it
//! refuses to know whose orders are ours, what a token is, or which two logs of a clear belong together.
//!
//! Invariant: total. Any bytes give a [`Said`] or an [`AbiError`], never a panic. A known topic whose bytes
//! can not be that event is an error; bytes beyond the event's own are not looked at.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolEvent;

use crate::units::{BlockRef, LogId};

use self::v4::{IOrderBookV4, IOrderBookV4Bytes32Context};
use self::v5::IOrderBookV5;

/// The events of a V4 order book, from `contracts/IOrderBookV4.sol`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v4 {
    alloy::sol!("../../contracts/IOrderBookV4.sol");
}

/// The events of a V5 or V6 order book, from `contracts/IOrderBookV5.sol`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v5 {
    alloy::sol!("../../contracts/IOrderBookV5.sol");
}

/// What is asked of a token, from `contracts/IToken.sol`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod token {
    alloy::sol!("../../contracts/IToken.sol");
}

/// `TakeOrderV2` as the deployed V4 order books emit it (`uint256[]` signed context).
pub const TAKE_V4: B256 = IOrderBookV4::TakeOrderV2::SIGNATURE_HASH;
/// `TakeOrderV2` as later interface repositories spell it (`bytes32[]` signed context).
pub const TAKE_V4_BYTES32: B256 = IOrderBookV4Bytes32Context::TakeOrderV2::SIGNATURE_HASH;
/// `ClearV2`.
pub const CLEAR_V4: B256 = IOrderBookV4::ClearV2::SIGNATURE_HASH;
/// `AfterClear`.
pub const AFTER_CLEAR_V4: B256 = IOrderBookV4::AfterClear::SIGNATURE_HASH;
/// `TakeOrderV3`.
pub const TAKE_V5: B256 = IOrderBookV5::TakeOrderV3::SIGNATURE_HASH;
/// `ClearV3`.
pub const CLEAR_V5: B256 = IOrderBookV5::ClearV3::SIGNATURE_HASH;
/// `AfterClearV2`.
pub const AFTER_CLEAR_V5: B256 = IOrderBookV5::AfterClearV2::SIGNATURE_HASH;

/// The one filter: every topic that this program reads.
pub const TOPICS: [B256; 7] =
    [TAKE_V4, TAKE_V4_BYTES32, CLEAR_V4, AFTER_CLEAR_V4, TAKE_V5, CLEAR_V5, AFTER_CLEAR_V5];

/// One log as the node said it, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawLog {
    /// Emitter.
    pub address: Address,
    /// Its topics, in order.
    pub topics: Vec<B256>,
    /// Its data.
    pub data: Bytes,
    /// Height of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// The block's time in seconds since 1970, where the node said it.
    pub block_time: Option<u64>,
    /// Hash of its transaction.
    pub tx_hash: B256,
    /// Its index within the block, as the RPC says it.
    pub log_index: u64,
}

impl RawLog {
    /// Where it stands.
    #[must_use]
    pub const fn id(&self) -> LogId {
        let block = BlockRef { number: self.block_number, hash: self.block_hash };
        LogId { block, tx_hash: self.tx_hash, log_index: self.log_index }
    }

    /// What kind of log its first topic says it is; `None` for a topic we do not read.
    #[must_use]
    pub fn kind(&self) -> Option<LogKind> {
        match *self.topics.first()? {
            TAKE_V4 | TAKE_V4_BYTES32 => Some(LogKind::Take(Version::V4)),
            CLEAR_V4 => Some(LogKind::Clear(Version::V4)),
            AFTER_CLEAR_V4 => Some(LogKind::AfterClear(Version::V4)),
            TAKE_V5 => Some(LogKind::Take(Version::V5)),
            CLEAR_V5 => Some(LogKind::Clear(Version::V5)),
            AFTER_CLEAR_V5 => Some(LogKind::AfterClear(Version::V5)),
            _ => None,
        }
    }
}

/// Which family of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `TakeOrderV2`, `ClearV2`, `AfterClear`: amounts in the token's base units.
    V4,
    /// `TakeOrderV3`, `ClearV3`, `AfterClearV2` (V5 and V6 alike): amounts are Floats.
    V5,
}

/// What a topic announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogKind {
    /// A taker took one order.
    Take(Version),
    /// Two orders were cleared against each other; the amounts follow in an [`LogKind::AfterClear`].
    Clear(Version),
    /// The amounts of the clear before it.
    AfterClear(Version),
}

/// An amount as the event says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amount {
    /// V4: base units of the token.
    Units(U256),
    /// V5 and V6: a Rain Float of whole tokens; `fills` reads it exactly.
    Float(B256),
}

/// One order in a log: whose it is, and which of its tokens moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The order's owner.
    pub owner: Address,
    /// The token that came to the owner and the token that left; `None` where an index of the event points beyond the
    /// order's list.
    pub tokens: Option<(Address, Address)>,
}

/// What one order received and gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What came to the owner.
    pub input: Amount,
    /// What left the owner.
    pub output: Amount,
}

/// What one log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// One order was taken.
    Take {
        /// The order.
        order: Order,
        /// From the order's side, already turned round.
        moved: Moved,
    },
    /// Two orders were cleared; the amounts are elsewhere.
    Clear {
        /// The first order.
        alice: Order,
        /// The second order.
        bob: Order,
    },
    /// The amounts of a clear.
    AfterClear {
        /// The first order's.
        alice: Moved,
        /// The second order's.
        bob: Moved,
    },
    /// Another topic: nothing that concerns us.
    Other,
}

/// Which part of a log a trade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leg {
    /// The order of a take.
    Take,
    /// The first order of a clear.
    Alice,
    /// The second order of a clear.
    Bob,
}

/// One order's leg of a take or a clear, from the ORDER's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    /// The take, or the clear (not its AfterClear): it names the fill, and a dead event keeps it raw.
    pub log: RawLog,
    /// Which part of the log.
    pub leg: Leg,
    /// The order's owner.
    pub owner: Address,
    /// The token that came to the owner.
    pub input_token: Address,
    /// How much of it.
    pub input: Amount,
    /// The token that left the owner.
    pub output_token: Address,
    /// How much of it.
    pub output: Amount,
}

/// Why a log with a topic of ours can not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbiError {
    /// The data (or the number of topics) is not that event's.
    #[error("the bytes are not a {event}: {why}")]
    NotThatEvent {
        /// Name of the event its topic announces.
        event: &'static str,
        /// What the ABI decoder said.
        why: String,
    },
}

/// Longest decoder message kept, in characters: it may quote the log's bytes.
const DECODER_MESSAGE_CHARS_MAX: usize = 200;

fn decode<E: SolEvent>(log: &RawLog) -> Result<E, AbiError> {
    let event = E::SIGNATURE.split('(').next().unwrap_or(E::SIGNATURE);
    let [topic] = log.topics.as_slice() else {
        let why = format!("it has {} topics and should have one", log.topics.len());
        return Err(AbiError::NotThatEvent { event, why });
    };
    E::decode_raw_log_validate([*topic], &log.data).map_err(|error| AbiError::NotThatEvent {
        event,
        why: error.to_string().chars().take(DECODER_MESSAGE_CHARS_MAX).collect(),
    })
}

/// What `log` says, by its topic and data alone.
///
/// # Errors
/// Its topic is one of [`TOPICS`], but its bytes are not that event.
pub fn read(log: &RawLog) -> Result<Said, AbiError> {
    let Some(topic) = log.topics.first().copied() else { return Ok(Said::Other) };
    Ok(match topic {
        TAKE_V4 => {
            let take = decode::<IOrderBookV4::TakeOrderV2>(log)?;
            let config = take.config;
            take_v4(&config.order, config.inputIOIndex, config.outputIOIndex, take.input, take.output)
        }
        TAKE_V4_BYTES32 => {
            let take = decode::<IOrderBookV4Bytes32Context::TakeOrderV2>(log)?;
            let config = take.config;
            take_v4(&config.order, config.inputIOIndex, config.outputIOIndex, take.input, take.output)
        }
        CLEAR_V4 => {
            let clear = decode::<IOrderBookV4::ClearV2>(log)?;
            let at = clear.clearConfig;
            Said::Clear {
                alice: order_v4(&clear.alice, at.aliceInputIOIndex, at.aliceOutputIOIndex),
                bob: order_v4(&clear.bob, at.bobInputIOIndex, at.bobOutputIOIndex),
            }
        }
        AFTER_CLEAR_V4 => {
            let change = decode::<IOrderBookV4::AfterClear>(log)?.clearStateChange;
            let moved = |input, output| Moved { input: Amount::Units(input), output: Amount::Units(output) };
            Said::AfterClear {
                alice: moved(change.aliceInput, change.aliceOutput),
                bob: moved(change.bobInput, change.bobOutput),
            }
        }
        TAKE_V5 => {
            let take = decode::<IOrderBookV5::TakeOrderV3>(log)?;
            let config = take.config;
            Said::Take {
                order: order_v5(&config.order, config.inputIOIndex, config.outputIOIndex),
                // The event is the taker's: what the taker got is what the order gave.
                moved: Moved { input: Amount::Float(take.output), output: Amount::Float(take.input) },
            }
        }
        CLEAR_V5 => {
            let clear = decode::<IOrderBookV5::ClearV3>(log)?;
            let at = clear.clearConfig;
            Said::Clear {
                alice: order_v5(&clear.alice, at.aliceInputIOIndex, at.aliceOutputIOIndex),
                bob: order_v5(&clear.bob, at.bobInputIOIndex, at.bobOutputIOIndex),
            }
        }
        AFTER_CLEAR_V5 => {
            let change = decode::<IOrderBookV5::AfterClearV2>(log)?.clearStateChange;
            let moved = |input, output| Moved { input: Amount::Float(input), output: Amount::Float(output) };
            Said::AfterClear {
                alice: moved(change.aliceInput, change.aliceOutput),
                bob: moved(change.bobInput, change.bobOutput),
            }
        }
        _ => Said::Other,
    })
}

fn take_v4(order: &v4::OrderV3, input_at: U256, output_at: U256, taker_in: U256, taker_out: U256) -> Said {
    Said::Take {
        order: order_v4(order, input_at, output_at),
        // The event is the taker's: what the taker got is what the order gave.
        moved: Moved { input: Amount::Units(taker_out), output: Amount::Units(taker_in) },
    }
}

fn order_v4(order: &v4::OrderV3, input_at: U256, output_at: U256) -> Order {
    let input = at(&order.validInputs, input_at).map(|io| io.token);
    let output = at(&order.validOutputs, output_at).map(|io| io.token);
    Order { owner: order.owner, tokens: input.zip(output) }
}

fn order_v5(order: &v5::OrderV4, input_at: U256, output_at: U256) -> Order {
    let input = at(&order.validInputs, input_at).map(|io| io.token);
    let output = at(&order.validOutputs, output_at).map(|io| io.token);
    Order { owner: order.owner, tokens: input.zip(output) }
}

fn at<T>(list: &[T], index: U256) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}
