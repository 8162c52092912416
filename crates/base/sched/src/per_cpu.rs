//! [`PerCpu`]: what the scheduler keeps for one CPU.

use rhumb_sync::Lock;
use rhumb_sync::atomic::{AtomicBool, AtomicU64, Relaxed};

use crate::field::{Number, Place};
use crate::limits::Limits;
use crate::run_queue::{Load, RunQueue};
use crate::thread::{Thread, ThreadHome};
use crate::timers::{NEVER, Timers};

/// The scheduler's data of one CPU. The kernel has one for each CPU that may come online, on the CPU's own node.
///
/// ```text
///   line 0, 1   the thread that runs, the one that was left; the queue and its lock   this CPU; wakers, balancers
///   last line   the load                                                              written here, read by balancers
/// ```
#[repr(C, align(128))]
pub struct PerCpu<K: ThreadHome> {
    /// The thread that runs here: read and written by this CPU alone.
    pub(crate) running: Place<Thread<K>>,
    /// The thread that this CPU has switched from, until the next one has settled it: this CPU's alone.
    pub(crate) left: Place<Thread<K>>,
    /// Whether the kernel has been asked to reschedule, and has not done so yet.
    pub(crate) is_wanted: AtomicBool,
    pub(crate) queue: Lock<RunQueue<K>>,
    pub(crate) timers: Timers<K>,
    /// The time of the alarm, as the kernel was told last: this CPU's alone.
    alarm_ns: Number,
    /// When this CPU is to choose anew, as it worked out when it chose last: this CPU's alone.
    pub(crate) choose_ns: Number,
    /// Counts the CPUs with which this one has compared its load: this CPU's alone.
    pub(crate) balance_turn: Number,
    /// Counts the threads that this CPU has started: this CPU's alone.
    pub(crate) starts: Number,
    load: PublishedLoad,
}

/// A load as one word, on a line of its own.
#[repr(align(128))]
struct PublishedLoad(AtomicU64);

const WEIGHT_SHIFT: u32 = 16;

impl<K: ThreadHome> PerCpu<K> {
    rhumb_sync::const_fn! {
        /// Makes the data of a CPU that is not online yet.
        pub fn new(limits: Limits) -> Self {
            Self {
                running: Place::nowhere(),
                left: Place::nowhere(),
                is_wanted: AtomicBool::new(false),
                queue: Lock::new(RunQueue::new(limits)),
                timers: Timers::new(),
                alarm_ns: Number::new(NEVER),
                choose_ns: Number::new(NEVER),
                balance_turn: Number::new(0),
                starts: Number::new(0),
                load: PublishedLoad(AtomicU64::new(0)),
            }
        }
    }

    /// Notes the time of the alarm, and tells whether it is another one than before.
    pub(crate) fn changes_alarm(&self, at_ns: Option<u64>) -> bool {
        let at_ns = at_ns.unwrap_or(NEVER);
        let has_changed = self.alarm_ns.get() != at_ns;
        self.alarm_ns.set(at_ns);
        has_changed
    }

    /// Shows the load of `queue` to other CPUs: by the holder of its lock, after each change.
    pub(crate) fn publish(&self, queue: &RunQueue<K>) {
        let Load { waiting, rank, weight } = queue.load();
        let word = weight << WEIGHT_SHIFT | u64::from(rank) << 8 | u64::from(waiting);
        // Where nothing has changed, other CPUs keep the line.
        if self.load.0.load(Relaxed) != word {
            self.load.0.store(word, Relaxed);
        }
    }

    /// Returns the load as it was published last.
    pub(crate) fn load(&self) -> Load {
        let word = self.load.0.load(Relaxed);
        Load { waiting: word as u8, rank: (word >> 8) as u8, weight: word >> WEIGHT_SHIFT }
    }
}
