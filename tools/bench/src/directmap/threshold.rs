//! From how many pages on is one full flush cheaper than one `invlpg` each? The host's own threshold shows it.
//!
//! The host drops up to 33 pages one by one, and everything beyond (its default). So around that number the time of
//! taking the right to write away shows what an `invlpg` costs (the slope up to it, less the slope beyond), and the
//! time of a walk through a working set afterwards the cost of a full flush for the code after it (the step at it).

use std::hint::black_box;

use rhumb_hosted::native::{NativeAccess, NativeMap};
use rhumb_machine::{Pfn, PfnRange};

use super::{Setting, block};
use crate::clock::ticks;
use crate::driver::{Case, Outcome, Sample, Unfit};
use crate::stats::{Random, median};

/// Around the host's threshold; and none, where the host is called all the same but has nothing to flush.
pub(super) const PAGES: [u64; 7] = [0, 1, 17, 33, 34, 50, 66];

/// Pages of the working set: a sixth of a second-level TLB of 1,536 entries, so that a neighbour on the core may have
/// the rest.
pub(super) const WORKING_SET: u64 = 256;

/// Flushes of a full run.
const FLUSHES: usize = 1000;

/// Returns the host's own way, for [`PAGES`]: not one of ours, so there is one case only.
pub(super) fn cases(workload: &str, setting: &Setting, pages: u64) -> Vec<Case> {
    let subject = "host";
    if !setting.options.wants(workload, subject) {
        return Vec::new();
    }
    let setting = setting.clone();
    vec![Case { subject, run: Box::new(move || run(&setting, pages)) }]
}

fn run(setting: &Setting, pages: u64) -> Outcome {
    let unfit = |error: std::io::Error| Unfit(error.to_string());
    // The working set is in block 1, the protected pages are in block 0, and block 2 has no page behind it.
    let host = NativeMap::new(block(3).start().addr().get()).map_err(unfit)?;
    let protected = PfnRange::of_length(Pfn::new(0), pages).unwrap_or_default();
    let asked = if pages == 0 { block(2) } else { protected };
    let first = lay_chain(&host);
    let [mut warm, mut protecting, mut walking] = [const { Vec::new() }; 3];
    for _ in 0..setting.options.operations(FLUSHES) {
        for pfn in protected.iter() {
            // SAFETY: RAM of the map, and writable here.
            unsafe { host.base().plus(pfn.addr().get()).as_mut_ptr::<u64>().write_volatile(0) };
        }
        walk_chain(&host, first);
        let before = ticks();
        walk_chain(&host, first);
        let start = ticks();
        // SAFETY: no code writes to these until they are writable again, below.
        unsafe { host.protect(asked.addrs(), NativeAccess::ReadOnly) }.map_err(unfit)?;
        let middle = ticks();
        walk_chain(&host, first);
        let end = ticks();
        // SAFETY: it only gives more.
        unsafe { host.protect(asked.addrs(), NativeAccess::ReadWrite) }.map_err(unfit)?;
        warm.push(setting.clock.ns(setting.clock.span(before, start).into()));
        protecting.push(setting.clock.ns(setting.clock.span(start, middle).into()));
        walking.push(setting.clock.ns(setting.clock.span(middle, end).into()));
    }
    let resolution = setting.clock.resolution_ns();
    let of_a_page = resolution / WORKING_SET as f64;
    Ok(vec![
        Sample::resolved_ns("protect", median(&mut protecting), resolution),
        Sample::resolved_ns("walk-warm", median(&mut warm) / WORKING_SET as f64, of_a_page),
        Sample::resolved_ns("walk-after", median(&mut walking) / WORKING_SET as f64, of_a_page),
    ])
}

/// Returns where page `number` of the working set keeps the number of the next: each in a cache line of its own set.
fn place(host: &NativeMap, number: u64) -> *mut u64 {
    let offset = number % 64 * 64;
    host.base().plus(block(1).start().plus(number).addr().get() + offset).as_mut_ptr()
}

/// Returns a chain through all pages in random order; returns where it begins and ends.
fn lay_chain(host: &NativeMap) -> u64 {
    let mut order: Vec<u64> = (0..WORKING_SET).collect();
    Random::new(1).shuffle(&mut order);
    let next = order.iter().copied().cycle().skip(1);
    for (&number, next) in order.iter().zip(next) {
        // SAFETY: RAM of the map, in the working set.
        unsafe { place(host, number).write(next) };
    }
    order.first().copied().unwrap_or(0)
}

/// Goes through the chain: each step waits for the one before.
fn walk_chain(host: &NativeMap, first: u64) {
    let mut number = first;
    for _ in 0..WORKING_SET {
        // SAFETY: RAM of the map, in the working set, whose words `lay_chain` has filled with numbers of the set.
        number = unsafe { place(host, number).read_volatile() };
    }
    black_box(number);
}
