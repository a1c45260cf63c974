//! Whether checks contradict each other so often that each step is not worth telling people of.

/// Of how many of the newest results.
const RESULTS: u32 = 21;
/// Of the 20 changes that there can be between them, so many begin it: 30 %.
const ON: u32 = 6;
/// And so many end it: 20 %. Between the two it stays as it is.
const OFF: u32 = 4;

/// The newest results, one bit each, and what has been made of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Flapping {
    bad: u32,
    results: u8,
    on: bool,
}

impl Flapping {
    pub(super) fn push(&mut self, bad: bool) {
        self.bad = (self.bad << 1 | u32::from(bad)) & mask(RESULTS);
        self.results = (self.results + 1).min(RESULTS as u8);
        let changes = ((self.bad ^ self.bad >> 1) & mask(u32::from(self.results) - 1)).count_ones();
        self.on = if self.on { changes > OFF } else { changes >= ON };
    }

    pub(super) const fn is_on(self) -> bool {
        self.on
    }
}

const fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(results: impl IntoIterator<Item = bool>) -> Flapping {
        let mut flapping = Flapping::default();
        results.into_iter().for_each(|bad| flapping.push(bad));
        flapping
    }

    #[test]
    fn six_changes_in_21_results_begin_it_and_four_end_it() {
        let after = |changes: usize| of((0..=changes).map(|number| number % 2 == 1));
        assert!(!after(5).is_on());
        assert!(after(6).is_on());
        // Good ones push the changes out one by one.
        let mut flapping = after(6);
        let good = (0..).find(|_| {
            flapping.push(false);
            !flapping.is_on()
        });
        // Seven results, and 14 good ones more, fill the window; the first change leaves with the next, and two have to.
        assert_eq!(good, Some(15));
    }

    #[test]
    fn a_target_that_is_bad_for_long_does_not_flap() {
        assert!(!of((0..1_000).map(|number| number % 100 < 50)).is_on());
    }

    #[test]
    fn it_equals_a_list() {
        let mut seed = 7_u32;
        let (mut list, mut flapping, mut on) = (Vec::new(), Flapping::default(), false);
        for round in 0..10_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bad = seed >> 24 < if round / 100 % 2 == 0 { 128 } else { 10 };
            list.push(bad);
            flapping.push(bad);
            let newest = &list[list.len().saturating_sub(21)..];
            let changes = newest.windows(2).filter(|pair| pair[0] != pair[1]).count();
            on = changes * 100 >= 30 * 20 || on && changes * 100 > 20 * 20;
            assert_eq!(flapping.is_on(), on, "{newest:?}");
        }
    }
}
