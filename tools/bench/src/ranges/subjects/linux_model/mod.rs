//! A plain model of Linux's vmap: pools of freed ranges for each CPU, over a tree of free ranges under one lock.
//!
//! ```text
//!   CPU 0: lock, pools of 1, 2, ... 256 units      CPU 1: the same
//!               │ a quarter of its ranges, each time that the CPU has freed 8,192 units or more
//!   lock: tree of free ranges by address, the largest of each subtree known; lowest place first
//! ```
//!
//! It has of Linux (mm/vmalloc.c, as of 6.9): a lock for each CPU's pools; an allocation that finds its pool empty goes
//! to the tree; pools decay by a quarter as freed ranges are purged. It lacks the tree of ranges in use, in which a free
//! by address looks, the accounts, the lazy flush, and the disabling of preemption, so it is faster than the original.

mod tree;

use rhumb_machine::Pinned;
use spin::Mutex;

use crate::driver::Unfit;
use crate::ranges::subject::{FIRST, RangeSubject, Request, UNITS};
use crate::slab::Place;
use crate::team::cpu_index;
use tree::Tree;

/// Sizes that have a pool, in units.
const POOLS: usize = 256;

/// Units that a CPU frees before its pools decay: 32 MiB of pages, for one CPU.
const PURGE_UNITS: u64 = 8192;

/// The pools of one CPU, on lines of their own.
#[repr(align(128))]
struct Cpu(Mutex<Pools>);

struct Pools {
    by_size: Vec<Vec<u64>>,
    freed_units: u64,
}

/// The model.
pub(super) struct LinuxModel {
    cpus: Vec<Cpu>,
    free: Mutex<Tree>,
    purge_units: u64,
}

impl RangeSubject for LinuxModel {
    const NAME: &'static str = "linux-model";
    /// The first unit, and how many there are.
    type Range = (u64, u64);

    fn fresh(place: &Place) -> Result<Self, Unfit> {
        let pools = || Pools { by_size: vec![Vec::new(); POOLS], freed_units: 0 };
        Ok(Self {
            cpus: (0..place.cpus).map(|_| Cpu(Mutex::new(pools()))).collect(),
            free: Mutex::new(Tree::new(FIRST, UNITS)),
            // As `lazy_max_pages` has it: by the logarithm of the number of CPUs.
            purge_units: PURGE_UNITS * u64::from(place.cpus.ilog2() + 1),
        })
    }

    #[inline]
    fn get(&self, _pinned: Pinned<'_>, request: Request) -> Option<(u64, u64)> {
        let units = u64::from(request.units);
        if request.align == 1
            && let Some(pooled) = self.pooled(request.units)
        {
            return Some((pooled, units));
        }
        self.free.lock().take(units, u64::from(request.align)).map(|first| (first, units))
    }

    #[inline]
    fn put(&self, _pinned: Pinned<'_>, (first, units): (u64, u64)) {
        let mut pools = self.cpus[cpu_index()].0.lock();
        match pools.by_size.get_mut(units as usize - 1) {
            Some(pool) => pool.push(first),
            None => self.free.lock().give(first, units),
        }
        pools.freed_units += units;
        if pools.freed_units >= self.purge_units {
            self.purge(&mut pools);
        }
    }

    fn first(&self, &(first, _): &(u64, u64), _request: Request) -> u64 {
        first
    }
}

impl LinuxModel {
    fn pooled(&self, units: u32) -> Option<u64> {
        self.cpus[cpu_index()].0.lock().by_size.get_mut(units as usize - 1)?.pop()
    }

    /// Gives a quarter of each pool back to the tree, the ranges that were freed first.
    #[cold]
    fn purge(&self, pools: &mut Pools) {
        pools.freed_units = 0;
        let mut free = self.free.lock();
        for (units, pool) in (1..).zip(&mut pools.by_size) {
            let decayed = pool.len() / 4;
            pool.drain(..decayed).for_each(|first| free.give(first, units));
        }
    }
}
