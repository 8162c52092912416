//! How long one get takes, each of them timed on its own: percentiles, and the longest refill and flush.
//!
//! The host backs the loop's own memory beforehand: a page fault in a thousand gets would be their p99.9.
//!
//! A host interrupts a process now and then for microseconds: the very longest time of a run says only that. The
//! longest of each burst of a thousand does hold each refill, and the median over the bursts holds no interruption.

use std::hint::black_box;

use rhumb_machine::Order;

use super::steady::Free;
use super::subject::FrameSubject;
use super::{Setting, Workload, steady};
use crate::clock::{Clock, ticks};
use crate::driver::{Outcome, Sample, Unfit};
use crate::stats;
use crate::team;

/// Timed gets of a full run on each CPU.
const GETS: usize = 100_000;

/// Puts, then gets, of one burst.
const BURST: usize = 1000;

/// One random free, one timed allocation, at 90 % full.
#[derive(Clone, Copy)]
pub(super) struct Single;

impl Workload for Single {
    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames().frames() as usize;
        let results = team::run(setting.region.machine(), setting.region.cpus, setting.clock, |member| {
            let mut held = steady::fill_to_90_percent(&subject, member, frames, Free::Together);
            let count = setting.options.operations(GETS).min(held.len() * 3 / 4);
            let victims = held.split_off(held.len() - count);
            let mut times = steady::touched(count);
            let clock = member.clock.here();
            member.meet();
            for victim in victims {
                subject.put(member.pinned, victim, Order::BASE);
                let start = ticks();
                let got = black_box(subject.get(member.pinned, Order::BASE));
                times.push(clock.span(start, ticks()));
                held.extend(got);
            }
            (times, clock.resolution_ns())
        });
        let results = results.map_err(|error| Unfit(error.to_string()))?;
        let resolution = results.iter().fold(0.0, |most: f64, &(_, of_one)| most.max(of_one));
        let times = results.into_iter().flat_map(|(times, _)| times).collect();
        Ok(percentiles(times, setting.clock, resolution).into())
    }
}

/// Returns the median, the 99th and the 99.9th percentile of times with this resolution, in nanoseconds.
fn percentiles(mut times: Vec<u32>, clock: Clock, resolution: f64) -> [Sample; 3] {
    times.sort_unstable();
    [("p50", 500), ("p99", 990), ("p99.9", 999)].map(|(name, per_mille)| {
        Sample::resolved_ns(name, clock.ns(stats::percentile(&times, per_mille).into()), resolution)
    })
}

/// A thousand random frees, then a thousand allocations, all timed, again and again, in an aged memory.
#[derive(Clone, Copy)]
pub(super) struct Burst;

/// The times that one CPU saw: each get, and the longest get and put of each burst.
#[derive(Default)]
struct Seen {
    gets: Vec<u32>,
    longest_gets: Vec<f64>,
    longest_puts: Vec<f64>,
    resolution_ns: f64,
}

impl Workload for Burst {
    fn run<S: FrameSubject>(self, setting: &Setting) -> Outcome {
        let subject = S::fresh(&setting.region)?;
        let frames = setting.region.frames().frames() as usize;
        let results = team::run(setting.region.machine(), setting.region.cpus, setting.clock, |member| {
            let mut held = steady::fill_to_90_percent(&subject, member, frames, Free::Scattered);
            let count = setting.options.operations(GETS).min(held.len() * 3 / 4);
            let mut victims = held.split_off(held.len() - count).into_iter();
            let mut got = steady::touched(count);
            let clock = member.clock.here();
            let mut seen = Seen {
                gets: steady::touched(count),
                resolution_ns: clock.resolution_ns(),
                ..Seen::default()
            };
            member.meet();
            for _ in 0..count / BURST {
                if member.is_late() {
                    break;
                }
                let (mut longest_get, mut longest_put) = (0, 0);
                for victim in victims.by_ref().take(BURST) {
                    let start = ticks();
                    subject.put(member.pinned, victim, Order::BASE);
                    longest_put = longest_put.max(clock.span(start, ticks()));
                }
                for _ in 0..BURST {
                    let start = ticks();
                    let block = black_box(subject.get(member.pinned, Order::BASE));
                    let time = clock.span(start, ticks());
                    seen.gets.push(time);
                    longest_get = longest_get.max(time);
                    got.extend(block);
                }
                seen.longest_gets.push(clock.ns(longest_get.into()));
                seen.longest_puts.push(clock.ns(longest_put.into()));
            }
            seen
        });
        let mut all = Seen::default();
        for seen in results.map_err(|error| Unfit(error.to_string()))? {
            all.gets.extend(seen.gets);
            all.longest_gets.extend(seen.longest_gets);
            all.longest_puts.extend(seen.longest_puts);
            all.resolution_ns = all.resolution_ns.max(seen.resolution_ns);
        }
        let resolution = all.resolution_ns;
        let mut samples = Vec::from(percentiles(all.gets, setting.clock, resolution));
        for (name, times) in
            [("longest-refill", &mut all.longest_gets), ("longest-flush", &mut all.longest_puts)]
        {
            samples.push(Sample::resolved_ns(name, stats::median(times), resolution));
        }
        Ok(samples)
    }
}
