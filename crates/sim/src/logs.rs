//! The order book's events as bytes, as the deployed contracts emit them.
//!
//! A [`Leg`] is one order's part of a trade, told from the ORDER's side. [`OrderBook::take`] turns it round, because a
//! take's event is told from the taker's. This is written apart from the decoder on purpose: only the shapes of the
//! events (`contracts/*.sol`) are shared, so that a decoder with a wrong view of them is found out.
//!
//! What a strict reader may not lean on is varied: the traded pair is not always at index 0, Floats come in other
//! spellings than the canonical one, and context and transfer logs lie between the logs of interest.

use alloy::primitives::aliases::{I224, U224};
use alloy::primitives::{Address, B256, Bytes, Log, LogData, U256, b256};
use alloy::sol_types::{SolEvent, SolValue};

use counterfill_core::fills::abi::v4::{self, IOrderBookV4, IOrderBookV4Bytes32Context};
use counterfill_core::fills::abi::v5::{self, IOrderBookV5};
use counterfill_core::units::{Cash, Shares, Side};

/// Decimal places of an atom.
const ATOM_DECIMALS: u8 = 18;
/// `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// `Context(address,uint256[][])`, which both kinds of book emit before a take and inside a clear.
const CONTEXT_V4: B256 = b256!("17a5c0f3785132a57703932032f6863e7920434150aa1dc940e567b440fdce1f");
/// `ContextV2(address,bytes32[][])`.
const CONTEXT_V5: B256 = b256!("4cb6e22a3e7e651d7cf0376cff48f20f5007a54147777865be7f5f6c38c50f4a");
/// Whoever takes and clears.
pub const TAKER: Address = Address::repeat_byte(0x7a);
/// A token that orders also list and that is not traded.
const DECOY: Address = Address::repeat_byte(0xde);

/// A token as an order lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its contract.
    pub address: Address,
    /// What `decimals()` says; scales V4 amounts.
    pub decimals: u8,
    /// What a V4 order declares; the book does not check it.
    pub declared_decimals: u8,
}

impl Asset {
    /// A token whose owner declares the truth.
    #[must_use]
    pub const fn new(address: Address, decimals: u8) -> Self {
        Self { address, decimals, declared_decimals: decimals }
    }

    /// Base units of an amount in atoms, cut toward zero.
    fn units(self, atoms: i128) -> U256 {
        let places = ATOM_DECIMALS.saturating_sub(self.decimals);
        U256::from(atoms.unsigned_abs()) / U256::from(10).pow(U256::from(places))
    }
}

/// One order's part of a trade, from the order's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Owner of the order.
    pub owner: Address,
    /// What came to the owner.
    pub input: Asset,
    /// How much, in 1e-18.
    pub input_atoms: i128,
    /// What left the owner.
    pub output: Asset,
    /// How much, in 1e-18.
    pub output_atoms: i128,
}

impl Leg {
    /// `owner` buys or sells `shares` (a magnitude) of `share` for `paid` of `cash`.
    #[must_use]
    pub fn trade(owner: Address, side: Side, share: Asset, shares: Shares, cash: Asset, paid: Cash) -> Self {
        match side {
            Side::Buy => Self {
                owner,
                input: share,
                input_atoms: shares.atoms(),
                output: cash,
                output_atoms: paid.atoms(),
            },
            Side::Sell => Self {
                owner,
                input: cash,
                input_atoms: paid.atoms(),
                output: share,
                output_atoms: shares.atoms(),
            },
        }
    }
}

/// Which events an order book emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookKind {
    /// V4 as deployed: `TakeOrderV2` with an `uint256[]` signed context.
    V4,
    /// V4 as later interface repositories spell it: `bytes32[]`, another topic.
    V4Bytes32,
    /// V5 and V6.
    V5,
}

/// An order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderBook {
    /// Its contract.
    pub address: Address,
    /// Its events.
    pub kind: BookKind,
}

