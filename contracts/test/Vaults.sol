// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;

// Tokens that are not one share, as the well-known libraries make them, for the tests of units. Nothing of theirs is here: they
// are taken from npm, pinned.
import {ERC20 as Oz5ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20 as Oz5IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC4626 as Oz5Vault} from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";
import {ERC20Wrapper as Oz5Wrapper} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Wrapper.sol";
import {ERC20 as Oz4ERC20} from "openzeppelin-4/token/ERC20/ERC20.sol";
import {IERC20 as Oz4IERC20} from "openzeppelin-4/token/ERC20/IERC20.sol";
import {ERC4626 as Oz4Vault} from "openzeppelin-4/token/ERC20/extensions/ERC4626.sol";
import {ERC4626 as SoladyVault} from "solady/src/tokens/ERC4626.sol";
import {ERC20 as SolmateERC20} from "solmate/src/tokens/ERC20.sol";
import {ERC4626 as SolmateVault} from "solmate/src/tokens/ERC4626.sol";

// A share that anybody may mint.
contract Share is Oz5ERC20 {
    uint8 private immutable _digits;

    constructor(string memory symbol_, uint8 digits) Oz5ERC20(symbol_, symbol_) {
        _digits = digits;
    }

    function decimals() public view override returns (uint8) {
        return _digits;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

// The same under a multiplier (ERC-8056): one that is set from a moment on.
contract Multiplied is Share {
    uint256 private _now = 1e18;
    uint256 private _next = 1e18;
    uint256 public effectiveAt;

    constructor(string memory symbol_) Share(symbol_, 18) {}

    function setUIMultiplier(uint256 next, uint256 at) external {
        _now = uiMultiplier();
        _next = next;
        effectiveAt = at;
    }

    function newUIMultiplier() external view returns (uint256) {
        return _next;
    }

    function uiMultiplier() public view returns (uint256) {
        return block.timestamp >= effectiveAt ? _next : _now;
    }
}

// As Base's B20 before its later fork: the multiplier has the short name only.
contract ShortNamed is Share {
    uint256 public multiplier = 4e18;

    constructor(string memory symbol_) Share(symbol_, 18) {}
}

contract VaultOz5 is Oz5Vault {
    constructor(address asset_) Oz5ERC20("vault", "vOZ5") Oz5Vault(Oz5IERC20(asset_)) {}
}

contract VaultOz4 is Oz4Vault {
    constructor(address asset_) Oz4ERC20("vault", "vOZ4") Oz4Vault(Oz4IERC20(asset_)) {}
}

contract VaultSolady is SoladyVault {
    address private immutable _asset;
    bool private immutable _virtual;

    constructor(address asset_, bool virtual_) {
        (_asset, _virtual) = (asset_, virtual_);
    }

    function asset() public view override returns (address) {
        return _asset;
    }

    function name() public pure override returns (string memory) {
        return "vault";
    }

    function symbol() public pure override returns (string memory) {
        return "vSOLADY";
    }

    function _useVirtualShares() internal view override returns (bool) {
        return _virtual;
    }
}

contract VaultSolmate is SolmateVault {
    constructor(address asset_) SolmateVault(SolmateERC20(asset_), "vault", "vSOLMATE") {}

    function totalAssets() public view override returns (uint256) {
        return asset.balanceOf(address(this));
    }
}

contract Wrapper is Oz5Wrapper {
    constructor(address asset_) Oz5ERC20("wrapper", "wSHARE") Oz5Wrapper(Oz5IERC20(asset_)) {}
}

// What a test asks of any of the vaults.
interface IVault {
    function deposit(uint256 assets, address receiver) external returns (uint256);
    function redeem(uint256 shares, address receiver, address owner) external returns (uint256);
}
