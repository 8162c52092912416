//! The ways that take part.

pub(super) mod linux;
pub(super) mod rhumb;

use super::way::Way;
use super::{Setting, Workload};
use crate::driver::Case;

/// Returns a case for each way.
pub(super) fn cases<W: Workload>(workload: &str, setting: &Setting, work: W) -> Vec<Case> {
    let mut cases = Vec::new();
    add::<rhumb::Rhumb, W>(&mut cases, workload, setting, work);
    add::<linux::LinuxWay, W>(&mut cases, workload, setting, work);
    cases
}

fn add<S: Way, W: Workload>(cases: &mut Vec<Case>, workload: &str, setting: &Setting, work: W) {
    if setting.options.wants(workload, S::NAME) {
        let run = work.runner::<S>(setting.clone());
        cases.push(Case { subject: S::NAME, run });
    }
}
