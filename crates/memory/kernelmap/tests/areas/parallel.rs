//! CPUs that make areas and give them back at the same time, also those of others, with interrupts whose handlers do the
//! same.

use std::sync::Mutex;

use rhumb_hosted::mmu::{MmuConfig, Use};
use rhumb_kernelmap::{Area, AreaRequest, FlushPolicy};
use rhumb_machine::{CpuId, Machine};

use crate::world::{MIB, Random, World, as_cpu_0};

fn run(policy: FlushPolicy) {
    const CPUS: usize = 4;
    let world = World::new(CPUS, 128 * MIB, MmuConfig::new(7));
    as_cpu_0(world, |pinned| {
        world.map.set_policy(pinned, policy);
        world.map.set_most_waiting(600);
    });
    let shared: Mutex<Vec<Area>> = Mutex::default();
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let shared = &shared;
            scope.spawn(move || {
                let id = CpuId::new(cpu).unwrap();
                world.ground.machine.enter(id, |_| work(world, id, shared)).unwrap();
            });
        }
    });
    as_cpu_0(world, |pinned| {
        for area in shared.into_inner().unwrap() {
            world.map.free(pinned, area).unwrap();
        }
        world.assert_empty(pinned);
        assert_eq!(world.ground.frames.refused_frees(), 0);
    });
}

fn work(world: &'static World, cpu: CpuId, shared: &Mutex<Vec<Area>>) {
    let mut random = Random(cpu.index() as u64 + 99);
    for _ in 0..400 {
        let pages = if random.below(20) == 0 { 512 + random.below(600) } else { 1 + random.below(30) };
        let guard = world.ground.machine.pin();
        if let Ok(area) = world.map.alloc(guard.pinned(), AreaRequest::new(pages)) {
            let page = random.below(pages);
            world.touch(cpu.index(), area.start().plus(page * 4096), Use::Write);
            let others = {
                let mut shared = shared.lock().unwrap();
                shared.push(area);
                let at = random.below(shared.len() as u64) as usize;
                (shared.len() > 12).then(|| shared.swap_remove(at))
            };
            if let Some(area) = others {
                world.touch(cpu.index(), area.start(), Use::Read);
                world.map.free(guard.pinned(), area).unwrap();
            }
        }
    }
}

#[test]
fn eager() {
    run(FlushPolicy::Eager);
}

#[test]
fn batched() {
    run(FlushPolicy::Batched);
}

#[test]
fn lazy() {
    run(FlushPolicy::Lazy);
}
