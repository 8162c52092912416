//! The bounds that an effect's numbers keep. A file may say anything, and a distribution takes only what lies in its domain.

use rhumb_method::Effect;

use super::Study;

#[cfg(test)]
mod tests;

/// The ends of an interval and its centre come from different sums, so that they may differ by rounding.
const ROUNDING: f64 = 1e-9;

/// Returns the first reason why no trial can have had this effect; `None` where there is none.
pub(crate) fn fault(effect: &Effect) -> Option<String> {
    let Effect { ratio, low, high, confidence, .. } = *effect;
    if !(confidence > 0.0 && confidence < 1.0) {
        return Some(format!("its confidence is {confidence}, which is not between 0 and 1"));
    }
    for (name, p) in [("p", effect.p), ("p_adjusted", effect.p_adjusted)] {
        if !(0.0..=1.0).contains(&p) {
            return Some(format!("its `{name}` is {p}, which is no probability"));
        }
    }
    let holds = |low: f64, high: f64| {
        low > 0.0
            && low <= ratio * (1.0 + ROUNDING)
            && ratio <= high * (1.0 + ROUNDING)
            && ratio.is_finite()
            && high.is_finite()
    };
    if !holds(low, high) {
        return Some(format!("its ratio is {ratio} in an interval from {low} to {high}"));
    }
    if let Some(adjusted) = &effect.adjusted {
        if !holds(adjusted.low, adjusted.high) {
            let (low, high) = (adjusted.low, adjusted.high);
            return Some(format!("its ratio is {ratio} in an adjusted interval from {low} to {high}"));
        }
        if !(adjusted.confidence > 0.0 && adjusted.confidence <= 1.0) {
            return Some(format!("its adjusted interval has a confidence of {}", adjusted.confidence));
        }
    }
    let smallest = effect.smallest_detectable;
    let is_odd = |smallest: &f64| !smallest.is_finite() || *smallest < 0.0;
    smallest
        .filter(is_odd)
        .map(|smallest| format!("the smallest effect that it could have seen is {smallest}"))
}

impl Study {
    /// Returns the first comparison or control whose effect is impossible, with the reason.
    pub(crate) fn fault(&self) -> Option<String> {
        let controls = self.controls.iter().map(|control| &control.comparison);
        self.comparisons.iter().chain(controls).find_map(|one| {
            let effect = one.effect.as_ref()?;
            if one.baseline_samples.is_empty() || one.arm_samples.is_empty() {
                return Some(format!("\"{}\" has an effect without samples", one.id));
            }
            let why = fault(effect)?;
            Some(format!("the effect of \"{}\" is impossible: {why}", one.id))
        })
    }
}