/// A Float word: coefficient × 10^exponent, `zeros` of the exponent moved into the coefficient (at most 28, which
/// always fits into 223 bits).
#[must_use]
pub fn float(atoms: i128, zeros: u8) -> B256 {
    let zeros = zeros.min(28);
    let magnitude = U224::from(atoms.unsigned_abs()) * U224::from(10).pow(U224::from(zeros));
    let coefficient = I224::from_raw(if atoms < 0 { magnitude.wrapping_neg() } else { magnitude });
    let exponent = if atoms == 0 { 0 } else { -(i32::from(ATOM_DECIMALS) + i32::from(zeros)) };
    let mut word = [0; 32];
    word[..4].copy_from_slice(&exponent.to_be_bytes());
    word[4..].copy_from_slice(&coefficient.to_be_bytes::<28>());
    word.into()
}

/// A Float in one of its 29 spellings, the same one for the same amount.
fn some_float(atoms: i128) -> B256 {
    float(atoms, u8::try_from(atoms.unsigned_abs() % 29).unwrap_or(0))
}

impl OrderBook {
    fn log(&self, data: LogData) -> Log {
        Log { address: self.address, data }
    }

    /// The log that says what an order's expression was shown; nothing that concerns us.
    #[must_use]
    pub fn context(&self) -> Log {
        let topic = if self.kind == BookKind::V5 { CONTEXT_V5 } else { CONTEXT_V4 };
        let rows = vec![vec![U256::from(1), U256::from(2)], vec![U256::from(3)]];
        self.log(LogData::new_unchecked(vec![topic], (TAKER, rows).abi_encode_params().into()))
    }

    fn transfer(&self, asset: Asset, from: Address, to: Address, atoms: i128) -> Log {
        let topics = vec![TRANSFER, from.into_word(), to.into_word()];
        Log {
            address: asset.address,
            data: LogData::new_unchecked(topics, asset.units(atoms).abi_encode().into()),
        }
    }

    /// The logs of one take in their order: context, the take, the transfers in and out.
    #[must_use]
    pub fn take(&self, leg: &Leg) -> Vec<Log> {
        vec![
            self.context(),
            self.take_only(leg),
            self.transfer(leg.output, self.address, TAKER, leg.output_atoms),
            self.transfer(leg.input, TAKER, self.address, leg.input_atoms),
        ]
    }

    /// The take's own log. The event is the taker's: its `input` is what the order gave.
    #[must_use]
    pub fn take_only(&self, leg: &Leg) -> Log {
        let (input, output) = (leg.output_atoms, leg.input_atoms);
        let (input_units, output_units) = (leg.output.units(input), leg.input.units(output));
        let (input_at, output_at) = (U256::from(1), U256::ZERO);
        let signature = Bytes::from_static(&[0x51; 65]);
        self.log(match self.kind {
            BookKind::V4 => IOrderBookV4::TakeOrderV2 {
                sender: TAKER,
                config: IOrderBookV4::TakeOrderConfigV3 {
                    order: order_v4(leg),
                    inputIOIndex: input_at,
                    outputIOIndex: output_at,
                    signedContext: vec![IOrderBookV4::SignedContextV1 {
                        signer: TAKER,
                        context: vec![U256::from(7)],
                        signature,
                    }],
                },
                input: input_units,
                output: output_units,
            }
            .encode_log_data(),
            BookKind::V4Bytes32 => IOrderBookV4Bytes32Context::TakeOrderV2 {
                sender: TAKER,
                config: IOrderBookV4Bytes32Context::TakeOrderConfigV3 {
                    order: order_v4(leg),
                    inputIOIndex: input_at,
                    outputIOIndex: output_at,
                    signedContext: vec![IOrderBookV4Bytes32Context::SignedContextV1 {
                        signer: TAKER,
                        context: vec![B256::repeat_byte(7)],
                        signature,
                    }],
                },
                input: input_units,
                output: output_units,
            }
            .encode_log_data(),
            BookKind::V5 => IOrderBookV5::TakeOrderV3 {
                sender: TAKER,
                config: v5::TakeOrderConfigV4 {
                    order: order_v5(leg),
                    inputIOIndex: input_at,
                    outputIOIndex: output_at,
                    signedContext: vec![v5::SignedContextV1 {
                        signer: TAKER,
                        context: vec![B256::repeat_byte(7)],
                        signature,
                    }],
                },
                input: some_float(input),
                output: some_float(output),
            }
            .encode_log_data(),
        })
    }

