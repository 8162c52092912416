use super::*;
use crate::rival::UserSpace;
use crate::workload::Workload;

const CASE: Case =
    Case { placement: Placement::Spread, workload: Workload::Page64, user_space: UserSpace::Idle };

#[test]
fn names_are_stable() {
    assert_eq!(CASE.id("4k"), "page-read-64b/4k");
    let other = Case { placement: Placement::Dense, user_space: UserSpace::Large, ..CASE };
    assert_eq!(other.id(&Pages::Aged(8).id()), "page-read-64b/aged-8/dense/competing-64m");
}

/// Returns pairs of a ratio, with some noise that both have and some that only the arm has.
fn pairs(ratio: f64) -> Pairs {
    let baseline: Vec<f64> = (0..14).map(|round| 100.0 + f64::from(round * 7 % 5)).collect();
    let arm =
        baseline.iter().enumerate().map(|(round, ns)| ns * ratio * (1.0 + (round % 3) as f64 * 1e-3 - 1e-3));
    Pairs { arm: arm.collect(), baseline }
}

#[test]
fn same_against_same_passes_and_a_planted_difference_fails() {
    let key = (CASE, Arm::Again);
    let same = pairs(1.0);
    let control = negative_control(Pages::Gib, &[(&key, &same)], Stopped::Rounds).unwrap();
    assert!(control.passed, "{}", control.verdict);
    let different = pairs(1.02);
    let control = negative_control(Pages::Gib, &[(&key, &different)], Stopped::Rounds).unwrap();
    assert!(!control.passed, "{}", control.verdict);
    assert!((control.comparison.effect.unwrap().ratio - 1.02).abs() < 0.003);
}

#[test]
fn one_bad_case_of_several_moves_the_mean() {
    let key = (CASE, Arm::Again);
    let control =
        negative_control(Pages::Gib, &[(&key, &pairs(1.0)), (&key, &pairs(1.04))], Stopped::Rounds).unwrap();
    assert!(!control.passed);
    assert!((control.comparison.effect.unwrap().ratio - 1.02).abs() < 0.003);
}

#[test]
fn too_few_rounds_are_no_control() {
    let key = (CASE, Arm::Again);
    let few = Pairs { baseline: vec![1.0, 2.0], arm: vec![1.0, 2.0] };
    assert!(negative_control(Pages::Gib, &[(&key, &few)], Stopped::Time).is_none());
}
