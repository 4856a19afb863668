//! A double as a process of its own: `broker-doubles alpaca|schwab [--port N] [--ca FILE]`.
//!
//! Prints one line, `ready URL`, and serves until it is killed. With `--ca` it speaks TLS, and the file is what a client
//! is to trust (`SSL_CERT_FILE`).

use std::process::ExitCode;

use broker_doubles::alpaca::AlpacaDouble;
use broker_doubles::schwab::SchwabDouble;
use broker_doubles::tls::Authority;

const USAGE: &str = "usage: broker-doubles alpaca|schwab [--port N] [--ca FILE]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::from(64)
        }
    }
}

fn run() -> Result<(), String> {
    let mut words = std::env::args().skip(1);
    let broker = words.next().filter(|word| ["alpaca", "schwab"].contains(&word.as_str())).ok_or(USAGE)?;
    let (mut port, mut ca) = (0, None);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--port" => port = value.parse().map_err(|_| USAGE)?,
            "--ca" => ca = Some(value),
            _ => return Err(USAGE.into()),
        }
    }
    let authority = ca.as_ref().map(|_| Authority::new());
    if let (Some(path), Some(authority)) = (&ca, &authority) {
        std::fs::write(path, &authority.pem).map_err(|error| format!("{path}: {error}"))?;
    }
    let failed = |error: std::io::Error| error.to_string();
    if broker == "alpaca" {
        let double = AlpacaDouble::start_on(port, authority.as_ref()).map_err(failed)?;
        serve(&double.url())
    } else {
        let double = SchwabDouble::start_on(port, authority.as_ref()).map_err(failed)?;
        serve(&double.url())
    }
}

/// Until it is killed.
fn serve(url: &str) -> ! {
    println!("ready {url}");
    loop {
        std::thread::park();
    }
}
