//! The negative controls of a study, judged together.
//!
//! Three comparisons may show no effect, because nothing that they compare differs in the map:
//!
//! - **Halves** of each phase, in the mean of all workloads: the map did not change meanwhile.
//! - **The reference** ([`reference`](crate::workloads::reference)) before and after: no direct map can touch it. Halves
//!   are blind to a change that comes just between two phases, such as a program that begins there; the reference sees
//!   it. A change of 2 % that is seen fails the control, and one of 5 % also where noise may be the reason.
//! - **By turns**, whole blocks against other whole blocks ([`placed`](crate::placed)).
//!
//! All of them follow the rule of [`of_negative`]: an effect fails a control at the level of 0.01 for all controls
//! together, where it is larger than 1 %, and a control that could not have seen one of 25 % fails, too. A half of the
//! level is for the last kind, the other half for the first two. A control that fails makes the whole study void, also
//! the comparisons by turns, because nothing can be concluded on a machine that changes meanwhile.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rhumb_method::adjust::holm;
use rhumb_method::{Effect, Stopped};
use rhumb_study_report::format::change;
use rhumb_study_report::{Comparison, Control, ControlKind};
use rhumb_study_system::controls::{LEVEL, of_negative};

use crate::drift::{BLOCKS_AT_LEAST, Difference, Drift, Phase, means};
use crate::phases::{Measured, Subject};
use crate::workloads::reference;

/// The share of the level that each of the two families has.
const SHARE: f64 = 0.5;

/// A change of the reference up to this share is harmless, also where it is seen: the drift of a good machine, which the
/// intervals of the workloads hold.
const HARMLESS_CHANGE: f64 = 0.02;

/// A change of the reference beyond this share fails its control, also where its noise may be the reason.
const CHANGED: f64 = 0.05;

/// The share of intervals that hold the true ratio.
const CONFIDENCE: f64 = 0.95;

/// A comparison that may show no effect.
struct Case {
    /// The control that it belongs to.
    control: String,
    /// The workload's name, and its words.
    workload: (String, String),
    /// The comparison in words that a verdict begins with.
    claim: String,
    difference: Difference,
    effect: Effect,
    /// The two sides: their names and samples.
    sides: [(String, Vec<f64>); 2],
}

/// Returns a phase without the reference, which tells nothing of how the kernel's work drifts.
pub(crate) fn of_kernel(phase: &Phase, subjects: &[Subject]) -> Phase {
    let mut phase = phase.clone();
    for (subject, blocks) in subjects.iter().zip(&mut phase.blocks) {
        if subject.id == reference::ID {
            blocks.clear();
        }
    }
    phase
}

/// Judges all controls of a study: of its phases, and those `by_turns`.
pub(crate) fn judge(
    subjects: &[Subject],
    measured: &[(String, Measured)],
    by_turns: Vec<Comparison>,
) -> Vec<Control> {
    let halves = halves(subjects, measured);
    let count = halves.len();
    let mut cases = halves;
    cases.extend(changes(subjects, measured));
    adjust(&mut cases);
    let (halves, changes) = cases.split_at(count);
    let judged = halves.iter().map(|case| case.control(of_negative(&case.claim, &case.effect)));
    judged.chain(changes.iter().map(of_reference)).chain(of_turns(by_turns)).collect()
}

/// The controls' names begin with this.
const REFERENCE: &str = "control/reference/";

/// Compares the halves of each phase in the mean of all workloads. A phase that was interrupted early has none.
fn halves(subjects: &[Subject], measured: &[(String, Measured)]) -> Vec<Case> {
    let (names, phases): (Vec<(usize, &str)>, Vec<Phase>) = measured
        .iter()
        .enumerate()
        .filter(|(_, (_, one))| one.phase.blocks.iter().any(|blocks| blocks.len() >= BLOCKS_AT_LEAST))
        .map(|(index, (name, one))| ((index, name.as_str()), of_kernel(&one.phase, subjects)))
        .unzip();
    let means = means(&phases);
    let drift = Drift::of_small(&means);
    let case = |((index, name), phase): (&(usize, &str), &Phase)| {
        let difference = Difference::of_halves(phase, &drift)?;
        let blocks = phase.blocks.first()?;
        let half = blocks.len() / 2;
        Some(Case {
            control: format!("control/halves/{index}"),
            workload: (
                "mean".to_owned(),
                "the geometric mean of all workloads, the quiet ones counting more".to_owned(),
            ),
            claim: format!("The mean of all workloads in both halves of the phase with {name}"),
            difference,
            effect: difference.effect(CONFIDENCE),
            sides: [
                (format!("first half, {name}"), blocks[..half].to_vec()),
                (format!("second half, {name}"), blocks[blocks.len() - half..].to_vec()),
            ],
        })
    };
    names.iter().zip(&means).filter_map(case).collect()
}

