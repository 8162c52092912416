//! The memory that threads take, counted before a test and behind it.

use core::fmt;

use rhumb_machine::Machine;

use super::failure::{Failure, ensure};
use crate::cpu::machine::MACHINE;
use crate::cpu::work;
use crate::debug::objects::reclaim_everywhere;
use crate::mm;
use crate::task::{all, scheduler, supply};

const PATIENCE_NS: u64 = 5_000_000_000;
const LOOK_NS: u64 = 1_000_000;
/// Caches of objects keep some frames more when they have been used: for magazines, and for slabs that are not empty.
/// A leak by one of a hundred threads would be more.
const FRAMES_OF_CACHES: u64 = 64;

/// Waits until no thread has a result and last steps to do: a thread may be joined before these.
pub fn settle() {
    let end = MACHINE.now_ns() + PATIENCE_NS;
    loop {
        let mut ending = 0;
        all::for_each(|thread| ending += u32::from(thread.result().is_some()));
        if ending == 0 || MACHINE.now_ns() >= end {
            return;
        }
        // An error says that there are no threads: then none ends.
        let _ = scheduler().sleep_until(MACHINE.now_ns() + LOOK_NS);
    }
}

/// The memory that all threads take together, once all that is kept for later was given back.
pub struct Taken {
    threads: usize,
    stacks_bytes: u64,
    records: u64,
    free_frames: u64,
}

impl Taken {
    pub fn now() -> Result<Self, Failure> {
        let slabs = mm::objects::slabs().ok_or_else(|| Failure::because("there are no object caches"))?;
        let frames = mm::frames::frames().ok_or_else(|| Failure::because("there is no frame allocator"))?;
        settle();
        work::on_every_cpu(&|| supply::give_back_here(0));
        reclaim_everywhere(slabs);
        work::on_every_cpu(&|| {
            let guard = MACHINE.pin();
            frames.drain(guard.pinned());
        });
        // The tables above areas of the kernel map stay.
        let upper_tables = mm::kernel_map::map().map_or(0, |map| map.report().upper_tables);
        let mut records = 0;
        slabs.for_each_report(|cache| {
            if cache.name.as_str() == "thread" {
                records = cache.active_objects;
            }
        });
        Ok(Self {
            threads: all::count(),
            stacks_bytes: mm::stacks::bytes(),
            records,
            free_frames: frames.free_frames() + upper_tables,
        })
    }

    /// Fails unless threads take what they took then.
    pub fn must_be_now(self) -> Result<(), Failure> {
        let now = Self::now()?;
        let is_same =
            (now.threads, now.stacks_bytes, now.records) == (self.threads, self.stacks_bytes, self.records);
        ensure!(
            is_same && now.free_frames + FRAMES_OF_CACHES >= self.free_frames,
            "{self} before, {now} after"
        );
        Ok(())
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, stacks_bytes, records, free_frames } = self;
        write!(f, "{threads} threads, {records} records, {stacks_bytes} B, {free_frames} free")
    }
}
