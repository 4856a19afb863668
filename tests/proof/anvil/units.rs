//! What a token is worth, from contracts of the libraries that real tokens are made of, on a real EVM node
//! (`protocol.md` 1.8). The bot learns nothing but addresses and tickers.

use alloy::primitives::{Address, U256};
use alloy::sol_types::{SolCall, SolValue};
use counterfill::sim::logs::{Asset, Leg};
use serde_json::Value;

use super::bot::Bot;
use super::node::{Node, text};
use super::until;
use super::world::{ALICE, ATOMS, Act, V5, World};

alloy::sol! {
    function mint(address to, uint256 amount) external;
    function approve(address spender, uint256 amount) external returns (bool);
    function deposit(uint256 assets, address receiver) external returns (uint256);
    function depositFor(address account, uint256 value) external returns (bool);
    function redeem(uint256 shares, address receiver, address owner) external returns (uint256);
    function setUIMultiplier(uint256 next, uint256 at) external;
}

/// Tokens that a vault has issued, and shares that it holds for them: ten each.
const TOKENS: i128 = 10 * ATOMS;
const SHARES: i128 = 100 * ATOMS;

fn units(atoms: i128) -> U256 {
    U256::from(atoms.unsigned_abs())
}

fn me(node: &Node) -> Address {
    text(&node.ask("eth_accounts", serde_json::json!([]))[0]).parse().unwrap()
}

fn does(node: &Node, contract: Address, call: &impl SolCall) {
    let hash = node.send(0, Some(contract), &call.abi_encode());
    node.mine();
    assert!(node.receipt(&hash).is_some());
}

fn share(node: &Node, symbol: &str) -> Address {
    node.deploy_of("Vaults", "Share", &(symbol.to_owned(), U256::from(18)).abi_encode_params())
}

/// A vault of that make over `asset`, in which one token is ten of it: ten deposited, ninety given.
fn vault(node: &Node, make: &str, asset: Address, arguments: &[u8]) -> Address {
    let vault = node.deploy_of("Vaults", make, arguments);
    does(node, asset, &mintCall { to: me(node), amount: units(SHARES) });
    does(node, asset, &approveCall { spender: vault, amount: U256::MAX });
    does(node, vault, &depositCall { assets: units(TOKENS), receiver: me(node) });
    does(node, asset, &mintCall { to: vault, amount: units(SHARES - TOKENS) });
    vault
}

fn over(asset: Address) -> Vec<u8> {
    asset.abi_encode()
}

/// The owner's order gives 1.7 of the token for dollars.
fn sells(world: &World, token: Address) -> Act {
    let leg = Leg {
        owner: ALICE,
        input: world.cash,
        input_atoms: 170 * ATOMS,
        output: Asset::new(token, 18),
        output_atoms: 17 * ATOMS / 10,
    };
    let book = world.books[V5];
    let logs = book.take(&leg).into_iter().filter(|log| log.address == book.address).collect();
    Act { book: V5, logs, fills: Vec::new() }
}

/// The fill of `ticker`, and how many shares were bought back for it.
fn hedged(bot: &Bot, ticker: &str) -> Result<(String, String), String> {
    let of = |rows: Vec<Value>| rows.into_iter().find(|row| row["symbol"] == ticker);
    let fill = of(bot.read("fills")).ok_or("no fill")?;
    let hedge = of(bot.read("hedges")).filter(|hedge| hedge["state"] == "Filled").ok_or("no hedge")?;
    Ok((text(&fill["shares"]), text(&hedge["executed"])))
}

