//! How much of a matrix is played: a sample that says so, or all of it.
//!
//! A matrix takes minutes, and who changes one line wants to know in minutes whether anything broke. So each prints what it
//! leaves out and how to have it. The sample is the same in every run, and spread over the whole: the rows are cut into as
//! many stretches as are wanted, one is taken of each, and not always the first, so that what repeats in a matrix (four
//! moments, two signals) comes in all its kinds. This is the one place that reads the switch.

use std::io::Write as _;

/// Set to `all`, everything is played; `scripts/prove` sets it.
pub const VARIABLE: &str = "COUNTERFILL_PROVE";

/// Whether everything is played.
pub fn all() -> bool {
    match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("") => false,
        Ok("all") => true,
        Ok(other) => panic!("{VARIABLE} is {other:?}, it may be \"all\""),
    }
}

/// These rows, or `few` of them; says how many, and which word of `scripts/prove` plays them all.
pub fn of<T>(matrix: &str, what: &str, word: &str, few: usize, rows: Vec<T>) -> Vec<T> {
    let count = rows.len();
    if all() || count <= few {
        return rows;
    }
    say(matrix, &format!("{few} of {count} {what}, spread evenly"), word);
    let taken = spread(count, few);
    rows.into_iter().enumerate().filter(|(index, _)| taken.contains(index)).map(|(_, row)| row).collect()
}

/// Says what is left out, past the capture of the test harness.
pub fn say(matrix: &str, played: &str, word: &str) {
    let line = format!("\n{matrix}: {played}; scripts/prove {word} plays all\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// One of each of `few` stretches of `0..count`, at a place within that moves on by the golden section.
pub fn spread(count: usize, few: usize) -> Vec<usize> {
    let stretch = |index: usize| {
        let (from, to) = (index * count / few, (index + 1) * count / few);
        from + (to - from) * (index * 618_034 % 1_000_000) / 1_000_000
    };
    (0..few).map(stretch).collect()
}

#[test]
fn a_sample_is_spread_and_takes_every_kind() {
    for (count, few) in [(474, 40), (116, 29), (48, 12), (25, 6), (10, 9), (7, 1)] {
        let taken = spread(count, few);
        assert_eq!(taken.len(), few);
        assert!(taken.iter().all(|index| *index < count) && taken.is_sorted_by(|one, next| one < next));
        let widest = taken.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        assert!(widest <= 2 * count.div_ceil(few), "{count}, {few}: a gap of {widest}");
    }
    // One cell of each fault, and every moment of the four as often as the others, nearly.
    let moments = spread(116, 29).into_iter().map(|cell| cell % 4);
    let mut often = [0; 4];
    moments.for_each(|moment| often[moment] += 1);
    assert!(often.iter().all(|times| (6..=9).contains(times)), "{often:?}");
}
