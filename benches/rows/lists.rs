//! The reading verbs over 100,000 fills and as many hedges.

use super::Size;
use crate::bot::{World, read_whole};
use crate::measure::{Row, Samples, Unit, timed};

/// Each verb with `--json`; the floor is reading the ledger's file.
pub(crate) fn lists(size: Size) -> Vec<Row> {
    let fills = 100_000 / size.divisor;
    let world = World::with_fills(fills);
    ["fills", "hedges", "positions"]
        .into_iter()
        .map(|verb| {
            let ours = Samples::repeat(size.runs, || timed(|| world.says(&[verb, "--json"])).0);
            let floor = Samples::repeat(size.runs, || timed(|| read_whole(&world.ledger())).0);
            Row {
                what: format!("`bot {verb} --json`, {fills} fills"),
                unit: Unit::Micros,
                ours,
                floor: (floor, "reading the file"),
            }
        })
        .collect()
}
