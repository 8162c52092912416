//! The negative controls of a study, judged together.
//!
//! Three comparisons may show no effect, because nothing that they compare differs in the map:
//!
//! - **Halves** of each phase, for each workload: the map did not change meanwhile.
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

use crate::drift::{Difference, Drift, Phase};
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
    /// The workload.
    subject: usize,
    difference: Difference,
    effect: Effect,
    /// The two sides: their names and samples.
    sides: [(String, Vec<f64>); 2],
}

/// The controls of a study, and what else they tell.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// The controls.
    pub(crate) controls: Vec<Control>,
    /// Sentences on workloads that the controls could not see.
    pub(crate) notes: Vec<String>,
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
) -> Judged {
    let mut cases = halves(subjects, measured);
    cases.extend(changes(subjects, measured));
    adjust(&mut cases);
    let mut judged = Judged::default();
    for (index, (name, _)) in measured.iter().enumerate() {
        let id = halves_id(index);
        let of_phase: Vec<&Case> = cases.iter().filter(|case| case.control == id).collect();
        judged.controls.extend(of_halves(&of_phase, name, subjects, &mut judged.notes));
    }
    for case in cases.iter().filter(|case| subjects[case.subject].id == reference::ID) {
        if case.control.starts_with(REFERENCE) {
            judged.controls.push(of_reference(case, subjects));
        }
    }
    judged.controls.extend(of_turns(by_turns));
    judged
}

/// The controls' names begin with this.
const REFERENCE: &str = "control/reference/";

fn halves_id(index: usize) -> String {
    format!("control/halves/{index}")
}

/// Compares the halves of each phase, with the drift of the other phases, or of all where others are fewer than two.
fn halves(subjects: &[Subject], measured: &[(String, Measured)]) -> Vec<Case> {
    let kernel: Vec<Phase> = measured.iter().map(|(_, one)| of_kernel(&one.phase, subjects)).collect();
    let mut cases = Vec::new();
    for (index, (name, one)) in measured.iter().enumerate() {
        let others = kernel.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, phase)| phase);
        // One other phase tells too little of the drift, and none tells nothing. Then the phase's own halves help: the
        // control sees a workload that drifts more than the rest.
        let drift = if kernel.len() > 2 { Drift::of(others) } else { Drift::of(&kernel) };
        for subject in 0..subjects.len() {
            let Some(difference) = Difference::of_halves(&one.phase, subject, drift) else { continue };
            let blocks = &one.phase.blocks[subject];
            let half = blocks.len() / 2;
            cases.push(Case {
                control: halves_id(index),
                subject,
                difference,
                effect: difference.effect(CONFIDENCE),
                sides: [
                    (format!("first half, {name}"), blocks[..half].to_vec()),
                    (format!("second half, {name}"), blocks[blocks.len() - half..].to_vec()),
                ],
            });
        }
    }
    cases
}

/// Compares the reference of each later phase with that of the first. Drift is taken for nothing, because it is what the
/// reference is to find.
fn changes(subjects: &[Subject], measured: &[(String, Measured)]) -> Vec<Case> {
    let Some(subject) = subjects.iter().position(|subject| subject.id == reference::ID) else {
        return Vec::new();
    };
    let Some(((name, first), later)) = measured.split_first() else { return Vec::new() };
    let case = |(index, (later, one)): (usize, &(String, Measured))| {
        let difference = Difference::between(&first.phase, &one.phase, subject, Drift::NONE)?;
        Some(Case {
            control: format!("{REFERENCE}{}", index + 1),
            subject,
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
    fn control(&self, subjects: &[Subject], workload: String, (passed, verdict): (bool, String)) -> Control {
        let [(baseline, baseline_samples), (arm, arm_samples)] = self.sides.clone();
        let comparison = Comparison {
            id: self.control.clone(),
            family: "The same against the same".to_owned(),
            workload,
            baseline,
            arm,
            conditions: BTreeMap::from([("workload".to_owned(), subjects[self.subject].id.clone())]),
            unit: "ns".to_owned(),
            baseline_samples,
            arm_samples,
            effect: Some(self.effect),
            stopped: Stopped::Rounds,
        };
        Control { kind: ControlKind::Negative, comparison, passed, verdict }
    }
}

/// Judges the halves of a phase. The workload that differs most is shown. A few workloads may be too noisy to be seen: a
/// note names them. If most of them are, the control is blind, and fails.
fn of_halves(cases: &[&Case], name: &str, subjects: &[Subject], notes: &mut Vec<String>) -> Option<Control> {
    let verdict = |case: &Case| {
        let words = format!("{} in both halves of the phase with {name}", subjects[case.subject].id);
        of_negative(&words, &case.effect)
    };
    let least = |cases: &[&'_ Case]| -> Option<usize> {
        (0..cases.len()).min_by(|one, other| cases[*one].effect.p.total_cmp(&cases[*other].effect.p))
    };
    let (failed, passed): (Vec<&Case>, Vec<&Case>) = cases.iter().copied().partition(|case| !verdict(case).0);
    let (differ, blind): (Vec<&Case>, Vec<&Case>) =
        failed.into_iter().partition(|case| case.effect.p_adjusted <= LEVEL);
    if !blind.is_empty() {
        let ids: Vec<&str> = blind.iter().map(|case| subjects[case.subject].id.as_str()).collect();
        notes.push(format!(
            "In the phase with {name}, halves varied too much for a control of {}: an effect that is seen there may as well \
             be drift.",
            ids.join(", ")
        ));
    }
    let shown = match () {
        () if !differ.is_empty() => differ,
        () if 2 * blind.len() > cases.len() => blind,
        () => passed,
    };
    let case = shown[least(&shown)?];
    let words = format!("{}, the workload that differs most", subjects[case.subject].words);
    Some(case.control(subjects, words, verdict(case)))
}

/// Judges the reference.
fn of_reference(case: &Case, subjects: &[Subject]) -> Control {
    let [(first, _), (later, _)] = &case.sides;
    let words =
        format!("User-space work in the phases with {first} and {later}, which no direct map can touch,");
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
        () => of_negative(&words, &case.effect),
    };
    case.control(subjects, subjects[case.subject].words.clone(), verdict)
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
