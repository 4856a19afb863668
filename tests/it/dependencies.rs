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

/// Names and versions of what is linked into the program on Linux.
fn tree(features: &[&str]) -> BTreeSet<(String, String)> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .args(features)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let crates = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    crates.collect()
}

#[test]
fn what_is_shipped_has_no_part_of_its_proof() {
    let names = |features: &[&str]| tree(features).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    let shipped = ["--no-default-features", "--features", "node"];
    let (names_shipped, of_sources) = (names(&shipped), names(&[]));
    for proof in ["counterfill-trials", "faulty-disk", "broker-doubles", "proptest", "tempfile"] {
        assert!(!names_shipped.contains(proof), "{proof}");
    }
    assert!(names_shipped.contains("counterfill-sim"), "what is shipped has its demo");
    assert!(of_sources.contains("faulty-disk"), "a build of the sources has its trials");
    // The image's contract looks for these words in the program's bytes; where none of them is left it looks for nothing.
    let contract = include_str!("../../nix/contract.py");
    for word in ["fate: share by share", "disk: a write is torn"] {
        assert!(include_str!("../../crates/trials/src/coverage.rs").contains(word), "{word}");
        assert!(contract.contains(word), "{word}");
    }
    let package = include_str!("../../nix/package.nix");
    assert_eq!(package.matches(&shipped.join(" ")).count(), 2, "dependencies and program alike");
}

#[test]
fn the_tree_is_smaller_than_the_predecessors() {
    let crates = tree(&[]);
    assert!(crates.len() > 100, "the tree was read: {}", crates.len());
    assert!(crates.len() < PREDECESSOR_CRATES, "{} crates", crates.len());
    println!("{} crates in the normal Linux tree; the earlier bot had {PREDECESSOR_CRATES}", crates.len());
}
