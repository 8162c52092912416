//! The drifts of a machine, estimated from the pieces of phases: see the text of [`drift`](super).

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::{Phase, logs, moments};

/// The share of its noise that an estimate of the common drift keeps. In simulated studies, less raises more false alarms
/// than the level says.
const NOISE_KEPT: f64 = 0.25;

/// The share of workloads without a drift of their own whose halves are taken for noise. The others have wider intervals
/// for nothing; with a larger share, more workloads that drift alone would be taken for an effect.
const TAKEN_FOR_NOISE: f64 = 0.9;

/// The fewest blocks of a piece of a phase.
const PIECE_AT_LEAST: usize = 3;

/// The small pieces of a phase, where it has blocks enough.
const SMALL: usize = 8;

/// A random walk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Walk {
    /// The variance that a block adds.
    pub(crate) variance: f64,
    /// The degrees of freedom of its estimate.
    pub(crate) freedom: f64,
}

impl Walk {
    /// Adds nothing.
    const NONE: Self = Self { variance: 0.0, freedom: 1.0 };
}

/// The drift of a workload besides the common one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Own {
    /// The walk, whose variance is a multiple of that of the workload's noise in a block.
    pub(crate) walk: Walk,
    /// The change of the logarithm from block to block in one direction; 0 where noise may be the reason.
    pub(crate) slope: f64,
}

/// The drifts of a machine.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Drift {
    /// The walk of the logarithm of all workloads alike.
    pub(crate) common: Walk,
    /// The own drift of most workloads.
    pub(crate) pooled: Own,
    /// Those of workloads that show more of it than the others, by the workload's number.
    pub(crate) apart: Vec<(usize, Own)>,
}

impl Drift {
    /// No drift: all differences are noise or effects.
    pub(crate) const NONE: Self =
        Self { common: Walk::NONE, pooled: Own { walk: Walk::NONE, slope: 0.0 }, apart: Vec::new() };

    /// Estimates the drifts from phases in which nothing was changed.
    pub(crate) fn of(phases: &[Phase]) -> Self {
        let (quarters, halves) = (Seen::over(phases, 4), Seen::over(phases, 2));
        let (common, _) = quarters.common();
        let (of_halves, noise) = halves.common();
        let finer = if quarters.common.is_empty() { &halves } else { &quarters };
        let common =
            Walk { variance: common.max(of_halves).max(noise * NOISE_KEPT), freedom: finer.freedom.max(1.0) };
        let pooled = Own { walk: halves.pooled(), slope: slope(&halves.common) };
        let apart = |(workload, steps): (usize, &Vec<Step>)| {
            let walk = walk_alone(steps).filter(|walk| walk.variance > pooled.walk.variance);
            let own = Own { walk: walk.unwrap_or(pooled.walk), slope: slope(steps).max(pooled.slope) };
            (own != pooled).then_some((workload, own))
        };
        let apart = halves.workloads.iter().enumerate().filter_map(apart).collect();
        Self { common, pooled, apart }
    }

    /// Estimates the common drift from small pieces of phases: [`SMALL`] of each, or fewer of short ones.
    pub(crate) fn of_small(phases: &[Phase]) -> Self {
        let seen = [SMALL, 4, 2].map(|pieces| Seen::over(phases, pieces));
        let Some(seen) = seen.into_iter().find(|seen| !seen.common.is_empty()) else { return Self::NONE };
        let (common, noise) = seen.common();
        let common = Walk { variance: common.max(noise * NOISE_KEPT), freedom: seen.freedom.max(1.0) };
        Self { common, ..Self::NONE }
    }

    /// Returns the own drift of a workload.
    pub(crate) fn own_of(&self, workload: usize) -> Own {
        self.apart.iter().find(|(other, _)| *other == workload).map_or(self.pooled, |(_, own)| *own)
    }
}

/// One workload in the pieces of a phase.
struct Pieces {
    /// Mean of the second piece less that of the first, and so on.
    steps: Vec<f64>,
    /// The variance of a step by noise alone.
    noise: f64,
    /// The degrees of freedom of that estimate.
    freedom: f64,
}

impl Pieces {
    /// Cuts a phase's blocks; `None` where pieces would be too short, or the blocks have no noise.
    fn of(blocks: &[f64], pieces: usize) -> Option<Self> {
        let length = blocks.len() / pieces;
        if length < PIECE_AT_LEAST {
            return None;
        }
        let logs = logs(blocks)?;
        let parts: Vec<(f64, f64)> = (0..pieces)
            .filter_map(|piece| {
                let start = piece * logs.len() / pieces;
                moments(&logs[start..start + length])
            })
            .collect();
        let variance = parts.iter().map(|(_, variance)| variance).sum::<f64>() / pieces as f64;
        (variance > 0.0).then(|| Self {
            steps: parts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect(),
            noise: 2.0 * variance / length as f64,
            freedom: (pieces * (length - 1)) as f64,
        })
    }

    /// Returns by how much the square of a step is larger than noise makes it in the mean.
    fn expected(&self) -> f64 {
        // The mean of F with these degrees of freedom, which noise alone has.
        self.freedom / (self.freedom - 2.0).max(1.0)
    }
}

