//! Whole studies on simulated machines, of which the truth is known.
//!
//! Each test counts how often a statement of the crate comes true: that false alarms are as rare as their level says, that
//! intervals hold the true ratio, that a planted effect is found. Seeds are fixed, so that a test gives the same count
//! each time. Bounds lie three standard errors from the stated rate at least.

mod alarms;
mod coverage;
mod machine;
mod power;

use std::time::Duration;

use rhumb_method::Plan;

/// Returns a plan of 12 to 40 rounds, with the precision at which trials on most of these machines stop between the two.
fn plan(seed: u64) -> Plan {
    Plan {
        precision: 0.01,
        rounds_at_least: 12,
        rounds_at_most: 40,
        warm_up: 1,
        budget: Duration::MAX,
        confidence: 0.95,
        seed,
    }
}
