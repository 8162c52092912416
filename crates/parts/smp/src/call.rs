//! Cross-calls: running a function on other CPUs.
//!
//! Each CPU has an [`Inbox`]: one slot for each sender and a bit that says whether the slot is filled, in [`Senders`]
//! of 64 CPUs. To call, a sender puts a pointer to its call into its own slot of each target's inbox, sets the bit, and
//! interrupts the target, unless another bit of that word was set already: then an interrupt is on its way. A slot has
//! one writer and one reader, so nothing is locked and nothing is allocated. The target empties the slot, runs the
//! function, and then acknowledges by clearing its bit in the call.
//!
//! Boot sizes inboxes by the machine's CPUs. A call's set of CPUs is one word on a machine of up to 64 CPUs, and an
//! array of words on a larger one.
//!
//! **No deadlock.** A CPU that waits, for a slot or for acknowledgements, serves its own inbox meanwhile, so two CPUs
//! that call each other with interrupts off both go on. A function runs with interrupts off, and its own slot is empty
//! by then, so it may call in turn (such functions nest on the stack of the CPU that serves, as many as CPUs call at
//! once); it must not wait for a lock whose holder waits for it.
//!
//! **No debt.** While a CPU serves, no target waits for an interrupt that the CPU owes it: [`run_on`] fills the empty
//! slots, sends their interrupts, and only then waits for the full slots. (A sender's slot is full where the sender
//! serves a function that calls in turn, while the sender's outer call has not been picked up yet.)
//!
//! **Interrupts are off for the slots of 64 CPUs at most.** On a machine of more CPUs, an interrupt handler may run
//! after slots are filled and before their targets are interrupted. So the CPU notes that it owes these interrupts, and
//! a handler that calls or waits sends them first.
//!
//! **Lifetimes.** [`run_on`] returns only when all targets have acknowledged, so the function may borrow.

mod inbox;

use core::array;

use rhumb_machine::mask::{WORD_CPUS, WORDS, words_for};
use rhumb_machine::{CpuId, CpuMask, CpuSet, CpuWords, FirstCpus, IrqOff, Pinned, impossible};

use rhumb_sync::atomic::{AcqRel, AtomicU64};

pub use inbox::{Inbox, Senders};

use inbox::{Call, Posted, post};

/// The machine, as calls see it.
///
/// # Safety
/// [`Cpus::inbox`] returns the same inbox for a CPU each time, another one for each CPU, with slots for every CPU that
/// calls, and the inbox of a CPU is served by that CPU alone. [`Cpus::with_irqs_off`] runs its job on the calling CPU,
/// without any interrupt of this CPU that calls or serves in between.
pub unsafe trait Cpus {
    /// Returns the inbox of `cpu`; `None` where it has none: a call leaves it out, as it does a CPU that is not online.
    fn inbox(&self, cpu: CpuId) -> Option<&Inbox>;

    /// Returns the CPUs that run.
    fn online(&self) -> FirstCpus;

    /// Interrupts `target`, which serves its inbox then.
    fn interrupt(&self, target: CpuId);

    /// Interrupts every CPU that runs but this one.
    fn interrupt_others(&self);

