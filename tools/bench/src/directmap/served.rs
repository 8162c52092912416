//! Frames for secrets, on a real direct map: by Rhumb's pool of whole blocks, and page by page as Linux does it.
//!
//! One CPU takes frames, gives them back, and writes into one; the others of the team read another part of the same map
//! all the time. The host's map follows each change, so that its shootdowns are part of the figures; each frame that is
//! taken was touched before, where it is in the map, so that there is a translation to drop. Contents are in the
//! simulated machine's RAM, which is always there: so clearing and copying cost what they do through a window whose
//! translation is warm, and no fault of the host's is part of a figure.
//!
//! | work | what is timed |
//! |---|---|
//! | [`Work::Warm`] | 256 frames of a block that is out of the map already: taken, then given back; the block stays |
//! | [`Work::Block`] | 512 frames from nothing, then all given back: the block goes out and returns |
//! | [`Work::Copy`] | 4 KiB written into a frame that is out of the map |
//!
//! Both clear a frame when it is taken and when it comes back, whole blocks or one by one. Linux has no windows: what
//! is not in its map is put back to be written, and taken out again.

use std::cell::OnceCell;
use std::hint::black_box;
use std::ops::ControlFlow;

use rhumb_directmap::Change;
use rhumb_frames::{Frame, Request, Unmapped};
use rhumb_hosted::native::NativeMap;
use rhumb_machine::{Order, PageSize, Pfn, PfnRange, Pinned};
use rhumb_pagetable::flush::FlushBatch;

use super::native::{look, touch};
use super::stage::{Effect, Stage};
use super::way::{Asked, Way};
use super::ways::linux::{Changed, LinuxWay};
use super::world::{Flushes, OWNER, RAM_BYTES, World};
use super::{BLOCK_PAGES, Setting, block};
use crate::driver::{Case, Outcome, Sample, Unfit};
use crate::report::OURS;
use crate::team::{self, Member, Timing};

/// Frames of a block that is out already.
const WARM_FRAMES: usize = 256;

/// Turns of a full run.
const TURNS: usize = 32;

/// Copies of a turn.
const COPIES: usize = 256;

/// Reads between two looks at whether the others are done.
const READS: usize = 1000;

const PAGE_BYTES: usize = PageSize::Size4K.bytes() as usize;

/// The operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Frames of a block that is out.
    Warm,
    /// A block's frames from nothing.
    Block,
    /// A page written.
    Copy,
}

impl Work {
    const fn frames(self) -> usize {
        match self {
            Self::Warm => WARM_FRAMES,
            Self::Block => BLOCK_PAGES as usize,
            Self::Copy => 1,
        }
    }

    /// A turn's.
    const fn copies(self) -> usize {
        match self {
            Self::Copy => COPIES,
            Self::Warm | Self::Block => 0,
        }
    }
}

/// Serves frames out of the map.
trait Server: Sized {
    /// Its name in table and file.
    const NAME: &'static str;

    /// A frame out of the map.
    type Held;

    /// # Safety
    /// While a frame is out, no code touches it in `host`.
    unsafe fn new(world: &'static World, host: &'static NativeMap) -> Result<Self, Unfit>;

