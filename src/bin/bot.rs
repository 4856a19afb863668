//! `bot`: install the TLS provider, hand over the command line, end with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // An error says that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(counterfill::cli::main(std::env::args_os()))
}
