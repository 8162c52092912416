//! Instruction streams of all CPUs made new: after it no CPU runs instructions that it fetched before.
//!
//! A CPU may have fetched and decoded instructions long before it runs them. Where an address gets other code, each CPU
//! executes a serialising instruction first (SDM volume 3, 9.1.3, "Cross-Modifying Code"; APM volume 2, 7.6.1).

use rhumb_machine::Machine;

use super::machine::MACHINE;
use super::{call, online};
use crate::arch::control;

/// Has every CPU that runs serialise, and returns when all have. Not with a lock held for which one of them waits with
/// interrupts off without serving calls.
///
/// Cost: an interrupt for each other CPU, idle ones included.
pub fn everywhere() {
    let guard = MACHINE.pin();
    let others = online().without(guard.pinned().cpu());
    call::run_on(guard.pinned(), &others, &control::serialise, control::serialise);
}