/// Compares the reference of each later phase with that of the first. Drift is taken for nothing, because it is what the
/// reference is to find.
fn changes(subjects: &[Subject], measured: &[(String, Measured)]) -> Vec<Case> {
    let Some(subject) = subjects.iter().position(|subject| subject.id == reference::ID) else {
        return Vec::new();
    };
    let Some(((name, first), later)) = measured.split_first() else { return Vec::new() };
    let case = |(index, (later, one)): (usize, &(String, Measured))| {
        let difference = Difference::between(&first.phase, &one.phase, subject, &Drift::NONE)?;
        Some(Case {
            control: format!("{REFERENCE}{}", index + 1),
            workload: (subjects[subject].id.clone(), subjects[subject].words.clone()),
            claim: format!(
                "User-space work in the phases with {name} and {later}, which no direct map can touch,"
            ),
            difference,
            effect: difference.effect(CONFIDENCE),
            sides: [
                (name.clone(), first.phase.blocks[subject].clone()),
                (later.clone(), one.phase.blocks[subject].clone()),
            ],
        })
    };
    later.iter().enumerate().filter_map(case).collect()
}

/// Adjusts the cases for their number.
fn adjust(cases: &mut [Case]) {
    let adjusted = holm(&cases.iter().map(|case| case.effect.p).collect::<Vec<f64>>());
    let found = adjusted.iter().filter(|p| **p <= LEVEL * SHARE).count();
    let tested = LEVEL * SHARE / (cases.len() - found).max(1) as f64;
    for (case, p) in cases.iter_mut().zip(adjusted) {
        case.effect.p_adjusted = (p / SHARE).min(1.0);
        case.difference.set_level(&mut case.effect, tested);
    }
}

impl Case {
    /// Returns this case as a control with its verdict.
    fn control(&self, (passed, verdict): (bool, String)) -> Control {
        let (id, workload) = self.workload.clone();
        let [(baseline, baseline_samples), (arm, arm_samples)] = self.sides.clone();
        let comparison = Comparison {
            id: self.control.clone(),
            family: "The same against the same".to_owned(),
            workload,
            baseline,
            arm,
            conditions: BTreeMap::from([("workload".to_owned(), id)]),
            unit: "ns".to_owned(),
            baseline_samples,
            arm_samples,
            effect: Some(self.effect),
            stopped: Stopped::Rounds,
        };
        Control { kind: ControlKind::Negative, comparison, passed, verdict }
    }
}

/// Judges the reference.
fn of_reference(case: &Case) -> Control {
    let words = &case.claim;
    let off = case.effect.ratio - 1.0;
    let is_seen = case.effect.p_adjusted <= LEVEL;
    let changed = change(case.effect.ratio);
    let verdict = match () {
        () if off.abs() > CHANGED || is_seen && off.abs() > HARMLESS_CHANGE => {
            let verdict = format!(
                "{words} differed by {changed}: the machine was not the same before and after, so that nothing follows \
                 from the difference. Run the study while no other program begins or ends."
            );
            (false, verdict)
        }
        () if is_seen => {
            let verdict = format!(
                "{words} differed by {changed}, which is harmless: intervals of before against after hold as much drift."
            );
            (true, verdict)
        }
        () => of_negative(words, &case.effect),
    };
    case.control(verdict)
}

/// Judges the controls that took turns: those that have an effect at all.
fn of_turns(mut comparisons: Vec<Comparison>) -> Vec<Control> {
    comparisons.retain(|one| one.effect.is_some());
    let p: Vec<f64> = comparisons.iter().filter_map(|one| Some(one.effect?.p)).collect();
    let adjusted = holm(&p);
    let found = adjusted.iter().filter(|p| **p <= LEVEL * SHARE).count();
    let tested = LEVEL * SHARE / (p.len() - found).max(1) as f64;
    let judged = comparisons.into_iter().zip(adjusted).filter_map(|(mut one, p)| {
        let strict = Effect::of(&one.baseline_samples, &one.arm_samples, 1.0 - tested);
        let effect = one.effect.as_mut()?;
        effect.p_adjusted = (p / SHARE).min(1.0);
        effect.adjusted = strict.and_then(|strict| strict.adjusted);
        effect.smallest_detectable = strict.and_then(|strict| strict.smallest_detectable);
        let words = format!("{}: whole blocks against other whole blocks", one.workload);
        let (passed, verdict) = of_negative(&words, effect);
        Some(Control { kind: ControlKind::Negative, comparison: one, passed, verdict })
    });
    judged.collect()
}
