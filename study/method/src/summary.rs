//! Medians and quantiles of samples.

/// Returns the quantile `q` (0 to 1) of `sorted`, interpolated linearly between neighbours; `None` of nothing.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = sorted.get(below + 1).copied().unwrap_or(sorted[below]);
    Some(sorted[below] + (above - sorted[below]) * (place - below as f64))
}

/// Returns the median of `values`, which need no order; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// Returns the pseudo-median of Hodges and Lehmann (1963): the median of the means of all pairs; `None` of nothing.
///
/// Cost: the square of the number of values.
pub fn pseudo_median(values: &[f64]) -> Option<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, one) in values.iter().enumerate() {
        means.extend(values[index..].iter().map(|other| (one + other) / 2.0));
    }
    median(&means)
}
