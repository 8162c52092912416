//! Secrets that come and go: a million random requests and returns of frames out of the map, then all of it given back.
//! It counts how many rounds of flushes each page took, and how many of the map's 1-GiB pages are left.
//!
//! Rhumb serves them by its pool of whole blocks; the model of Linux's way takes frames from the same allocator and
//! changes the map for each. Rounds are counted, on simulated CPUs.

use std::cell::OnceCell;

use rhumb_directmap::Change;
use rhumb_frames::Request;
use rhumb_machine::{CpuId, CpuMask, Order, PageSize, Pinned};

use super::Setting;
use super::stage::{Cpus, Stage};
use super::way::{Asked, Done, Way};
use super::ways::linux::LinuxWay;
use super::world::{Flushes, OWNER, RAM_BYTES, World};
use crate::driver::{Better, Case, Outcome, Sample, Unfit};
use crate::report::OURS;
use crate::stats::Random;

/// Requests and returns of a full run, the giving back at the end not counted.
const OPERATIONS: usize = 1_000_000;

/// Operations between two choices of how many pieces are to be out.
const PHASE: usize = 5000;

/// The most pieces that are to be out at once.
const MOST_OUT: usize = 20_000;

/// A subject's way through so many operations.
type Churn = fn(&'static World, Pinned<'_>, usize) -> Outcome;

/// Both subjects.
pub(super) fn cases(workload: &str, setting: &Setting) -> Vec<Case> {
    let both: [(&'static str, Churn); 2] = [(OURS, by_pool), (LinuxWay::NAME, page_by_page)];
    let (cpus, operations) = (setting.cpus, setting.options.operations(OPERATIONS));
    let wanted = both.into_iter().filter(|(subject, _)| setting.options.wants(workload, subject));
    wanted
        .map(|(subject, churn)| {
            // One world for all rounds: it is as it was when all has been given back, and stays permanently.
            let world = OnceCell::new();
            let run = move || {
                if world.get().is_none() {
                    let _ = world.set(World::new(cpus, Flushes::Counted)?);
                }
                let Some(&world) = world.get() else { return Ok(Vec::new()) };
                let outcome = world.machine.enter(CpuId::BOOT, |cpu| churn(world, cpu.pinned(), operations));
                outcome.map_err(|error| Unfit(error.to_string()))?
            };
            Case { subject, run: Box::new(run) }
        })
        .collect()
}

fn by_pool(world: &'static World, pinned: Pinned<'_>, operations: usize) -> Outcome {
    let (pool, before) = (world.pool(), world.machine.counters());
    let unfit = |error: &dyn std::fmt::Display| Unfit(error.to_string());
    let taken = churn(
        operations,
        |order| pool.take(pinned, OWNER, order).map_err(|error| unfit(&error)),
        |frame| pool.give(pinned, frame).map_err(|refused| unfit(&refused)),
    )?;
    pool.shrink(pinned, 0);
    let rounds = (world.machine.counters() - before).remote_flushes;
    let map = world.map.lock().map_err(|error| unfit(&error))?;
    let left =
        Done { split_pages: map.splits().count() as u64, whole_1g: map.pages().size_1g, ..Done::default() };
    Ok(samples(taken, rounds, left))
}

fn page_by_page(world: &'static World, pinned: Pinned<'_>, operations: usize) -> Outcome {
    let targets = CpuMask::first(world.machine.cpus().len());
    let stage = Stage::counting(Cpus { machine: world.machine, pinned, targets });
    let way = std::cell::RefCell::new(LinuxWay::new(RAM_BYTES, 0)?);
    let taken = churn(
        operations,
        |order| {
            let frame = world.frames.alloc(pinned, Request::new(order));
            let frame = frame.map_err(|error| Unfit(error.to_string()))?;
            let mut held = Vec::new();
            let request = (frame.frames(), Change::NotPresent);
            way.borrow_mut().change(&stage, request, Asked::PageByPage, &mut held)?;
            Ok((frame, held))
        },
        |(frame, mut held)| {
            way.borrow_mut().restore(&stage, &mut held)?;
            world.frames.free(pinned, frame);
            Ok(())
        },
    )?;
    let left = way.borrow().done();
    Ok(samples(taken, stage.counts().flushes, left))
}

/// Takes and gives at random; the same for every subject. All is given at the end. Returns how many pages were taken.
fn churn<H>(
    operations: usize,
    mut take: impl FnMut(Order) -> Result<H, Unfit>,
    mut give: impl FnMut(H) -> Result<(), Unfit>,
) -> Result<u64, Unfit> {
    let (mut random, mut held, mut taken, mut wanted) = (Random::new(42), Vec::new(), 0, 0);
    for step in 0..operations {
        if step % PHASE == 0 {
            wanted = random.below(MOST_OUT);
        }
        if held.is_empty() || held.len() < wanted && random.below(100) < 60 {
            // Three of four are single pages.
            let order = if random.below(4) > 0 { 0 } else { random.below(6) as u8 };
            let order = Order::new(order).unwrap_or(Order::BASE);
            held.push(take(order)?);
            taken += order.frames();
        } else {
            give(held.swap_remove(random.below(held.len())))?;
        }
    }
    held.into_iter().try_for_each(give)?;
    Ok(taken)
}

fn samples(taken: u64, rounds: u64, left: Done) -> Vec<Sample> {
    let covered = left.whole_1g * PageSize::Size1G.bytes();
    vec![
        Sample::count("pages-taken", "pages", Better::Higher, taken),
        Sample::count("rounds", "rounds", Better::Lower, rounds),
        Sample::of("rounds-per-512", "rounds", Better::Lower, rounds as f64 * 512.0 / taken as f64),
        Sample::count("left-split", "pages", Better::Lower, left.split_pages),
        Sample::of("covered-by-1g", "%", Better::Higher, covered as f64 * 100.0 / RAM_BYTES as f64),
    ]
}
