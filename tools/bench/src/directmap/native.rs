//! Changes of a real direct map: the host's page tables and its rounds of interrupts, next to threads that run.
//!
//! One CPU changes; the others of the team go on reading a block of the same map that stays as it is, so that they have
//! translations to lose and take them anew. A figure is the CPU time of the one that changes, per page, for the change
//! and its undoing together: the map's own work, the host's, and the waiting for other cores. Pages are touched before,
//! so that there is a translation to drop; faults after a return are not part of it. The map has 2-MiB pages, as where
//! a GiB is in pieces already.

use std::hint::black_box;
use std::ops::ControlFlow;

use rhumb_directmap::Change;
use rhumb_hosted::native::NativeMap;
use rhumb_machine::{Pfn, PfnRange};

use super::stage::Stage;
use super::way::{Asked, Way};
use super::{BLOCK_PAGES, Setting, Workload, block};
use crate::driver::{Outcome, Sample, Unfit};
use crate::team::{self, Member, Timing};

/// 2-MiB blocks that a full run changes.
const BLOCKS: usize = 16;

/// Reads of a CPU that uses the map between two looks at whether the one that changes is done.
const READS: usize = 1000;

/// Frames of a block, `pages` at a time: changed, and made ordinary again.
#[derive(Clone, Copy)]
pub(super) struct Native {
    pub(super) pages: u64,
    pub(super) change: Change,
    pub(super) asked: Asked,
}

impl Workload for Native {
    fn runner<S: Way>(self, setting: Setting) -> Box<dyn FnMut() -> Outcome> {
        Box::new(move || self.run::<S>(&setting))
    }
}

impl Native {
    fn run<S: Way>(self, setting: &Setting) -> Outcome {
        let blocks = setting.options.operations(BLOCKS) as u64;
        // One more than is changed: the others read it.
        let (read, ram) = (block(blocks), block(blocks + 1).start().addr());
        let host = NativeMap::new(ram.get()).map_err(|error| Unfit(error.to_string()))?;
        let results = team::run(setting.machine, setting.cpus, setting.clock, |member| {
            if member.index == 0 {
                self.change_blocks::<S>(member, &host, blocks)
            } else {
                (0..blocks).for_each(|_| {
                    let _ = member.timed(usize::MAX, READS, |index| look(&host, read, index as u64));
                });
                Ok(Timing::default())
            }
        });
        let timings = results.map_err(|error| Unfit(error.to_string()))?;
        let timing = timings.into_iter().sum::<Result<Timing, Unfit>>()?;
        Ok(vec![Sample::ns("time", timing.per_operation() / self.pages as f64)])
    }

    fn change_blocks<S: Way>(
        self,
        member: &Member<'_>,
        host: &NativeMap,
        blocks: u64,
    ) -> Result<Timing, Unfit> {
        // SAFETY: `touch` alone uses what is changed, and only when all of it has been restored; `look` uses another
        // block.
        let prepared = unsafe { Stage::real(host) }
            .and_then(|stage| Ok((stage, S::new(block(blocks).start().addr().get(), BLOCK_PAGES as usize)?)));
        let (mut prepared, mut failure) = match prepared {
            Ok(prepared) => (Some(prepared), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let mut held = Vec::with_capacity(BLOCK_PAGES as usize);
        let mut sum = Timing::default();
        // All phases are gone through whatever happens: the others of the team wait in them.
        for number in 0..blocks {
            if let (Ok(()), Some(_)) = (&failure, &prepared) {
                touch(host, block(number));
            }
            sum = sum
                + member.timed_until((BLOCK_PAGES / self.pages) as usize, 1, |step| {
                    let (Ok(()), Some((stage, way))) = (&failure, &mut prepared) else {
                        return ControlFlow::Break(());
                    };
                    let start = block(number).start().plus(step as u64 * self.pages);
                    let frames = PfnRange::of_length(start, self.pages).unwrap_or_default();
                    failure = way
                        .change(stage, (frames, self.change), self.asked, &mut held)
                        .and_then(|()| way.restore(stage, &mut held))
                        .and_then(|()| stage.failure());
                    ControlFlow::Continue(())
                });
        }
        failure.map(|()| sum)
    }
}

/// Reads one page of `frames`, in turn.
pub(super) fn look(host: &NativeMap, frames: PfnRange, index: u64) {
    let pfn = frames.start().plus(index % frames.frames());
    let place = host.base().plus(pfn.addr().get()).as_ptr::<u64>();
    // SAFETY: the frame is RAM of the map, and in it; no code changes or writes it.
    black_box(unsafe { place.read_volatile() });
}

/// Writes to each page, so that this CPU has its translation.
pub(super) fn touch(host: &NativeMap, frames: PfnRange) {
    for pfn in frames.iter() {
        let place = host.base().plus(pfn.addr().get()).as_mut_ptr::<u64>();
        // SAFETY: the frame is RAM of the map, and in it; no other code uses its content.
        unsafe { place.write_volatile(Pfn::get(pfn)) };
    }
}