    /// The logs of one clear in their order: the clear, two contexts, the amounts.
    #[must_use]
    pub fn clear(&self, alice: &Leg, bob: &Leg) -> Vec<Log> {
        let [clear, after] = self.clear_only(alice, bob);
        vec![clear, self.context(), self.context(), after]
    }

    /// The clear and its amounts, without what lies between them.
    #[must_use]
    pub fn clear_only(&self, alice: &Leg, bob: &Leg) -> [Log; 2] {
        let (input_at, output_at) = (U256::from(1), U256::ZERO);
        let pair = if self.kind == BookKind::V5 {
            let clear = IOrderBookV5::ClearV3 {
                sender: TAKER,
                alice: order_v5(alice),
                bob: order_v5(bob),
                clearConfig: v5::ClearConfigV2 {
                    aliceInputIOIndex: input_at,
                    aliceOutputIOIndex: output_at,
                    bobInputIOIndex: input_at,
                    bobOutputIOIndex: output_at,
                    aliceBountyVaultId: B256::ZERO,
                    bobBountyVaultId: B256::ZERO,
                },
            };
            let after = IOrderBookV5::AfterClearV2 {
                sender: TAKER,
                clearStateChange: v5::ClearStateChangeV2 {
                    aliceOutput: some_float(alice.output_atoms),
                    bobOutput: some_float(bob.output_atoms),
                    aliceInput: some_float(alice.input_atoms),
                    bobInput: some_float(bob.input_atoms),
                },
            };
            [clear.encode_log_data(), after.encode_log_data()]
        } else {
            let clear = IOrderBookV4::ClearV2 {
                sender: TAKER,
                alice: order_v4(alice),
                bob: order_v4(bob),
                clearConfig: v4::ClearConfig {
                    aliceInputIOIndex: input_at,
                    aliceOutputIOIndex: output_at,
                    bobInputIOIndex: input_at,
                    bobOutputIOIndex: output_at,
                    aliceBountyVaultId: U256::ZERO,
                    bobBountyVaultId: U256::ZERO,
                },
            };
            let after = IOrderBookV4::AfterClear {
                sender: TAKER,
                clearStateChange: v4::ClearStateChange {
                    aliceOutput: alice.output.units(alice.output_atoms),
                    bobOutput: bob.output.units(bob.output_atoms),
                    aliceInput: alice.input.units(alice.input_atoms),
                    bobInput: bob.input.units(bob.input_atoms),
                },
            };
            [clear.encode_log_data(), after.encode_log_data()]
        };
        pair.map(|data| self.log(data))
    }
}

fn order_v4(leg: &Leg) -> v4::OrderV3 {
    let io = |asset: Asset| v4::IO {
        token: asset.address,
        decimals: asset.declared_decimals,
        vaultId: U256::from(1),
    };
    v4::OrderV3 {
        owner: leg.owner,
        evaluable: v4::EvaluableV3 {
            interpreter: TAKER,
            store: TAKER,
            bytecode: Bytes::from_static(&[1, 2, 3]),
        },
        validInputs: vec![io(Asset::new(DECOY, 18)), io(leg.input)],
        validOutputs: vec![io(leg.output), io(Asset::new(DECOY, 18))],
        nonce: B256::repeat_byte(1),
    }
}

fn order_v5(leg: &Leg) -> v5::OrderV4 {
    let io = |address: Address| v5::IOV2 { token: address, vaultId: B256::repeat_byte(1) };
    v5::OrderV4 {
        owner: leg.owner,
        evaluable: v5::EvaluableV4 {
            interpreter: TAKER,
            store: TAKER,
            bytecode: Bytes::from_static(&[1, 2, 3]),
        },
        validInputs: vec![io(DECOY), io(leg.input.address)],
        validOutputs: vec![io(leg.output.address), io(DECOY)],
        nonce: B256::repeat_byte(1),
    }
}
