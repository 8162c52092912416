//! Many comparisons at once: each of them may raise a false alarm, so their p-values are adjusted together.

/// Returns the p-values adjusted as Holm (1979) does, in the order of `p`.
///
/// The chance of at least one false alarm among all comparisons stays below the level at which the adjusted values are
/// read.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&one, &other| p[one].total_cmp(&p[other]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        largest = largest.max(p[index] * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}