#[test]
fn every_make_of_token_is_worth_what_its_contract_says() {
    let mut world = World::new();
    let node = &world.node;
    let asset = |symbol: &str| share(node, symbol);
    let (four, five, plain_solady, solady, solmate) =
        (asset("A"), asset("B"), asset("C"), asset("D"), asset("E"));
    let multiplied = node.deploy_of("Vaults", "Multiplied", &("M".to_owned(),).abi_encode_params());
    does(node, multiplied, &setUIMultiplierCall { next: units(4 * ATOMS), at: U256::ZERO });
    let short_named = node.deploy_of("Vaults", "ShortNamed", &("B20".to_owned(),).abi_encode_params());
    let wrapped = asset("W");
    let wrapper = node.deploy_of("Vaults", "Wrapper", &over(wrapped));
    does(node, wrapped, &mintCall { to: me(node), amount: units(TOKENS) });
    does(node, wrapped, &approveCall { spender: wrapper, amount: U256::MAX });
    does(node, wrapper, &depositForCall { account: me(node), value: units(TOKENS) });
    // OpenZeppelin's and solady's virtual shares leave a vault one unit short; the lot is full all the same.
    let rows = [
        ("OZFOUR", vault(node, "VaultOz4", four, &over(four)), "16.999999999999999998", "17"),
        ("OZFIVE", vault(node, "VaultOz5", five, &over(five)), "16.999999999999999998", "17"),
        (
            "SOLADY",
            vault(node, "VaultSolady", solady, &(solady, true).abi_encode_params()),
            "16.999999999999999998",
            "17",
        ),
        (
            "SOLPLAIN",
            vault(node, "VaultSolady", plain_solady, &(plain_solady, false).abi_encode_params()),
            "17",
            "17",
        ),
        ("SOLMATE", vault(node, "VaultSolmate", solmate, &over(solmate)), "17", "17"),
        ("MULTI", multiplied, "6.8", "6"),
        ("SHORT", short_named, "6.8", "6"),
        ("WRAP", wrapper, "1.7", "1"),
        ("NEST", vault(node, "VaultSolmate", multiplied, &over(multiplied)), "68", "68"),
    ];
    let mut bot = Bot::of(&world);
    let listed: Vec<String> = rows.iter().map(|(ticker, token, ..)| format!("{ticker}={token}")).collect();
    bot.set("EQUITIES", listed.join(","));
    bot.set("DEPLOYMENT_BLOCK", world.node.head().0 + 1);
    bot.start();
    bot.settled(&world);
    for (_, token, ..) in &rows {
        let act = sells(&world, *token);
        world.emit_one(act);
    }
    bot.settled(&world);
    for (ticker, _, shares, executed) in rows {
        let found = until(ticker, || hedged(&bot, ticker));
        assert_eq!(found, (shares.to_owned(), executed.to_owned()), "{ticker}");
    }
    let told = bot.read("tokens");
    let worth = |ticker: &str| told.iter().find(|row| row["ticker"] == ticker).unwrap()["shares"].clone();
    assert_eq!((worth("SOLMATE"), worth("MULTI"), worth("NEST")), ("10".into(), "4".into(), "40".into()));
    let nest = bot.read("fills").into_iter().find(|fill| fill["symbol"] == "NEST").unwrap();
    let unit = bot.read(&format!("trace {}", text(&nest["tx_hash"])))[0]["fills"][0]["unit"].clone();
    let kept = ["amount", "assets", "multiplier"].map(|name| text(&unit[name]));
    let atoms = |tenths: i128| (tenths * ATOMS / 10).to_string();
    assert_eq!(kept, [atoms(17), atoms(170), atoms(40)], "{unit}");
    // Another start knows all of it, what a lot may lack too, and orders nothing more.
    let hedges = bot.read("hedges").len();
    bot.stop();
    bot.start();
    bot.settled(&world);
    assert_eq!(bot.read("hedges").len(), hedges);
    bot.stop();
}

