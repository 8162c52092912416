//! Cancels: each one ends a wait of a thread, the present one or the next.
//!
//! A cancel leaves a mark in the thread, and then ends the wait that it finds. A thread that begins to wait says so in its
//! word, and then looks at the mark: one of the two sees the other. The thread takes the mark away when a wait of its own
//! has ended by a cancel. So a cancel that comes before a wait, or beside the success of one, is told by the next one.

use rhumb_machine::IrqOff;
use rhumb_sync::atomic::{SeqCst, fence};

use crate::kernel::Kernel;
use crate::scheduler::Scheduler;
use crate::thread::Thread;
use crate::word::{Reason, State};

impl<K: Kernel> Scheduler<K> {
    /// Ends one wait of a thread, which is told so: the present one, or, where the thread does not wait or its wait ends
    /// otherwise, the next one. Returns whether this call is told on its own: `false` if the thread has ended, or has yet
    /// to be told of an earlier one.
    pub fn cancel(&self, thread: &Thread<K>) -> bool {
        if matches!(thread.state(), State::Ended | State::Gone) {
            return false;
        }
        let guard = self.kernel.irq_off();
        let is_new = !thread.is_cancelled.swap(true, SeqCst);
        self.heed_cancel(thread, guard.irq_off());
        is_new
    }

    /// Ends the present wait of a thread, if it is cancelled: by the one that cancels it, and by the thread itself when its
    /// wait has begun.
    pub(crate) fn heed_cancel(&self, thread: &Thread<K>, irq_off: IrqOff<'_>) {
        fence(SeqCst);
        // The mark is looked at after the wait is known: a later wait begins after the mark was taken away.
        if let Some(ticket) = thread.word.ticket()
            && thread.is_cancelled.load(SeqCst)
        {
            self.wake(thread, ticket, Reason::Cancelled, irq_off);
        }
    }

    /// Takes the mark away from the calling thread, if its wait has ended by a cancel.
    pub(crate) fn tell_cancel(&self, thread: &Thread<K>) {
        if thread.reason() == Reason::Cancelled {
            thread.is_cancelled.store(false, SeqCst);
        }
    }
}
