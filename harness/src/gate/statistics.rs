//! Paired differences: how large they are, and whether chance alone explains them. Exact, without assuming a distribution.

/// Level of the intervals.
pub const CONFIDENCE: f64 = 0.95;

/// An estimate and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Lower end.
    pub low: f64,
    /// Best guess.
    pub middle: f64,
    /// Upper end.
    pub high: f64,
}

/// The Hodges-Lehmann estimate: the median of the means of all pairs of values, each with itself included (Walsh averages).
/// One wild value moves it hardly more than it moves a median, and it wastes hardly more than a mean. The interval is that
/// of Wilcoxon's signed-rank test; infinite below six values, of which no such interval has this level.
pub fn hodges_lehmann(differences: &[f64]) -> Estimate {
    let mut means = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (at, a) in differences.iter().enumerate() {
        means.extend(differences[at..].iter().map(|b| f64::midpoint(*a, *b)));
    }
    means.sort_unstable_by(f64::total_cmp);
    let Some(last) = means.len().checked_sub(1) else {
        return Estimate { low: f64::NEG_INFINITY, middle: 0.0, high: f64::INFINITY };
    };
    let middle = f64::midpoint(means[last / 2], means[means.len() / 2]);
    let (low, high) = match signed_rank_critical(differences.len()) {
        // As many means are left out at either end.
        Some(rare) => (means[rare], means[last - rare]),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    };
    Estimate { low, middle, high }
}

/// The largest sum of signed ranks of `n` values that chance does not exceed in at most (1 − [`CONFIDENCE`]) / 2 of cases.
/// `None` when even a sum of zero is not so rare.
fn signed_rank_critical(n: usize) -> Option<usize> {
    // How many of the 2^n choices of signs give each sum.
    let mut ways = vec![0.0_f64; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let rare = (1.0 - CONFIDENCE) / 2.0 * ways.iter().sum::<f64>();
    let mut so_far = 0.0;
    let too_common = ways.iter().position(|ways| {
        so_far += ways;
        so_far > rare
    });
    too_common?.checked_sub(1)
}

/// The exact one-sided sign-flip test: of all 2^n choices of signs, the share whose sum is at least the one seen. If the two
/// builds are alike, every choice was as likely.
///
/// The sums of each half are listed and matched, so that 24 values take two lists of 4,096 and not 16 million sums.
pub fn sign_flip_p(differences: &[f64]) -> f64 {
    let (left, right) = differences.split_at(differences.len() / 2);
    let (mut left, mut right) = (signed_sums(left), signed_sums(right));
    left.sort_unstable_by(f64::total_cmp);
    right.sort_unstable_by(f64::total_cmp);
    // Sums that are equal but for rounding count as equal.
    let tolerance = 1e-12 * differences.iter().map(|it| it.abs()).sum::<f64>();
    let seen = differences.iter().sum::<f64>() - tolerance;
    // As the left grows, ever more of the right reaches the sum.
    let (mut at_least, mut from) = (0_usize, right.len());
    for sum in &left {
        while from > 0 && sum + right[from - 1] >= seen {
            from -= 1;
        }
        at_least += right.len() - from;
    }
    at_least as f64 / (left.len() * right.len()) as f64
}

fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums = sums.iter().flat_map(|sum| [sum + value, sum - value]).collect();
    }
    sums
}

/// Holm's procedure: which of several tests may reject at level `alpha` in all.
pub fn holm(p: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut rejected = vec![false; p.len()];
    for (nth, test) in order.into_iter().enumerate() {
        if p[test] > alpha / (p.len() - nth) as f64 {
            break;
        }
        rejected[test] = true;
    }
    rejected
}

/// Standard deviation of a sample; zero below two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Values that it takes to exclude a difference of `to_exclude` in 95 of 100 cases when there is none, at their standard
/// deviation: (z of 97.5 % + z of 95 %)² s² / δ².
pub fn values_needed(deviation: f64, to_exclude: f64) -> u32 {
    const Z_SUM: f64 = 1.960 + 1.645;
    let needed = (Z_SUM * deviation / to_exclude).powi(2).ceil();
    // A float beyond the range becomes its end.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is no negative"
    )]
    let needed = needed as u32;
    needed.max(SMALLEST_SAMPLE)
}

