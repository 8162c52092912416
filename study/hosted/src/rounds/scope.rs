//! The scope: which comparisons the time is enough for.
//!
//! A pair of samples is independent of another one only if each comes from memory of its own. So the number of memories
//! bounds the smallest p-value, and the number of comparisons decides how small it has to be. Where the time is too short
//! for as many memories as all planned comparisons need, there are fewer comparisons, rather than many in which no effect
//! could be found.

use std::collections::BTreeSet;
use std::time::Duration;

use rhumb_method::Effect;

use super::CONFIDENCE;
use crate::backing::Pages;
use crate::data::world::Placement;
use crate::options::Case;
use crate::rival::UserSpace;
use crate::workload::Workload;

/// Memories beyond the fewest. With the fewest, an effect is found only where each pair points in the same direction.
const SPARE: u32 = 2;

/// The comparisons of a study.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Scope {
    pub(super) cases: Vec<Case>,
    /// The arms, the baseline first.
    pub(super) arms: Vec<Pages>,
    /// The comparisons that the time was too short for, in a few words each.
    pub(super) left_out: Vec<&'static str>,
}

/// The costs of a study.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// The time until a direct map has its data.
    pub(super) building: Duration,
    /// The time of the shortest sample.
    pub(super) sample: Duration,
    /// The time that there is.
    pub(super) time: Duration,
}

/// Something to be left out.
struct Step {
    name: &'static str,
    keeps_case: fn(&Case) -> bool,
    keeps_arm: fn(Pages) -> bool,
}

impl Step {
    const fn without_cases(name: &'static str, keeps_case: fn(&Case) -> bool) -> Self {
        Self { name, keeps_case, keeps_arm: |_| true }
    }

    const fn without_arms(name: &'static str, keeps_arm: fn(Pages) -> bool) -> Self {
        Self { name, keeps_case: |_| true, keeps_arm }
    }
}

/// The order in which comparisons are left out: those first that tell the reader the least. A step that would leave
/// nothing, or leaves nothing out, is passed over.
const STEPS: [Step; 6] = [
    Step::without_cases("data side by side", |case| case.placement != Placement::Dense),
    Step::without_cases("user space that uses 2 MiB", |case| case.user_space != UserSpace::Small),
    Step::without_arms("1 broken block in 64 and in 2", |pages| !matches!(pages, Pages::Aged(64 | 2))),
    Step::without_cases("some of the workloads", |case| {
        matches!(case.workload, Workload::Page64 | Workload::Objects | Workload::Names | Workload::Store)
    }),
    Step::without_arms("direct maps of which some blocks are broken", |pages| {
        !matches!(pages, Pages::Aged(_))
    }),
    Step::without_cases("user space that competes", |case| case.user_space == UserSpace::Idle),
];

impl Scope {
    /// Returns as many of the comparisons as can be told apart from chance. `maps` returns how many direct maps there are
    /// of each placement with these arms.
    pub(super) fn fitting(
        cases: &[Case],
        arms: &[Pages],
        costs: Costs,
        maps: impl Fn(&[Pages]) -> usize,
    ) -> Self {
        let mut scope = Self { cases: cases.to_vec(), arms: arms.to_vec(), left_out: Vec::new() };
        for step in STEPS {
            if scope.fits(costs, maps(&scope.arms)) {
                break;
            }
            let cases: Vec<Case> = scope.cases.iter().copied().filter(step.keeps_case).collect();
            let arms: Vec<Pages> =
                scope.arms.iter().copied().filter(|pages| (step.keeps_arm)(*pages)).collect();
            let is_less = cases.len() < scope.cases.len() || arms.len() < scope.arms.len();
            if is_less && !cases.is_empty() && arms.len() >= 2 {
                (scope.cases, scope.arms) = (cases, arms);
                scope.left_out.push(step.name);
            }
        }
        scope
    }

    fn fits(&self, costs: Costs, maps: usize) -> bool {
        let building = costs.building * (maps * self.placements()) as u32;
        let samples = costs.sample * (maps * self.cases.len()) as u32;
        (building + samples) * self.pairs_wanted() <= costs.time
    }

    /// Returns how many placements the cases have.
    pub(super) fn placements(&self) -> usize {
        self.cases.iter().map(|case| case.placement).collect::<BTreeSet<_>>().len()
    }

    /// Returns the number of comparisons that are adjusted together.
    fn comparisons(&self) -> usize {
        self.cases.len() * self.arms.len().saturating_sub(1)
    }

    /// Returns how many pairs each comparison is to have.
    pub(super) fn pairs_wanted(&self) -> u32 {
        self.fewest_pairs() + SPARE
    }

    /// Returns how many pairs it takes to find any effect among all comparisons.
    pub(super) fn fewest_pairs(&self) -> u32 {
        fewest_pairs(self.comparisons())
    }
}

/// Returns the fewest pairs of which the smallest p-value is that of an effect among so many comparisons.
fn fewest_pairs(comparisons: usize) -> u32 {
    let smallest_p = |pairs: u32| {
        let pairs = pairs as usize;
        Effect::of(&vec![1.0; pairs], &vec![2.0; pairs], CONFIDENCE).map(|effect| effect.p)
    };
    let is_enough =
        |pairs: &u32| smallest_p(*pairs).is_some_and(|p| p * comparisons.max(1) as f64 <= 1.0 - CONFIDENCE);
    // Each further pair halves it, so a bound of 64 is none.
    (1..64).find(is_enough).unwrap_or(64)
}

#[cfg(test)]
mod tests;
