//! Moving areas to another node: in turn with accesses, between any two of them, and on CPUs that run meanwhile.

use core::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rhumb_frames::Owner;
use rhumb_hosted::interrupt::Strike;
use rhumb_hosted::mmu::{Fault, MmuConfig};
use rhumb_kernelmap::{Area, AreaError, AreaRequest, FlushPolicy, Moved};
use rhumb_machine::{CpuId, IrqOff, NodeId, PageSize, Pinned, VirtAddr};
use rhumb_pagetable::{Access, CacheMode};

use crate::world::{GIB, MIB, Random, Threads, World, as_cpu_0, phys};

const OWNER: Owner = Owner(7);

fn node(number: usize) -> NodeId {
    NodeId::new(number).unwrap()
}

fn request(pages: u64) -> AreaRequest {
    AreaRequest::new(pages).near(rhumb_frames::Preference::Prefer(NodeId::FIRST)).owner(OWNER).movable()
}

fn at(area: &Area, page: u64) -> VirtAddr {
    area.start().plus(page * 4096 + page % 512 * 8)
}

fn fill(world: &World, pinned: Pinned<'_>, area: &Area) {
    for page in 0..area.pages() {
        let before = world.load(0, at(area, page)).unwrap();
        world.add_whatever(pinned, 1, at(area, page), (page * 3 + 1).wrapping_sub(before));
    }
}

#[track_caller]
fn check(world: &World, area: &Area) {
    for cpu in [0, 1] {
        for page in 0..area.pages() {
            assert_eq!(world.load(cpu, at(area, page)), Ok(page * 3 + 1), "CPU {cpu}, page {page}");
        }
    }
}

fn in_world<A: Send>(ram: u64, body: impl FnOnce(&'static World, Pinned<'_>) -> A + Send) -> A {
    let world = World::two_nodes(2, ram, MmuConfig::new(5), Threads::One);
    as_cpu_0(world, |pinned| body(world, pinned))
}