/// Fewest values that have an interval.
pub const SMALLEST_SAMPLE: u32 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_estimate_is_the_median_of_the_walsh_averages() {
        // Of 1, 2, 4: 1, 1.5, 2, 2.5, 3, 4.
        assert_eq!(hodges_lehmann(&[4.0, 1.0, 2.0]).middle, 2.25);
        assert_eq!(hodges_lehmann(&[3.0]).middle, 3.0);
        assert_eq!(hodges_lehmann(&[]).middle, 0.0);
    }

    #[test]
    fn the_interval_is_that_of_the_tables_of_the_signed_rank_test() {
        let tables = [(5, None), (6, Some(0)), (7, Some(2)), (10, Some(8)), (12, Some(13)), (24, Some(81))];
        for (n, critical) in tables {
            assert_eq!(signed_rank_critical(n), critical, "{n}");
        }
        let six = hodges_lehmann(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((six.low, six.middle, six.high), (1.0, 3.5, 6.0));
    }

    #[test]
    fn the_test_counts_the_choices_of_signs() {
        assert_eq!(sign_flip_p(&[1.0, 2.0, 3.0]), 1.0 / 8.0);
        // |1| |2| |1|: sums 4, 2, 2, 0, 0, -2, -2, -4; seen 2.
        assert_eq!(sign_flip_p(&[1.0, 2.0, -1.0]), 3.0 / 8.0);
        assert_eq!(sign_flip_p(&[-1.0, -2.0, -3.0]), 1.0);
        assert_eq!(sign_flip_p(&[]), 1.0);
        assert_eq!(sign_flip_p(&[0.1; 12]), 1.0 / 4_096.0);
        assert_eq!(sign_flip_p(&[0.1; 24]), 1.0 / 16_777_216.0);
    }

    #[test]
    fn holm_stops_at_the_first_that_holds() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005], 0.05), [true, false, false, true]);
        assert_eq!(holm(&[0.04, 0.02], 0.05), [true, true]);
        assert_eq!(holm(&[0.03, 0.03], 0.05), [false, false]);
    }

    #[test]
    fn the_number_of_values_needed_grows_with_the_square_of_the_noise() {
        assert_eq!(deviation(&[1.0, 2.0, 3.0, 4.0]), (5.0_f64 / 3.0).sqrt());
        assert_eq!(values_needed(0.10, 0.10), 13);
        assert_eq!(values_needed(0.20, 0.10), 52);
        assert_eq!(values_needed(0.0, 0.10), SMALLEST_SAMPLE);
    }

    fn differences(most: usize) -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-1_000_i32..1_000).prop_map(|it| f64::from(it) / 1_000.0), 1..most)
    }

    proptest! {
        #[test]
        fn the_matched_halves_count_as_plain_enumeration_does(values in differences(11)) {
            let seen = values.iter().sum::<f64>();
            let choices = 1_u32 << values.len();
            let at_least = (0..choices).filter(|choice| {
                let flip = |(at, value): (usize, &f64)| if choice >> at & 1 == 1 { -value } else { *value };
                values.iter().enumerate().map(flip).sum::<f64>() >= seen - 1e-9
            });
            prop_assert_eq!(sign_flip_p(&values), at_least.count() as f64 / f64::from(choices));
        }

        #[test]
        fn an_estimate_moves_with_its_values_and_lies_in_its_interval(values in differences(25), by in -1.0_f64..1.0) {
            let here = hodges_lehmann(&values);
            prop_assert!(here.low <= here.middle && here.middle <= here.high);
            let moved: Vec<f64> = values.iter().map(|value| value + by).collect();
            prop_assert!((hodges_lehmann(&moved).middle - here.middle - by).abs() < 1e-9);
            let turned: Vec<f64> = values.iter().map(|value| -value).collect();
            prop_assert!((hodges_lehmann(&turned).middle + here.middle).abs() < 1e-9);
        }

        #[test]
        fn the_order_of_values_changes_nothing(values in differences(25)) {
            let turned: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert!((sign_flip_p(&values) - sign_flip_p(&turned)).abs() < 1e-9);
            prop_assert_eq!(hodges_lehmann(&values), hodges_lehmann(&turned));
        }
    }
}
