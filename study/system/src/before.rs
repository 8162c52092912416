//! The measurements before a study: noise and controls.

use rhumb_study_report::Study;

use crate::controls::{Controls, controls};
use crate::noise::noise;
use crate::session::Session;

#[cfg(test)]
mod tests;

/// Measures the machine's noise and the controls, and writes them into the study. Each experiment that times anything
/// calls this first.
pub fn measure_machine(session: &Session, study: &mut Study) {
    study.noise = noise(session);
    let Controls { controls, omissions } = controls(session);
    study.controls.extend(controls);
    study.omissions.extend(omissions);
}
