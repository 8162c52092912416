//! The rules by simulation: with no effect, false alarms at the nominal rate, with and without drift; a planted effect is
//! found. And by hand: a case that can be worked out on paper.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::pieces::{Own, Walk};
use super::*;

/// A normal deviate, by Box and Muller.
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let (one, two): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

/// A simulated machine.
struct Machine {
    workloads: usize,
    blocks: usize,
    noise: f64,
    /// The random walk's step from one block to the next, shared by all workloads.
    drift: f64,
    /// The effect of the second phase.
    effect: f64,
}

impl Machine {
    fn phases(&self, count: usize, random: &mut Pcg64Mcg) -> Vec<Phase> {
        let mut walk = 0.0;
        let mut time = 0.0;
        (0..count)
            .map(|phase| {
                let began_s = time;
                let mut blocks = vec![Vec::new(); self.workloads];
                for _ in 0..self.blocks {
                    walk += self.drift * normal(random);
                    time += 1.0;
                    let level = if phase > 0 { self.effect } else { 0.0 };
                    for workload in &mut blocks {
                        workload.push((5.0 + level + walk + self.noise * normal(random)).exp());
                    }
                }
                // Breaking takes as long as two blocks.
                walk += 2f64.sqrt() * self.drift * normal(random);
                let ended_s = time;
                time += 2.0;
                Phase { began_s, ended_s, blocks }
            })
            .collect()
    }

    /// Returns the share of workloads in which 1,000 simulated studies see an effect at 5 %.
    fn alarms(&self, phases: usize, seed: u64, drift: impl Fn(&[Phase]) -> Drift) -> f64 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let studies = 1_000;
        let mut alarms = 0;
        for _ in 0..studies {
            let phases = self.phases(phases, &mut random);
            let drift = drift(&phases);
            alarms += (0..self.workloads)
                .filter(|&workload| {
                    let last = phases.len() - 1;
                    Difference::between(&phases[0], &phases[last], workload, &drift).expect("blocks").p()
                        < 0.05
                })
                .count();
        }
        alarms as f64 / (studies * self.workloads) as f64
    }
}

/// No drift.
const NONE: Drift = Drift::NONE;

const QUIET: Machine = Machine { workloads: 8, blocks: 24, noise: 0.02, drift: 0.0, effect: 0.0 };

#[test]
fn without_drift_and_effect_alarms_are_rare() {
    for (phases, seed) in [(2, 1), (3, 2)] {
        let rate = QUIET.alarms(phases, seed, Drift::of);
        assert!((0.005..=0.055).contains(&rate), "{phases} phases: {rate}");
    }
}

#[test]
fn with_drift_alarms_are_rare_and_without_the_rules_they_are_not() {
    for (step, seed) in [(0.005, 3), (0.02, 4), (0.1, 5)] {
        let machine = Machine { drift: step, ..QUIET };
        let rate = machine.alarms(3, seed, Drift::of);
        assert!(rate <= 0.065, "a step of {step}: {rate}");
        let naive = machine.alarms(3, seed, |_| NONE);
        assert!(
            naive > 2.0 * rate && naive > 0.1,
            "a step of {step}: {naive} without the rules, {rate} with them"
        );
    }
}

#[test]
fn a_planted_effect_is_found() {
    let machine = Machine { effect: 0.05, ..QUIET };
    let power = machine.alarms(3, 6, Drift::of);
    assert!(power > 0.7, "{power}");
    // The effect that a study says it would have seen is seen in 8 of 10 cases, drift unknown.
    let mut random = Pcg64Mcg::seed_from_u64(7);
    let phases = QUIET.phases(3, &mut random);
    let difference = Difference::between(&phases[0], &phases[2], 0, &Drift::of(&phases)).expect("blocks");
    let stated = difference.effect(0.95).smallest_detectable.expect("an effect");
    assert!((0.02..0.1).contains(&stated), "{stated}");
}

/// Returns the share of 1,000 studies in which the halves of the middle phase differ, in the mean of all workloads.
fn halves_that_differ(machine: &Machine, seed: u64, change: impl Fn(&mut Phase)) -> f64 {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let differ = (0..1_000).filter(|_| {
        let mut phases = machine.phases(3, &mut random);
        change(&mut phases[1]);
        let means = means(&phases);
        Difference::of_halves(&means[1], &Drift::of_small(&means)).expect("blocks").p() < 0.05
    });
    differ.count() as f64 / 1_000.0
}

