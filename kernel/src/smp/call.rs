//! Cross-calls: running a function on other CPUs.
//!
//! Each CPU has an *inbox*: one slot per sender and a bit that says which slots are filled. To call, a sender puts a
//! pointer to its [`Call`] into its own slot of each target's inbox, sets the bit, and interrupts the target unless
//! another bit of that word was set already (then an interrupt is on its way). A slot has one writer and one reader, so
//! nothing is locked and nothing is allocated. The target empties the slot, runs the function, and then acknowledges.
//!
//! **No deadlock.** Whoever waits, for a slot or for acknowledgements, serves its own inbox meanwhile, so two CPUs that
//! call each other with interrupts off both go on. A function runs with interrupts off, and its own slot is empty
//! by then, so it may call in turn; it must not wait for a lock whose holder waits for it.
//!
//! **Lifetimes.** [`run_on`] returns only when all targets have acknowledged: what the function borrows stays. A
//! [`StaticCall`] lives for ever, so it may be started, left, and asked later.

use core::marker::PhantomData;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use rhumb_machine::{CpuId, CpuMask, IrqOff, MAX_CPUS, Machine, Pinned};

use crate::arch::idt::vector;
use crate::arch::{apic, percpu};
use crate::machine::MACHINE;
use crate::smp;

const WORDS: usize = MAX_CPUS / 64;

/// What waits for one CPU.
pub struct Inbox {
    filled: [AtomicU64; WORDS],
    slots: [AtomicPtr<Call>; MAX_CPUS],
}

impl Inbox {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            filled: [const { AtomicU64::new(0) }; WORDS],
            slots: [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS],
        }
    }
}

/// A function, its argument, and how many targets have yet to acknowledge.
struct Call {
    function: unsafe fn(*const ()),
    argument: *const (),
    pending: AtomicU32,
}

/// Runs `remote` on each CPU of `targets` other than this one, `meanwhile` here, and waits until all are done.
/// Cost: one interrupt per target (one in all where the targets are all other CPUs), none where `targets` is empty.
pub fn run_on<F: Fn() + Sync>(pinned: Pinned<'_>, targets: &CpuMask, remote: &F, meanwhile: impl FnOnce()) {
    unsafe fn invoke<F: Fn()>(argument: *const ()) {
        // SAFETY: `run_on` passed a reference to an F, and waits for the acknowledgement that follows this call.
        unsafe { (*argument.cast::<F>())() }
    }
    /// Waits even where `meanwhile` unwinds through (it does not: the kernel aborts), so that the record cannot go
    /// first.
    struct Wait<'a>(&'a Call);
    impl Drop for Wait<'_> {
        fn drop(&mut self) {
            wait(self.0);
        }
    }
    let call = Call {
        function: invoke::<F>,
        argument: core::ptr::from_ref(remote).cast(),
        pending: AtomicU32::new(0),
    };
    let waiting = Wait(&call);
    send(pinned, targets, waiting.0);
    meanwhile();
}

/// A cross-call that lives for ever: it can be started, left alone, and asked whether it is done.
pub struct StaticCall {
    call: Call,
    _not_auto: PhantomData<*const ()>,
}

// SAFETY: the function takes no argument, and `pending` is atomic.
unsafe impl Sync for StaticCall {}

/// The call is still under way on some CPU: it cannot be started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

impl StaticCall {
    /// A call of `function`, not started.
    pub const fn new(function: fn()) -> Self {
        unsafe fn invoke(argument: *const ()) {
            // SAFETY: `new` stored a `fn()` in the argument, which is as wide.
            unsafe { core::mem::transmute::<*const (), fn()>(argument)() }
        }
        Self {
            call: Call { function: invoke, argument: function as *const (), pending: AtomicU32::new(0) },
            _not_auto: PhantomData,
        }
    }

