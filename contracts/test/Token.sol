// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// A token that only answers what is asked of one: its name, its decimals and, when wrap() has made it a vault, its ratio.
contract Token {
    string public symbol;
    uint8 public decimals;
    address private _asset;
    uint256 private _numerator;
    uint256 private _denominator;

    constructor(string memory symbol_, uint8 decimals_) {
        symbol = symbol_;
        decimals = decimals_;
    }

    // From the next block on, `denominator` base units of this token are `numerator` base units of `asset_`.
    function wrap(address asset_, uint256 numerator, uint256 denominator) external {
        require(asset_ != address(0) && denominator != 0, "wrap: an asset and a ratio");
        _asset = asset_;
        _numerator = numerator;
        _denominator = denominator;
    }

    // Reverts on a token that is no vault, as a plain ERC-20 does.
    function asset() external view returns (address) {
        require(_asset != address(0), "not a vault");
        return _asset;
    }

    function convertToAssets(uint256 shares) external view returns (uint256 assets) {
        require(_asset != address(0), "not a vault");
        return shares * _numerator / _denominator;
    }
}
