//! How samples become parts of a study.

use rhumb_method::{Compared, adjust, median, median_interval};

use super::{Point, Study};

impl Study {
    /// Adjusts the effects of all comparisons for their number. Each experiment calls this once, when all of its
    /// comparisons are measured. The controls are not among them.
    pub fn adjust(&mut self) {
        let mut compared: Vec<Compared<'_>> = Vec::new();
        for comparison in &mut self.comparisons {
            if let Some(effect) = &mut comparison.effect {
                let (baseline, arm) = (&comparison.baseline_samples, &comparison.arm_samples);
                compared.push(Compared { baseline, arm, effect });
            }
        }
        adjust(&mut compared);
    }
}

impl Point {
    /// Makes a point of the median of `samples` and its interval; of the whole range of the samples where they are too
    /// few for an interval. `None` of no samples.
    pub fn of(x: f64, samples: &[f64], confidence: f64) -> Option<Self> {
        let y = median(samples)?;
        let (low, high) = match median_interval(samples, confidence) {
            Some(interval) => (interval.low, interval.high),
            None => samples.iter().fold((y, y), |(low, high), sample| (low.min(*sample), high.max(*sample))),
        };
        Some(Self { x, y, low, high })
    }
}
