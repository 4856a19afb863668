//! The names nearest to one that nobody knows, for the words of a refusal.
//!
//! Letters are counted, meanings are not known. `strsim` counts them: it is in the lock file already, for clap suggests
//! flags with it.

/// A typing slip: so many letters are wrong, missing, too many or swapped with their neighbour.
pub(crate) const SLIP_LETTERS_MAX: usize = 2;
/// More suggestions would be a list.
const NAMED_MAX: usize = 3;

/// By how many letters two names differ; two neighbours that changed places count as one.
pub(crate) fn letters_between(one: &str, other: &str) -> usize {
    strsim::osa_distance(one, other)
}

/// Those of `known` that a slip of at most `letters_max` letters makes of `name`; the nearest first, three at most.
pub(crate) fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    letters_max: usize,
) -> Vec<&'a str> {
    let distances = known.into_iter().map(|other| (letters_between(name, other), other));
    let mut near: Vec<(usize, &str)> = distances.filter(|(letters, _)| *letters <= letters_max).collect();
    near.sort_unstable();
    near.into_iter().take(NAMED_MAX).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_far_ones_not_at_all() {
        let known = ["AAPL", "TSLA", "TSM", "NVDA", "TSL"];
        assert_eq!(nearest("TSLAA", known, 2), ["TSLA", "TSL"]);
        assert_eq!(nearest("TLSA", known, 1), ["TSLA"], "swapped neighbours are one slip");
        assert_eq!(nearest("MSFT", known, 2), Vec::<&str>::new());
        assert_eq!(nearest("A", ["B", "C", "D", "E"], 1), ["B", "C", "D"]);
    }
}
