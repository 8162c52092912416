//! A preemptive scheduler for many CPUs that knows no register: threads, run queues, and their hand-over.
//!
//! | module | owns |
//! |---|---|
//! | [`kernel`] | [`Kernel`]: what the scheduler asks of its kernel |
//! | [`limits`] | [`Limits`]: slices, the budget of real time |
//! | [`thread`] | [`Thread`], [`ThreadRef`]: a thread where its kernel has memory for it ([`ThreadHome`]) |
//! | [`word`] | the state of a thread in one word, by which CPUs hand it over |
//! | [`policy`] | [`Policy`]: real time by priority, fair by share |
//! | `list`, `tree`, `field` | queues whose links are inside the threads |
//! | `real_time` | the real-time threads of a CPU, and the limit of what they take |
//! | `fair` | the fair threads of a CPU, by earliest eligible virtual deadline |
//! | `spare` | those of them that may run on other CPUs |
//! | `run_queue` | both of them, and the thread that runs |
//! | [`per_cpu`] | [`PerCpu`]: what the scheduler keeps for a CPU |
//! | [`scheduler`] | [`Scheduler`]: starting, waking, choosing, leaving |
//! | `place` | the CPU for a thread that becomes ready |
//! | `balance` | moving threads to CPUs that have less to do |
//! | `idle` | [`Idle`]: what a CPU without threads does |
//! | `alarm` | time-outs and slices that are over |
//! | [`switch`] | where a thread gives its CPU away |
//! | `timers` | the time-outs of a CPU |
//! | [`wait`] | [`WaitQueue`]: waiting, sleeping, joining |
//! | `cancel` | ending a wait of another thread |
//! | [`condition`] | [`Condition`], [`Semaphore`]: waiting beside a mutex, and for permits |
//! | [`mutex`], `inherit` | [`Mutex`]: a lock for which threads sleep, with priority inheritance |
//!
//! Principles:
//! 1. A thread is in one place: in one queue, on one CPU, or waiting. Its word says in which, and only the CPU that has
//!    left its stack puts it where another CPU can find it.
//! 2. No lock, list or counter is shared by all CPUs. A CPU schedules in its own memory; a wake-up touches the thread,
//!    and the queue to which the thread goes.
//! 3. Each stretch with interrupts off takes constant time, or time that grows with the logarithm of the number of
//!    threads on one CPU. Nothing allocates.
//! 4. Decisions and effects are apart: a queue says which thread is best, and whether a CPU should look; the kernel
//!    switches stacks and sends interrupts.
//!
//! Locking, with interrupts off, each held for one step: a wait queue, the timers of a CPU, or the graph of contended
//! mutexes; below them a run queue. Never two of one line, and never two of the three.
#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(any(test, loom, shuttle))]
extern crate std;

mod alarm;
mod balance;
mod cancel;
pub mod condition;
mod fair;
mod field;
mod idle;
mod inherit;
pub mod kernel;
pub mod limits;
mod list;
pub mod mutex;
pub mod per_cpu;
mod place;
pub mod policy;
mod real_time;
mod run_queue;
pub mod scheduler;
mod spare;
pub mod switch;
pub mod thread;
mod timers;
mod tree;
pub mod wait;
pub mod word;

pub use condition::{Condition, Semaphore};
pub use idle::Idle;
pub use inherit::LockError;
pub use kernel::Kernel;
pub use limits::Limits;
pub use mutex::{Mutex, MutexGuard};
pub use per_cpu::PerCpu;
pub use policy::{Nice, Policy, Priority, Turns, Urgency};
pub use scheduler::{SchedError, Scheduler};
pub use switch::CannotSwitch;
pub use thread::{NewError, Thread, ThreadHome, ThreadRef};
pub use wait::{WaitError, WaitQueue};
pub use word::{Reason, State};

#[cfg(test)]
mod tests;

/// The example of the README is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