#[test]
fn halves_of_a_phase_are_alike_and_a_change_in_the_middle_is_seen() {
    for (step, seed) in [(0.0, 8), (0.02, 9)] {
        let machine = Machine { drift: step, ..QUIET };
        let rate = halves_that_differ(&machine, seed, |_| ());
        assert!(rate <= 0.07, "a step of {step}: {rate}");
        let rate = halves_that_differ(&machine, seed, |phase| {
            for blocks in &mut phase.blocks {
                // The machine slows down from block to block: small pieces differ little, halves differ much.
                for (block, value) in blocks.iter_mut().enumerate() {
                    *value *= (0.02 * block as f64).exp();
                }
            }
        });
        assert!(step > 0.0 || rate > 0.9, "a phase that slows down: {rate}");
    }
}

#[test]
fn a_machine_that_slows_down_on_and_on_raises_few_alarms() {
    let mut random = Pcg64Mcg::seed_from_u64(10);
    let mut alarms = 0;
    for _ in 0..1_000 {
        let mut phases = QUIET.phases(3, &mut random);
        for (number, phase) in phases.iter_mut().enumerate() {
            for blocks in &mut phase.blocks {
                for (block, value) in blocks.iter_mut().enumerate() {
                    *value *= (0.0015 * (block + 26 * number) as f64).exp();
                }
            }
        }
        let difference = Difference::between(&phases[0], &phases[2], 0, &Drift::of(&phases));
        alarms += usize::from(difference.expect("blocks").p() < 0.05);
    }
    assert!(alarms <= 80, "{alarms} of 1000");
}

/// Returns the share of 1,000 studies without an effect, with noise of 5 %, that find one after Holm's correction.
fn studies_with_an_alarm(blocks: usize, seed: u64, change: impl Fn(&mut [Phase], &mut Pcg64Mcg)) -> f64 {
    let machine = Machine { blocks, noise: 0.05, ..QUIET };
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let alarms = (0..1_000).filter(|_| {
        let mut phases = machine.phases(3, &mut random);
        change(&mut phases, &mut random);
        let drift = Drift::of(&phases);
        let p: Vec<f64> = (0..machine.workloads)
            .map(|workload| {
                Difference::between(&phases[0], &phases[2], workload, &drift).expect("blocks").p()
            })
            .collect();
        rhumb_method::adjust::holm(&p).iter().any(|p| *p <= 0.05)
    });
    alarms.count() as f64 / 1_000.0
}

/// Has workloads walk, each by so many `steps` of its own or all of them together.
fn walk(phases: &mut [Phase], steps: &[f64], is_common: bool, random: &mut Pcg64Mcg) {
    let mut at = vec![0.0; steps.len()];
    for phase in phases {
        for block in 0..phase.blocks[0].len() {
            let shared = normal(random);
            for ((at, step), values) in at.iter_mut().zip(steps).zip(&mut phase.blocks) {
                *at += step * if is_common { shared } else { normal(random) };
                values[block] *= f64::exp(*at);
            }
        }
    }
}

