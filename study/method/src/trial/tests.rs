use std::cell::{Cell, RefCell};

use super::*;

/// A user that ends the study after so many looks.
struct Hasty(Cell<u32>);

impl Watch for Hasty {
    fn is_cancelled(&self) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        self.0.get() == 0
    }

    fn round(&self, _: u32, _: u32) {}
}

fn patient() -> Hasty {
    Hasty(Cell::new(u32::MAX))
}

fn plan() -> Plan {
    Plan {
        precision: 0.01,
        rounds_at_least: 8,
        rounds_at_most: 40,
        warm_up: 2,
        budget: Duration::MAX,
        confidence: 0.95,
        seed: 1,
    }
}

#[test]
fn a_precise_trial_stops_at_once_and_leaves_the_warm_up_out() {
    let taken = Cell::new(0);
    let mut arms = [
        Arm::new("one", || {
            taken.set(taken.get() + 1);
            Ok(if taken.get() <= 2 { 1e6 } else { 100.0 })
        }),
        Arm::new("two", || Ok(103.0)),
    ];
    let trial = Trial::run(&mut arms, &plan(), &patient()).expect("samples");
    drop(arms);
    assert_eq!((trial.stopped, trial.samples[0].len(), taken.get()), (Stopped::Precise, 8, 10));
    assert!(trial.samples[0].iter().all(|sample| *sample == 100.0));
    let effect = trial.effect(1, &plan()).expect("an effect");
    assert!((effect.ratio - 1.03).abs() < 1e-12);
    assert_eq!(trial.arms, ["one", "two"]);
}

#[test]
fn a_trial_that_is_never_precise_stops_at_its_rounds_or_its_time() {
    let taken = Cell::new(0u32);
    let mut arms = [
        Arm::new("one", || Ok(100.0)),
        Arm::new("two", || {
            taken.set(taken.get() + 1);
            Ok(80.0 + f64::from(taken.get() * 7 % 41))
        }),
    ];
    let trial = Trial::run(&mut arms, &plan(), &patient()).expect("samples");
    assert_eq!((trial.stopped, trial.samples[1].len()), (Stopped::Rounds, 40));
    let hurried = Plan { budget: Duration::ZERO, ..plan() };
    let trial = Trial::run(&mut arms, &hurried, &patient()).expect("samples");
    assert_eq!((trial.stopped, trial.samples[1].len()), (Stopped::Time, 8));
}

#[test]
fn each_round_takes_each_arm_once_in_an_order_that_changes() {
    let order = RefCell::new(Vec::new());
    let order = &order;
    let mut arms: Vec<Arm<'_>> = (0..3)
        .map(|arm| {
            Arm::new("arm", move || {
                order.borrow_mut().push(arm);
                Ok(1.0 + order.borrow().len() as f64)
            })
        })
        .collect();
    Trial::run(&mut arms, &plan(), &patient()).expect("samples");
    let order = order.borrow();
    let rounds: Vec<&[i32]> = order.chunks(3).collect();
    assert_eq!(rounds.len(), 42);
    for round in &rounds {
        let mut arms = round.to_vec();
        arms.sort_unstable();
        assert_eq!(arms, [0, 1, 2]);
    }
    for arm in 0..3 {
        let first = rounds.iter().filter(|round| round[0] == arm).count();
        assert!((5..24).contains(&first), "arm {arm} is first in {first} of 42 rounds");
    }
}

#[test]
fn a_cancelled_trial_keeps_its_whole_rounds() {
    let mut arms = [Arm::new("one", || Ok(100.0)), Arm::new("two", || Ok(103.0))];
    // Two rounds of warm-up, three that count, and one arm of the next.
    let trial = Trial::run(&mut arms, &plan(), &Hasty(Cell::new(2 * 5 + 2))).expect("samples");
    assert_eq!(trial.stopped, Stopped::Cancelled);
    assert_eq!((trial.samples[0].len(), trial.samples[1].len()), (3, 3));
    assert_eq!(trial.effect(1, &plan()), None);
}

#[test]
fn an_arm_that_fails_or_gives_nonsense_is_named() {
    let mut arms = [Arm::new("one", || Ok(100.0)), Arm::new("two", || Err("no memory".into()))];
    let failed = Trial::run(&mut arms, &plan(), &patient()).expect_err("an arm without memory");
    assert_eq!(failed.to_string(), "two: no memory");
    let mut arms = [Arm::new("one", || Ok(0.0))];
    let failed = Trial::run(&mut arms, &plan(), &patient()).expect_err("a sample of 0");
    assert_eq!(failed.to_string(), "one: 0 is not a positive number");
}

#[test]
fn a_baseline_alone_stops_when_its_median_is_known() {
    let taken = Cell::new(0u32);
    let mut arms = [Arm::new("one", || {
        taken.set(taken.get() + 1);
        Ok(100.0 + f64::from(taken.get() * 7 % 5))
    })];
    let trial = Trial::run(&mut arms, &Plan { precision: 0.03, ..plan() }, &patient()).expect("samples");
    assert_eq!((trial.stopped, trial.samples[0].len()), (Stopped::Precise, 8));
    let trial = Trial::run(&mut arms, &Plan { precision: 0.0001, ..plan() }, &patient()).expect("samples");
    assert_eq!(trial.stopped, Stopped::Rounds);
}
