//! `stress directmap`: every CPU changes and restores frames of its own, while all others look at them.
//!
//! The state of the map is known at every moment, so every access has one right outcome. A CPU *shows* a block in its
//! slot together with its state; others read it, write it or run into a fault, and know which it must be. Before the
//! owner changes the block it hides it and waits until no CPU looks any more; then it changes, and shows the new state
//! as soon as the change has returned. So a CPU that still uses what was true before the change is caught: it has used
//! the page moments ago, and looks again now.
//!
//! ```text
//!   stamp ─> show rw ─> hide, change ─> show ro / np ─> hide, alter ─> show np / ro ─> hide, restore, compare ─> show rw ─> free
//! ```
//!
//! At the end the books must balance, and the map must be, bit for bit, what it was.

use core::fmt;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use rhumb_directmap::{Change, ChangeError};
use rhumb_frames::{Frame, Request};
use rhumb_machine::{Counted, MAX_CPUS, Machine, Order, Pfn};
use rhumb_monitor::Output;
use spin::mutex::SpinMutex;

use crate::cpu::machine::MACHINE;
use crate::cpu::{self, area, call, clock, work};
use crate::debug::directmap::shape;
use crate::debug::random::Random;
use crate::lab::failure::Failure;
use crate::lab::sizes::order;
use crate::lab::{owners, probe};
use crate::mm::direct_map::{self, Changed, alter, change, restore, table_supply};
use crate::mm::frames::frames;

/// Looks at others' blocks between two changes.
const LOOKS: u64 = 6;

/// How a shown block is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Shown {
    ReadWrite = 1,
    ReadOnly,
    Absent,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Absent => "out of the map",
        })
    }
}

/// The block that a CPU shows to the others, and how many of them look at it.
#[repr(align(64))]
struct Slot {
    /// Frame number, order, state; 0 for nothing.
    shown: AtomicU64,
    lookers: AtomicU32,
}

static SLOTS: [Slot; MAX_CPUS] =
    [const { Slot { shown: AtomicU64::new(0), lookers: AtomicU32::new(0) } }; MAX_CPUS];

impl Slot {
    fn show(&self, block: (Pfn, Order), state: Shown) {
        let (pfn, order) = block;
        self.shown.store(pfn.get() << 16 | u64::from(order.get()) << 8 | state as u64, SeqCst);
    }

    /// Hides the block that was shown. When it returns, no CPU looks at the block.
    fn hide(&self) {
        self.shown.store(0, SeqCst);
        while self.lookers.load(SeqCst) != 0 {
            call::serve_if_here();
            core::hint::spin_loop();
        }
    }

    /// Hands to `look` what is shown, which stays as it is meanwhile.
    fn look<A>(&self, look: impl FnOnce((Pfn, Order), Shown) -> A) -> Option<A> {
        self.lookers.fetch_add(1, SeqCst);
        let shown = self.shown.load(SeqCst);
        let state = match shown as u8 {
            1 => Some(Shown::ReadWrite),
            2 => Some(Shown::ReadOnly),
            3 => Some(Shown::Absent),
            _ => None,
        };
        let order = order((shown >> 8) as u8);
        let answer = state.map(|state| look((Pfn::new(shown >> 16), order), state));
        self.lookers.fetch_sub(1, SeqCst);
        answer
    }
}

/// The state that all CPUs share.
struct Shared {
    stop: AtomicBool,
    failure: SpinMutex<Option<Failure>>,
    changes: AtomicU64,
    accesses: AtomicU64,
    faults: AtomicU64,
    waits: AtomicU64,
}

impl Shared {
    fn fail(&self, failure: Failure) {
        self.failure.lock().get_or_insert(failure);
        self.stop.store(true, Relaxed);
    }
}

