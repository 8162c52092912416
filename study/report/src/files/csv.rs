//! A study as lines of values, for spreadsheets and for statistics programs.

use std::io::{self, Write};

use crate::schema::{Comparison, Control, ControlKind, Study};

/// The columns of `study.csv`.
pub(crate) const SAMPLE_COLUMNS: [&str; 8] =
    ["id", "control", "family", "workload", "arm", "round", "value", "unit"];

/// The columns of `effects.csv`.
pub(crate) const EFFECT_COLUMNS: [&str; 21] = [
    "id",
    "control",
    "passed",
    "family",
    "workload",
    "conditions",
    "baseline",
    "arm",
    "unit",
    "rounds",
    "ratio",
    "low",
    "high",
    "confidence",
    "p",
    "p_adjusted",
    "adjusted_low",
    "adjusted_high",
    "smallest_detectable",
    "result",
    "stopped",
];

/// Writes one line for each sample, of controls too.
pub(crate) fn samples(study: &Study, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = csv::Writer::from_writer(out);
    lines.write_record(SAMPLE_COLUMNS)?;
    for (comparison, control) in all(study) {
        let arms = [
            (&comparison.baseline, &comparison.baseline_samples),
            (&comparison.arm, &comparison.arm_samples),
        ];
        for (arm, values) in arms {
            for (round, value) in values.iter().enumerate() {
                lines.write_record([
                    &*comparison.id,
                    control.map_or("", kind),
                    &comparison.family,
                    &comparison.workload,
                    arm,
                    &(round + 1).to_string(),
                    &value.to_string(),
                    &comparison.unit,
                ])?;
            }
        }
    }
    lines.flush()
}

/// Writes one line for each comparison and control. Numbers that are not known are empty.
pub(crate) fn effects(study: &Study, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = csv::Writer::from_writer(out);
    lines.write_record(EFFECT_COLUMNS)?;
    for (comparison, control) in all(study) {
        let conditions: Vec<String> =
            comparison.conditions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let effect = comparison.effect.as_ref();
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        lines.write_record([
            comparison.id.clone(),
            control.map_or("", kind).to_owned(),
            control.map(|control| control.passed.to_string()).unwrap_or_default(),
            comparison.family.clone(),
            comparison.workload.clone(),
            conditions.join("; "),
            comparison.baseline.clone(),
            comparison.arm.clone(),
            comparison.unit.clone(),
            effect.map(|effect| effect.rounds.to_string()).unwrap_or_default(),
            number(effect.map(|effect| effect.ratio)),
            number(effect.map(|effect| effect.low)),
            number(effect.map(|effect| effect.high)),
            number(effect.map(|effect| effect.confidence)),
            number(effect.map(|effect| effect.p)),
            number(effect.map(|effect| effect.p_adjusted)),
            number(effect.and_then(|effect| effect.adjusted).map(|adjusted| adjusted.low)),
            number(effect.and_then(|effect| effect.adjusted).map(|adjusted| adjusted.high)),
            number(effect.and_then(|effect| effect.smallest_detectable)),
            effect.map(|effect| word(&effect.finding())).unwrap_or_default(),
            word(&comparison.stopped),
        ])?;
    }
    lines.flush()
}

/// Returns all comparisons, those of the controls first, with their controls.
fn all(study: &Study) -> impl Iterator<Item = (&Comparison, Option<&Control>)> {
    let controls = study.controls.iter().map(|control| (&control.comparison, Some(control)));
    controls.chain(study.comparisons.iter().map(|comparison| (comparison, None)))
}

fn kind(control: &Control) -> &'static str {
    match control.kind {
        ControlKind::Positive => "positive",
        ControlKind::Negative => "negative",
    }
}

/// Returns an enumeration's name, as the JSON file has it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
