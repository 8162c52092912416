//! Interrupts whose handlers make areas and give them back: at each point of a body in turn, and between any two of its
//! instructions.

use rhumb_hosted::interrupt::Strike;
use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::{Area, AreaRequest, FlushPolicy};
use rhumb_machine::{CpuId, CpuMask, IrqOff, Machine, PageSize, Pinned};

use crate::world::{BASE, MIB, Random, World, as_cpu_0};

/// Areas that a handler, or the code below it, holds: no heap.
struct Held<const N: usize> {
    areas: [Option<Area>; N],
    turn: u64,
}

impl<const N: usize> Held<N> {
    fn new() -> Self {
        Self { areas: [const { None }; N], turn: 0 }
    }

    /// Makes an area in the next place, or gives back the one that is there. Returns how many were refused.
    fn step(&mut self, world: &World, pinned: Pinned<'_>, request: AreaRequest) -> u64 {
        self.turn += 1;
        let place = &mut self.areas[(self.turn % N as u64) as usize];
        match place.take() {
            Some(area) => u64::from(world.map.free(pinned, area).is_err()),
            None => {
                *place = world.map.alloc(pinned, request).ok();
                0
            }
        }
    }

    fn give_back(&mut self, world: &World, pinned: Pinned<'_>) {
        for area in self.areas.iter_mut().filter_map(Option::take) {
            world.check_area(0, &area);
            world.map.free(pinned, area).unwrap();
        }
    }
}

/// Makes some areas and gives them back, so that all ways of waiting and flushing are taken.
fn body(world: &World, pinned: Pinned<'_>) {
    let mut held = Held::<4>::new();
    for turn in 0..4 {
        let request = AreaRequest::new(1 + turn % 3).largest(PageSize::Size4K);
        assert_eq!(held.step(world, pinned, request), 0);
        let mut area = world.map.alloc(pinned, AreaRequest::new(3)).unwrap();
        world.touch(1, area.start(), Use::Write);
        world.map.protect(pinned, &mut area, 1..2, rhumb_pagetable::Access::ReadOnly).unwrap();
        world.map.free(pinned, area).unwrap();
    }
    world.map.reclaim(pinned);
    held.give_back(world, pinned);
}

#[test]
fn at_each_point_in_turn() {
    for policy in FlushPolicy::ALL {
        let world = World::new(2, 32 * MIB, MmuConfig::plain(1));
        let machine = world.ground.machine;
        machine
            .enter(CpuId::BOOT, |cpu| {
                world.map.set_policy(cpu.pinned(), policy);
                world.map.set_most_waiting(4);
                for after in 0.. {
                    let mut theirs = Held::<3>::new();
                    let mut handler = |off: IrqOff<'_>| {
                        for turn in 0..40 {
                            let request = AreaRequest::new(1 + turn % 2);
                            assert_eq!(theirs.step(world, off.pinned(), request), 0);
                        }
                        // CPU 1 reads what is mapped now.
                        let pages = (0..32).map(|page| BASE.plus(page * 4096));
                        pages.for_each(|page| world.mmu().speculate(CpuId::new(1).unwrap(), page));
                    };
                    let ((), struck) = cpu.with_interrupts(Strike::Once { after }, &mut handler, || {
                        body(world, cpu.pinned());
                    });
                    theirs.give_back(world, cpu.pinned());
                    if after % 16 == 0 {
                        world.assert_empty(cpu.pinned());
                    }
                    if struck == 0 {
                        assert!(after > 50, "{after} points");
                        break;
                    }
                }
                world.assert_empty(cpu.pinned());
                assert_eq!(world.ground.frames.refused_frees(), 0);
            })
            .unwrap();
    }
}

#[test]
fn between_any_two_instructions() {
    const CPUS: usize = 2;
    for policy in FlushPolicy::ALL {
        let world = World::new(CPUS, 64 * MIB, MmuConfig::plain(3));
        as_cpu_0(world, |pinned| {
            world.map.set_policy(pinned, policy);
            world.map.set_most_waiting(60);
        });
        let struck = world
            .ground
            .machine
            .run_on(CpuMask::first(CPUS), |cpu| {
                let here = cpu.id().index();
                let (mut theirs, mut refused) = (Held::<24>::new(), 0);
                let mut handler = |off: IrqOff<'_>| {
                    refused += theirs.step(world, off.pinned(), AreaRequest::new(1 + theirs.turn % 3));
                };
                let (mut mine, mut random) = (Held::<40>::new(), Random(here as u64 + 5));
                // SAFETY: the handler calls the map alone, which has no heap, and takes its locks with interrupts off.
                let (ours, struck) = unsafe {
                    cpu.with_storm(&mut handler, || {
                        let mut refused = 0;
                        for step in 0..400u64 {
                            let guard = world.ground.machine.pin();
                            let pages =
                                if step % 64 == 9 { 512 + random.below(99) } else { 1 + random.below(9) };
                            refused += mine.step(world, guard.pinned(), AreaRequest::new(pages));
                            if step % 100 == 0 {
                                world.map.reclaim(guard.pinned());
                            }
                        }
                        refused
                    })
                }
                .unwrap();
                mine.give_back(world, cpu.pinned());
                theirs.give_back(world, cpu.pinned());
                assert_eq!((ours, refused), (0, 0));
                struck
            })
            .unwrap();
        assert!(struck.iter().sum::<u64>() > 10, "{struck:?}");
        as_cpu_0(world, |pinned| {
            world.assert_empty(pinned);
            assert_eq!(world.ground.frames.refused_frees(), 0);
        });
    }
}