/// Runs for `seconds` on all CPUs.
pub fn direct_map(seconds: u64, out: &mut dyn Output) -> Result<(), Failure> {
    let before = shape::of_tables();
    let shared = Shared {
        stop: AtomicBool::new(false),
        failure: SpinMutex::new(None),
        changes: AtomicU64::new(0),
        accesses: AtomicU64::new(0),
        faults: AtomicU64::new(0),
        waits: AtomicU64::new(0),
    };
    let end = clock::now_ns() + seconds * 1_000_000_000;
    let share = |after_each: &mut dyn FnMut()| {
        let mut worker = Worker::new(&shared);
        while clock::now_ns() < end && !shared.stop.load(Relaxed) {
            if let Err(failure) = worker.round() {
                shared.fail(failure);
            }
            after_each();
        }
        worker.report();
    };
    // This CPU alone looks at the console.
    let mut look = || {
        shared.stop.fetch_or(out.interrupted(), Relaxed);
    };
    work::on_others(&|| share(&mut || ()), || share(&mut look));
    table_supply::fill();
    let after = shape::of_tables();
    writeln!(
        out,
        "stress directmap: {}, {}, {} checked, {} among them; {} for the reserve",
        Counted(cpu::online_count(), "CPU"),
        Counted(shared.changes.load(Relaxed), "change"),
        Counted(shared.accesses.load(Relaxed), "access"),
        Counted(shared.faults.load(Relaxed), "fault"),
        Counted(shared.waits.load(Relaxed), "wait")
    );
    if let Some(failure) = shared.failure.into_inner() {
        return Err(failure);
    }
    direct_map::validate().map_err(Failure::because)?;
    if before == after {
        Ok(())
    } else {
        Err(Failure::because(format_args!("the map was {before}, and is {after}")))
    }
}

