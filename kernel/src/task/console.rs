//! Waiting for input of the console.

use rhumb_machine::Machine;
use rhumb_sched::WaitError;

use super::{WaitQueue, scheduler};
use crate::cpu::machine::MACHINE;

/// The threads that wait for input: the prompt.
static WAITING: WaitQueue = WaitQueue::new();

/// Says that input may have come: from the console's interrupts.
pub fn arrived() {
    WAITING.wake_all(scheduler());
}

/// Waits until `is_ready`, or until `alarm_ns` have passed. `is_ready` is called with interrupts off.
///
/// # Errors
/// The caller is no thread, or holds something because of which it may not sleep.
pub fn wait(mut is_ready: impl FnMut() -> bool, alarm_ns: Option<u64>) -> Result<(), CannotSleep> {
    let until_ns = alarm_ns.map(|ns| MACHINE.now_ns().saturating_add(ns));
    match WAITING.wait_while(scheduler(), until_ns, |_| !is_ready()) {
        Err(WaitError::CannotSwitch) => Err(CannotSleep),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The caller may not sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotSleep;
