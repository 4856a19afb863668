// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// What a V4 order book says in its logs, and no more. No parameter is indexed: every log has exactly one topic.
//
// TakeOrderV2 has two spellings. The deployed contract signs its context as uint256[]; interface repositories since
// January 2025 say bytes32[], which hashes to another topic. The bytes of the data are the same.

struct EvaluableV3 {
    address interpreter;
    address store;
    bytes bytecode;
}

// The decimals are the order owner's claim; the contract does not check them, and nor may we believe them.
struct IO {
    address token;
    uint8 decimals;
    uint256 vaultId;
}

struct OrderV3 {
    address owner;
    EvaluableV3 evaluable;
    IO[] validInputs;
    IO[] validOutputs;
    bytes32 nonce;
}

struct ClearConfig {
    uint256 aliceInputIOIndex;
    uint256 aliceOutputIOIndex;
    uint256 bobInputIOIndex;
    uint256 bobOutputIOIndex;
    uint256 aliceBountyVaultId;
    uint256 bobBountyVaultId;
}

// Mind the order: outputs before inputs.
struct ClearStateChange {
    uint256 aliceOutput;
    uint256 bobOutput;
    uint256 aliceInput;
    uint256 bobInput;
}

// The deployed spelling.
interface IOrderBookV4 {
    struct SignedContextV1 {
        address signer;
        uint256[] context;
        bytes signature;
    }

    struct TakeOrderConfigV3 {
        OrderV3 order;
        uint256 inputIOIndex;
        uint256 outputIOIndex;
        SignedContextV1[] signedContext;
    }

    // input and output are the TAKER's: the order's output is input, the order's input is output.
    event TakeOrderV2(address sender, TakeOrderConfigV3 config, uint256 input, uint256 output);
    event ClearV2(address sender, OrderV3 alice, OrderV3 bob, ClearConfig clearConfig);
    event AfterClear(address sender, ClearStateChange clearStateChange);
}

// The later spelling of the one event that changed.
interface IOrderBookV4Bytes32Context {
    struct SignedContextV1 {
        address signer;
        bytes32[] context;
        bytes signature;
    }

    struct TakeOrderConfigV3 {
        OrderV3 order;
        uint256 inputIOIndex;
        uint256 outputIOIndex;
        SignedContextV1[] signedContext;
    }

    event TakeOrderV2(address sender, TakeOrderConfigV3 config, uint256 input, uint256 output);
}
