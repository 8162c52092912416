//! Any history of allocations and frees, by size and by cache, on three CPUs and two nodes, against a plain model: no
//! two objects overlap, none loses its content, nothing is lost, and every structure stays consistent.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::vec::Vec;

use proptest::prelude::*;

use super::model::Model;
use super::world::*;
use crate::{CacheSpec, CheckList, Config, RawCache};

#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc { size: usize, align_shift: u32, times: usize },
    FromCache { times: usize },
    Free { which: usize, times: usize },
    Resize { which: usize, size: usize },
    BeCpu(usize),
    Drain,
    Reclaim,
    Trim,
    Handler,
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0usize..300, 4 => 0usize..5000, 1 => 0usize..100_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (sizes(), 0u32..8, 1usize..80).prop_map(|(size, align_shift, times)| Step::Alloc { size, align_shift, times }),
        4 => (1usize..200).prop_map(|times| Step::FromCache { times }),
        6 => (any::<usize>(), 1usize..200).prop_map(|(which, times)| Step::Free { which, times }),
        2 => (any::<usize>(), sizes()).prop_map(|(which, size)| Step::Resize { which, size }),
        3 => (0usize..3).prop_map(Step::BeCpu),
        1 => Just(Step::Drain),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Trim),
        1 => Just(Step::Handler),
    ]
}

struct Held {
    at: NonNull<u8>,
    /// `None`: an object of the cache.
    layout: Option<Layout>,
    mark: u8,
}

fn play(steps: &[Step], checks: &str) {
    let checks = CheckList::parse(checks).unwrap();
    let world = World::new(3000, 2, Config { checks, report: |report| panic!("{report}"), ..Config::new(3) });
    let cache = RawCache::new(world.slabs, pinned(), &CacheSpec::new("history", 72)).unwrap();
    let (mut model, mut held, mut mark) = (Model::default(), Vec::<Held>::new(), 0u8);
    let give = |held: &Held, model: &mut Model| {
        let bytes = held.layout.map_or(72, |layout| layout.size());
        model.free(held.at.addr().get());
        // SAFETY: the object is ours and has these bytes; it came from there.
        unsafe {
            assert!((0..bytes).all(|at| held.at.add(at).read() == held.mark), "the content is lost");
            match held.layout {
                Some(layout) => world.slabs.free(pinned(), held.at, layout),
                None => cache.free(pinned(), held.at),
            }
        }
    };
    for &step in steps {
        match step {
            Step::Alloc { size, align_shift, times } => {
                let layout = Layout::from_size_align(size, 1 << align_shift).unwrap();
                for _ in 0..times {
                    let Ok(at) = world.slabs.alloc(pinned(), layout) else { continue };
                    model.alloc(at.addr().get(), layout);
                    mark = mark.wrapping_add(1);
                    // SAFETY: the object is ours and has these bytes.
                    unsafe { at.write_bytes(mark, size) };
                    held.push(Held { at, layout: Some(layout), mark });
                }
            }
            Step::FromCache { times } => {
                for _ in 0..times {
                    let Ok(at) = cache.alloc(pinned()) else { continue };
                    model.alloc(at.addr().get(), Layout::from_size_align(72, 8).unwrap());
                    mark = mark.wrapping_add(1);
                    // SAFETY: the object is ours and has these bytes.
                    unsafe { at.write_bytes(mark, 72) };
                    held.push(Held { at, layout: None, mark });
                }
            }
            Step::Free { which, times } => {
                for turn in 0..times.min(held.len()) {
                    let gone = held.swap_remove(which.wrapping_mul(turn + 1) % held.len());
                    give(&gone, &mut model);
                }
            }
            Step::Resize { which, size } if !held.is_empty() => {
                let at = which % held.len();
                let Some(layout) = held[at].layout.filter(|layout| layout.size() > 0 && size > 0) else {
                    continue;
                };
                let old = held[at].at;
                // SAFETY: the object is ours and came with this layout.
                let Ok(new) = (unsafe { world.slabs.realloc(pinned(), old, layout, size) }) else { continue };
                model.free(old.addr().get());
                let layout_now = Layout::from_size_align(size, layout.align()).unwrap();
                model.alloc(new.addr().get(), layout_now);
                let kept = layout.size().min(size);
                // SAFETY: the new object is ours and has these bytes.
                unsafe {
                    assert!((0..kept).all(|byte| new.add(byte).read() == held[at].mark));
                    new.write_bytes(held[at].mark, size);
                }
                held[at] = Held { at: new, layout: Some(layout_now), mark: held[at].mark };
            }
            Step::Resize { .. } => {}
            Step::BeCpu(cpu) => be_cpu(cpu),
            Step::Drain => world.slabs.drain(pinned()),
            Step::Reclaim => {
                world.slabs.reclaim(pinned());
            }
            Step::Trim => world.slabs.trim(pinned()),
            Step::Handler => {
                let line = world.slabs.own_line(cache.record, pinned()).unwrap();
                line.gate.alone(|| {
                    if let Ok(at) = cache.alloc(pinned()) {
                        // SAFETY: an object of this cache.
                        unsafe { cache.free(pinned(), at) };
                    }
                });
            }
        }
        let cpu = pinned().cpu().index();
        for cpu in 0..3 {
            be_cpu(cpu);
            world.slabs.validate(pinned()).unwrap();
        }
        be_cpu(cpu);
        let report = world.slabs.report_of(cache.record);
        let live = held.iter().filter(|held| held.layout.is_none()).count();
        assert_eq!(report.active_objects, live as u64);
    }
    held.iter().for_each(|gone| give(gone, &mut model));
    for cpu in 0..3 {
        be_cpu(cpu);
        world.slabs.drain(pinned());
    }
    cache.destroy(pinned()).unwrap();
    world.slabs.reclaim(pinned());
    world.slabs.validate(pinned()).unwrap();
    world.frames.validate().unwrap();
    let totals = world.slabs.totals();
    if !checks_quarantine(&checks) {
        assert_eq!((totals.live_bytes, totals.held_bytes), (0, totals.own_bytes));
    }
    assert_eq!((totals.faults, world.frames.refused_frees()), (0, 0));
}

fn checks_quarantine(checks: &CheckList) -> bool {
    checks.of("kmalloc-8").has(crate::Checks::QUARANTINE)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_the_models(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps, "-");
    }

    #[test]
    fn any_history_of_checked_caches_is_the_models(steps in prop::collection::vec(step(), 1..25)) {
        play(&steps, "FZPUQ");
    }
}
