// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// A stand-in for an order book on a local chain: says recorded logs again, from its own address, byte for byte, as
// many in one transaction as wanted. Other logs between (a Context has another topic) are simply members of the list.
contract Emitter {
    struct Log {
        bytes32 topic0;
        bytes data;
    }

    function emitMany(Log[] calldata logs) external {
        for (uint256 i = 0; i < logs.length; i++) {
            bytes32 topic0 = logs[i].topic0;
            bytes memory data = logs[i].data;
            assembly ("memory-safe") {
                log1(add(data, 0x20), mload(data), topic0)
            }
        }
    }
}
