//! What keeps this crate pure is two lists, and this fails where one of them is loosened: the dependencies in
//! Cargo.toml, none of which does IO, and what clippy.toml forbids of the standard library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

const MANIFEST: &str = include_str!("../Cargo.toml");
const CLIPPY: &str = include_str!("../clippy.toml");
const ROOT: &str = include_str!("../../../Cargo.toml");
const UNITS: &str = include_str!("../src/units.rs");

/// The lines of a table of a TOML file, without comments and empty ones.
fn table<'a>(toml: &'a str, name: &str) -> Vec<&'a str> {
    let heading = format!("[{name}]");
    toml.lines()
        .map(str::trim)
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn nothing_here_depends_on_io() {
    // alloy-core is numbers and the decoding of events: no node, no socket. jiff is the calendar of market_hours.
    assert_eq!(
        table(MANIFEST, "dependencies"),
        [
            r#"alloy = { package = "alloy-core", version = "1", default-features = false, features = ["std", "serde", "sol-types"] }"#,
            r#"jiff = { version = "0.2", default-features = false, features = ["std", "static"] }"#,
            r#"serde = { version = "1", features = ["derive"] }"#,
            r#"thiserror = "2""#,
        ],
    );
    let tables: Vec<&str> = MANIFEST.lines().filter(|line| line.starts_with('[')).collect();
    let known = ["[package]", "[dependencies]", "[dev-dependencies]", "[features]", "[lints]", "[[bench]]"];
    assert_eq!(
        tables, known,
        "dependencies can stand in no other table, such as one for a platform or for build.rs"
    );
    assert_eq!(table(MANIFEST, "features"), ["mutants = []"], "a feature could bring a dependency in");
    let core: Vec<&str> =
        table(ROOT, "dependencies").into_iter().filter(|line| line.starts_with("counterfill-core")).collect();
    assert_eq!(core, [r#"counterfill-core = { path = "crates/core" }"#], "no program is built to be broken");
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
    #[expect(clippy::disallowed_methods, reason = "a test may look")]
    let exists = std::path::Path::new(build).exists();
    assert!(!exists, "a build script does IO");
}

#[test]
fn clippy_forbids_every_door() {
    for path in FORBIDDEN {
        assert!(CLIPPY.contains(&format!("{{ path = \"{path}\", ")), "clippy.toml forbids {path} no more");
    }
    let listed = CLIPPY.lines().filter(|line| line.trim_start().starts_with("{ path = ")).count();
    assert_eq!(listed, FORBIDDEN.len(), "what clippy.toml forbids is named here too");
    assert_eq!(table(MANIFEST, "lints"), ["workspace = true"]);
    let lints = table(ROOT, "workspace.lints.clippy");
    for lint in ["disallowed_methods", "disallowed_types", "float_arithmetic", "unwrap_used", "panic"] {
        assert!(lints.contains(&format!("{lint} = \"deny\"").as_str()), "{lint} is denied no more");
    }
    assert!(table(ROOT, "workspace.lints.rust").contains(&"unsafe_code = \"forbid\""));
}

/// One method of `Millis` reads the clock, for those who do IO; one test calls it.
#[test]
fn nothing_is_excepted_but_the_one_clock() {
    let excepted = |text: &str| text.matches("clippy::disallowed_").count();
    assert_eq!(excepted(UNITS), 2);
    let sources = sources(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref());
    assert!(sources.len() > 20, "the sources were found: {}", sources.len());
    assert_eq!(sources.iter().map(|text| excepted(text)).sum::<usize>(), excepted(UNITS));
}

#[expect(clippy::disallowed_methods, reason = "a test may read")]
fn sources(folder: &std::path::Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    texts
}

/// Everything that clippy.toml forbids.
const FORBIDDEN: [&str; 77] = [
    "f64",
    "f32",
    "std::fs::File",
    "std::fs::OpenOptions",
    "std::fs::DirBuilder",
    "std::fs::ReadDir",
    "std::fs::DirEntry",
    "std::fs::Metadata",
    "std::io::Stdin",
    "std::io::Stdout",
    "std::io::Stderr",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::process::Command",
    "std::process::Child",
    "std::thread::Builder",
    "std::thread::JoinHandle",
    "std::thread::Thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::hash::RandomState",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::fs::canonicalize",
    "std::fs::copy",
    "std::fs::create_dir",
    "std::fs::create_dir_all",
    "std::fs::exists",
    "std::fs::hard_link",
    "std::fs::metadata",
    "std::fs::read",
    "std::fs::read_dir",
    "std::fs::read_link",
    "std::fs::read_to_string",
    "std::fs::remove_dir",
    "std::fs::remove_dir_all",
    "std::fs::remove_file",
    "std::fs::rename",
    "std::fs::set_permissions",
    "std::fs::symlink_metadata",
    "std::fs::write",
    "std::path::Path::canonicalize",
    "std::path::Path::exists",
    "std::path::Path::is_dir",
    "std::path::Path::is_file",
    "std::path::Path::metadata",
    "std::path::Path::read_dir",
    "std::net::ToSocketAddrs::to_socket_addrs",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::env::args",
    "std::env::args_os",
    "std::env::current_dir",
    "std::env::current_exe",
    "std::env::temp_dir",
    "std::env::var",
    "std::env::var_os",
    "std::env::vars",
    "std::env::vars_os",
    "std::process::abort",
    "std::process::exit",
    "std::process::id",
    "std::thread::park",
    "std::thread::scope",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::thread::yield_now",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "jiff::tz::TimeZone::get",
    "jiff::tz::TimeZone::system",
    "jiff::tz::TimeZone::try_system",
    "counterfill_core::units::Millis::now",
];
