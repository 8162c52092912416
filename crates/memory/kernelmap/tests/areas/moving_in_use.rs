//! Moving areas to another node while they are used: by handlers at each point of the move, and by other CPUs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_hosted::interrupt::Strike;
use rhumb_hosted::mmu::{Fault, MmuConfig};
use rhumb_kernelmap::{AreaError, FlushPolicy, Moved};
use rhumb_machine::{CpuId, IrqOff, PageSize};
use rhumb_pagetable::Access;

use crate::moving::{OWNER, at, check, fill, node, request};
use crate::world::{MIB, Random, Threads, World, as_cpu_0};

/// At each point of a move in turn, an interrupt handler on the CPU that moves the area reads and writes it, as does the
/// other CPU.
#[test]
fn a_handler_writes_at_each_point() {
    for (pages, largest) in [(3, PageSize::Size4K), (70, PageSize::Size4K), (512, PageSize::Size1G)] {
        let world = World::two_nodes(2, 32 * MIB, MmuConfig::plain(1), Threads::One);
        let mut written = 0;
        world
            .ground
            .machine
            .enter(CpuId::BOOT, |cpu| {
                let mut area = world.map.alloc(cpu.pinned(), request(pages).largest(largest)).unwrap();
                fill(world, cpu.pinned(), &area);
                let (start, mut to) = (area.start(), 1);
                for after in 0.. {
                    let mut handler = |off: IrqOff<'_>| {
                        for page in [0, pages / 2, pages - 1] {
                            let address = start.plus(page * 4096 + page % 512 * 8);
                            for cpu in [0, 1] {
                                let before = world.load(1 - cpu, address).unwrap();
                                assert_eq!(world.add_whatever(off.pinned(), cpu, address, 5), before);
                                assert_eq!(world.load(1 - cpu, address), Ok(before + 5), "after {after}");
                            }
                        }
                        assert!(world.map.move_at(off.pinned(), start, node(0)).is_err());
                        written += 1;
                    };
                    let (moved, struck) = cpu.with_interrupts(Strike::Once { after }, &mut handler, || {
                        world.map.move_to(cpu.pinned(), &mut area, node(to))
                    });
                    // The claim was not there yet, or not any more.
                    assert!(moved.is_ok() || struck > 0);
                    if struck > 0 {
                        for page in [0, pages / 2, pages - 1] {
                            world.add_whatever(cpu.pinned(), 0, at(&area, page), 0u64.wrapping_sub(10));
                        }
                    }
                    check(world, &area);
                    assert_eq!(world.mmu().take_reports(), [], "after {after}");
                    world.map.validate(cpu.pinned()).unwrap();
                    to = 1 - to;
                    if struck == 0 {
                        assert!(after > 20, "{after} points");
                        break;
                    }
                }
                world.map.free(cpu.pinned(), area).unwrap();
                world.assert_empty(cpu.pinned());
                assert!(world.map.report().writes_to_moving > 10, "{written} handlers");
            })
            .unwrap();
    }
}

/// At each point of a move in turn, a handler gives the area back: the CPU that moves it does so at the end.
#[test]
fn an_area_is_given_back_at_each_point_of_its_move() {
    for policy in FlushPolicy::ALL {
        let world = World::two_nodes(2, 32 * MIB, MmuConfig::plain(1), Threads::One);
        world
            .ground
            .machine
            .enter(CpuId::BOOT, |cpu| {
                world.map.set_policy(cpu.pinned(), policy);
                world.map.set_limit(OWNER, Some(1 << 20)).unwrap();
                for after in 0.. {
                    let area = world.map.alloc(cpu.pinned(), request(40)).unwrap();
                    let start = area.start();
                    let mut area = Some(area);
                    let mut handler = |off: IrqOff<'_>| {
                        let mut mine = area.take().unwrap();
                        // Refused while the area moves.
                        let refused = world.map.protect(off.pinned(), &mut mine, 3..5, Access::ReadOnly);
                        assert!(matches!(refused, Ok(()) | Err(AreaError::Busy)));
                        world.map.free(off.pinned(), mine).unwrap();
                    };
                    let (_, struck) = cpu.with_interrupts(Strike::Once { after }, &mut handler, || {
                        world.map.move_at(cpu.pinned(), start, node(1))
                    });
                    area.into_iter().for_each(|area| world.map.free(cpu.pinned(), area).unwrap());
                    world.map.validate(cpu.pinned()).unwrap();
                    assert_eq!(world.map.limit(OWNER), Some((0, 1 << 20)));
                    if after % 8 == 0 || struck == 0 {
                        world.assert_empty(cpu.pinned());
                    }
                    if struck == 0 {
                        break;
                    }
                }
                assert_eq!(world.ground.frames.refused_frees(), 0);
            })
            .unwrap();
    }
}

