//! Fragmentation: what is left of the 2-MiB blocks after churn, and whether they come back.
//!
//! Requests are of orders 0 to 9, each order two thirds as frequent as the one below it: a third are single frames, one
//! in a hundred is a 2-MiB block, and the mean is 17 frames.
//! A block counts as left when an order-9 request gets it, after the caches have been drained where a subject
//! can be asked to; the ideal is all free frames in whole blocks.

use std::ops::ControlFlow;

use rhumb_machine::{Order, PfnRange};

use super::script::{Script, Step};
use super::subject::{FrameSubject, Moved};
use super::{Setting, Workload, steady};
use crate::clock::ticks;
use crate::driver::{Better, Outcome, Sample, Unfit};
use crate::stats::Random;
use crate::team::{self, Member, Timing};

/// Steps of a full churn on each CPU: at 1 GiB and one CPU, each block is replaced eight times.
const STEPS: usize = 200_000;

/// In a build that counts: steps of the churn before those that are counted. With 1 GiB for each CPU, each block is
/// replaced twice.
const STEPS_BEFORE: usize = if cfg!(rhumb_counted) { 50_000 } else { 0 };

/// Steps between two looks at whether the other CPUs still run.
const STRIDE: usize = 100;

/// Turns of the healing churn: in each, as many frames are freed and allocated as are held.
const TURNS: usize = 5;

/// Batches in a turn: a tenth of what is held is freed, then as much allocated.
const BATCHES: usize = 10;

/// Plays one step; 1 where a request failed.
fn play<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    slots: &mut [Option<S::Held>],
    (slot, step): (u32, Step),
) -> u64 {
    let slot = &mut slots[slot as usize];
    match step {
        Step::Get(order) => {
            *slot = subject.get(member.pinned, order);
            u64::from(slot.is_none())
        }
        Step::Put(order) => {
            // Empty where the get failed.
            if let Some(held) = slot.take() {
                subject.put(member.pinned, held, order);
            }
            0
        }
    }
}

/// Drains all CPUs, then lets the first take every 2-MiB block of `frames` that it can get, and give them back. Its
/// count, on all CPUs 0 but there.
pub(super) fn blocks_left<S: FrameSubject>(subject: &S, member: &Member<'_>, frames: PfnRange) -> u64 {
    member.meet();
    subject.drain(member.pinned);
    member.meet();
    let mut blocks = Vec::new();
    if member.index == 0 {
        while let Some(block) = steady::persistent_get(subject, member, Order::LARGE) {
            blocks.push(block);
        }
    }
    let count = blocks.iter().filter(|block| frames.contains(subject.first(block))).count() as u64;
    blocks.into_iter().for_each(|block| subject.put(member.pinned, block, Order::LARGE));
    subject.drain(member.pinned);
    member.meet();
    count
}

/// Returns `blocks` as a share of what `free_frames` could be at best.
fn of_ideal(metric: &'static str, blocks: u64, free_frames: u64) -> Sample {
    let ideal = (free_frames / Order::LARGE.frames()).max(1);
    Sample::of(metric, "% of ideal", Better::Higher, 100.0 * blocks as f64 / ideal as f64)
}

/// Orders 0 to 9 at 75 % full.
#[derive(Clone, Copy)]
pub(super) struct Mixed;

/// The results of one CPU.
struct Seen {
    timing: Timing,
    failed: u64,
    live_frames: [u64; 2],
    blocks: [u64; 2],
}

