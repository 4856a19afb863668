//! What the lock file may hold: one TLS provider (two panic at the first `wss://`), and fewer crates than the
//! 389 of an earlier bot that did the same job.

use std::collections::BTreeSet;
use std::process::Command;

/// Crates in the normal Linux tree of that earlier bot's last commit, the workspace included.
const PREDECESSOR_CRATES: usize = 389;

fn locked(name: &str) -> usize {
    let lock = include_str!("../../Cargo.lock");
    lock.lines().filter(|line| *line == format!("name = \"{name}\"")).count()
}

#[test]
fn ring_is_the_only_rustls_provider() {
    assert_eq!(locked("rustls"), 1, "one rustls");
    assert_eq!(locked("ring"), 1, "one ring");
    for other in [
        "aws-lc-rs",
        "aws-lc-sys",
        "aws-lc-fips-sys",
        "rustls-openssl",
        "rustls-graviola",
        "rustls-symcrypt",
        "rustls-mbedcrypto-provider",
        "rustls-rustcrypto",
        "boring",
        "openssl-sys",
        "native-tls",
    ] {
        assert_eq!(locked(other), 0, "{other} is a second TLS provider");
    }
}

#[test]
fn the_tree_is_smaller_than_the_predecessors() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    assert!(crates.len() > 100, "the tree was read: {}", crates.len());
    assert!(crates.len() < PREDECESSOR_CRATES, "{} crates", crates.len());
    println!("{} crates in the normal Linux tree; the earlier bot had {PREDECESSOR_CRATES}", crates.len());
}