    /// Returns a frame, cleared.
    fn take(&mut self, pinned: Pinned<'_>) -> Result<Self::Held, Unfit>;

    /// Takes it back, and clears it.
    fn give(&mut self, pinned: Pinned<'_>, held: Self::Held) -> Result<(), Unfit>;

    /// Writes the bytes of a page into it.
    fn copy_to(&mut self, pinned: Pinned<'_>, held: &mut Self::Held, bytes: &[u8]) -> Result<(), Unfit>;

    /// Returns which frame it is.
    fn pfn(held: &Self::Held) -> Pfn;

    /// Tells whether the host's map shows a frame that is not held.
    fn shows(&self, pfn: Pfn) -> bool;
}

fn unfit(error: impl ToString) -> Unfit {
    Unfit(error.to_string())
}

/// Rhumb's pool and windows; the host's map follows it by the block, of which it has one.
struct ByPool {
    world: &'static World,
    host: &'static NativeMap,
    out: Option<PfnRange>,
    changes: u64,
}

impl ByPool {
    /// Tells whether the pool has changed the map since the last call.
    fn has_changed(&mut self) -> bool {
        let changes = self.world.changes();
        std::mem::replace(&mut self.changes, changes) != changes
    }
}

impl Server for ByPool {
    const NAME: &'static str = OURS;

    type Held = Frame<Unmapped>;

    unsafe fn new(world: &'static World, host: &'static NativeMap) -> Result<Self, Unfit> {
        world.keep_blocks(0);
        Ok(Self { world, host, out: None, changes: world.changes() })
    }

    fn take(&mut self, pinned: Pinned<'_>) -> Result<Self::Held, Unfit> {
        let frame = self.world.pool().take(pinned, OWNER, Order::BASE).map_err(unfit)?;
        if self.has_changed() {
            let block = block(frame.pfn().get() / BLOCK_PAGES);
            // SAFETY: no code touches frames that are out, as the caller of `new` promised.
            unsafe { self.host.remove(block.addrs()) }.map_err(unfit)?;
            self.out = Some(block);
        }
        Ok(frame)
    }

    fn give(&mut self, pinned: Pinned<'_>, frame: Self::Held) -> Result<(), Unfit> {
        self.world.pool().give(pinned, frame).map_err(unfit)?;
        if !self.has_changed() {
            return Ok(());
        }
        self.out.take().map_or(Ok(()), |block| self.host.restore(block.addrs()).map_err(unfit))
    }

    fn copy_to(&mut self, _: Pinned<'_>, frame: &mut Self::Held, bytes: &[u8]) -> Result<(), Unfit> {
        self.world.windows.copy_to(frame, 0, bytes).map_err(unfit)
    }

    fn pfn(frame: &Self::Held) -> Pfn {
        frame.pfn()
    }

    fn shows(&self, pfn: Pfn) -> bool {
        !self.out.is_some_and(|block| block.contains(pfn))
    }
}

/// Linux's way: a frame of the same allocator, and the map changed for each.
struct PageByPage {
    world: &'static World,
    stage: Stage<'static>,
    way: LinuxWay,
}

impl PageByPage {
    fn hide(&mut self, pfn: Pfn, held: &mut Vec<Changed>) -> Result<(), Unfit> {
        let page = PfnRange::of_length(pfn, 1).unwrap_or_default();
        self.way.change(&self.stage, (page, Change::NotPresent), Asked::PageByPage, held)?;
        self.stage.failure()
    }

    fn show(&mut self, held: &mut Vec<Changed>) -> Result<(), Unfit> {
        self.way.restore(&self.stage, held)?;
        self.stage.failure()
    }
}

impl Server for PageByPage {
    const NAME: &'static str = LinuxWay::NAME;

    type Held = (Frame, Vec<Changed>);

    unsafe fn new(world: &'static World, host: &'static NativeMap) -> Result<Self, Unfit> {
        // SAFETY: the caller promises that no code touches a frame in `host` while it is out.
        let stage = unsafe { Stage::real(host) }?;
        Ok(Self { world, stage, way: LinuxWay::new(RAM_BYTES, 0)? })
    }

    fn take(&mut self, pinned: Pinned<'_>) -> Result<Self::Held, Unfit> {
        let frame = self.world.frames.alloc(pinned, Request::FRAME.zeroed()).map_err(unfit)?;
        let mut held = Vec::with_capacity(1);
        self.hide(frame.pfn(), &mut held)?;
        Ok((frame, held))
    }

    fn give(&mut self, pinned: Pinned<'_>, (mut frame, mut held): Self::Held) -> Result<(), Unfit> {
        self.show(&mut held)?;
        self.world.write(&mut frame, &[0; PAGE_BYTES]);
        self.world.frames.free(pinned, frame);
        Ok(())
    }

    fn copy_to(&mut self, _: Pinned<'_>, (frame, held): &mut Self::Held, bytes: &[u8]) -> Result<(), Unfit> {
        self.show(held)?;
        self.world.write(frame, bytes);
        self.hide(frame.pfn(), held)?;
        // The host has had no translation of it to drop: the round is made here.
        let mut batch = FlushBatch::new();
        batch.add_everything();
        self.stage.flush_pages(batch, Effect::Sizes);
        self.stage.failure()
    }

    fn pfn((frame, _): &Self::Held) -> Pfn {
        frame.pfn()
    }

    fn shows(&self, _: Pfn) -> bool {
        true
    }
}

/// A subject's way through a work.
type Run = fn(Work, &Setting, &'static World, &'static NativeMap) -> Outcome;

/// Both subjects.
pub(super) fn cases(workload: &str, setting: &Setting, work: Work) -> Vec<Case> {
    let both: [(&'static str, Run); 2] =
        [(ByPool::NAME, run::<ByPool>), (PageByPage::NAME, run::<PageByPage>)];
    let wanted = both.into_iter().filter(|(subject, _)| setting.options.wants(workload, subject));
    wanted
        .map(|(subject, run)| {
            // One place for all rounds: it is as it was when all has been given back, and stays permanently.
            let (place, setting) = (OnceCell::new(), setting.clone());
            let run = move || {
                if place.get().is_none() {
                    // One block more than is served: the others read it.
                    let host = NativeMap::new(RAM_BYTES + PageSize::Size2M.bytes()).map_err(unfit)?;
                    let host: &'static NativeMap = Box::leak(Box::new(host));
                    let _ = place.set((World::new(setting.cpus, Flushes::OnTheHost)?, host));
                }
                place.get().map_or(Ok(Vec::new()), |&(world, host)| run(work, &setting, world, host))
            };
            Case { subject, run: Box::new(run) }
        })
        .collect()
}

fn run<S: Server>(work: Work, setting: &Setting, world: &'static World, host: &'static NativeMap) -> Outcome {
    let turns = setting.options.operations(TURNS);
    let read = block(RAM_BYTES / PageSize::Size2M.bytes());
    let results = team::run(world.machine, setting.cpus, setting.clock, |member| {
        if member.index == 0 {
            return serve::<S>(work, member, (world, host), turns);
        }
        // Three phases a turn, and one turn more than is measured.
        for _ in 0..3 * (turns + 1) {
            let _ = member.timed(usize::MAX, READS, |index| look(host, read, index as u64));
        }
        Ok(Timings::default())
    });
    // Only the one that serves has times.
    let timings = results.map_err(unfit)?.into_iter().next().unwrap_or(Ok(Timings::default()))?;
    let [take, copy, give] = timings.map(Timing::per_operation);
    Ok(match work {
        Work::Copy => vec![Sample::ns("copy", copy)],
        Work::Warm | Work::Block => {
            vec![Sample::ns("take", take), Sample::ns("give", give), Sample::ns("both", take + give)]
        }
    })
}

/// Taking, copying, giving back.
type Timings = [Timing; 3];

fn serve<S: Server>(
    work: Work,
    member: &Member<'_>,
    (world, host): (&'static World, &'static NativeMap),
    turns: usize,
) -> Result<Timings, Unfit> {
    // SAFETY: `touch` alone writes to what is served, and only to what is in the map; `look` reads another block.
    let mut server = unsafe { S::new(world, host) };
    let (pinned, mut failure) = (member.pinned, Ok(()));
    let mut step = |act: &mut dyn FnMut(&mut S) -> Result<(), Unfit>| {
        let (Ok(()), Ok(server)) = (&failure, &mut server) else { return ControlFlow::Break(()) };
        failure = act(server);
        ControlFlow::Continue(())
    };
    // It keeps its block out.
    let mut anchor = None;
    if work == Work::Warm {
        let _ = step(&mut |server| server.take(pinned).map(|frame| anchor = Some(frame)));
    }
    let (mut held, mut places) = (Vec::with_capacity(work.frames()), Vec::<Pfn>::new());
    let mut sums = Timings::default();
    let bytes = [0x5a; PAGE_BYTES];
    // All phases are gone through whatever happens: the others of the team wait in them.
    for turn in 0..=turns {
        // The frames of the last turn are taken again.
        let _ = step(&mut |server| {
            let shown = places.iter().filter(|&&pfn| server.shows(pfn));
            shown.for_each(|&pfn| touch(host, PfnRange::of_length(pfn, 1).unwrap_or_default()));
            Ok(())
        });
        let took = member.timed_until(work.frames(), 1, |_| {
            step(&mut |server| server.take(pinned).map(|frame| held.push(frame)))
        });
        places.clear();
        places.extend(held.iter().map(S::pfn));
        let copied = member.timed_until(work.copies(), 1, |_| {
            step(&mut |server| {
                let frame = held.first_mut();
                frame.map_or(Ok(()), |frame| server.copy_to(pinned, frame, black_box(&bytes)))
            })
        });
        let gave = member.timed_until(work.frames(), 1, |_| {
            step(&mut |server| held.pop().map_or(Ok(()), |frame| server.give(pinned, frame)))
        });
        // The first turn finds out what is taken.
        if turn > 0 {
            sums = [sums[0] + took, sums[1] + copied, sums[2] + gave];
        }
    }
    let _ = step(&mut |server| anchor.take().map_or(Ok(()), |frame| server.give(pinned, frame)));
    server?;
    failure.map(|()| sums)
}