#[test]
fn areas_of_each_size_keep_their_data_rights_and_owner() {
    in_world(96 * MIB, |world, pinned| {
        for policy in FlushPolicy::ALL {
            world.map.set_policy(pinned, policy);
            for pages in [1, 3, 40, 511, 512, 700, 1500] {
                for largest in [PageSize::Size4K, PageSize::Size1G] {
                    let mut area = world.map.alloc(pinned, request(pages).largest(largest)).unwrap();
                    fill(world, pinned, &area);
                    assert_eq!(world.on_nodes(&area), [pages, 0]);
                    let sizes = [0, pages - 1].map(|page| world.size_at(at(&area, page)));
                    for (to, there) in [(1, 0), (1, pages), (0, 0)] {
                        let moved = world.map.move_to(pinned, &mut area, node(to)).unwrap();
                        assert_eq!(moved, Moved { moved: pages - there, there, left: 0 }, "{pages} pages");
                        assert_eq!(world.on_nodes(&area)[to], pages);
                        check(world, &area);
                        world.map.validate(pinned).unwrap();
                        assert_eq!(world.mmu().take_reports(), []);
                    }
                    assert_eq!(sizes, [0, pages - 1].map(|page| world.size_at(at(&area, page))));
                    let frame = world.walked(area.start()).unwrap().pfn();
                    assert_eq!(world.ground.frames.descriptor(frame).unwrap().owner(), OWNER);
                    fill(world, pinned, &area);
                    world.map.free(pinned, area).unwrap();
                }
            }
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

/// Two flushes for each table of small pages, or each large page; one where no page is writable.
#[test]
fn as_few_flushes_as_it_says() {
    in_world(96 * MIB, |world, pinned| {
        for (pages, largest, batches) in [
            (1, PageSize::Size4K, 1),
            (511, PageSize::Size4K, 2),
            (1536, PageSize::Size4K, 3),
            (1536, PageSize::Size1G, 3),
        ] {
            for access in [Access::ReadWrite, Access::ReadOnly] {
                let asked = request(pages).largest(largest).access(access);
                let mut area = world.map.alloc(pinned, asked).unwrap();
                let before = world.ground.flushes.load(Relaxed);
                world.map.move_to(pinned, &mut area, node(1)).unwrap();
                let flushes = world.ground.flushes.load(Relaxed) - before;
                let each = if access == Access::ReadWrite { 2 } else { 1 };
                assert!(flushes <= batches * each, "{flushes} flushes for {pages} pages");
                world.map.free(pinned, area).unwrap();
            }
        }
        world.assert_empty(pinned);
    });
}

#[test]
fn pages_with_rights_of_their_own_keep_them() {
    in_world(96 * MIB, |world, pinned| {
        for largest in [PageSize::Size4K, PageSize::Size1G] {
            let mut area = world.map.alloc(pinned, request(1030).largest(largest)).unwrap();
            fill(world, pinned, &area);
            let is_writable = |page: u64| !(100..700).contains(&page);
            world.map.protect(pinned, &mut area, 100..700, Access::ReadOnly).unwrap();
            for to in [1, 0, 1] {
                let moved = world.map.move_to(pinned, &mut area, node(to)).unwrap();
                assert_eq!(moved, Moved { moved: 1030, there: 0, left: 0 });
                check(world, &area);
                for page in [0, 99, 100, 511, 512, 699, 700, 1029] {
                    let written = world.add(1, at(&area, page), 0);
                    assert_eq!(written.is_ok(), is_writable(page), "page {page}");
                    assert_eq!(world.map.resolve_write(pinned, at(&area, page)), is_writable(page));
                }
                world.map.validate(pinned).unwrap();
            }
            world.map.protect(pinned, &mut area, 0..1030, Access::ReadWrite).unwrap();
            assert_eq!(world.size_at(area.start()), Some(largest.min(PageSize::Size2M)));
            check(world, &area);
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

/// A page of 1 GiB, and one that a change of rights has split twice.
#[test]
fn a_gib_moves_whole() {
    in_world(3 * GIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, request(1 << 18)).unwrap();
        assert_eq!(world.size_at(area.start()), Some(PageSize::Size1G));
        let pages = [0, 511, 512, 100_000, (1 << 18) - 1];
        let check = |area: &Area| {
            pages.iter().for_each(|&page| assert_eq!(world.load(1, at(area, page)), Ok(page)));
        };
        for page in pages {
            let before = world.load(0, at(&area, page)).unwrap();
            world.add_whatever(pinned, 1, at(&area, page), page.wrapping_sub(before));
        }
        let tables = world.ground.tables_out.load(Relaxed);
        for to in [1, 0] {
            let moved = world.map.move_to(pinned, &mut area, node(to)).unwrap();
            assert_eq!(moved, Moved { moved: 1 << 18, there: 0, left: 0 });
            assert_eq!(world.size_at(area.start()), Some(PageSize::Size1G));
            assert_eq!(world.ground.tables_out.load(Relaxed), tables);
            check(&area);
            world.map.validate(pinned).unwrap();
            if to == 1 {
                world.map.protect(pinned, &mut area, 1000..1001, Access::ReadOnly).unwrap();
                let moved = world.map.move_to(pinned, &mut area, node(0)).unwrap();
                assert_eq!(moved.moved, 1 << 18);
                check(&area);
                assert!(
                    world.add(1, at(&area, 1000), 0).is_err() && world.add(1, at(&area, 1001), 0).is_ok()
                );
                world.map.protect(pinned, &mut area, 1000..1001, Access::ReadWrite).unwrap();
                assert_eq!(world.map.move_to(pinned, &mut area, node(1)).unwrap().moved, 1 << 18);
            }
        }
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

#[test]
fn what_has_no_room_stays() {
    in_world(32 * MIB, |world, pinned| {
        let mut area = world.map.alloc(pinned, request(1024)).unwrap();
        let mut small = world.map.alloc(pinned, request(50)).unwrap();
        fill(world, pinned, &area);
        fill(world, pinned, &small);
        // One frame of each block of the second node is taken, and all but 20 of one.
        let frames = &world.ground.frames;
        let one = || {
            let request = rhumb_frames::Request::FRAME.near(rhumb_frames::Preference::Bind(node(1)));
            frames.alloc(pinned, request).ok()
        };
        let mut taken: Vec<_> = std::iter::from_fn(one).collect();
        taken.sort_by_key(|frame| frame.pfn());
        let mut free = 20;
        taken.retain(|_| {
            free -= 1;
            free < 0
        });
        assert_eq!(world.map.move_to(pinned, &mut area, node(1)).unwrap().left, 1024);
        let moved = world.map.move_to(pinned, &mut small, node(1)).unwrap();
        assert!(moved.moved <= 20 && moved.left == 50 - moved.moved && moved.there == 0, "{moved:?}");
        assert_eq!(world.on_nodes(&small), [moved.left, moved.moved]);
        check(world, &area);
        check(world, &small);
        world.map.validate(pinned).unwrap();
        taken.into_iter().for_each(|frame| frames.free(pinned, frame));
        let again = world.map.move_to(pinned, &mut small, node(1)).unwrap();
        assert_eq!(again, Moved { moved: moved.left, there: moved.moved, left: 0 });
        world.map.free(pinned, area).unwrap();
        world.map.free(pinned, small).unwrap();
        world.assert_empty(pinned);
    });
}

/// Each allocation of a frame or a table fails in turn: what has moved has moved, and nothing is lost.
#[test]
fn the_nth_allocation_fails() {
    in_world(48 * MIB, |world, pinned| {
        for (pages, largest) in [(5, PageSize::Size4K), (700, PageSize::Size4K), (1500, PageSize::Size1G)] {
            for nth in (1..12).chain([400, 600]) {
                let mut area = world.map.alloc(pinned, request(pages).largest(largest)).unwrap();
                fill(world, pinned, &area);
                world.map.reclaim(pinned);
                let before = world.frames_in_use();
                world.ground.plant.fails_after.store(nth, Relaxed);
                world.ground.plant.fails_more.store(1, Relaxed);
                let moved = world.map.move_to(pinned, &mut area, node(1));
                world.ground.plant.fails_after.store(0, Relaxed);
                world.ground.plant.fails_more.store(0, Relaxed);
                match moved {
                    Ok(Moved { moved, there: 0, left }) => {
                        assert_eq!(moved + left, pages);
                        assert_eq!(world.on_nodes(&area), [left, moved]);
                    }
                    Err(AreaError::NoTable) => assert_eq!((nth, world.on_nodes(&area)), (1, [pages, 0])),
                    other => panic!("{other:?}"),
                }
                assert_eq!(world.frames_in_use(), before);
                check(world, &area);
                world.map.validate(pinned).unwrap();
                world.map.free(pinned, area).unwrap();
            }
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

#[test]
fn what_cannot_move_is_refused() {
    in_world(32 * MIB, |world, pinned| {
        let mut fixed = world.map.alloc(pinned, AreaRequest::new(3)).unwrap();
        // SAFETY: there is no such device, and nothing but the test's unit walks the tables.
        let device = unsafe {
            world
                .map
                .map_device(pinned, phys(0x100_0000_0000, 4096), CacheMode::Uncached, Owner::NONE)
                .unwrap()
        };
        let area = world.map.alloc(pinned, request(3)).unwrap();
        assert_eq!(world.map.move_to(pinned, &mut fixed, node(1)), Err(AreaError::NotMovable));
        for (address, error) in [
            (fixed.start(), AreaError::NotMovable),
            (device.start(), AreaError::NotMovable),
            (VirtAddr::new(area.start().get() - 1), AreaError::NoArea(VirtAddr::new(area.start().get() - 1))),
            (VirtAddr::new(0x1000), AreaError::NoArea(VirtAddr::new(0x1000))),
        ] {
            assert_eq!(world.map.move_at(pinned, address, node(1)), Err(error));
        }
        let moved = world.map.move_at(pinned, at(&area, 2), node(1)).unwrap();
        assert_eq!((moved.moved, world.on_nodes(&area)), (3, [0, 3]));
        // A node that there is not.
        assert_eq!(world.map.move_at(pinned, at(&area, 0), node(9)).unwrap().left, 3);
        let start = area.start();
        for area in [fixed, device, area] {
            world.map.free(pinned, area).unwrap();
        }
        assert_eq!(world.map.move_at(pinned, start, node(0)), Err(AreaError::NoArea(start)));
        world.map.reclaim(pinned);
        assert_eq!(world.map.move_at(pinned, start, node(0)), Err(AreaError::NoArea(start)));
        world.assert_empty(pinned);
    });
}

/// A search that finds no record for its walk does not say that another CPU changes the area.
#[test]
fn lists_under_way_are_no_change_of_an_area() {
    fn listed(world: &World, pinned: Pinned<'_>, lists: usize, area: &Area) -> Result<Moved, AreaError> {
        if lists == 0 {
            return world.map.move_at(pinned, area.start(), node(1));
        }
        let mut moved = Err(AreaError::Empty);
        let walked = world.map.for_each_area(|_| {
            moved = listed(world, pinned, lists - 1, area);
            ControlFlow::Break(())
        });
        assert_eq!(walked, Ok(()));
        moved
    }
    in_world(32 * MIB, |world, pinned| {
        let area = world.map.alloc(pinned, request(3)).unwrap();
        assert_eq!(listed(world, pinned, 4, &area), Err(AreaError::TooManyWalks));
        assert_eq!(world.on_nodes(&area), [3, 0]);
        assert_eq!(listed(world, pinned, 3, &area), Ok(Moved { moved: 3, there: 0, left: 0 }));
        world.map.free(pinned, area).unwrap();
        world.assert_empty(pinned);
    });
}

#[test]
fn an_area_that_is_known_by_its_address_moves() {
    in_world(32 * MIB, |world, pinned| {
        for pages in [4, 600] {
            let area = world.map.alloc(pinned, request(pages)).unwrap();
            fill(world, pinned, &area);
            let start = world.map.forget(area).unwrap();
            for to in [1, 0, 1] {
                assert_eq!(world.map.move_at(pinned, start.plus(4095), node(to)).unwrap().moved, pages);
                world.map.validate(pinned).unwrap();
            }
            // SAFETY: the area was given up at this address just now.
            let area = unsafe { world.map.recover(start) }.unwrap();
            check(world, &area);
            assert_eq!(world.on_nodes(&area), [0, pages]);
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
    });
}

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