    /// Runs `job` with interrupts off.
    fn with_irqs_off<R>(&self, job: impl FnOnce(IrqOff<'_>) -> R) -> R;

    /// Is told that this CPU has waited for one turn of a loop for the CPUs that `waiting_for` names. Spins; may panic
    /// where that has taken too long.
    fn has_waited(&self, waited: &mut Waited, waiting_for: impl FnOnce() -> CpuMask);

    /// Is told that a call was put into a slot.
    fn has_sent(&self, pinned: Pinned<'_>);

    /// Is told that a call was served.
    fn has_served(&self, pinned: Pinned<'_>);
}

/// How long one wait has taken, for [`Cpus::has_waited`] to keep account in.
#[derive(Clone, Copy, Default, Debug)]
pub struct Waited {
    /// Turns of the loop so far.
    pub turns: u64,
    /// A time of the machine's own choice: when the wait began, say.
    pub since: u64,
}

/// Runs `remote` on each CPU of `targets` other than this one, `meanwhile` here, and waits until all are done. CPUs
/// that do not run are left out.
///
/// Cost: one interrupt for each target (one in all where the targets are all other CPUs), none where `targets` is
/// empty.
///
/// # Panics
/// If an inbox has no slot for this CPU: a call that is not made is a flush that has not happened.
pub fn run_on<C: Cpus, F: Fn() + Sync>(
    cpus: &C,
    pinned: Pinned<'_>,
    targets: &CpuSet,
    remote: &F,
    meanwhile: impl FnOnce(),
) {
    /// Calls an F.
    ///
    /// # Safety
    /// `argument` points to an F, which lives through the call.
    unsafe fn invoke<F: Fn()>(argument: *const ()) {
        // SAFETY: the caller promises that `argument` points to an F that lives.
        unsafe { (*argument.cast::<F>())() }
    }
    let call = Call { function: invoke::<F>, argument: core::ptr::from_ref(remote).cast(), pending: &[] };
    match cpus.online() {
        online @ FirstCpus(0..=WORD_CPUS) => {
            run_words::<C, 1>(cpus, pinned, targets, online, call, meanwhile)
        }
        online => {
            let mut meanwhile = Some(meanwhile);
            run_many(cpus, pinned, targets, online, call, &mut || {
                if let Some(meanwhile) = meanwhile.take() {
                    meanwhile();
                }
            });
        }
    }
}

/// Makes `call` on a machine of more than 64 CPUs. One function serves all callers, because its code is long.
#[inline(never)]
fn run_many<C: Cpus>(
    cpus: &C,
    pinned: Pinned<'_>,
    targets: &CpuSet,
    online: FirstCpus,
    call: Call<'_>,
    meanwhile: &mut dyn FnMut(),
) {
    run_words::<C, WORDS>(cpus, pinned, targets, online, call, meanwhile);
}

/// Makes `call` on those of `targets` that are `online`, whose sets fit into `N` words.
fn run_words<C: Cpus, const N: usize>(
    cpus: &C,
    pinned: Pinned<'_>,
    targets: &CpuSet,
    online: FirstCpus,
    call: Call<'_>,
    meanwhile: impl FnOnce(),
) {
    /// Waits even where `meanwhile` unwinds, so that the call cannot go first.
    struct Wait<'a, C: Cpus>(&'a C, Pinned<'a>, &'a Call<'a>);
    impl<C: Cpus> Drop for Wait<'_, C> {
        fn drop(&mut self) {
            let Self(cpus, pinned, call) = self;
            let mut waited = Waited::default();
            while !call.is_done() {
                serve_if_any(*cpus, *pinned);
                cpus.has_waited(&mut waited, || call.pending());
            }
        }
    }
    let me = pinned.cpu();
    let targets: [u64; N] = array::from_fn(|word| targets.word(word) & others(online, me, word));
    let words = words_for(online.0).min(N);
    let targets = CpuSet::of(&targets[..words]);
    if targets.is_empty() {
        return meanwhile();
    }
    // Answers are expected before the call is in any slot.
    let pending: [AtomicU64; N] = array::from_fn(|word| AtomicU64::new(targets.word(word)));
    let call = Call { pending: &pending[..words], ..call };
    let waiting = Wait(cpus, pinned, &call);
    send::<C, N>(cpus, pinned, targets, online, waiting.2);
    meanwhile();
}

/// Returns a word of all CPUs that are `online` but for this one.
#[inline]
fn others(online: FirstCpus, me: CpuId, word: usize) -> u64 {
    online.word(word) & if word == me.word() { !me.bit() } else { !0 }
}

/// Puts `call` into the slots of `targets`, which are `online`, and interrupts them.
fn send<C: Cpus, const N: usize>(
    cpus: &C,
    pinned: Pinned<'_>,
    targets: &CpuSet,
    online: FirstCpus,
    call: &Call<'_>,
) {
    let me = pinned.cpu();
    let words = targets.words().len();
    let mut full = [0; N];
    if N == 1 {
        // From the first slot to the last interrupt: a handler on this CPU that calls would find a slot filled whose
        // target has not been interrupted yet, and wait for a CPU that knows of nothing.
        cpus.with_irqs_off(|_| {
            let owed = fill_slots::<C, N>(cpus, pinned, targets, call, &mut full);
            let owed = CpuSet::of(&owed[..words]);
            if is_all_but(owed, online, me) {
                cpus.interrupt_others();
            } else {
                owed.iter().for_each(|target| cpus.interrupt(target));
            }
        });
    } else {
        full = send_in_steps(cpus, pinned, targets, online, call);
    }
    // Each of these targets has been interrupted for the earlier call in its slot, and will empty the slot.
    for target in CpuSet::of(&full[..words]).iter() {
        let Some(inbox) = cpus.inbox(target) else { continue };
        let mut waited = Waited::default();
        let post_and_interrupt = |_: IrqOff<'_>| {
            let posted = post(inbox, me, call);
            if posted == Posted::First {
                cpus.interrupt(target);
            }
            posted
        };
        while cpus.with_irqs_off(post_and_interrupt) == Posted::SlotIsFull {
            serve_if_any(cpus, pinned);
            cpus.has_waited(&mut waited, || CpuMask::only(target));
        }
        cpus.has_sent(pinned);
    }
}

/// Tells whether `cpus` are all that are `online` but for `me`.
#[inline]
fn is_all_but(cpus: &CpuSet, online: FirstCpus, me: CpuId) -> bool {
    cpus.words().iter().enumerate().all(|(word, &bits)| bits == others(online, me, word))
}

/// Puts `call` into the slots of `targets`. Returns those that must be interrupted; those whose slots are full are
/// added to `full`.
#[inline]
fn fill_slots<C: Cpus, const N: usize>(
    cpus: &C,
    pinned: Pinned<'_>,
    targets: &CpuSet,
    call: &Call<'_>,
    full: &mut [u64; N],
) -> [u64; N] {
    let mut owed = [0; N];
    for target in targets.iter() {
        match cpus.inbox(target).map(|inbox| post(inbox, pinned.cpu(), call)) {
            Some(Posted::First) => owed[target.word()] |= target.bit(),
            Some(Posted::BehindAnother) => {}
            Some(Posted::SlotIsFull) => {
                full[target.word()] |= target.bit();
                continue;
            }
            None => call.acknowledge(target),
        }
        cpus.has_sent(pinned);
    }
    owed
}

/// Puts `call` into the slots of `targets`, which are `online`, and interrupts them, with interrupts on between the
/// CPUs of one word and the next. Returns those whose slots are full.
///
/// Where the targets are all other CPUs, one interrupt reaches them all at the end. Meanwhile this CPU owes it.
fn send_in_steps<C: Cpus, const N: usize>(
    cpus: &C,
    pinned: Pinned<'_>,
    targets: &CpuSet,
    online: FirstCpus,
    call: &Call<'_>,
) -> [u64; N] {
    let mine = cpus.inbox(pinned.cpu());
    let note = |owes| mine.iter().for_each(|inbox| inbox.set_owes(owes));
    let (mut full, mut owed) = ([0; N], [0; N]);
    let is_for_all = is_all_but(targets, online, pinned.cpu());
    // This may be the call of a handler that came between the steps of another call.
    pay(cpus, pinned);
    for (word, &bits) in targets.words().iter().enumerate().filter(|&(_, &bits)| bits != 0) {
        let mut step = [0; N];
        step[word] = bits;
        cpus.with_irqs_off(|_| {
            let first = fill_slots::<C, N>(cpus, pinned, CpuSet::of(&step), call, &mut full);
            if is_for_all {
                note(true);
                owed[word] = first[word];
            } else {
                CpuSet::of(&first).iter().for_each(|target| cpus.interrupt(target));
            }
        });
    }
    let words = targets.words().len();
    if is_for_all && is_all_but(CpuSet::of(&owed[..words]), online, pinned.cpu()) {
        cpus.with_irqs_off(|_| {
            cpus.interrupt_others();
            note(false);
        });
    } else if is_for_all {
        for (word, &bits) in owed.iter().enumerate().filter(|&(_, &bits)| bits != 0) {
            let mut step = [0; N];
            step[word] = bits;
            cpus.with_irqs_off(|_| CpuSet::of(&step).iter().for_each(|target| cpus.interrupt(target)));
        }
        note(false);
    }
    full
}

/// Sends the interrupts that this CPU owes for a call of its own, which an interrupt handler has interrupted.
fn pay<C: Cpus>(cpus: &C, pinned: Pinned<'_>) {
    if let Some(inbox) = cpus.inbox(pinned.cpu()).filter(|inbox| inbox.owes()) {
        cpus.with_irqs_off(|_| {
            inbox.set_owes(false);
            cpus.interrupt_others();
        });
    }
}

/// Serves this CPU's inbox, if a call waits there. A CPU that waits for another one does this in each turn of its loop.
#[inline]
pub fn serve_if_any<C: Cpus>(cpus: &C, pinned: Pinned<'_>) {
    pay(cpus, pinned);
    if cpus.inbox(pinned.cpu()).is_some_and(Inbox::has_calls) {
        cpus.with_irqs_off(|irq_off| serve(cpus, irq_off));
    }
}

/// Calls that a CPU serves in one stretch with interrupts off.
const MOST_AT_ONCE: u32 = 64;

/// Runs the calls that wait in this CPU's inbox, each sender's in turn. The interrupt's handler calls this, and a CPU
/// that waits. After [`MOST_AT_ONCE`] calls the CPU interrupts itself for the others, so that interrupts come on again
/// in between, however many CPUs call.
pub fn serve<C: Cpus>(cpus: &C, irq_off: IrqOff<'_>) {
    let pinned = irq_off.pinned();
    let me = pinned.cpu();
    let Some(inbox) = cpus.inbox(me) else {
        impossible!("CPU {me} serves calls without an inbox, where nothing could call it");
        return;
    };
    for _ in 0..MOST_AT_ONCE {
        // One at a time, because the function may wait for a CPU whose own call waits in this inbox: serving it nests.
        let Some(slot) = inbox.take_next() else { return };
        let pointer = slot.swap(core::ptr::null_mut(), AcqRel);
        // SAFETY: the sender put a reference into the slot, and waits for the acknowledgement below before the call
        // ends.
        let Some(call) = (unsafe { pointer.as_ref() }) else {
            impossible!("the bit of an inbox is set after its slot is filled, and the slot is empty");
            continue;
        };
        // SAFETY: `run_on` stored function and argument together. Its F is `Sync`, so this CPU may call it, and lives
        // until the acknowledgement below, for which `run_on` waits.
        unsafe { (call.function)(call.argument) };
        cpus.has_served(pinned);
        call.acknowledge(me);
    }
    // A sender sends no interrupt where another one's call waits in the same word.
    if inbox.has_calls() {
        cpus.interrupt(me);
    }
}
