use std::vec::Vec;

use super::{NORMAL_WEIGHT, Nice, Policy, Priority, Turns};

fn policies() -> Vec<Policy> {
    let fair = (-20..=19).rev().map(|nice| Policy::Fair(Nice::new(nice).unwrap()));
    let real_time = (0..64).map(|priority| Priority::new(priority).unwrap());
    fair.chain(real_time.map(|priority| Policy::RealTime(priority, Turns::Fifo))).collect()
}

#[test]
fn a_word_gives_the_policy_back() {
    for policy in policies() {
        assert_eq!(Policy::from_bits(policy.bits()), policy);
    }
    let robin = Policy::RealTime(Priority::new(7).unwrap(), Turns::RoundRobin);
    assert_eq!(Policy::from_bits(robin.bits()), robin);
}

#[test]
fn urgencies_are_in_order_and_all_different() {
    let urgencies: Vec<u8> = policies().iter().map(|policy| policy.urgency().get()).collect();
    assert_eq!(urgencies, (0..104).collect::<Vec<u8>>());
}

#[test]
fn a_policy_is_lifted_and_never_lowered() {
    for low in policies() {
        for high in policies() {
            let lifted = low.lifted_to(high.urgency());
            assert_eq!(lifted, if high.urgency() > low.urgency() { high } else { low });
        }
    }
}

/// One step of niceness is a factor of 1.25, to half a unit.
#[test]
fn weights_are_the_powers_of_five_quarters() {
    for nice in -20..=19 {
        let exact = NORMAL_WEIGHT as f64 * 1.25f64.powi(-i32::from(nice));
        assert!((Nice::new(nice).unwrap().weight() as f64 - exact).abs() <= 0.51, "{nice}");
    }
    assert_eq!((Nice::new(-21), Nice::new(20), Priority::new(64)), (None, None, None));
}
