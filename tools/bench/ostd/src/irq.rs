//! Interrupts: there are none.

use crate::cpu::{CpuId, PinCurrentCpu};
use crate::stand_in;

/// Proof that interrupts are off.
#[must_use]
#[derive(Debug)]
pub struct DisabledLocalIrqGuard(core::marker::PhantomData<*mut ()>);

/// Turns interrupts off.
#[inline]
pub fn disable_local() -> DisabledLocalIrqGuard {
    DisabledLocalIrqGuard(core::marker::PhantomData)
}

impl PinCurrentCpu for DisabledLocalIrqGuard {
    #[inline]
    fn current_cpu(&self) -> CpuId {
        CpuId(stand_in::cpu_index())
    }
}
