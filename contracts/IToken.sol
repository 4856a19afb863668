// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// What we ask of a token: who it is (ERC-20), and of a wrapped share what it holds (ERC-4626).
interface IToken {
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
    function convertToAssets(uint256 shares) external view returns (uint256 assets);
    function asset() external view returns (address);
}
