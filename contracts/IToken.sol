// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// What we ask of a token: who it is and how much of it there is (ERC-20), and what it holds: a vault (ERC-4626), a plain
// wrapper (underlying), shares under a multiplier (ERC-8056; Base's B20 says multiplier).
interface IToken {
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
    function totalSupply() external view returns (uint256);
    function convertToAssets(uint256 shares) external view returns (uint256 assets);
    function asset() external view returns (address);
    function underlying() external view returns (address);
    function uiMultiplier() external view returns (uint256);
    function multiplier() external view returns (uint256);
    function newUIMultiplier() external view returns (uint256);
    function effectiveAt() external view returns (uint256);
}
