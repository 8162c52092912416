//! An observer of page tables: it runs after each store to a table, in the middle of the change.
//!
//! A CPU that changes tables does it store by store, and between two stores each other CPU may walk what is there:
//! an entry that refers to a table before the table is filled, a leaf that is gone before its frame is cleared. On one
//! thread such an order is never seen, because the other CPUs come after the change. The observer lets them come in
//! between: it runs on the CPU that stores, right after the store, and makes other CPUs access or speculate.
//!
//! ```
//! # use rhumb_hosted::{HostedMachine, HostedTables, MmuConfig, TableFrames, mmu, mmu::Use};
//! # use rhumb_machine::*;
//! # use rhumb_pagetable::{Attributes, Levels, Mapper, Mapping, Root, TableSource};
//! # let machine = HostedMachine::builder().cpus(2).ram_bytes(4 << 20).build().unwrap();
//! # let other = CpuId::new(1).unwrap();
//! # machine.enter(CpuId::BOOT, |cpu| {
//! # let frames = PfnRange::new(Pfn::new(0), Pfn::new(64)).unwrap();
//! # let (mut tables, mut source) = unsafe { (HostedTables::new(&machine), TableFrames::new(&machine, frames)) };
//! # let root = Root::new(source.take_zeroed_table().unwrap(), Levels::Four);
//! # let mmu = unsafe { machine.attach_mmu(root, MmuConfig::new(1)) }.unwrap();
//! # let page = VirtAddr::new(0xffff_8000_0000_0000);
//! # let phys = PhysAddr::new(1 << 20);
//! # let mapping = Mapping {
//! #     virt: page,
//! #     phys: PhysRange::of_length(phys, 4096).unwrap(),
//! #     attributes: Attributes::kernel(rhumb_pagetable::Access::ReadWrite),
//! #     largest: PageSize::Size4K,
//! # };
//! let mut observer = |_store| match mmu.access(other, page, Use::Read) {
//!     Ok(seen) => assert_eq!(seen, phys),                       // what the change makes, whole,
//!     Err(fault) => assert_eq!(fault, mmu::Fault::NotPresent),  // or what was before, and nothing else
//! };
//! let (_, stores) = cpu.with_observer(&mut observer, || {
//!     Mapper::new(root, &mut tables).map(&mapping, &mut source).unwrap()
//! });
//! assert!(stores > 4, "three tables are filled and hung in, then the leaf is written");
//! # }).unwrap();
//! ```
//!
//! An observer that calls [`Cpu::interrupt`](crate::Cpu::interrupt) finds stores that need interrupts off and are made
//! with interrupts on: the handler runs right after the store where the CPU takes interrupts, and not at all elsewhere.
//!
//! The observer is not entered again while it runs.

use core::ptr::NonNull;

use rhumb_machine::Pfn;
use rhumb_pagetable::Entry;

use crate::thread::{OnStack, THIS};

/// A store to a table that has been made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Store {
    /// The table.
    pub table: Pfn,
    /// Which of its entries.
    pub index: usize,
    /// The entry before.
    pub old: Entry,
    /// The entry now.
    pub new: Entry,
}

/// An observer at its place, on the stack of [`observed`].
struct Observer<'body> {
    observe: &'body mut dyn FnMut(Store),
    stores: u64,
}

/// The address of an [`Observer`], its lifetime erased: it is reachable only while [`observed`] has not returned.
type Watching = NonNull<Observer<'static>>;

/// Puts an observer, or none, into the thread's cell when dropped, also when code panics.
struct Restore(Option<OnStack>);

impl Drop for Restore {
    fn drop(&mut self) {
        THIS.with(|this| this.observer.set(self.0));
    }
}

/// Notes that a store has been made on this thread.
#[inline(always)]
pub(crate) fn stored(store: impl FnOnce() -> Store) {
    if let Some(watching) = THIS.with(|this| this.observer.get()) {
        observe(watching.cast(), store());
    }
}

#[cold]
#[inline(never)]
fn observe(mut watching: Watching, store: Store) {
    let _again = Restore(THIS.with(|this| this.observer.replace(None)));
    // SAFETY: `observed` keeps the observer alive while it is in the thread's cell, where it was just now; it has been
    // taken out of the cell, so that no other code reaches it until `_again` puts it back.
    let observer = unsafe { watching.as_mut() };
    observer.stores += 1;
    (observer.observe)(store);
}

/// Runs `body` with `observe` called after each store that this thread makes. Returns how many stores there were.
pub(crate) fn observed<T>(observe: &mut dyn FnMut(Store), body: impl FnOnce() -> T) -> (T, u64) {
    let mut observer = Observer { observe, stores: 0 };
    let watching: Watching = NonNull::from(&mut observer).cast();
    let result = {
        let _before = Restore(THIS.with(|this| this.observer.replace(Some(watching.cast()))));
        body()
    };
    // SAFETY: the pointer is that of the local above; it is in no cell any more.
    (result, unsafe { watching.as_ref() }.stores)
}
