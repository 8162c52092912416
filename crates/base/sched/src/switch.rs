//! Switching: where the calling thread gives its CPU to another one; a leaf where `unsafe` lives.
//!
//! A thread that comes back may be on another CPU, so no token of the machine is alive across the switch. These functions
//! turn interrupts off by hand, and make a token before the switch and another one behind it. A caller that holds a
//! token or a guard itself is refused ([`Kernel::may_switch`]).

use core::convert::Infallible;

use rhumb_machine::{IrqOff, impossible};
use rhumb_sync::atomic::relax;

use crate::kernel::Kernel;
use crate::run_queue::Why;
use crate::scheduler::Scheduler;
use crate::thread::Thread;

/// The caller cannot wait or end: it has a pin, or has turned interrupts off, or is the idle thread, or its CPU is not
/// online.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotSwitch;

impl<K: Kernel> Scheduler<K> {
    /// Does `step` as the thread that runs, with interrupts off, and has the CPU choose anew if `step` says why. Then does
    /// `after`, as the same thread, perhaps on another CPU.
    pub(crate) fn with_switch(
        &self,
        step: impl FnOnce(&Thread<K>, IrqOff<'_>) -> Option<Why>,
        after: impl FnOnce(&Thread<K>, IrqOff<'_>),
    ) -> Result<(), CannotSwitch> {
        if !self.kernel.may_switch() {
            return Err(CannotSwitch);
        }
        let mut waits = false;
        let cpu = self.kernel.irq_save();
        let switch = {
            // SAFETY: interrupts are off on this CPU since `irq_save`, and the token ends with this block.
            let irq_off = unsafe { IrqOff::assume_on(cpu, self.kernel.identity()) };
            match self.running(irq_off) {
                Some(thread) => Ok(step(thread, irq_off).and_then(|why| {
                    waits = why == Why::Block;
                    if waits {
                        self.heed_cancel(thread, irq_off);
                    }
                    self.decide(why, irq_off)
                })),
                None => Err(CannotSwitch),
            }
        };
        if let Ok(Some(switch)) = &switch {
            // SAFETY: `from` is the calling thread, as this CPU runs it. `to` was taken out of the CPU's queue, where only
            // threads are that are on no CPU. Both are in memory, and the caller has no token.
            unsafe { self.kernel.switch(switch.from, switch.to) };
        }
        let cpu = self.kernel.irq_save();
        {
            // SAFETY: interrupts are off, and the token ends with this block.
            let irq_off = unsafe { IrqOff::assume_on(cpu, self.kernel.identity()) };
            self.settle(irq_off);
            if let (Ok(_), Some(thread)) = (&switch, self.running(irq_off)) {
                if waits {
                    self.tell_cancel(thread);
                }
                after(thread, irq_off);
            }
        }
        // SAFETY: undoes the second `irq_save`, on the same CPU, with no token alive.
        unsafe { self.kernel.irq_restore() };
        // SAFETY: undoes the first `irq_save`, which the switch has brought to this CPU with the thread. No token is alive.
        unsafe { self.kernel.irq_restore() };
        switch.map(|_| ())
    }

    /// Settles the thread that this CPU has left, if it has left one that is not settled yet.
    fn settle(&self, irq_off: IrqOff<'_>) {
        if let Some(gone) = self.finish(irq_off) {
            self.kernel.reap(gone, irq_off);
        }
    }

    /// Is the first thing that a new thread calls, on its own stack. It returns with interrupts as they are to be for
    /// threads.
    ///
    /// # Safety
    /// Called once by a thread that [`Kernel::switch`] has switched to for the first time, before anything else, with
    /// interrupts off as that function says.
    pub unsafe fn begin(&self) {
        self.settle(self.kernel.irq_off().irq_off());
        // SAFETY: undoes the `irq_save` with which a new thread begins; no token is alive.
        unsafe { self.kernel.irq_restore() };
    }

    /// Has this CPU run the best thread that it has: for preemption points. Does nothing where the caller may not be
    /// preempted.
    pub fn reschedule(&self) {
        // A CPU that is not online has no thread to choose, and a caller that may not switch is asked again later.
        let _ = self.with_switch(|_, _| Some(Why::Preempt), |_, _| {});
    }

    /// Lets other threads of this CPU go first: those of the same priority, or those whose turn it is by their shares.
    pub fn yield_now(&self) {
        // As above.
        let _ = self.with_switch(|_, _| Some(Why::Yield), |_, _| {});
    }

    /// Ends the calling thread with a result for those that [join](Scheduler::join) it. The kernel gets the thread back
    /// by [`Kernel::reap`].
    ///
    /// # Errors
    /// [`CannotSwitch`], and the thread goes on.
    ///
    /// # Safety
    /// The calling function is the one with which the thread began, and it has nothing left on its stack that is pinned,
    /// lent or to be dropped: the stack goes away, and what is on it is not dropped. Work that a thread is given has
    /// returned before. So code that relies on its destructors, as scopes that join in them do, cannot call this itself:
    ///
    /// ```compile_fail,E0133
    /// fn leave<K: rhumb_sched::Kernel>(scheduler: &rhumb_sched::Scheduler<K>) {
    ///     let _ = scheduler.end(0);
    /// }
    /// ```
    pub unsafe fn end(&self, result: u64) -> Result<Infallible, CannotSwitch> {
        let Some(thread) = self.current().filter(|thread| self.kernel.may_switch() && !thread.is_idle())
        else {
            return Err(CannotSwitch);
        };
        thread.set_result(result);
        thread.joiners.wake_all(self);
        // The thread has a reference to itself. This one would be lost with the stack.
        drop(thread);
        self.with_switch(
            |thread, _| {
                thread.word.end();
                Some(Why::End)
            },
            |_, _| {},
        )?;
        loop {
            impossible!("a thread that has ended does not run again, because it is in no queue");
            relax();
        }
    }
}
