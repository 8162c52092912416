//! From the samples of the controls to their verdicts.

use rhumb_method::{Compared, Effect, Finding, adjust};
use rhumb_study_report::ControlKind;
use rhumb_study_report::format::{change, interval};

use super::*;

#[cfg(test)]
mod tests;

/// The level at which the negative control sees an effect. It is stricter than that of the comparisons, because a control
/// that fails takes the whole study with it, and one good study in 20 would be too many.
pub const LEVEL: f64 = 0.01;

/// An effect of the same against the same up to this share is harmless: it is smaller than any that a study claims.
const HARMLESS: f64 = 0.01;

/// A negative control that could not have seen an effect of this share says nothing: it is of the size that a positive
/// control sees.
const BLIND: f64 = 0.25;

/// Judges the controls. A trial that was cancelled before it had an effect has no control.
pub(super) fn judge(measured: Measured, controls: &mut Controls) {
    let Measured { large, small, twin, stopped, bytes, confidence } = measured;
    let compared = |id: &str, baseline: (&str, &[f64]), arm: (&str, &[f64])| {
        let effect = Effect::of(baseline.1, arm.1, confidence)?;
        let comparison = Comparison {
            id: id.into(),
            family: "Controls".into(),
            workload: format!("dependent loads from {}", sized(bytes)),
            baseline: baseline.0.into(),
            arm: arm.0.into(),
            conditions: BTreeMap::new(),
            unit: "ns".into(),
            baseline_samples: baseline.1.to_vec(),
            arm_samples: arm.1.to_vec(),
            effect: Some(effect),
            stopped,
        };
        Some((comparison, effect))
    };
    let small_arm = ("4-KiB pages", &small[..]);
    let mut positive = None;
    match &large {
        Ok(large) => positive = compared("control/chase", ("2-MiB pages", large), small_arm),
        Err(fault) => controls.omissions.push(Omission {
            part: "positive control: a chase in pages of 4 KiB against pages of 2 MiB".into(),
            why: format!("No pages of 2 MiB could be had: {fault}."),
            remedy: REMEDY.into(),
        }),
    }
    let mut negative = compared("control/same", small_arm, ("4-KiB pages again", &twin));
    let both = positive.iter_mut().chain(&mut negative);
    adjust(
        &mut both
            .map(|(comparison, effect)| Compared {
                baseline: &comparison.baseline_samples,
                arm: &comparison.arm_samples,
                effect,
            })
            .collect::<Vec<_>>(),
    );
    let judged = [(ControlKind::Positive, positive), (ControlKind::Negative, negative)];
    for (kind, compared) in judged {
        let Some((mut comparison, effect)) = compared else { continue };
        comparison.effect = Some(effect);
        let (passed, verdict) = match kind {
            ControlKind::Positive => of_positive(&effect, bytes),
            ControlKind::Negative => of_negative("The same against the same", &effect),
        };
        controls.controls.push(Control { kind, comparison, passed, verdict });
    }
}

/// Tells whether the positive control saw the effect, and what follows.
fn of_positive(effect: &Effect, bytes: usize) -> (bool, String) {
    let chase = format!("A chase over {} took", sized(bytes));
    if effect.finding() == Finding::More {
        let more = 100.0 * (effect.ratio - 1.0);
        return (
            true,
            format!("{chase} {more:.0} % longer in pages of 4 KiB than in pages of 2 MiB, as it must."),
        );
    }
    let verdict = format!(
        "{chase} {} ({}) in pages of 4 KiB against pages of 2 MiB, where it must take \
         longer: this study could not see an effect of the TLB.",
        change(effect.ratio),
        shown(effect)
    );
    (false, verdict)
}

/// Tells whether a negative control saw no effect, and what follows. `subject` names the two equal things, and begins
/// the sentence: "The same against the same".
///
/// The control fails, too, if it could not have seen a large effect: a machine that is too busy proves nothing by its
/// silence.
pub fn of_negative(subject: &str, effect: &Effect) -> (bool, String) {
    let (off, interval) = (change(effect.ratio), shown(effect));
    if effect.p_adjusted <= LEVEL && (effect.ratio - 1.0).abs() > HARMLESS {
        let verdict = format!(
            "{subject} differed by {off} ({interval}): other effects of this size may come \
             from the place of the memory, or from other programs, too."
        );
        return (false, verdict);
    }
    match effect.smallest_detectable {
        Some(smallest) if smallest <= BLIND => {
            let smallest = 100.0 * smallest;
            let verdict = format!(
                "{subject} showed no effect ({off}, {interval}), as it must; one of \
                 {smallest:.1} % would most likely have been seen."
            );
            (true, verdict)
        }
        _ => {
            let verdict = format!(
                "{subject} varied so much that not even an effect of {:.0} % would have been seen: the machine is too busy \
                 for a study.",
                100.0 * BLIND
            );
            (false, verdict)
        }
    }
}

/// Returns the adjusted interval in words.
fn shown(effect: &Effect) -> String {
    let (low, high) =
        effect.adjusted.map_or((effect.low, effect.high), |interval| (interval.low, interval.high));
    interval(low, high)
}