impl Workload for Mixed {
    fn largest_order(&self) -> Order {
        Order::LARGE
    }

    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames().frames();
        let steps = setting.options.operations(STEPS);
        let results = team::run(setting.region.machine(), setting.region.cpus, setting.clock, |member| {
            let target = member.share(frames as usize) as u64 * 3 / 4;
            mixed_member(
                &subject,
                member,
                setting.region.frames(),
                &Script::new(member.index as u64 + 7, target, STEPS_BEFORE + steps),
            )
        });
        let results = results.map_err(|error| Unfit(error.to_string()))?;
        let sum = |part: fn(&Seen) -> u64| results.iter().map(part).sum::<u64>();
        let timing: Timing = results.iter().map(|seen| seen.timing).sum();
        // One get and one put.
        let mut samples = timing.samples(timing.done / 2);
        samples.extend([
            Sample::count("failed", "requests", Better::Lower, sum(|seen| seen.failed)),
            of_ideal(
                "blocks-after-churn",
                sum(|seen| seen.blocks[0]),
                frames - sum(|seen| seen.live_frames[0]),
            ),
            of_ideal(
                "blocks-after-free-90",
                sum(|seen| seen.blocks[1]),
                frames - sum(|seen| seen.live_frames[1]),
            ),
        ]);
        Ok(samples)
    }
}

fn mixed_member<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    frames: PfnRange,
    script: &Script,
) -> Seen {
    let mut slots: Vec<Option<S::Held>> = (0..script.slots).map(|_| None).collect();
    let mut failed = 0;
    member.meet();
    member.unnoted(|| {
        for &step in &script.fill {
            failed += play(subject, member, &mut slots, step);
        }
    });
    let (before, churn) = script.churn.split_at_checked(STEPS_BEFORE).unwrap_or((&[], &script.churn));
    member.come_to_rest(before.len(), |index| {
        failed += play(subject, member, &mut slots, before[index]);
        ControlFlow::Continue(())
    });
    let timing = member.timed(churn.len(), STRIDE, |index| {
        failed += play(subject, member, &mut slots, churn[index]);
    });
    member.unnoted(|| {
        for (index, &step) in churn[timing.done..].iter().enumerate() {
            if index.is_multiple_of(1024) && member.is_late() {
                break;
            }
            failed += play(subject, member, &mut slots, step);
        }
        let (live_frames, blocks) = blocks_of(subject, member, frames, script, &mut slots);
        Seen { timing, failed, live_frames, blocks }
    })
}

/// Counts the blocks that are left, then frees nine tenths of what is live and counts again. Returns the live frames at
/// each count, and the blocks.
fn blocks_of<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    frames: PfnRange,
    script: &Script,
    slots: &mut [Option<S::Held>],
) -> ([u64; 2], [u64; 2]) {
    let held = |slots: &[Option<S::Held>]| {
        script
            .live
            .iter()
            .filter(|(slot, _)| slots[*slot as usize].is_some())
            .map(|(_, order)| order.frames())
            .sum()
    };
    let live_before = held(slots);
    let blocks_before = blocks_left(subject, member, frames);
    let mut live = script.live.clone();
    Random::new(member.index as u64).shuffle(&mut live);
    for &(slot, order) in &live[live.len() / 10..] {
        play(subject, member, slots, (slot, Step::Put(order)));
    }
    let live_after = held(slots);
    let blocks_after = blocks_left(subject, member, frames);
    ([live_before, live_after], [blocks_before, blocks_after])
}

/// The fill and churn of [`Mixed`], then a compaction; nine tenths freed, then another.
#[derive(Clone, Copy)]
pub(super) struct Compaction;

impl Workload for Compaction {
    fn largest_order(&self) -> Order {
        Order::LARGE
    }