/// One CPU's share.
struct Worker<'a> {
    shared: &'a Shared,
    slot: &'static Slot,
    random: Random,
    changes: u64,
    accesses: u64,
    faults: u64,
    waits: u64,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Self {
        let me = area::cpu_now().index();
        let random = Random::new(clock::ticks() ^ (me as u64 + 1));
        Self { shared, slot: &SLOTS[me], random, changes: 0, accesses: 0, faults: 0, waits: 0 }
    }

    fn report(&self) {
        let Self { shared, changes, accesses, faults, waits, .. } = self;
        shared.changes.fetch_add(*changes, Relaxed);
        shared.accesses.fetch_add(*accesses, Relaxed);
        shared.faults.fetch_add(*faults, Relaxed);
        shared.waits.fetch_add(*waits, Relaxed);
    }

    /// Takes a block through all its states, and back.
    fn round(&mut self) -> Result<(), Failure> {
        let Some(frame) = self.allocate()? else { return Ok(()) };
        let block = (frame.pfn(), frame.order());
        pages(block).for_each(stamp);
        self.show(block, Shown::ReadWrite)?;
        let first = if self.random.below(2) == 0 { Shown::ReadOnly } else { Shown::Absent };
        let frame = match self.change(frame, first) {
            Ok(mut changed) => {
                let gone_through = self.states(block, &mut changed, first);
                let frame = restore(changed);
                gone_through?;
                frame
            }
            Err((frame, ChangeError::OutOfTables { .. } | ChangeError::OutOfRecords { .. })) => {
                // Every CPU has changed something with interrupts off, and no CPU has filled up the reserve yet.
                self.waits += 1;
                table_supply::fill();
                frame
            }
            Err((frame, error)) => {
                free(frame);
                return Err(refused(&error));
            }
        };
        let spoilt = pages(block).find(|&pfn| !is_stamped(pfn));
        let shown = self.show(block, Shown::ReadWrite);
        self.slot.hide();
        free(frame);
        shown?;
        spoilt.map_or(Ok(()), |pfn| {
            Err(Failure::because(format_args!("the page at {} came back with other contents", pfn.addr())))
        })
    }

    /// The states of changed frames, one after the other.
    fn states(
        &mut self,
        block: (Pfn, Order),
        changed: &mut Changed<Frame>,
        first: Shown,
    ) -> Result<(), Failure> {
        self.check(block, first)?;
        self.show(block, first)?;
        if self.random.below(2) == 0 {
            // Read-only frames go out; frames that are out come back read-only.
            let steps: &[Change] = match first {
                Shown::Absent => &[Change::ReadOnly, Change::Present],
                _ => &[Change::NotPresent],
            };
            for &step in steps {
                alter(changed, step).map_err(|error| refused(&error))?;
                self.changes += 1;
            }
            let second = if first == Shown::Absent { Shown::ReadOnly } else { Shown::Absent };
            self.check(block, second)?;
            self.show(block, second)?;
        }
        Ok(())
    }

    /// Shows the block, looks at others' blocks for a while, and hides it again.
    fn show(&mut self, block: (Pfn, Order), state: Shown) -> Result<(), Failure> {
        self.slot.show(block, state);
        let cpus = cpu::online_count() as u64;
        let mut looked = Ok(());
        for _ in 0..LOOKS {
            let slot = &SLOTS[self.random.below(cpus) as usize];
            if let Some(Err(failure)) = slot.look(|block, state| self.check(block, state)) {
                looked = Err(failure);
            }
        }
        self.slot.hide();
        looked
    }

    /// Allocates one frame, a few, or a whole 2-MiB block.
    fn allocate(&mut self) -> Result<Option<Frame>, Failure> {
        let exponent = if self.random.below(16) == 0 { 9 } else { self.random.below(4) as u8 };
        let request = Request::new(order(exponent)).owner(owners::STRESS.in_frames());
        let guard = MACHINE.pin();
        Ok(frames()
            .ok_or_else(|| Failure::because("there is no frame allocator"))?
            .alloc(guard.pinned(), request)
            .ok())
    }

    /// Changes a frame; a quarter of all changes are made with interrupts off.
    fn change(&mut self, frame: Frame, to: Shown) -> Result<Changed<Frame>, (Frame, ChangeError)> {
        self.changes += 1;
        let wanted = if to == Shown::Absent { Change::NotPresent } else { Change::ReadOnly };
        let irq_off = (self.random.below(4) == 0).then(|| MACHINE.irq_off());
        let changed = change(frame, wanted, owners::STRESS, "a block of the stress test");
        drop(irq_off);
        changed.map_err(|refused| (refused.frames, refused.error))
    }

    /// Reads and writes some byte of the block.
    fn check(&mut self, block: (Pfn, Order), state: Shown) -> Result<(), Failure> {
        let pfn = block.0.plus(self.random.below(block.1.frames()));
        let byte = self.random.below(8);
        let address = MACHINE.direct(pfn.addr()).plus(byte);
        let expected = mark_of(pfn).to_le_bytes()[byte as usize];
        self.accesses += 1;
        let what = match (probe::read_byte(address), state) {
            (Ok(_), Shown::Absent) => Some("reads"),
            (Err(_), Shown::ReadOnly | Shown::ReadWrite) => Some("cannot read"),
            (Ok(found), _) if found != expected => Some("reads something else from"),
            _ => None,
        };
        if state != Shown::ReadWrite && what.is_none() {
            self.faults += 1;
            // SAFETY: the block cannot be written; and if it can, its owner waits until no CPU looks at it before it
            // writes.
            if unsafe { probe::rewrite_byte(address) }.is_ok() {
                return Err(self.wrong(pfn, state, "writes"));
            }
        }
        what.map_or(Ok(()), |what| Err(self.wrong(pfn, state, what)))
    }

    fn wrong(&self, pfn: Pfn, state: Shown, what: &'static str) -> Failure {
        let (cpu, at) = (area::cpu_now(), pfn.addr());
        Failure::because(format_args!("CPU {cpu} {what} the page at {at}, which is {state}"))
    }
}

fn free(frame: Frame) {
    let Some(frames) = frames() else { return };
    let guard = MACHINE.pin();
    frames.free(guard.pinned(), frame);
}

fn pages((first, order): (Pfn, Order)) -> impl Iterator<Item = Pfn> {
    (0..order.frames()).map(move |number| first.plus(number))
}

/// Returns a word that no other page has.
const fn mark_of(pfn: Pfn) -> u64 {
    pfn.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5a5a_5a5a_5a5a_5a5a
}

fn first_word(pfn: Pfn) -> *mut u64 {
    MACHINE.direct(pfn.addr()).as_mut_ptr()
}

fn stamp(pfn: Pfn) {
    // SAFETY: the page is in the map and ours, and no other CPU looks at it. Volatile, so that what is read later is
    // memory.
    unsafe { first_word(pfn).write_volatile(mark_of(pfn)) };
}

fn is_stamped(pfn: Pfn) -> bool {
    // SAFETY: the page is in the map and ours, and no other CPU writes it.
    unsafe { first_word(pfn).read_volatile() == mark_of(pfn) }
}

fn refused(error: &ChangeError) -> Failure {
    Failure::because(format_args!("a change that breaks no rule was refused: {error}"))
}