#[test]
fn workloads_that_drift_alone_raise_few_alarms() {
    let alone = [0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let one = studies_with_an_alarm(24, 11, |phases, random| walk(phases, &alone, false, random));
    assert!(one <= 0.12, "one walks: {one}");
    let all = studies_with_an_alarm(24, 12, |phases, random| walk(phases, &[0.01; 8], false, random));
    assert!(all <= 0.05, "all walk: {all}");
    let memory = [0.002, 0.002, 0.005, 0.005, 0.01, 0.01, 0.01, 0.03];
    let unlike = studies_with_an_alarm(24, 13, |phases, random| walk(phases, &memory, true, random));
    assert!(unlike <= 0.06, "the common drift is not that of all: {unlike}");
    let slower = studies_with_an_alarm(60, 14, |phases, _| {
        for (number, phase) in phases.iter_mut().enumerate() {
            for (block, value) in phase.blocks[0].iter_mut().enumerate() {
                *value *= f64::exp(0.001 * (block + 62 * number) as f64);
            }
        }
    });
    assert!(slower <= 0.05, "one slows down on and on: {slower}");
}

#[test]
fn a_workload_that_drifts_alone_is_told_apart() {
    let mut random = Pcg64Mcg::seed_from_u64(15);
    let mut phases = QUIET.phases(3, &mut random);
    assert!(Drift::of(&phases).apart.len() < 4, "noise is seldom taken for drift");
    for phase in &mut phases {
        phase.blocks[3][12..].iter_mut().for_each(|value| *value *= 1.1);
    }
    let drift = Drift::of(&phases);
    let (_, own) = drift.apart.iter().find(|(workload, _)| *workload == 3).expect("it stands out");
    assert!(own.walk.variance > 10.0 * drift.pooled.walk.variance / 8.0, "{drift:?}");
    // Halves are 12 blocks apart.
    assert!((own.slope * 12.0 - 1.1f64.ln()).abs() < 0.02, "{own:?}");
    assert_eq!(drift.own_of(9), drift.pooled);
}

#[test]
fn a_case_by_hand() {
    // Logarithms 0 and 2 about 1, and 4 and 6 about 5: means 1 and 5, each with variance 2 / 2 = 1.
    let values = |logs: &[f64]| logs.iter().map(|log| log.exp()).collect::<Vec<f64>>();
    let phase =
        |began_s: f64, logs: &[f64]| Phase { began_s, ended_s: began_s + 6.0, blocks: vec![values(logs)] };
    let one = phase(0.0, &[0.0, 2.0, 0.0, 2.0, 0.0, 2.0]);
    let other = phase(6.0, &[4.0, 6.0, 4.0, 6.0, 4.0, 6.0]);
    let difference = Difference::between(&one, &other, 0, &NONE).expect("blocks");
    // The variance of a block is 6 / 5, that of a mean 1 / 5, that of the difference 2 / 5.
    assert!((difference.mean - 4.0).abs() < 1e-12);
    assert!((difference.deviation - 0.4f64.sqrt()).abs() < 1e-12);
    assert!((difference.freedom - 10.0).abs() < 1e-9);
    // The quantile of Student's distribution with 10 degrees of freedom for 95 % is 2.228 (any table).
    let effect = difference.effect(0.95);
    assert!((effect.low.ln() - (4.0 - 2.228 * 0.4f64.sqrt())).abs() < 1e-3, "{effect:?}");
    // Phases of 6 blocks without a gap differ by 2 * 6 / 3 blocks of drift: an own one of 1 / 3 of a block's noise, which
    // is 6 / 5, adds 4 * 6 / 15.
    let drift =
        Drift { pooled: Own { walk: Walk { variance: 1.0 / 3.0, freedom: 2.0 }, slope: 0.0 }, ..NONE };
    let own = Difference::between(&one, &other, 0, &drift).expect("blocks");
    assert!((own.deviation - (0.4f64 + 1.6).sqrt()).abs() < 1e-12);
    assert!((own.freedom - 4.0 / (0.016 + 1.6f64.powi(2) / 2.0)).abs() < 1e-9, "{own:?}");
    // A common drift adds as many blocks, and 6 more where the gap is as long as a phase.
    let drift = Drift { common: Walk { variance: 0.15, freedom: 1.0 }, ..NONE };
    let common = Difference::between(&one, &other, 0, &drift).expect("blocks");
    assert!((common.deviation - 1.0).abs() < 1e-12);
    let late = Phase { began_s: 12.0, ended_s: 18.0, ..other };
    let common = Difference::between(&one, &late, 0, &drift).expect("blocks");
    assert!((common.deviation - 1.9f64.sqrt()).abs() < 1e-12);
    // A slope of 0.1 leads 12 blocks, from the middle of the one to that of the other.
    let drift = Drift { apart: vec![(0, Own { slope: 0.1, ..NONE.pooled })], ..NONE };
    let slope = Difference::between(&one, &late, 0, &drift).expect("blocks");
    assert!((slope.deviation - (0.4f64 + 1.44).sqrt()).abs() < 1e-12);
}

#[test]
fn too_few_blocks_and_no_numbers_give_nothing() {
    let phase = |blocks: Vec<f64>| Phase { began_s: 0.0, ended_s: 1.0, blocks: vec![blocks] };
    let drift = NONE;
    let good = phase(vec![1.0; 6]);
    for bad in [vec![], vec![1.0; 5], vec![1.0, 2.0, 0.0, 1.0, 1.0, 1.0], vec![f64::NAN; 6]] {
        assert_eq!(Difference::between(&good, &phase(bad), 0, &drift), None);
    }
    assert_eq!(Difference::between(&good, &good, 1, &drift), None);
    let same = Difference::between(&good, &good, 0, &drift).expect("blocks");
    assert!(same.p() > 0.99, "equal values are no effect");
    assert_eq!(Drift::of(&[good]), NONE);
}
