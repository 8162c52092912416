//! Simulated studies: good ones pass nearly always, and each planted fault fails.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;

/// A normal deviate, by Box and Muller.
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let (one, two): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

/// Eight workloads and the reference, which is the last.
const SUBJECTS: usize = 9;

fn subjects() -> Vec<Subject> {
    let id = |index| if index + 1 == SUBJECTS { reference::ID.to_owned() } else { format!("work-{index}") };
    (0..SUBJECTS).map(|index| Subject { id: id(index), words: format!("words of {}", id(index)) }).collect()
}

/// A simulated machine.
#[derive(Clone, Copy)]
struct Machine {
    blocks: usize,
    noise: f64,
    /// The random walk's step from one block to the next, shared by all workloads.
    drift: f64,
    /// The change of the kernel's work between the first phase and later ones.
    effect: f64,
    /// The change of all work between the first phase and later ones.
    load: f64,
}

/// The blocks of a phase with `--quick`.
const IDLE: Machine = Machine { blocks: 24, noise: 0.03, drift: 0.001, effect: 0.0, load: 0.0 };

impl Machine {
    fn phases(self, random: &mut Pcg64Mcg) -> Vec<(String, Measured)> {
        let (mut walk, mut time) = (0.0, 0.0);
        let mut phase = |number: usize| {
            let began_s = time;
            let mut blocks = vec![Vec::new(); SUBJECTS];
            for _ in 0..self.blocks {
                walk += self.drift * normal(random);
                time += 1.0;
                for (index, values) in blocks.iter_mut().enumerate() {
                    let effect = if number > 0 && index + 1 < SUBJECTS { self.effect } else { 0.0 };
                    let load = if number > 0 { self.load } else { 0.0 };
                    // The reference has no part in what makes the kernel's work vary.
                    let noise = if index + 1 < SUBJECTS { self.noise } else { self.noise / 2.0 };
                    values.push((5.0 + effect + load + walk + noise * normal(random)).exp());
                }
            }
            let phase = Phase { began_s, ended_s: time, blocks };
            time += 1.0;
            (format!("phase {number}"), Measured { phase, readings: Vec::new(), in_broken: None })
        };
        (0..3).map(&mut phase).collect()
    }

    /// Returns the share of 300 simulated studies of which at least one control fails.
    fn failures(self, seed: u64) -> f64 {
        self.failures_of(3, seed)
    }

    /// The same of studies of two or three phases.
    fn failures_of(self, count: usize, seed: u64) -> f64 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let studies = 300;
        let failed = (0..studies).filter(|_| {
            let mut phases = self.phases(&mut random);
            phases.truncate(count);
            let controls = judge(&subjects(), &phases, vec![by_turns(0.02, 1.0, &mut random)]);
            assert_eq!(
                controls.len(),
                count + (count - 1) + 1,
                "halves of each phase, changes between them, one by turns"
            );
            controls.iter().any(|control| !control.passed)
        });
        failed.count() as f64 / f64::from(studies)
    }
}

/// Returns a comparison of twelve draws.
fn by_turns(noise: f64, ratio: f64, random: &mut Pcg64Mcg) -> Comparison {
    let mut side = |level: f64| (0..12).map(|_| level * (noise * normal(random)).exp()).collect::<Vec<f64>>();
    let (baseline_samples, arm_samples) = (side(100.0), side(100.0 * ratio));
    Comparison {
        id: "control/placed/pread-64b".to_owned(),
        family: String::new(),
        workload: "pread".to_owned(),
        baseline: String::new(),
        arm: String::new(),
        conditions: BTreeMap::new(),
        unit: "ns".to_owned(),
        effect: Effect::of(&baseline_samples, &arm_samples, CONFIDENCE),
        baseline_samples,
        arm_samples,
        stopped: Stopped::Rounds,
    }
}

#[test]
fn good_studies_pass_nearly_always_also_with_an_effect() {
    let quick = IDLE.failures(1);
    assert!(quick <= 0.03, "{quick} of quick studies");
    let long = Machine { blocks: 60, drift: 0.0006, ..IDLE }.failures(2);
    assert!(long <= 0.03, "{long} of long studies");
    let one_step = IDLE.failures_of(2, 13);
    assert!(one_step <= 0.03, "{one_step} of studies with one step");
    let effect = Machine { effect: 0.2, ..IDLE }.failures(3);
    assert!(effect <= 0.03, "{effect} of studies with an effect of the map");
}

