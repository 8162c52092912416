//! A storm of interrupts: they strike between any two instructions.
//!
//! A timer of the host sends signals to the CPU's thread; the signal's handler is the interrupt. Where it strikes is up
//! to chance, and every run is another: [`crate::interrupt`] strikes at few places, but at the same ones each time.
//! A signal that comes while the CPU has interrupts off is lost, as an edge is that comes twice.

use core::ptr::{self, NonNull};
use std::io;
use std::sync::Once;

use rhumb_machine::{CpuId, IrqOff, IrqState, Pinned};

use crate::thread::{OnStack, THIS};

/// The signal that carries the interrupt. By default a process ignores it, so that one that comes late does no harm.
const SIGNAL: libc::c_int = libc::SIGURG;

/// Nanoseconds between two signals: a prime, so that they do not fall into step with the body's loop, and about the
/// shortest interval that a host keeps up with.
const INTERVAL_NS: libc::c_long = 20_011;

/// An armed handler, on the stack of [`storm`].
struct Storm<'body> {
    cpu: CpuId,
    machine: u32,
    handler: &'body mut dyn FnMut(IrqOff<'_>),
    struck: u64,
}

/// The address of a [`Storm`], its lifetime erased: it is in the thread's cell only while [`storm`] has not returned.
type Raging = NonNull<Storm<'static>>;

/// Handles the signal. A panic in it ends the process, since it cannot unwind. The body's `errno` is as it was, so
/// that the body does not take an error of the handler's for its own.
extern "C" fn strike(_signal: libc::c_int) {
    // SAFETY: the C library answers with the address of this thread's `errno`.
    let (errno, before) = unsafe { (libc::__errno_location(), *libc::__errno_location()) };
    THIS.with(|this| {
        let Some(raging) = this.storm.get() else { return };
        let mut raging: Raging = raging.cast();
        if this.irq() == IrqState::Off {
            return;
        }
        let _held = this.held();
        // SAFETY: `storm` keeps it alive while it is in the cell, and touches it only after it has taken it out. The
        // signal is blocked while its handler runs, so no second handler comes here.
        let storm = unsafe { raging.as_mut() };
        storm.struck += 1;
        // SAFETY: interrupts are off until `_held` is dropped, after the call, and the thread is this CPU.
        (storm.handler)(unsafe { IrqOff::assume_on(storm.cpu, storm.machine) });
    });
    // SAFETY: the address is that of this thread's `errno`, and the thread has not ended.
    unsafe { errno.write(before) };
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: all-zero is a value of this structure of the C library: no flag, an empty mask.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = strike as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the structure is whole, and the handler reaches thread-local cells only, which need no
        // initialisation. Were it refused, no interrupt would strike, and `struck` would say so.
        unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) };
    });
}

/// A timer that signals the thread that made it. Dropped, the storm before it rages again, if there was one, also when
/// the body panics.
struct Thunder {
    timer: libc::timer_t,
    before: Option<OnStack>,
}

impl Thunder {
    fn begin() -> io::Result<Self> {
        // SAFETY: all-zero is a value of this structure of the C library.
        let mut event: libc::sigevent = unsafe { core::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_pid();
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both structures are whole and ours.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        let thunder = Self { timer, before: THIS.with(|this| this.storm.get()) };
        let interval = libc::timespec { tv_sec: 0, tv_nsec: INTERVAL_NS };
        let times = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: the timer was made just now, and the structure is whole.
        let set = unsafe { libc::timer_settime(thunder.timer, 0, &raw const times, ptr::null_mut()) };
        if set == 0 { Ok(thunder) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Thunder {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and deleted here alone. A signal on its way finds the storm before it, or none.
        unsafe { libc::timer_delete(self.timer) };
        THIS.with(|this| this.storm.set(self.before));
    }
}

/// Runs `body` on this thread, which is the CPU that `pinned` names, with `handler` striking now and then.
///
/// # Safety
/// The handler does only what a signal handler may: no heap, no lock that the body may hold. It shares only atomics
/// with the body.
///
/// # Errors
/// If the host gives no timer; then the body has not run.
pub(crate) unsafe fn storm<T>(
    pinned: Pinned<'_>,
    handler: &mut dyn FnMut(IrqOff<'_>),
    body: impl FnOnce() -> T,
) -> io::Result<(T, u64)> {
    install();
    let mut storm = Storm { cpu: pinned.cpu(), machine: pinned.machine(), handler, struck: 0 };
    let raging: Raging = NonNull::from(&mut storm).cast();
    let result = {
        let _thunder = Thunder::begin()?;
        THIS.with(|this| this.storm.set(Some(raging.cast())));
        body()
    };
    // SAFETY: the pointer is that of the local above, and has been taken out of the cell.
    Ok((result, unsafe { raging.as_ref() }.struck))
}