    fn needs_moving(&self) -> bool {
        true
    }

    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames();
        let script = Script::new(7, frames.frames() * 3 / 4, setting.options.operations(STEPS));
        let results = team::run(setting.region.machine(), 1, setting.clock, |member| {
            let mut slots: Vec<Option<S::Held>> = (0..script.slots).map(|_| None).collect();
            for &step in script.fill.iter().chain(&script.churn) {
                play(&subject, member, &mut slots, step);
            }
            let held = script.live.iter();
            let held =
                held.filter_map(|&(slot, order)| Some((slots[slot as usize].take()?, order))).collect();
            let (mut held, after_churn) = compacted(&subject, member, held, frames);
            Random::new(1).shuffle(&mut held);
            for (block, order) in held.drain(held.len() / 10..) {
                subject.put(member.pinned, block, order);
            }
            let (_, after_free) = compacted(&subject, member, held, frames);
            [after_churn, after_free]
        });
        let results = results.map_err(|error| Unfit(error.to_string()))?.concat();
        let [after_churn, after_free] = results.as_slice() else {
            return Err(Unfit("it needs one CPU".to_owned()));
        };
        let ms = |ns: f64| Sample::of("time", "ms", Better::Lower, ns / 1e6);
        Ok(vec![
            of_ideal("blocks-after-churn", after_churn.blocks, frames.frames() - after_churn.live_frames),
            Sample::count("moved-after-churn", "frames", Better::Lower, after_churn.moved.0),
            ms(after_churn.ns),
            of_ideal("blocks-after-free-90", after_free.blocks, frames.frames() - after_free.live_frames),
            Sample::count("moved-after-free-90", "frames", Better::Lower, after_free.moved.0),
        ])
    }
}

/// The result and the cost of a compaction.
#[derive(Clone, Copy)]
struct Compacted {
    blocks: u64,
    live_frames: u64,
    moved: Moved,
    ns: f64,
}

fn compacted<S: FrameSubject>(
    subject: &S,
    member: &Member<'_>,
    held: Vec<(S::Held, Order)>,
    frames: PfnRange,
) -> (Vec<(S::Held, Order)>, Compacted) {
    let start = ticks();
    let (held, moved) = subject.compact(member.pinned, held);
    let ns = member.clock.ns(ticks() - start);
    let live_frames = held.iter().map(|(_, order)| order.frames()).sum();
    let blocks = blocks_left(subject, member, frames);
    (held, Compacted { blocks, live_frames, moved, ns })
}

/// All memory taken frame by frame, a random half freed, so that no block is whole; then turns of random frees and
/// allocations. Random choice alone leaves e^-5 of the old frames in place: an allocator that always fills the fullest
/// block first gets back about a fifth of the blocks.
#[derive(Clone, Copy)]
pub(super) struct Healing;

impl Workload for Healing {
    fn largest_order(&self) -> Order {
        Order::LARGE
    }

    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames().frames() as usize;
        let results = team::run(setting.region.machine(), setting.region.cpus, setting.clock, |member| {
            let mut random = Random::new(member.index as u64 + 3);
            let share = member.share(frames);
            let mut held = Vec::with_capacity(share);
            member.meet();
            steady::take(&subject, member, share, &mut held);
            member.meet();
            random.shuffle(&mut held);
            steady::give_back(&subject, member, held.drain((share / 2).min(held.len())..));
            let mut failed = 0;
            let batch = held.len() / BATCHES;
            for _ in 0..TURNS * BATCHES {
                if member.is_late() {
                    break;
                }
                // Failed requests leave less to free.
                for _ in 0..batch.min(held.len()) {
                    let victim = held.swap_remove(random.below(held.len()));
                    subject.put(member.pinned, victim, Order::BASE);
                }
                for _ in 0..batch {
                    match subject.get(member.pinned, Order::BASE) {
                        Some(frame) => held.push(frame),
                        None => failed += 1,
                    }
                }
            }
            member.meet();
            (blocks_left(&subject, member, setting.region.frames()), held.len() as u64, failed)
        });
        let results = results.map_err(|error| Unfit(error.to_string()))?;
        let blocks = results.iter().map(|&(blocks, ..)| blocks).sum();
        let held: u64 = results.iter().map(|&(_, held, _)| held).sum();
        let failed = results.iter().map(|&(.., failed)| failed).sum();
        Ok(vec![
            of_ideal("blocks-healed", blocks, frames as u64 - held),
            Sample::count("failed", "requests", Better::Lower, failed),
        ])
    }
}
