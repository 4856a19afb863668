// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// What a V5 or V6 order book says in its logs (the two are equal), and no more. No parameter is indexed: every log has
// exactly one topic.

// A decimal number: four bytes of signed exponent, then 28 bytes of signed coefficient. Not canonical: many words are
// the same number.
type Float is bytes32;

struct EvaluableV4 {
    address interpreter;
    address store;
    bytes bytecode;
}

struct IOV2 {
    address token;
    bytes32 vaultId;
}

struct OrderV4 {
    address owner;
    EvaluableV4 evaluable;
    IOV2[] validInputs;
    IOV2[] validOutputs;
    bytes32 nonce;
}

struct SignedContextV1 {
    address signer;
    bytes32[] context;
    bytes signature;
}

struct TakeOrderConfigV4 {
    OrderV4 order;
    uint256 inputIOIndex;
    uint256 outputIOIndex;
    SignedContextV1[] signedContext;
}

struct ClearConfigV2 {
    uint256 aliceInputIOIndex;
    uint256 aliceOutputIOIndex;
    uint256 bobInputIOIndex;
    uint256 bobOutputIOIndex;
    bytes32 aliceBountyVaultId;
    bytes32 bobBountyVaultId;
}

// Mind the order: outputs before inputs.
struct ClearStateChangeV2 {
    Float aliceOutput;
    Float bobOutput;
    Float aliceInput;
    Float bobInput;
}

interface IOrderBookV5 {
    // input and output are the TAKER's: the order's output is input, the order's input is output.
    event TakeOrderV3(address sender, TakeOrderConfigV4 config, Float input, Float output);
    event ClearV3(address sender, OrderV4 alice, OrderV4 bob, ClearConfigV2 clearConfig);
    event AfterClearV2(address sender, ClearStateChangeV2 clearStateChange);
}
