//! Areas of the kernel map: one alone, and as many as the lazy policy flushes together, under each policy.
//!
//! With the lazy policy and with batches only one free in many flushes, so a run of these regions makes and gives back
//! as many areas: instructions, flushes and interrupts are to be divided by that ([`MANY`], [`SOME`]).

use rhumb_kernelmap::{AreaRequest, FlushPolicy};
use rhumb_machine::Machine;

use super::Operation;
use super::refusals::Refusals;
use crate::cpu::machine::MACHINE;
use crate::facts::Boot;
use crate::lab::failure::Failure;
use crate::lab::owners;
use crate::mm::kernel_map::{self, alloc, free};

regions! {
    200: Pairs<LAZY, 4, 1>, "kmap/pair", "map 16 KiB, four frames, and give them back: no flush";
    201: Pairs<LAZY, 1, MANY>, "kmap/lazy/1", "map and give back 1 page, 128 times: one flush for all";
    202: Pairs<LAZY, 16, MANY>, "kmap/lazy/16", "the same with 16 pages each";
    203: Pairs<LAZY, 512, MANY>, "kmap/lazy/512", "the same with 512 pages each, by a page of 2 MiB where there is one";
    204: Pairs<BATCHED, 1, SOME>, "kmap/batched/1", "16 times 1 page: one flush for all";
    205: Pairs<BATCHED, 16, SOME>, "kmap/batched/16", "16 times 16 pages: a flush for each 32 pages";
    206: Pairs<BATCHED, 512, SOME>, "kmap/batched/512", "16 times 512 pages: a flush for each";
    207: Pairs<EAGER, 1, 1>, "kmap/eager/1", "map and give back 1 page, and flush it";
    208: Pairs<EAGER, 16, 1>, "kmap/eager/16", "the same with 16 pages";
    209: Pairs<EAGER, 512, 1>, "kmap/eager/512", "the same with 512 pages, by a page of 2 MiB where there is one";
}

/// Areas that are made and given back in a run: as many as the policy flushes together.
const MANY: u32 = 128;
const SOME: u32 = 16;

const EAGER: u8 = FlushPolicy::Eager as u8;
const BATCHED: u8 = FlushPolicy::Batched as u8;
const LAZY: u8 = FlushPolicy::Lazy as u8;

/// Makes areas of so many pages, and gives each back at once.
struct Pairs<const POLICY: u8, const PAGES: u64, const TURNS: u32> {
    before: FlushPolicy,
    refusals: Refusals,
}

impl<const POLICY: u8, const PAGES: u64, const TURNS: u32> Operation for Pairs<POLICY, PAGES, TURNS> {
    fn prepare(_: &'static Boot) -> Result<Self, Failure> {
        let map = kernel_map::map().ok_or_else(|| Failure::because("there is no kernel map"))?;
        let policy = FlushPolicy::ALL.into_iter().find(|policy| *policy as u8 == POLICY);
        let before = map.set_policy(MACHINE.pin().pinned(), policy.unwrap_or(FlushPolicy::Lazy));
        Ok(Self { before, refusals: Refusals::NONE })
    }

    #[inline(always)]
    fn run(&mut self) {
        for _ in 0..TURNS {
            match alloc(owners::COUNT, AreaRequest::new(PAGES)) {
                Ok(area) => free(area),
                Err(_) => self.refusals.add(1),
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        if let Some(map) = kernel_map::map() {
            map.set_policy(MACHINE.pin().pinned(), self.before);
        }
        self.refusals.must_be_none()
    }
}
