//! Tells the program which compiler made it, for `bot version`. Nothing else: a revision compiled in would rebuild
//! everything with every commit (see src/version.rs for how it is stamped).

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=COUNTERFILL_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
