//! The points themselves: named once, and absent from what is shipped.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use counterfill::crash::{Batch, Point};

#[test]
fn names_and_numbers_are_unique() {
    let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names.len(), Point::ALL.len());
    assert!(Point::ALL.iter().all(|point| !point.meaning().is_empty()));
    assert!(Point::ALL.len() >= 60, "{}", Point::ALL.len());
    assert_eq!((Batch::Sent.written(), Batch::Sent.done()), (Point::SentWritten, Point::SentDone));
}

/// The module stands alone, so that it can be compiled here as the shipped program is, in a second: nothing of the
/// socket, the variable or a name is in it. The same with `debug_assertions` shows that this would be seen.
#[test]
fn an_optimised_build_holds_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/ledger/src/crash.rs");
    let main = dir.path().join("main.rs");
    let body =
        "fn main() { crash::point(crash::Point::PlaceBefore); crash::at(|| crash::Batch::Sent.done()); }";
    fs::write(&main, format!("#[allow(dead_code)] #[path = {module:?}] mod crash;\n{body}\n")).unwrap();
    let compiled = |name: &str, debug_assertions: &str| {
        let out = dir.path().join(name);
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--edition=2024", "-Copt-level=z", "-Cstrip=symbols", "-o"]).arg(&out).arg(&main);
        let done = command.arg(format!("-Cdebug-assertions={debug_assertions}")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let bytes = fs::read(out).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        [holds("COUNTERFILL_CRASH_SOCKET"), holds("broker.place.before")]
    };
    assert_eq!(compiled("shipped", "off"), [false, false]);
    assert_eq!(compiled("tested", "on"), [true, true]);
    // And nothing turns them on in the profile that is shipped.
    let manifest = include_str!("../../../Cargo.toml");
    assert!(!manifest.contains("debug-assertions"), "the release profile must not have debug assertions");
}