    /// Starts it on each CPU of `targets` other than this one and returns at once.
    pub fn start(&'static self, pinned: Pinned<'_>, targets: &CpuMask) -> Result<(), Busy> {
        // One starter: whoever takes the count from zero to its guard value.
        if self.call.pending.compare_exchange(0, 1, AcqRel, Relaxed).is_err() {
            return Err(Busy);
        }
        send(pinned, targets, &self.call);
        self.call.pending.fetch_sub(1, Release);
        Ok(())
    }

    /// Whether every target of the last start has acknowledged.
    pub fn is_done(&self) -> bool {
        self.call.pending.load(Acquire) == 0
    }

    /// Waits until it is done, serving calls to this CPU meanwhile.
    pub fn wait(&self) {
        wait(&self.call);
    }
}

fn send(pinned: Pinned<'_>, targets: &CpuMask, call: &Call) {
    let me = pinned.cpu();
    let targets = targets.without(me);
    if targets.is_empty() {
        return;
    }
    let here = percpu::of_pinned(pinned);
    // From the first slot to the last interrupt: a handler on this CPU that calls would find a slot filled whose target
    // has not been interrupted yet, and wait for ever.
    let _irq_off = MACHINE.irq_off();
    call.pending.fetch_add(targets.len() as u32, Relaxed);
    let online = smp::online();
    let mut to_interrupt = CpuMask::EMPTY;
    for target in targets.iter() {
        let Some(area) = percpu::of(target).filter(|_| online.contains(target)) else {
            // A CPU that does not run (it may have an area) has nothing to do: it counts as done.
            call.pending.fetch_sub(1, Release);
            continue;
        };
        if post(area, me, call) == 0 {
            to_interrupt.insert(target);
        }
        here.counters.calls_sent.count();
    }
    if to_interrupt == online.without(me) {
        apic::send_to_others(vector::CALL);
    } else {
        for target in to_interrupt.iter() {
            if let Some(area) = percpu::of(target) {
                apic::send(area.apic_id.load(Relaxed), vector::CALL);
            }
        }
    }
}

/// Puts `call` into `from`'s slot of `area` and returns which bits of its word were set before.
///
/// While the slot is filled by an earlier call of ours (a static one that nobody waited for), the target
/// will come to empty it.
fn post(area: &percpu::PerCpu, from: CpuId, call: &Call) -> u64 {
    let slot = &area.inbox.slots[from.index()];
    let pointer = core::ptr::from_ref(call).cast_mut();
    loop {
        if slot.compare_exchange(core::ptr::null_mut(), pointer, Release, Relaxed).is_ok() {
            return area.inbox.filled[from.index() / 64].fetch_or(1 << (from.index() % 64), AcqRel);
        }
        serve_if_here();
        core::hint::spin_loop();
    }
}

fn wait(call: &Call) {
    while call.pending.load(Acquire) != 0 {
        serve_if_here();
        core::hint::spin_loop();
    }
}

/// Serves this CPU's inbox; interrupts go off for it.
pub fn serve_if_here() {
    let inbox = &percpu::here().inbox;
    if inbox.filled.iter().all(|word| word.load(Relaxed) == 0) {
        return;
    }
    let guard = MACHINE.irq_off();
    serve(guard.irq_off());
}

/// Runs all that waits in this CPU's inbox. Called from the interrupt, and by whoever waits.
pub fn serve(irq_off: IrqOff<'_>) {
    let here = percpu::of_pinned(irq_off.pinned());
    for (index, word) in here.inbox.filled.iter().enumerate() {
        let mut filled = word.swap(0, AcqRel);
        while filled != 0 {
            let sender = index * 64 + filled.trailing_zeros() as usize;
            filled &= filled - 1;
            let pointer = here.inbox.slots[sender].swap(core::ptr::null_mut(), AcqRel);
            // SAFETY: the sender put a reference there that lives until the acknowledgement below.
            let Some(call) = (unsafe { pointer.as_ref() }) else { continue };
            // SAFETY: the function and its argument were stored together by whoever made the call.
            unsafe { (call.function)(call.argument) };
            here.counters.calls_served.count();
            call.pending.fetch_sub(1, Release);
        }
    }
}
