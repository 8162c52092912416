//! Random histories under each policy: CPUs use live areas, which move from node to node, speculate in those that went,
//! and idle.

use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::{Area, AreaError, AreaRequest, FlushPolicy};
use rhumb_machine::{CpuId, NodeId, PageSize, VirtAddr};
use rhumb_pagetable::Access;

use crate::world::{MIB, Random, Threads, World, as_cpu_0};

const CPUS: u64 = 3;

struct Live {
    area: Area,
    read_only: Vec<bool>,
}

fn pages(random: &mut Random) -> u64 {
    match random.below(10) {
        0..=5 => 1 + random.below(16),
        6..=7 => 1 + random.below(511),
        _ => 500 + random.below(1600),
    }
}

/// The pages of a movable area that hold their number.
fn marked(area: &Area) -> impl Iterator<Item = u64> + use<> {
    let pages = if area.is_movable() { area.pages() } else { 0 };
    (0..pages).step_by(1 + pages as usize / 20)
}

fn history(seed: u64, policy: FlushPolicy) {
    let world = World::two_nodes(CPUS as usize, 64 * MIB, MmuConfig::new(seed), Threads::One);
    as_cpu_0(world, |pinned| {
        world.map.set_policy(pinned, policy);
        world.map.set_most_waiting(3000);
        let mut random = Random(seed * 2 + 1);
        let mut live: Vec<Live> = Vec::new();
        let mut gone: Vec<VirtAddr> = vec![VirtAddr::new(0xffff_c000_0000_0000)];
        for step in 0..600 {
            match random.below(11) {
                0..=2 if live.len() < 30 => {
                    let largest = [PageSize::Size4K, PageSize::Size1G][random.below(2) as usize];
                    let request = AreaRequest::new(pages(&mut random)).largest(largest);
                    let request = if random.below(2) == 0 { request.movable() } else { request };
                    if let Ok(area) = world.map.alloc(pinned, request) {
                        let read_only = vec![false; area.pages() as usize];
                        // Some pages hold their number.
                        for page in marked(&area) {
                            let address = area.start().plus(page * 4096);
                            let before = world.load(0, address).unwrap();
                            world.add(1, address, page.wrapping_sub(before)).unwrap();
                        }
                        live.push(Live { area, read_only });
                    }
                }
                3..=4 if !live.is_empty() => {
                    let Live { area, .. } = live.swap_remove(random.below(live.len() as u64) as usize);
                    gone.push(area.start().plus(random.below(area.pages()) * 4096));
                    world.map.free(pinned, area).unwrap();
                }
                5 if !live.is_empty() => {
                    let index = random.below(live.len() as u64) as usize;
                    let Live { area, read_only } = &mut live[index];
                    let start = random.below(area.pages());
                    let end = start + 1 + random.below(area.pages() - start);
                    let access = [Access::ReadOnly, Access::ReadWrite][random.below(2) as usize];
                    if world.map.protect(pinned, area, start..end, access).is_ok() {
                        read_only[start as usize..end as usize].fill(access == Access::ReadOnly);
                    }
                }
                6 => {
                    // CPU 2 idles for a while.
                    let idle = CpuId::new(2).unwrap();
                    if step % 2 == 0 { world.mmu().enter_lazy(idle) } else { world.mmu().leave_lazy(idle) }
                }
                7 if !live.is_empty() => {
                    let index = random.below(live.len() as u64) as usize;
                    let Live { area, .. } = &mut live[index];
                    let node = NodeId::new(random.below(2) as usize).unwrap();
                    let moved = if random.below(2) == 0 {
                        world.map.move_to(pinned, area, node)
                    } else {
                        world.map.move_at(pinned, area.start(), node)
                    };
                    match moved {
                        Ok(moved) => {
                            assert_eq!(moved.moved + moved.there + moved.left, area.pages());
                            let on = world.on_nodes(area)[node.index()];
                            assert_eq!(on, moved.moved + moved.there, "seed {seed}, step {step}");
                            for page in marked(area) {
                                let cpu = random.below(CPUS - 1) as usize;
                                let read = world.load(cpu, area.start().plus(page * 4096));
                                assert_eq!(read, Ok(page), "seed {seed}, step {step}");
                            }
                        }
                        Err(AreaError::NotMovable) => assert!(!area.is_movable()),
                        Err(AreaError::NoTable) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                _ => {
                    for _ in 0..4 {
                        let cpu = random.below(CPUS - 1) as usize;
                        let old = gone[random.below(gone.len() as u64) as usize];
                        world.mmu().speculate(CpuId::new(cpu).unwrap(), old);
                        if let Some(at) = random.below(live.len() as u64 + 1).checked_sub(1) {
                            let Live { area, read_only } = &live[at as usize];
                            let page = random.below(area.pages());
                            let address = area.start().plus(page * 4096);
                            world.touch(cpu, address, Use::Read);
                            let written = world.mmu().access(CpuId::new(cpu).unwrap(), address, Use::Write);
                            assert_eq!(
                                written.is_err(),
                                read_only[page as usize],
                                "seed {seed}, step {step}"
                            );
                        }
                    }
                }
            }
            if step % 50 == 0 {
                world.map.validate(pinned).unwrap();
                assert_eq!(world.mmu().take_reports(), [], "seed {seed}, step {step}");
            }
        }
        world.mmu().leave_lazy(CpuId::new(2).unwrap());
        for Live { area, .. } in live {
            world.check_area(1, &area);
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

#[test]
fn eager() {
    (1..12).for_each(|seed| history(seed, FlushPolicy::Eager));
}

#[test]
fn batched() {
    (1..12).for_each(|seed| history(seed, FlushPolicy::Batched));
}

#[test]
fn lazy() {
    (1..12).for_each(|seed| history(seed, FlushPolicy::Lazy));
}
