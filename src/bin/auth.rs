//! `auth`: the same program as `bot auth`, whatever its file is called.

use std::process::ExitCode;

fn main() -> ExitCode {
    // An error says that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = std::env::args_os().skip(1);
    ExitCode::from(counterfill::cli::main(std::iter::once("auth".into()).chain(args)))
}