#[test]
fn a_machine_that_changes_between_phases_fails_the_reference() {
    for (load, seed) in [(0.3, 4), (-0.3, 5), (0.1, 6)] {
        let failures = Machine { load, ..IDLE }.failures(seed);
        assert!(failures > 0.95, "a change of {load}: {failures}");
    }
    // A noisy machine whose phases differ much, which no p-value shows.
    let failures = Machine { load: 0.4, noise: 0.15, drift: 0.05, ..IDLE }.failures(7);
    assert!(failures > 0.95, "{failures}");
    let mut random = Pcg64Mcg::seed_from_u64(8);
    let phases = Machine { load: 0.3, ..IDLE }.phases(&mut random);
    let controls = judge(&subjects(), &phases, Vec::new());
    let failed: Vec<&Control> = controls.iter().filter(|control| !control.passed).collect();
    assert!(failed.iter().all(|control| control.comparison.id.starts_with(REFERENCE)), "halves are alike");
    assert_eq!(failed.len(), 2);
    assert!(failed[0].verdict.contains("which no direct map can touch"), "{}", failed[0].verdict);
}

#[test]
fn a_machine_on_which_nothing_can_be_seen_fails() {
    let failures = Machine { noise: 0.5, ..IDLE }.failures(9);
    assert!(failures > 0.95, "{failures}");
    // Halves that could see nothing below 25 % are blind, and are no good control.
    let mut random = Pcg64Mcg::seed_from_u64(10);
    let phases = Machine { noise: 0.5, ..IDLE }.phases(&mut random);
    let judged = judge(&subjects(), &phases, Vec::new());
    for control in judged.iter().filter(|control| control.comparison.id.starts_with("control/halves")) {
        assert!(!control.passed && control.verdict.contains("would have been seen"), "{}", control.verdict);
    }
}

#[test]
fn one_noisy_workload_does_not_void_the_study() {
    let mut random = Pcg64Mcg::seed_from_u64(11);
    let mut phases = IDLE.phases(&mut random);
    for (_, one) in &mut phases {
        one.phase.blocks[0].iter_mut().for_each(|value| *value *= (0.5 * normal(&mut random)).exp());
    }
    let judged = judge(&subjects(), &phases, Vec::new());
    assert!(judged.iter().all(|control| control.passed), "{judged:?}");
}

#[test]
fn a_program_that_begins_in_the_middle_of_a_phase_fails_the_study() {
    let mut random = Pcg64Mcg::seed_from_u64(14);
    let failed = (0..100).filter(|_| {
        let mut phases = IDLE.phases(&mut random);
        for blocks in &mut phases[1].1.phase.blocks {
            let half = blocks.len() / 2;
            blocks[half..].iter_mut().for_each(|value| *value *= 1.3);
        }
        judge(&subjects(), &phases, Vec::new()).iter().any(|control| !control.passed)
    });
    assert!(failed.count() >= 95);
}

#[test]
fn phases_that_ended_early_and_workloads_that_failed_leave_the_rest_judged() {
    let mut random = Pcg64Mcg::seed_from_u64(15);
    let ids = |phases: &[(String, Measured)]| -> Vec<String> {
        judge(&subjects(), phases, Vec::new()).into_iter().map(|control| control.comparison.id).collect()
    };
    let mut phases = IDLE.phases(&mut random);
    phases[1].1.phase.blocks[0].truncate(1);
    phases[2].1.phase.blocks[1].clear();
    assert_eq!(ids(&phases).len(), 3 + 2, "halves of each phase, changes of the reference");
    for blocks in &mut phases[2].1.phase.blocks {
        blocks.truncate(3);
    }
    assert_eq!(ids(&phases), ["control/halves/0", "control/halves/1", "control/reference/1"]);
}

#[test]
fn controls_by_turns_fail_where_places_differ_or_nothing_is_seen() {
    let mut random = Pcg64Mcg::seed_from_u64(12);
    let mut passes = |noise, ratio| of_turns(vec![by_turns(noise, ratio, &mut random)])[0].passed;
    assert!(passes(0.01, 1.0));
    assert!(!passes(0.01, 1.05), "files differ");
    assert!(passes(0.0005, 1.005), "seen, and harmless");
    assert!(!passes(0.5, 1.0), "blind");
    let mut short = by_turns(0.01, 1.0, &mut random);
    (short.effect, short.baseline_samples) = (None, Vec::new());
    assert!(of_turns(vec![short]).is_empty(), "a study that was interrupted has no such control");
}
