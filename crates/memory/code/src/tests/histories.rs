//! Random histories beside a plain model: what is allocated, what it says, and nothing else.

use std::vec::Vec;

use proptest::prelude::*;

use super::world::*;
use crate::{CodeError, GRANULE_BYTES, Kind, NoFrames, Part, Request, Write};

/// A part and what it must say.
struct Modelled {
    part: Part,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Allocate {
        kind: u8,
        bytes: u64,
        align: u32,
    },
    /// Writes up to so many parts that were not written, at once.
    Write {
        first: usize,
        count: usize,
    },
    /// Frees up to three at once.
    Free {
        first: usize,
        second: usize,
        third: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![1..600u64, 1..20_000u64, 1_000_000..2_097_152u64];
    let first = any::<usize>();
    prop_oneof![
        3 => (0..3u8, bytes, 0..14u32).prop_map(|(kind, bytes, align)| Step::Allocate { kind, bytes, align }),
        3 => (first, 1..4usize).prop_map(|(first, count)| Step::Write { first, count }),
        3 => any::<[usize; 3]>().prop_map(|[first, second, third]| Step::Free { first, second, third }),
    ]
}

pub(super) fn play(steps: &[Step]) {
    let (pool, hardware) = pool(6, 6);
    let mut model: Vec<Modelled> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        watch(hardware, model.iter());
        match *step {
            Step::Allocate { kind, bytes, align } => {
                let kind = Kind::ALL[kind as usize];
                match pool.allocate(Request::new(kind, bytes).aligned(1 << align)) {
                    Ok(part) => {
                        assert!(part.address().get().is_multiple_of(1 << align));
                        model.push(Modelled { part, bytes: std::vec![kind.fill(); bytes as usize] });
                    }
                    Err(error) => {
                        let is_full = [CodeError::Exhausted, CodeError::NoFrames(NoFrames::NoBlock)];
                        assert!(is_full.contains(&error), "{error}");
                    }
                }
            }
            Step::Write { first, count } => {
                let unwritten = model.iter().enumerate().filter(|(_, it)| !it.part.is_written());
                let unwritten: Vec<usize> = unwritten.map(|(at, _)| at).collect();
                if unwritten.is_empty() {
                    continue;
                }
                let chosen: Vec<usize> = (0..count.min(unwritten.len()))
                    .map(|at| unwritten[(first % unwritten.len() + at) % unwritten.len()])
                    .collect();
                let others = model.iter().enumerate().filter(|(at, _)| !chosen.contains(at));
                watch(hardware, others.map(|(_, it)| it));
                let mut writes = Vec::new();
                let mut news = Vec::new();
                for (at, it) in model.iter().enumerate().filter(|(at, _)| chosen.contains(at)) {
                    news.push(code((number + at) as u64, it.part.bytes()));
                }
                let parts = model.iter_mut().enumerate().filter(|(at, _)| chosen.contains(at));
                for ((_, it), bytes) in parts.zip(&news) {
                    it.bytes.clone_from(bytes);
                    writes.push(Write { part: &mut it.part, bytes });
                }
                pool.write(&mut writes).unwrap();
            }
            Step::Free { first, second, third } => {
                if model.len() < 3 {
                    continue;
                }
                let mut take = |at: usize| {
                    let at = at % model.len();
                    model.swap_remove(at).part
                };
                let parts = [take(first), take(second), take(third)];
                watch(hardware, model.iter());
                pool.free(parts).unwrap();
            }
        }
        pool.validate().unwrap();
        hardware.audit();
        check(hardware, &model);
    }
    hardware.watch(Vec::new());
    model.into_iter().for_each(|it| pool.free([it.part]).unwrap());
    assert_eq!(hardware.out(), 0);
    pool.validate().unwrap();
}

/// Has all CPUs run these parts whenever anything happens: their ends tell as much as the whole.
fn watch<'a>(hardware: &Hardware, parts: impl Iterator<Item = &'a Modelled>) {
    let code = parts.filter(|it| it.part.kind() == Kind::Code);
    let ends = code.flat_map(|it| {
        let last = it.bytes.len() - 1;
        let end = it.part.address().plus(last as u64);
        [(it.part.address(), it.bytes[..1].to_vec()), (end, it.bytes[last..].to_vec())]
    });
    hardware.watch(ends.collect());
}

/// Every part says what it must, no two share a cache line.
fn check(hardware: &Hardware, model: &[Modelled]) {
    let mut ranges: Vec<_> = model.iter().map(|it| it.part.range()).collect();
    ranges.sort_by_key(|range| range.start());
    for pair in ranges.windows(2) {
        let end = pair[0].end().get().next_multiple_of(GRANULE_BYTES);
        assert!(end <= pair[1].start().get());
    }
    for it in model {
        // All of small parts, and the beginning and the end of large ones.
        let near = it.bytes.len().min(700);
        must_be(hardware, it.part.address(), it.part.kind(), &it.bytes[..near]);
        let end = it.part.address().plus((it.bytes.len() - near) as u64);
        must_be(hardware, end, it.part.kind(), &it.bytes[it.bytes.len() - near..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_is_its_model(steps in prop::collection::vec(step(), 1..40)) {
        play(&steps);
    }
}

/// A fixed history, for faults that are injected: they must be found in this one.
pub(super) fn fixed() -> Vec<Step> {
    let mut steps = Vec::new();
    let data = Step::Allocate { kind: 2, bytes: 900, align: 0 };
    steps.extend(std::vec![data.clone(); 6]);
    steps.extend(std::vec![Step::Write { first: 0, count: 3 }; 2]);
    steps.push(Step::Free { first: 0, second: 1, third: 2 });
    steps.push(data);
    for round in 0..12 {
        steps.push(Step::Allocate { kind: (round % 3) as u8, bytes: 700 + 900 * round, align: 0 });
        steps.push(Step::Allocate { kind: 0, bytes: 5000, align: 12 });
        steps.push(Step::Write { first: 0, count: 3 });
        if round % 2 == 1 {
            steps.push(Step::Free { first: round as usize, second: 0, third: 1 });
        }
    }
    steps
}
