//! The ladder of TLB reach: the time of an access over the size of the memory that is accessed, for each size of page.
//!
//! A chain leads from page to page in random order, one line in each page of 4 KiB, and each access waits for the one
//! before. The lines are the same in each memory, so the caches of data do the same work, and what one ladder has above
//! another is the cost of translations. Where it begins to rise, a TLB's reach ends.

use std::hint::black_box;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rhumb_machine::CpuId;
use rhumb_method::undisturbed_mean;

use crate::backing::Backing;
use crate::error::Error;
use crate::size::PAGE;

/// The fewest pages of a rung: they fit each first-level TLB.
const FIRST: u64 = 8;

/// Samples of each rung.
const SAMPLES: usize = 5;

/// Accesses of a sample, and as many as half of them before it.
const HOPS: u64 = 1 << 15;

/// Accesses that are timed together.
const STRETCH: u64 = 1 << 8;

/// The ladders of several memories.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Ladder {
    /// The pages of each rung.
    pub(crate) pages: Vec<u64>,
    /// Nanoseconds for each access, by memory, rung and sample.
    pub(crate) ns: Vec<Vec<Vec<f64>>>,
}

/// Measures the ladders of all memories, in turns. `go_on` is asked before each rung, and told how many there are.
///
/// # Errors
/// The memory's CPU is taken.
pub(crate) fn measure(
    backings: &mut [Backing],
    seed: u64,
    mut go_on: impl FnMut(u64, u64) -> bool,
) -> Result<Ladder, Error> {
    let bytes = backings.iter().map(|backing| backing.range().bytes()).min().unwrap_or(0);
    let rungs = rungs(bytes / PAGE);
    let mut ladder = Ladder { pages: Vec::new(), ns: vec![Vec::new(); backings.len()] };
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    for (index, &pages) in rungs.iter().enumerate() {
        if !go_on(index as u64, rungs.len() as u64) {
            break;
        }
        let chain = chain(pages, &mut random);
        backings.iter_mut().for_each(|backing| lay(backing, &chain));
        let mut samples = vec![Vec::with_capacity(SAMPLES); backings.len()];
        let mut order: Vec<usize> = (0..backings.len()).collect();
        // Each sample goes on where the one before ended: a long chain's lines are then never nearer than they should be.
        let mut places = vec![chain.first().copied().unwrap_or(0); backings.len()];
        for _ in 0..SAMPLES {
            order.shuffle(&mut random);
            for &which in &order {
                samples[which].push(chase(&backings[which], &mut places[which])?);
            }
        }
        ladder.pages.push(pages);
        ladder.ns.iter_mut().zip(samples).for_each(|(of_memory, samples)| of_memory.push(samples));
    }
    Ok(ladder)
}

/// Returns the pages of each rung: two for each power of two.
fn rungs(most: u64) -> Vec<u64> {
    let powers = std::iter::successors(Some(FIRST), |pages| pages.checked_mul(2));
    let both = powers.flat_map(|pages| [pages, pages + pages / 2]);
    both.take_while(|pages| *pages <= most).collect()
}

/// Returns the addresses of a chain over `pages` pages, in the order in which they are accessed.
fn chain(pages: u64, random: &mut Pcg64Mcg) -> Vec<u64> {
    // Lines at one place of each page would all compete for few sets of the caches.
    let line = |page: u64| page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 6);
    let mut chain: Vec<u64> = (0..pages).map(|page| page * PAGE + line(page) * 64).collect();
    chain.shuffle(random);
    chain
}

fn lay(backing: &mut Backing, chain: &[u64]) {
    for (index, &at) in chain.iter().enumerate() {
        backing.set_word(at, chain[(index + 1) % chain.len()]);
    }
}

/// Returns nanoseconds for each access from `place` on. Stretches in which the CPU was given to another program do not
/// count.
fn chase(backing: &Backing, place: &mut u64) -> Result<f64, Error> {
    let follow = |from: u64, hops: u64| (0..hops).fold(from, |at, _| backing.word(at));
    let mut timed = || {
        let mut at = black_box(follow(*place, HOPS / 2));
        let mut times = [0.0; (HOPS / STRETCH) as usize];
        for time in &mut times {
            let began = Instant::now();
            at = black_box(follow(at, STRETCH));
            *time = began.elapsed().as_nanos() as f64;
        }
        *place = at;
        // A clock that did not move would make a time of 0, which none is.
        undisturbed_mean(&times).unwrap_or(0.0).max(1.0) / STRETCH as f64
    };
    Ok(backing.machine().enter(CpuId::BOOT, |_| timed())?)
}

/// Returns the pages at which a ladder begins to rise above `floor`, the ladder of larger pages. Both are in nanoseconds
/// by rung. The first rises are those of the TLB's levels. Later ones are those of the caches that hold page tables.
pub(crate) fn knees(pages: &[u64], floor: &[f64], ns: &[f64]) -> Vec<u64> {
    let Some(&nearest) = floor.first() else { return Vec::new() };
    let above: Vec<f64> = ns.iter().zip(floor).map(|(ns, floor)| (ns - floor).max(0.0)).collect();
    let mut knees = Vec::new();
    // The ladder's level before it rises, and the last rung at that level.
    let (mut level, mut last, mut is_rising) = (above.first().copied().unwrap_or(0.0), 0, false);
    for rung in 1..above.len() {
        let height = above[rung];
        if is_rising {
            if height <= above[rung - 1] * 1.05 + nearest * 0.05 {
                (level, last, is_rising) = (height, rung, false);
            }
        } else if height <= level * 1.1 + nearest * 0.1 {
            last = rung;
        } else if height > level * 1.25 + nearest * 0.5 {
            knees.push(pages[last]);
            is_rising = true;
        }
    }
    knees
}

/// Tells whether a ladder, in nanoseconds by rung, rises within so few lines that the first cache holds all of them. With
/// large pages none should: the TLB then holds smaller pieces than the pages are.
pub(crate) fn is_fractured(pages: &[u64], ns: &[f64]) -> bool {
    let Some(&nearest) = ns.first() else { return false };
    // 256 lines of 64 bytes: half of the smallest first cache.
    pages.iter().zip(ns).any(|(pages, ns)| *pages <= 256 && *ns > nearest * 1.5)
}

#[cfg(test)]
mod tests;
