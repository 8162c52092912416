//! The measurements before a study: noise and controls.

use rhumb_study_report::Study;

use crate::controls::{Controls, controls};
use crate::noise::{Rounds, noise};
use crate::session::Session;

#[cfg(test)]
mod tests;

/// Measures the machine's noise and the controls, and writes them into the study. Each experiment that times anything
/// calls this first, and says how many rounds it will take.
pub fn measure_machine(session: &Session, study: &mut Study, rounds: Rounds) {
    study.noise = noise(session, rounds);
    let Controls { controls, omissions } = controls(session);
    study.controls.extend(controls);
    study.omissions.extend(omissions);
}