/// After each store to a table, the other CPU reads every page, and writes those that it may.
#[test]
fn another_cpu_sees_no_old_value() {
    let world = World::two_nodes(2, 32 * MIB, MmuConfig::new(3), Threads::One);
    world
        .ground
        .machine
        .enter(CpuId::BOOT, |cpu| {
            for largest in [PageSize::Size4K, PageSize::Size1G] {
                let pages = if largest == PageSize::Size4K { 9 } else { 512 };
                let mut area = world.map.alloc(cpu.pinned(), request(pages).largest(largest)).unwrap();
                fill(world, cpu.pinned(), &area);
                let (start, mut stalled, mut wrote) = (area.start(), 0, 0);
                let mut observer = |_| {
                    for page in (0..pages).step_by(pages as usize / 9) {
                        let address = start.plus(page * 4096 + page % 512 * 8);
                        let value = page * 3 + 1;
                        assert_eq!([0, 1].map(|cpu| world.load(cpu, address)), [Ok(value); 2]);
                        // The writer changes the word, and both see it.
                        match world.add(1, address, 1) {
                            Ok(before) => {
                                assert_eq!(before, value);
                                assert_eq!([0, 1].map(|cpu| world.load(cpu, address)), [Ok(value + 1); 2]);
                                world.add(1, address, !0).unwrap();
                                wrote += 1;
                            }
                            Err(Fault::Protection) => stalled += 1,
                            Err(fault) => panic!("{fault:?}"),
                        }
                    }
                };
                for to in [1, 0, 1] {
                    let (moved, _) = cpu.with_observer(&mut observer, || {
                        world.map.move_to(cpu.pinned(), &mut area, node(to))
                    });
                    assert_eq!(moved.unwrap().moved, pages);
                }
                assert!(stalled > 10 && wrote > 10, "{stalled} stalled, {wrote} wrote");
                check(world, &area);
                assert_eq!(world.mmu().take_reports(), []);
                world.map.free(cpu.pinned(), area).unwrap();
            }
            world.assert_empty(cpu.pinned());
        })
        .unwrap();
}

/// CPUs count in an area while another CPU moves it to and fro, and a last one does the same with another area.
#[test]
fn cpus_count_while_an_area_moves() {
    const CPUS: usize = 5;
    const WORDS: u64 = 64;
    for (pages, largest) in [(20, PageSize::Size4K), (512, PageSize::Size1G)] {
        let world = World::two_nodes(CPUS, 64 * MIB, MmuConfig::new(11), Threads::Each);
        let areas = as_cpu_0(world, |pinned| {
            [(); 2].map(|()| world.map.alloc(pinned, request(pages).largest(largest).zeroed()).unwrap())
        });
        let start = areas[0].start();
        let word = |nth: u64| start.plus(nth * pages / WORDS * 4096 + nth * 8);
        let (is_over, counted) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; WORDS as usize]);
        std::thread::scope(|scope| {
            for cpu in 2..CPUS {
                let (is_over, counted, word) = (&is_over, &counted, &word);
                scope.spawn(move || {
                    let id = CpuId::new(cpu).unwrap();
                    let run = |cpu: &rhumb_hosted::Cpu<'_>| {
                        let (mut random, mut least) = (Random(id.index() as u64 + 1), [0; WORDS as usize]);
                        while !is_over.load(Relaxed) {
                            let nth = random.below(WORDS) as usize;
                            let read = world.load(id.index(), word(nth as u64)).unwrap();
                            assert!(read >= least[nth], "word {nth} was {}, and is {read}", least[nth]);
                            let before = world.add_whatever(cpu.pinned(), id.index(), word(nth as u64), 1);
                            assert!(before >= read, "word {nth} was {read}, and is {before}");
                            least[nth] = before + 1;
                            counted[nth].fetch_add(1, Relaxed);
                        }
                    };
                    world.ground.machine.enter(id, run).unwrap();
                });
            }
            let movers: Vec<_> = (0..2)
                .map(|cpu| {
                    let start = areas[cpu].start();
                    scope.spawn(move || {
                        let run = |cpu: &rhumb_hosted::Cpu<'_>| {
                            for turn in 0..40 {
                                let moved =
                                    world.map.move_at(cpu.pinned(), start, node(1 - turn % 2)).unwrap();
                                assert_eq!(moved, Moved { moved: pages, there: 0, left: 0 });
                            }
                        };
                        world.ground.machine.enter(CpuId::new(cpu).unwrap(), run).unwrap();
                    })
                })
                .collect();
            let results: Vec<_> = movers.into_iter().map(|mover| mover.join()).collect();
            is_over.store(true, Relaxed);
            results.into_iter().for_each(|result| result.unwrap());
        });
        as_cpu_0(world, |pinned| {
            for (nth, counted) in (0..).zip(&counted) {
                assert_eq!(world.load(0, word(nth)), Ok(counted.load(Relaxed)), "word {nth}");
            }
            for area in areas {
                world.map.free(pinned, area).unwrap();
            }
            world.assert_empty(pinned);
            assert_eq!(world.ground.frames.refused_frees(), 0);
        });
    }
}
