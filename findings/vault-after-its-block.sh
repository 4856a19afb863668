#!/usr/bin/env bash
# What an ERC-4626 vault answers about a trade, asked in the state of the trade's own block: OpenZeppelin 5.7.0, solady 0.1.26
# and solmate 6.8.0, compiled by solc 0.8.37, on anvil 1.7.1.
#
# One would guess: `convertToAssets(amount)` at the block's hash says what the amount was worth in that block, and at a round
# ratio of ten, 1.7 tokens are 17.
# What happens: a block's hash names the state after its *last* transaction. Where the holder redeems all after the trade,
# solmate (and solady without virtual shares) answers one to one, 1.7; the supply is zero then, which is how it can be seen.
# And with virtual shares the round ratio is never met: OpenZeppelin and solady say 16.999999999999999998, solmate 17.
# Why it matters: whoever hedges such a token sells 1 share instead of 17, and a hedge in whole shares cut toward zero sells
# 16 for ever.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts solc@0.8.37 @foundry-rs/anvil-linux-amd64@1.7.1 \
  @openzeppelin/contracts@5.7.0 solady@0.1.26 solmate@6.8.0
cat >Vaults.sol <<'SOL'
// SPDX-License-Identifier: MIT
pragma solidity ^0.8.25;
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC4626 as Oz} from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";
import {ERC4626 as Solady} from "solady/src/tokens/ERC4626.sol";
import {ERC20 as MateERC20} from "solmate/src/tokens/ERC20.sol";
import {ERC4626 as Mate} from "solmate/src/tokens/ERC4626.sol";

contract Share is ERC20("share", "S") {
    function mint(address to, uint256 amount) external { _mint(to, amount); }
}
contract OpenZeppelin is Oz {
    constructor(address a) ERC20("v", "v") Oz(IERC20(a)) {}
}
contract SoladyVirtual is Solady {
    address private immutable _a;
    constructor(address a) { _a = a; }
    function asset() public view override returns (address) { return _a; }
    function name() public pure override returns (string memory) { return "v"; }
    function symbol() public pure override returns (string memory) { return "v"; }
}
contract SoladyPlain is SoladyVirtual {
    constructor(address a) SoladyVirtual(a) {}
    function _useVirtualShares() internal pure override returns (bool) { return false; }
}
contract Solmate is Mate {
    constructor(address a) Mate(MateERC20(a), "v", "v") {}
    function totalAssets() public view override returns (uint256) { return asset.balanceOf(address(this)); }
}
SOL
cat >look.mjs <<'JS'
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import solc from "solc";

const source = { language: "Solidity", sources: { "Vaults.sol": { content: readFileSync("Vaults.sol", "utf8") } },
  settings: { outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.methodIdentifiers"] } } } };
const imported = (path) => ({ contents: readFileSync(`node_modules/${path}`, "utf8") });
const built = JSON.parse(solc.compile(JSON.stringify(source), { import: imported })).contracts["Vaults.sol"];
const anvil = spawn("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil", ["--port", "0", "--no-mining"]);
const port = await new Promise((found) => {
  let text = "";
  anvil.stdout.on("data", (data) => {
    text += data;
    const at = /127\.0\.0\.1:(\d+)/.exec(text);
    if (at) found(at[1]);
  });
});
const ask = async (method, ...params) => {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const answer = await (await fetch(`http://127.0.0.1:${port}`, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
  return answer.result;
};
const [me] = await ask("eth_accounts");
const word = (value) => BigInt(value).toString(16).padStart(64, "0");
const data = (name, signature, ...words) => `0x${built[name].evm.methodIdentifiers[signature]}${words.map(word).join("")}`;
const send = (to, input) => ask("eth_sendTransaction", { from: me, gas: "0x500000", ...(to ? { to } : {}), data: input });
const mined = async (...hashes) => {
  await ask("evm_mine");
  const receipts = [];
  for (const hash of hashes) receipts.push(await ask("eth_getTransactionReceipt", hash));
  if (receipts.some((receipt) => receipt?.status !== "0x1")) throw new Error("a transaction failed");
  return receipts;
};
const deploy = async (name, ...words) => (await mined(await send(null, `0x${built[name].evm.bytecode.object}${words.map(word).join("")}`)))[0].contractAddress;
const e18 = 10n ** 18n;
const shown = (atoms) => `${atoms / e18}.${(atoms % e18).toString().padStart(18, "0")}`.replace(/\.?0+$/, "");

const expected = {
  OpenZeppelin: ["16.999999999999999998", false], SoladyVirtual: ["16.999999999999999998", false],
  SoladyPlain: ["17", true], Solmate: ["17", true],
};
let asFound = true;
for (const [name, [quiet, oneToOne]] of Object.entries(expected)) {
  const share = await deploy("Share");
  const vault = await deploy(name, share);
  await mined(await send(share, data("Share", "mint(address,uint256)", me, 100n * e18)), await send(share, data("Share", "approve(address,uint256)", vault, 2n ** 256n - 1n)));
  await mined(await send(vault, data(name, "deposit(uint256,address)", 10n * e18, me)));
  await mined(await send(share, data("Share", "mint(address,uint256)", vault, 90n * e18)));
  const worth = async (block) => BigInt(await ask("eth_call", { to: vault, data: data(name, "convertToAssets(uint256)", 17n * e18 / 10n) }, block));
  const before = shown(await worth("latest"));
  // The trade, here a transfer, and then the redemption of all the rest, in one block.
  const [trade] = await mined(
    await send(vault, data(name, "transfer(address,uint256)", me, 17n * e18 / 10n)),
    await send(vault, data(name, "redeem(uint256,address,address)", 10n * e18, me, me)),
  );
  const after = shown(await worth({ blockHash: trade.blockHash }));
  console.log(`${name.padEnd(14)} 1.7 tokens before the block: ${before.padEnd(21)} by the trade's own block: ${after}`);
  asFound &&= before === quiet && (after === "1.7") === oneToOne;
}
console.log(asFound ? "as found" : "the behaviour has changed");
anvil.kill();
process.exit(asFound ? 0 : 1);
JS
timeout 120 node look.mjs