/// A step from one piece to the next.
#[derive(Clone, Copy)]
struct Step {
    /// The difference of the pieces' means.
    by: f64,
    /// The variance of a step by noise alone.
    noise: f64,
    /// The square of the part that is not common, as a multiple of its noise.
    times: f64,
    /// The blocks of a piece.
    length: f64,
}

impl Step {
    /// Returns the variance of a step by a random walk with a variance of 1 in a block.
    fn grown(&self) -> f64 {
        2.0 * self.length / 3.0
    }

    /// Returns the variance that a block adds, as a multiple of the variance of noise in a block; below 0 where noise
    /// explains more than the step.
    fn walk(&self) -> f64 {
        // The noise of a step is twice that of a block, divided by a piece's length.
        (self.times - 1.0) * 2.0 / self.length / self.grown()
    }
}

/// All steps between so many neighbouring pieces of each phase.
struct Seen {
    /// Those of all workloads together. None where no phase has blocks enough.
    common: Vec<Step>,
    /// Those of each workload that are not nearly the common one themselves.
    workloads: Vec<Vec<Step>>,
    /// How many independent steps of one workload all phases have.
    freedom: f64,
    /// The degrees of freedom of all workloads' own steps.
    own_freedom: f64,
}

impl Seen {
    fn over(phases: &[Phase], pieces: usize) -> Self {
        let workloads = phases.iter().map(|phase| phase.blocks.len()).max().unwrap_or(0);
        let mut seen = Self {
            common: Vec::new(),
            workloads: vec![Vec::new(); workloads],
            freedom: 0.0,
            own_freedom: 0.0,
        };
        let steps = (pieces - 1) as f64;
        let independent = steps.powi(2) / (steps + (steps - 1.0) / 2.0);
        for phase in phases {
            let cut: Vec<(usize, Pieces)> = phase
                .blocks
                .iter()
                .enumerate()
                .filter_map(|(workload, blocks)| Some((workload, Pieces::of(blocks, pieces)?)))
                .collect();
            let Some(blocks) = phase.blocks.iter().map(Vec::len).max().filter(|_| !cut.is_empty()) else {
                continue;
            };
            seen.take(&cut, (blocks / pieces) as f64);
            seen.freedom += independent;
            seen.own_freedom += independent * (cut.len() - 1) as f64;
        }
        seen
    }

    /// Takes the steps of a phase.
    fn take(&mut self, cut: &[(usize, Pieces)], length: f64) {
        let weight: f64 = cut.iter().map(|(_, one)| 1.0 / one.noise).sum();
        let steps = cut.iter().map(|(_, one)| one.steps.len()).min().unwrap_or(0);
        for step in 0..steps {
            let common = cut.iter().map(|(_, one)| one.steps[step] / one.noise).sum::<f64>() / weight;
            self.common.push(Step { by: common, noise: 1.0 / weight, times: 0.0, length });
            for (workload, one) in cut {
                // The common drift contains a part of this workload's noise.
                let left = one.noise - 1.0 / weight;
                if left > 0.05 * one.noise {
                    let by = one.steps[step];
                    let times = (by - common).powi(2) / left / one.expected();
                    self.workloads[*workload].push(Step { by, noise: one.noise, times, length });
                }
            }
        }
    }

    /// Returns the variance that a block adds to all workloads alike, which may be below 0, and by how much noise alone
    /// makes that vary.
    fn common(&self) -> (f64, f64) {
        let squares = mean(self.common.iter().map(|step| step.by.powi(2) / step.grown()));
        let noise = mean(self.common.iter().map(|step| step.noise / step.grown()));
        (squares - noise, noise)
    }

    /// Returns the own walk that all workloads have in the mean.
    fn pooled(&self) -> Walk {
        let variance = mean(self.workloads.iter().flatten().map(Step::walk)).max(0.0);
        Walk { variance, freedom: self.own_freedom.max(1.0) }
    }
}

/// Returns the own walk of one workload from its steps between halves, if they are larger than noise makes them as a rule.
fn walk_alone(steps: &[Step]) -> Option<Walk> {
    let freedom = steps.len() as f64;
    let is_clear = mean(steps.iter().map(|step| step.times)) * freedom > taken_for_noise(freedom);
    is_clear.then(|| Walk { variance: mean(steps.iter().map(Step::walk)), freedom })
}

/// Returns the slope that steps between halves have in the mean, without its sign; 0 where noise may be the reason.
fn slope(steps: &[Step]) -> f64 {
    let slope = mean(steps.iter().map(|step| step.by / step.length));
    let noise = mean(steps.iter().map(|step| step.noise / step.length.powi(2))) / steps.len() as f64;
    if slope.powi(2) > taken_for_noise(1.0) * noise { slope.abs() } else { 0.0 }
}

/// Returns the sum of so many squares of noise that is exceeded as rarely as [`TAKEN_FOR_NOISE`] says.
fn taken_for_noise(freedom: f64) -> f64 {
    ChiSquared::new(freedom).map_or(f64::INFINITY, |squares| squares.inverse_cdf(TAKEN_FOR_NOISE))
}

/// Returns the mean of numbers, 0 of none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}