/// The state by a block's hash is the one after its last transaction: a vault that is emptied after the trade says one to
/// one there.
#[test]
fn a_vault_that_is_emptied_in_the_fills_own_block_is_worth_what_it_was() {
    let mut world = World::new();
    let node = &world.node;
    let (first, second) = (share(node, "A"), share(node, "B"));
    let vaults = [
        ("SOLMATE", vault(node, "VaultSolmate", first, &over(first))),
        ("SOLPLAIN", vault(node, "VaultSolady", second, &(second, false).abi_encode_params())),
    ];
    let mut bot = Bot::of(&world);
    bot.set("EQUITIES", vaults.map(|(ticker, token)| format!("{ticker}={token}")).join(","));
    bot.set("DEPLOYMENT_BLOCK", world.node.head().0 + 1);
    bot.start();
    bot.settled(&world);
    for (ticker, token) in vaults {
        let owner = me(&world.node);
        let redeem = redeemCall { shares: units(TOKENS), receiver: owner, owner };
        let act = sells(&world, token);
        world.pool(&[vec![act]]);
        let hash = world.node.send(0, Some(token), &redeem.abi_encode());
        world.node.mine();
        assert!(world.node.receipt(&hash).is_some(), "in the same block");
        let found = until(ticker, || hedged(&bot, ticker));
        assert_eq!(found, ("17".to_owned(), "17".to_owned()), "{ticker}");
    }
    bot.stop();
}

/// A gift after the trade, in its block, makes the state say ten times as much: counted so, and the ticker halts.
#[test]
fn a_ratio_that_jumps_in_the_fills_own_block_halts_its_ticker() {
    let mut world = World::new();
    let asset = share(&world.node, "A");
    let token = vault(&world.node, "VaultSolmate", asset, &over(asset));
    let mut bot = Bot::of(&world);
    bot.set("EQUITIES", format!("SOLMATE={token}"));
    bot.set("DEPLOYMENT_BLOCK", world.node.head().0 + 1);
    bot.start();
    bot.settled(&world);
    let act = sells(&world, token);
    world.pool(&[vec![act]]);
    let gift = mintCall { to: token, amount: units(SHARES) };
    world.node.send(0, Some(asset), &gift.abi_encode());
    world.node.mine();
    let status = bot.until("a halt", |status| {
        status["engine"]["halts"].as_array().is_some_and(|halts| !halts.is_empty())
    });
    let halt = &status["engine"]["halts"][0];
    assert_eq!((&halt["symbol"], &halt["kind"]), (&"SOLMATE".into(), &"unit".into()), "{halt}");
    assert_eq!(text(&bot.read("fills")[0]["shares"]), "34");
    assert!(bot.read("hedges").is_empty(), "nothing is sent before a person has looked");
    bot.stop();
}

/// ERC-8056: a new multiplier is announced, and is in force from a moment on, without an event.
#[test]
fn a_multiplier_counts_from_its_moment_on_and_is_told_before() {
    let mut world = World::new();
    let token = world.node.deploy_of("Vaults", "Multiplied", &("M".to_owned(),).abi_encode_params());
    let mut bot = Bot::of(&world);
    bot.set("EQUITIES", format!("MULTI={token}"));
    bot.set("DEPLOYMENT_BLOCK", world.node.head().0 + 1);
    bot.start();
    bot.settled(&world);
    let act = sells(&world, token);
    world.emit_one(act);
    bot.settled(&world);
    assert_eq!(hedged(&bot, "MULTI"), Ok(("1.7".to_owned(), "1".to_owned())));
    let now = super::node::number(
        &world.node.ask("eth_getBlockByNumber", serde_json::json!(["latest", false]))["timestamp"],
    );
    let at = now + 3_600;
    does(&world.node, token, &setUIMultiplierCall { next: units(10 * ATOMS), at: U256::from(at) });
    let rows = bot.read("tokens");
    assert_eq!(rows[0]["shares"], "1");
    assert!(text(&rows[0]["note"]).contains("becomes 10000000000000000000 at"), "{}", rows[0]);
    world.node.ask("evm_setNextBlockTimestamp", serde_json::json!([at]));
    let act = sells(&world, token);
    world.emit_one(act);
    bot.settled(&world);
    let shares: Vec<String> = bot.read("fills").iter().map(|fill| text(&fill["shares"])).collect();
    assert_eq!(shares, ["1.7", "17"]);
    bot.stop();
}
