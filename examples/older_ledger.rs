//! A ledger's schema as an earlier version of the program made it, for the test of the image that migrates one.
//!
//! Without arguments prints the schemas there are, oldest first; with `FILE VERSION` makes an empty database of that
//! schema, its history included. It writes no stamp and no row: the test copies those from a ledger that was used.

use std::error::Error;

use counterfill::ledger::migrations;
use refinery::Runner;
use rusqlite::Connection;

fn main() -> Result<(), Box<dyn Error>> {
    let all = migrations()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, version] = arguments.as_slice() else {
        let versions: Vec<String> = all.iter().map(|migration| migration.version().to_string()).collect();
        println!("{}", versions.join(" "));
        return Ok(());
    };
    let version = version.parse()?;
    let older: Vec<_> = all.into_iter().filter(|migration| migration.version() <= version).collect();
    Runner::new(&older).run(&mut Connection::open(file)?)?;
    Ok(())
}
