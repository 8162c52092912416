//! The ledger: the last writer of each line, and the counts of each CPU.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use rhumb_machine::{CpuId, CpuMask};

const LINE_SHIFT: u32 = 6;

std::thread_local! {
    static CPU: Cell<Option<CpuId>> = const { Cell::new(None) };
}

/// The counts of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Locks taken.
    pub lock_visits: u64,
    /// Accesses to lines that another CPU has written since this CPU's last one.
    pub foreign_lines: u64,
    /// Things loaded that another CPU loaded before.
    pub moved: u64,
}

/// A line, as the caches of all CPUs have it.
#[derive(Default)]
struct Line {
    /// Whether any CPU has written it.
    is_written: bool,
    /// The CPU that wrote it last, and those that have read it since.
    holders: CpuMask,
}

/// Spreads addresses over a table: one multiplication, because each access looks here.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_usize(usize::from(byte)));
    }

    fn write_usize(&mut self, address: usize) {
        let product = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

type ByAddress<T> = HashMap<usize, T, BuildHasherDefault<AddressHasher>>;

#[derive(Default)]
struct Ledger {
    lines: ByAddress<Line>,
    loaders: ByAddress<CpuId>,
    counts: Vec<Counts>,
}

static LEDGER: Mutex<Option<Ledger>> = Mutex::new(None);

/// Makes the thread a CPU whose accesses are counted, or none.
pub fn be(cpu: Option<CpuId>) {
    CPU.set(cpu);
}

/// Forgets all counts, and all that CPUs have written and loaded.
pub fn forget() {
    *LEDGER.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Returns the counts of this thread's CPU since the last call, and counts anew.
pub fn take() -> Counts {
    with_ledger(|ledger, cpu| std::mem::take(ledger.counts_of(cpu))).unwrap_or_default()
}

/// Tells of an access to `bytes` at `at`.
pub(crate) fn touched(at: *const u8, bytes: usize, is_written: bool) {
    with_ledger(|ledger, cpu| {
        for line in at.addr() >> LINE_SHIFT..=(at.addr() + bytes.max(1) - 1) >> LINE_SHIFT {
            ledger.touch(cpu, line, is_written);
        }
    });
}

/// Tells that this CPU loads the thing at `at`, which goes from CPU to CPU.
pub(crate) fn loaded(at: *const u8) {
    with_ledger(|ledger, cpu| {
        let before = ledger.loaders.insert(at.addr(), cpu);
        ledger.counts_of(cpu).moved += u64::from(before.is_some_and(|before| before != cpu));
    });
}

/// Tells that a lock was taken.
pub(crate) fn lock_taken() {
    with_ledger(|ledger, cpu| ledger.counts_of(cpu).lock_visits += 1);
}

fn with_ledger<A>(work: impl FnOnce(&mut Ledger, CpuId) -> A) -> Option<A> {
    let cpu = CPU.get()?;
    let mut ledger = LEDGER.lock().unwrap_or_else(PoisonError::into_inner);
    Some(work(ledger.get_or_insert_default(), cpu))
}

impl Ledger {
    fn counts_of(&mut self, cpu: CpuId) -> &mut Counts {
        if self.counts.len() <= cpu.index() {
            self.counts.resize(cpu.index() + 1, Counts::default());
        }
        &mut self.counts[cpu.index()]
    }

    fn touch(&mut self, cpu: CpuId, line: usize, is_written: bool) {
        let line = self.lines.entry(line).or_default();
        let is_foreign = line.is_written && !line.holders.contains(cpu);
        if is_written {
            line.is_written = true;
            line.holders = CpuMask::EMPTY;
        }
        line.holders.insert(cpu);
        if is_foreign {
            self.counts_of(cpu).foreign_lines += 1;
        }
    }
}

/// Makes an atomic that tells of each access, with the methods of `core`'s that Rhumb's crates use.
macro_rules! counted_atomic {
    ($name:ident $(<$generic:ident>)?, $value:ty) => {
        #[doc = concat!("[`core::sync::atomic::", stringify!($name), "`], each access told.")]
        #[derive(Default)]
        #[repr(transparent)]
        pub struct $name $(<$generic>)? (core::sync::atomic::$name $(<$generic>)?);

        impl $(<$generic>)? core::fmt::Debug for $name $(<$generic>)? {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }

        #[expect(missing_docs, reason = "they are those of core")]
        #[expect(clippy::missing_errors_doc, reason = "they are those of core")]
        impl $(<$generic>)? $name $(<$generic>)? {
            pub const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }

            fn tell(&self, is_written: bool) {
                touched(core::ptr::from_ref(self).cast(), size_of::<Self>(), is_written);
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.tell(false);
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.tell(true);
                self.0.store(value, order);
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.tell(true);
                self.0.swap(value, order)
            }

            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.tell(true);
                self.0.compare_exchange(old, new, success, failure)
            }

            pub fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                // Not the weak one, which may fail without a reason: counts are the same in each run.
                self.compare_exchange(old, new, success, failure)
            }

            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.tell(true);
                self.0.fetch_update(success, failure, update)
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            pub const fn into_inner(self) -> $value {
                self.0.into_inner()
            }
        }
    };
}

/// Adds the operations that read, change and write.
macro_rules! counted_operations {
    ($name:ident, $value:ty, $($operation:ident)*) => {
        #[expect(missing_docs, reason = "they are those of core")]
        impl $name {$(
            pub fn $operation(&self, value: $value, order: Ordering) -> $value {
                self.tell(true);
                self.0.$operation(value, order)
            }
        )*}
    };
}

pub(crate) mod atomics {
    use super::touched;
    use core::sync::atomic::Ordering;

    counted_atomic!(AtomicBool, bool);
    counted_atomic!(AtomicPtr<T>, *mut T);
    counted_atomic!(AtomicU8, u8);
    counted_atomic!(AtomicU32, u32);
    counted_atomic!(AtomicU64, u64);
    counted_atomic!(AtomicUsize, usize);
    counted_operations!(AtomicBool, bool, fetch_or fetch_and);
    counted_operations!(AtomicU8, u8, fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min);
    counted_operations!(AtomicU32, u32, fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min);
    counted_operations!(AtomicU64, u64, fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min);
    counted_operations!(AtomicUsize, usize, fetch_or fetch_and fetch_add fetch_sub fetch_max fetch_min);
}
