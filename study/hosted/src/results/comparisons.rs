//! The comparisons, their negative control, and the hardware counts.

use std::collections::BTreeMap;

use rhumb_method::{Effect, Stopped};
use rhumb_study_report::{Cell, Column, Comparison, Control, ControlKind, Omission, Study, Table};
use rhumb_study_system::controls::of_negative;
use rhumb_study_system::counters;

use crate::arms::{Arm, Arms};
use crate::backing::Pages;
use crate::data::world::Placement;
use crate::options::Case;
use crate::rounds::{CONFIDENCE, Measured, Pairs};

impl Case {
    fn id(self, arm: &str) -> String {
        let placement = match self.placement {
            Placement::Spread => "",
            Placement::Dense => "/dense",
        };
        format!("{}/{arm}{placement}{}", self.workload.id(), self.user_space.id())
    }

    fn conditions(self) -> BTreeMap<String, String> {
        let placement = match self.placement {
            Placement::Spread => "spread over all memory",
            Placement::Dense => "side by side",
        };
        BTreeMap::from([
            ("data".to_owned(), placement.to_owned()),
            ("user space".to_owned(), self.user_space.describe().to_owned()),
        ])
    }
}

/// Adds the comparisons and the negative control.
pub(crate) fn add_comparisons(study: &mut Study, arms: &Arms, measured: &Measured) {
    let Some(baseline) = arms.baseline() else { return };
    for seen in arms.seen.iter().skip(1) {
        for ((case, arm), pairs) in &measured.pairs {
            if *arm == Arm::Of(seen.pages) {
                let id = case.id(&seen.pages.id());
                let names = (baseline.to_string(), seen.pages.to_string());
                study.comparisons.push(comparison(id, *case, names, pairs, measured.stopped));
            }
        }
    }
    study.adjust();
    let twins: Vec<_> = measured.pairs.iter().filter(|((_, arm), _)| *arm == Arm::Again).collect();
    if twins.is_empty() {
        return;
    }
    match negative_control(baseline, &twins, measured.stopped) {
        Some(control) => study.controls.push(control),
        None => study.omissions.push(Omission {
            part: format!("the negative control: {baseline} against {baseline}"),
            why: "There were too few rounds for an answer.".to_owned(),
            remedy: "Give the study more --minutes, or a quieter machine.".to_owned(),
        }),
    }
    study.tables.push(Table {
        id: "same-map".to_owned(),
        title: format!("{baseline} against {baseline} in other memory"),
        columns: ["workload", "user space", "data"]
            .map(|name| Column::new(name, ""))
            .into_iter()
            .chain(["ratio", "low", "high"].map(|name| Column::new(name, "of the baseline")))
            .collect(),
        rows: twins.iter().map(|((case, _), pairs)| twin_row(*case, pairs)).collect(),
        caption: "All ratios should be 1, within the noise. The negative control is their geometric mean."
            .to_owned(),
    });
}

fn comparison(
    id: String,
    case: Case,
    (baseline, arm): (String, String),
    pairs: &Pairs,
    stopped: Stopped,
) -> Comparison {
    Comparison {
        id,
        family: format!("Direct map: {arm}"),
        workload: case.workload.describe().to_owned(),
        baseline,
        arm,
        conditions: case.conditions(),
        unit: "ns".to_owned(),
        baseline_samples: pairs.baseline.clone(),
        arm_samples: pairs.arm.clone(),
        effect: Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE),
        stopped,
    }
}

/// Returns the control in which the geometric mean of all cases is compared, the most sensitive there is; `None` where
/// the rounds were too few.
fn negative_control(baseline: Pages, twins: &[(&(Case, Arm), &Pairs)], stopped: Stopped) -> Option<Control> {
    let rounds = twins.iter().map(|(_, pairs)| pairs.arm.len()).min().unwrap_or(0);
    let mean = |of: fn(&Pairs) -> &Vec<f64>| -> Vec<f64> {
        let in_round = |round: usize| twins.iter().map(|(_, pairs)| of(pairs)[round].ln()).sum::<f64>();
        (0..rounds).map(|round| (in_round(round) / twins.len() as f64).exp()).collect()
    };
    let (baseline_samples, arm_samples) = (mean(|pairs| &pairs.baseline), mean(|pairs| &pairs.arm));
    let effect = Effect::of(&baseline_samples, &arm_samples, CONFIDENCE)?;
    let (passed, verdict) = of_negative(&format!("{baseline} against {baseline} in other memory"), &effect);
    let comparison = Comparison {
        id: "control/same-map".to_owned(),
        family: "Controls".to_owned(),
        workload: "all workloads, their geometric mean".to_owned(),
        baseline: baseline.to_string(),
        arm: format!("{baseline}, other memory"),
        conditions: BTreeMap::new(),
        unit: "ns".to_owned(),
        baseline_samples,
        arm_samples,
        effect: Some(effect),
        stopped,
    };
    Some(Control { kind: ControlKind::Negative, comparison, passed, verdict })
}

fn twin_row(case: Case, pairs: &Pairs) -> Vec<Cell> {
    let words = [case.workload.id(), case.user_space.describe(), &case.conditions()["data"]]
        .map(|text| Cell::Text(text.to_owned()));
    let effect = Effect::of(&pairs.baseline, &pairs.arm, CONFIDENCE);
    let number =
        |of: fn(&Effect) -> f64| effect.as_ref().map_or(Cell::Unknown(()), |effect| Cell::Number(of(effect)));
    words
        .into_iter()
        .chain([number(|effect| effect.ratio), number(|effect| effect.low), number(|effect| effect.high)])
        .collect()
}

/// Adds the tables of hardware counts.
pub(crate) fn add_counts(study: &mut Study, arms: &Arms, measured: &Measured) {
    for (case, rows) in &measured.counted {
        let named: Vec<_> = rows
            .iter()
            .filter_map(|(arm, operations, readings)| {
                let pages = arms.pages(*arm).filter(|_| *arm != Arm::Again)?;
                Some((pages.to_string(), *operations, readings.clone()))
            })
            .collect();
        let title = format!("Hardware counts: {}", case.workload.describe());
        study.tables.push(counters::table(&case.id("counts"), &title, &named));
    }
    study.omissions.extend(measured.no_counters.clone());
}

#[cfg(test)]
mod tests;
