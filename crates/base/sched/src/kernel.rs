//! [`Kernel`]: what the scheduler asks of the kernel that uses it, beside memory for threads ([`ThreadHome`]).

use core::ptr::NonNull;

use rhumb_machine::{CpuId, IrqOff, Pinned};

use crate::per_cpu::PerCpu;
use crate::thread::{Thread, ThreadHome, ThreadRef};

/// CPUs with stacks to switch between, a clock, an alarm for each CPU, and interrupts that ask a CPU to reschedule.
///
/// The functions that take a token, and [`Kernel::per_cpu`], are called with interrupts off, and some with spin locks of
/// the scheduler held. They call nothing of the scheduler, wait for nothing, and take constant time.
///
/// # Safety
/// 1. [`Kernel::per_cpu`] returns the same [`PerCpu`] for a CPU in each call, and another for each CPU.
/// 2. [`Kernel::switch`] does as its documentation says.
/// 3. [`Kernel::may_switch`] is true only where the calling code has no guard and no token of the machine: no pin, no
///    interrupts turned off. The code after a switch may be on another CPU, where such a token would be a lie.
pub unsafe trait Kernel: ThreadHome {
    /// Returns the scheduler's data of a CPU, for any CPU that is or will be online.
    fn per_cpu(&self, cpu: CpuId) -> &PerCpu<Self>;

    /// Returns nanoseconds for decisions: the time never goes back on a CPU, and CPUs may differ by some microseconds,
    /// which become errors of that size in shares. If the clock does not run, slices do not end.
    fn time_ns(&self) -> u64 {
        self.now_ns()
    }

    /// Has `cpu` call [`Scheduler::reschedule`](crate::Scheduler::reschedule) soon: the calling CPU at its next
    /// preemption point, another one by an interrupt. It is asked once: where it cannot switch then, it tries again at
    /// its next preemption point, as long as [`Scheduler::is_wanted`](crate::Scheduler::is_wanted) says so.
    fn request_reschedule(&self, cpu: CpuId, here: Pinned<'_>);

    /// Has this CPU call [`Scheduler::alarm`](crate::Scheduler::alarm) from an interrupt at that time or soon after, and
    /// at no earlier time set before; never, if there is no time.
    fn set_alarm(&self, at_ns: Option<u64>, irq_off: IrqOff<'_>);

    /// Tells whether the calling code may go on on another CPU: it has no pin, and has not turned interrupts off.
    fn may_switch(&self) -> bool;

    /// Saves the registers of the calling thread in `from`, and goes on with those of `to`; returns when another call
    /// switches to `from`, perhaps on another CPU. A thread that runs for the first time begins with
    /// [`Scheduler::begin`](crate::Scheduler::begin) instead of a return from this function.
    ///
    /// Interrupts are off before and after, by one [`irq_save`](rhumb_machine::Machine::irq_save). How many of these are
    /// in force, and whether interrupts come back after the last, is part of the thread: it is saved and restored with
    /// the registers. A new thread begins with one `irq_save` in force, and interrupts to come back.
    ///
    /// # Safety
    /// `from` is the calling thread. `to` is on no CPU. Nothing of the caller depends on its CPU. Both are in memory until the
    /// registers of `to` are in force. From then on either may end and be freed at any time, before this function has
    /// returned: so these are addresses, and the function keeps no reference to a thread across that step.
    unsafe fn switch(&self, from: NonNull<Thread<Self>>, to: NonNull<Thread<Self>>);

    /// Takes the reference that a thread had to itself, when the thread has ended and no CPU uses its stack. Where it is
    /// the last one, dropping it drops the kernel's part of the thread and calls [`ThreadHome::free`]. Interrupts are off,
    /// and the next thread has not returned from its switch yet. A kernel whose stacks need more time than this place
    /// allows keeps the reference for a thread that has it.
    fn reap(&self, thread: ThreadRef<Self>, irq_off: IrqOff<'_>) {
        let _ = irq_off;
        drop(thread);
    }
}
